//! What can go wrong with a stream as a whole; a single bad event is not an error.

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A stream cannot be opened or read on. The message says what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address or an option makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Reading or writing failed.
    #[error("{place}: {what}")]
    Io {
        /// A path or an address.
        place: String,
        /// What failed.
        what: String,
    },
    /// Writing failed so that it is not known what was kept.
    #[error("{place}: {what}; whether the records were kept is not known")]
    Unknown {
        /// A path.
        place: String,
        /// What failed.
        what: String,
    },
    /// The place to go on from is no longer there.
    #[error("{place}: cannot go on from {position}: {what}")]
    Gone {
        /// The source.
        place: String,
        /// Where the run stopped.
        position: String,
        /// Why, and what to do.
        what: String,
    },
    /// A bound is reached; what is sent now is not taken, and may be later.
    #[error("{place}: full: {what}")]
    Full {
        /// What is full.
        place: String,
        /// Its bound, and what makes room.
        what: String,
    },
}

impl From<tidemill_table::Error> for Error {
    fn from(error: tidemill_table::Error) -> Error {
        match error {
            tidemill_table::Error::Usage(what) => Error::Usage(what),
            tidemill_table::Error::Io { place, what } => Error::Io { place, what },
        }
    }
}

impl Error {
    /// `what` failed at `place`.
    pub(crate) fn io(place: impl std::fmt::Display, what: impl std::fmt::Display) -> Error {
        Error::Io { place: place.to_string(), what: what.to_string() }
    }

    /// Reading cannot go on from `position`.
    pub(crate) fn gone(
        place: impl std::fmt::Display,
        position: impl std::fmt::Display,
        what: impl std::fmt::Display,
    ) -> Error {
        let (place, position) = (place.to_string(), position.to_string());
        Error::Gone { place, position, what: what.to_string() }
    }
}
