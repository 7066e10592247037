//! Tests of whole tokenizers.

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
