//! Standard input, or whatever else can only be read once.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;
use tidemill_table::Utf16Reader;

use crate::error::{Error, Result};
use crate::inlet::Inlet;
use crate::lines::{Lines, MAX_RECORD};
use crate::position::Position;
use crate::records::Records;
use crate::source::{Counters, Poll, Source};

/// The lines of an input that cannot be read again. A thread of its own waits for input, so that a
/// poll gives what has arrived and never waits for a full buffer. Gzip is decompressed.
///
/// The thread ends with the input, or at the first line after the source is dropped: a wait for
/// input cannot be broken off.
#[derive(Debug)]
pub struct ReadSource {
    name: String,
    inlet: Arc<Inlet>,
}

impl ReadSource {
    /// Standard input, with records of at most 16 MiB.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn stdin() -> Result<ReadSource> {
        ReadSource::new("standard input", io::stdin(), MAX_RECORD)
    }

    /// Any input; longer records than `max_record` bytes are passed over and counted.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn new(
        name: impl Into<String>,
        input: impl Read + Send + 'static,
        max_record: usize,
    ) -> Result<ReadSource> {
        let (name, inlet) = (name.into(), Arc::new(Inlet::default()));
        let (place, shared) = (name.clone(), inlet.clone());
        let body = move || {
            let error = unzip(input).and_then(|mut input| read(&mut input, max_record, &shared));
            shared.end(error.err().map(|e| Error::io(place, e)));
        };
        std::thread::Builder::new()
            .name("read input".to_owned())
            .spawn(body)
            .map_err(|e| Error::io(&name, e))?;
        Ok(ReadSource { name, inlet })
    }
}

/// The text of `input`, which may be gzipped or UTF-16.
pub(super) fn unzip(mut input: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut magic = Vec::new();
    Read::by_ref(&mut input).take(2).read_to_end(&mut magic)?;
    let gzip = magic == [0x1f, 0x8b];
    let input = io::Cursor::new(magic).chain(input);
    Ok(match gzip {
        true => Box::new(MultiGzDecoder::new(BufReader::new(input))),
        false => Box::new(Utf16Reader::new(input)),
    })
}

/// Leaves the lines of `input` in `inlet` as they come.
fn read(input: &mut dyn Read, max_record: usize, inlet: &Inlet) -> io::Result<()> {
    let (mut lines, mut records) = (Lines::new(max_record), Records::default());
    let mut input = input;
    loop {
        let ended = lines.fill(&mut input)? == 0;
        lines.take(&mut records, usize::MAX / 2);
        if ended {
            lines.finish(&mut records);
        }
        inlet.counters(|c| c.too_long = lines.too_long());
        if (!records.is_empty() && !inlet.push(&mut records)) || ended {
            return Ok(());
        }
    }
}

impl Drop for ReadSource {
    fn drop(&mut self) {
        self.inlet.close();
    }
}

impl Source for ReadSource {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn not_seekable(&self) -> Option<&'static str> {
        Some("it can be read only once")
    }

    fn seek(&mut self, position: &Position) -> Result<()> {
        if position.parts.is_empty() {
            return Ok(());
        }
        let what = "it can be read only once; give a file, or start anew";
        Err(Error::gone(&self.name, position, what))
    }

    fn poll(&mut self, records: &mut Records, _bytes: usize, wait: Duration) -> Result<Poll> {
        self.inlet.poll(records, wait)
    }

    fn commit(&mut self, _position: &Position) -> Result<()> {
        Ok(())
    }

    fn counters(&self) -> Counters {
        self.inlet.counters(|c| c.clone())
    }
}
