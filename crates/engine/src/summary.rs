//! The result of a run: `summary.json`.

use serde::{Deserialize, Serialize};

use crate::metrics::Figures;

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
    /// Times that the model was rolled back for a spike of the loss (`training.spikes`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rollbacks: u64,
    /// Steps whose learning that took back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub steps_lost: u64,
    /// Why the run ended.
    pub stopped_by: String,
    /// Over names and bytes of all tensors of the final state.
    pub state_sha256: String,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}
