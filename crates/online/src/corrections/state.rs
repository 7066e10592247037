//! All that a checkpoint holds beside tensors.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tidemill_engine::checkpoint::Meta;
use tidemill_engine::error::Result;
use tidemill_recipe::stream::{Content, Format, Position};

use super::figures::TextScores;
use super::learner::Served;
use super::quarantine::Losses;
use super::rejected::Rejected;
use super::stored::Usual;
use crate::drift::wealth::Wealth;
use crate::feed::Recent;
use crate::input::Counts;
use crate::journal::JournalMark;

/// What was learned of corrections, from whatever stream they came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Learned {
    /// Corrections that were learned from.
    pub learned: u64,
    /// Which weights make texts, what the test has against them, and how often they changed.
    pub served: Served,
    pub wealth: Wealth,
    pub changes: u64,
    /// What is usual.
    pub losses: Losses,
    #[serde(default)]
    pub rejected: Rejected,
    pub usual: Option<Usual>,
    /// Corrections set aside as garbage, and those of them that were released, by number.
    pub quarantined: u64,
    pub released: BTreeSet<u64>,
    /// Where `quarantine.jsonl` stands.
    pub quarantine: JournalMark,
}

/// Where a stream of corrections was left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Left {
    /// How its records are written, the row of names of a table, and what a record begins that continues in the next
    /// line.
    pub format: Format,
    pub header: Option<Vec<String>>,
    pub open: String,
    /// Where the last record ends, and what the files have held up to there.
    pub position: Position,
    pub content: Option<Content>,
    /// Texts that it brought.
    pub texts: u64,
}

/// What a checkpoint knows of the streams of corrections. Together with the tensors it is one state. Figures, counts and what waits
/// are of all streams, since a text and its correction may come by different ones.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CorrectionsState {
    pub corrections: Learned,
    /// The address of the source that was learned from last.
    pub source: String,
    /// Where each source was left.
    pub left: BTreeMap<String, Left>,
    pub counts: Counts,
    pub scores: TextScores,
    pub dead_letters: JournalMark,
    pub recent: Recent,
    /// Where `corrections.jsonl` and `audit.jsonl` stand.
    pub log: JournalMark,
    pub audit: JournalMark,
    pub wall_seconds: f64,
}

impl CorrectionsState {
    /// What a checkpoint knows of a stream of corrections, if its stream was one.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn of(meta: &Meta) -> Result<Option<CorrectionsState>> {
        match &meta.stream {
            // It is the first field; a stream of another kind has none of the name.
            Some(kept) if kept.json().trim_start().starts_with("{\"corrections\":") => {
                kept.read().map(Some)
            }
            _ => Ok(None),
        }
    }
}
