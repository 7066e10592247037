//! What can go wrong with data, told so that a user can put it right.

use std::io;
use std::path::{Path, PathBuf};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with data: where, what, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read.
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder could not be written.
    #[error("{path}: cannot be written: {source}", path = path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file's content is not what its format asks for.
    #[error("{path}: {what}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// A row of a table is wrong.
    #[error("{path}:{line}: {what}", path = path.display())]
    Row {
        /// The table's file.
        path: PathBuf,
        /// The line in the file, from 1.
        line: u64,
        /// What is wrong, and what to do.
        what: String,
    },
    /// An image could not be decoded.
    #[error("{place}: cannot be decoded as an image: {what}")]
    Image {
        /// The image's file, or archive and member.
        place: String,
        /// What the decoder said.
        what: String,
    },
    /// A sound could not be decoded.
    #[error("{what}")]
    Sound {
        /// The sound, and what is wrong with it.
        what: String,
    },
    /// A dataset fills fields that its samples do not have.
    #[error("a sample cannot be filled: {0}")]
    Field(#[from] tidemill_fields::FieldError),
    /// An option of a dataset or a loader is wrong or does not fit the data.
    #[error("{what}")]
    Option {
        /// The option, its value and what would be right.
        what: String,
    },
    /// A background thread of a loader panicked: a bug in this crate.
    #[error("a data thread panicked; please report it as a bug of tidemill-data")]
    Worker,
}

impl Error {
    /// A reading error at `path`.
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    /// A writing error at `path`.
    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }

    /// Content of `path` that breaks its format.
    pub(crate) fn format(path: &Path, what: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), what: what.into() }
    }

    /// A wrong option.
    pub(crate) fn option(what: impl Into<String>) -> Self {
        Self::Option { what: what.into() }
    }
}
