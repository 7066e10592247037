//! What of the watch is in a checkpoint, in the summary and in `audit.jsonl`.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};
use tidemill_recipe::drift::{Detector, FeatureDrift};

use super::challenger::ChallengerState;

/// Notes that the report lists.
const MOST_LISTED: usize = 20;

/// The watch; with the tensors of a challenger all that its future depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DriftState {
    pub(super) detector: Option<Detector>,
    pub(super) columns: Option<FeatureDrift>,
    /// Labelled events seen.
    pub(super) events: u64,
    pub(super) means: Means,
    pub(super) boost: Option<Boost>,
    /// Steps since the optimizer's slots began.
    pub(super) slot_age: Option<u64>,
    /// The same of the state to roll back to.
    pub(super) good_age: Option<u64>,
    pub(super) challenger: Option<ChallengerState>,
    /// Columns that moved lately, with the labelled events by then.
    pub(super) moved: Vec<(u64, ColumnMove)>,
    pub(super) counts: DriftCounts,
    /// The last notes: labelled events by then, and the note in words.
    pub(super) listed: VecDeque<(u64, String)>,
}

/// How the note of a rise begins.
pub(super) const ROSE: &str = "drift: errors rose";

impl DriftState {
    /// What was counted so far.
    pub fn counts(&self) -> &DriftCounts {
        &self.counts
    }

    /// The last notes: labelled events by then, and the note in words.
    pub fn listed(&self) -> impl Iterator<Item = &(u64, String)> {
        self.listed.iter()
    }

    /// The labelled events after which errors rose, of the last notes.
    pub fn rises(&self) -> Vec<u64> {
        let rose = self.listed.iter().filter(|(_, words)| words.starts_with(ROSE));
        rose.map(|&(event, _)| event).collect()
    }

    pub(super) fn remember(&mut self, note: &DriftNote) {
        if self.listed.len() >= MOST_LISTED {
            self.listed.pop_front();
        }
        self.listed.push_back((self.events, note.to_string()));
    }
}

/// The mean error over the last events and over more of them, for detectors that do not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Means {
    pub(super) recent: f64,
    pub(super) long: f64,
    events: u64,
}

impl Means {
    const RECENT: u64 = 30;
    const LONG: u64 = 1000;

    pub(super) fn add(&mut self, error: f64) {
        self.events += 1;
        self.recent += (error - self.recent) / self.events.min(Self::RECENT) as f64;
        self.long += (error - self.long) / self.events.min(Self::LONG) as f64;
    }

    /// From here on the last events are all that counts.
    pub(super) fn restart(&mut self) {
        self.long = self.recent;
        self.events = self.events.min(Self::RECENT);
    }
}

/// A raised learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Boost {
    pub(super) factor: f64,
    pub(super) events: u64,
    /// Events until it is what it was.
    pub(super) left: u64,
}

impl Boost {
    /// What the rate is multiplied by: `factor^(left / events)`.
    pub(super) fn factor(&self) -> f64 {
        self.factor.powf(self.left as f64 / self.events.max(1) as f64)
    }
}

/// What was noticed and done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DriftCounts {
    /// Times that the errors rose.
    pub alarms: u64,
    /// Times that they fell, which nothing is done about.
    pub falls: u64,
    /// Moves of columns.
    pub moves: u64,
    /// Times that the learning rate was raised.
    pub raised: u64,
    /// Times that the optimizer's slots were reset.
    pub resets: u64,
    /// Times that a drift brought the last good state back.
    pub rollbacks: u64,
    /// Challengers started.
    pub challengers: u64,
    /// Those that took over.
    pub takeovers: u64,
    /// Those that were dropped.
    pub dropped: u64,
}

/// A column that moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnMove {
    /// Its name.
    pub column: String,
    /// Its mean before, in its own unit.
    pub before: f64,
    /// Its mean after.
    pub after: f64,
}

/// A line of `audit.jsonl`. Displays as the report has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DriftNote {
    /// What happened.
    pub what: &'static str,
    /// The detector that said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detector: Option<&'static str>,
    /// Mean error before: by ADWIN over its older window, by the others over the last thousand
    /// events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<f64>,
    /// Mean error after: by ADWIN over its newer window, by the others over the last thirty events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<f64>,
    /// Columns that moved now, or in the last thousand events before an alarm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnMove>,
    /// Actions taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<&'static str>,
    /// Events that a challenger has learned from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learned: Option<u64>,
    /// By how much its loss was lower in the mean, in units of `challenger.clip`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advantage: Option<f64>,
}

impl DriftNote {
    pub(super) fn new(what: &'static str) -> DriftNote {
        DriftNote { what, ..DriftNote::default() }
    }
}

impl fmt::Display for DriftNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        if let (Some(before), Some(after)) = (self.before, self.after) {
            write!(f, " from {before:.4} to {after:.4}")?;
        }
        if let Some(detector) = self.detector {
            write!(f, " ({detector})")?;
        }
        if let Some(learned) = self.learned {
            write!(f, " after {learned} events")?;
        }
        for (i, m) in self.columns.iter().enumerate() {
            let ColumnMove { column, before, after } = m;
            write!(f, "{} {column} {before:.4} to {after:.4}", if i > 0 { "," } else { ";" })?;
        }
        for (i, done) in self.done.iter().enumerate() {
            write!(f, "{} {done}", if i > 0 { "," } else { ":" })?;
        }
        Ok(())
    }
}
