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
    outputs: Vec<Sums>,
    fading: Fading,
    /// Target and prediction, for each output of each event.
    window: VecDeque<(f32, f32)>,
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
    last: f32,
    /// The target of the event that left the window last.
    before_window: Option<f32>,
}

impl Values {
    pub(super) fn new(outputs: usize) -> Values {
        let outputs = vec![Sums::default(); outputs.max(1)];
        Values { events: 0, outputs, fading: Fading::default(), window: VecDeque::new() }
    }

    /// Whether all values were there and finite, so that the event was scored.
    pub(super) fn add(
        &mut self,
        outputs: &[f32],
        targets: &[f32],
        window: usize,
        fading: f64,
    ) -> bool {
        let width = self.outputs.len();
        let usable = |values: &[f32]| values.len() == width && values.iter().all(|v| v.is_finite());
        if !usable(outputs) || !usable(targets) {
            return false;
        }
        while self.window.len() >= window.max(1) * width {
            for sums in &mut self.outputs {
                sums.before_window = self.window.pop_front().map(|(target, _)| target);
            }
        }
        self.window.extend(targets.iter().copied().zip(outputs.iter().copied()));
        let has_last = self.events > 0;
        self.events += 1;
        let mut absolute = 0.0;
        for ((sums, &output), &target) in self.outputs.iter_mut().zip(outputs).zip(targets) {
            let (p, t) = (f64::from(output), f64::from(target));
            let error = (p - t).abs();
            absolute += error;
            sums.absolute_errors += error;
            sums.squared_errors += error * error;
            let from_mean = t - sums.mean;
            if has_last {
                sums.no_change_errors += (t - f64::from(sums.last)).abs();
                sums.mean_errors += from_mean.abs();
            }
            sums.last = target;
            sums.mean += from_mean / self.events as f64;
            sums.squares += from_mean * (t - sums.mean);
        }
        self.fading.add(absolute / width as f64, fading);
        true
    }

    pub(super) fn quick(&self, figures: &mut Vec<(&'static str, f64)>) {
        if self.events == 0 {
            return;
        }
        let n = self.events as f64;
        figures.push(("mae", self.over_outputs(|s| s.absolute_errors / n)));
        if self.events > 1 {
            figures.extend([
                ("no_change.mae", self.over_outputs(|s| s.no_change_errors / (n - 1.0))),
                ("mean.mae", self.over_outputs(|s| s.mean_errors / (n - 1.0))),
            ]);
        }
        figures.extend(self.fading.get().map(|v| ("fading.mae", v)));
        figures.push(("sliding.mae", self.window_mean(|t, p| (p - t).abs())));
        figures.extend(self.sliding_no_change().map(|v| ("sliding.no_change.mae", v)));
    }

    pub(super) fn slow(&self, figures: &mut Vec<(&'static str, f64)>) {
        if self.events == 0 {
            return;
        }
        let n = self.events as f64;
        let mse = self.over_outputs(|s| s.squared_errors / n);
        figures.push(("rmse", mse.sqrt()));
        figures.push(("sliding.rmse", self.window_mean(|t, p| (p - t) * (p - t)).sqrt()));
        let whole = self.outputs.iter().map(|s| (s.squared_errors, s.squares));
        figures.extend(r2(whole).map(|v| ("r2", v)));
        let width = self.outputs.len();
        let sliding = (0..width).map(|output| {
            let pairs = || self.window.iter().skip(output).step_by(width);
            let count = pairs().count() as f64;
            let mean = pairs().map(|&(t, _)| f64::from(t)).sum::<f64>() / count;
            let square = |a: f64| a * a;
            pairs().fold((0.0, 0.0), |(errors, total), &(t, p)| {
                let (t, p) = (f64::from(t), f64::from(p));
                (errors + square(p - t), total + square(t - mean))
            })
        });
        figures.extend(r2(sliding).map(|v| ("sliding.r2", v)));
    }

    /// Over the stream, over the window, and of no change; `None` before the first event.
    pub(super) fn headline(&self) -> Option<[f64; 3]> {
        let n = self.events as f64;
        (self.events > 0).then(|| {
            [
                self.over_outputs(|s| s.absolute_errors / n),
                self.window_mean(|t, p| (p - t).abs()),
                self.over_outputs(|s| s.no_change_errors / (n - 1.0).max(1.0)),
            ]
        })
    }

    fn over_outputs(&self, of: impl Fn(&Sums) -> f64) -> f64 {
        self.outputs.iter().map(of).sum::<f64>() / self.outputs.len() as f64
    }

    fn window_mean(&self, of: impl Fn(f64, f64) -> f64) -> f64 {
        let sum: f64 = self.window.iter().map(|&(t, p)| of(f64::from(t), f64::from(p))).sum();
        sum / self.window.len() as f64
    }

    /// Over the events of the window that have one before them.
    fn sliding_no_change(&self) -> Option<f64> {
        let width = self.outputs.len();
        let first = self.window.iter().zip(&self.outputs);
        let first = first.filter_map(|(&(t, _), s)| Some((t, s.before_window?)));
        let rest = self.window.iter().skip(width).zip(&self.window).map(|(a, b)| (a.0, b.0));
        let change = |(t, last): (f32, f32)| (f64::from(t) - f64::from(last)).abs();
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
