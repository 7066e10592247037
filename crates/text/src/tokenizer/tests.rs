//! Tests of whole tokenizers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

fn trained(spec: TokenizerSpec, texts: &[&str]) -> Tokenizer {
    Tokenizer::train(&spec, &mut texts.iter().copied()).unwrap()
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<i32> {
    let mut ids = Vec::new();
    tokenizer.encode(text, &mut ids);
    ids
}

#[test]
fn characters_are_in_the_order_of_code_points() {
    let tokenizer = trained(TokenizerSpec::Characters(Default::default()), &["hello\n", "a b"]);
    assert_eq!(tokenizer.vocabulary(), 8);
    assert_eq!(ids(&tokenizer, "ab\n o"), [2, 3, 0, 1, 7]);
    let mut some = Vec::new();
    assert_eq!(tokenizer.encode("hxyllo", &mut some), 2);
    assert_eq!(tokenizer.decode(&some), "hllo");
    assert_eq!(tokenizer.special(), Special::default());
    assert_eq!(Tokenizer::from_json(&tokenizer.to_json()).unwrap(), tokenizer);
}

#[test]
fn characters_with_special_tokens() {
    let spec = CharactersSpec { special: true, min_frequency: 2 };
    let tokenizer = trained(TokenizerSpec::Characters(spec), &["aab", "b c"]);
    assert_eq!(tokenizer.vocabulary(), 6);
    assert_eq!(ids(&tokenizer, "abc</s>"), [4, 5, 1, 3]);
    assert_eq!(tokenizer.decode(&[2, 4, 5, 1, 3, 99, -1, 0]), "ab");
    assert_eq!(Tokenizer::from_json(&tokenizer.to_json()).unwrap(), tokenizer);
}

#[test]
fn words_are_in_the_order_of_frequency() {
    let spec = WordsSpec { vocabulary: 8, min_frequency: 1 };
    let tokenizer = trained(TokenizerSpec::Words(spec), &["a man, a dog.", "a man", "the dog"]);
    assert_eq!(tokenizer.token(4), Some("a"));
    assert_eq!(tokenizer.id("dog"), Some(5));
    assert_eq!(ids(&tokenizer, "the man  walks,"), [1, 6, 1, 7]);
    assert_eq!(tokenizer.decode(&[4, 6, 3, 7]), "a man ,");
    assert_eq!(Tokenizer::from_json(&tokenizer.to_json()).unwrap(), tokenizer);
}

const LINES: [&str; 4] = [
    "A man in a green shirt runs over the field.",
    "Ein Mann im grünen Hemd läuft über die Wiese; ein Hund läuft mit.",
    "the dog's running, running and running",
    "Zwei Männer und ein Mann 👍🏽",
];

fn bpe(vocabulary: usize) -> Tokenizer {
    let spec = BpeSpec { vocabulary, ..BpeSpec::default() };
    trained(TokenizerSpec::Bpe(spec), &LINES)
}

#[test]
fn bytes_give_the_text_again() {
    let tokenizer = bpe(290);
    assert_eq!(tokenizer.vocabulary(), 290);
    let special = tokenizer.special();
    assert_eq!([special.pad, special.unknown], [Some(0), Some(1)]);
    assert_eq!([special.begin, special.end], [Some(2), Some(3)]);
    let text = "Ein neuer Mann\n\n  läuft\t日本 \u{0}\u{7f}";
    assert_eq!(tokenizer.decode(&ids(&tokenizer, text)), text);
    assert!(ids(&tokenizer, LINES[1]).len() < LINES[1].len() / 2 + 10);
    let again = Tokenizer::from_json(&tokenizer.to_json()).unwrap();
    assert_eq!(again, tokenizer);
    assert_eq!(ids(&again, LINES[0]), ids(&tokenizer, LINES[0]));
}

#[test]
fn a_vocabulary_is_no_larger_than_the_texts_allow() {
    let tokenizer = trained(TokenizerSpec::Bpe(BpeSpec::default()), &["ab ab", "ab"]);
    // `ab`, ` ab`: the latter occurs once.
    assert_eq!(tokenizer.vocabulary(), 261);
    assert_eq!(tokenizer.token(260), Some("ab"));
}

#[test]
fn dropout_is_a_function_of_the_seed() {
    let tokenizer = bpe(290);
    let drop = |rate, seed| {
        let mut ids = Vec::new();
        tokenizer.encode_with_dropout(LINES[1], rate, seed, &mut ids);
        assert_eq!(tokenizer.decode(&ids), LINES[1]);
        ids
    };
    assert_eq!(drop(0.0, 1), ids(&tokenizer, LINES[1]));
    assert_eq!(drop(0.3, 1), drop(0.3, 1));
    assert_ne!(drop(0.3, 1), drop(0.3, 2));
    assert_eq!(drop(1.0, 1).len(), LINES[1].len());
    assert!(drop(0.3, 1).len() > drop(0.0, 1).len());
}

#[test]
fn several_threads_encode_at_once() {
    let tokenizer = bpe(290);
    let expected: Vec<_> = LINES.iter().map(|line| ids(&tokenizer, line)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let all: Vec<_> = LINES.iter().map(|line| ids(&tokenizer, line)).collect();
                    assert_eq!(all, expected);
                }
            });
        }
    });
}

