//! Sequences, several named inputs and a class for each position, from a dataset to the metrics.

#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use tidemill_engine::data::{
    Batch, Dataset, FieldValues, FieldsDataset, Loader, LoaderOptions, Order,
};
use tidemill_engine::fields::{Field, Signature};
use tidemill_engine::metrics::{Figures, Meter, Metric, Task};
use tidemill_engine::nn::{
    Activation, BranchSpec, ConcatSpec, Conv1dSpec, InputSpec, LayerSpec, LossSpec, Model,
    OptimizerSpec, TokensSpec,
};
use tidemill_engine::{Engine, EngineSpec};

const SPARSE: LossSpec = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };

fn engine(model: Model, loss: LossSpec, threads: usize) -> Engine {
    let optimizer = OptimizerSpec::adam(0.02);
    let threads = Some(threads);
    Engine::compile(EngineSpec {
        batch_size: 8,
        seed: 3,
        threads,
        ..EngineSpec::new(model, loss, optimizer)
    })
    .unwrap()
}

/// Numbers that look random and are always the same.
fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |n| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    }
}

/// Sequences of 1 to 30 ids from 4 on; those with a 1 among them are class 1.
fn sequences(len: usize) -> (Vec<Vec<i32>>, Vec<i32>) {
    let mut next = random(len as u64);
    let mut all = Vec::new();
    let mut labels = Vec::new();
    for _ in 0..len {
        let mut ids: Vec<i32> = (0..1 + next(30)).map(|_| 4 + next(40) as i32).collect();
        let label = next(2) as i32;
        if label == 1 {
            let at = next(ids.len() as u64) as usize;
            ids[at] = 1;
        }
        all.push(ids);
        labels.push(label);
    }
    (all, labels)
}

fn ragged(all: &[Vec<i32>]) -> FieldValues {
    let mut values = FieldValues::sequences();
    all.iter().for_each(|ids| values.push_sequence(ids));
    values
}

fn texts(len: usize) -> Arc<dyn Dataset> {
    let (ids, labels) = sequences(len);
    let data = FieldsDataset::new(vec![(Field::ids("x", 32), ragged(&ids))]).unwrap();
    Arc::new(data.with_truth(Field::class("labels"), FieldValues::I32(labels)).unwrap())
}

fn fit(engine: &mut Engine, data: &Arc<dyn Dataset>, epochs: u64) -> Figures {
    let order = Order::Shuffled { seed: 1 };
    let options = LoaderOptions { epochs: Some(epochs), ..LoaderOptions::new(8, order) };
    let mut loader = Loader::new(data.clone(), options).unwrap();
    let mut figures = Figures::new();
    let mut meter = Meter::new(Task::Classes, engine.num_outputs(), &[Metric::Accuracy]);
    while let Some(batch) = loader.next_batch().unwrap() {
        engine.train(batch, 0.02).unwrap();
        let outputs = engine.outputs();
        meter.add(outputs.losses, outputs.logits, batch);
        if batch.last_in_epoch {
            figures = meter.figures();
            meter.reset();
        }
    }
    figures
}

fn words() -> Model {
    Model::tokens(32, 64).embedding(8)
}

#[test]
fn texts_are_classified_by_mean_maximum_and_convolution() {
    let data = texts(400);
    let models = [
        words().global_avg_pool().dense(2, Activation::Linear),
        words().layer(LayerSpec::GlobalMaxPool {}).dense(2, Activation::Linear),
        words()
            .layer(Conv1dSpec { activation: Activation::Relu, ..Conv1dSpec::new(8, 3) })
            .layer(LayerSpec::GlobalMaxPool {})
            .dense(2, Activation::Linear),
    ];
    for model in models {
        let accuracy = fit(&mut engine(model.clone(), SPARSE, 1), &data, 12)["accuracy"];
        assert!(accuracy > 0.97, "{accuracy} with {:?}", model.layers);
    }
}

/// One sequence with room for `time` positions.
fn padded(ids: &[i32], beside: &[i32]) -> Batch {
    let signature = Signature::new(vec![Field::ids("x", 32)], Some(Field::class("labels")));
    let mut batch = Batch::new(Arc::new(signature));
    batch.resize(2);
    for (i, ids) in [ids, beside].into_iter().enumerate() {
        let mut row = batch.row_mut(i);
        row.set_ids(0, ids).unwrap();
        row.set_class(0).unwrap();
        row.set_weight(1.0);
    }
    batch.pad();
    batch
}

#[test]
fn what_is_beyond_the_end_changes_nothing() {
    let conv = Conv1dSpec { activation: Activation::Relu, ..Conv1dSpec::new(6, 5) };
    let model = words()
        .layer(conv.clone())
        .layer(conv)
        .layer(LayerSpec::Concat(ConcatSpec {
            branches: vec![
                BranchSpec { input: None, layers: vec![LayerSpec::GlobalAvgPool {}] },
                BranchSpec { input: None, layers: vec![LayerSpec::GlobalMaxPool {}] },
            ],
        }))
        .dense(2, Activation::Linear);
    let mut engine = engine(model, SPARSE, 1);
    let ids = [5, 9, 1, 7];
    let short = engine.predict(&padded(&ids, &[2])).unwrap()[..2].to_vec();
    let (batch, long) = (padded(&ids, &[3; 31]), 32);
    assert_eq!(batch.columns[0].time, long);
    let long = engine.predict(&batch).unwrap()[..2].to_vec();
    for (a, b) in short.iter().zip(&long) {
        assert!((a - b).abs() < 1e-6, "{short:?} {long:?}");
    }
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    let data = texts(100);
    let model = words().layer(Conv1dSpec::new(8, 3)).global_avg_pool().dense(2, Activation::Linear);
    let state = |threads| {
        let mut engine = engine(model.clone(), SPARSE, threads);
        fit(&mut engine, &data, 2);
        engine.state()
    };
    assert!(state(1) == state(3));
}

