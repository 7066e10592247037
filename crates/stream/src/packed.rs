//! What a file is packed in, by its first bytes, whatever its name.

use std::fmt::Display;
use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use tidemill_table::Utf16Reader;
pub(crate) use tidemill_table::formats::parquet::{is_parquet, parquet_rows};
pub(crate) use tidemill_table::formats::{JSON_LOOK, is_spread, json_lines};

use crate::error::{Error, Result};

/// Bytes that show it.
pub(crate) const MAGIC: usize = 8;

/// Kinds that are not unpacked: how they begin, what they are called, and what unpacks them.
const OTHERS: [(&[u8], &str, &str); 6] = [
    (&[0x28, 0xb5, 0x2f, 0xfd], "compressed with zstd", "zstd -dc"),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "compressed with xz", "xz -dc"),
    (b"BZh", "compressed with bzip2", "bzip2 -dc"),
    (&[0x04, 0x22, 0x4d, 0x18], "compressed with lz4", "lz4 -dc"),
    (
        b"PK\x03\x04",
        "a zip archive or a spreadsheet",
        "unzip (of a spreadsheet, save the sheet as CSV)",
    ),
    (b"SQLite f", "an SQLite database", "sqlite3"),
];

/// Whether what begins with `head` is gzipped.
///
/// # Errors
/// If it is packed in another way, with what unpacks it.
pub(crate) fn is_gzip(place: impl Display, head: &[u8]) -> Result<bool> {
    if let Some((_, what, command)) = OTHERS.iter().find(|(magic, ..)| head.starts_with(magic)) {
        let what =
            format!("{place}: is {what}, which is not read; unpack it first, with {command}");
        return Err(Error::Usage(what));
    }
    Ok(head.starts_with(&[0x1f, 0x8b]))
}

/// Whether what begins with `head` is UTF-16.
pub(crate) fn is_utf16(head: &[u8]) -> bool {
    head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff])
}

/// The text of `input`, unpacked and in UTF-8; JSON of any layout as one value a line, where `json` says that it
/// is JSON. Reads the beginning.
pub(crate) fn unpack(
    place: impl Display,
    mut input: impl Read + Send + 'static,
    json: bool,
) -> Result<Box<dyn Read + Send>> {
    let mut magic = Vec::new();
    let read = Read::by_ref(&mut input).take(MAGIC as u64).read_to_end(&mut magic);
    read.map_err(|e| Error::io(&place, e))?;
    if is_parquet(&magic) {
        return Err(Error::Usage(format!(
            "{place}: is a Parquet file, which is read from its end: name a file in place of a pipe"
        )));
    }
    let gzip = is_gzip(&place, &magic)?;
    let input = Cursor::new(magic).chain(input);
    let text: Box<dyn Read + Send> =
        if gzip { Box::new(MultiGzDecoder::new(BufReader::new(input))) } else { Box::new(input) };
    let text: Box<dyn Read + Send> = Box::new(Utf16Reader::new(text));
    match json {
        true => json_lines(text).map_err(|e| Error::io(&place, e)),
        false => Ok(text),
    }
}

/// Reads and drops `bytes`; fewer where there are no more.
pub(crate) fn skip(input: &mut impl Read, bytes: u64) -> io::Result<u64> {
    io::copy(&mut input.take(bytes), &mut io::sink())
}
