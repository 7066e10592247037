//! Sets of classes that were predicted, and the baseline's beside them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Fading;
use crate::metrics::{Auc, Counts, Mean, Score, averaged};

/// The figures of the curve.
pub(super) const CURVES: [&str; 6] = [
    "accuracy",
    "no_change.accuracy",
    "sliding.accuracy",
    "sliding.no_change.accuracy",
    "loss",
    "fading.loss",
];

/// Areas are kept of so many classes, each exact within half of one by so many shares: a few MB in all.
const MOST_AREAS: usize = 32;
const SHARES: u64 = 512;

const F1: Score = Score::FBeta(1000);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Sets {
    events: u64,
    /// Of yes and no of all classes the right ones: of the model, and of the set before.
    right: [u64; 2],
    /// Events of which all classes are right.
    exact: u64,
    classes: Vec<Counts>,
    areas: Vec<Auc>,
    fading: Fading,
    last: Vec<u32>,
    window: VecDeque<Event>,
    in_window: Vec<Counts>,
    right_in_window: [u64; 2],
    exact_in_window: u64,
}

/// One event of the window: the classes that are true, those that were predicted, and how many a set before had right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Event(Vec<u32>, Vec<u32>, u64);

impl Event {
    /// Classes of which yes or no is wrong.
    fn wrong(&self) -> u64 {
        different(&self.0, &self.1)
    }
}

/// Classes that one of two sorted sets has and the other has not.
fn different(a: &[u32], b: &[u32]) -> u64 {
    let lacks = |a: &[u32], b: &[u32]| a.iter().filter(|c| b.binary_search(c).is_err()).count();
    (lacks(a, b) + lacks(b, a)) as u64
}

impl Sets {
    pub(super) fn new(classes: usize) -> Sets {
        Sets {
            events: 0,
            right: [0; 2],
            exact: 0,
            classes: vec![Counts::default(); classes],
            areas: vec![Auc::with_shares(SHARES); if classes <= MOST_AREAS { classes } else { 0 }],
            fading: Fading::default(),
            last: Vec::new(),
            window: VecDeque::new(),
            in_window: vec![Counts::default(); classes],
            right_in_window: [0; 2],
            exact_in_window: 0,
        }
    }

    /// Scores one event by the probability of each class, and whether each is true.
    pub(super) fn add(
        &mut self,
        outputs: &[f32],
        truth: impl Fn(usize) -> bool,
        window: usize,
        fading: f64,
    ) {
        let n = self.classes.len();
        let set = |of: &dyn Fn(usize) -> bool| -> Vec<u32> {
            (0..n).filter(|&c| of(c)).map(|c| c as u32).collect()
        };
        let predicted = set(&|c| outputs.get(c).is_some_and(|p| *p > 0.5));
        let truths = set(&truth);
        let no_change = if self.events > 0 { n as u64 - different(&self.last, &truths) } else { 0 };
        for c in 0..n {
            let (is, said) = (truth(c), predicted.binary_search(&(c as u32)).is_ok());
            self.classes[c].add(is, said);
            self.in_window[c].add(is, said);
            if let Some(area) = self.areas.get_mut(c) {
                let p = outputs.get(c).copied().filter(|p| p.is_finite());
                area.add(p.unwrap_or(0.0), is);
            }
        }
        let event = Event(truths, predicted, no_change);
        let right = n as u64 - event.wrong();
        self.events += 1;
        self.fading.add(right as f64 / n as f64, fading);
        while self.window.len() >= window.max(1) {
            let Some(old) = self.window.pop_front() else { break };
            for (c, counts) in self.in_window.iter_mut().enumerate() {
                let has = |set: &[u32]| set.binary_search(&(c as u32)).is_ok();
                counts.take_away(has(&old.0), has(&old.1));
            }
            self.right_in_window[0] -= n as u64 - old.wrong();
            self.right_in_window[1] -= old.2;
            self.exact_in_window -= u64::from(old.wrong() == 0);
        }
        for right_of in [&mut self.right, &mut self.right_in_window] {
            right_of[0] += right;
            right_of[1] += event.2;
        }
        let exact = u64::from(event.wrong() == 0);
        (self.exact, self.exact_in_window) = (self.exact + exact, self.exact_in_window + exact);
        self.last.clone_from(&event.0);
        self.window.push_back(event);
    }

    /// Shares of all yes and no: of the model and of no change.
    fn shares(&self, right: [u64; 2], events: f64) -> [f64; 2] {
        right.map(|n| n as f64 / (events * self.classes.len() as f64))
    }

    pub(super) fn quick(&self, figures: &mut Vec<(&'static str, f64)>) {
        let (n, in_window) = (self.events as f64, self.window.len() as f64);
        let [model, no_change] = self.shares(self.right, n);
        let [sliding, sliding_no_change] = self.shares(self.right_in_window, in_window);
        figures.extend([
            ("accuracy", model),
            ("no_change.accuracy", no_change),
            ("sliding.accuracy", sliding),
            ("sliding.no_change.accuracy", sliding_no_change),
            ("subset_accuracy", self.exact as f64 / n),
            ("sliding.subset_accuracy", self.exact_in_window as f64 / in_window),
        ]);
        figures.extend(self.fading.get().map(|v| ("fading.accuracy", v)));
    }

    /// The figures that take a pass over the classes.
    pub(super) fn slow(&self, figures: &mut Vec<(&'static str, f64)>) {
        let f1 = |classes: &[Counts], mean| averaged(classes, F1, mean);
        figures.extend([
            ("micro_f1", f1(&self.classes, Mean::Micro)),
            ("macro_f1", f1(&self.classes, Mean::Macro)),
            ("sliding.micro_f1", f1(&self.in_window, Mean::Micro)),
            ("sliding.macro_f1", f1(&self.in_window, Mean::Macro)),
        ]);
        let areas: Vec<f64> = self.areas.iter().filter_map(Auc::value).collect();
        if !areas.is_empty() {
            figures.push(("auc", areas.iter().sum::<f64>() / areas.len() as f64));
        }
    }

    /// Over the stream, over the window, and of no change.
    pub(super) fn headline(&self) -> [f64; 3] {
        let [model, no_change] = self.shares(self.right, self.events as f64);
        let [sliding, _] = self.shares(self.right_in_window, self.window.len() as f64);
        [model, sliding, no_change]
    }

    /// Of each class that was true of an event: its events, and the share of them that was predicted.
    pub(super) fn recalls(&self) -> impl Iterator<Item = super::Recall> {
        let seen = self.classes.iter().enumerate().filter(|(_, c)| c.support > 0);
        seen.map(|(class, c)| super::Recall {
            class,
            events: c.support,
            value: c.hits as f64 / c.support as f64,
        })
    }
}
