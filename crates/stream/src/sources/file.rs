//! A file, plain, gzipped or Parquet, read from its start or a position to its end.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::lines::{Lines, MAX_RECORD};
use crate::packed::{
    JSON_LOOK, MAGIC, is_gzip, is_parquet, is_spread, is_utf16, parquet_rows, skip, unpack,
};
use crate::position::{Mark, Position};
use crate::records::Records;
use crate::source::{Counters, Poll, Source};

/// The lines of a file. What starts with the gzip magic is decompressed, whatever its name, and JSON
/// that is an array, or has values over several lines, is read as one value a line. A Parquet file is read as CSV.
///
/// A position in a plain file is a place to seek to; any other file is read again up to it.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    input: Input,
    lines: Lines,
    counters: Counters,
    ended: bool,
}

enum Input {
    Plain(File),
    Unpacked(Box<dyn Read + Send>),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Input::Plain(_)) { "plain" } else { "unpacked" })
    }
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Input::Plain(file) => file.read(out),
            Input::Unpacked(text) => text.read(out),
        }
    }
}

impl FileSource {
    /// Opens a file with records of at most 16 MiB.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<FileSource> {
        FileSource::with_max_record(path, MAX_RECORD, false)
    }

    /// Opens a file; of longer records only the beginning is given. `json` says that it is JSON.
    ///
    /// # Errors
    /// If it cannot be opened, or is packed in a way that is not read.
    pub fn with_max_record(path: impl AsRef<Path>, bytes: usize, json: bool) -> Result<FileSource> {
        let path = path.as_ref().to_path_buf();
        let fail = |e: io::Error| Error::io(path.display(), e);
        let mut file = File::open(&path).map_err(fail)?;
        let mut head = Vec::new();
        let look = if json { JSON_LOOK } else { MAGIC };
        Read::by_ref(&mut file).take(look as u64).read_to_end(&mut head).map_err(fail)?;
        file.seek(SeekFrom::Start(0)).map_err(fail)?;
        let is_plain =
            !(is_gzip(path.display(), &head)? || is_utf16(&head) || json && is_spread(&head));
        let input = match is_plain {
            _ if is_parquet(&head) => {
                let rows = parquet_rows(&path.display().to_string(), file);
                Input::Unpacked(rows.map_err(|e| Error::Usage(e.to_string()))?)
            }
            true => Input::Plain(file),
            false => Input::Unpacked(unpack(path.display(), file, json)?),
        };
        let (lines, counters) = (Lines::new(bytes), Counters::default());
        Ok(FileSource { path, input, lines, counters, ended: false })
    }

    /// Goes on after `mark`, which is the end of a record of this file.
    pub(crate) fn seek_mark(&mut self, mark: Mark) -> Result<()> {
        self.lines.restart(mark);
        if mark.major == 0 {
            return Ok(());
        }
        let gone = |what| {
            Error::gone(
                self.path.display(),
                format!("byte {}", mark.major),
                format!("{what}: it is not the file that was read; start anew, or give that file"),
            )
        };
        // From the byte before, which tells whether a record ends there.
        let before = mark.major - 1;
        let skipped = match &mut self.input {
            Input::Plain(file) => file.seek(SeekFrom::Start(before)),
            Input::Unpacked(text) => skip(text, before),
        };
        let mut last = [0];
        let fail = |e| Error::io(self.path.display(), e);
        let skipped = skipped.map_err(fail)?;
        if skipped < before || self.input.read(&mut last).map_err(fail)? == 0 {
            return Err(gone("the file ends before it"));
        }
        if last[0] == b'\n' {
            return Ok(());
        }
        // The last line had no line end when it was read; it may have got one, and more after that.
        self.lines.fill(&mut self.input).map_err(fail)?;
        match self.lines.pass_line_end() {
            true => Ok(()),
            false => {
                Err(gone("the line that ends there has been written on, or no record ends there"))
            }
        }
    }
}

impl Source for FileSource {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn not_seekable(&self) -> Option<&'static str> {
        None
    }

    fn seek(&mut self, position: &Position) -> Result<()> {
        self.seek_mark(position.mark("").unwrap_or_default())
    }

    fn poll(&mut self, records: &mut Records, bytes: usize, _wait: Duration) -> Result<Poll> {
        let (len, num_bytes) = (records.len(), records.num_bytes());
        let limit = records.footprint() + bytes.max(1);
        while !self.ended && records.footprint() < limit {
            self.lines.take(records, limit - records.footprint());
            if records.footprint() >= limit {
                break;
            }
            let read = self.lines.fill(&mut self.input);
            let n = read.map_err(|e| {
                let at = self.lines.mark().major + self.lines.pending() as u64;
                Error::io(self.path.display(), format!("after {at} bytes of text: {e}"))
            })?;
            if n == 0 {
                self.lines.finish(records);
                self.ended = true;
            }
        }
        self.counters.records += (records.len() - len) as u64;
        self.counters.bytes += (records.num_bytes() - num_bytes) as u64;
        Ok(if records.len() > len { Poll::Some } else { Poll::End })
    }

    fn commit(&mut self, _position: &Position) -> Result<()> {
        Ok(())
    }

    fn counters(&self) -> Counters {
        Counters { too_long: self.lines.too_long(), ..self.counters.clone() }
    }
}
