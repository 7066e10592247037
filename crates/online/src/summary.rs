//! What learning from a stream came to: `summary.json`.

use serde::{Deserialize, Serialize};
use tidemill_engine::metrics::Figures;
use tidemill_engine::summary::Summary;

use crate::drift::DriftCounts;
use crate::join::JoinCounts;

/// What learning from a stream came to.
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
    /// The prequential figures.
    pub prequential: Figures,
}
