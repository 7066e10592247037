//! What can be wrong with a specification.

/// A value that makes no sense, by its key path, so that the reader of a recipe can add file and
/// line: `layers[2].dense.units must be a positive integer, found -5`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} {message}")]
pub struct ModelError {
    /// Key path below the specification, such as `layers[2].dense.units`.
    pub path: String,
    /// What is wrong, continuing the path as a sentence.
    pub message: String,
}

impl ModelError {
    /// An error at a key path.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> ModelError {
        ModelError { path: path.into(), message: message.into() }
    }
}

/// Fails with `path must be <expected>, found <found>` unless the value is as it must be.
pub(crate) fn require(
    holds: bool,
    path: impl FnOnce() -> String,
    expected: &str,
    found: impl std::fmt::Display,
) -> Result<(), ModelError> {
    if holds {
        Ok(())
    } else {
        Err(ModelError::new(path(), format!("must be {expected}, found {found}")))
    }
}
