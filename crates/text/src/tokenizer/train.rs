//! Training: a vocabulary from texts.

use super::added::AddedToken;
use super::decoder::Decoder;
use super::json::Parts;
use super::model::{Bpe, Model, WordLevel};
use super::pre_tokenizer::PreTokenizer;
use super::spec::{CharactersSpec, WordsSpec};
use super::vocabulary::{Map, Vocabulary};
use crate::TextError;

/// The tokens of ids 0 to 3. 0 is the padding of shorter samples.
pub(crate) const SPECIAL: [&str; 4] = ["<pad>", "<unk>", "<s>", "</s>"];

/// The special tokens as added tokens.
pub(crate) fn special() -> Vec<AddedToken> {
    let tokens = SPECIAL.iter().enumerate();
    tokens.map(|(id, token)| AddedToken::special(id as i32, token)).collect()
}

/// Characters in the order of their code points.
pub(crate) fn characters(
    spec: &CharactersSpec,
    texts: &mut dyn Iterator<Item = &str>,
) -> Result<Parts, TextError> {
    let mut counts: Map<char, u64> = Map::default();
    for text in texts {
        text.chars().for_each(|c| *counts.entry(c).or_default() += 1);
    }
    let mut kept: Vec<char> =
        counts.into_iter().filter(|&(_, n)| n >= spec.min_frequency).map(|(c, _)| c).collect();
    kept.sort_unstable();
    let mut vocabulary = Vocabulary::default();
    if spec.special {
        vocabulary = SPECIAL.iter().collect();
    }
    let mut bytes = [0; 4];
    for c in kept {
        vocabulary.push(c.encode_utf8(&mut bytes));
    }
    if vocabulary.len() == 0 {
        return Err(TextError::new("no character in the training texts: check the files of texts"));
    }
    let unknown = spec.special.then_some(SPECIAL[1]);
    Ok(Parts {
        added_tokens: if spec.special { special() } else { Vec::new() },
        decoder: Some(Decoder::Fuse),
        ..Parts::new(Model::Bpe(Bpe::of_characters(vocabulary, unknown)?))
    })
}

/// The most frequent words; of equally frequent ones, the first in the order of code points.
pub(crate) fn words(
    spec: &WordsSpec,
    texts: &mut dyn Iterator<Item = &str>,
) -> Result<Parts, TextError> {
    let mut counts = count(&PreTokenizer::Whitespace, texts);
    counts.retain(|&(_, n)| n >= spec.min_frequency);
    if counts.is_empty() {
        return Err(TextError::new(format!(
            "no word occurs words.min_frequency = {} times in the training texts",
            spec.min_frequency
        )));
    }
    counts.sort_unstable_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
    let mut vocab: Vocabulary = SPECIAL.iter().collect();
    for (word, _) in counts {
        if vocab.len() >= spec.vocabulary {
            break;
        }
        vocab.push(&word);
    }
    let model = WordLevel { vocab, unk_token: SPECIAL[1].into() };
    Ok(Parts {
        added_tokens: special(),
        pre_tokenizer: Some(PreTokenizer::Whitespace),
        ..Parts::new(Model::WordLevel(model))
    })
}

/// The words of texts and how often each occurs, in no order.
pub(crate) fn count(
    pre_tokenizer: &PreTokenizer,
    texts: &mut dyn Iterator<Item = &str>,
) -> Vec<(Box<str>, u64)> {
    let mut counts: Map<Box<str>, u64> = Map::default();
    for text in texts {
        pre_tokenizer.cut(text, true, &mut |word, _| match counts.get_mut(word) {
            Some(count) => *count += 1,
            None => drop(counts.insert(word.into(), 1)),
        });
    }
    counts.into_iter().collect()
}
