//! Reading a log while it is appended to.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use super::segment::{self, Format};
use super::{Fsync, Inner, Log};
use crate::error::{Error, Result};
use crate::position::{Mark, Position};
use crate::records::{MOST_KEPT, Records};
use crate::source::{Counters, Poll, Source};
use crate::sync::{lock, wait_while};

const CHUNK: usize = 256 << 10;

/// Where a log has failed, its senders have this long to be answered, and others to see its health, before its reader ends
/// the process.
const TOLD: Duration = Duration::from_secs(1);

/// The records of a [`Log`] as a source. It ends when the log is closed.
#[derive(Debug)]
pub struct LogSource {
    inner: Arc<Inner>,
    /// Sequence number of the next record to give.
    next: u64,
    open: Option<Open>,
    /// Bytes of the open segment from `offset` on.
    buffer: Vec<u8>,
    start: usize,
    /// When the records to be read now were acknowledged, the latest first.
    flushes: Vec<(u64, u64, u64)>,
    counters: Counters,
}

/// The segment that is being read.
#[derive(Debug)]
struct Open {
    file: File,
    format: Format,
    first: u64,
    /// Where in it the buffer ends.
    offset: u64,
    /// The record at the start of the buffer.
    sequence: u64,
}

/// What of a segment may be read now.
#[derive(Clone, Copy, Debug)]
struct Readable {
    first: u64,
    bytes: u64,
    last: u64,
}

impl LogSource {
    pub(super) fn new(inner: Arc<Inner>) -> LogSource {
        let next = lock(&inner.state).first();
        let (open, buffer, counters) = (None, Vec::new(), Counters::default());
        LogSource { inner, next, open, buffer, start: 0, flushes: Vec::new(), counters }
    }

    /// The log.
    pub fn log(&self) -> Log {
        Log { inner: self.inner.clone() }
    }

    fn place(&self) -> String {
        format!("log:{}", self.inner.folder.display())
    }

    /// Waits for the record `next`; tells how far its segment can be read.
    fn wait(&mut self, time: Duration) -> Result<Option<Readable>> {
        let (options, next) = (&self.inner.options, self.next);
        let state = lock(&self.inner.state);
        let state = wait_while(&self.inner.changed, state, time, |s| {
            s.visible(options) < next && !s.closed && s.failed.is_none()
        });
        let (visible, first) = (state.visible(options), state.first());
        if next < first {
            if !options.drop_unread {
                let what = format!("the log starts with record {first} now; start anew");
                return Err(Error::gone(self.place(), format!("record {}", next - 1), what));
            }
            self.counters.shed += first - next;
            self.next = first;
        }
        if visible < self.next {
            return Ok(None);
        }
        self.flushes.clear();
        if options.fsync == Fsync::Always {
            let needed = state.flushes.iter().take_while(|(_, last, _)| *last >= self.next);
            self.flushes.extend(needed);
        }
        let after = state.segments.partition_point(|s| s.first <= self.next);
        let segment = &state.segments[after - 1];
        let end = state.segments.get(after).map_or(visible, |s| visible.min(s.first - 1));
        Ok(Some(Readable { first: segment.first, bytes: segment.bytes, last: end }))
    }

