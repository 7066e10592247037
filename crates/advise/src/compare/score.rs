//! How good predictions were, event by event, and what is certain about their differences.

use serde::Serialize;
use tidemill_engine::nn::Link;

use super::events::View;
use tidemill_engine::metrics::{Task, argmax};
use tidemill_engine::prequential::Truth;

/// Blocks that uncertainty is estimated from: neighbouring events resemble each other, blocks of
/// hundreds hardly.
pub const BLOCKS: usize = 20;
/// Student's t at 95 % for so many blocks.
const T: f64 = 2.093;

/// A mean with half of its 95 % interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// The truth lies within this of the mean, most likely.
    pub within: f64,
}

impl Estimate {
    /// Of one value for each event, in order: from the means of [`BLOCKS`] blocks.
    pub fn of(values: impl ExactSizeIterator<Item = f64>) -> Estimate {
        let n = values.len();
        let blocks = BLOCKS.min(n.max(1));
        let (mut sums, mut counts) = (vec![0.0; blocks], vec![0.0; blocks]);
        for (i, value) in values.enumerate() {
            sums[i * blocks / n] += value;
            counts[i * blocks / n] += 1.0;
        }
        let mean = sums.iter().sum::<f64>() / n.max(1) as f64;
        let spread = |(s, c): (&f64, &f64)| (s / f64::max(*c, 1.0) - mean).powi(2);
        let squares: f64 = sums.iter().zip(&counts).map(spread).sum();
        let b = blocks as f64;
        let within = match blocks {
            1 => f64::INFINITY,
            _ => T * (squares / (b - 1.0) / b).sqrt(),
        };
        Estimate { mean, within }
    }

    /// Surely above 0.
    pub fn is_gain(self) -> bool {
        self.mean - self.within > 0.0
    }

    /// Surely below 0.
    pub fn is_loss(self) -> bool {
        self.mean + self.within < 0.0
    }
}

/// What one mode predicted.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    /// For each scored event: 1 where right and 0 where wrong, or the absolute error.
    pub each: Vec<f32>,
    /// Events of each class: predicted, true, and both; of the classes that came.
    classes: Vec<[u64; 3]>,
}

/// How outputs and truths are compared.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    /// How outputs are read.
    pub task: Task,
    /// Above this, a single output means yes.
    pub threshold: f32,
}

impl Judge {
    pub(crate) fn new(task: Task, link: Link) -> Judge {
        Judge { task, threshold: if link == Link::Identity { 0.0 } else { 0.5 } }
    }

    /// The class that is true.
    pub(crate) fn class(&self, truth: Truth<'_>) -> usize {
        match (truth, self.task) {
            (Truth::Values(v), Task::Binary) => usize::from(v.first().is_some_and(|&v| v > 0.5)),
            _ => self.task.class(truth).unwrap_or(0),
        }
    }

    /// Whether a greater figure is better.
    pub(crate) fn more_is_better(&self) -> bool {
        self.task.has_classes()
    }

    /// The name of the figure.
    pub(crate) fn quality(&self) -> &'static str {
        if self.more_is_better() { "accuracy" } else { "mean absolute error" }
    }

    /// How much better `a` is than `b`.
    pub(crate) fn gain(&self, a: f64, b: f64) -> f64 {
        if self.more_is_better() { a - b } else { b - a }
    }
}

impl Scores {
    /// Scores the prediction for the event at a place.
    pub(crate) fn add(&mut self, judge: Judge, view: &View<'_>, place: usize, outputs: &[f32]) {
        let i = view.at(place);
        let truth = view.events.truth(i);
        let predicted = match judge.task {
            _ if !judge.task.has_classes() => return self.each.push(error(view, i, outputs)),
            Task::Binary => usize::from(outputs.first().is_some_and(|&p| p > judge.threshold)),
            _ => argmax(outputs),
        };
        self.add_class(predicted, judge.class(truth));
    }

    pub(crate) fn add_class(&mut self, predicted: usize, truth: usize) {
        let hit = predicted == truth;
        self.each.push(f32::from(u8::from(hit)));
        if self.classes.len() <= predicted.max(truth) {
            self.classes.resize(predicted.max(truth) + 1, [0; 3]);
        }
        self.classes[predicted][0] += 1;
        self.classes[truth][1] += 1;
        self.classes[truth][2] += u64::from(hit);
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        self.each.iter().map(|&v| f64::from(v)).sum::<f64>() / self.each.len().max(1) as f64
    }

