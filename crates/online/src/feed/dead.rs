//! Records that were set aside: `dead-letter.jsonl`.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidemill_engine::error::{Error, Result};
use tidemill_recipe::online::OnBad;
use tidemill_recipe::stream::{BadEvent, Health, Position, Record, is_live};

use super::flood::{Flood, Turn};
use crate::journal::{Journal, JournalMark};

/// Bytes of a record that are written down.
const MOST_BYTES: usize = 4096;

/// Records of which the share of bad ones is watched.
const WATCHED: usize = 1000;
/// More of them than this are too many.
const MOST_BAD: usize = 100;

/// The records that were set aside, counted and written down.
#[derive(Debug)]
pub struct DeadLetters {
    journal: Journal,
    count: u64,
    recent: Recent,
    on_bad: OnBad,
    /// Whether records come from whoever sends some: then none of them ends learning.
    live: bool,
    /// What to report of the first one; none once that was reported.
    first: Option<Option<String>>,
    /// Why the last one was set aside, once there are too many.
    last: String,
    /// Whether nearly all are bad, what to report of that, and where others ask for it.
    flood: Flood,
    turned: Option<Turn>,
    health: Option<Arc<Health>>,
}

/// Which of the last 1,000 records were set aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    /// A bit for each record.
    bits: Vec<u64>,
    /// The place of the next one.
    next: usize,
    bad: usize,
}

impl Recent {
    fn push(&mut self, bad: bool) {
        // Nothing to keep in mind while all are good.
        if self.bits.is_empty() {
            if !bad {
                return;
            }
            self.bits = vec![0; WATCHED.div_ceil(64)];
        }
        let (word, bit) = (self.next / 64, 1 << (self.next % 64));
        if self.bits[word] & bit != 0 {
            self.bad -= 1;
        }
        if bad {
            self.bits[word] |= bit;
            self.bad += 1;
        } else {
            self.bits[word] &= !bit;
        }
        self.next = (self.next + 1) % WATCHED;
        if self.bad == 0 {
            *self = Recent::default();
        }
    }
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
        Ok(DeadLetters {
            journal,
            count,
            recent: Recent::default(),
            on_bad: OnBad::Continue,
            live: false,
            first: None,
            last: String::new(),
            flood: Flood::default(),
            turned: None,
            health: None,
        })
    }

    /// Watches the share of them from here on, after those of `recent`, of a stream `from` this address.
    pub fn watch(self, recent: Recent, on_bad: Option<OnBad>, from: &str) -> DeadLetters {
        let live = is_live(from);
        // Standard input has one sender, who reads the error.
        let one = matches!(from, "-" | "stdin:");
        let usual = if live && !one { OnBad::Continue } else { OnBad::Stop };
        DeadLetters { recent, on_bad: on_bad.unwrap_or(usual), live, ..self }
    }

    /// Tells `health` when nearly all records are bad.
    pub(crate) fn tell(self, health: Option<Arc<Health>>) -> DeadLetters {
        DeadLetters { health, ..self }
    }

    /// Counts a record for the share of bad ones.
    pub(crate) fn count_recent(&mut self, bad: bool) {
        self.recent.push(bad);
        if let Some(turn) = self.flood.push(bad) {
            self.turned = Some(turn);
        }
    }

    /// What to report of nearly all records being bad, or not any more, once for each time.
    pub(crate) fn take_flood(&mut self) -> Option<String> {
        let (what, is_bad) = match self.turned.take()? {
            Turn::Begins { bad, of } => {
                let (last, path) = (&self.last, self.journal.path().display());
                let what = format!(
                    "{bad} of the last {of} records were set aside, see {path}; the last one: {last}"
                );
                (what, true)
            }
            Turn::Ends => ("records that can be learned from come again".to_owned(), false),
        };
        if let Some(health) = &self.health {
            health.set(is_bad.then(|| what.clone()));
        }
        Some(what)
    }

    /// Which of the last records were set aside.
    pub(crate) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Why learning should stop, if it should.
    pub(crate) fn too_many(&self) -> Option<String> {
        let stop = self.on_bad == OnBad::Stop && self.recent.bad > MOST_BAD;
        stop.then(|| {
            format!(
                "{} of the last {WATCHED} records were set aside, the last one: {}\n  All of them are in \
                 {}. What was learned so far is in the run's checkpoint. Correct the source or the \
                 recipe and continue with --resume, or set online.on_bad = \"continue\".",
                self.recent.bad,
                self.last,
                self.journal.path().display()
            )
        })
    }

    /// What to report of the first one of this process, once.
    pub(crate) fn take_first(&mut self) -> Option<String> {
        self.first.as_mut().and_then(Option::take)
    }

    /// Sets a record aside.
    ///
    /// # Errors
    /// If it says that a file does not fit the recipe, or cannot be written down.
    pub(crate) fn write_dead_letter(&mut self, record: &Record<'_>, bad: &BadEvent) -> Result<()> {
        self.count += 1;
        if bad.fatal && !self.live {
            let what = format!("the stream does not fit the recipe: {}", bad.reason);
            return Err(Error::Usage(what));
        }
        let mut position = Position::default();
        position.take(record);
        if self.first.is_none() {
            let path = self.journal.path().display();
            let text = format!("a record was set aside, see {path}: at {position}: {}", bad.reason);
            self.first = Some(Some(text));
        }
        if self.recent.bad > MOST_BAD {
            self.last = format!("at {position}: {}", bad.reason);
        }
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

    /// The file itself.
    pub(crate) fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_that_of_the_last_thousand() {
        let mut recent = Recent::default();
        for i in 0..10_000_usize {
            recent.push(i % 10 == 0);
            assert!(recent.bad <= MOST_BAD, "{i}");
        }
        recent.push(true);
        recent.push(true);
        assert!(recent.bad > MOST_BAD);
        (0..WATCHED).for_each(|_| recent.push(false));
        assert_eq!(recent, Recent::default());
        (0..=MOST_BAD).for_each(|_| recent.push(true));
        assert_eq!(recent.bad, MOST_BAD + 1);
    }
}
