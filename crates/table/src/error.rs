//! What can go wrong with a table as a whole; a single bad record is a [`crate::BadEvent`].

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A table or stream cannot be understood. The message says what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option is invalid, or does not fit the data.
    #[error("{0}")]
    Usage(String),
    /// Reading failed.
    #[error("{place}: {what}")]
    Io {
        /// A path or an address.
        place: String,
        /// What failed.
        what: String,
    },
}
