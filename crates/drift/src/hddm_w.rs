//! HDDM-W: the fading mean moved by more than McDiarmid's bound allows.

use crate::spec::HddmWSpec;
use crate::{Signal, bits};
use serde::{Deserialize, Serialize};

/// A fading mean, and the factor by which its bound depends on the weights of the values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Fading {
    #[serde(with = "bits")]
    mean: f64,
    /// The sum of the squared weights; 1 before the first value.
    #[serde(with = "bits")]
    squared_weights: f64,
    is_empty: bool,
}

impl Fading {
    const EMPTY: Fading = Fading { mean: 0.0, squared_weights: 1.0, is_empty: true };

    fn update(&mut self, x: f64, lambda: f64) {
        self.mean = if self.is_empty { x } else { lambda * x + (1.0 - lambda) * self.mean };
        let kept = (1.0 - lambda) * (1.0 - lambda);
        self.squared_weights = lambda * lambda + kept * self.squared_weights;
        self.is_empty = false;
    }
}

/// One direction of the test: the fading mean at the cut, and that of the values since.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Side {
    before: Fading,
    since: Fading,
    /// The extreme of mean and bound, at which the stream is cut.
    #[serde(with = "bits")]
    cut: f64,
}

impl Side {
    fn new() -> Side {
        Side { before: Fading::EMPTY, since: Fading::EMPTY, cut: f64::INFINITY }
    }

    /// `mean` is the fading mean of all values; the sign of a fall is turned by the caller, so
    /// that both directions look for a rise.
    fn update(&mut self, x: f64, all: &Fading, edge: f64, lambda: f64) {
        if edge < self.cut {
            self.cut = edge;
            self.before = all.clone();
            self.since = Fading::EMPTY;
        } else {
            self.since.update(x, lambda);
        }
    }

    fn compared(&self, sign: f64, drift: f64, warning: f64) -> Signal {
        if self.before.is_empty || self.since.is_empty {
            return Signal::None;
        }
        let squares = self.before.squared_weights + self.since.squared_weights;
        let rise = sign * (self.since.mean - self.before.mean);
        if rise > bound(squares, drift) {
            Signal::Drift
        } else if rise > bound(squares, warning) {
            Signal::Warning
        } else {
            Signal::None
        }
    }
}

/// McDiarmid's, for a weighted sum of values in [0, 1].
fn bound(squared_weights: f64, confidence: f64) -> f64 {
    (squared_weights * (1.0 / confidence).ln() / 2.0).sqrt()
}

/// Frias-Blanco et al. 2015, "Online and non-parametric drift detection methods based on
/// Hoeffding's bounds", the W-test: recent values count more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HddmW {
    pub spec: HddmWSpec,
    all: Fading,
    rise: Side,
    fall: Side,
}

impl HddmW {
    pub fn new(spec: HddmWSpec) -> HddmW {
        HddmW { spec, all: Fading::EMPTY, rise: Side::new(), fall: Side::new() }
    }

    pub fn update(&mut self, x: f64) -> Signal {
        let HddmWSpec { drift_confidence, warning_confidence, lambda_val, two_sided_test } =
            self.spec;
        self.all.update(x, lambda_val);
        let margin = bound(self.all.squared_weights, drift_confidence);
        self.rise.update(x, &self.all, self.all.mean + margin, lambda_val);
        let mut signal = self.rise.compared(1.0, drift_confidence, warning_confidence);
        if two_sided_test {
            self.fall.update(x, &self.all, margin - self.all.mean, lambda_val);
            signal = signal.max(self.fall.compared(-1.0, drift_confidence, warning_confidence));
        }
        signal
    }

    pub fn reset(&mut self) {
        *self = HddmW::new(self.spec.clone());
    }
}
