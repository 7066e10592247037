//! The ids and the texts of the Python package `tokenizers` (`fixtures/tokenizer_cases.py`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::*;

#[derive(Deserialize)]
struct Fixture {
    texts: Vec<String>,
    trained: Trained,
    cases: Vec<Case>,
    sentencepiece: Vec<Case>,
}

#[derive(Deserialize)]
struct Trained {
    vocabulary: usize,
    bpe: Value,
    words: Value,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    file: Value,
    ids: Vec<Vec<i32>>,
    decoded: Vec<Option<String>>,
}

fn fixture() -> Fixture {
    let path = std::env::var("TIDEMILL_TOKENIZERS")
        .unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/tokenizers.json").into());
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn training_gives_what_the_python_package_gives() {
    let Fixture { texts, trained, .. } = fixture();
    let model = |spec: TokenizerSpec| -> Value {
        let tokenizer = Tokenizer::train(&spec, &mut texts.iter().map(String::as_str)).unwrap();
        let file: Value = serde_json::from_str(&tokenizer.to_json()).unwrap();
        file["model"].clone()
    };
    let vocabulary = trained.vocabulary;
    let bpe = model(TokenizerSpec::Bpe(BpeSpec { vocabulary, ..BpeSpec::default() }));
    assert_eq!(bpe["vocab"], trained.bpe["vocab"]);
    assert_eq!(bpe["merges"], trained.bpe["merges"]);
    let words = model(TokenizerSpec::Words(WordsSpec { vocabulary, min_frequency: 2 }));
    assert_eq!(words["vocab"], trained.words);
}

#[test]
fn ids_and_texts_are_those_of_the_python_package() {
    let fixture = fixture();
    compare(&fixture.texts, &fixture.cases, |file| Tokenizer::from_json(&file.to_string()));
}

#[test]
fn ids_and_texts_are_those_of_sentencepiece() {
    let Fixture { mut texts, sentencepiece, .. } = fixture();
    // Control pieces and the names of bytes are found in texts here.
    for text in &mut texts {
        if ["<s>", "</s>", "<unk>", "<0x"].iter().any(|token| text.contains(token)) {
            text.clear();
        }
    }
    compare(&texts, &sentencepiece, |file| {
        Tokenizer::from_sentencepiece(&STANDARD.decode(file.as_str().unwrap()).unwrap())
    });
}

fn compare(
    texts: &[String],
    cases: &[Case],
    read: impl Fn(&Value) -> Result<Tokenizer, TextError>,
) {
    let mut wrong = Vec::new();
    for case in cases {
        let tokenizer = match read(&case.file) {
            Ok(tokenizer) => tokenizer,
            Err(error) => {
                wrong.push(format!("{}: {error}", case.name));
                continue;
            }
        };
        assert_eq!(Tokenizer::from_json(&tokenizer.to_json()).unwrap(), tokenizer);
        let mut failures = 0;
        for (at, (text, expected)) in texts.iter().zip(&case.ids).enumerate() {
            if text.is_empty() {
                continue;
            }
            let mut ids = Vec::new();
            tokenizer.encode(text, &mut ids);
            let decoded = case.decoded.get(at).and_then(Option::as_ref);
            let text_of_ids = tokenizer.decode(expected);
            if &ids == expected && decoded.is_none_or(|decoded| *decoded == text_of_ids) {
                continue;
            }
            failures += 1;
            if failures < 4 {
                let same = ids.iter().zip(expected).take_while(|(a, b)| a == b).count();
                let tokens = |ids: &[i32]| {
                    let from = ids.iter().skip(same.saturating_sub(3)).take(12);
                    let tokens = from.map(|&id| tokenizer.token(id).unwrap_or("?"));
                    tokens.collect::<Vec<_>>().join("|")
                };
                wrong.push(format!(
                    "{}: {text:?}\n  here {}\n  there {}\n  here {text_of_ids:?}\n  there {decoded:?}",
                    case.name,
                    tokens(&ids),
                    tokens(expected)
                ));
            }
        }
        println!("{}: {failures} of {} differ", case.name, texts.len());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
