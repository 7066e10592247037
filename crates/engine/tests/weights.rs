//! A weight scales its sample's gradient, as in Keras and in River (`fixtures/weights.json`).

#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use serde_json::Value;
use tidemill_engine::data::{Loader, LoaderOptions, MemoryDataset, Order};
use tidemill_engine::nn::{Activation, LossSpec, Model, OptimizerSpec};
use tidemill_engine::{Engine, EngineSpec, State};

fn fixture() -> Value {
    serde_json::from_str(include_str!("../../../fixtures/weights.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn classes(value: &Value) -> Vec<u32> {
    numbers(value).iter().map(|&v| v as u32).collect()
}

/// A linear layer of 3 inputs that starts with these weights.
fn engine(units: usize, loss: LossSpec, kernel: &[f32], bias: &[f32], rate: f64) -> Engine {
    let model = Model::features(3).dense(units, Activation::Linear);
    let optimizer = OptimizerSpec::sgd(rate);
    let spec = EngineSpec { threads: Some(1), ..EngineSpec::new(model, loss, optimizer) };
    let mut engine = Engine::compile(spec).unwrap();
    for (name, values) in [("kernel", kernel), ("bias", bias)] {
        let (index, _) = engine.parameters().find(|(_, own)| own.ends_with(name)).unwrap();
        engine.tensor_mut(index).copy_from_slice(values);
    }
    engine
}

/// Kernel and bias after `epochs` in the data's order.
fn trained(
    mut engine: Engine,
    data: MemoryDataset,
    options: LoaderOptions,
    rate: f32,
) -> [Vec<f32>; 2] {
    let mut loader = Loader::new(Arc::new(data), options).unwrap();
    while let Some(batch) = loader.next_batch().unwrap() {
        engine.train(batch, rate).unwrap();
    }
    ["kernel", "bias"].map(|name| {
        let (index, _) = engine.parameters().find(|(_, own)| own.ends_with(name)).unwrap();
        engine.tensor(index).to_vec()
    })
}

#[test]
fn a_state_of_another_type_is_refused() {
    let mut engine = engine(1, LossSpec::MeanSquaredError {}, &[1.0, 2.0, 3.0], &[0.5], 0.1);
    let mut state = engine.state().into_tensors();
    let before = state.clone();
    state[0].values = vec![1_i32, 2, 3].into();
    let error = engine.set_state(&state).unwrap_err().to_string();
    assert_eq!(error, "the tensor layers.0.dense.kernel is I32, and F32 is expected");
    assert_eq!(engine.state().tensors(), before);
    // A copy over such a state does not write floats into it, but takes its place.
    let mut other = State::from_tensors(state);
    assert!(!engine.copy_values(&mut other));
    engine.copy_state(&mut other);
    assert_eq!(other.tensors(), before);
}

fn close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() < 2e-6, "{what}: {found:?} instead of {expected:?}");
    }
}

#[test]
fn sample_and_class_weights_train_as_in_keras() {
    let all = fixture();
    let rate = all["rate"].as_f64().unwrap();
    let [x, kernel, bias] = ["x", "kernel", "bias"].map(|name| numbers(&all[name]));
    let one_hot: Vec<f32> = classes(&all["y"])
        .iter()
        .flat_map(|&y| (0..3).map(move |class| f32::from(u8::from(class == y))))
        .collect();
    for run in all["keras"].as_array().unwrap() {
        let is = |key: &str| run[key].as_bool().unwrap();
        let size = run["batch_size"].as_u64().unwrap() as usize;
        let mut options =
            LoaderOptions { epochs: Some(2), ..LoaderOptions::new(size, Order::Sequential) };
        if is("by_sample") {
            options.sample_weights = Some(numbers(&all["sample_weights"]).into());
        }
        if is("by_class") {
            options.class_weights = numbers(&all["class_weights"]);
        }
        let sparse = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
        let dense = LossSpec::CategoricalCrossentropy { label_smoothing: 0.0 };
        let labels = MemoryDataset::classes(x.clone(), &[3], classes(&all["y"])).unwrap();
        let rows = MemoryDataset::targets(x.clone(), &[3], one_hot.clone(), 3).unwrap();
        let rows = rows.with_num_classes(3).unwrap();
        for (loss, data) in [(sparse, labels), (dense, rows)] {
            let engine = engine(3, loss, &kernel, &bias, rate);
            let [kernel, bias] = trained(engine, data, options.clone(), rate as f32);
            close(&kernel, &numbers(&run["kernel"]), &format!("kernel of {run}"));
            close(&bias, &numbers(&run["bias"]), &format!("bias of {run}"));
        }
    }
}

#[test]
fn events_of_weights_are_learned_as_in_river() {
    let all = fixture();
    let rate = all["rate"].as_f64().unwrap();
    let loss = LossSpec::BinaryCrossentropy { label_smoothing: 0.0 };
    let engine = engine(1, loss, &[0.0; 3], &[0.0], rate);
    let targets = classes(&all["y"]).iter().map(|&y| f32::from(u8::from(y > 0))).collect();
    let data = MemoryDataset::targets(numbers(&all["x"]), &[3], targets, 1).unwrap();
    let mut options = LoaderOptions { epochs: Some(1), ..LoaderOptions::new(1, Order::Sequential) };
    options.sample_weights = Some(numbers(&all["sample_weights"]).into());
    let [kernel, bias] = trained(engine, data, options, rate as f32);
    close(&kernel, &numbers(&all["river"]["kernel"]), "kernel");
    close(&bias, &numbers(&all["river"]["bias"]), "bias");
}
