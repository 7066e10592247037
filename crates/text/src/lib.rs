//! Texts: tokenizers, which turn a text into ids and back, and the figures that compare generated texts
//! with those of people.
//!
//! # Layout
//!
//! - [`tokenizer`]: characters, words, byte-level BPE, unigram; trained, read and written
//! - [`score`]: BLEU, chrF, TER, ROUGE
//! - [`TextError`]: what can go wrong
#![forbid(unsafe_code)]

mod error;
pub mod score;
pub mod tokenizer;

pub use error::TextError;
pub use tokenizer::{
    BpeSpec, CharactersSpec, Special, Tokenizer, TokenizerSpec, UnigramSpec, WordsSpec,
};
