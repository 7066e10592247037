//! How a command ends when it cannot do what was asked.

use std::process::ExitCode;

use crate::print::tell;

/// The run failed.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage, or a wrong recipe.
pub(crate) const USAGE: u8 = 2;
/// Interrupted, with a checkpoint written.
pub(crate) const INTERRUPTED: u8 = 130;

/// What a command gives to the shell, or why it cannot.
pub(crate) type Result<T = ExitCode> = std::result::Result<T, Failure>;

/// An error to show, and the exit status.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    message: String,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure { status: USAGE, message: message.into() }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Failure {
        Failure { status: FAILED, message: message.into() }
    }

    /// Prints the error and gives the exit status.
    pub(crate) fn report(self) -> ExitCode {
        tell!("error: {}", self.message);
        ExitCode::from(self.status)
    }
}

impl From<tidemill_engine::Error> for Failure {
    fn from(error: tidemill_engine::Error) -> Failure {
        Failure {
            status: if error.is_usage() { USAGE } else { FAILED },
            message: error.to_string(),
        }
    }
}

impl From<tidemill_engine::data::Error> for Failure {
    fn from(error: tidemill_engine::data::Error) -> Failure {
        let status = if matches!(error, tidemill_engine::data::Error::Option { .. }) {
            USAGE
        } else {
            FAILED
        };
        Failure { status, message: error.to_string() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::failed(format!("cannot write the output: {error}"))
    }
}
