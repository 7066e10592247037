//! Which updates of a stream are refused.

use serde::{Deserialize, Serialize};

/// `[online.guard]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardSpec {
    /// A loss this many standard deviations above the running mean is a spike; 0 lets all finite
    /// losses pass. 100 by default. A deviation is at least a tenth of the mean and, for classes and
    /// for yes or no, half of the loss of a guess that knows nothing (half of `ln 10` for ten classes).
    pub spike: f64,
    /// Events over which the running mean and deviation fade; 1000 by default.
    pub window: u64,
    /// Refusals among the last `within` steps that bring the last good state back; 0 never does.
    /// 10 by default.
    pub rollback_after: usize,
    /// See `rollback_after`; 100 by default.
    pub within: u64,
    /// Steps between the states that are kept to come back to; 5000 by default.
    pub keep_every: u64,
}

impl Default for GuardSpec {
    fn default() -> Self {
        Self { spike: 100.0, window: 1000, rollback_after: 10, within: 100, keep_every: 5000 }
    }
}

impl GuardSpec {
    /// The first key that makes no sense, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if !(self.spike.is_finite() && self.spike >= 0.0) {
            return Err(("spike", format!("must be a number of 0 or more, found {}", self.spike)));
        }
        for (key, value) in
            [("window", self.window), ("within", self.within), ("keep_every", self.keep_every)]
        {
            if value == 0 {
                return Err((key, "must be a positive integer, found 0".into()));
            }
        }
        Ok(())
    }
}
