use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Model;
use crate::tokenizer::{Tokenizer, TokenizerSpec, UnigramSpec};

/// Lines of mixed text, as `fixtures/tokenizer_files.py` makes them.
fn mixed(fixture: &Value, seed: u64, size: usize) -> Vec<String> {
    let strings = |key: &str| -> Vec<&str> {
        fixture[key].as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect()
    };
    let (parts, separators) = (strings("parts"), strings("separators"));
    let mut state = seed;
    let mut below = |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    let mut lines = Vec::new();
    let mut done = 0;
    while done < size {
        let mut line = String::new();
        for _ in 0..1 + below(16) {
            line += parts[below(parts.len())];
            line += separators[below(separators.len())];
        }
        done += line.len() + 1;
        lines.push(line);
    }
    lines
}

/// FNV-1a of the ids of lines; a line ends with -1.
fn fingerprint(tokenizer: &Tokenizer, lines: &[String]) -> String {
    let mut value = 0xcbf2_9ce4_8422_2325u64;
    let mut ids = Vec::new();
    for line in lines {
        ids.clear();
        tokenizer.encode(line, &mut ids);
        ids.push(-1);
        for byte in ids.iter().flat_map(|id| id.to_le_bytes()) {
            value = (value ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    format!("{value:016x}")
}

fn parse(file: &str) -> Value {
    serde_json::from_str(file).unwrap()
}

fn tokenizers() -> Value {
    parse(include_str!("../../../../../fixtures/tokenizers.json"))
}

fn case(fixture: &Value, kind: &str, name: &str) -> Value {
    let cases = fixture[kind].as_array().unwrap();
    cases.iter().find(|case| case["name"] == name).unwrap()["file"].clone()
}

#[test]
fn a_trained_model_has_the_ids_of_sentencepiece_and_tokenizers() {
    let fixture = parse(include_str!("../../../../../fixtures/tokenizer_files.json"));
    let expected = &fixture["cases"][0];
    let spec = TokenizerSpec::Unigram(UnigramSpec { vocabulary: 1000, character_coverage: 0.998 });
    let train = mixed(&fixture, 1, 200_000);
    let trained = Tokenizer::train(&spec, &mut train.iter().map(String::as_str)).unwrap();
    let file = trained.to_sentencepiece().unwrap();
    assert!(STANDARD.encode(&file) == expected["file"].as_str().unwrap(), "another model");
    let lines = mixed(&fixture, 2, 1_000_000);
    assert_eq!(expected["ids"], fingerprint(&trained, &lines));
    let read = Tokenizer::from_bytes(&file).unwrap();
    assert_eq!(read, trained);
    assert_eq!(read.to_sentencepiece().unwrap(), file);
    assert_eq!(Tokenizer::from_bytes(trained.to_json().as_bytes()).unwrap(), trained);
}

#[test]
fn models_that_are_written_again_are_the_same() {
    let fixture = tokenizers();
    for case in fixture["sentencepiece"].as_array().unwrap() {
        let file = STANDARD.decode(case["file"].as_str().unwrap()).unwrap();
        let tokenizer = Tokenizer::from_sentencepiece(&file).unwrap();
        let written = tokenizer.to_sentencepiece().unwrap();
        let again = Tokenizer::from_sentencepiece(&written).unwrap();
        assert_eq!(again, tokenizer, "{}", case["name"]);
        let (a, b) = (Model::read(&file).unwrap(), Model::read(&written).unwrap());
        let named = |model: &Model| -> Vec<_> {
            model.pieces.iter().map(|piece| (piece.text.clone(), piece.kind)).collect()
        };
        assert_eq!(named(&a), named(&b));
        assert_eq!((a.rules, a.keeps_spaces, a.no_prefix), (b.rules, b.keeps_spaces, b.no_prefix));
    }
}

/// A BPE of characters and pairs, in the form of Llama.
fn llama() -> Value {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
    let prepend = json!({"type": "Prepend", "prepend": "\u{2581}"});
    let added = json!({
        "id": 0, "content": "<unk>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true
    });
    json!({
        "added_tokens": [added],
        "normalizer": {"type": "Sequence", "normalizers": [prepend, replace]},
        "pre_tokenizer": null,
        "model": {
            "type": "BPE", "unk_token": "<unk>", "fuse_unk": true,
            "vocab": {"<unk>": 0, "\u{2581}": 1, "a": 2, "b": 3, "ab": 4, "\u{2581}a": 5, "\u{2581}ab": 6},
            "merges": [["a", "b"], ["\u{2581}", "a"], ["\u{2581}", "ab"], ["\u{2581}a", "b"]]
        }
    })
}

#[test]
fn other_forms_of_the_same_are_written() {
    let tokenizer = Tokenizer::from_json(&llama().to_string()).unwrap();
    let again = Tokenizer::from_bytes(&tokenizer.to_sentencepiece().unwrap()).unwrap();
    for text in ["ab", "aab b  ba", "", " a", "cc a c", "babab ab "] {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        tokenizer.encode(text, &mut a);
        again.encode(text, &mut b);
        assert_eq!(a, b, "{text}");
    }
}

#[test]
fn what_sentencepiece_lacks_is_named() {
    let fixture = tokenizers();
    let mut files: Vec<(Value, &str)> = [
        ("gpt2", "made of bytes"),
        ("bert", "WordPiece"),
        ("words", "whole words"),
        ("bpe_words", "normalizer"),
        ("xlnet", "normalizer and pre_tokenizer"),
        ("mistral", "normalizer and pre_tokenizer"),
        ("llama", "would join"),
    ]
    .map(|(name, expected)| (case(&fixture, "cases", name), expected))
    .into();
    let mut changed = |path: &str, value: Value, expected: &'static str| {
        let mut file = llama();
        *file.pointer_mut(path).unwrap() = value;
        files.push((file, expected));
    };
    changed("/model/fuse_unk", json!(false), "fuse_unk");
    changed("/model/unk_token", json!(null), "no token for the unknown");
    changed("/model/vocab/b", json!(9), "the id 3 has no token");
    changed("/normalizer", json!({"type": "NFC"}), "no such normalizer");
    changed("/normalizer", json!(null), "no such normalizer");
    let twice = [["a", "b"], ["\u{2581}", "ab"], ["\u{2581}", "a"], ["\u{2581}a", "b"]];
    changed("/model/merges", json!(twice), "comes later than another one");
    changed("/model/merges", json!([["a", "b"]]), "would join `▁` and `a`");
    let ends = json!({
        "id": 5, "content": "\u{2581}a", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": false
    });
    changed("/added_tokens/0", ends, "is not special");
    for (file, expected) in &files {
        let tokenizer = Tokenizer::from_json(&file.to_string()).unwrap();
        let error = tokenizer.to_sentencepiece().unwrap_err().to_string();
        assert!(error.contains(expected), "{error} is not {expected}");
        assert!(error.ends_with("write it as a tokenizer.json"), "{error}");
    }
}

#[test]
fn damaged_files_are_errors() {
    let tokenizer = Tokenizer::from_json(&llama().to_string()).unwrap();
    let file = tokenizer.to_sentencepiece().unwrap();
    for end in 0..file.len() {
        assert!(Tokenizer::from_bytes(&file[..end]).is_err(), "{end} of {} bytes", file.len());
    }
    let json = tokenizer.to_json();
    for end in 0..json.len() {
        let Some(json) = json.get(..end) else { continue };
        assert!(Tokenizer::from_bytes(json.as_bytes()).is_err(), "{json}");
    }
    let error = |file: &[u8]| Tokenizer::from_bytes(file).unwrap_err().to_string();
    assert!(error(b"").contains("neither a tokenizer.json"));
    assert!(error(b"PK\x03\x04").contains("nor a model of SentencePiece"));
    assert!(error(b"\n{").contains("not a tokenizer.json"));
    assert!(error(b"\n\x05hello").contains("not a model of SentencePiece"));
    // A piece of kind 4, then of kind 5.
    assert!(error(b"\n\x05\n\x01a\x18\x04").contains("user defined"));
    assert!(error(b"\n\x05\n\x01a\x18\x05").contains("are not used"));
}
