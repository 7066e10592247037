//! Kinds of models that the golden jobs lack, in an arena whose buffers have gaps and whose kernels are watched
//! (`TIDEMILL_ARENA=checked`): the same bits as in any other. The gate runs the golden jobs so, too.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::Path;

use common::{command, random, recipe, stderr, text};
use serde_json::Value;

/// The hash of the state after a command.
fn state(folder: &Path, arguments: &[&str], out: &str, checked: bool) -> Value {
    let mut command = command(arguments);
    command.args(["--out", out, "--json"]).current_dir(folder).env_remove("TIDEMILL_ARENA");
    if checked {
        command.env("TIDEMILL_ARENA", "checked");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    let summary = std::fs::read_to_string(folder.join(out).join("summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert!(summary["state_sha256"].is_string());
    summary["state_sha256"].clone()
}

/// Texts of two classes.
fn notes(path: &Path) {
    let (mut next, words) = (random(), ["the", "boat", "waits", "again", "grey", "water"]);
    let mut csv = "note,class\n".to_owned();
    for _ in 0..80 {
        let note: Vec<&str> = (0..1 + next(8)).map(|_| words[next(6)]).collect();
        csv += &format!("{},{}\n", note.join(" "), ["a", "b"][next(2)]);
    }
    std::fs::write(path, csv).unwrap();
}

const TRAINING: &str = r#"
[training]
loss      = "sparse_categorical_crossentropy"
optimizer = { adam = { learning_rate = 1e-2 } }
seed      = 1
[batch]
data       = { csv = { path = "notes.csv", label = "class" } }
batch_size = 12
epochs     = 1
[report]
html = false
"#;

#[test]
fn checked_runs_have_the_bits_of_other_runs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    notes(&folder.join("notes.csv"));
    let tokens = |layers: &str| {
        format!(
            "[model]\ninputs = {{ note = {{ tokens = {{ length = 16, vocabulary = 500 }} }} }}\nlayers = [\n\
             {{ concat = {{ branches = [{{ input = \"note\", layers = [{{ embedding = {{ vocabulary = 500, units = 8 }} }}] }}] }} }},\n\
             {layers},\n{{ dense = {{ units = 2 }} }},\n]\n{TRAINING}"
        )
    };
    let bag = "bag = { column = \"note\", units = 8, classes = 2, length = 32, vocabulary = 200, ngrams = 2, minn = 3, maxn = 4 }";
    let kinds = [
        ("gru", tokens("{ gru = { units = 16 } }")),
        ("lstm", tokens("{ lstm = { units = 16 } }")),
        (
            "both ways",
            tokens(
                "{ gru = { units = 8, bidirectional = true, return_sequences = true } }, { gru = { units = 8, reverse = true } }",
            ),
        ),
        ("bag", format!("[model]\n{bag}\n{TRAINING}")),
    ];
    for (kind, recipe) in &kinds {
        let file = format!("{kind}.toml");
        std::fs::write(folder.join(&file), recipe).unwrap();
        let run = |out: &str, checked| {
            state(folder, &["train", &file, "--threads", "2"], &format!("{kind}-{out}"), checked)
        };
        assert_eq!(run("checked", true), run("plain", false), "{kind}");
    }
    // Pieces of a batch with sums of their gradients, of a model with batch norm.
    let digits = recipe(folder, common::CNN, "[report]\nhtml = false\n");
    let train = ["train", text(&digits), "--set", "training.shards=3", "--threads", "2"];
    assert_eq!(
        state(folder, &train, "shards-checked", true),
        state(folder, &train, "shards", false)
    );
}
