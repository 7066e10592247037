//! Errors of predicted values.

use serde::{Deserialize, Serialize};
use tidemill_fields::Truth;

/// Sums for each output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Regression {
    outputs: Vec<Sums>,
    samples: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Sums {
    /// The first target: taking it off keeps the squares from cancelling when targets are far
    /// from zero.
    shift: f64,
    target: f64,
    target_squares: f64,
    absolute_errors: f64,
    squared_errors: f64,
    /// Of the errors by their targets.
    #[serde(default)]
    relative_errors: f64,
}

impl Regression {
    pub(super) fn new(num_outputs: usize) -> Regression {
        Regression { outputs: vec![Sums::default(); num_outputs], samples: 0 }
    }

    pub(super) fn add(&mut self, predicted: impl Iterator<Item = f32>, truth: Truth<'_>) {
        let (first, outputs) = (self.samples == 0, self.outputs.len());
        self.samples += 1;
        for (o, (sums, p)) in self.outputs.iter_mut().zip(predicted).enumerate() {
            let (p, t) = (f64::from(p), f64::from(truth.target(o, outputs)));
            if first {
                sums.shift = t;
            }
            let centred = t - sums.shift;
            sums.target += centred;
            sums.target_squares += centred * centred;
            sums.absolute_errors += (p - t).abs();
            sums.squared_errors += (p - t) * (p - t);
            sums.relative_errors += (p - t).abs() / t.abs().max(f64::EPSILON);
        }
    }

    /// Takes in what another one of as many outputs has.
    pub(super) fn merge(&mut self, other: &Regression) {
        if self.samples == 0 {
            return self.clone_from(other);
        }
        let n = other.samples as f64;
        for (sums, other) in self.outputs.iter_mut().zip(&other.outputs) {
            // The other's sums are of targets less its own shift.
            let by = other.shift - sums.shift;
            sums.target += other.target + n * by;
            sums.target_squares += other.target_squares + 2.0 * by * other.target + n * by * by;
            sums.absolute_errors += other.absolute_errors;
            sums.squared_errors += other.squared_errors;
            sums.relative_errors += other.relative_errors;
        }
        self.samples += other.samples;
    }

    fn mean(&self, of: impl Fn(&Sums) -> f64) -> f64 {
        self.outputs.iter().map(of).sum::<f64>() / self.outputs.len() as f64
    }

    pub(super) fn mae(&self) -> f64 {
        self.mean(|s| s.absolute_errors / self.samples as f64)
    }

    pub(super) fn mse(&self) -> f64 {
        self.mean(|s| s.squared_errors / self.samples as f64)
    }

    pub(super) fn rmse(&self) -> f64 {
        self.mean(|s| (s.squared_errors / self.samples as f64).sqrt())
    }

    pub(super) fn mape(&self) -> f64 {
        self.mean(|s| s.relative_errors / self.samples as f64)
    }

    pub(super) fn r2(&self) -> f64 {
        self.mean(|s| {
            let total = s.target_squares - s.target * s.target / self.samples as f64;
            match (total > 0.0, s.squared_errors == 0.0) {
                (true, _) => 1.0 - s.squared_errors / total,
                // Constant targets: scikit-learn's convention.
                (false, true) => 1.0,
                (false, false) => 0.0,
            }
        })
    }

    pub(super) fn reset(&mut self) {
        self.outputs.fill(Sums::default());
        self.samples = 0;
    }
}
