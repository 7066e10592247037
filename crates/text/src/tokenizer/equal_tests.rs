//! The ids and the texts of the Python package `tokenizers` (`fixtures/tokenizer_cases.py`).

use serde::Deserialize;
use serde_json::Value;

use super::*;

#[derive(Deserialize)]
struct Fixture {
    texts: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    file: Value,
    ids: Vec<Vec<i32>>,
    decoded: Vec<String>,
}

#[test]
fn ids_and_texts_are_those_of_the_python_package() {
    let path = std::env::var("TIDEMILL_TOKENIZERS")
        .unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/tokenizers.json").into());
    let fixture: Fixture = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for case in &fixture.cases {
        let tokenizer = match Tokenizer::from_json(&case.file.to_string()) {
            Ok(tokenizer) => tokenizer,
            Err(error) => {
                wrong.push(format!("{}: {error}", case.name));
                continue;
            }
        };
        assert_eq!(Tokenizer::from_json(&tokenizer.to_json()).unwrap(), tokenizer);
        let mut failures = 0;
        for (at, (text, expected)) in fixture.texts.iter().zip(&case.ids).enumerate() {
            let mut ids = Vec::new();
            tokenizer.encode(text, &mut ids);
            let decoded = case.decoded.get(at);
            let text_of_ids = tokenizer.decode(expected);
            if &ids == expected && decoded.is_none_or(|decoded| *decoded == text_of_ids) {
                continue;
            }
            failures += 1;
            if failures < 4 {
                let tokens = |ids: &[i32]| {
                    let tokens = ids.iter().map(|&id| tokenizer.token(id).unwrap_or("?"));
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
        println!("{}: {failures} of {} differ", case.name, fixture.texts.len());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
