//! What is done when a loss rises all at once.

use serde::Deserialize;

use crate::spec::{Wrong, positive, wrong};

/// Rolls the model back when the loss of a batch is far above those before it, or is not a number, as large models are
/// trained (Chowdhery et al. 2022, PaLM, section 5.1): the weights of some steps before come back, and training continues
/// with the batches after the one that was bad. Each is said and counted in the summary.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spikes {
    /// How far above: standard deviations of the losses from their mean, both of the last steps; 8 by default.
    pub deviations: f64,
    /// The steps that mean and deviation are of (weighted exponentially), and that must be there before a loss is judged;
    /// 100 by default.
    pub window: u64,
    /// Steps between the states that are kept in memory to roll back to; 100 by default.
    pub every: u64,
    /// The run ends when it has been rolled back to the same state this often; 3 by default.
    pub most: u64,
}

impl Default for Spikes {
    fn default() -> Spikes {
        Spikes { deviations: 8.0, window: 100, every: 100, most: 3 }
    }
}

impl Spikes {
    pub(crate) fn check(&self) -> Result<(), Wrong> {
        if !(self.deviations.is_finite() && self.deviations > 0.0) {
            let message = format!("must be above 0, found {}", self.deviations);
            return wrong("training.spikes.deviations", message);
        }
        positive("training.spikes.window", self.window)?;
        positive("training.spikes.every", self.every)?;
        positive("training.spikes.most", self.most)
    }
}
