//! Errors of predicted values, and the baselines' beside them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Fading;

/// The figures of the curve.
pub(super) const CURVES: [&str; 7] = [
    "mae",
    "no_change.mae",
    "mean.mae",
    "sliding.mae",
    "sliding.no_change.mae",
    "loss",
    "fading.loss",
];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Values {
    events: u64,
    /// Events of which the model could say nothing: their errors are left out, as the baselines'
    /// are at the first event.
    #[serde(default)]
    without_guess: u64,
    outputs: Vec<Sums>,
    fading: Fading,
    /// Target and prediction, for each output of each event; no prediction where there was none.
    window: VecDeque<(f64, Option<f64>)>,
}

/// Sums over the stream for one output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sums {
    /// Welford's mean of the targets and sum of squares around it.
    mean: f64,
    squares: f64,
    absolute_errors: f64,
    squared_errors: f64,
    no_change_errors: f64,
    mean_errors: f64,
    last: f64,
    /// The target of the event that left the window last.
    before_window: Option<f64>,
}

impl Values {
    pub(super) fn new(outputs: usize) -> Values {
        let outputs = vec![Sums::default(); outputs.max(1)];
        let (fading, window) = (Fading::default(), VecDeque::new());
        Values { events: 0, without_guess: 0, outputs, fading, window }
    }

    /// Whether all values were there and finite, so that the event was scored. Without `outputs`
    /// the model had no guess, and the event counts for the baselines only.
    pub(super) fn add(
        &mut self,
        outputs: Option<&[f64]>,
        targets: &[f64],
        window: usize,
        fading: f64,
    ) -> bool {
        let width = self.outputs.len();
        let usable = |values: &[f64]| values.len() == width && values.iter().all(|v| v.is_finite());
        if !outputs.is_none_or(usable) || !usable(targets) {
            return false;
        }
        while self.window.len() >= window.max(1) * width {
            for sums in &mut self.outputs {
                sums.before_window = self.window.pop_front().map(|(target, _)| target);
            }
        }
        let has_last = self.events > 0;
        self.events += 1;
        self.without_guess += u64::from(outputs.is_none());
        let mut absolute = 0.0;
        for (o, (sums, &target)) in self.outputs.iter_mut().zip(targets).enumerate() {
            let output = outputs.map(|outputs| outputs[o]);
            self.window.push_back((target, output));
            if let Some(output) = output {
                let error = (output - target).abs();
                absolute += error;
                sums.absolute_errors += error;
                sums.squared_errors += error * error;
            }
            let from_mean = target - sums.mean;
            if has_last {
                sums.no_change_errors += (target - sums.last).abs();
                sums.mean_errors += from_mean.abs();
            }
            sums.last = target;
            sums.mean += from_mean / self.events as f64;
            sums.squares += from_mean * (target - sums.mean);
        }
        if outputs.is_some() {
            self.fading.add(absolute / width as f64, fading);
        }
        true
    }

    /// Events that the model had a guess for.
    fn guessed(&self) -> Option<f64> {
        let guessed = self.events - self.without_guess;
        (guessed > 0).then_some(guessed as f64)
    }

    pub(super) fn quick(&self, figures: &mut Vec<(&'static str, f64)>) {
        if self.events == 0 {
            return;
        }
        let n = self.events as f64;
        let guessed = self.guessed();
        figures.extend(guessed.map(|n| ("mae", self.over_outputs(|s| s.absolute_errors / n))));
        if self.events > 1 {
            figures.extend([
                ("no_change.mae", self.over_outputs(|s| s.no_change_errors / (n - 1.0))),
                ("mean.mae", self.over_outputs(|s| s.mean_errors / (n - 1.0))),
            ]);
        }
        figures.extend(self.fading.get().map(|v| ("fading.mae", v)));
        figures.extend(self.window_mean(|t, p| (p - t).abs()).map(|v| ("sliding.mae", v)));
        figures.extend(self.sliding_no_change().map(|v| ("sliding.no_change.mae", v)));
    }

    pub(super) fn slow(&self, figures: &mut Vec<(&'static str, f64)>) {
        let Some(n) = self.guessed() else { return };
        let mse = self.over_outputs(|s| s.squared_errors / n);
        figures.push(("rmse", mse.sqrt()));
        let sliding = self.window_mean(|t, p| (p - t) * (p - t));
        figures.extend(sliding.map(|v| ("sliding.rmse", v.sqrt())));
        let whole = self.outputs.iter().map(|s| (s.squared_errors, s.squares));
        figures.extend(r2(whole).map(|v| ("r2", v)));
        let width = self.outputs.len();
        let sliding = (0..width).map(|output| {
            let pairs = || self.window.iter().skip(output).step_by(width);
            let count = pairs().count() as f64;
            let mean = pairs().map(|&(t, _)| t).sum::<f64>() / count;
            let square = |a: f64| a * a;
            pairs().fold((0.0, 0.0), |(errors, total), &(t, p)| {
                (errors + p.map_or(0.0, |p| square(p - t)), total + square(t - mean))
            })
        });
        figures.extend(r2(sliding).map(|v| ("sliding.r2", v)));
    }

    /// Over the stream, over the window, and of no change; `None` before the first guess.
    pub(super) fn headline(&self) -> Option<[f64; 3]> {
        let guessed = self.guessed()?;
        let before = (self.events as f64 - 1.0).max(1.0);
        Some([
            self.over_outputs(|s| s.absolute_errors / guessed),
            self.window_mean(|t, p| (p - t).abs())?,
            self.over_outputs(|s| s.no_change_errors / before),
        ])
    }

    fn over_outputs(&self, of: impl Fn(&Sums) -> f64) -> f64 {
        self.outputs.iter().map(of).sum::<f64>() / self.outputs.len() as f64
    }

    /// The mean over the window of those that were guessed.
    fn window_mean(&self, of: impl Fn(f64, f64) -> f64) -> Option<f64> {
        let guessed = self.window.iter().filter_map(|&(t, p)| Some(of(t, p?)));
        let (sum, count) = guessed.fold((0.0, 0.0), |(s, n), v| (s + v, n + 1.0));
        (count > 0.0).then(|| sum / count)
    }

    /// Over the events of the window that have one before them.
    fn sliding_no_change(&self) -> Option<f64> {
        let width = self.outputs.len();
        let first = self.window.iter().zip(&self.outputs);
        let first = first.filter_map(|(&(t, _), s)| Some((t, s.before_window?)));
        let rest = self.window.iter().skip(width).zip(&self.window).map(|(a, b)| (a.0, b.0));
        let change = |(t, last): (f64, f64)| (t - last).abs();
        let (sum, count) =
            first.chain(rest).map(change).fold((0.0, 0.0), |(s, n), e| (s + e, n + 1.0));
        (count > 0.0).then(|| sum / count)
    }
}

/// The mean over the outputs of `(squared errors, squares around the mean)` whose target varies.
fn r2(outputs: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let varies = outputs.filter(|(_, total)| *total > 0.0);
    let (sum, count) =
        varies.fold((0.0, 0.0), |(s, n), (errors, total)| (s + 1.0 - errors / total, n + 1.0));
    (count > 0.0).then(|| sum / count)
}