    /// The means of the blocks, in order.
    pub(crate) fn course(&self) -> Vec<f64> {
        let size = self.each.len().div_ceil(BLOCKS).max(1);
        let mean = |c: &[f32]| c.iter().map(|&v| f64::from(v)).sum::<f64>() / c.len() as f64;
        self.each.chunks(size).map(mean).collect()
    }

    /// Cohen's kappa: the gain over chance. Nothing for values.
    pub fn kappa(&self) -> Option<f64> {
        let n = self.each.len() as f64;
        let chance: f64 = self.classes.iter().map(|c| c[0] as f64 * c[1] as f64 / (n * n)).sum();
        let accuracy = self.mean();
        (!self.classes.is_empty() && chance < 1.0).then(|| (accuracy - chance) / (1.0 - chance))
    }

    /// How much better these predictions are than others of the same events, in the same order.
    pub(crate) fn gain_over(&self, other: &Scores, judge: Judge) -> Estimate {
        let pairs = self.each.iter().zip(&other.each);
        Estimate::of(pairs.map(|(&a, &b)| judge.gain(f64::from(a), f64::from(b))))
    }
}

/// The mean absolute error of an event, in the units that its target came in.
fn error(view: &View<'_>, i: usize, outputs: &[f32]) -> f32 {
    let Truth::Values(targets) = view.events.truth(i) else { return f32::NAN };
    if let (Some(scale), [output]) = (view.events.scales[i], outputs) {
        return scale.value(*output).map_or(f32::NAN, |value| (value - scale.target).abs() as f32);
    }
    let sum: f32 = outputs.iter().zip(targets).map(|(o, t)| (o - t).abs()).sum();
    sum / targets.len().max(1) as f32
}

/// Guesses that need no model, on the same events with labels as late.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Baselines {
    /// Repeats the last label that is known.
    pub no_change: f64,
    /// Names the most frequent class of those known; for values, their mean.
    pub majority: f64,
}

impl Baselines {
    /// Over the events from `first` on.
    pub(crate) fn of(judge: Judge, view: &View<'_>, first: usize, delay: usize) -> Baselines {
        if !judge.task.has_classes() {
            return Self::of_values(view, first, delay);
        }
        let (mut last, mut majority) = (Scores::default(), Scores::default());
        let mut counts: Vec<u64> = Vec::new();
        let (mut most, mut known) = (0, None);
        for place in 0..view.len() {
            if let Some(seen) = place.checked_sub(delay + 1) {
                let class = judge.class(view.events.truth(view.at(seen)));
                counts.resize(counts.len().max(class + 1), 0);
                counts[class] += 1;
                known = Some(class);
                if counts[class] > counts[most] {
                    most = class;
                }
            }
            if place >= first {
                let truth = judge.class(view.events.truth(view.at(place)));
                last.add_class(known.unwrap_or(0), truth);
                majority.add_class(most, truth);
            }
        }
        Baselines { no_change: last.mean(), majority: majority.mean() }
    }

    fn of_values(view: &View<'_>, first: usize, delay: usize) -> Baselines {
        let targets = |place: usize| -> Vec<f64> {
            let i = view.at(place);
            match (view.events.scales[i], view.events.truth(i)) {
                (Some(scale), _) => vec![scale.target],
                (None, Truth::Values(v)) => v.iter().map(|&v| f64::from(v)).collect(),
                (None, Truth::Class(class)) => vec![class as f64],
                (None, Truth::Unknown | Truth::Classes(_)) => vec![f64::NAN],
            }
        };
        let distance = |a: &[f64], b: &[f64]| {
            a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / b.len().max(1) as f64
        };
        let width = view.events.num_targets().max(1);
        let (mut last, mut sums, mut n) = (vec![0.0; width], vec![0.0; width], 0.0f64);
        let (mut no_change, mut mean, mut scored) = (0.0, 0.0, 0.0f64);
        for place in 0..view.len() {
            if let Some(seen) = place.checked_sub(delay + 1) {
                last = targets(seen);
                sums.iter_mut().zip(&last).for_each(|(s, t)| *s += t);
                n += 1.0;
            }
            if place >= first {
                let truth = targets(place);
                let guess: Vec<f64> = sums.iter().map(|s| s / n.max(1.0)).collect();
                no_change += distance(&last, &truth);
                mean += distance(&guess, &truth);
                scored += 1.0;
            }
        }
        let scored = scored.max(1.0);
        Baselines { no_change: no_change / scored, majority: mean / scored }
    }
}
