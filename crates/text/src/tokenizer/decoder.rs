//! Decoders: from tokens to a text.

use serde::{Deserialize, Serialize};

/// The decoder of a `tokenizer.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum Decoder {
    /// Joins all tokens.
    Fuse,
}

impl Decoder {
    /// The texts that are joined in the end.
    pub(crate) fn decode(&self, tokens: Vec<String>) -> Vec<String> {
        match self {
            Decoder::Fuse => vec![tokens.concat()],
        }
    }
}
