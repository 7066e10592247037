//! Decoders: from tokens to a text.

use serde::{Deserialize, Serialize};

use super::byte_level;
use super::pre_tokenizer::ByteLevel;

/// The decoder of a `tokenizer.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum Decoder {
    /// From characters to the bytes that they stand for.
    ByteLevel(ByteLevel),
    /// Joins all tokens.
    Fuse,
}

impl Decoder {
    /// The texts that are joined in the end.
    pub(crate) fn decode(&self, tokens: Vec<String>) -> Vec<String> {
        match self {
            Decoder::ByteLevel(_) => {
                let mut bytes = Vec::new();
                tokens.iter().for_each(|token| byte_level::unmap(token, &mut bytes));
                vec![String::from_utf8_lossy(&bytes).into_owned()]
            }
            Decoder::Fuse => vec![tokens.concat()],
        }
    }
}
