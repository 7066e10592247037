//! Trajectories of the reference rules against PyTorch's and Keras's optimizers.
#![allow(clippy::unwrap_used)]

mod common;

use common::fixtures::{difference, json, tensors};
use serde_json::Value;
use tidemill_graph::reference::{Real, Values, apply_updates, evaluate};
use tidemill_graph::{Clip, DType, Graph, Rule, Update, WeightDecay, decimal, hyper};

fn rule(optimizer: &str, h: &Value) -> Rule {
    let number = |key: &str, default: f64| h[key].as_f64().unwrap_or(default) as f32;
    let flag = |key: &str| h[key].as_bool().unwrap_or(false);
    match optimizer {
        "sgd" if h.get("momentum").is_some() => {
            Rule::Momentum { momentum: number("momentum", 0.0), nesterov: flag("nesterov") }
        }
        "sgd" => Rule::Sgd,
        "adam" | "adamw" => Rule::Adam {
            beta1: number("beta1", 0.9),
            beta2: number("beta2", 0.999),
            epsilon: number("epsilon", 1e-8),
        },
        "rmsprop" => Rule::RmsProp {
            rho: number("rho", 0.9),
            epsilon: number("epsilon", 1e-8),
            momentum: number("momentum", 0.0),
            centered: flag("centered"),
            corrected: false,
            lazy: false,
        },
        "adagrad" => Rule::Adagrad {
            epsilon: number("epsilon", 1e-10),
            initial_accumulator: number("initial_accumulator", 0.0),
        },
        "lion" => Rule::Lion { beta1: number("beta1", 0.9), beta2: number("beta2", 0.99) },
        "ftrl" => Rule::Ftrl {
            learning_rate_power: number("learning_rate_power", -0.5),
            initial_accumulator: number("initial_accumulator_value", 0.1),
            l1: number("l1_regularization_strength", 0.0),
            l2: number("l2_regularization_strength", 0.0),
            l2_shrinkage: number("l2_shrinkage_regularization_strength", 0.0),
            beta: number("beta", 0.0),
        },
        other => panic!("{other}"),
    }
}

fn decay(h: &Value) -> WeightDecay {
    if let Some(l2) = h["l2"].as_f64() {
        return WeightDecay::L2(l2 as f32);
    }
    h["weight_decay"].as_f64().map_or(WeightDecay::None, |d| WeightDecay::Decoupled(d as f32))
}

fn clip(h: &Value) -> Clip {
    let limit = |key: &str| h[key].as_f64().map(|limit| limit as f32);
    limit("clip_value")
        .map(Clip::Value)
        .or(limit("clip_norm").map(Clip::Norm))
        .or(limit("clip_global_norm").map(Clip::GlobalNorm))
        .unwrap_or(Clip::None)
}

/// The hyper-parameters of step `t`, from 1.
fn hyper_at(rule: &Rule, learning_rate: f64, t: i32) -> Vec<f64> {
    let mut values = vec![1.0; hyper::LEN];
    values[hyper::LEARNING_RATE] = learning_rate;
    values[hyper::STEP] = f64::from(t);
    if let Rule::Adam { beta1, beta2, .. } = *rule {
        values[hyper::BIAS_CORRECTION1] = 1.0 - decimal(beta1).powi(t);
        values[hyper::BIAS_CORRECTION2] = 1.0 - decimal(beta2).powi(t);
    }
    values
}

fn cast<T: Real>(values: &[f64]) -> Vec<T> {
    values.iter().map(|&value| T::from_f64(value)).collect()
}

fn follow<T: Real>(limit: f64) {
    let list = json("optimizers.json");
    let stored = tensors("optimizers.safetensors");
    let saved: Vec<u64> =
        list["saved_steps"].as_array().unwrap().iter().map(|s| s.as_u64().unwrap()).collect();
    for trajectory in list["trajectories"].as_array().unwrap() {
        let name = trajectory["name"].as_str().unwrap();
        let settings = &trajectory["hyper_parameters"];
        let rule = rule(trajectory["optimizer"].as_str().unwrap(), settings);

        let mut graph = Graph::new();
        let hyper = graph.input("hyper", &[hyper::LEN], DType::F32);
        graph.hyper = Some(hyper);
        graph.clip = Some(clip(settings));
        let mut values = Values::<T>::new(&graph);
        for parameter in ["weight", "bias"] {
            let initial = &stored[&format!("initial/{parameter}")];
            let id = graph.parameter(parameter, &initial.shape);
            values.set(id, cast(&initial.floats));
            let gradient =
                graph.input(&format!("{parameter}.gradient"), &initial.shape, DType::F32);
            let mut slots = vec![];
            for (index, slot) in rule.slot_names().into_iter().enumerate() {
                let slot = graph.state(&format!("{parameter}.{slot}"), &initial.shape);
                let start = f64::from(rule.slot_start_of(index));
                values.set(slot, cast(&vec![start; initial.floats.len()]));
                slots.push(slot);
            }
            let decay = decay(settings);
            graph.updates.push(Update {
                parameter: id,
                gradient,
                slots,
                rule,
                decay,
                slot_type: Default::default(),
                rate: 1.0,
                elsewhere: false,
            });
        }
        for step in 1..=100 {
            let rate = settings["learning_rate"].as_f64().unwrap();
            values.set(hyper, cast(&hyper_at(&rule, rate, step as i32)));
            for update in &graph.updates {
                let parameter = &graph.tensor(update.parameter).name;
                let all = &stored[&format!("gradients/{parameter}")];
                let size = graph.tensor(update.parameter).len();
                let at = (step as usize - 1) * size;
                values.set(update.gradient, cast(&all.floats[at..at + size]));
            }
            values = evaluate(&graph, values).unwrap();
            apply_updates(&graph, &mut values).unwrap();
            if !saved.contains(&step) {
                continue;
            }
            for update in &graph.updates {
                let parameter = &graph.tensor(update.parameter).name;
                let want = &stored[&format!("{name}/{step}/{parameter}")].floats;
                let found = values.get(update.parameter).unwrap();
                let found: Vec<f64> = found.iter().map(|w| w.to_f64()).collect();
                let difference = difference(&found, want);
                assert!(difference <= limit, "{name}, step {step}, {parameter}: {difference:e}");
            }
        }
    }
}

#[test]
fn trajectories_in_f64() {
    follow::<f64>(1e-6);
}

#[test]
fn trajectories_in_f32() {
    follow::<f32>(1e-5);
}
