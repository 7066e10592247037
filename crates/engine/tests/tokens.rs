//! Models of tokens: padding and the room for it change nothing, what comes next is the last position's, and the loss
//! is a mean over tokens.

#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use tidemill_engine::data::Batch;
use tidemill_engine::fields::{Field, Signature};
use tidemill_engine::metrics::{Meter, Task};
use tidemill_engine::nn::{LossSpec, Model, OptimizerSpec};
use tidemill_engine::{Engine, EngineSpec};

const TOKENS: usize = 11;
const LONGEST: usize = 12;

fn engine(model: &str, threads: usize) -> Engine {
    let mut model: Model = toml::from_str(model).unwrap();
    model.expand(Some(TOKENS)).unwrap();
    let loss = LossSpec::TokenCrossentropy { label_smoothing: 0.0 };
    let spec = EngineSpec::new(model, loss, OptimizerSpec::sgd(0.5));
    Engine::compile(EngineSpec { batch_size: 2, threads: Some(threads), ..spec }).unwrap()
}

const NEXT: &str = "decoder_only = { units = 8, heads = 2, layers = 2, context = 12 }";
const OTHER: &str =
    "encoder_decoder = { units = 8, heads = 2, encoder = 1, decoder = 1, length = 12 }";
const TURNS: &str =
    "decoder_only = { units = 8, heads = 2, layers = 2, context = 12, positions = \"rotary\" }";
const OTHER_TURNS: &str = "encoder_decoder = { units = 8, heads = 2, encoder = 1, decoder = 1, length = 12, positions = \"rotary\" }";
const BIASED: &str =
    "decoder_only = { units = 8, heads = 2, layers = 2, context = 12, positions = \"relative\" }";
const OTHER_BIASED: &str = "encoder_decoder = { units = 8, heads = 2, encoder = 1, decoder = 1, length = 12, positions = { relative = { buckets = 4, distance = 6 } } }";

