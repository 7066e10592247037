//! Each word is one token.

use serde::{Deserialize, Serialize};

use crate::tokenizer::vocabulary::Vocabulary;

/// A vocabulary of words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WordLevel {
    pub(crate) vocab: Vocabulary,
    pub(crate) unk_token: String,
}

impl WordLevel {
    pub(crate) fn encode(&self, word: &str, ids: &mut Vec<i32>) -> usize {
        match self.vocab.id(word).or_else(|| self.vocab.id(&self.unk_token)) {
            Some(id) => {
                ids.push(id);
                0
            }
            None => word.chars().count(),
        }
    }
}
