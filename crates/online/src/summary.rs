//! The result of learning from a stream: `summary.json`.

use serde::{Deserialize, Serialize};
use tidemill_engine::checkpoint::state_sha256;
use tidemill_engine::error::Result;
use tidemill_engine::memory::peak_rss_bytes;
use tidemill_engine::metrics::Figures;
use tidemill_engine::prequential::Prequential;
use tidemill_engine::summary::Summary;
use tidemill_recipe::stream::{Labels, Note, Understood};

use crate::drift::DriftCounts;
use crate::driver::{StreamDriver, StreamEnd};
use crate::join::JoinCounts;

/// The result of learning from a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamSummary {
    /// What every run has.
    #[serde(flatten)]
    pub run: Summary,
    /// The address of the source.
    pub source: String,
    /// Where the last event learned from ends.
    pub position: String,
    /// Events that came, with or without labels.
    pub events: u64,
    /// Events by the seconds that this process took from its start to when the last event was learned
    /// from: without the checkpoint, the report and the like that come after.
    pub events_per_second: f64,
    /// Events without labels.
    pub unlabelled: u64,
    /// Records that were set aside into `dead-letter.jsonl`.
    pub bad_events: u64,
    /// Corrections that wait in `quarantine.jsonl`; nothing where texts are not corrected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<u64>,
    /// Of the corrections that waited there, those that were released.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub released: u64,
    /// Events that were dropped because the queue was full.
    pub shed: u64,
    /// Updates that the guard refused.
    pub refused: u64,
    /// Times that the last good state came back.
    pub rollbacks: u64,
    /// Drifts and what was done; nothing where none are watched for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftCounts>,
    /// The longest time that a checkpoint kept this process from learning, in milliseconds.
    #[serde(default)]
    pub checkpoint_stall_ms: f64,
    /// Milliseconds from acknowledged to learned that half of this process's events took at most;
    /// nothing where the source knows no acknowledgement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_p50_ms: Option<f64>,
    /// The same of all but one event of a hundred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_p99_ms: Option<f64>,
    /// The same of the slowest event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_max_ms: Option<f64>,
    /// What became of labels that came later than their events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<JoinCounts>,
    /// The classes in the order of the model's outputs; empty for numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// The class that figures of two classes are about, such as `f1`: the one whose name comes later, or
    /// the second one of `online.classes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive_class: Option<String>,
    /// What columns and labels were taken for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub understood: Option<Understood>,
    /// What a user should know of the records, with how often it was so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// The prequential figures.
    pub prequential: Figures,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl StreamSummary {
    /// Of a stream of which nothing else is known.
    pub(crate) fn of(run: Summary) -> StreamSummary {
        StreamSummary {
            run,
            source: String::new(),
            position: String::new(),
            events: 0,
            events_per_second: 0.0,
            unlabelled: 0,
            bad_events: 0,
            quarantined: None,
            released: 0,
            shed: 0,
            refused: 0,
            rollbacks: 0,
            drift: None,
            checkpoint_stall_ms: 0.0,
            lag_p50_ms: None,
            lag_p99_ms: None,
            lag_max_ms: None,
            labels: None,
            classes: Vec::new(),
            positive_class: None,
            understood: None,
            notes: Vec::new(),
            prequential: Figures::new(),
        }
    }
}

impl StreamDriver<'_> {
    /// The figures over the stream, about the class that its labels say.
    pub(crate) fn prequential(&self) -> Prequential {
        let mut prequential = self.model.prequential().clone();
        let labels = self.input.encoding.known().labels.as_ref();
        if let Some(class) = labels.and_then(Labels::positive) {
            prequential.set_positive(class);
        }
        prequential
    }

    /// The result, once the last checkpoint is on disk.
    pub(crate) fn summary(&self, end: StreamEnd) -> Result<StreamSummary> {
        let (model, base) = (&self.model, &self.stream.meta);
        let (counts, guard) = (self.input.counts(), model.guard());
        let seconds = self.clock.learning.as_secs_f64().max(1e-9);
        let events_per_second = (counts.events - self.clock.first_event) as f64 / seconds;
        let run = Summary {
            steps: model.steps(),
            samples: base.samples + counts.events - counts.unlabelled,
            epochs: base.epoch,
            wall_seconds: self.clock.total(),
            samples_per_second: events_per_second,
            peak_rss_bytes: peak_rss_bytes(),
            arena_bytes: model.resources().arena_bytes,
            // Those of batches were measured with other weights.
            train: Figures::new(),
            validation: Figures::new(),
            rollbacks: 0,
            steps_lost: 0,
            stopped_by: end.name().to_owned(),
            state_sha256: state_sha256(&model.own_tensors())?,
        };
        let lag = self.lags.figures();
        let labels = self.input.encoding.known().labels.as_ref();
        Ok(StreamSummary {
            run,
            source: self.stream.source.clone(),
            position: self.input.feed.position().to_string(),
            events: counts.events,
            events_per_second,
            unlabelled: counts.unlabelled,
            bad_events: counts.bad,
            quarantined: None,
            released: 0,
            shed: self.input.feed.shed(),
            refused: guard.refused,
            rollbacks: guard.rollbacks,
            checkpoint_stall_ms: self.longest_stall.as_secs_f64() * 1e3,
            lag_p50_ms: lag.map(|l| l.p50),
            lag_p99_ms: lag.map(|l| l.p99),
            lag_max_ms: lag.map(|l| l.max),
            labels: self.join.as_ref().map(|join| join.counts()),
            drift: model.drift().map(|drift| *drift.counts()),
            classes: labels.map(Labels::names).unwrap_or_default(),
            positive_class: labels.and_then(Labels::positive_name),
            understood: self.input.encoding.understood(),
            notes: self.input.notes(),
            prequential: self.prequential().figures(),
        })
    }
}
