//! Split MNIST, class-incremental: five experiences of two classes each, one pass, one head of ten
//! outputs, and no word about where one experience ends.

use std::time::Instant;

use serde_json::json;
use tidemill_engine::nn::{Activation, LayerSpec, Model, OptimizerSpec};
use tidemill_online::ContinualSpec;
use tidemill_online::continual::{ReplayPolicy, ReplaySpec};

use crate::digits::{Digits, Outcome, accuracy, learn, learner, percent, shuffled, wanted};

/// Events that the memory holds, of all classes together.
const CAPACITY: usize = 500;

// Settings by environment: `MODEL`, `RATE`, `DECAY`, `DROPOUT`, `PER_STEP`, `SEEDS`.

pub fn run(methods: &str) -> Outcome<()> {
    let (digits, test) = (Digits::read("train")?, Digits::read("t10k")?);
    let rate = number("RATE", 0.05);
    let decay = number("DECAY", 0.0);
    let per_step = number("PER_STEP", 10.0) as usize;
    let seeds = number("SEEDS", 1.0) as u64;
    let replay = |policy| ContinualSpec {
        replay: Some(ReplaySpec { capacity: CAPACITY, policy, per_step }),
        ..ContinualSpec::default()
    };
    let all = [
        ("none", ContinualSpec::default()),
        ("reservoir", replay(ReplayPolicy::Reservoir)),
        ("class_balanced", replay(ReplayPolicy::ClassBalanced)),
    ];
    for (name, continual) in all {
        if !wanted(methods, name) {
            continue;
        }
        for seed in 1..=seeds {
            let start = Instant::now();
            let mut optimizer = OptimizerSpec::sgd(rate);
            if let OptimizerSpec::Sgd(sgd) = &mut optimizer {
                sgd.weight_decay = decay;
            }
            let mut learner = learner(model(), optimizer, seed, &continual)?;
            for experience in 0..5 {
                let order = shuffled(digits.x.len(), seed as u32, experience as u32);
                for &event in order.iter().filter(|&&i| digits.labels[i] / 2 == experience) {
                    learn(&mut learner, &digits.x[event], digits.labels[event])?;
                }
            }
            let each: Vec<f64> = (0..5)
                .map(|e| accuracy(&mut learner, &test, |label| label / 2 == e))
                .collect::<Outcome<_>>()?;
            let steps = learner.engine().step() as f64;
            println!(
                "{}",
                json!({
                    "experiment": "split_mnist", "method": name, "capacity": CAPACITY,
                    "per_step": per_step, "learning_rate": rate,
                    "weight_decay": decay, "model": std::env::var("MODEL").unwrap_or("cnn".into()),
                    "dropout": number("DROPOUT", 0.3), "seed": seed,
                    "accuracy": percent(each.iter().sum::<f64>() / 5.0),
                    "all_classes": percent(accuracy(&mut learner, &test, |_| true)?),
                    "experiences": each.iter().map(|&a| percent(a)).collect::<Vec<_>>(),
                    "microseconds_an_event": start.elapsed().as_secs_f64() * 1e6 / steps,
                })
            );
        }
    }
    Ok(())
}

/// The network: a small one of two convolutions, or with `MODEL=mlp` two hidden layers of 400 as in
/// most of the literature. Dropout keeps it from learning 500 events by heart.
fn model() -> Model {
    if std::env::var("MODEL").as_deref() != Ok("mlp") {
        return Model::features(784)
            .layer(LayerSpec::Reshape { shape: vec![28, 28, 1] })
            .conv2d(8, 5, Activation::Relu)
            .max_pool2d(2)
            .conv2d(16, 5, Activation::Relu)
            .max_pool2d(2)
            .flatten()
            .dropout(number("DROPOUT", 0.3))
            .dense(10, Activation::Linear);
    }
    Model::features(784)
        .dense(400, Activation::Relu)
        .dense(400, Activation::Relu)
        .dense(10, Activation::Linear)
}

fn number(name: &str, default: f64) -> f64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}
