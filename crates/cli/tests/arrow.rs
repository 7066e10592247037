//! Learning from Arrow IPC: the same events as CSV end in the same bits.
#![cfg(feature = "arrow")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use common::events::stream_recipe;
use common::*;

/// Written by `fixtures/arrow.py` with Arrow's own library: a stream, a compressed file, and CSV.
fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

#[test]
fn arrow_and_csv_are_the_same_events() {
    let folder = tempfile::tempdir().unwrap();
    // A look at a file of rows finds its classes; those of Arrow come one by one.
    let recipe = stream_recipe(folder.path(), "classes = [\"no\", \"yes\"]");
    let lines = std::fs::read_to_string(&recipe).unwrap();
    let lines = lines.replace("units = 3 }", "units = 1 }");
    let lines = lines.replace("\"sparse_categorical_crossentropy\"", "\"binary_crossentropy\"");
    std::fs::write(&recipe, lines + "[stream]\nlabel = \"class\"\n").unwrap();
    let learn = |name: &str| {
        let run = folder.path().join(format!("run-{name}"));
        succeed(&["learn", text(&recipe), "--from", text(&fixture(name)), "--out", text(&run)]);
        run
    };
    let summary = |run: &Path| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(run.join("summary.json")).unwrap()).unwrap()
    };
    let want = summary(&learn("events.csv"));
    assert_eq!((&want["events"], &want["bad_events"]), (&600.into(), &0.into()));
    let piped = folder.path().join("piped");
    let output = command(&["learn", text(&recipe), "--from", "-", "--out", text(&piped)])
        .args(["--set", "stream.format=\"arrow\""])
        .stdin(Stdio::from(File::open(fixture("events.arrows")).unwrap()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    for run in [learn("events.arrows"), learn("events.arrow"), piped] {
        let found = summary(&run);
        for key in ["state_sha256", "events", "unlabelled", "bad_events", "prequential"] {
            assert_eq!(found[key], want[key], "{} {key}", run.display());
        }
    }
}

#[test]
fn what_is_no_arrow_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = stream_recipe(folder.path(), "");
    let bytes = std::fs::read(fixture("events.arrows")).unwrap();
    let path = folder.path().join("cut.arrows");
    std::fs::write(&path, &bytes[..100]).unwrap();
    let run = folder.path().join("run");
    let output = tidemill(&["learn", text(&recipe), "--from", text(&path), "--out", text(&run)]);
    assert!(!output.status.success());
    let error = stderr(&output);
    assert!(error.contains("cut.arrows") && !error.contains("panicked"), "{error}");
}
