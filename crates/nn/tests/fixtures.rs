//! Schedules, optimizers and losses against PyTorch's and Keras's numbers.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Map, Value};
use tidemill_graph::reference::{Values, apply_updates, evaluate};
use tidemill_graph::{Clip, DType, Graph, TensorId, Update, gradients, hyper};
use tidemill_nn::{LossSpec, OptimizerSpec, ScheduleSpec, Targets, hyper_values};

fn table(name: &str, options: &Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), options.clone())]))
}

#[test]
fn schedules_equal_those_of_pytorch_and_keras() {
    let fixture = support::json("schedules.json");
    let rows = fixture["schedules"].as_array().unwrap();
    assert!(rows.len() >= 20);
    for row in rows {
        let kind = table(row["schedule"].as_str().unwrap(), &row["hyper_parameters"]);
        let schedule: ScheduleSpec = serde_json::from_value(kind).unwrap();
        schedule.validate("learning_rate").unwrap();
        let values = row["values"].as_array().unwrap();
        // PyTorch's one-cycle line goes on below zero after its last step; this one stays.
        let end = match &schedule {
            ScheduleSpec::OneCycle { total_steps, .. } => total_steps.unwrap() as usize,
            _ => values.len(),
        };
        // Keras computes in f32.
        let tolerance = if row["source"] == "keras" { 3e-5 } else { 1e-9 };
        for (step, expected) in values[..end].iter().enumerate() {
            let (found, expected) = (schedule.at(step as u64), expected.as_f64().unwrap());
            assert!(
                (found - expected).abs() <= tolerance * expected.abs().max(1e-3),
                "{} at step {step}: {found}, not {expected}",
                row["name"]
            );
        }
    }
}

/// An optimizer as a recipe would have it, from a fixture's names.
fn optimizer(row: &Value) -> OptimizerSpec {
    let mut options = row["hyper_parameters"].as_object().unwrap().clone();
    let renamed = [
        ("l2", "weight_decay"),
        ("initial_accumulator_value", "initial_accumulator"),
        ("l1_regularization_strength", "l1"),
        ("l2_regularization_strength", "l2"),
        ("l2_shrinkage_regularization_strength", "l2_shrinkage"),
    ];
    for (theirs, ours) in renamed {
        if let Some(value) = options.remove(theirs) {
            options.insert(ours.to_owned(), value);
        }
    }
    serde_json::from_value(table(row["optimizer"].as_str().unwrap(), &Value::Object(options)))
        .unwrap()
}

