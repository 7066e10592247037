//! Tokenizers: a text becomes ids, and ids a text.
//!
//! # Layout
//!
//! - [`TokenizerSpec`]: which tokenizer, as a recipe names it
//! - [`Tokenizer`]: trained from texts or read from a `tokenizer.json`; encodes and decodes
//! - [`Special`]: the ids of padding, of the unknown, of the start and the end of a text
//!
//! A text passes through five steps, one file each: added tokens are found (`added`), the rest is
//! normalized (`normalizer`) and cut into words (`pre_tokenizer`), a model gives the ids of a word
//! (`model`), which a cache keeps (`cache`). `decoder` is the way back, `json` and `sentencepiece` the files,
//! `train`, `train_bpe` and `train_unigram` make it.
//!
//! # Equal to `tokenizers`
//!
//! Ids and decoded texts are those of the Python package `tokenizers` 0.23.3 without special tokens
//! (`encode(text, add_special_tokens=False).ids`), and so are the merges of BPE and the vocabularies of
//! words after training. A test compares 20 tokenizers on 130 texts (`fixtures/tokenizer_cases.py`); the
//! same 20 with vocabularies of 4,000 were compared on 50,893 lines once, of English, German and random code
//! points, without a difference, and so were the files of two published models. What a file needs and is
//! not supported is an error that names it: the pre-tokenizers UnicodeScripts and FixedLength, the
//! decoder CTC, BPE with a dropout in the file. `\w` in a regular expression of a file is that of
//! `regex-syntax`: eight characters differ from Oniguruma (`\u{b2}`, `\u{b3}`, `\u{b9}`, `\u{bc}` to
//! `\u{be}`, `\u{200c}`, `\u{200d}`).
//!
//! Models of SentencePiece 0.2.3 give its ids and texts: a test compares three models, and three with 4,000
//! pieces were compared on 25,893 lines of English and German once, without a difference.
//! [`Tokenizer::from_sentencepiece`] says what differs on rarer texts. Files that are written here give the same
//! ids in both packages on 1 MB of mixed text (`fixtures/tokenizer_files.py`).
//!
//! # Cost
//!
//! On two cores of an AMD EPYC that others were using too, one thread, by `examples/tokenize.rs`. The 58,000
//! sentences of Multi30k (3.9 MB) give 4,000 tokens of BPE in 0.18 s (`tokenizers`: 1.8 s with both cores), and with
//! two threads 8,000 of unigram in 0.4 s (`sentencepiece`: 7.4 s).
//!
//! | encoding | MB/s |
//! | --- | --- |
//! | characters | 75 |
//! | words | 50 |
//! | byte-level BPE | 55; 30 with an empty cache |
//! | byte-level BPE with another regular expression | 3 to 7 |
//! | BPE without words, as of Llama 2 | 13 |
//! | WordPiece with the normalizer of BERT | 9 |
//! | Unigram with the rules of T5 | 5 to 9 |

mod added;
mod byte_level;
mod cache;
mod classes;
mod cut;
mod decoder;
mod json;
mod model;
mod normalizer;
mod pattern;
mod pre_tokenizer;
mod precompiled;
mod random;
mod sentencepiece;
mod spec;
mod train;
mod train_bpe;
mod train_unigram;
mod vocabulary;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod equal_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use spec::{BpeSpec, CharactersSpec, TokenizerSpec, UnigramSpec, WordsSpec};

use crate::TextError;
use added::{AddedToken, Finder};
use cache::{Pool, Scratch};
use json::Parts;
use model::Dropout;
use random::Stream;
use vocabulary::Map;

/// The names of special tokens, the first one that there is counts.
const PAD: &[&str] = &["<pad>", "[PAD]", "<|pad|>"];
const BEGIN: &[&str] = &["<s>", "<bos>", "[CLS]", "<|begin_of_text|>", "<|startoftext|>"];
const END: &[&str] = &["</s>", "<eos>", "[SEP]", "<|end_of_text|>", "<|endoftext|>"];

/// A trained tokenizer. It encodes from many threads at once; each has a cache of words.
///
/// Special tokens are found in texts too, as in Python: the text `</s>` becomes the id of `</s>`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokenizer {
    parts: Parts,
    /// Tokens that are looked for in the text as it is, and in the normalized text.
    raw: Finder,
    normalized: Finder,
    vocabulary: usize,
    special: Special,
    /// The places of added tokens, by id.
    added: Map<i32, usize>,
    /// Whether the model sees the bytes of words as characters.
    bytes: bool,
    pool: Pool,
}

