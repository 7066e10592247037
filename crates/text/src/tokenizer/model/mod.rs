//! Models: from a word to the ids of its parts.

use serde::{Deserialize, Serialize};

use super::random::Stream;
use super::vocabulary::Vocabulary;

pub(crate) mod bpe;
pub(crate) mod unigram;
pub(crate) mod word_level;
pub(crate) mod word_piece;

pub(crate) use bpe::Bpe;
pub(crate) use unigram::Unigram;
pub(crate) use word_level::WordLevel;
pub(crate) use word_piece::WordPiece;

/// The model of a `tokenizer.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum Model {
    #[serde(rename = "BPE")]
    Bpe(Bpe),
    Unigram(Unigram),
    WordLevel(WordLevel),
    WordPiece(WordPiece),
}

/// Memory that tokenizing uses again.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) bpe: bpe::Work,
    pub(crate) best: Vec<unigram::Best>,
}

/// BPE-dropout: the rate of skipped merges, and its randomness.
pub(crate) struct Dropout {
    pub(crate) rate: f32,
    pub(crate) random: Stream,
}

impl Model {
    /// Appends the ids of a word; returns the number of characters that have none.
    pub(crate) fn encode(
        &self,
        word: &str,
        work: &mut Work,
        dropout: Option<&mut Dropout>,
        ids: &mut Vec<i32>,
    ) -> usize {
        match self {
            Model::Bpe(bpe) => bpe.encode(word, &mut work.bpe, dropout, ids),
            Model::Unigram(unigram) => unigram.encode(word, &mut work.best, ids),
            Model::WordLevel(words) => words.encode(word, ids),
            Model::WordPiece(pieces) => {
                pieces.encode(word, ids);
                0
            }
        }
    }

    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        match self {
            Model::Bpe(bpe) => &bpe.vocabulary,
            Model::Unigram(unigram) => &unigram.vocabulary,
            Model::WordLevel(words) => &words.vocab,
            Model::WordPiece(pieces) => pieces.vocabulary(),
        }
    }

    /// The token that stands for what the vocabulary lacks.
    pub(crate) fn unknown(&self) -> Option<i32> {
        match self {
            Model::Bpe(bpe) => bpe.unknown,
            Model::Unigram(unigram) => unigram.unknown,
            Model::WordLevel(words) => words.vocab.id(&words.unk_token),
            Model::WordPiece(pieces) => Some(pieces.unknown),
        }
    }

    /// Whether the ids of words are worth keeping: their computation costs more than a look-up.
    pub(crate) fn caches(&self) -> bool {
        match self {
            Model::Bpe(bpe) => bpe.has_merges(),
            Model::Unigram(_) | Model::WordPiece(_) => true,
            Model::WordLevel(_) => false,
        }
    }
}