    /// Makes at least `len` bytes of the segment available.
    fn need(&mut self, len: usize, readable: Readable) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        while self.buffer.len() - self.start < len {
            self.buffer.drain(..self.start);
            self.start = 0;
            let have = self.buffer.len();
            let left = readable.bytes.saturating_sub(open.offset) as usize;
            let want = CHUNK.max(len - have).min(left);
            self.buffer.resize(have + want, 0);
            let n = match open.file.read_at(&mut self.buffer[have..], open.offset) {
                Ok(0) => Err("it is shorter than what was written".to_owned()),
                Ok(n) => Ok(n),
                Err(e) => Err(e.to_string()),
            };
            let n = n.map_err(|e| {
                Error::io(segment::path(&self.inner.folder, readable.first).display(), e)
            })?;
            self.buffer.truncate(have + n);
            open.offset += n as u64;
        }
        Ok(())
    }

    /// Gives the records of one segment.
    fn read(&mut self, records: &mut Records, limit: usize, readable: Readable) -> Result<()> {
        let inner = self.inner.clone();
        let path = || segment::path(&inner.folder, readable.first);
        if self.open.as_ref().is_none_or(|o| o.first != readable.first || o.sequence > self.next) {
            let mut file = match File::open(path()) {
                Ok(file) => file,
                // Dropped unread a moment ago: the next look goes on after it.
                Err(_) if self.log().first() > self.next => return Ok(()),
                Err(e) => return Err(Error::io(path().display(), e)),
            };
            let (first, sequence) = (readable.first, readable.first);
            let format =
                Format::read(&mut file, first).map_err(|e| Error::io(path().display(), e))?;
            let Some(format) = format else {
                let what = "its header is damaged; restore the file";
                return Err(Error::io(path().display(), what));
            };
            self.open = Some(Open { file, format, first, offset: format.header(), sequence });
            self.buffer.clear();
            self.start = 0;
        }
        while self.next <= readable.last && records.footprint() < limit {
            let Some(Open { format, first, sequence, .. }) = self.open else { break };
            let size = format.frame();
            self.need(size, readable)?;
            let left = readable.bytes.saturating_sub(self.open.as_ref().map_or(0, |o| o.offset));
            let there = left as usize + self.buffer.len() - self.start - size;
            let frame = format.parse(sequence - first, &self.buffer[self.start..self.start + size]);
            let frame = frame.and_then(|f| Some((f, f.len().filter(|len| *len <= there)?)));
            let damaged = || {
                let what = format!("record {sequence} is damaged; restore the file");
                Err(Error::io(path().display(), what))
            };
            let Some((frame, len)) = frame else { return damaged() };
            self.need(size + len, readable)?;
            let (head, record) = self.buffer[self.start..self.start + size + len].split_at(size);
            if !format.fits(&frame, head, sequence, record) {
                return damaged();
            }
            if sequence == self.next {
                let mark = Mark { major: sequence, minor: 0 };
                while self.flushes.last().is_some_and(|(_, last, _)| *last < sequence) {
                    self.flushes.pop();
                }
                let flush = self.flushes.last().filter(|(first, ..)| *first <= sequence);
                let acknowledged = flush.map_or(frame.time, |(.., time)| *time);
                records.push(record, mark, acknowledged, sequence == 1);
                self.counters.records += 1;
                self.counters.bytes += record.len() as u64;
                self.next += 1;
            }
            self.start += size + len;
            if self.start == self.buffer.len() && self.buffer.capacity() > MOST_KEPT {
                (self.buffer, self.start) = (Vec::new(), 0);
            }
            if let Some(open) = &mut self.open {
                open.sequence = sequence + 1;
            }
        }
        Ok(())
    }
}

impl Source for LogSource {
    fn name(&self) -> String {
        self.place()
    }

    fn not_seekable(&self) -> Option<&'static str> {
        None
    }

    fn seek(&mut self, position: &Position) -> Result<()> {
        let Some(mark) = position.mark("") else { return Ok(()) };
        let (first, last) = (self.log().first(), self.log().last());
        if mark.major > last {
            let what = format!(
                "the log ends with record {last}: it is another log, or one whose end a power loss \
                 took because it was not flushed at once; start anew"
            );
            return Err(Error::gone(self.place(), format!("record {}", mark.major), what));
        }
        if mark.major + 1 < first && !self.inner.options.drop_unread {
            let what = format!("the log starts with record {first} now; start anew");
            return Err(Error::gone(self.place(), format!("record {}", mark.major), what));
        }
        self.next = mark.major + 1;
        // The position comes from a checkpoint on disk.
        self.inner.commit(mark.major)
    }

    fn poll(&mut self, records: &mut Records, bytes: usize, wait: Duration) -> Result<Poll> {
        let (len, limit) = (records.len(), records.footprint() + bytes.max(1));
        let mut time = wait;
        while records.footprint() < limit {
            let Some(readable) = self.wait(time)? else { break };
            self.read(records, limit, readable)?;
            time = Duration::ZERO;
        }
        if records.len() > len {
            return Ok(Poll::Some);
        }
        let state = lock(&self.inner.state);
        let ended = state.closed && state.visible(&self.inner.options) < self.next;
        if let Some(what) = state.failed.clone().filter(|_| !ended) {
            drop(state);
            std::thread::sleep(TOLD);
            return Err(Error::io(self.inner.folder.display(), what));
        }
        Ok(if ended { Poll::End } else { Poll::Idle })
    }

    fn commit(&mut self, position: &Position) -> Result<()> {
        position.mark("").map_or(Ok(()), |mark| self.inner.commit(mark.major))
    }

    fn counters(&self) -> Counters {
        self.counters.clone()
    }

    fn notes(&self) -> Vec<String> {
        self.log().notes()
    }
}