/// The ids of special tokens, where a tokenizer has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Special {
    /// Fills up shorter samples.
    pub pad: Option<i32>,
    /// Stands for what the vocabulary lacks.
    pub unknown: Option<i32>,
    /// Begins a text.
    pub begin: Option<i32>,
    /// Ends a text.
    pub end: Option<i32>,
}

impl Tokenizer {
    /// Trains a tokenizer. [`TokenizerSpec::File`] is an error here: [`Tokenizer::from_json`] reads it.
    pub fn train(
        spec: &TokenizerSpec,
        texts: &mut dyn Iterator<Item = &str>,
    ) -> Result<Tokenizer, TextError> {
        spec.check()?;
        Tokenizer::new(match spec {
            TokenizerSpec::Characters(spec) => train::characters(spec, texts)?,
            TokenizerSpec::Words(spec) => train::words(spec, texts)?,
            TokenizerSpec::Bpe(spec) => train_bpe::bpe(spec, texts)?,
            TokenizerSpec::Unigram(spec) => train_unigram::unigram(spec, texts)?,
            TokenizerSpec::File(path) => {
                let message = format!("the tokenizer {path} is read, not trained");
                return Err(TextError::new(message));
            }
        })
    }

    /// Reads a Hugging Face `tokenizer.json`. What it needs and is not supported is an error.
    pub fn from_json(json: &str) -> Result<Tokenizer, TextError> {
        Tokenizer::new(Parts::read(json)?)
    }

    /// Reads a `.model` of SentencePiece, unigram or BPE, as `transformers` converts it. Two things are
    /// otherwise than in SentencePiece: control pieces are found in texts, and of several combining marks
    /// after a character only the first one may be kept.
    pub fn from_sentencepiece(model: &[u8]) -> Result<Tokenizer, TextError> {
        Tokenizer::from_json(&sentencepiece::Model::read(model)?.to_json()?)
    }

    /// Reads a file of either kind, a `tokenizer.json` or a `.model` of SentencePiece.
    pub fn from_bytes(file: &[u8]) -> Result<Tokenizer, TextError> {
        match std::str::from_utf8(file) {
            Ok(json) if json.trim_start().starts_with('{') => Tokenizer::from_json(json),
            // The first field of a model is a piece.
            _ if file.starts_with(b"\n") => Tokenizer::from_sentencepiece(file),
            _ => Err(TextError::new(
                "neither a tokenizer.json, which begins with {, nor a model of SentencePiece",
            )),
        }
    }

    /// The `tokenizer.json` of this tokenizer: read again it is an equal one, and the Python package
    /// `tokenizers` gives the same ids with it.
    pub fn to_json(&self) -> String {
        self.parts.write()
    }

    /// The `.model` of SentencePiece of this tokenizer: the Python package `sentencepiece` gives the same ids
    /// with it, and so does this tokenizer when it is read again. Special tokens become control pieces; those of
    /// SentencePiece are not found in texts. Scores are rounded to `f32`.
    ///
    /// # Errors
    /// If SentencePiece has no such tokenizer, as for tokens of bytes (byte-level BPE) and of words.
    pub fn to_sentencepiece(&self) -> Result<Vec<u8>, TextError> {
        Ok(sentencepiece::represent(&self.parts, self.vocabulary)?.write())
    }

    fn new(parts: Parts) -> Result<Tokenizer, TextError> {
        let vocabulary = parts.model.vocabulary();
        let mut size = vocabulary.len();
        for token in &parts.added_tokens {
            let known = vocabulary.id(&token.content);
            if !(0..spec::MOST_TOKENS as i32).contains(&token.id)
                || known.is_some_and(|id| id != token.id)
            {
                return Err(TextError::new(format!(
                    "tokenizer.json, `added_tokens`: `{}` has the id {}, which is {}",
                    token.content,
                    token.id,
                    known.map_or("out of range".into(), |id| format!("{id} in the vocabulary"))
                )));
            }
            size = size.max(token.id as usize + 1);
        }
        let of = |normalized: bool| {
            let tokens = parts.added_tokens.iter().filter(|token| token.normalized == normalized);
            Finder::new(tokens.map(|token| (parts.pattern(token), token.clone())).collect())
        };
        let (raw, normalized) = (of(false), of(true));
        let bytes = match &parts.pre_tokenizer {
            Some(pre_tokenizer) => pre_tokenizer.maps_bytes()?,
            None => false,
        };
        let places = parts.added_tokens.iter().enumerate();
        let added = places.map(|(place, token)| (token.id, place)).collect();
        let mut tokenizer = Tokenizer {
            parts,
            raw,
            normalized,
            vocabulary: size,
            special: Special::default(),
            added,
            bytes,
            pool: Pool::default(),
        };
        let first = |names: &[&str]| names.iter().find_map(|name| tokenizer.id(name));
        tokenizer.special = Special {
            pad: first(PAD),
            unknown: tokenizer.parts.model.unknown().or(first(&["<unk>", "[UNK]"])),
            begin: first(BEGIN),
            end: first(END),
        };
        Ok(tokenizer)
    }

