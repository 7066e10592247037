//! The thread that decodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use tidemill_recipe::stream::{BadEvent, Decoded, Mark, Next, Place, Reader, Records, Rows};

use tidemill_engine::error::Result;

use super::{Block, Decoding, Outcome};
use crate::error::stream_error;

/// How long the thread waits for records before it looks for its end.
const POLL: Duration = Duration::from_millis(50);

/// A block ends where its events take so much memory: a record of two bytes may stand for as many values as there are
/// columns.
pub(super) const MOST_BYTES: usize = 1 << 20;

/// What the thread gives: blocks, nothing at the end of the stream.
type Given = Result<Option<Block>>;

/// The decoding thread.
pub(super) struct Work {
    reader: Arc<Reader>,
    decoding: Decoding,
    /// Whether records are lines of files.
    lines: bool,
    known: bool,
    /// Where the last record ends, and the part that it is of.
    last: Mark,
    part: Arc<str>,
    out: SyncSender<Given>,
    used: Receiver<Block>,
    stop: Arc<AtomicBool>,
    rows: Option<Arc<Rows>>,
}

impl Work {
    /// Decodes what `reader` gives into the blocks that come by the second of `ways`, which leave by the first.
    pub(super) fn new(
        reader: Arc<Reader>,
        decoding: Decoding,
        lines: bool,
        ways: (SyncSender<Given>, Receiver<Block>),
        stop: Arc<AtomicBool>,
    ) -> Work {
        let (out, used) = ways;
        let (known, last, part) = (false, Mark::default(), "".into());
        Work { reader, decoding, lines, known, last, part, out, used, stop, rows: None }
    }

    /// Tells `rows` what records consist of.
    pub(super) fn tell(self, rows: Option<Arc<Rows>>) -> Work {
        Work { rows, ..self }
    }

    pub(super) fn run(mut self) {
        while !self.stop.load(Relaxed) {
            let goes_on = match self.reader.next(POLL) {
                Ok(Next::Idle) => continue,
                Ok(Next::End) => {
                    let Ok(block) = self.used.recv() else { return };
                    let last = self.rest(block);
                    if self.out.send(Ok(Some(last))).is_ok() {
                        let _ = self.out.send(Ok(None));
                    }
                    return;
                }
                Ok(Next::Records(records)) => self.give(records),
                Err(e) => self.out.send(Err(stream_error(e))).is_ok(),
            };
            // Nobody listens any more.
            if !goes_on {
                return;
            }
        }
    }

    /// Decodes records into as many blocks as they need; false if nobody listens any more.
    fn give(&mut self, records: Records) -> bool {
        let mut start = 0;
        loop {
            // None comes any more at the end.
            let Ok(mut block) = self.used.recv() else { return false };
            block.clear(MOST_BYTES);
            let end = self.decode(&records, start, &mut block);
            let is_last = end == records.len();
            if start == 0 && is_last {
                self.reader.give_back(std::mem::replace(&mut block.records, records));
                return self.out.send(Ok(Some(block))).is_ok();
            }
            block.records.copy(&records, start..end);
            if self.out.send(Ok(Some(block))).is_err() {
                return false;
            }
            if is_last {
                self.reader.give_back(records);
                return true;
            }
            start = end;
        }
    }

    /// Decodes the records from `start` on until the block is full; gives where that is.
    fn decode(&mut self, records: &Records, start: usize, block: &mut Block) -> usize {
        let mut end = start;
        while end < records.len() && (end == start || block.events.footprint() < MOST_BYTES) {
            let (record, i) = (records.get(end), end - start);
            end += 1;
            self.last = record.mark;
            if record.begins {
                self.part = record.part.into();
            }
            if record.too_long {
                block.outcomes.push((i, Outcome::Bad(too_long(record.bytes))));
                continue;
            }
            block.events.set_place(match self.lines {
                true => Place::Line(record.mark.minor),
                false => Place::Record(record.mark.major),
            });
            let decoded = self.decoding.decode(record.bytes, record.first, &mut block.events);
            let outcome = match decoded {
                Ok(Decoded::Event) => Outcome::Event(block.events.len() - 1),
                Ok(Decoded::Header) => match self.decoding.schema() {
                    Some(schema) => Outcome::Header(Box::new(schema.clone())),
                    None => Outcome::Nothing,
                },
                Ok(Decoded::Nothing) if self.decoding.is_open() => Outcome::Open,
                Ok(Decoded::Nothing) => Outcome::Nothing,
                Err(bad) => Outcome::Bad(bad),
            };
            for lost in self.decoding.take_lost() {
                block.outcomes.push((i, Outcome::Bad(lost)));
            }
            if !self.known && !block.events.is_empty() {
                self.known = true;
                block.schema = self.decoding.schema().cloned().map(Box::new);
            }
            block.outcomes.push((i, outcome));
        }
        block.notes = self.decoding.notes();
        if let Some(rows) = &self.rows {
            rows.decoded(self.decoding.schema(), self.last.major);
        }
        end
    }

    /// What is left at the end of the stream and is no event, as a block.
    fn rest(&mut self, mut block: Block) -> Block {
        self.reader.give_back(std::mem::take(&mut block.records));
        let (mut records, lost) = (Records::default(), self.decoding.finish());
        if !self.part.is_empty() {
            records.set_part(&self.part);
        }
        for bad in &lost {
            records.push(bad.reason.as_bytes(), self.last, 0, false);
        }
        block.clear(0);
        block.outcomes = lost.into_iter().map(Outcome::Bad).enumerate().collect();
        (block.records, block.rest) = (records, true);
        block.notes = self.decoding.notes();
        block
    }
}

/// Why a record is bad of which only the beginning was read.
fn too_long(beginning: &[u8]) -> BadEvent {
    let hint = match beginning.trim_ascii_start().first() {
        Some(b'[') => {
            "; it begins like a JSON array: send its items one a line, as `jq -c '.[]'` does"
        }
        _ => "",
    };
    BadEvent::new(format!(
        "the record is longer than its source allows (16 MiB; 1 MiB over TCP){hint}"
    ))
}
