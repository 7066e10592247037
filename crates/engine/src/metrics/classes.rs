//! The confusion matrix and what follows from it.

use serde::{Deserialize, Serialize};

/// Counts of true against predicted classes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    num_classes: usize,
    /// `[num_classes, num_classes]`: true class by predicted class.
    counts: Vec<u64>,
}

/// Precision, recall and F1 of a class, or their mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassFigures {
    /// Right among those predicted as the class.
    pub precision: f64,
    /// Found among those of the class.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
    /// Samples of the class.
    pub support: u64,
}

impl Confusion {
    /// An empty matrix.
    pub fn new(num_classes: usize) -> Confusion {
        Confusion { num_classes, counts: vec![0; num_classes * num_classes] }
    }

    /// Counts one sample; a class beyond the matrix is not counted.
    pub fn add(&mut self, truth: usize, predicted: usize) {
        if truth < self.num_classes && predicted < self.num_classes {
            self.counts[truth * self.num_classes + predicted] += 1;
        }
    }

    /// The number of classes.
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// Samples of class `truth` that were predicted as `predicted`.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[truth * self.num_classes + predicted]
    }

    /// Samples counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Samples of a class.
    pub fn support(&self, class: usize) -> u64 {
        (0..self.num_classes).map(|p| self.count(class, p)).sum()
    }

    /// Samples predicted as a class.
    pub fn predicted(&self, class: usize) -> u64 {
        (0..self.num_classes).map(|t| self.count(t, class)).sum()
    }

    /// The figures of one class; a division by zero gives 0, as scikit-learn's default does.
    pub fn of_class(&self, class: usize) -> ClassFigures {
        let hits = self.count(class, class) as f64;
        let (support, predicted) = (self.support(class), self.predicted(class));
        let ratio = |a: f64, b: f64| if b == 0.0 { 0.0 } else { a / b };
        ClassFigures {
            precision: ratio(hits, predicted as f64),
            recall: ratio(hits, support as f64),
            f1: ratio(2.0 * hits, (support + predicted) as f64),
            support,
        }
    }

    /// The mean over the classes that were seen or predicted, as scikit-learn's `macro`.
    pub fn macro_mean(&self) -> ClassFigures {
        let mut sum = ClassFigures::default();
        let mut classes = 0.0;
        for class in 0..self.num_classes {
            if self.support(class) + self.predicted(class) == 0 {
                continue;
            }
            let one = self.of_class(class);
            sum.precision += one.precision;
            sum.recall += one.recall;
            sum.f1 += one.f1;
            sum.support += one.support;
            classes += 1.0;
        }
        if classes > 0.0 {
            sum.precision /= classes;
            sum.recall /= classes;
            sum.f1 /= classes;
        }
        sum
    }

    /// Counts what another one of as many classes has counted.
    pub(crate) fn merge(&mut self, other: &Confusion) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(to, from)| *to += from);
    }

    pub(crate) fn reset(&mut self) {
        self.counts.fill(0);
    }
}
