//! A file, plain or gzipped, read from its start or a position to its end.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;
use tidemill_table::Utf16Reader;

use crate::error::{Error, Result};
use crate::lines::{Lines, MAX_RECORD};
use crate::position::{Mark, Position};
use crate::records::Records;
use crate::source::{Counters, Poll, Source};

/// The lines of a file. What starts with the gzip magic is decompressed, whatever its name.
///
/// A position in a plain file is a place to seek to; a gzipped file is decompressed again up to it.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    input: Input,
    lines: Lines,
    counters: Counters,
    ended: bool,
}

#[derive(Debug)]
enum Input {
    Plain(File),
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
    /// UTF-16, converted: read again up to a position, as gzip is.
    Utf16(Box<Utf16Reader<BufReader<File>>>),
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Input::Plain(file) => file.read(out),
            Input::Gzip(file) => file.read(out),
            Input::Utf16(file) => file.read(out),
        }
    }
}

impl FileSource {
    /// Opens a file with records of at most 16 MiB.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<FileSource> {
        FileSource::with_max_record(path, MAX_RECORD)
    }

    /// Opens a file; longer records are passed over and counted.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn with_max_record(path: impl AsRef<Path>, bytes: usize) -> Result<FileSource> {
        let path = path.as_ref().to_path_buf();
        let fail = |e: io::Error| Error::io(path.display(), e);
        let mut file = File::open(&path).map_err(fail)?;
        let mut magic = Vec::new();
        Read::by_ref(&mut file).take(2).read_to_end(&mut magic).map_err(fail)?;
        file.seek(SeekFrom::Start(0)).map_err(fail)?;
        let input = if magic == [0x1f, 0x8b] {
            let file = BufReader::with_capacity(64 << 10, file);
            Input::Gzip(Box::new(MultiGzDecoder::new(file)))
        } else if magic == [0xff, 0xfe] || magic == [0xfe, 0xff] {
            let file = BufReader::with_capacity(64 << 10, file);
            Input::Utf16(Box::new(Utf16Reader::new(file)))
        } else {
            Input::Plain(file)
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
        let skip = mark.major - 1;
        let skipped = match &mut self.input {
            Input::Plain(file) => file.seek(SeekFrom::Start(skip)),
            Input::Gzip(file) => io::copy(&mut file.take(skip), &mut io::sink()),
            Input::Utf16(file) => io::copy(&mut file.take(skip), &mut io::sink()),
        };
        let mut last = [0];
        let read = skipped.and_then(|n| if n == skip { self.input.read(&mut last) } else { Ok(0) });
        match read.map_err(|e| Error::io(self.path.display(), e))? {
            0 => Err(gone("the file ends before it")),
            _ if last[0] == b'\n' => Ok(()),
            // The last line without a line end: nothing may follow.
            _ => match self.lines.fill(&mut self.input) {
                Ok(0) => Ok(()),
                Ok(_) => Err(gone("no record ends there")),
                Err(e) => Err(Error::io(self.path.display(), e)),
            },
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