    /// Appends the ids of a text. No special token is added. A character that the vocabulary lacks is
    /// `<unk>`; where there is none it is left out, and the number of those is returned.
    pub fn encode(&self, text: &str, ids: &mut Vec<i32>) -> usize {
        self.pool.with(|scratch| self.run(text, scratch, None, ids))
    }

    /// The same with BPE-dropout (Provilkov et al. 2020): each merge is skipped at this rate, so that a
    /// text has other ids with another seed. The ids are a function of the arguments alone.
    pub fn encode_with_dropout(
        &self,
        text: &str,
        rate: f32,
        seed: u64,
        ids: &mut Vec<i32>,
    ) -> usize {
        let mut dropout = Dropout { rate, random: Stream::new(seed) };
        self.pool.with(|scratch| self.run(text, scratch, Some(&mut dropout), ids))
    }

    fn run(
        &self,
        text: &str,
        scratch: &mut Scratch,
        mut dropout: Option<&mut Dropout>,
        ids: &mut Vec<i32>,
    ) -> usize {
        let mut left_out = 0;
        let mut start = true;
        self.raw.split(text, |part, token| {
            if let Some(id) = token {
                ids.push(id);
                start = false;
                return;
            }
            let part = match &self.parts.normalizer {
                Some(normalizer) => normalizer.apply(part.into()),
                None => part.into(),
            };
            self.normalized.split(&part, |part, token| {
                match token {
                    Some(id) => ids.push(id),
                    None => left_out += self.words(part, start, scratch, &mut dropout, ids),
                }
                start = false;
            });
        });
        left_out
    }

    /// Encodes a text without added tokens.
    fn words(
        &self,
        text: &str,
        start: bool,
        scratch: &mut Scratch,
        dropout: &mut Option<&mut Dropout>,
        ids: &mut Vec<i32>,
    ) -> usize {
        let mut left_out = 0;
        let model = &self.parts.model;
        let caches = model.caches() && dropout.is_none();
        let mut word = |word: &str, _: bool| {
            if caches && let Some(left) = scratch.cache.get(word, ids) {
                left_out += left;
                return;
            }
            let before = ids.len();
            let mapped = match self.bytes {
                true => {
                    scratch.mapped.clear();
                    byte_level::map(word, &mut scratch.mapped);
                    &scratch.mapped
                }
                false => word,
            };
            let left = model.encode(mapped, &mut scratch.work, dropout.as_deref_mut(), ids);
            if caches {
                scratch.cache.put(word, &ids[before..], left);
            }
            left_out += left;
        };
        match &self.parts.pre_tokenizer {
            Some(pre_tokenizer) => pre_tokenizer.cut(text, start, &mut word),
            None => word(text, start),
        }
        left_out
    }

    /// The text of ids. Special tokens are left out, and so are ids that are unknown.
    pub fn decode(&self, ids: &[i32]) -> String {
        let tokens = ids.iter().filter_map(|&id| match self.added(id) {
            Some(added) => (!added.special).then(|| self.parts.pattern(added)),
            None => self.parts.model.vocabulary().token(id).map(str::to_owned),
        });
        match &self.parts.decoder {
            Some(decoder) => decoder.decode(tokens.collect()).concat(),
            None => tokens.collect::<Vec<_>>().join(" "),
        }
    }

    /// The number of ids: they are `0..vocabulary`.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The token of an id.
    pub fn token(&self, id: i32) -> Option<&str> {
        match self.added(id) {
            Some(added) => Some(&added.content),
            None => self.parts.model.vocabulary().token(id),
        }
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<i32> {
        let added = self.parts.added_tokens.iter().find(|added| added.content == token);
        added.map(|added| added.id).or_else(|| self.parts.model.vocabulary().id(token))
    }

    /// The ids of pad, unknown, begin and end, where it has them.
    pub fn special(&self) -> Special {
        self.special
    }

    fn added(&self, id: i32) -> Option<&AddedToken> {
        self.parts.added_tokens.get(*self.added.get(&id)?)
    }
}
