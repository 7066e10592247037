//! Records read, decoded and kept in order until they are learned from.
//!
//! # Layout
//!
//! - [`Intake`]: decoded blocks, in order
//! - `work`: the thread that decodes; `decoding`: its decoder, and which first event it takes

mod decoding;
mod work;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tidemill_recipe::stream::{
    BadEvent, Event, Events, Note, Reader, Record, Records, Rows, Schema,
};

use tidemill_engine::error::{Error, Result};

pub(crate) use decoding::Decoding;
use work::{MOST_BYTES, Work};

/// Decoded blocks that may wait; more of them would only take memory.
const BLOCKS: usize = 2;
/// Blocks in all: also one that is being decoded, and one that is being learned from. Their number is
/// fixed, since otherwise it would grow whenever the learner is late to hand one back.
const OWNED: usize = BLOCKS + 2;

/// Decoded blocks of a source, in order. A thread of its own decodes while the learner learns;
/// what comes out does not depend on when.
pub struct Intake {
    reader: Arc<Reader>,
    decoded: Option<Receiver<Result<Option<Block>>>>,
    used: Sender<Block>,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    blocks: VecDeque<Block>,
    lines: bool,
    /// Blocks that there are, wherever.
    owned: usize,
    schema: Option<Schema>,
    notes: Vec<Note>,
    /// Events decoded and not taken.
    waiting: usize,
    /// Bytes of records that are none, decoded and not taken.
    held: usize,
    ended: bool,
}

#[derive(Default)]
struct Block {
    records: Records,
    events: Events,
    /// What came of records, by their number in the block: one or more for each, in order.
    outcomes: Vec<(usize, Outcome)>,
    next: usize,
    /// Whether its records stand for what was left at the end, and were taken before.
    rest: bool,
    /// What events consist of, as known after the block's first event, if that is news.
    schema: Option<Box<Schema>>,
    /// What a user should know so far.
    notes: Vec<Note>,
}

enum Outcome {
    /// The number of the event in the block.
    Event(usize),
    Nothing,
    /// The beginning of a record of several lines.
    Open,
    /// A header: what rows consist of from here on.
    Header(Box<Schema>),
    Bad(BadEvent),
}

/// Memory of a record that waits and is no event, about.
fn cost(record: &[u8]) -> usize {
    record.len() + 64
}

impl Block {
    /// Makes room for other records, which it keeps; events that took much more than `most` bytes do not keep that.
    fn clear(&mut self, most: usize) {
        if self.events.footprint() > 4 * most {
            self.events = Events::default();
        }
        self.events.clear();
        self.outcomes.clear();
        (self.next, self.rest, self.schema) = (0, false, None);
    }

    /// Memory of the records that are no events.
    fn held(&self) -> usize {
        let others = self.outcomes.iter();
        let others = others.filter(|(_, outcome)| !matches!(outcome, Outcome::Event(_)));
        others.map(|(i, _)| cost(self.records.get(*i).bytes)).sum()
    }
}

