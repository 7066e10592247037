//! DDM: the error rate rose above its best.

use crate::mean::Mean;
use crate::spec::DdmSpec;
use crate::{Signal, bits};
use serde::{Deserialize, Serialize};

/// Gama, Medas, Castillo and Rodrigues 2004, "Learning with drift detection".
///
/// A model that learns from a stream that stays the same errs less and less. With `p` the error
/// rate and `s` its standard deviation, the smallest `p + s` is kept; a later `p + s` that is
/// `drift_threshold` such deviations above that `p` is a drift.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ddm {
    pub spec: DdmSpec,
    rate: Mean,
    #[serde(with = "bits")]
    p_min: f64,
    #[serde(with = "bits")]
    s_min: f64,
}

impl Ddm {
    pub fn new(spec: DdmSpec) -> Ddm {
        Ddm { spec, rate: Mean::default(), p_min: f64::INFINITY, s_min: f64::INFINITY }
    }

    pub fn update(&mut self, error: f64) -> Signal {
        self.rate.update(error);
        if self.rate.count <= self.spec.warm_start {
            return Signal::None;
        }
        let p = self.rate.value;
        let s = (p * (1.0 - p) / self.rate.n()).sqrt();
        if p + s <= self.p_min + self.s_min {
            (self.p_min, self.s_min) = (p, s);
        }
        let above = |deviations: f64| p + s > self.p_min + deviations * self.s_min;
        if above(self.spec.drift_threshold) {
            Signal::Drift
        } else if above(self.spec.warning_threshold) {
            Signal::Warning
        } else {
            Signal::None
        }
    }

    pub fn reset(&mut self) {
        *self = Ddm::new(self.spec.clone());
    }
}
