//! Sources from the addresses that users give.

use std::fs::File;

use crate::error::{Error, Result};
use crate::lines::MAX_RECORD;
use crate::source::Source;
use crate::sources::{FileSource, ReadSource};

/// What holds for all kinds of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Longer records are passed over and counted. 16 MiB.
    pub max_record: usize,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions { max_record: MAX_RECORD }
    }
}

/// What can be given to [`open`], for help texts.
pub const ADDRESSES: &str = "-, a path, file:PATH";

/// Opens the source at `uri`:
///
/// | address | what |
/// | --- | --- |
/// | `-`, `stdin:` | standard input |
/// | a path, `file:PATH`, `file://PATH` | a file, plain or gzipped; a pipe is read once |
///
/// # Errors
/// If there is no such kind of source, or it cannot be opened.
pub fn open(uri: &str, options: &OpenOptions) -> Result<Box<dyn Source>> {
    let max = options.max_record;
    let (scheme, rest) = match uri.split_once(':') {
        // One letter before a colon, or a slash before it, is a path.
        Some((s, rest)) if s.len() > 1 && s.bytes().all(|b| b.is_ascii_alphanumeric()) => (s, rest),
        _ => ("", uri),
    };
    Ok(match scheme {
        _ if uri == "-" => Box::new(ReadSource::new("standard input", std::io::stdin(), max)?),
        "stdin" => Box::new(ReadSource::new("standard input", std::io::stdin(), max)?),
        "file" => file(path(rest), max)?,
        "" => file(uri, max)?,
        _ => {
            let what = format!("{uri}: no source has the scheme {scheme}:; give {ADDRESSES}");
            return Err(Error::Usage(what));
        }
    })
}

/// What follows the scheme of a path.
fn path(rest: &str) -> &str {
    rest.strip_prefix("//").unwrap_or(rest)
}

fn file(path: &str, max: usize) -> Result<Box<dyn Source>> {
    let fail = |e| Error::io(path, e);
    let meta = std::fs::metadata(path).map_err(fail)?;
    if meta.is_dir() {
        let what = format!("{path} is a folder; give dir:{path} to read its files as they come");
        return Err(Error::Usage(what));
    }
    Ok(if meta.is_file() {
        Box::new(FileSource::with_max_record(path, max)?)
    } else {
        Box::new(ReadSource::new(path, File::open(path).map_err(fail)?, max)?)
    })
}
