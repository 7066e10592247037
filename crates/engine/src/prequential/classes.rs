//! Right and wrong classes, and the baselines' beside them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Fading, Recall};
use crate::metrics::{Auc, Confusion};

/// The figures of the curve.
pub(super) const CURVES: [&str; 9] = [
    "accuracy",
    "no_change.accuracy",
    "prior.accuracy",
    "sliding.accuracy",
    "sliding.no_change.accuracy",
    "sliding.prior.accuracy",
    "sliding.kappa_t",
    "loss",
    "fading.loss",
];

/// More classes than this are scored, but not counted one by one: a stream of broken labels must
/// not take the memory.
const MOST_CLASSES: usize = 1 << 20;

/// Whose guess was right; the positions in an array of counts.
const MODEL: usize = 0;
const NO_CHANGE: usize = 1;
const PRIOR: usize = 2;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Classes {
    events: u64,
    /// Right guesses of the model, of no change, of the prior.
    right: [u64; 3],
    log_loss: f64,
    fading: Fading,
    classes: Vec<Counts>,
    last: Option<u32>,
    most_frequent: Option<u32>,
    window: VecDeque<Event>,
    right_in_window: [u64; 3],
    /// Of a binary task, over the whole stream.
    #[serde(default)]
    auc: Auc,
}

/// Events of a class. Neither kappa nor F1 nor recall needs the whole confusion matrix, which
/// would grow with the square of the classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counts {
    truth: u64,
    predicted: u64,
    hits: u64,
    /// The count of events at its first; the prior settles ties by it, as River does.
    first: u64,
}

/// One event of the window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Row", from = "Row")]
struct Event {
    truth: u32,
    guess: u32,
    /// Of yes for a binary task, else of the true class.
    probability: f32,
    right: [bool; 3],
}

/// An event as a checkpoint has it, without names; the last number has a bit for each of `right`.
type Row = (u32, u32, f32, u8);

impl From<Event> for Row {
    fn from(e: Event) -> Row {
        let bits = e.right.iter().rev().fold(0, |bits, &hit| bits << 1 | u8::from(hit));
        (e.truth, e.guess, e.probability, bits)
    }
}

impl From<Row> for Event {
    fn from((truth, guess, probability, bits): Row) -> Event {
        let right = [MODEL, NO_CHANGE, PRIOR].map(|who| bits >> who & 1 == 1);
        Event { truth, guess, probability, right }
    }
}

impl Classes {
    pub(super) fn new(classes: usize) -> Classes {
        Classes {
            events: 0,
            right: [0; 3],
            log_loss: 0.0,
            fading: Fading::default(),
            classes: vec![Counts::default(); classes.min(MOST_CLASSES)],
            last: None,
            most_frequent: None,
            window: VecDeque::new(),
            right_in_window: [0; 3],
            auc: Auc::default(),
        }
    }

    pub(super) fn add_binary(&mut self, yes: f32, truth: bool, window: usize, fading: f64) {
        let yes = if yes.is_finite() { yes } else { 0.0 };
        let of_truth = if truth { f64::from(yes) } else { 1.0 - f64::from(yes) };
        let guess = usize::from(yes > 0.5);
        self.auc.add(yes, truth);
        self.score(guess, usize::from(truth), yes, of_truth, window, fading);
    }

    /// The probability of the second of two classes, for the area under the curve of the two.
    pub(super) fn add_second(&mut self, second: f32, truth: bool) {
        self.auc.add(if second.is_finite() { second } else { 0.0 }, truth);
    }

    /// `probability` is that of the true class.
    pub(super) fn add(
        &mut self,
        guess: usize,
        truth: usize,
        probability: f32,
        window: usize,
        fading: f64,
    ) {
        let p = if probability.is_finite() { probability } else { 0.0 };
        self.score(guess, truth, p, f64::from(p), window, fading);
    }

