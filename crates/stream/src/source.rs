//! What every stream source does.

use std::sync::Arc;
use std::time::Duration;

use crate::answers::Answers;
use crate::error::Result;
use crate::health::Health;
use crate::position::Position;
use crate::records::Records;
use crate::rows::Rows;

/// What a poll found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Records were appended.
    Some,
    /// Nothing came within the time.
    Idle,
    /// The stream has ended and gives no more records.
    End,
}

/// What a source has seen, for the live line and the summary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records given.
    pub records: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Records that were not given because a queue was full.
    pub shed: u64,
    /// Records that were not given because they were longer than the source allows.
    pub too_long: u64,
    /// Records that went through a queue's log on disk.
    pub spilled: u64,
    /// Connections, rotations or reconnections, by what the source is.
    pub reopened: u64,
}

/// A stream of records with positions.
///
/// A source is driven by one thread. It gives each record once, in order within each part; after
/// [`Source::seek`] it gives the records after that position.
pub trait Source: Send {
    /// How users call it: a path or an address.
    fn name(&self) -> String;

    /// Why the stream cannot be read again from a position, if it cannot (standard input, TCP).
    fn not_seekable(&self) -> Option<&'static str>;

    /// Goes on after `position`. Called before the first poll only.
    ///
    /// # Errors
    /// [`crate::Error::Gone`] if the records after it are no longer there.
    fn seek(&mut self, position: &Position) -> Result<()>;

    /// Appends what has arrived to `records`, up to about `bytes` bytes (by
    /// [`Records::footprint`]; one record or one packet more is possible), waiting up to `wait` for
    /// the first record. Gives what is there without waiting for more.
    fn poll(&mut self, records: &mut Records, bytes: usize, wait: Duration) -> Result<Poll>;

    /// Tells that all records up to `position` are in a checkpoint on disk and need not be given
    /// again.
    fn commit(&mut self, position: &Position) -> Result<()>;

    /// What it has seen.
    fn counters(&self) -> Counters;

    /// What a user should know of what was found when it was opened.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Where a learner says what is wrong with the records, if others can ask for it there.
    fn health(&self) -> Option<Arc<Health>> {
        None
    }

    /// Where a learner says what rows consist of, if the source refuses what is none.
    fn rows(&self) -> Option<Arc<Rows>> {
        None
    }

    /// Where a learner's answers go, if senders can wait for them; they belong to the positions of records.
    fn answers(&self) -> Option<Arc<Answers>> {
        None
    }
}
