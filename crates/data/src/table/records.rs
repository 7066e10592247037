//! A file cut into records: lines, or rows of CSV whose quoted fields may hold line ends.

use std::io::Read;
use std::path::{Path, PathBuf};

use memchr::memchr;
use tidemill_table::{Format, Utf16Reader, arrow_lines, json_lines};

use crate::source::{open_table, read_error};
use crate::{Error, Result};

/// A longer line is none.
const MAX_RECORD: usize = 16 << 20;

/// A quoted field continues for at most so many bytes and lines; what is longer is a stray quote.
const MAX_QUOTED: usize = 1 << 20;
const MAX_QUOTED_LINES: u64 = 200;

/// Bytes asked for at once.
const CHUNK: usize = 256 << 10;

/// The records of a file, one after the other.
pub(super) struct Records {
    path: PathBuf,
    input: Box<dyn Read + Send>,
    quotes: Option<Quotes>,
    buffer: Vec<u8>,
    /// Where the next record begins, and up to where it has been looked for a line end.
    start: usize,
    scanned: usize,
    end: usize,
    /// The line that begins at `scanned`, from 1.
    line: u64,
    ended: bool,
}

/// One record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// Without its line end; never empty.
    pub(super) bytes: &'a [u8],
    /// The line where it begins, from 1.
    pub(super) line: u64,
}

impl Records {
    /// Opens a file; `quotes` is what is between the fields of formats whose fields may be quoted, and
    /// around them.
    pub(super) fn open(path: &Path, format: Format, quotes: Option<(u8, u8)>) -> Result<Records> {
        let mut input = open_table(path)?;
        if format == Format::Arrow {
            let lines = arrow_lines(&path.display().to_string(), input);
            input = lines.map_err(|e| Error::option(e.to_string()))?;
        } else {
            input = Box::new(Utf16Reader::new(input));
        }
        if format == Format::JsonLines {
            input = json_lines(input).map_err(|e| read_error(path, e))?;
        }
        Ok(Records {
            path: path.to_owned(),
            input,
            quotes: quotes.map(|(delimiter, quote)| Quotes { delimiter, quote, open: false }),
            buffer: vec![0; CHUNK],
            start: 0,
            scanned: 0,
            end: 0,
            line: 1,
            ended: false,
        })
    }

    /// The line that is read next.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The next record; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Record<'_>>> {
        let mut first_line = self.line;
        loop {
            let Some(found) = memchr(b'\n', &self.buffer[self.scanned..self.end]) else {
                if !self.ended {
                    self.fill()?;
                    continue;
                }
                if self.start == self.end {
                    return Ok(None);
                }
                if self.line > first_line {
                    return Ok(Some(self.first_alone(first_line)));
                }
                let (start, end) = (self.start, self.end);
                (self.start, self.scanned) = (end, end);
                let bytes = &self.buffer[start..end];
                return Ok(Some(Record { bytes, line: first_line }));
            };
            let end = self.scanned + found;
            if let Some(quotes) = &mut self.quotes {
                quotes.line(&self.buffer[self.scanned..end]);
            }
            self.line += 1;
            self.scanned = end + 1;
            if self.quotes.as_ref().is_some_and(|q| q.open) {
                let lines = self.line - first_line;
                if self.scanned - self.start > MAX_QUOTED || lines > MAX_QUOTED_LINES {
                    return Ok(Some(self.first_alone(first_line)));
                }
                continue;
            }
            let start = std::mem::replace(&mut self.start, end + 1);
            let bytes = &self.buffer[start..end];
            let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
            if bytes.is_empty() {
                first_line = self.line;
                continue;
            }
            // Once more by its place: what is borrowed in a loop cannot be returned.
            let (start, len) = (start, bytes.len());
            return Ok(Some(Record { bytes: &self.buffer[start..start + len], line: first_line }));
        }
    }

    /// The first line of a record whose quote is never closed, by itself: the lines after it are
    /// records again.
    fn first_alone(&mut self, line: u64) -> Record<'_> {
        let rest = &self.buffer[self.start..self.end];
        let len = memchr(b'\n', rest).unwrap_or(rest.len());
        let start = self.start;
        self.start = (start + len + 1).min(self.end);
        (self.scanned, self.line) = (self.start, line + 1);
        if let Some(quotes) = &mut self.quotes {
            quotes.open = false;
        }
        let bytes = &self.buffer[start..start + len];
        Record { bytes: bytes.strip_suffix(b"\r").unwrap_or(bytes), line }
    }

    fn fill(&mut self) -> Result<()> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.scanned -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            if self.end > MAX_RECORD {
                let what = "a line of more than 16 MiB begins here".to_owned();
                return Err(Error::Row { path: self.path.clone(), line: self.line, what });
            }
            self.buffer.resize(2 * self.buffer.len(), 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(n) => self.end += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(read_error(&self.path, e)),
            }
            return Ok(());
        }
    }
}

