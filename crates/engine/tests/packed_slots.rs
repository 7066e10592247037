//! Optimizer slots in 16 and 8 bits: what they take, that they train as f32 does, and that states go from one to another.

#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use tidemill_engine::data::{Loader, LoaderOptions, MemoryDataset, Order};
use tidemill_engine::error::Result;
use tidemill_engine::metrics::{Meter, Metric, Task};
use tidemill_engine::nn::{Activation, LossSpec, Model, OptimizerSpec};
use tidemill_engine::training::{Callback, Flow, Step};
use tidemill_engine::{Engine, EngineSpec, Training};

const SAMPLES: usize = 400;

fn engine(optimizer: &str, slots: &str, threads: usize) -> Engine {
    #[derive(serde::Deserialize)]
    struct Of {
        of: OptimizerSpec,
    }
    let text = format!("of = {{ {optimizer} = {{ learning_rate = 0.003, slots = \"{slots}\" }} }}");
    let Of { of: optimizer } = toml::from_str(&text).unwrap();
    let model = Model::features(8).dense(640, Activation::Relu).dense(3, Activation::Linear);
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let spec = EngineSpec::new(model, loss, optimizer);
    Engine::compile(EngineSpec { batch_size: 20, threads: Some(threads), seed: 3, ..spec }).unwrap()
}

/// Some epochs; the mean loss of the last.
fn train(engine: &mut Engine, epochs: u64) -> f64 {
    let x: Vec<f32> = (0..SAMPLES * 8).map(|i| ((i * 7919 % 401) as f32 - 200.0) / 120.0).collect();
    let class = |i: usize| (x[i * 8] > x[i * 8 + 5]) as u32 + (x[i * 8 + 1] > 0.2) as u32;
    let labels = (0..SAMPLES).map(class).collect();
    let data = Arc::new(MemoryDataset::classes(x, &[8], labels).unwrap());
    let options = LoaderOptions::new(20, Order::Shuffled { seed: 2 });
    let loader = Loader::new(data, LoaderOptions { epochs: Some(epochs), ..options }).unwrap();
    let meter = Meter::new(Task::Classes, 3, &[Metric::Accuracy]);
    let mut training = Training::new(engine, loader, vec![meter]);
    let mut last = LastLoss(0.0);
    training.run(&mut [&mut last]).unwrap();
    last.0
}

struct LastLoss(f64);

impl Callback for LastLoss {
    fn after_epoch(&mut self, training: &mut Training<'_>, _: &Step) -> Result<Flow> {
        self.0 = training.figures()["loss"];
        Ok(Flow::Continue)
    }
}

fn bits(engine: &Engine) -> Vec<u32> {
    engine.flat_state().iter().map(|v| v.to_bits()).collect()
}

#[test]
fn fewer_bits_train_as_f32_does() {
    for optimizer in ["adam", "lion", "rmsprop"] {
        let loss = |slots: &str| train(&mut engine(optimizer, slots, 1), 12);
        let f32s = loss("f32");
        for slots in ["bf16", "8bit"] {
            let found = loss(slots);
            assert!(found < f32s * 1.1 + 0.01, "{optimizer} {slots}: {found}, f32: {f32s}");
        }
    }
}

#[test]
fn the_bits_are_those_of_any_number_of_threads_and_of_a_resume() {
    for slots in ["bf16", "8bit"] {
        let mut whole = engine("adam", slots, 1);
        train(&mut whole, 2);
        let mut other = engine("adam", slots, 3);
        train(&mut other, 1);
        let mut resumed = engine("adam", slots, 2);
        resumed.set_state(other.state().tensors()).unwrap();
        resumed.set_step(other.step());
        assert_eq!(bits(&resumed), bits(&other), "{slots}");
        // both orders of samples are the first epoch's, so that two runs of one epoch are compared
        let mut again = engine("adam", slots, 1);
        train(&mut again, 1);
        train(&mut again, 1);
        train(&mut resumed, 1);
        assert_eq!(bits(&resumed), bits(&again), "{slots}");
    }
}

#[test]
fn large_tensors_take_fewer_bytes_and_small_ones_keep_f32() {
    for (slots, most) in [("f32", 8.0), ("bf16", 4.0), ("8bit", 2.1)] {
        let engine = engine("adam", slots, 1);
        let state = engine.state();
        let bytes = |layer: &str| -> f64 {
            let slot = |name: &str| name.ends_with(".kernel.m") || name.ends_with(".kernel.v");
            let of = state.tensors().iter().filter(|t| t.name.contains(layer) && slot(&t.name));
            of.map(|t| t.values.bytes().unwrap().len() as f64).sum()
        };
        let (large, small) = (bytes("layers.0"), bytes("layers.1"));
        assert!(large / (8.0 * 640.0) <= most, "{slots}: {large}");
        assert_eq!(small / (640.0 * 3.0), 8.0, "{slots}: below 4,096 elements");
    }
}

/// As where a run that was trained with packed slots learns from a stream, and is trained again.
#[test]
fn a_state_goes_from_one_kind_of_slots_to_another() {
    let mut packed = engine("adam", "8bit", 1);
    train(&mut packed, 1);
    for slots in ["f32", "bf16"] {
        let mut other = engine("adam", slots, 1);
        other.set_state(packed.state().tensors()).unwrap();
        let mut back = engine("adam", "8bit", 1);
        back.set_state(other.state().tensors()).unwrap();
        // bf16 has all fraction bits of an 8-bit float
        assert_eq!(bits(&back), bits(&packed), "{slots}");
    }
    let error = engine("lion", "8bit", 1).set_state(packed.state().tensors()).unwrap_err();
    assert!(error.to_string().contains("lacks"), "{error}");
}
