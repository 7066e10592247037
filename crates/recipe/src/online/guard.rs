//! Which updates of a stream are refused.

use serde::{Deserialize, Serialize};

/// `[online.guard]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardSpec {
    /// An update is refused if its loss is this many standard deviations above the running mean; 0
    /// accepts all finite losses. The standard deviation counts as at least a tenth of the mean
    /// and, for classes, as at least half the loss of a uniform guess (half of `ln 10` for ten
    /// classes).
    pub spike: f64,
    /// Number of events over which the running mean and deviation are taken; 1000 by default.
    pub window: u64,
    /// Number of refusals among the last `within` steps after which the model is rolled back to its
    /// last good state; 0 switches rollback off.
    pub rollback_after: usize,
    /// Number of steps in which `rollback_after` refusals are counted; 100 by default.
    pub within: u64,
    /// Steps between the states that are kept for a rollback; 5000 by default.
    pub keep_every: u64,
}

impl Default for GuardSpec {
    fn default() -> Self {
        Self { spike: 100.0, window: 1000, rollback_after: 10, within: 100, keep_every: 5000 }
    }
}

impl GuardSpec {
    /// The first key that is invalid, and why.
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
