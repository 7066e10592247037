//! Models of SentencePiece: protocol buffers with pieces, their scores and the rules of normalization.
//!
//! - [`Model`]: what a file consists of; as a `tokenizer.json` (`json`)
//! - `read`, `write`: the file; `wire`: the fields of protocol buffers
//! - `represent`: whether another tokenizer can be written as such a file

mod json;
mod read;
mod represent;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod wire;
mod write;

pub(crate) use represent::represent;

/// What stands for a space in pieces.
pub(crate) const MARK: char = '\u{2581}';

/// Spaces that are removed, if any are. At the end of a text, SentencePiece removes marks that it had itself, too.
const ENDS: &str = "\\A +|[ \u{2581}]+\\z";
/// Spaces that become one.
const SEVERAL: &str = " {2,}";

/// What a model consists of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    /// In the order of their ids.
    pub(crate) pieces: Vec<Piece>,
    /// BPE, or else unigram.
    pub(crate) bpe: bool,
    /// Whether characters without a piece become bytes.
    pub(crate) byte_fallback: bool,
    /// The rules of normalization, compiled; empty if there are none.
    pub(crate) rules: Vec<u8>,
    /// Whether several spaces stay, and those at the ends of a text.
    pub(crate) keeps_spaces: bool,
    /// Whether no space is put before a text.
    pub(crate) no_prefix: bool,
}

/// A token of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) score: f32,
    pub(crate) kind: Kind,
}

/// What a piece is for, with the numbers that files have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Normal = 1,
    Unknown = 2,
    Control = 3,
    Byte = 6,
}

/// The piece of a byte.
pub(crate) fn byte_name(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}
