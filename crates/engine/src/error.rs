//! What can go wrong in a run, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use tidemill_fields::FieldError;
use tidemill_graph::GraphError;

use crate::engine::EngineError;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a run: where, what, and what to do about it.
///
/// Its `Debug` form is for people too, since `fn main() -> tidemill::Result<()>` prints it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The recipe is wrong; the message starts with file, line and key.
    #[error("{0}")]
    Recipe(String),
    /// The command does not fit what is there, such as a run folder that exists.
    #[error("{0}")]
    Usage(String),
    /// A file or folder could not be read or written.
    #[error("{path}: cannot be {verb}: {source}", path = path.display())]
    Io {
        /// `read` or `written`.
        verb: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A checkpoint is not complete or belongs to another model.
    #[error("{path}: {what}", path = path.display())]
    Checkpoint {
        /// Its folder.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// The data is wrong.
    #[error(transparent)]
    Data(#[from] tidemill_data::Error),
    /// The model cannot be compiled or run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A graph cannot be built.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The run went wrong.
    #[error("{0}")]
    Run(String),
}

impl fmt::Debug for Error {
    /// The message, with what helps on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_string().replace("; help: ", "\n  help: "))
    }
}

impl From<FieldError> for Error {
    fn from(error: FieldError) -> Error {
        Error::Data(error.into())
    }
}

impl Error {
    /// A reading error at `path`.
    pub fn read(path: &Path, source: io::Error) -> Self {
        Self::Io { verb: "read", path: path.to_owned(), source }
    }

    /// A writing error at `path`.
    pub fn write(path: &Path, source: io::Error) -> Self {
        Self::Io { verb: "written", path: path.to_owned(), source }
    }

    /// Whether the user asked for something wrong (exit status 2), as opposed to a run that failed.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Recipe(_) | Self::Usage(_))
    }
}
