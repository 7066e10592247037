//! Schedules against PyTorch's and Keras's values.
#![allow(clippy::unwrap_used)]

use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::Path;
use tidemill_nn::ScheduleSpec;

#[derive(Deserialize)]
struct Schedules {
    schedules: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    schedule: String,
    hyper_parameters: Map<String, Value>,
    source: String,
    values: Vec<f64>,
}

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn schedules_equal_those_of_pytorch_and_keras() {
    let rows: Schedules = serde_json::from_str(&fixture("schedules.json")).unwrap();
    assert!(rows.schedules.len() >= 20);
    for row in rows.schedules {
        let table = Value::Object(Map::from_iter([(
            row.schedule.clone(),
            Value::Object(row.hyper_parameters.clone()),
        )]));
        let schedule: ScheduleSpec = serde_json::from_value(table).unwrap();
        schedule.validate("learning_rate").unwrap();
        // PyTorch's one-cycle line goes on below zero after its last step; this one stays.
        let end = match &schedule {
            ScheduleSpec::OneCycle { total_steps, .. } => total_steps.unwrap() as usize,
            _ => row.values.len(),
        };
        // Keras computes in f32.
        let tolerance = if row.source == "keras" { 3e-5 } else { 1e-9 };
        for (step, &expected) in row.values[..end].iter().enumerate() {
            let found = schedule.at(step as u64);
            assert!(
                (found - expected).abs() <= tolerance * expected.abs().max(1e-3),
                "{} at step {step}: {found}, not {expected}",
                row.name
            );
        }
    }
}