#[test]
fn optimizers_follow_the_trajectories_of_pytorch_and_keras() {
    let fixture = support::json("optimizers.json");
    let tensors = support::safetensors("optimizers.safetensors");
    let parameters = ["weight", "bias"];
    let mut checked = 0;
    for row in fixture["trajectories"].as_array().unwrap() {
        let name = row["name"].as_str().unwrap();
        let spec = optimizer(row);
        spec.validate().unwrap();
        let rule = spec.rule();
        let mut graph = Graph::new();
        let mut slopes = vec![];
        for parameter in parameters {
            let start = &tensors[&format!("initial/{parameter}")];
            let id = graph.parameter(parameter, &start.shape);
            let gradient = graph.input(&format!("{parameter}.gradient"), &start.shape, DType::F32);
            let slot = |slot: &str| graph.state(&format!("{parameter}.{slot}"), &start.shape);
            let slots = rule.slot_names().into_iter().map(slot).collect();
            let decay = spec.weight_decay(parameter);
            slopes.push(gradient);
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
        graph.hyper = Some(graph.input("hyper", &[hyper::LEN], DType::F32));
        graph.clip = Some(spec.clip()).filter(|clip| *clip != Clip::None);

        let mut values = Values::<f64>::new(&graph);
        for (parameter, update) in parameters.iter().zip(&graph.updates) {
            values.set(update.parameter, tensors[&format!("initial/{parameter}")].f64s());
            for (i, &slot) in update.slots.iter().enumerate() {
                let start = f64::from(rule.slot_start_of(i));
                values.set(slot, vec![start; graph.tensor(slot).len()]);
            }
        }
        for t in 1..=100 {
            for (parameter, &id) in parameters.iter().zip(&slopes) {
                let all = tensors[&format!("gradients/{parameter}")].f64s();
                let len = graph.tensor(id).len();
                values.set(id, all[(t - 1) * len..t * len].to_vec());
            }
            let rate = spec.schedule().at(t as u64 - 1);
            let vector = hyper_values(&rule, rate, t as u64);
            values.set(graph.hyper.unwrap(), vector.map(f64::from).to_vec());
            apply_updates(&graph, &mut values).unwrap();
            for (parameter, update) in parameters.iter().zip(&graph.updates) {
                let Some(expected) = tensors.get(&format!("{name}/{t}/{parameter}")) else {
                    continue;
                };
                checked += 1;
                let found = values.get(update.parameter).unwrap();
                assert_close(
                    found,
                    &expected.f64s(),
                    1e-5,
                    &format!("{name} step {t} {parameter}"),
                );
            }
        }
    }
    assert!(checked >= 29 * 5 * 2, "only {checked} comparisons");
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    let largest = expected.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= tolerance * largest, "{what}: {f}, not {e}");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

#[test]
fn losses_and_their_gradients_equal_those_of_pytorch() {
    let fixture = support::json("ops.json");
    let tensors = support::safetensors("ops.safetensors");
    let mut checked = 0;
    for case in fixture["cases"].as_array().unwrap() {
        let (name, op) = (case["name"].as_str().unwrap(), case["op"].as_str().unwrap());
        let mut options = case["attributes"].as_object().unwrap().clone();
        let class_weights = options.remove("class_weights");
        options.retain(|_, value| !value.is_null());
        let loss = table(op, &Value::Object(options));
        let is_loss = name.contains("entropy") || name.contains("focal") || name.contains("hinge");
        let is_loss = is_loss || name.contains("_error") || name.contains("huber");
        let Ok(loss) = serde_json::from_value::<LossSpec>(loss) else { continue };
        assert!(is_loss, "{name}");
        checked += 1;

        let read = |role: &str| tensors.get(&format!("{name}/{role}"));
        let predictions = read("predictions").unwrap();
        let batch = predictions.shape[0];
        let mut graph = Graph::new();
        let logits = graph.parameter("logits", &predictions.shape);
        let built = loss.build(&mut graph, logits).unwrap();
        let slope = gradients(&mut graph, built.mean, &[logits]).unwrap()[0].unwrap();

        let input = |name: &str| -> TensorId { graph.find(name).unwrap() };
        let mut values = Values::<f64>::new(&graph).with(logits, predictions.f64s());
        let mut weights = read("sample_weights").map_or(vec![1.0; batch], |w| w.f64s());
        let classes: Vec<usize> = match loss.targets() {
            Targets::ClassIds => {
                let labels = read("labels").unwrap().i32s();
                values.set_ints(input("labels"), labels.clone());
                labels.into_iter().map(|label| label as usize).collect()
            }
            Targets::Dense => {
                let targets = read("targets").unwrap().f64s();
                let hot = |row: &[f64]| row.iter().position(|&t| t == 1.0).unwrap_or(0);
                let classes = targets.chunks(targets.len() / batch).map(hot).collect();
                values.set(input("targets"), targets);
                classes
            }
        };
        if let Some(class_weights) = class_weights {
            // Binary targets are their own class.
            let single = predictions.shape[1..].iter().product::<usize>() == 1;
            for (row, weight) in weights.iter_mut().enumerate() {
                let class = if single && loss.targets() == Targets::Dense {
                    read("targets").unwrap().f64s()[row] as usize
                } else {
                    classes[row]
                };
                *weight *= class_weights[class].as_f64().unwrap();
            }
        }
        values.set(input("weights"), weights);
        let values = evaluate(&graph, values).unwrap();
        let expected = read("output").unwrap().f64s();
        assert_close(values.get(built.mean).unwrap(), &expected, 1e-6, name);
        let expected = read("grad_predictions").unwrap().f64s();
        assert_close(values.get(slope).unwrap(), &expected, 1e-6, &format!("{name} gradient"));
    }
    assert!(checked > 50, "only {checked} cases");
}
