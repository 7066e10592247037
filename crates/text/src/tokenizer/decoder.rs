//! Decoders: from tokens to a text.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::byte_level;
use super::pattern::Pattern;
use super::pre_tokenizer::{ByteLevel, Metaspace, Prepend};

/// The decoder of a `tokenizer.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum Decoder {
    /// The suffix of a token is the end of a word.
    #[serde(rename = "BPEDecoder")]
    Bpe {
        suffix: String,
    },
    /// `<0xE2>` is a byte.
    ByteFallback,
    /// From characters to the bytes that they stand for.
    ByteLevel(ByteLevel),
    /// Joins all tokens.
    Fuse,
    Metaspace(Metaspace),
    Replace {
        pattern: Pattern,
        content: String,
    },
    Sequence {
        decoders: Vec<Decoder>,
    },
    /// Removes up to so many of these characters from the start and the end of each token.
    Strip {
        content: char,
        start: usize,
        stop: usize,
    },
    /// A token without the prefix begins a word.
    WordPiece {
        prefix: String,
        cleanup: bool,
    },
}

impl Decoder {
    /// The texts that are joined in the end.
    pub(crate) fn decode(&self, mut tokens: Vec<String>) -> Vec<String> {
        match self {
            Decoder::Bpe { suffix } => {
                let count = tokens.len();
                for (at, token) in tokens.iter_mut().enumerate() {
                    *token = token.replace(suffix, if at + 1 == count { "" } else { " " });
                }
                tokens
            }
            Decoder::ByteFallback => byte_fallback(tokens),
            Decoder::ByteLevel(_) => {
                let mut bytes = Vec::new();
                tokens.iter().for_each(|token| byte_level::unmap(token, &mut bytes));
                vec![String::from_utf8_lossy(&bytes).into_owned()]
            }
            Decoder::Fuse => vec![tokens.concat()],
            Decoder::Metaspace(options) => {
                for (at, token) in tokens.iter_mut().enumerate() {
                    let drops = at == 0 && options.prepend_scheme != Prepend::Never;
                    let space = if drops { "" } else { " " };
                    *token = token.replace(options.replacement, space);
                }
                tokens
            }
            Decoder::Replace { pattern, content } => tokens
                .into_iter()
                .map(|token| pattern.replace(token.into(), content).into())
                .collect(),
            Decoder::Sequence { decoders } => {
                decoders.iter().fold(tokens, |tokens, decoder| decoder.decode(tokens))
            }
            Decoder::Strip { content, start, stop } => {
                for token in &mut tokens {
                    *token = strip(token, *content, *start, *stop).to_owned();
                }
                tokens
            }
            Decoder::WordPiece { prefix, cleanup } => {
                for (at, token) in tokens.iter_mut().enumerate() {
                    if at > 0 {
                        *token = match token.strip_prefix(prefix.as_str()) {
                            Some(rest) => rest.to_owned(),
                            None => format!(" {token}"),
                        };
                    }
                    if *cleanup {
                        *token = clean(token);
                    }
                }
                tokens
            }
        }
    }
}

/// Joins tokens of bytes; those that are no UTF-8 together become one U+FFFD each.
fn byte_fallback(tokens: Vec<String>) -> Vec<String> {
    let mut texts = Vec::with_capacity(tokens.len());
    let mut bytes: Vec<u8> = Vec::new();
    let flush = |bytes: &mut Vec<u8>, texts: &mut Vec<String>| match std::str::from_utf8(bytes) {
        Ok("") => {}
        Ok(text) => {
            texts.push(text.to_owned());
            bytes.clear();
        }
        Err(_) => {
            texts.push("\u{fffd}".repeat(bytes.len()));
            bytes.clear();
        }
    };
    for token in tokens {
        let hex = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
        match hex.filter(|hex| hex.len() == 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => bytes.push(byte),
            None => {
                flush(&mut bytes, &mut texts);
                texts.push(token);
            }
        }
    }
    flush(&mut bytes, &mut texts);
    texts
}

fn strip(token: &str, content: char, start: usize, stop: usize) -> &str {
    let mut token = token;
    for _ in 0..start {
        let Some(rest) = token.strip_prefix(content) else { break };
        token = rest;
    }
    for _ in 0..stop {
        let Some(rest) = token.strip_suffix(content) else { break };
        token = rest;
    }
    token
}

/// Undoes the spaces before marks, as `tokenizers` do it.
fn clean(token: &str) -> String {
    const RULES: [(&str, &str); 11] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" do not", " don't"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    let text = Cow::Borrowed(token);
    let cleaned = RULES.iter().fold(text, |text, (from, to)| match text.contains(from) {
        true => text.replace(from, to).into(),
        false => text,
    });
    cleaned.into_owned()
}
