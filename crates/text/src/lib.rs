//! Texts: tokenizers, which turn a text into ids and back, and the figures that compare generated texts
//! with those of people.
//!
//! # Layout
//!
//! - [`tokenizer`]: characters, words, byte-level BPE; trained, read and written
//! - [`score`]: BLEU, chrF, TER, ROUGE, error rates, recall of new words

pub mod score;
pub mod tokenizer;
