//! What can go wrong with tokenizers and figures.

/// A specification is invalid, a file of a tokenizer cannot be read, or it needs what is not supported. The
/// message says what, where and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TextError(pub(crate) String);

impl TextError {
    /// An error with this message.
    pub(crate) fn new(message: impl Into<String>) -> TextError {
        TextError(message.into())
    }
}
