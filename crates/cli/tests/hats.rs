//! Hats in recipes: what `init` writes, what fits a stream, and the same bits however a run is cut.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::events::{Row, rows};
use common::*;
use std::path::{Path, PathBuf};

/// Events of numbers, a number of two values, and a category.
fn events(folder: &Path, len: usize) -> PathBuf {
    let mut text = "a,b,flag,kind,class\n".to_owned();
    for (i, Row { a, b, kind, class }) in rows().enumerate().take(len) {
        text += &match i % 53 {
            7 => format!("{a},,{},{kind},{class}\n", i % 2),
            _ => format!("{a},{b},{},{kind},{class}\n", i % 2),
        };
    }
    let path = folder.join("events.csv");
    std::fs::write(&path, text).unwrap();
    path
}

/// What must not depend on how a run is cut.
fn outcome(run: &Path) -> [serde_json::Value; 4] {
    let summary = std::fs::read_to_string(run.join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    ["state_sha256", "events", "bad_events", "prequential"].map(|key| summary[key].clone())
}

/// A part of the model that has changed is named by its key, not by its tensors.
#[test]
fn a_changed_part_of_the_model_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let events = events(folder.path(), 200);
    let (recipe, out) = (folder.path().join("recipe.toml"), folder.path().join("run"));
    succeed(&["init", text(&events), "--out", text(&recipe)]);
    let learn = ["learn", text(&recipe), "--from", text(&events), "--out", text(&out)];
    succeed(&[&learn[..], &["--until-events", "100"]].concat());
    for (key, value) in [
        ("model.last_label", "true"),
        ("model.memory.events", "5"),
        ("model.memory", "{}"),
        ("model.hats.knots", "5"),
        ("model.layers[0].dense.units", "8"),
    ] {
        let set = format!("{key}={value}");
        let output = tidemill(&[&learn[..], &["--resume", "--set", &set]].concat());
        let says = stderr(&output);
        let named = says.contains(&format!("{} has changed", key.trim_start_matches("model.")));
        assert!(!output.status.success() && named, "{set}: {says}");
    }
}

#[test]
fn init_writes_hats_which_learn_the_same_however_a_run_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let events = events(folder.path(), 3000);
    let recipe = folder.path().join("recipe.toml");
    succeed(&["init", text(&events), "--out", text(&recipe)]);
    let written = std::fs::read_to_string(&recipe).unwrap();
    // Three numbers, a text of the dictionary's places, and nine hats of each number.
    assert!(written.contains("hats   = { columns = 3 }"), "{written}");
    let learn = |out: &Path, more: &[&str]| {
        let all = ["learn", text(&recipe), "--from", text(&events), "--out", text(out)];
        succeed(&[&all[..], more].concat());
        outcome(out)
    };
    let whole = folder.path().join("whole");
    let want = learn(&whole, &["--threads", "1"]);
    let figures = &want[3];
    let of = |name: &str| figures[name].as_f64().unwrap();
    let parts = ["plain", "hats", "linear", "additive"];
    let weights = parts.map(|part| of(&format!("expert.{part}.weight")));
    assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{figures}");
    assert!(of("accuracy") > 0.8 && of("expert.hats.accuracy") > 0.8, "{figures}");
    let page = std::fs::read_to_string(whole.join("report.html")).unwrap();
    assert!(page.contains("Parts of the mixture") && page.contains("network without hats"));
    for threads in ["2", "3"] {
        let found = learn(&folder.path().join(threads), &["--threads", threads]);
        assert_eq!(found, want, "{threads} threads");
    }
    let halves = folder.path().join("halves");
    learn(&halves, &["--until-events", "1300"]);
    let found = learn(&halves, &["--resume"]);
    assert_eq!(found, want, "resumed");
    // The same recipe in batches, then on the stream, then asked.
    let batches = folder.path().join("batches");
    succeed(&["train", text(&recipe), "--out", text(&batches), "--set", "batch.epochs=2"]);
    succeed(&["learn", text(&batches), "--from", text(&events), "--out", text(&batches)]);
    let said = succeed(&["predict", text(&batches), "--data", text(&events)]);
    assert_eq!(said.lines().count(), 3001, "{said}");
}

#[test]
fn hats_that_do_not_fit_the_stream_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let events = events(folder.path(), 300);
    let recipe = folder.path().join("recipe.toml");
    let lines = |model: &str| {
        format!(
            "[model]\n{model}\nlayers = [{{ dense = {{ units = 8 }} }}, {{ dense = {{ units = 3 }} }}]\n\
             [training]\nloss = \"sparse_categorical_crossentropy\"\n\
             [online.features]\ntext = {{ dictionary = {{ capacity = 4 }} }}\n"
        )
    };
    let refused = |model: &str, more: &[&str]| {
        std::fs::write(&recipe, lines(model)).unwrap();
        let out = folder.path().join("run");
        let all = ["learn", text(&recipe), "--from", text(&events), "--out", text(&out)];
        let output = tidemill(&[&all[..], more].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        stderr(&output)
    };
    let said = refused("input = { features = 44 }\nhats = { columns = 4 }", &[]);
    let want = "model.hats is for 4 columns of numbers and an event of the stream has 3; set model.hats.columns to \
                3 and the model's input to { features = 35 }";
    assert!(said.contains(want), "{said}");
    let said = refused("input = { features = 44 }\nhats = { columns = 3 }", &[]);
    assert!(said.contains("the model has 44 inputs and an event of the stream 35"), "{said}");
    assert!(said.contains("a, b, flag, kind"), "{said}");
    let said = refused("input = { features = 8 }\nhats = { columns = 3 }", &[]);
    assert!(said.contains("model.hats.columns = 3 gives 27 inputs of hats"), "{said}");
    let fixed = ["--set", "online.features.standardize=none"];
    let said = refused("input = { features = 35 }\nhats = { columns = 3 }", &fixed);
    assert!(said.contains("model.hats has its knots on the standardized scale"), "{said}");
    let all = ["--set", "stream.text=[\"a\", \"b\", \"flag\"]"];
    let said = refused("input = { features = 35 }\nhats = { columns = 3 }", &all);
    assert!(said.contains("an event of the stream has 0; leave model.hats out"), "{said}");
}
