//! The confusion matrix and what follows from it.

use serde::{Deserialize, Serialize};

/// Counts of true against predicted classes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    num_classes: usize,
    /// `[num_classes, num_classes]`: true class by predicted class.
    counts: Vec<u64>,
}

/// What is averaged over classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// Right among those predicted as the class.
    Precision,
    /// Found among those of the class.
    Recall,
    /// Their weighted harmonic mean, with beta in thousandths.
    FBeta(u32),
}

/// How a score is averaged over classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mean {
    /// That of one class.
    Class(usize),
    /// The mean over classes.
    Macro,
    /// The same, weighted by their samples.
    Weighted,
    /// Over all samples together.
    Micro,
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

/// Precision, recall or F-beta of a class; a division by zero gives 0.
pub(super) fn score(score: Score, hits: u64, predicted: u64, support: u64) -> f64 {
    let ratio = |a: f64, b: f64| if b == 0.0 { 0.0 } else { a / b };
    let [hits, predicted, support] = [hits, predicted, support].map(|n| n as f64);
    match score {
        Score::Precision => ratio(hits, predicted),
        Score::Recall => ratio(hits, support),
        Score::FBeta(thousandths) => {
            let square = (f64::from(thousandths) / 1000.0).powi(2);
            ratio((1.0 + square) * hits, square * support + predicted)
        }
    }
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

    /// The score of one class, or averaged over the classes that were seen or predicted, as scikit-learn does.
    pub(super) fn averaged(&self, score: Score, mean: Mean) -> f64 {
        let own = |class: usize| {
            let (support, predicted) = (self.support(class), self.predicted(class));
            (self::score(score, self.count(class, class), predicted, support), support, predicted)
        };
        let classes = (0..self.num_classes).map(own).filter(|(_, s, p)| s + p > 0);
        match mean {
            Mean::Class(class) => own(class).0,
            Mean::Macro => {
                let (sum, n) = classes.fold((0.0, 0.0), |(sum, n), (own, ..)| (sum + own, n + 1.0));
                if n == 0.0 { 0.0 } else { sum / n }
            }
            Mean::Weighted => {
                let (sum, n) = classes.fold((0.0, 0.0), |(sum, n), (own, support, _)| {
                    (sum + own * support as f64, n + support as f64)
                });
                if n == 0.0 { 0.0 } else { sum / n }
            }
            Mean::Micro => {
                let hits = (0..self.num_classes).map(|class| self.count(class, class)).sum();
                self::score(score, hits, self.total(), self.total())
            }
        }
    }

    /// The mean recall of the classes that were seen.
    pub(super) fn balanced_accuracy(&self) -> f64 {
        let seen = (0..self.num_classes).filter(|&class| self.support(class) > 0);
        let (sum, n) =
            seen.fold((0.0, 0.0), |(sum, n), c| (sum + self.of_class(c).recall, n + 1.0));
        sum / n
    }

    /// Of all samples the share that is right, the sum over classes of the product of support and predictions as a
    /// share of all squared, and those of the squares of either.
    fn agreement(&self) -> [f64; 4] {
        let n = self.total() as f64;
        let mut sums = [0.0; 4];
        for class in 0..self.num_classes {
            let (t, p) = (self.support(class) as f64 / n, self.predicted(class) as f64 / n);
            let own = [self.count(class, class) as f64 / n, t * p, t * t, p * p];
            sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
        }
        sums
    }

    /// Cohen's kappa: how much more often predictions are right than by chance.
    pub(super) fn kappa(&self) -> f64 {
        let [right, chance, ..] = self.agreement();
        (right - chance) / (1.0 - chance)
    }

    /// Matthews' correlation coefficient (Gorodkin's, of several classes); 0 where all samples or predictions are of one class.
    pub(super) fn matthews(&self) -> f64 {
        let [right, chance, truths, guesses] = self.agreement();
        let spread = (1.0 - truths) * (1.0 - guesses);
        if spread <= 0.0 { 0.0 } else { (right - chance) / spread.sqrt() }
    }

    /// Counts what another one of as many classes has counted.
    pub(crate) fn merge(&mut self, other: &Confusion) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(to, from)| *to += from);
    }

    pub(crate) fn reset(&mut self) {
        self.counts.fill(0);
    }
}
