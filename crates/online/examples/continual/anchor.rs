//! A model that was trained in batches goes on with a stream of something else, digits with their
//! pixels shuffled, and is asked about both in the end.

use serde_json::json;
use tidemill_engine::nn::{Activation, Model, OptimizerSpec};
use tidemill_engine::prequential::Truth;
use tidemill_online::ContinualSpec;
use tidemill_online::continual::{AnchorSpec, EwcSpec};

use crate::digits::{Digits, Outcome, accuracy, learn, learner, percent, shuffled, wanted};

/// Settings by environment: `RATE`, `EVENTS`, `L2`, `LAMBDA`.
pub fn run(methods: &str) -> Outcome<()> {
    let (digits, test) = (Digits::read("train")?, Digits::read("t10k")?);
    let number = |name: &str, default: f64| {
        std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    let (l2, lambda) = (number("L2", 0.1), number("LAMBDA", 300.0));
    let (rate, events) = (number("RATE", 0.01), number("EVENTS", 60_000.0) as usize);
    let model = || Model::features(784).dense(256, Activation::Relu).dense(10, Activation::Linear);
    let permuted = |digits: &Digits| {
        let pixels = shuffled(784, 7, 1);
        let row = |x: &[f32; 784]| std::array::from_fn(|i| x[pixels[i]]);
        Digits { x: digits.x.iter().map(row).collect(), labels: digits.labels.clone() }
    };
    let (other, other_test) = (permuted(&digits), permuted(&test));
    // The batch part: three epochs in steps of 32.
    let mut trained = learner(model(), OptimizerSpec::sgd(0.1), 1, &ContinualSpec::default())?;
    for epoch in 0..3 {
        for batch in shuffled(digits.x.len(), 1, epoch).chunks_exact(32) {
            trained.start(32);
            for (row, &i) in batch.iter().enumerate() {
                trained.row(row).copy_from_slice(&digits.x[i]);
                trained.set(row, Truth::Class(digits.labels[i]), 1.0)?;
            }
            trained.step()?;
        }
    }
    let before = percent(accuracy(&mut trained, &test, |_| true)?);
    let weights = trained.engine().state().into_tensors();
    let anchor = |spec| ContinualSpec { anchor: Some(spec), ..ContinualSpec::default() };
    let all = [
        ("none", ContinualSpec::default()),
        ("l2", anchor(AnchorSpec::L2(l2))),
        ("ewc", anchor(AnchorSpec::Ewc(EwcSpec { lambda, samples: 2000 }))),
    ];
    for (name, continual) in all {
        if !wanted(methods, name) {
            continue;
        }
        let mut learner = learner(model(), OptimizerSpec::sgd(rate), 1, &ContinualSpec::default())?;
        learner.engine_mut().set_state(&weights)?;
        learner.set_continual(&continual)?;
        let mut samples = shuffled(digits.x.len(), 2, 0).into_iter();
        learner.anchor(&mut |learner| {
            let Some(i) = samples.next() else { return Ok(false) };
            learner.row(0).copy_from_slice(&digits.x[i]);
            learner.set(0, Truth::Class(digits.labels[i]), 1.0)?;
            Ok(true)
        })?;
        for &event in shuffled(other.x.len(), 3, 0).iter().take(events) {
            learn(&mut learner, &other.x[event], other.labels[event])?;
        }
        println!(
            "{}",
            json!({
                "experiment": "anchor", "method": name, "learning_rate": rate, "events": events,
                "l2": l2, "lambda": lambda, "before": before,
                "batch_test": percent(accuracy(&mut learner, &test, |_| true)?),
                "stream_test": percent(accuracy(&mut learner, &other_test, |_| true)?),
            })
        );
    }
    Ok(())
}
