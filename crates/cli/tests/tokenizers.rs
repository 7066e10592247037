//! Tokenizers that are trained by a recipe, written to files and read again.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::Path;

use common::{command, stderr};

/// What a command prints, and its errors and notes.
fn run(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = command(arguments).current_dir(folder).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), out + &stderr(&output))
}

fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let (success, said) = run(folder, arguments);
    assert!(success, "{arguments:?}: {said}");
    said
}

fn fail(folder: &Path, arguments: &[&str]) -> String {
    let (success, said) = run(folder, arguments);
    assert!(!success, "{arguments:?}: {said}");
    said
}

const RECIPE: &str = r#"
[model]
encoder_decoder = { units = 16, heads = 2, encoder = 1, decoder = 1, length = 64 }

[text]
tokenizer = { unigram = { vocabulary = 320 } }

[training]
loss      = "token_crossentropy"
optimizer = { adamw = { learning_rate = 5e-3 } }

[batch]
data         = { parallel = { source = "n/train.en", target = "n/train.de" } }
validation   = { parallel = { source = "n/test.en", target = "n/test.de" } }
batch_tokens = 512
epochs       = 1
"#;

/// The state and the validation of a run.
fn result(folder: &Path, run: &str) -> [serde_json::Value; 2] {
    let text = std::fs::read_to_string(folder.join(run).join("summary.json")).unwrap();
    let mut summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    ["state_sha256", "validation"].map(|key| {
        assert!(!summary[key].is_null(), "{text}");
        summary[key].take()
    })
}

#[test]
fn a_trained_tokenizer_is_exported_and_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("unigram.toml", RECIPE);
    succeed(folder, &["data", "numerals", "--out", "n", "--train", "300", "--test", "20"]);
    succeed(folder, &["train", "unigram.toml", "--out", "a", "--threads", "2"]);
    let said = succeed(folder, &["export", "a", "--tokenizer", "t.model"]);
    assert_eq!(said, "wrote the tokenizer with 320 tokens: t.model\n");
    succeed(folder, &["export", "a", "--tokenizer", "t.json"]);
    // From one form to the other and back.
    succeed(folder, &["export", "t.model", "--tokenizer", "again.json"]);
    succeed(folder, &["export", "t.json", "--tokenizer", "again.model"]);
    let bytes = |name: &str| std::fs::read(folder.join(name)).unwrap();
    assert_eq!(bytes("t.json"), bytes("again.json"));
    assert_eq!(bytes("t.model"), bytes("again.model"));
    // A recipe that reads either is the same run.
    for file in ["t.model", "t.json"] {
        let spec = format!("text.tokenizer={{ file = \"{file}\" }}");
        let out = format!("of-{file}");
        let train = ["train", "unigram.toml", "--out", &out, "--threads", "1", "--set", &spec];
        succeed(folder, &train);
        assert_eq!(result(folder, &out), result(folder, "a"));
    }
    let said = fail(folder, &["export", "a", "--tokenizer", "t.txt"]);
    assert!(said.contains("t.txt: the name of a tokenizer's file ends in .json"), "{said}");
    let said = fail(folder, &["export", "nothing", "--tokenizer", "t.json"]);
    assert!(said.contains("nothing: "), "{said}");
    write("mine.json", "{\"a\": 1}");
    let said = fail(folder, &["export", "a", "--tokenizer", "mine.json"]);
    assert!(said.contains("mine.json: exists and is no tokenizer"), "{said}");
    assert_eq!(bytes("mine.json"), b"{\"a\": 1}");
    write("bad.model", "\n\x05hello");
    let said = fail(folder, &["export", "bad.model", "--tokenizer", "t.json"]);
    assert!(said.contains("bad.model") && said.contains("not a model of SentencePiece"), "{said}");
    let bpe = "text.tokenizer={ bpe = { vocabulary = 300 } }";
    succeed(folder, &["train", "unigram.toml", "--out", "b", "--set", bpe]);
    let said = fail(folder, &["export", "b", "--tokenizer", "b.model"]);
    assert!(said.contains("b.model: this tokenizer cannot be written as a model of"), "{said}");
    assert!(said.contains("made of bytes") && !folder.join("b.model").exists(), "{said}");
    succeed(folder, &["export", "b", "--tokenizer", "b.json"]);
}
