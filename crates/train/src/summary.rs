//! What a run came to: `summary.json`.

use serde::{Deserialize, Serialize};

use crate::metrics::Figures;
use crate::online::drift::DriftCounts;
use crate::online::join::JoinCounts;

/// The result of a run; its keys are the same for every run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Steps trained.
    pub steps: u64,
    /// Samples learned from.
    pub samples: u64,
    /// Full epochs.
    pub epochs: u64,
    /// Seconds from the first step to the last, over all resumptions, with validation.
    pub wall_seconds: f64,
    /// Samples by those seconds.
    pub samples_per_second: f64,
    /// The most memory that the process has held; 0 where the system does not tell.
    pub peak_rss_bytes: u64,
    /// Of the arena that all plans share.
    pub arena_bytes: u64,
    /// The last epoch on the training samples, as they were learned from.
    pub train: Figures,
    /// The final weights on the validation data.
    pub validation: Figures,
    /// Why the run ended.
    pub stopped_by: String,
    /// Over names and bytes of all tensors of the final state.
    pub state_sha256: String,
    /// Of the stream that was learned from; nothing in batch training.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamSummary>,
}

/// What learning from a stream came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamSummary {
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

/// The most resident memory of this process so far, in bytes.
pub fn peak_rss_bytes() -> u64 {
    status_bytes("VmHWM:")
}

/// The resident memory of this process now, in bytes.
pub(crate) fn rss_bytes() -> u64 {
    status_bytes("VmRSS:")
}

/// A line of Linux's `/proc/self/status`; 0 on other systems.
fn status_bytes(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_default();
    let kilobytes: u64 = line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
    kilobytes * 1024
}