#[test]
fn two_named_inputs_are_joined() {
    // The class is 1 where exactly one of the number's sign and the word says so.
    let (ids, word) = sequences(600);
    let mut next = random(5);
    let (mut numbers, mut labels) = (Vec::new(), Vec::new());
    for &word in &word {
        let sign = next(2) as i32;
        numbers.extend([if sign == 1 { 1.0 } else { -1.0 }, next(100) as f32 / 100.0]);
        labels.push(word ^ sign);
    }
    let inputs = vec![
        (Field::numbers("numbers", &[2]), FieldValues::F32(numbers)),
        (Field::ids("text", 32), ragged(&ids)),
    ];
    let data = FieldsDataset::new(inputs).unwrap();
    let data = data.with_truth(Field::class("labels"), FieldValues::I32(labels)).unwrap();
    let data: Arc<dyn Dataset> = Arc::new(data);
    let branch =
        |input: &str, layers: Vec<LayerSpec>| BranchSpec { input: Some(input.into()), layers };
    let pooled = Model::tokens(32, 64).embedding(8).layer(LayerSpec::GlobalMaxPool {}).layers;
    let inputs =
        [("numbers", InputSpec::Features(2)), ("text", InputSpec::Tokens(TokensSpec::new(32, 64)))];
    let model = Model::inputs(inputs)
        .layer(ConcatSpec { branches: vec![branch("numbers", vec![]), branch("text", pooled)] })
        .dense(16, Activation::Relu)
        .dense(2, Activation::Linear);
    let accuracy = fit(&mut engine(model.clone(), SPARSE, 1), &data, 15)["accuracy"];
    assert!(accuracy > 0.95, "{accuracy}");

    // A dataset that lacks one of them is told so.
    let error = fit_error(model, &texts(8));
    assert!(error.contains("the model reads `numbers`"), "{error}");
}

fn fit_error(model: Model, data: &Arc<dyn Dataset>) -> String {
    let mut loader = Loader::new(data.clone(), LoaderOptions::one_pass(8)).unwrap();
    let batch = loader.next_batch().unwrap().unwrap();
    engine(model, SPARSE, 1).train(batch, 0.1).unwrap_err().to_string()
}

#[test]
fn each_position_has_a_class_and_a_weight() {
    // A position is class 1 where its id is even; those of id 5 count for nothing.
    let (ids, _) = sequences(300);
    let tags: Vec<Vec<i32>> = ids.iter().map(|s| s.iter().map(|id| 1 - id % 2).collect()).collect();
    let data = FieldsDataset::new(vec![(Field::ids("x", 32), ragged(&ids))]).unwrap();
    let data = data.with_truth(Field::ids("labels", 32), ragged(&tags)).unwrap();
    let data: Arc<dyn Dataset> = Arc::new(data);
    let mut engine = engine(words().dense(2, Activation::Linear), SPARSE, 1);
    assert!(engine.by_position());
    let figures = fit(&mut engine, &data, 10);
    assert!(figures["accuracy"] > 0.99, "{figures:?}");

    // The loss of a sample is the weighted mean over its positions.
    let signature = Signature::new(vec![Field::ids("x", 32)], Some(Field::ids("labels", 32)));
    let mut batch = Batch::new(Arc::new(signature.with_position_weights()));
    batch.resize(2);
    for (i, weights) in [[1.0, 0.0, 3.0], [0.0, 0.0, 0.0]].iter().enumerate() {
        let mut row = batch.row_mut(i);
        row.set_ids(0, &[6, 7, 8]).unwrap();
        row.set_classes(&[1, 1, 0]).unwrap();
        row.f32(2).unwrap()[..3].copy_from_slice(weights);
        row.set_length(2, 3);
        row.set_weight(1.0);
    }
    batch.pad();
    let outputs = engine.evaluate(&batch).unwrap();
    let loss = |t: usize, class: usize| {
        let row = &outputs.logits[t * 2..t * 2 + 2];
        (row[0].exp() + row[1].exp()).ln() - row[class]
    };
    let wanted = (loss(0, 1) + 3.0 * loss(2, 0)) / 4.0;
    assert!((outputs.losses[0] - wanted).abs() < 1e-5, "{} {wanted}", outputs.losses[0]);
    assert_eq!(outputs.losses[1], 0.0);
    // Only positions of some weight are counted.
    let mut meter = Meter::new(Task::Classes, 2, &[Metric::Accuracy]);
    meter.add(outputs.losses, outputs.logits, &batch);
    assert_eq!(meter.figures()["accuracy"], 0.5);
}

#[test]
fn ids_beyond_the_vocabulary_are_an_error() {
    let model = words().global_avg_pool().dense(2, Activation::Linear);
    let error = engine(model, SPARSE, 1).predict(&padded(&[64], &[1])).unwrap_err().to_string();
    assert!(error.contains("id 64 in `x` is outside of the model's vocabulary of 64"), "{error}");
}

#[test]
fn layers_that_need_a_fixed_length_say_so() {
    let compile = |model: Model| {
        let optimizer = OptimizerSpec::adam(0.01);
        let spec = EngineSpec {
            batch_size: 4,
            seed: 0,
            threads: None,
            ..EngineSpec::new(model, SPARSE, optimizer)
        };
        Engine::compile(spec).err().unwrap().to_string()
    };
    let error = compile(words().flatten().dense(2, Activation::Linear));
    assert!(error.contains("different lengths") && error.contains("global_avg_pool"), "{error}");
    let error = compile(words().batch_norm().global_avg_pool().dense(2, Activation::Linear));
    assert!(error.contains("use layer_norm"), "{error}");
}