    fn score(
        &mut self,
        guess: usize,
        truth: usize,
        noted: f32,
        of_truth: f64,
        window: usize,
        fading: f64,
    ) {
        let needed = guess.max(truth).saturating_add(1);
        if needed > self.classes.len() && needed <= MOST_CLASSES {
            self.classes.resize(needed, Counts::default());
        }
        let (guess, truth) = (id(guess), id(truth));
        let right = [guess == truth, self.last == Some(truth), self.most_frequent == Some(truth)];
        self.events += 1;
        self.log_loss += log_loss(of_truth);
        self.fading.add(f64::from(u8::from(right[MODEL])), fading);
        for (sum, hit) in self.right.iter_mut().zip(right) {
            *sum += u64::from(hit);
        }

        while self.window.len() >= window.max(1) {
            let Some(old) = self.window.pop_front() else { break };
            for (sum, hit) in self.right_in_window.iter_mut().zip(old.right) {
                *sum -= u64::from(hit);
            }
        }
        for (sum, hit) in self.right_in_window.iter_mut().zip(right) {
            *sum += u64::from(hit);
        }
        self.window.push_back(Event { truth, guess, probability: noted, right });

        if let Some(counts) = self.classes.get_mut(guess as usize) {
            counts.predicted += 1;
        }
        self.last = Some(truth);
        let Some(counts) = self.classes.get_mut(truth as usize) else { return };
        counts.truth += 1;
        counts.hits += u64::from(right[MODEL]);
        if counts.first == 0 {
            counts.first = self.events;
        }
        let (own, first) = (counts.truth, counts.first);
        // Only this class has grown, so only it can have become the most frequent.
        let leader = self.most_frequent.and_then(|c| self.classes.get(c as usize));
        if leader.is_none_or(|l| own > l.truth || (own == l.truth && first < l.first)) {
            self.most_frequent = Some(truth);
        }
    }

