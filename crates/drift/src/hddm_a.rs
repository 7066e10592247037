//! HDDM-A: the mean moved by more than Hoeffding's bound allows.

use crate::Signal;
use crate::mean::Mean;
use crate::spec::HddmASpec;
use serde::{Deserialize, Serialize};

/// Frias-Blanco et al. 2015, "Online and non-parametric drift detection methods based on
/// Hoeffding's bounds", the A-test.
///
/// The stream is cut where its mean plus bound was lowest (for a rise; highest minus bound for a
/// fall), and the mean at the cut is compared with the mean of everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HddmA {
    pub spec: HddmASpec,
    all: Mean,
    lowest: Mean,
    highest: Mean,
}

impl HddmA {
    pub fn new(spec: HddmASpec) -> HddmA {
        let [all, lowest, highest] = std::array::from_fn(|_| Mean::default());
        HddmA { spec, all, lowest, highest }
    }

    pub fn update(&mut self, x: f64) -> Signal {
        self.all.update(x);
        if self.all.count == 1 {
            self.lowest = self.all.clone();
            self.highest = self.all.clone();
        }
        let log = (1.0 / self.spec.drift_confidence).ln();
        let bound = |mean: &Mean| (1.0 / (2.0 * mean.n()) * log).sqrt();
        let of_all = bound(&self.all);
        if self.lowest.value + bound(&self.lowest) >= self.all.value + of_all {
            self.lowest = self.all.clone();
        }
        let (drift, warning) = (self.spec.drift_confidence, self.spec.warning_confidence);
        let rise = self.all.value - self.lowest.value;
        let mut signal = self.compared(rise, &self.lowest, drift, warning);
        if self.spec.two_sided_test {
            if self.highest.value - bound(&self.highest) <= self.all.value - of_all {
                self.highest = self.all.clone();
            }
            let fall = self.highest.value - self.all.value;
            signal = signal.max(self.compared(fall, &self.highest, drift, warning));
        }
        signal
    }

    /// Whether a difference of means is beyond what chance does, given the part up to the cut.
    fn compared(&self, difference: f64, cut: &Mean, drift: f64, warning: f64) -> Signal {
        if cut.count == self.all.count {
            return Signal::None;
        }
        let m = (self.all.n() - cut.n()) / cut.n() * (1.0 / self.all.n());
        let beyond = |confidence: f64| difference >= (m / 2.0 * (2.0 / confidence).ln()).sqrt();
        if beyond(drift) {
            Signal::Drift
        } else if beyond(warning) {
            Signal::Warning
        } else {
            Signal::None
        }
    }

    pub fn reset(&mut self) {
        *self = HddmA::new(self.spec.clone());
    }
}
