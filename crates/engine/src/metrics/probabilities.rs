//! Figures of probabilities: how good they are, not only which is the greatest.

use serde::{Deserialize, Serialize};

use super::auc::Auc;
use super::drawn::{Calibration, CalibrationBin, RocCurve};

/// Bins of the calibration error.
const BINS: usize = 15;

/// Summaries of scores for all classes together; each has at least a hundredth of this.
const ALL_SHARES: u64 = 1 << 17;

/// Sums over predictions, and the scores of each class where asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Probabilities {
    samples: u64,
    log_loss: f64,
    brier: f64,
    /// By the probability of the predicted class: predictions, sum of the probabilities, right ones.
    bins: Vec<(u64, f64, u64)>,
    /// Of each class against all others; one of the positive class for yes or no; of sets that of yes and no for each class.
    curves: Vec<Auc>,
}

impl Probabilities {
    /// For so many classes, 2 for yes or no; with curves only where areas are wanted.
    pub(super) fn new(classes: usize, curves: bool) -> Probabilities {
        // A thousand classes take 18 MB, and their areas are exact within 1/512.
        let shares = (ALL_SHARES / classes.max(1) as u64).clamp(256, 4096);
        let number = match (curves, classes) {
            (false, _) => 0,
            (true, 2) => 1,
            (true, n) => n,
        };
        Probabilities::with_curves(number, shares)
    }

    /// The same for a yes or no for each of so many classes.
    pub(super) fn of_sets(classes: usize, curves: bool) -> Probabilities {
        let shares = (ALL_SHARES / classes.max(1) as u64).clamp(256, 4096);
        Probabilities::with_curves(if curves { classes } else { 0 }, shares)
    }

    fn with_curves(number: usize, shares: u64) -> Probabilities {
        let curves = (0..number).map(|_| Auc::with_shares(shares)).collect();
        Probabilities {
            samples: 0,
            log_loss: 0.0,
            brier: 0.0,
            bins: vec![(0, 0.0, 0); BINS],
            curves,
        }
    }

    /// Counts the logits of one sample of a class.
    pub(super) fn add_class(&mut self, logits: &[f32], truth: usize) {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exp = |&logit: &f32| (f64::from(logit) - f64::from(most)).exp();
        let total: f64 = logits.iter().map(exp).sum();
        let of_two = self.curves.len() == 1;
        let (mut brier, mut top, mut predicted) = (0.0, -1.0, 0);
        for (class, logit) in logits.iter().enumerate() {
            let p = exp(logit) / total;
            let is = class == truth;
            brier += (p - f64::from(u8::from(is))).powi(2);
            if p > top {
                (top, predicted) = (p, class);
            }
            if let Some(curve) = self.curves.get_mut(class).filter(|_| !of_two) {
                curve.add(p as f32, is);
            }
        }
        if let ([curve], [no, yes]) = (&mut self.curves[..], logits) {
            curve.add(yes - no, truth == 1);
        }
        let own =
            logits.get(truth).map_or(f64::NAN, |l| total.ln() - (f64::from(*l) - f64::from(most)));
        // That of two classes is the error of one, as scikit-learn has it.
        let brier = if logits.len() == 2 { brier / 2.0 } else { brier };
        self.count(own, brier, top, predicted == truth);
    }

    /// Counts the logit of a yes or no, that of class `class` of a set.
    pub(super) fn add_binary(&mut self, class: usize, logit: f32, truth: bool) {
        let logit_of_truth = f64::from(if truth { logit } else { -logit });
        let p = 1.0 / (1.0 + (-f64::from(logit)).exp());
        let loss = (-logit_of_truth).max(0.0) + (-logit_of_truth.abs()).exp().ln_1p();
        let brier = (p - f64::from(u8::from(truth))).powi(2);
        self.count(loss, brier, p.max(1.0 - p), (logit > 0.0) == truth);
        if let Some(curve) = self.curves.get_mut(class) {
            curve.add(logit, truth);
        }
    }

    fn count(&mut self, loss: f64, brier: f64, top: f64, right: bool) {
        self.samples += 1;
        self.log_loss += loss;
        self.brier += brier;
        let bin = ((top * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        let (count, sum, hits) = &mut self.bins[bin];
        *count += 1;
        *sum += top;
        *hits += u64::from(right);
    }

    /// The mean of `-ln p` of the truths.
    pub(super) fn log_loss(&self) -> f64 {
        self.log_loss / self.samples as f64
    }

    /// The mean squared error of the probabilities: of all classes summed, of two those of one.
    pub(super) fn brier(&self) -> f64 {
        self.brier / self.samples as f64
    }

    /// The expected calibration error of the predicted classes, in 15 bins of the same width (Guo et al. 2017).
    pub(super) fn calibration_error(&self) -> f64 {
        let gap = |&(_, sum, hits): &(u64, f64, u64)| (sum - hits as f64).abs();
        self.bins.iter().map(gap).sum::<f64>() / self.samples as f64
    }

    /// What that error is made of.
    pub(super) fn calibration(&self) -> Calibration {
        let bin = |&(count, sum, hits): &(u64, f64, u64)| {
            let n = count.max(1) as f64;
            CalibrationBin { count, probability: sum / n, right: hits as f64 / n }
        };
        Calibration { error: self.calibration_error(), bins: self.bins.iter().map(bin).collect() }
    }

    /// The ROC curves of the classes of which, and of whose others, samples were seen. Of two classes that of the second.
    pub(super) fn roc_curves(&self) -> Vec<RocCurve> {
        let first = usize::from(self.curves.len() == 1);
        let one = |(i, auc): (usize, &Auc)| {
            Some(RocCurve {
                class: first + i,
                area: auc.value()?,
                average_precision: auc.average_precision()?,
                points: auc.curve()?,
            })
        };
        self.curves.iter().enumerate().filter_map(one).collect()
    }

    /// The area under the ROC curve; of several classes the mean of each against the others, over those that were seen.
    pub(super) fn roc_auc(&self) -> Option<f64> {
        self.mean_of(Auc::value)
    }

    /// The mean precision from the greatest score down, averaged like the area.
    pub(super) fn average_precision(&self) -> Option<f64> {
        self.mean_of(Auc::average_precision)
    }

    fn mean_of(&self, of: impl Fn(&Auc) -> Option<f64>) -> Option<f64> {
        let known: Vec<f64> = self.curves.iter().filter_map(of).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    pub(super) fn merge(&mut self, other: &Probabilities) {
        self.samples += other.samples;
        self.log_loss += other.log_loss;
        self.brier += other.brier;
        for (to, from) in self.bins.iter_mut().zip(&other.bins) {
            *to = (to.0 + from.0, to.1 + from.1, to.2 + from.2);
        }
        self.curves.iter_mut().zip(&other.curves).for_each(|(to, from)| to.merge(from));
    }

    pub(super) fn reset(&mut self) {
        (self.samples, self.log_loss, self.brier) = (0, 0.0, 0.0);
        self.bins.fill((0, 0.0, 0));
        self.curves.iter_mut().for_each(Auc::reset);
    }
}