    pub(super) fn quick(&self, figures: &mut Vec<(&'static str, f64)>) {
        let [model, no_change, prior] = self.right.map(|n| n as f64 / self.events as f64);
        figures.extend([
            ("accuracy", model),
            ("no_change.accuracy", no_change),
            ("prior.accuracy", prior),
            ("kappa_t", gain(model, no_change)),
            ("kappa_m", gain(model, prior)),
            ("log_loss", self.log_loss / self.events as f64),
        ]);
        figures.extend(self.fading.get().map(|v| ("fading.accuracy", v)));
        let len = self.window.len() as f64;
        let [model, no_change, prior] = self.right_in_window.map(|n| n as f64 / len);
        figures.extend([
            ("sliding.accuracy", model),
            ("sliding.no_change.accuracy", no_change),
            ("sliding.prior.accuracy", prior),
            ("sliding.kappa_t", gain(model, no_change)),
            ("sliding.kappa_m", gain(model, prior)),
        ]);
    }

    /// The figures that take a pass over the classes and the window.
    pub(super) fn slow(
        &self,
        binary: bool,
        positive: usize,
        figures: &mut Vec<(&'static str, f64)>,
    ) {
        let mut window = vec![Counts::default(); self.classes.len()];
        let mut loss = 0.0;
        for event in &self.window {
            if let Some(counts) = window.get_mut(event.guess as usize) {
                counts.predicted += 1;
            }
            if let Some(counts) = window.get_mut(event.truth as usize) {
                counts.truth += 1;
                counts.hits += u64::from(event.right[MODEL]);
            }
            let p = f64::from(event.probability);
            loss += log_loss(if binary && event.truth == 0 { 1.0 - p } else { p });
        }
        figures.extend([
            ("kappa", kappa(&self.classes, self.right[MODEL], self.events)),
            ("macro_f1", macro_f1(&self.classes)),
            ("sliding.kappa", {
                kappa(&window, self.right_in_window[MODEL], self.window.len() as u64)
            }),
            ("sliding.macro_f1", macro_f1(&window)),
            ("sliding.log_loss", loss / self.window.len() as f64),
        ]);
        if let (2, Some(yes), Some(yes_in_window)) =
            (self.classes.len(), self.classes.get(positive), window.get(positive))
        {
            figures.extend([("f1", f1(yes)), ("sliding.f1", f1(yes_in_window))]);
        }
        figures.extend(self.auc.value().map(|v| ("auc", v)));
        if binary {
            figures.extend(self.sliding_auc().map(|v| ("sliding.auc", v)));
        }
    }

    /// The chance that in the window a yes was given a higher probability than a no, ties
    /// counting half; `None` while there are not both.
    fn sliding_auc(&self) -> Option<f64> {
        let pair = |e: &Event| (e.probability, e.truth != 0);
        let mut sorted: Vec<(f32, bool)> = self.window.iter().map(pair).collect();
        sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let (mut no, mut yes, mut area) = (0.0, 0.0, 0.0);
        for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
            let tied_yes = tied.iter().filter(|(_, truth)| *truth).count() as f64;
            let tied_no = tied.len() as f64 - tied_yes;
            area += tied_yes * (no + tied_no / 2.0);
            no += tied_no;
            yes += tied_yes;
        }
        (no > 0.0 && yes > 0.0).then(|| area / (no * yes))
    }

    /// How often each class was taken for each among the last events; of the classes from 0 to the largest number there. None if
    /// those are more than `most`.
    pub(super) fn confusion(&self, most: usize) -> Option<Confusion> {
        let classes = self.window.iter().map(|e| e.truth.max(e.guess) as usize + 1).max()?;
        if classes > most {
            return None;
        }
        let mut confusion = Confusion::new(classes.max(2));
        self.window.iter().for_each(|e| confusion.add(e.truth as usize, e.guess as usize));
        Some(confusion)
    }

    /// Of the classes that were seen, in their order.
    pub(super) fn recalls(&self) -> impl Iterator<Item = Recall> {
        let seen = self.classes.iter().enumerate().filter(|(_, c)| c.truth > 0);
        seen.map(|(class, c)| {
            let value = c.hits as f64 / c.truth as f64;
            Recall { class, events: c.truth, value }
        })
    }

    pub(super) fn headline(&self) -> [f64; 3] {
        let events = self.events as f64;
        let sliding = self.right_in_window[MODEL] as f64 / self.window.len() as f64;
        [self.right[MODEL] as f64 / events, sliding, self.right[NO_CHANGE] as f64 / events]
    }

    pub(super) fn kappa_t(&self) -> f64 {
        let [model, no_change, _] = self.right.map(|n| n as f64 / self.events as f64);
        gain(model, no_change)
    }
}

fn id(class: usize) -> u32 {
    u32::try_from(class).unwrap_or(u32::MAX)
}

/// Clamped as River does: a certain and wrong guess costs 34.5.
fn log_loss(p: f64) -> f64 {
    -p.clamp(1e-15, 1.0 - 1e-15).ln()
}

/// How much of what a baseline gets wrong is right; not finite where it gets all right.
fn gain(accuracy: f64, baseline: f64) -> f64 {
    (accuracy - baseline) / (1.0 - baseline)
}

/// Cohen's: the gain over guessing with the frequencies of the guesses.
fn kappa(classes: &[Counts], hits: u64, events: u64) -> f64 {
    let n = events as f64;
    let chance: f64 = classes.iter().map(|c| (c.truth as f64 / n) * (c.predicted as f64 / n)).sum();
    if chance == 1.0 { 0.0 } else { gain(hits as f64 / n, chance) }
}

fn f1(class: &Counts) -> f64 {
    let both = (class.truth + class.predicted) as f64;
    if both == 0.0 { 0.0 } else { 2.0 * class.hits as f64 / both }
}

fn macro_f1(classes: &[Counts]) -> f64 {
    let met = || classes.iter().filter(|c| c.truth + c.predicted > 0);
    met().map(f1).sum::<f64>() / met().count() as f64
}
