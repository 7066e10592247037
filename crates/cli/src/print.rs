//! Printing that survives its reader: a run continues when the reader of its output, such as
//! `head` or a closed terminal, is gone.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};

/// Prints a line on standard output; fails if it cannot be written, unless the reader has gone.
macro_rules! say {
    ($($text:tt)*) => { $crate::print::out(format_args!($($text)*)) };
}

/// Prints a line on standard error.
macro_rules! tell {
    ($($text:tt)*) => { $crate::print::error(format_args!($($text)*)) };
}
pub(crate) use {say, tell};

pub(crate) fn out(text: Arguments) -> io::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

pub(crate) fn error(text: Arguments) {
    // There is nobody left to tell.
    let _ = writeln!(io::stderr(), "{text}");
}