/// A file with these parts besides a small model.
fn file(parts: &str) -> String {
    format!(
        r#"{{"version":"1.0",{parts}"model":{{"type":"WordLevel","vocab":{{"<unk>":0,"a":1}},"unk_token":"<unk>"}}}}"#
    )
}

#[test]
fn what_is_not_supported_is_named() {
    let added = |id| {
        format!(
            r#""added_tokens":[{{"id":{id},"content":"a","single_word":false,"lstrip":false,
            "rstrip":false,"normalized":false,"special":true}}],"#
        )
    };
    let bpe =
        |rest: &str| format!(r#"{{"model":{{"type":"BPE","vocab":{{"a":0,"b":1}},{rest}}}}}"#);
    for (json, expected) in [
        (String::new(), "not a tokenizer.json"),
        ("{}".into(), "`model`"),
        ("[1]".into(), "not a tokenizer.json"),
        (file(r#""normalizer":{"type":"Foo"},"#), "`normalizer`: unknown variant `Foo`"),
        (file(r#""decoder":{"type":"CTC"},"#), "`decoder`: unknown variant `CTC`"),
        (file(r#""pre_tokenizer":{"type":"FixedLength","length":5},"#), "`FixedLength`"),
        (
            file(
                r#""pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"x":1},"#,
            ),
            "unknown field `x`",
        ),
        (
            file(
                r#""pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Removed","invert":false},"#,
            ),
            "the pattern `(`",
        ),
        (file(&added(7)), "`a` has the id 7"),
        (file(&added(-1)), "`a` has the id -1"),
        (file(r#""normalizer":{"type":"Precompiled","precompiled_charsmap":"!"},"#), "damaged"),
        (bpe(r#""merges":[["a","c"]]"#), "merge 0"),
        (bpe(r#""merges":["a b"]"#), "merge 0 makes `ab`"),
        (bpe(r#""merges":[],"dropout":0.1"#), "dropout = 0.1"),
        (bpe(r#""merges":[],"unk_token":"?""#), "unk_token `?`"),
        (
            r#"{"model":{"type":"WordLevel","vocab":{"a":99999999},"unk_token":"a"}}"#.into(),
            "99999999",
        ),
        (r#"{"model":{"vocab":[["a",0.0]],"unk_id":5}}"#.into(), "unk_id"),
    ] {
        let error = Tokenizer::from_json(&json).unwrap_err().to_string();
        assert!(error.contains(expected), "{json}: {error}");
    }
    assert!(Tokenizer::from_json(&file("")).is_ok());
}

#[test]
fn specifications_are_checked() {
    for (spec, expected) in [
        (r#"{"bpe":{"vocabulary":100}}"#, "bpe.vocabulary = 100"),
        (r#"{"words":{"vocabulary":4}}"#, "words.vocabulary = 4"),
        (r#"{"file":"x.json"}"#, "x.json is read, not trained"),
        (r#"{"words":{"min_frequency":9}}"#, "min_frequency = 9"),
    ] {
        let spec: TokenizerSpec = serde_json::from_str(spec).unwrap();
        let error = Tokenizer::train(&spec, &mut LINES.iter().copied()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for spec in ["characters", "bpe", "words"] {
        let spec: TokenizerSpec = serde_json::from_str(&format!(r#"{{"{spec}":{{}}}}"#)).unwrap();
        assert!(Tokenizer::train(&spec, &mut [""].into_iter()).is_err());
    }
    assert!(serde_json::from_str::<TokenizerSpec>(r#"{"bpe":{"size":1}}"#).is_err());
}

proptest::proptest! {
    #[test]
    fn any_text_comes_back_from_bytes(text in "\\PC*|.*") {
        let tokenizer = bpe(280);
        proptest::prop_assert_eq!(tokenizer.decode(&ids(&tokenizer, &text)), text);
    }

    #[test]
    fn a_damaged_file_is_an_error_or_a_tokenizer(at in 0..4000usize, byte in 32u8..127, text in ".*") {
        let json = include_str!("../../../../fixtures/tokenizers.json");
        let fixture: serde_json::Value = serde_json::from_str(json).unwrap();
        for case in fixture["cases"].as_array().unwrap() {
            let mut file = case["file"].to_string().into_bytes();
            // The vocabulary is last; what is before it is short.
            let at = at % file.len();
            if let Some(place) = file.get_mut(at) {
                *place = byte;
            }
            if let Ok(file) = String::from_utf8(file)
                && let Ok(tokenizer) = Tokenizer::from_json(&file)
            {
                let ids = ids(&tokenizer, &text);
                tokenizer.decode(&ids);
            }
        }
    }

    #[test]
    fn a_damaged_model_is_an_error_or_a_tokenizer(bytes: Vec<u8>, at: usize, byte: u8, text in ".*") {
        proptest::prop_assert!(Tokenizer::from_sentencepiece(&bytes).is_err());
        let json = include_str!("../../../../fixtures/tokenizers.json");
        let fixture: serde_json::Value = serde_json::from_str(json).unwrap();
        for case in fixture["sentencepiece"].as_array().unwrap() {
            let mut model = STANDARD.decode(case["file"].as_str().unwrap()).unwrap();
            let at = at % model.len();
            model[at] = byte;
            if let Ok(tokenizer) = Tokenizer::from_sentencepiece(&model) {
                let ids = ids(&tokenizer, &text);
                tokenizer.decode(&ids);
            }
        }
    }
}
