//! What can go wrong with audio: where it is, what is wrong, and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// The result of this crate's functions.
pub type Result<T, E = AudioError> = std::result::Result<T, E>;

/// An error with audio: where, what, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AudioError {
    /// A file, a folder or a stream could not be read.
    #[error("{place}: cannot be read: {source}")]
    Read {
        /// The path, or what the stream is called.
        place: String,
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
    /// What is read is not audio that this program reads.
    #[error("{place}: {what}")]
    Format {
        /// The path, or what the stream is called; with the line in a manifest.
        place: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// An option is wrong.
    #[error("{0}")]
    Option(String),
}

impl AudioError {
    pub(crate) fn option(what: impl Into<String>) -> AudioError {
        AudioError::Option(what.into())
    }

    pub(crate) fn read(place: impl Into<String>, source: io::Error) -> AudioError {
        AudioError::Read { place: place.into(), source }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> AudioError {
        AudioError::Write { path: path.to_owned(), source }
    }

    pub(crate) fn format(place: impl Into<String>, what: impl Into<String>) -> AudioError {
        AudioError::Format { place: place.into(), what: what.into() }
    }
}
