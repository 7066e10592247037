//! Recurrent layers: texts whose class their order says, in batches and on a stream, and a class for each word.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::Path;

use common::{command, random, stderr};
use serde_json::Value;

fn run(folder: &Path, arguments: &[&str]) -> Value {
    let output = command(arguments).current_dir(folder).arg("--json").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    let shown = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(shown.lines().last().unwrap()).unwrap()
}

const LAYERS: [&str; 3] = [
    "{ gru = { units = 16 } }",
    "{ lstm = { units = 16 } }",
    "{ gru = { units = 8, bidirectional = true, return_sequences = true } }, { gru = { units = 8, reverse = true } }",
];

fn recipe(layers: &str) -> String {
    format!(
        r#"
[model]
inputs = {{ note = {{ tokens = {{ length = 16, vocabulary = 500 }} }} }}
layers = [
    {{ concat = {{ branches = [
        {{ input = "note", layers = [{{ embedding = {{ vocabulary = 500, units = 8 }} }}] }},
    ] }} }},
    {layers},
    {{ dense = {{ units = 2 }} }},
]

[training]
loss      = "sparse_categorical_crossentropy"
optimizer = {{ adam = {{ learning_rate = 1e-2 }} }}
seed      = 1

[stream]
label = "class"

[batch]
data       = {{ csv = {{ path = "notes.csv", label = "class" }} }}
batch_size = 16
epochs     = 6

[checkpoint]
every_epochs = 1
"#
    )
}

const WORDS: [&str; 4] = ["the", "boat", "waits", "again"];

/// One of two words comes before the other, with others around them and between: which, is the class.
fn notes(path: &Path, rows: usize) {
    let mut next = random();
    let mut csv = "note,class\n".to_owned();
    for _ in 0..rows {
        let mut words: Vec<&str> = (0..1 + next(8)).map(|_| WORDS[next(4)]).collect();
        let (pair, class) = [(["grey", "water"], "a"), (["water", "grey"], "b")][next(2)];
        let first = next(words.len() + 1);
        words.insert(first, pair[0]);
        let second = first + 1 + next(words.len() - first);
        words.insert(second, pair[1]);
        csv += &format!("{},{class}\n", words.join(" "));
    }
    std::fs::write(path, csv).unwrap();
}

#[test]
fn the_order_of_words_is_learned_in_batches() {
    let dir = tempfile::tempdir().unwrap();
    notes(&dir.path().join("notes.csv"), 600);
    for layers in LAYERS {
        std::fs::write(dir.path().join("r.toml"), recipe(layers)).unwrap();
        let train = ["train", "r.toml", "--force", "--out"];
        let whole = run(dir.path(), &[&train[..], &["whole"]].concat());
        assert!(whole["train"]["accuracy"].as_f64().unwrap() > 0.95, "{layers}: {whole}");
        // Interrupted and resumed, by another number of threads: the same bits.
        let stop = ["cut", "--set", "stop.steps=100", "--threads", "3"];
        run(dir.path(), &[&train[..], &stop].concat());
        let resume = ["train", "r.toml", "--out", "cut", "--resume", "--threads", "1"];
        assert_eq!(run(dir.path(), &resume)["state_sha256"], whole["state_sha256"]);
        // And on a stream that continues the run.
        let learned = run(dir.path(), &["learn", "whole", "--force", "--from", "notes.csv"]);
        assert!(learned["prequential"]["accuracy"].as_f64().unwrap() > 0.95, "{learned}");
    }
}

#[test]
fn the_order_of_words_is_learned_from_a_stream() {
    let dir = tempfile::tempdir().unwrap();
    notes(&dir.path().join("notes.csv"), 1500);
    std::fs::write(dir.path().join("r.toml"), recipe(LAYERS[0])).unwrap();
    let learn = ["learn", "r.toml", "--from", "notes.csv", "--out"];
    let whole = run(dir.path(), &[&learn[..], &["whole"]].concat());
    let figures = &whole["prequential"];
    assert!(figures["sliding.accuracy"].as_f64().unwrap() > 0.9, "{figures}");
    run(dir.path(), &[&learn[..], &["cut", "--until-events", "701"]].concat());
    let cut = run(dir.path(), &[&learn[..], &["cut", "--resume"]].concat());
    assert_eq!(cut["state_sha256"], whole["state_sha256"]);
    assert_eq!(cut["prequential"], whole["prequential"]);
}

const TAGGED: &str = r#"
[model]
input  = { tokens = { length = 16, vocabulary = 500 } }
layers = [
    { embedding = { vocabulary = 500, units = 8 } },
    LAYER,
    { dense = { units = 3 } },
]

[training]
loss      = "sparse_categorical_crossentropy"
optimizer = { adam = { learning_rate = 1e-2 } }

[batch]
data       = { tagged = { path = "train.conll" } }
validation = { tagged = { path = "train.conll" } }
batch_size = 16
epochs     = 8
"#;

/// A word's class is whether "grey" came before it and whether "water" comes after it.
#[test]
fn a_word_has_a_class_that_far_words_say() {
    let dir = tempfile::tempdir().unwrap();
    let mut next = random();
    let mut file = String::new();
    for _ in 0..400 {
        let mut words: Vec<&str> = (0..2 + next(10)).map(|_| WORDS[next(4)]).collect();
        let at = next(words.len());
        words[at] = ["grey", "water"][next(2)];
        for (i, word) in words.iter().enumerate() {
            let tag = match words[at] {
                "grey" if i > at => "BEHIND",
                "water" if i < at => "AHEAD",
                _ => "O",
            };
            file += &format!("{word}\t{tag}\n");
        }
        file += "\n";
    }
    std::fs::write(dir.path().join("train.conll"), file).unwrap();
    for (layer, from, to) in [
        ("{ gru = { units = 16, bidirectional = true, return_sequences = true } }", 0.99, 1.0),
        ("{ lstm = { units = 16, bidirectional = true, return_sequences = true } }", 0.99, 1.0),
        ("{ gru = { units = 16, return_sequences = true } }", 0.0, 0.95),
    ] {
        std::fs::write(dir.path().join("r.toml"), TAGGED.replace("LAYER", layer)).unwrap();
        let summary = run(dir.path(), &["train", "r.toml", "--out", "run", "--force"]);
        let accuracy = summary["validation"]["accuracy"].as_f64().unwrap();
        assert!((from..=to).contains(&accuracy), "{layer}: {summary}");
    }
}
