//! What is drawn of a pass over data, in constant memory: how right probabilities are, how well scores separate classes, and
//! how wrong predicted values are.

use tidemill_data::random::{GOLDEN, mix};
use tidemill_fields::Batch;
use tidemill_nn::Task;

use super::quantiles::Quantiles;

/// Classes up to this have a curve each.
pub(super) const MOST_CURVES: usize = 32;

/// Outputs up to this are drawn.
const MOST_OUTPUTS: usize = 4;

/// Samples that are drawn as points.
const MOST_POINTS: usize = 1000;

/// Bars of a histogram.
const BARS: usize = 40;

/// How often predicted classes are right, by their probability (a reliability diagram; Guo et al. 2017).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    /// The expected calibration error.
    pub error: f64,
    /// Bins of the same width from 0 to 1, by the probability of the predicted class.
    pub bins: Vec<CalibrationBin>,
}

/// One of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CalibrationBin {
    /// Predictions.
    pub count: u64,
    /// Their mean probability; 0 without predictions.
    pub probability: f64,
    /// The share of them that is right; 0 without predictions.
    pub right: f64,
}

/// The ROC curve of a class against all others.
#[derive(Clone, Debug, PartialEq)]
pub struct RocCurve {
    /// The class.
    pub class: usize,
    /// The area under it.
    pub area: f64,
    /// The mean precision from the greatest score down.
    pub average_precision: f64,
    /// The share of others that score above a threshold, and that of the class, from the greatest threshold to the least.
    pub points: Vec<(f64, f64)>,
}

/// Errors of one predicted value, in the units of the labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Residuals {
    /// Predicted less true.
    errors: Quantiles,
    /// Kept samples: their priority, the true value and the predicted one.
    points: Vec<(u64, f64, f64)>,
    samples: u64,
    /// Predictions that are no finite number.
    lost: u64,
}

impl Residuals {
    /// One for each output that is drawn.
    pub(crate) fn of(task: Task, num_outputs: usize) -> Vec<Residuals> {
        let outputs = if task.has_classes() { 0 } else { num_outputs.min(MOST_OUTPUTS) };
        vec![Residuals::default(); outputs]
    }

    /// Takes in a batch: `logits` is `[len, num_outputs]`; `unscale` gives outputs and targets in the units of the labels.
    pub(crate) fn add(
        all: &mut [Residuals],
        task: Task,
        logits: &[f32],
        batch: &Batch,
        unscale: &dyn Fn(f32) -> f64,
    ) {
        if all.is_empty() {
            return;
        }
        let width = logits.len() / batch.len.max(1);
        for (i, row) in logits.chunks_exact(width.max(1)).take(batch.len).enumerate() {
            if batch.weights[i] == 0.0 {
                continue;
            }
            for (o, (residuals, &logit)) in all.iter_mut().zip(row).enumerate() {
                let truth = unscale(batch.truth(i).target(o, width));
                residuals.one(truth, unscale(task.value(logit)));
            }
        }
    }

    fn one(&mut self, truth: f64, predicted: f64) {
        self.samples += 1;
        if !(predicted - truth).is_finite() {
            self.lost += 1;
            return;
        }
        self.errors.add(predicted - truth);
        // Those with the least priorities: a choice by chance that depends on the place alone.
        self.points.push((scattered(self.samples), truth, predicted));
        if self.points.len() == 2 * MOST_POINTS {
            self.points.select_nth_unstable_by_key(MOST_POINTS, |point| point.0);
            self.points.truncate(MOST_POINTS);
        }
    }

    /// Samples taken in.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Predictions that are no finite number, which nothing else counts.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The true and the predicted values of at most 1,000 samples, chosen by chance.
    pub fn points(&self) -> Vec<(f64, f64)> {
        let mut points = self.points.clone();
        points.sort_unstable_by_key(|point| point.0);
        points
            .into_iter()
            .take(MOST_POINTS)
            .map(|(_, truth, predicted)| (truth, predicted))
            .collect()
    }

    /// Errors below which a share of all is.
    pub fn error_at(&self, share: f64) -> f64 {
        self.errors.at(share)
    }

    /// A histogram of the errors, predicted less true: its ends, its bars, and how many errors are outside. Of those, at most
    /// one in a hundred are, so that a few large ones do not hide all others; none while there are few samples.
    pub fn histogram(&self) -> ((f64, f64), Vec<u64>, u64) {
        let (mut low, mut high) = match self.samples {
            0..200 => (self.error_at(0.0), self.error_at(1.0)),
            _ => (self.error_at(0.005), self.error_at(0.995)),
        };
        if low >= high {
            let half = low.abs().max(1.0) / 2.0;
            (low, high) = (low - half, high + half);
        }
        let (mut bars, mut outside) = (vec![0; BARS], 0);
        for (error, count) in self.errors.pieces() {
            if error < low || error > high {
                outside += count;
                continue;
            }
            let bar = (error - low) / (high - low) * BARS as f64;
            bars[(bar as usize).min(BARS - 1)] += count;
        }
        ((low, high), bars, outside)
    }
}

/// A number whose bits depend on all those of `n` (SplitMix64; Steele et al. 2014).
fn scattered(n: u64) -> u64 {
    mix(n.wrapping_mul(GOLDEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn residuals_of_many_samples_in_little_memory() {
        let mut residuals = Residuals::default();
        let n = 100_000;
        for i in 0..n {
            let truth = f64::from(i);
            // One error of a million among those from -1 to 1.
            let error = if i == 500 { 1e6 } else { f64::from(i % 201 - 100) / 100.0 };
            residuals.one(truth, truth + error);
        }
        residuals.one(1.0, f64::NAN);
        assert_eq!((residuals.samples(), residuals.lost()), (100_001, 1));
        let ((low, high), bars, outside) = residuals.histogram();
        assert!((-1.01..-0.98).contains(&low) && (0.98..1.01).contains(&high), "{low} {high}");
        assert_eq!(bars.iter().sum::<u64>() + outside, 100_000);
        assert!(outside <= 1000 && bars.iter().all(|&bar| bar > 1900), "{outside} {bars:?}");
        let points = residuals.points();
        assert_eq!(points.len(), MOST_POINTS);
        // From everywhere.
        let early = points.iter().filter(|(truth, _)| *truth < 50_000.0).count();
        assert!((420..580).contains(&early), "{early}");
        assert!(residuals.points.len() < 2 * MOST_POINTS);
    }

    #[test]
    fn few_and_equal_errors() {
        let mut residuals = Residuals::default();
        assert!(residuals.points().is_empty());
        for truth in [1.0, 2.0, 3.0] {
            residuals.one(truth, truth + 0.5);
        }
        let ((low, high), bars, outside) = residuals.histogram();
        assert!(low < 0.5 && high > 0.5);
        assert_eq!((bars.iter().sum::<u64>(), outside), (3, 0));
        assert_eq!(residuals.points().len(), 3);
    }
}
