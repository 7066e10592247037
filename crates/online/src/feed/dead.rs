//! Records that were set aside: `dead-letter.jsonl`.

use std::borrow::Cow;
use std::path::Path;

use serde::Serialize;
use tidemill_engine::error::{Error, Result};
use tidemill_recipe::stream::{BadEvent, Position, Record};

use crate::journal::{Journal, JournalMark};

/// Bytes of a record that are written down.
const MOST_BYTES: usize = 4096;

/// The records that were set aside, counted and written down.
#[derive(Debug)]
pub struct DeadLetters {
    journal: Journal,
    count: u64,
}

/// A line of `dead-letter.jsonl`.
#[derive(Serialize)]
struct DeadLetter<'a> {
    reason: &'a str,
    position: String,
    record: Cow<'a, str>,
}

impl DeadLetters {
    /// Continues after `count` records; at most `limit` bytes are written.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(folder: &Path, mark: JournalMark, count: u64, limit: u64) -> Result<DeadLetters> {
        let journal = Journal::open(&folder.join("dead-letter.jsonl"), mark, limit)?;
        Ok(DeadLetters { journal, count })
    }

    /// Sets a record aside.
    ///
    /// # Errors
    /// If it says that the stream does not fit the recipe, or cannot be written down.
    pub(crate) fn write_dead_letter(&mut self, record: &Record<'_>, bad: &BadEvent) -> Result<()> {
        self.count += 1;
        if bad.fatal {
            let what = format!("the stream does not fit the recipe: {}", bad.reason);
            return Err(Error::Usage(what));
        }
        let mut position = Position::default();
        position.take(record);
        let record = &record.bytes[..record.bytes.len().min(MOST_BYTES)];
        let record = String::from_utf8_lossy(record);
        let position = position.to_string();
        self.journal.write(&DeadLetter { reason: &bad.reason, position, record })
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Where the file stands.
    pub fn mark(&self) -> JournalMark {
        self.journal.mark()
    }
}
