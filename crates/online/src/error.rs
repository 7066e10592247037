//! Errors of streams as errors of a run.

use tidemill_engine::Error;
use tidemill_recipe::stream;

/// The stream cannot be opened or read on.
pub fn stream_error(e: impl Into<stream::Error>) -> Error {
    let e = e.into();
    match e {
        stream::Error::Usage(_) => Error::Usage(e.to_string()),
        _ => Error::Run(e.to_string()),
    }
}
