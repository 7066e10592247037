//! Running statistics of few words.

use serde::{Deserialize, Serialize};

/// The mean of all values so far (West 1979).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mean {
    pub count: u64,
    #[serde(with = "crate::bits")]
    pub value: f64,
}

impl Mean {
    /// Takes a value in. The order of the operations is River's: alarms compare such means with
    /// thresholds, so a last bit can matter.
    pub fn update(&mut self, x: f64) {
        self.count += 1;
        self.value += (1.0 / self.n()) * (x - self.value);
    }

    /// The count as it stands in formulas.
    pub fn n(&self) -> f64 {
        self.count as f64
    }
}

/// Mean and sample variance of all values so far (Welford 1962).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Variance {
    pub mean: Mean,
    #[serde(with = "crate::bits")]
    squares: f64,
}

impl Variance {
    pub fn update(&mut self, x: f64) {
        let before = self.mean.value;
        self.mean.update(x);
        self.squares += (x - before) * (x - self.mean.value);
    }

    /// Over `n - 1`; 0 of a single value.
    pub fn value(&self) -> f64 {
        if self.mean.count > 1 { self.squares / (self.mean.n() - 1.0) } else { 0.0 }
    }
}
