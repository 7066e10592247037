//! A file of Arrow IPC.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use tidemill_table::arrow_lines;

use crate::error::{Error, Result};
use crate::lines::Lines;
use crate::packed::unpack;
use crate::position::{Mark, Position};
use crate::records::Records;
use crate::source::{Counters, Poll, Source};

/// The rows of an Arrow IPC stream or file as lines of JSON, which the decoder of
/// [`crate::Format::Arrow`] takes. A position counts rows: going on reads the file from its start
/// and passes over so many, as an IPC stream has no index.
pub struct ArrowSource {
    path: PathBuf,
    input: Box<dyn Read + Send>,
    lines: Lines,
    block: Records,
    /// Rows read so far.
    read: u64,
    /// Rows that were read before and are passed over.
    skip: u64,
    ended: bool,
    counters: Counters,
}

impl ArrowSource {
    /// Opens a file, which may be gzipped; rows whose JSON is longer than `max_record` bytes are
    /// passed over and counted.
    ///
    /// # Errors
    /// If it cannot be opened, is no Arrow IPC, or the program has no feature `arrow`.
    pub fn open(path: impl Into<PathBuf>, max_record: usize) -> Result<ArrowSource> {
        let path = path.into();
        let fail = |e| Error::io(path.display(), e);
        let input = unpack(path.display(), File::open(&path).map_err(fail)?, false)?;
        let input = arrow_lines(&path.display().to_string(), input)?;
        Ok(ArrowSource {
            path,
            input,
            lines: Lines::new(max_record),
            block: Records::default(),
            read: 0,
            skip: 0,
            ended: false,
            counters: Counters::default(),
        })
    }
}

impl Source for ArrowSource {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn not_seekable(&self) -> Option<&'static str> {
        None
    }

    fn seek(&mut self, position: &Position) -> Result<()> {
        self.skip = position.mark("").unwrap_or_default().major;
        Ok(())
    }

    fn poll(&mut self, records: &mut Records, bytes: usize, _wait: Duration) -> Result<Poll> {
        let len = records.len();
        while !self.ended && records.len() == len {
            self.block.clear();
            self.lines.take(&mut self.block, bytes);
            if self.block.is_empty() {
                let read = self.lines.fill(&mut self.input);
                let n = read.map_err(|e| {
                    Error::io(self.path.display(), format!("after {} rows: {e}", self.read))
                })?;
                if n > 0 {
                    continue;
                }
                self.lines.finish(&mut self.block);
                self.ended = true;
            }
            self.block.number(self.read + 1);
            self.read += self.block.len() as u64;
            for row in self.block.iter().filter(|row| row.mark.major > self.skip) {
                self.counters.records += 1;
                self.counters.bytes += row.bytes.len() as u64;
                let mark = Mark { major: row.mark.major, minor: 0 };
                records.push(row.bytes, mark, 0, row.first);
            }
        }
        if self.ended && self.read < self.skip {
            let what = "the file has fewer rows: it is not the one that was read; start anew, or \
                        give that file";
            return Err(Error::gone(self.name(), format!("row {}", self.skip), what));
        }
        Ok(if records.len() > len { Poll::Some } else { Poll::End })
    }

    fn commit(&mut self, _position: &Position) -> Result<()> {
        Ok(())
    }

    fn counters(&self) -> Counters {
        Counters { too_long: self.lines.too_long(), ..self.counters.clone() }
    }
}

/// Arrow IPC that comes through a pipe: its head is read at the first read, so that nothing waits
/// for it before the learner is ready.
pub(crate) struct ArrowPipe {
    name: String,
    input: Option<Box<dyn Read + Send>>,
    lines: Option<Box<dyn Read + Send>>,
}

impl ArrowPipe {
    pub(crate) fn new(name: &str, input: impl Read + Send + 'static) -> ArrowPipe {
        ArrowPipe { name: name.to_owned(), input: Some(Box::new(input)), lines: None }
    }
}

impl Read for ArrowPipe {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        if let Some(input) = self.input.take() {
            let lines = arrow_lines(&self.name, input);
            self.lines = Some(lines.map_err(|e| match e {
                // The source names itself.
                tidemill_table::Error::Io { what, .. } => std::io::Error::other(what),
                e => std::io::Error::other(e.to_string()),
            })?);
        }
        self.lines.as_mut().map_or(Ok(0), |lines| lines.read(to))
    }
}
