//! Documents whose summaries are sentences of them: learned, measured, asked about, and bad ones.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::Path;

use common::{command, random, stderr};
use serde_json::{Value, json};

const PLAIN: [&str; 8] = ["the", "boat", "waits", "at", "noon", "grey", "water", "again"];

/// Documents of two to five sentences. That of the summary begins with "we", and is seldom the first; the last of
/// every fourth is as long.
fn documents(path: &Path, count: usize) {
    let mut next = random();
    let mut lines = String::new();
    for id in 0..count {
        let length = 2 + next(4);
        let key = if next(8) == 0 { 0 } else { 1 + next(length - 1) };
        let sentence = |next: &mut dyn FnMut(usize) -> usize| -> Vec<&str> {
            (0..4 + next(5)).map(|_| PLAIN[next(PLAIN.len())]).collect()
        };
        let mut sentences: Vec<String> =
            (0..length).map(|_| sentence(&mut next).join(" ")).collect();
        let said = format!("mill {id} turns as {} does", PLAIN[next(PLAIN.len())]);
        sentences[key] = format!("we show that {said}");
        let line = json!({ "id": id, "body": sentences, "short": ["nothing", said] });
        lines += &format!("{line}\n");
    }
    std::fs::write(path, lines).unwrap();
}

const RECIPE: &str = r#"
[model]
inputs = { words = { tokens = { length = 16, vocabulary = 500 } }, place = { features = 4 } }
layers = [
    { concat = { branches = [
        { input = "words", layers = [{ embedding_bag = { vocabulary = 500, units = 8 } }] },
        { input = "place" },
    ] } },
    { dense = { units = 8, activation = "relu" } },
    { dropout = { rate = 0.1 } },
    { dense = { units = 1 } },
]

[training]
loss      = "mean_squared_error"
optimizer = { adam = { learning_rate = 1e-2 } }

[batch]
data       = { documents = { path = "train.jsonl", sentences = "body", summaries = "short" } }
validation = { documents = { path = "test.jsonl", sentences = "body", summaries = "short" } }
batch_size = 16
epochs     = 8
"#;

/// A folder with documents and a recipe.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    documents(&dir.path().join("train.jsonl"), 120);
    documents(&dir.path().join("test.jsonl"), 40);
    std::fs::write(dir.path().join("r.toml"), RECIPE).unwrap();
    dir
}

fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = command(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn answers(folder: &Path, arguments: &[&str]) -> Vec<Value> {
    let lines = printed(folder, &[arguments, &["--json"]].concat());
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a command that fails says.
fn fails(folder: &Path, arguments: &[&str]) -> String {
    let output = command(arguments).current_dir(folder).output().unwrap();
    let said = stderr(&output);
    assert!(
        output.status.code().is_some_and(|code| code == 1 || code == 2),
        "{arguments:?}: {said}"
    );
    said
}

#[test]
fn sentences_are_learned_and_chosen() {
    let dir = folder();
    let run = |arguments: &[&str]| answers(dir.path(), arguments);
    let whole = &run(&["train", "r.toml", "--out", "run", "--threads", "1"])[0];
    let found = &run(&["eval", "run"])[0]["summaries"];
    let f = |of: &str| found[of]["rouge1"]["f"].as_f64().unwrap();
    assert!(f("rouge") > 0.6 && f("lead") < 0.3, "{found}");
    assert_eq!(found["documents"], 40);
    assert!(found["signature"].as_str().unwrap().contains("best:rouge1"), "{found}");
    let shown = printed(dir.path(), &["eval", "run", "--data", "test.jsonl"]);
    assert!(shown.contains("the first sentence  ROUGE-1 = "), "{shown}");

    // The same bits with other threads, and after a stop.
    let other = &run(&["train", "r.toml", "--out", "other", "--threads", "3"])[0];
    assert_eq!(other["state_sha256"], whole["state_sha256"]);
    run(&["train", "r.toml", "--out", "cut", "--set", "stop.steps=33"]);
    let cut = &run(&["train", "r.toml", "--out", "cut", "--resume", "--threads", "3"])[0];
    assert_eq!(cut["state_sha256"], whole["state_sha256"]);

    // Documents that are asked about need no summaries, and one without sentences has none.
    let asked = r#"{"body": ["the boat waits", "we show that mill 7 turns"]}

{"body": []}
{"body": ["one\nline", "a", "b"], "short": 7}
"#;
    std::fs::write(dir.path().join("asked.jsonl"), asked).unwrap();
    let chosen = run(&["predict", "run", "--data", "asked.jsonl"]);
    assert_eq!(chosen.len(), 3);
    assert_eq!(chosen[0]["summary"], "we show that mill 7 turns");
    assert_eq!(chosen[0]["sentences"][0]["index"], 1);
    assert!(chosen[1]["file"].as_str().unwrap().ends_with("asked.jsonl:3"), "{chosen:?}");
    assert_eq!((&chosen[1]["summary"], &chosen[1]["sentences"]), (&json!(""), &json!([])));
    let lines = printed(dir.path(), &["predict", "run", "--data", "asked.jsonl"]);
    assert_eq!(lines.lines().count(), 3, "{lines}");
    let error = fails(dir.path(), &["eval", "run", "--data", "asked.jsonl"]);
    assert!(error.contains("asked.jsonl:1: has no key `short`"), "{error}");
    for option in [
        &["--all"][..],
        &["--keep", "id"],
        &["--beam", "2"],
        &["--tokens", "5"],
        &["--sample", "top_k=3"],
    ] {
        fails(dir.path(), &[&["predict", "run", "--data", "asked.jsonl"], option].concat());
    }
}

#[test]
fn several_sentences_make_a_summary() {
    let dir = folder();
    let three = RECIPE.replace("\"short\" }", "\"short\", take = 3 }").replace("= 8\n", "= 1\n");
    std::fs::write(dir.path().join("r.toml"), three).unwrap();
    printed(dir.path(), &["train", "r.toml", "--out", "run"]);
    let chosen = answers(dir.path(), &["predict", "run", "--data", "test.jsonl"]);
    let mut most = 0;
    for one in chosen {
        let sentences = one["sentences"].as_array().unwrap();
        let indexes: Vec<u64> = sentences.iter().map(|s| s["index"].as_u64().unwrap()).collect();
        assert!(indexes.is_sorted(), "{one}");
        most = most.max(indexes.len());
    }
    assert_eq!(most, 3);
    let shown = printed(dir.path(), &["eval", "run"]);
    assert!(shown.contains("the first 3 sentences"), "{shown}");
}

/// The model of a bag alone reads the words and not the place.
#[test]
fn a_bag_of_words_is_enough() {
    let dir = folder();
    let (_, training) = RECIPE.split_once("[training]").unwrap();
    let bag = "[model]\nbag = { units = 8, classes = 1, length = 16, vocabulary = 500 }\n";
    std::fs::write(dir.path().join("r.toml"), format!("{bag}[training]{training}")).unwrap();
    printed(dir.path(), &["train", "r.toml", "--out", "run"]);
    let found = &answers(dir.path(), &["eval", "run"])[0]["summaries"];
    assert!(found["rouge"]["rouge1"]["f"].as_f64().unwrap() > 0.6, "{found}");
    printed(dir.path(), &["doctor", "r.toml"]);
}

#[test]
fn mistakes_are_named() {
    let dir = folder();
    let error = |from: &str, to: &str| {
        assert!(RECIPE.contains(from), "{from}");
        std::fs::write(dir.path().join("bad.toml"), RECIPE.replace(from, to)).unwrap();
        fails(dir.path(), &["train", "bad.toml", "--out", "bad"])
    };
    // Classes, and what is yes or no, are nothing that a share of words could be.
    for loss in [
        "sparse_categorical_crossentropy",
        "categorical_crossentropy",
        "binary_crossentropy",
        "hinge",
        "poisson",
    ] {
        let said = error("mean_squared_error", loss);
        let expected = ["bad.toml", "training.loss", loss, "use mean_squared_error"];
        assert!(expected.iter().all(|part| said.contains(part)), "{said}");
    }
    let said = error("place = { features = 4 }", "place = { features = 5 }");
    assert!(said.contains("batch.data") && said.contains("place = { features = 4 }"), "{said}");
    let said = error("\"short\" }", "\"short\", take = 0 }");
    assert!(said.contains("take must be at least 1"), "{said}");
    let said = error("{ dense = { units = 1 } }", "{ dense = { units = 2 } }");
    assert!(said.contains('2'), "{said}");
    let said = error("sentences = \"body\"", "sentences = \"text\"");
    assert!(said.contains("jsonl:1: has no key `text`; its keys are"), "{said}");
    let mut lines = std::fs::read_to_string(dir.path().join("train.jsonl")).unwrap();
    lines += "{\"body\": [\"a\", \n";
    std::fs::write(dir.path().join("train.jsonl"), lines).unwrap();
    let said = error("epochs     = 8", "epochs     = 1");
    assert!(said.contains("train.jsonl:121: is not a JSON object"), "{said}");
}
