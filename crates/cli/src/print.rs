//! Printing that survives its reader: a run continues when the reader of its output, such as
//! `head` or a closed terminal, is gone.

use std::borrow::Cow;
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
    let _ = writeln!(io::stderr(), "{}", visible(&text.to_string()));
}

/// A text whose control characters are written out: names of files and columns come from anywhere, and must not move the
/// cursor of a terminal.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let is_hidden = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_hidden(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(visible("a\x1b[31mb\r\u{9b}1m"), "a\\u{1b}[31mb\\r\\u{9b}1m");
        assert_eq!(visible("two\nlines,\ttab, Zürich"), "two\nlines,\ttab, Zürich");
    }
}