/// Whether a quoted field goes on in the next line. A quote within a field that does not begin with one
/// is a character as any other.
#[derive(Debug)]
struct Quotes {
    delimiter: u8,
    quote: u8,
    open: bool,
}

impl Quotes {
    fn line(&mut self, bytes: &[u8]) {
        if !self.open && memchr(self.quote, bytes).is_none() {
            return;
        }
        let mut at = 0;
        loop {
            if self.open {
                let Some(quote) = memchr(self.quote, &bytes[at..]) else { return };
                at += quote + 1;
                if bytes.get(at) == Some(&self.quote) {
                    at += 1;
                    continue;
                }
                self.open = false;
            } else {
                let space = |b: &&u8| **b == b' ' && self.delimiter != b' ';
                at += bytes[at..].iter().take_while(space).count();
                if bytes.get(at) == Some(&self.quote) {
                    self.open = true;
                    at += 1;
                    continue;
                }
            }
            let Some(next) = memchr(self.delimiter, &bytes[at..]) else { return };
            at += next + 1;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn records(text: &str) -> Vec<(String, u64)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut records = Records::open(file.path(), Format::Csv, Some((b',', b'"'))).unwrap();
        let mut all = Vec::new();
        while let Some(record) = records.next().unwrap() {
            all.push((String::from_utf8_lossy(record.bytes).into_owned(), record.line));
        }
        all
    }

    #[test]
    fn lines_and_quoted_line_ends() {
        let text = "a,b\r\n\n1, \"x\ny \"\"\n\" ,2\n5\",\"3\"\n\"\"\n\r\nlast";
        let want =
            [("a,b", 1), ("1, \"x\ny \"\"\n\" ,2", 3), ("5\",\"3\"", 6), ("\"\"", 7), ("last", 9)];
        assert_eq!(records(text), want.map(|(text, line)| (text.to_owned(), line)));
        let alone = [("x", 1), ("\"open", 2), ("y", 3), ("z", 4)];
        assert_eq!(records("x\n\"open\ny\nz"), alone.map(|(t, line)| (t.to_owned(), line)));
        let many = format!("\"open\n{}\"close\"\n", "y\n".repeat(300));
        let found = records(&many);
        assert_eq!((found.len(), found[0].0.as_str(), found[301].1), (302, "\"open", 302));
        assert!(records("").is_empty() && records("\n\r\n").is_empty());
    }

    #[test]
    fn long_lines_and_many() {
        let long = "y".repeat(3 * CHUNK);
        let found = records(&format!("{long}\nend\n"));
        assert_eq!((found.len(), found[0].0.len(), found[1].1), (2, 3 * CHUNK, 2));
        let text: String = (0..200_000).map(|i| format!("{i}\n")).collect();
        let found = records(&text);
        assert!(
            found.iter().zip(0..).all(|((text, line), i)| *text == i.to_string() && *line == i + 1)
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "x".repeat(40 << 20)).unwrap();
        let mut records = Records::open(file.path(), Format::Csv, Some((b',', b'"'))).unwrap();
        assert!(records.next().is_err());
    }
}
