//! MNIST, and what all experiments do with it.

use std::path::PathBuf;

use tidemill_engine::data::idx;
use tidemill_engine::engine::EngineSpec;
use tidemill_engine::graph::random::philox4x32;
use tidemill_engine::nn::{LossSpec, Model, OptimizerSpec};
use tidemill_engine::prequential::Truth;
use tidemill_online::{ContinualSpec, Learner};

pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Images as values from 0 to 1, with their classes.
pub struct Digits {
    pub x: Vec<[f32; 784]>,
    pub labels: Vec<usize>,
}

impl Digits {
    /// `train` (60,000) or `t10k` (10,000).
    pub fn read(set: &str) -> Outcome<Digits> {
        let folder = std::env::var("TIDEMILL_DATA").unwrap_or_else(|_| "../shared/data".into());
        let path = |kind: &str| PathBuf::from(&folder).join(format!("mnist/{set}-{kind}-ubyte.gz"));
        let images = idx::read(&path("images-idx3"), None)?;
        let labels = idx::read(&path("labels-idx1"), None)?;
        let row = |bytes: &[u8]| std::array::from_fn(|i| f32::from(bytes[i]) / 255.0);
        Ok(Digits {
            x: images.bytes().chunks_exact(784).map(row).collect(),
            labels: labels.bytes().iter().map(|&label| usize::from(label)).collect(),
        })
    }
}

/// The numbers below `n` in an order that `seed` and `stream` decide.
pub fn shuffled(n: usize, seed: u32, stream: u32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        let word = philox4x32([i as u32, stream, 0, 0], [seed, 0])[0];
        order.swap(i, ((u64::from(word) * (i as u64 + 1)) >> 32) as usize);
    }
    order
}

/// A learner of ten classes.
pub fn learner(
    model: Model,
    optimizer: OptimizerSpec,
    seed: u64,
    continual: &ContinualSpec,
) -> Outcome<Learner> {
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let spec = EngineSpec {
        batch_size: 1,
        seed,
        threads: Some(1),
        ..EngineSpec::new(model, loss, optimizer)
    };
    let mut learner = Learner::new(spec)?;
    learner.set_continual(continual)?;
    Ok(learner)
}

/// Learns one event; says whether it was predicted right before.
pub fn learn(learner: &mut Learner, x: &[f32], label: usize) -> Outcome<bool> {
    learner.learn(x, Truth::Class(label))?;
    Ok(argmax(learner.scored(0).outputs) == label)
}

pub fn argmax(values: &[f32]) -> usize {
    (0..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// The share of `digits` of the classes wanted that is predicted right.
pub fn accuracy(
    learner: &mut Learner,
    digits: &Digits,
    wanted: impl Fn(usize) -> bool,
) -> Outcome<f64> {
    let (mut right, mut all) = (0.0, 0.0);
    for (x, &label) in digits.x.iter().zip(&digits.labels) {
        if wanted(label) {
            right += f64::from(u8::from(argmax(learner.predict(x)?) == label));
            all += 1.0;
        }
    }
    Ok(right / all)
}

/// Whether a method was asked for.
pub fn wanted(methods: &str, name: &str) -> bool {
    ["", "all"].contains(&methods) || methods.split(',').any(|m| m == name)
}

/// A share as a percentage of two decimals.
pub fn percent(share: f64) -> f64 {
    (share * 1e4).round() / 100.0
}