/// Samples of these inputs, one sequence each, with what follows the last input as labels.
fn batch(names: &[&str], samples: &[Vec<Vec<i32>>], room: Option<usize>) -> Batch {
    let inputs = names.iter().map(|name| Field::ids(name, LONGEST)).collect();
    let truth = Field::ids("labels", LONGEST);
    let mut batch = Batch::new(Arc::new(Signature::new(inputs, Some(truth))));
    batch.resize(samples.len());
    for (i, sample) in samples.iter().enumerate() {
        let mut row = batch.row_mut(i);
        sample.iter().enumerate().for_each(|(field, ids)| {
            row.set_ids(field, ids).unwrap();
        });
        let labels: Vec<i32> = sample[names.len() - 1].iter().map(|id| (id + 3) % 11).collect();
        row.set_ids(names.len(), &labels).unwrap();
        row.set_weight(1.0);
    }
    match room {
        Some(room) => batch.pad_to(&vec![room; names.len() + 1]),
        None => batch.pad(),
    }
    batch
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Not even a bit of what is said of a sample. Gradients are summed over all positions in parts whose size depends on the
/// room, so that there the last bits may differ.
#[test]
fn room_for_positions_changes_nothing() {
    let (long, short) = (vec![1, 2, 3, 4, 5, 6, 7], vec![9, 8, 7]);
    let one = vec![vec![long.clone()], vec![short.clone()]];
    let two = vec![vec![long.clone(), short.clone()], vec![short, long]];
    for (model, names, samples) in [
        (NEXT, &["x"][..], &one),
        (OTHER, &["source", "target"], &two),
        (TURNS, &["x"], &one),
        (OTHER_TURNS, &["source", "target"], &two),
        (BIASED, &["x"], &one),
        (OTHER_BIASED, &["source", "target"], &two),
    ] {
        let run = |room: Option<usize>, threads: usize| {
            let mut engine = engine(model, threads);
            let batch = batch(names, samples, room);
            engine.train(&batch, 0.5).unwrap();
            let first = bits(engine.outputs().losses);
            for _ in 0..3 {
                engine.train(&batch, 0.5).unwrap();
            }
            (first, engine.outputs().losses.to_vec())
        };
        let (first, last) = run(Some(1), 1);
        for (room, threads) in [(None, 3), (Some(LONGEST), 2)] {
            let other = run(room, threads);
            assert!(other.0 == first, "{room:?}: the losses differ");
            assert!(other.1.iter().zip(&last).all(|(a, b)| (a - b).abs() < 1e-4), "{room:?}");
        }
        assert!(run(Some(1), 3) == (first, last), "threads change bits");
    }
}

#[test]
fn what_comes_next_is_said_of_the_last_position() {
    let mut engine = engine(NEXT, 1);
    let samples = [vec![vec![1, 2, 3, 4, 5]], vec![vec![9, 8]]];
    let batch = batch(&["x"], &samples, None);
    let next = engine.next(&batch).unwrap().to_vec();
    let all = engine.predict(&batch).unwrap();
    let time = batch.columns[0].time;
    for (i, last) in [4, 1].into_iter().enumerate() {
        let row = &all[(i * time + last) * TOKENS..][..TOKENS];
        for (p, log) in row.iter().zip(&next[i * TOKENS..]) {
            assert!((p - log.exp()).abs() < 1e-6, "{p} {log}");
        }
    }
}

#[test]
fn each_token_counts_alike() {
    let mut engine = engine(NEXT, 1);
    let samples = [vec![vec![1, 2, 3, 4, 5, 6]], vec![vec![9, 8]]];
    let both = batch(&["x"], &samples, None);
    let outputs = engine.evaluate(&both).unwrap();
    let mut meter = Meter::new(Task::Tokens, TOKENS, &[]);
    meter.add(outputs.losses, outputs.logits, &both);
    let mean = (6.0 * outputs.losses[0] + 2.0 * outputs.losses[1]) / 8.0;
    let trained = engine.train(&both, 0.0).unwrap().loss;
    assert!((trained - mean).abs() < 1e-5 && (meter.loss() - f64::from(mean)).abs() < 1e-5);
}

#[test]
fn what_does_not_fit_is_named() {
    let error = |model: &str| {
        let mut model: Model = toml::from_str(model).unwrap();
        let expanded = model.expand(Some(TOKENS)).map_err(|e| e.to_string());
        let loss = LossSpec::TokenCrossentropy { label_smoothing: 0.0 };
        let spec = EngineSpec::new(model, loss, OptimizerSpec::sgd(0.5));
        expanded
            .and_then(|()| Engine::compile(spec).map(drop).map_err(|e| e.to_string()))
            .unwrap_err()
    };
    let layers = |layers: &str| {
        format!("input = {{ tokens = {{ length = 4, vocabulary = 9 }} }}\nlayers = [{layers}]")
    };
    let embedding = "{ embedding = { vocabulary = 9, units = 6 } }";
    for (model, what) in [
        (
            layers(&format!("{embedding}, {{ attention = {{ heads = 4 }} }}")),
            "6 values of a position are no whole number for each of 4 heads",
        ),
        (
            layers(&format!("{embedding}, {{ attention = {{ heads = 2, over = \"m\" }} }}")),
            "the model has no input \"m\"",
        ),
        (
            layers(&format!("{embedding}, {{ positions = {{ length = 3 }} }}")),
            "has 3 positions, and its input has up to 4",
        ),
        (
            layers(&format!(
                "{embedding}, {{ dense = {{ units = 8, tied = \"layers.0.embedding\" }} }}"
            )),
            "whose table is [9, 6] and not [8, 6]",
        ),
        (
            layers(&format!("{embedding}, {{ dense = {{ units = 9, tied = \"layers.9\" }} }}")),
            "is tied to layers.9, which is no embedding before it",
        ),
        (
            layers(&format!("{embedding}, {{ attention = {{ heads = 3, key_heads = 2 }} }}")),
            "key_heads: must be a divisor of heads",
        ),
        (
            layers(&format!(
                "{embedding}, {{ global_avg_pool = {{}} }}, {{ dense = {{ units = 9 }} }}"
            )),
            "takes logits [batch, time, tokens] of sequences",
        ),
        (
            "decoder_only = { units = 6, heads = 4, layers = 1, context = 4 }".to_owned(),
            "decoder_only.heads must divide units",
        ),
        (format!("{NEXT}\n{OTHER}"), "encoder_decoder has no place beside decoder_only"),
    ] {
        let found = error(&model);
        assert!(found.contains(what), "{found}");
    }
}
