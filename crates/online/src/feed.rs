//! Where the events of a stream come from.
//!
//! # Layout
//!
//! - [`Feed`]: events in their order, and what a checkpoint keeps of them
//! - [`records`]: the records of a source; [`dead`]: those that were set aside; `flood`: nearly all of them
//! - [`data`]: a dataset that is replayed

pub mod data;
pub mod dead;
mod flood;
pub mod records;

use std::time::Duration;

use tidemill_engine::error::{Error, Result};
use tidemill_recipe::stream::{BadEvent, Content, Event, Events, Note, Position, Schema};

pub use data::DataFeed;
pub use dead::{DeadLetters, Recent};
pub use records::RecordFeed;

use crate::intake::Filled;
use crate::journal::Journal;
use crate::sample::Sample;

/// What a feed brings.
pub enum Item<'a> {
    /// An event of a record, to be encoded.
    Event(Event<'a>),
    /// A sample of a dataset.
    Sample(Sample<'a>),
    /// A header: what records consist of from here on.
    Header(&'a Schema),
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It was taken.
    Taken,
    /// It was bad, and is counted and written down.
    SetAside,
}

/// Takes what a feed brings, or says why an event is bad.
pub type Take<'a> = dyn FnMut(Item<'_>) -> Result<std::result::Result<(), BadEvent>> + 'a;

/// The events of a stream, in order.
pub trait Feed {
    /// Waits up to `wait` for more events.
    ///
    /// # Errors
    /// If the stream cannot be read on.
    fn fill(&mut self, wait: Duration) -> Result<Filled>;

    /// Events that can be taken now.
    fn waiting(&self) -> usize;

    /// Whether all that it brings are records, to be encoded.
    fn is_of_records(&self) -> bool {
        false
    }

    /// The first events that wait and what they consist of, once there are some.
    fn first(&self) -> Option<(&Events, &Schema)> {
        None
    }

    /// Gives the next event to `take`, and the headers before it.
    ///
    /// # Errors
    /// Those of `take`, and if no event waits.
    fn next(&mut self, take: &mut Take<'_>) -> Result<Came>;

    /// An error that came after the events up to `position` were taken, with how to go on without the last of them.
    fn at(&self, _position: &str, error: Error) -> Error {
        error
    }

    /// Passes the headers and bad records before the next event, so that they are counted as they
    /// come and take no memory.
    ///
    /// # Errors
    /// If a bad record cannot be written down.
    fn pass(&mut self, _header: &mut dyn FnMut(&Schema)) -> Result<()> {
        Ok(())
    }

    /// How many events come before so many bytes of bad records between them; none while there are
    /// fewer bytes.
    fn events_within(&self, _bytes: usize) -> Option<usize> {
        None
    }

    /// Why learning should stop: too many of the last records were bad.
    fn too_many_bad(&self) -> Option<String> {
        None
    }

    /// What to report of the first record of this process that was set aside, once.
    fn first_bad(&mut self) -> Option<String> {
        None
    }

    /// What to report of nearly all records being set aside, or not any more, once for each time.
    fn flood(&mut self) -> Option<String> {
        None
    }

    /// Which of the last records were set aside, for a checkpoint.
    fn recent(&self) -> Recent {
        Recent::default()
    }

    /// What the files held that the events came from, for a checkpoint.
    fn content(&self) -> Option<Content> {
        None
    }

    /// Where the last event that was taken ends.
    fn position(&self) -> &Position;

    /// When the event taken last was acknowledged, in microseconds of the Unix epoch; 0 where
    /// there is no such moment.
    fn acknowledged(&self) -> u64 {
        0
    }

    /// Tells the source that a checkpoint at this position is on disk.
    fn commit(&self, _position: Position) {}

    /// Events that were dropped because they came too fast.
    fn shed(&self) -> u64 {
        0
    }

    /// What a user should know of the records so far.
    fn notes(&self) -> Vec<Note> {
        Vec::new()
    }

    /// Events that were set aside.
    fn bad(&self) -> u64;

    /// The file of those, where there is one.
    fn dead_letters(&mut self) -> Option<&mut Journal> {
        None
    }
}
