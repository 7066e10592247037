//! What a recipe says about a tokenizer.

use serde::{Deserialize, Serialize};

use crate::TextError;

/// The most entries that a vocabulary may have: a file with larger ids is damaged.
pub(crate) const MOST_TOKENS: usize = 1 << 22;

/// How a tokenizer is made. A recipe has one of `{ characters = {} }`, `{ words = { vocabulary = 20000 } }`,
/// `{ bpe = { vocabulary = 4000 } }`, `{ unigram = { vocabulary = 8000 } }` and `{ file = "tokenizer.json" }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenizerSpec {
    /// Each character (Unicode code point) of the training texts is a token.
    Characters(CharactersSpec),
    /// The most frequent words are tokens; a word is a run of letters, digits and `_`, or a run of other
    /// characters between spaces.
    Words(WordsSpec),
    /// Byte-level BPE: frequent sequences of bytes within words are tokens (Sennrich et al. 2016, with the
    /// bytes and the words of GPT-2). Every text has ids.
    Bpe(BpeSpec),
    /// Unigram: the tokens within words that make the texts most probable, as SentencePiece trains them (Kudo 2018). What
    /// has no token is written in bytes, so that every text has ids.
    Unigram(UnigramSpec),
    /// The path of a Hugging Face `tokenizer.json` or of a `.model` of SentencePiece.
    File(String),
}

/// Options of `characters`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CharactersSpec {
    /// Whether the vocabulary begins with `<pad>`, `<unk>`, `<s>` and `</s>`. Without them its ids are the
    /// characters in the order of their code points, as in nanoGPT. Default: false.
    pub special: bool,
    /// A rarer character is not a token. Default: 1.
    pub min_frequency: u64,
}

/// Options of `words`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WordsSpec {
    /// The most tokens, `<pad>`, `<unk>`, `<s>` and `</s>` included. Default: 20,000.
    pub vocabulary: usize,
    /// A rarer word is not a token. Default: 1.
    pub min_frequency: u64,
}

/// Options of `bpe`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BpeSpec {
    /// The most tokens, the four special tokens and the 256 bytes included. Default: 8,000.
    pub vocabulary: usize,
    /// A pair that occurs less often is not merged. Default: 2.
    pub min_frequency: u64,
}

/// Options of `unigram`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UnigramSpec {
    /// The number of tokens, the four special tokens and the 256 bytes included; fewer where the texts have fewer
    /// characters and sequences that come again. Default: 8,000.
    pub vocabulary: usize,
    /// The share of the characters of the texts that get tokens of their own, the most frequent ones first; the
    /// others are written in bytes. Default: 0.9995.
    pub character_coverage: f64,
}

impl Default for CharactersSpec {
    fn default() -> CharactersSpec {
        CharactersSpec { special: false, min_frequency: 1 }
    }
}

impl Default for WordsSpec {
    fn default() -> WordsSpec {
        WordsSpec { vocabulary: 20_000, min_frequency: 1 }
    }
}

impl Default for BpeSpec {
    fn default() -> BpeSpec {
        BpeSpec { vocabulary: 8_000, min_frequency: 2 }
    }
}

impl Default for UnigramSpec {
    fn default() -> UnigramSpec {
        UnigramSpec { vocabulary: 8_000, character_coverage: 0.9995 }
    }
}

impl TokenizerSpec {
    /// Whether the options are valid.
    pub fn check(&self) -> Result<(), TextError> {
        let (kind, vocabulary, least) = match self {
            TokenizerSpec::Characters(_) => return Ok(()),
            TokenizerSpec::File(path) if path.is_empty() => {
                return Err(TextError::new(
                    "tokenizer.file is empty: write the path of a tokenizer.json",
                ));
            }
            TokenizerSpec::File(_) => return Ok(()),
            TokenizerSpec::Words(words) => ("words", words.vocabulary, 5),
            TokenizerSpec::Bpe(bpe) => ("bpe", bpe.vocabulary, 260),
            TokenizerSpec::Unigram(unigram) => {
                let coverage = unigram.character_coverage;
                if !(coverage > 0.0 && coverage <= 1.0) {
                    return Err(TextError::new(format!(
                        "unigram.character_coverage = {coverage} must be above 0 and at most 1"
                    )));
                }
                ("unigram", unigram.vocabulary, 261)
            }
        };
        if !(least..=MOST_TOKENS).contains(&vocabulary) {
            return Err(TextError::new(format!(
                "{kind}.vocabulary = {vocabulary} must be from {least} to {MOST_TOKENS}"
            )));
        }
        Ok(())
    }
}
