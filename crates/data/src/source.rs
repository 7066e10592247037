//! Reading files that may be compressed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use tidemill_table::formats::parquet::{is_parquet, parquet_rows};

use crate::{Error, Result};

/// Large enough that inflating does not wait for system calls, small beside any bar on memory.
const BUFFER_BYTES: usize = 64 * 1024;

/// A regular file: opening a pipe waits for a writer, and a device has no end.
pub(crate) fn open_file(path: &Path) -> Result<File> {
    let meta = std::fs::metadata(path).map_err(|e| Error::read(path, e))?;
    if !(meta.is_file() || meta.is_dir()) {
        let what = "is a pipe, a socket or a device, and not a file that can be read as data; remove it, or name a file";
        return Err(Error::format(path, what));
    }
    File::open(path).map_err(|e| Error::read(path, e))
}

/// All bytes of a regular file of at most `most` bytes, into `buffer`.
pub(crate) fn read_within(path: &Path, most: u64, buffer: &mut Vec<u8>) -> Result<()> {
    let mut file = open_file(path)?.take(most + 1);
    file.read_to_end(buffer).map_err(|e| Error::read(path, e))?;
    if buffer.len() as u64 > most {
        return Err(Error::format(path, format!("is larger than {} MiB", most >> 20)));
    }
    Ok(())
}

/// A reader of `path`'s content; gzip is told by its first two bytes, not by the name.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read + Send>> {
    let file = open_file(path)?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
    // `File::open` succeeds on a folder; the first read tells.
    let start = reader.fill_buf().map_err(|e| Error::read(path, e))?;
    if start.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(MultiGzDecoder::new(reader)))
    } else {
        Ok(Box::new(reader))
    }
}

/// A reader of the rows of a table: as [`open`], and those of a Parquet file as CSV.
pub(crate) fn open_table(path: &Path) -> Result<Box<dyn Read + Send>> {
    let mut file = open_file(path)?;
    let mut head = [0; 4];
    // A folder, or a file of fewer bytes, which `open` reports.
    if file.read_exact(&mut head).is_err() || !is_parquet(&head) {
        return open(path);
    }
    file.rewind().map_err(|e| Error::read(path, e))?;
    parquet_rows(&path.display().to_string(), file).map_err(|e| Error::option(e.to_string()))
}

/// A reading error of `path`, where running out of data means a cut or broken file.
pub(crate) fn read_error(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::format(path, "ends too early; it looks truncated"),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            Error::format(path, format!("is damaged: {error}"))
        }
        _ => Error::read(path, error),
    }
}