/// What the next record is.
pub enum RecordKind<'a> {
    /// An event.
    Event(Event<'a>),
    /// A header; the schema from here on.
    Header(&'a Schema),
    /// A header that says nothing new, a comment, an empty line.
    Nothing,
    /// A record that could not be decoded.
    Bad(&'a BadEvent),
}

/// What came of waiting for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// More records are there.
    Some,
    /// Nothing came in time.
    Idle,
    /// There will be no more than are there already.
    End,
}

impl Intake {
    /// Decodes what `reader` gives; `lines` says whether records are lines of files. `rows` is told what they consist of.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(crate) fn new(
        reader: Reader,
        decoding: Decoding,
        lines: bool,
        rows: Option<Arc<Rows>>,
    ) -> Result<Intake> {
        let reader = Arc::new(reader);
        let (out, decoded) = sync_channel(BLOCKS);
        let (used, back) = channel();
        for _ in 0..OWNED {
            // The other end is here.
            let _ = used.send(Block::default());
        }
        let stop = Arc::new(AtomicBool::new(false));
        let work = Work::new(reader.clone(), decoding, lines, (out, back), stop.clone()).tell(rows);
        let thread = std::thread::Builder::new()
            .name("decode".into())
            .spawn(move || work.run())
            .map_err(|e| Error::Run(format!("the decoding thread cannot be started: {e}")))?;
        Ok(Intake {
            reader,
            decoded: Some(decoded),
            used,
            thread: Some(thread),
            stop,
            blocks: VecDeque::new(),
            lines,
            owned: OWNED,
            schema: None,
            notes: Vec::new(),
            waiting: 0,
            held: 0,
            ended: false,
        })
    }

    /// Waits up to `wait` for more records.
    pub fn fill(&mut self, wait: Duration) -> Result<Filled> {
        self.recycle();
        if self.blocks.len() == self.owned {
            // All blocks are here, and their events are too few for a step.
            self.owned += 1;
            let _ = self.used.send(Block::default());
        }
        let Some(decoded) = self.decoded.as_ref().filter(|_| !self.ended) else {
            return Ok(Filled::End);
        };
        match decoded.recv_timeout(wait) {
            Ok(Ok(Some(mut block))) => {
                if let Some(schema) = block.schema.take() {
                    self.schema = Some(*schema);
                }
                self.notes = std::mem::take(&mut block.notes);
                self.waiting += block.events.len();
                self.held += block.held();
                self.blocks.push_back(block);
                Ok(Filled::Some)
            }
            Ok(Ok(None)) => {
                self.ended = true;
                Ok(Filled::End)
            }
            Ok(Err(e)) => Err(e),
            Err(RecvTimeoutError::Timeout) => Ok(Filled::Idle),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Error::Run("the decoding thread has ended; please report it".into()))
            }
        }
    }

    /// Whether records are lines of files.
    pub(crate) fn is_of_lines(&self) -> bool {
        self.lines
    }

    /// What a user should know of the records that were decoded.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Events that can be taken without waiting.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether an event is what is taken next; also if nothing waits.
    pub fn next_is_event(&mut self) -> bool {
        self.recycle();
        // What begins a record of several lines is taken together with its end, so that a checkpoint
        // never stands between them.
        let outcomes = self.blocks.iter().flat_map(|block| &block.outcomes[block.next..]);
        let next = outcomes.map(|(_, outcome)| outcome).find(|o| !matches!(o, Outcome::Open));
        next.is_none_or(|outcome| matches!(outcome, Outcome::Event(_)))
    }

    /// How many events come before so many bytes of other records between them; none while fewer
    /// bytes wait. It depends on the records alone, not on when they came.
    pub fn events_within(&self, bytes: usize) -> Option<usize> {
        if self.held <= bytes {
            return None;
        }
        let (mut events, mut held) = (0, 0);
        for block in &self.blocks {
            for (i, outcome) in &block.outcomes[block.next..] {
                match outcome {
                    Outcome::Event(_) => events += 1,
                    _ => held += cost(block.records.get(*i).bytes),
                }
                if held > bytes {
                    return Some(events);
                }
            }
        }
        None
    }

    /// The events of the first block, once there are some; to see what they are like.
    pub fn first_events(&self) -> Option<&Events> {
        self.blocks.iter().map(|b| &b.events).find(|e| !e.is_empty())
    }

    /// What events consist of, once that is known.
    pub fn schema(&self) -> Option<&Schema> {
        self.schema.as_ref()
    }

    /// Gives the next record to `f`, with what came of it, and whether that is the last that came of it;
    /// false if none waits.
    pub fn take(
        &mut self,
        f: impl FnOnce(Record<'_>, RecordKind<'_>, bool) -> Result<()>,
    ) -> Result<bool> {
        self.recycle();
        let Some(block) = self.blocks.front_mut() else { return Ok(false) };
        let at = block.next;
        block.next += 1;
        let (record, outcome) = &block.outcomes[at];
        if !matches!(outcome, Outcome::Event(_)) {
            self.held -= cost(block.records.get(*record).bytes);
        }
        let next = block.outcomes.get(at + 1);
        let taken = !block.rest && next.is_none_or(|(other, _)| other != record);
        let item = match outcome {
            Outcome::Event(event) => {
                self.waiting -= 1;
                RecordKind::Event(block.events.get(*event))
            }
            Outcome::Nothing | Outcome::Open => RecordKind::Nothing,
            Outcome::Header(schema) => RecordKind::Header(schema),
            Outcome::Bad(bad) => RecordKind::Bad(bad),
        };
        f(block.records.get(*record), item, taken)?;
        Ok(true)
    }

    /// Hands back the blocks of which all has been taken.
    fn recycle(&mut self) {
        while let Some(mut block) = self.blocks.pop_front_if(|b| b.next == b.outcomes.len()) {
            block.records.clear_long();
            block.clear(MOST_BYTES);
            // The thread may have ended with the stream.
            let _ = self.used.send(block);
        }
    }

    /// The thread that reads.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // A thread that waits for room, or for a block, sees that nobody listens.
        self.decoded = None;
        let _ = self.used.send(Block::default());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Cursor;

    use tidemill_recipe::stream::sources::ReadSource;
    use tidemill_recipe::stream::{Format, FormatSpec, QueueOptions, decoder};

    use super::*;

    /// Records of two bytes that stand for a thousand values each: blocks end by what they take decoded.
    #[test]
    fn blocks_are_bounded_by_what_they_take_decoded() {
        let columns: Vec<String> = (0..1000).map(|i| format!("\"k{i}\":{i}")).collect();
        let text = format!("{{{}}}\n{}", columns.join(","), "{\"k1\":2}\n".repeat(5000));
        let source = ReadSource::new("test", Cursor::new(text), 1 << 24, true).unwrap();
        let reader = Reader::spawn(Box::new(source), QueueOptions::default()).unwrap();
        let make = |schema| Ok(decoder(&FormatSpec::default(), Format::JsonLines, schema).unwrap());
        let decoding = Decoding::new(Box::new(make), None, false, None).unwrap();
        let mut intake = Intake::new(reader, decoding, true, None).unwrap();
        let (mut events, mut line) = (0, 0);
        loop {
            let filled = intake.fill(Duration::from_secs(5)).unwrap();
            for block in &intake.blocks {
                assert!(block.events.footprint() < 1 << 21, "{}", block.events.footprint());
            }
            while intake
                .take(|record, kind, last| {
                    // Each record once, in order, also where blocks end between them.
                    line += 1;
                    assert!(last && record.mark.minor == line);
                    events += usize::from(matches!(kind, RecordKind::Event(_)));
                    Ok(())
                })
                .unwrap()
            {}
            if filled == Filled::End {
                break;
            }
        }
        assert_eq!(events, 5001);
    }
}
