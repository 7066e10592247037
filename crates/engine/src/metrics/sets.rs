//! Figures of labels that are sets: a yes or no for each of several classes.

use serde::{Deserialize, Serialize};

use super::classes::{ClassFigures, Mean, Score, score};

/// Counts of yes and no for each class, and of the samples for which all are right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sets {
    samples: u64,
    /// Samples of which every class is right.
    exact: u64,
    classes: Vec<Counts>,
}

/// Counts of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) hits: u64,
    pub(crate) predicted: u64,
    pub(crate) support: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, truth: bool, predicted: bool) {
        self.hits += u64::from(truth && predicted);
        self.predicted += u64::from(predicted);
        self.support += u64::from(truth);
    }

    pub(crate) fn take_away(&mut self, truth: bool, predicted: bool) {
        self.hits -= u64::from(truth && predicted);
        self.predicted -= u64::from(predicted);
        self.support -= u64::from(truth);
    }

    fn join(&mut self, other: &Counts) {
        self.hits += other.hits;
        self.predicted += other.predicted;
        self.support += other.support;
    }

    fn score(&self, of: Score) -> f64 {
        score(of, self.hits, self.predicted, self.support)
    }
}

/// The score averaged over classes as scikit-learn does for sets: over all of them, also those without a sample.
pub(crate) fn averaged(classes: &[Counts], of: Score, mean: Mean) -> f64 {
    let weighted = |weight: &dyn Fn(&Counts) -> f64| {
        let (sum, n) = classes.iter().fold((0.0, 0.0), |(sum, n), c| {
            let weight = weight(c);
            (sum + weight * c.score(of), n + weight)
        });
        if n == 0.0 { 0.0 } else { sum / n }
    };
    match mean {
        Mean::Class(class) => classes.get(class).map_or(0.0, |c| c.score(of)),
        Mean::Macro => weighted(&|_| 1.0),
        Mean::Weighted => weighted(&|c| c.support as f64),
        Mean::Micro => {
            let mut all = Counts::default();
            classes.iter().for_each(|c| all.join(c));
            all.score(of)
        }
    }
}

impl Sets {
    pub(super) fn new(classes: usize) -> Sets {
        Sets { samples: 0, exact: 0, classes: vec![Counts::default(); classes] }
    }

    /// Counts one sample: for each class whether it is true, and whether it was predicted.
    pub(super) fn add(&mut self, sample: impl Iterator<Item = (bool, bool)>) {
        let mut exact = true;
        for (counts, (truth, predicted)) in self.classes.iter_mut().zip(sample) {
            counts.add(truth, predicted);
            exact &= truth == predicted;
        }
        self.samples += 1;
        self.exact += u64::from(exact);
    }

    /// The number of classes.
    pub fn num_classes(&self) -> usize {
        self.classes.len()
    }

    /// The figures of one class; a division by zero gives 0.
    pub fn of_class(&self, class: usize) -> ClassFigures {
        self.figures(Mean::Class(class), self.classes[class].support)
    }

    /// Their mean over all classes.
    pub fn macro_mean(&self) -> ClassFigures {
        self.figures(Mean::Macro, self.classes.iter().map(|c| c.support).sum())
    }

    fn figures(&self, mean: Mean, support: u64) -> ClassFigures {
        let [precision, recall, f1] = [Score::Precision, Score::Recall, Score::FBeta(1000)]
            .map(|score| averaged(&self.classes, score, mean));
        ClassFigures { precision, recall, f1, support }
    }

    pub(super) fn averaged(&self, score: Score, mean: Mean) -> f64 {
        averaged(&self.classes, score, mean)
    }

    /// The share of samples of which every class is right.
    pub(super) fn subset_accuracy(&self) -> f64 {
        self.exact as f64 / self.samples as f64
    }

    pub(super) fn merge(&mut self, other: &Sets) {
        self.samples += other.samples;
        self.exact += other.exact;
        self.classes.iter_mut().zip(&other.classes).for_each(|(to, from)| to.join(from));
    }

    pub(super) fn reset(&mut self) {
        (self.samples, self.exact) = (0, 0);
        self.classes.fill(Counts::default());
    }
}
