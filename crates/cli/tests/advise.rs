//! Batch or online: the advice on streams that drift and on steady ones, and that it is right.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::{Path, PathBuf};

use common::*;
use serde_json::Value;

/// Two numbers and a class, of which the rule turns `turns` times over the stream.
fn stream(folder: &Path, len: usize, turns: f64) -> (PathBuf, PathBuf) {
    let mut state = 11u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1u64 << 24) as f64 * 2.0 - 1.0
    };
    let mut rows = "a,b,class\n".to_string();
    for i in 0..len {
        let angle = turns * std::f64::consts::TAU * i as f64 / len as f64;
        let (a, b) = (random(), random());
        let class = u8::from(a * angle.cos() + b * angle.sin() + 0.2 * random() > 0.0);
        rows += &format!("{a:.4},{b:.4},{class}\n");
    }
    let events = folder.join("events.csv");
    std::fs::write(&events, rows).unwrap();
    let recipe = folder.join("recipe.toml");
    let text = r#"[model]
input  = { features = 2 }
layers = [{ dense = { units = 1 } }]
[training]
loss      = "binary_crossentropy"
optimizer = { sgd = { learning_rate = 0.1 } }
[stream]
label = "class"
"#;
    std::fs::write(&recipe, text).unwrap();
    (recipe, events)
}

fn json(arguments: &[&str]) -> Value {
    let text = succeed(&[arguments, &["--json"]].concat());
    serde_json::from_str(&text).unwrap()
}

/// The quality of a row of `compare` in the order of time.
fn quality(compared: &Value, name: &str) -> f64 {
    let rows = compared["rows"].as_array().unwrap();
    let row = rows.iter().find(|r| r["name"].as_str().unwrap().starts_with(name)).unwrap();
    row["ordered"]["quality"].as_f64().unwrap()
}

#[test]
fn drift_asks_for_online_and_a_steady_stream_for_batches() {
    for (turns, online) in [(1.5, true), (0.0, false)] {
        let folder = tempfile::tempdir().unwrap();
        let (recipe, events) = stream(folder.path(), 6000, turns);
        let out = folder.path().join("out");
        let common =
            [text(&recipe), "--from", text(&events), "--out", text(&out), "--threads", "1"];
        let advised = json(&[&["advise"][..], &common].concat());
        let choice = advised["advice"]["choice"].as_str().unwrap();
        let drift = advised["evidence"]["drift"]["mean"].as_f64().unwrap();
        assert_eq!(choice == "online", online, "{advised}");
        assert_eq!(drift > 0.3, online, "{advised}");
        let compared = json(&[&["compare"][..], &common].concat());
        let best_batch = quality(&compared, "batch, retrained")
            .max(quality(&compared, "batch, trained once"))
            .max(quality(&compared, "batch, every"));
        let gain = quality(&compared, "online, each event") - best_batch;
        assert_eq!(gain > 0.02, online, "{compared}");
        for name in ["advise.html", "advise.json", "interval.svg", "delay.svg", "compare.html"] {
            let page = std::fs::read_to_string(out.join(name)).unwrap();
            assert!(!page.contains("NaN") && !page.contains("src="), "{name}: {page}");
        }
        assert!(!out.join("dead-letter.jsonl").exists());
    }
}

#[test]
fn words_rates_and_delays() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, events) = stream(folder.path(), 6000, 1.5);
    let out = folder.path().join("out");
    let common = ["advise", text(&recipe), "--from", text(&events), "--out", text(&out)];
    let says = succeed(&[&common[..], &["--rate", "100"]].concat());
    assert!(says.starts_with("ONLINE") && says.contains("Drift index"), "{says}");
    assert!(says.contains("100 events a second are expected"), "{says}");
    // No machine learns from so many.
    let flood = json(&[&common[..], &["--rate", "1e12"]].concat());
    assert_ne!(flood["advice"]["choice"], "online", "{flood}");
    // Labels that come a quarter of a turn late say the wrong thing.
    let late = json(&[&common[..], &["--label-delay", "1000"]].concat());
    assert_eq!(late["evidence"]["label_delay"], 1000);
    assert_ne!(late["advice"]["choice"], "online", "{late}");
}

#[test]
fn mistakes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, events) = stream(folder.path(), 120, 0.0);
    let out = folder.path().join("out");
    let failing = |arguments: &[&str]| {
        let output = tidemill(&[arguments, &["--out", text(&out)]].concat());
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        stderr(&output)
    };
    for command in ["compare", "advise"] {
        let few = failing(&[command, text(&recipe), "--from", text(&events)]);
        assert!(few.contains("120 labelled events") && few.contains("too few"), "{few}");
        let none = failing(&[command, text(&recipe)]);
        assert!(none.contains("batch.data is missing"), "{none}");
        assert!(none.contains("--from"), "{none}");
    }
    let rate = failing(&["advise", text(&recipe), "--from", text(&events), "--rate", "0"]);
    assert!(rate.contains("--rate"), "{rate}");
}

/// Elec2 drifts, MNIST does not.
#[test]
fn real_data() {
    let root = std::env::var_os("TIDEMILL_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let elec2 = root.join("electricity/elec2_8.csv.gz");
    if !elec2.exists() || !root.join("mnist").is_dir() {
        println!("skipped: no datasets in {}", root.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let advised = |recipe: &str, more: &[&str]| {
        let recipe = recipes.join(recipe);
        let out = folder.path().join("out");
        let all = [&["advise", text(&recipe), "--out", text(&out), "--json"][..], more].concat();
        let output = command(&all).env("TIDEMILL_DATA", &root).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let drifts = advised("elec2.toml", &["--from", text(&elec2)]);
    assert_eq!(drifts["advice"]["choice"], "online", "{drifts}");
    assert_eq!(drifts["advice"]["interval"], 1);
    let steady = advised("mnist-article.toml", &["--events", "9000"]);
    assert_ne!(steady["advice"]["choice"], "online", "{steady}");
    assert!(steady["evidence"]["drift"]["mean"].as_f64().unwrap() < 0.05, "{steady}");
}
