//! Online Permuted MNIST (Dohare et al. 2024): each task shuffles the pixels in another way; the
//! accuracy within a task, each event predicted before it is learned from, says how well a model
//! that has learned all tasks before still learns.

use std::time::Instant;

use serde_json::json;
use tidemill_engine::nn::{Activation, Model, OptimizerSpec};
use tidemill_online::ContinualSpec;
use tidemill_online::continual::{ContinualBackpropSpec, PlasticitySpec, ShrinkAndPerturbSpec};

use crate::digits::{Digits, Outcome, learn, learner, percent, shuffled, wanted};

/// Settings by environment: `RATE`, `DECAY`, `REPLACEMENT`, `SHRINK`, `PERTURB`, `EVERY`; `VERBOSE`
/// tells of every ten tasks.
pub fn run(methods: &str, tasks: usize, events: usize) -> Outcome<()> {
    let digits = Digits::read("train")?;
    let number = |name: &str, default: f64| {
        std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    let rate = number("RATE", 0.01);
    let decay = number("DECAY", 5e-4);
    let replacement = number("REPLACEMENT", 1e-4);
    let (shrink, perturb, every) =
        (number("SHRINK", 0.995), number("PERTURB", 0.01), number("EVERY", 1000.0));
    let plasticity = |spec| ContinualSpec { plasticity: Some(spec), ..ContinualSpec::default() };
    let all = [
        ("backprop", 0.0, ContinualSpec::default()),
        ("l2", decay, ContinualSpec::default()),
        (
            "shrink_and_perturb",
            0.0,
            plasticity(PlasticitySpec::ShrinkAndPerturb(ShrinkAndPerturbSpec {
                every: every as u64,
                shrink,
                perturb,
            })),
        ),
        (
            "continual_backprop",
            0.0,
            plasticity(PlasticitySpec::ContinualBackprop(ContinualBackpropSpec {
                replacement_rate: replacement,
                ..Default::default()
            })),
        ),
    ];
    for (name, decay, continual) in all {
        if !wanted(methods, name) {
            continue;
        }
        let model = Model::features(784)
            .dense(100, Activation::Relu)
            .dense(100, Activation::Relu)
            .dense(100, Activation::Relu)
            .dense(10, Activation::Linear);
        let mut optimizer = OptimizerSpec::sgd(rate);
        if let OptimizerSpec::Sgd(sgd) = &mut optimizer {
            sgd.weight_decay = decay;
        }
        let mut learner = learner(model, optimizer, 1, &continual)?;
        let start = Instant::now();
        let mut accuracies = Vec::new();
        let mut x = [0.0; 784];
        for task in 0..tasks as u32 {
            let pixels = shuffled(784, 7, task);
            let order = shuffled(digits.x.len(), 8, task);
            let mut right = 0;
            for &event in order.iter().take(events) {
                for (to, &from) in x.iter_mut().zip(&pixels) {
                    *to = digits.x[event][from];
                }
                right += u32::from(learn(&mut learner, &x, digits.labels[event])?);
            }
            accuracies.push(percent(f64::from(right) / events as f64));
            if std::env::var_os("VERBOSE").is_some() && task % 10 == 9 {
                eprintln!("{name}: {:?}", &accuracies[task as usize - 9..]);
            }
        }
        let mean = |from: usize, to: usize| {
            let part = accuracies.get(from..to.min(accuracies.len())).unwrap_or(&[]);
            percent(part.iter().sum::<f64>() / part.len().max(1) as f64 / 100.0)
        };
        let tens: Vec<f64> = (0..tasks / 10).map(|i| mean(10 * i, 10 * i + 10)).collect();
        println!(
            "{}",
            json!({
                "experiment": "permuted_mnist", "method": name, "tasks": tasks,
                "events_per_task": events, "learning_rate": rate, "weight_decay": decay,
                "continual": format!("{:?}", continual.plasticity),
                "task_10": accuracies.get(9), "task_100": accuracies.get(99),
                "tasks_6_to_15": mean(5, 15), "tasks_91_to_100": mean(90, 100),
                "by_ten_tasks": tens,
                "microseconds_an_event":
                    start.elapsed().as_secs_f64() * 1e6 / (tasks * events) as f64,
            })
        );
    }
    Ok(())
}
