//! Records read, decoded and kept in order until they are learned from.

use std::collections::VecDeque;
use std::time::Duration;

use tidemill_stream::{
    BadEvent, Decoded, Decoder, Event, Events, Next, Reader, Record, Records, Schema,
};

use crate::error::{Error, Result};

/// Decoded blocks of a source, in order.
pub struct Intake {
    reader: Reader,
    decoder: Box<dyn Decoder>,
    blocks: VecDeque<Block>,
    spare: Vec<Block>,
    /// Events decoded and not taken.
    waiting: usize,
    ended: bool,
}

#[derive(Default)]
struct Block {
    records: Records,
    events: Events,
    outcomes: Vec<Outcome>,
    next: usize,
}

enum Outcome {
    /// The number of the event in the block.
    Event(usize),
    Nothing,
    /// A header: what rows consist of from here on.
    Header(Box<Schema>),
    Bad(BadEvent),
}

/// What is next in the stream.
pub enum Item<'a> {
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
    /// There will be no more.
    End,
}

impl Intake {
    /// Decodes what `reader` gives.
    pub fn new(reader: Reader, decoder: Box<dyn Decoder>) -> Intake {
        let (blocks, spare) = (VecDeque::new(), Vec::new());
        Intake { reader, decoder, blocks, spare, waiting: 0, ended: false }
    }

    /// Waits up to `wait` for more records, and decodes them.
    pub fn fill(&mut self, wait: Duration) -> Result<Filled> {
        if self.ended {
            return Ok(Filled::End);
        }
        match self.reader.next(wait).map_err(Error::Stream)? {
            Next::Idle => Ok(Filled::Idle),
            Next::End => {
                self.ended = true;
                Ok(Filled::End)
            }
            Next::Records(records) => {
                let block = self.spare.pop().unwrap_or_default();
                let block = self.decode(records, block);
                self.waiting += block.events.len();
                self.blocks.push_back(block);
                Ok(Filled::Some)
            }
        }
    }

    fn decode(&mut self, records: Records, mut block: Block) -> Block {
        block.events.clear();
        block.outcomes.clear();
        block.next = 0;
        block.records = records;
        for record in block.records.iter() {
            let known = self.decoder.schema().is_some();
            let outcome = match self.decoder.decode(record, &mut block.events) {
                Ok(Decoded::Event) => Outcome::Event(block.events.len() - 1),
                Ok(Decoded::Nothing) if record.first || !known => match self.decoder.schema() {
                    Some(schema) => Outcome::Header(Box::new(schema.clone())),
                    None => Outcome::Nothing,
                },
                Ok(Decoded::Nothing) => Outcome::Nothing,
                Err(bad) => Outcome::Bad(bad),
            };
            block.outcomes.push(outcome);
        }
        block
    }

    /// Events that can be taken without waiting.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The events of the first block, once there are some; to see what they are like.
    pub fn first_events(&self) -> Option<&Events> {
        self.blocks.front().map(|b| &b.events).filter(|e| !e.is_empty())
    }

    /// What events consist of, once that is known.
    pub fn schema(&self) -> Option<&Schema> {
        self.decoder.schema()
    }

    /// Gives the next record to `f`; false if none waits.
    pub fn take(&mut self, f: impl FnOnce(Record<'_>, Item<'_>) -> Result<()>) -> Result<bool> {
        while self.blocks.front().is_some_and(|b| b.next == b.outcomes.len()) {
            self.recycle();
        }
        let Some(block) = self.blocks.front_mut() else { return Ok(false) };
        let at = block.next;
        block.next += 1;
        let item = match &block.outcomes[at] {
            Outcome::Event(event) => {
                self.waiting -= 1;
                Item::Event(block.events.get(*event))
            }
            Outcome::Nothing => Item::Nothing,
            Outcome::Header(schema) => Item::Header(schema),
            Outcome::Bad(bad) => Item::Bad(bad),
        };
        f(block.records.get(at), item)?;
        Ok(true)
    }

    /// Whether the next record is no event, so that it can be passed before one is there.
    pub fn next_is_no_event(&self) -> bool {
        let outcome = self.blocks.iter().find_map(|b| b.outcomes.get(b.next));
        outcome.is_some_and(|o| !matches!(o, Outcome::Event(_)))
    }

    fn recycle(&mut self) {
        if let Some(mut block) = self.blocks.pop_front() {
            self.reader.give_back(std::mem::take(&mut block.records));
            self.spare.push(block);
        }
    }

    /// The thread that reads.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }
}
