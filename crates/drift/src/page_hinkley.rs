//! Page-Hinkley: the deviations from the mean add up.

use crate::mean::Mean;
use crate::spec::{Direction, PageHinkleySpec};
use crate::{Signal, bits};
use serde::{Deserialize, Serialize};

/// Page 1954, "Continuous inspection schemes"; the test of Hinkley 1971 for a mean that moved.
///
/// Deviations from the running mean, less `delta`, are summed up and slowly forgotten (`alpha`).
/// A sum that is `threshold` above its smallest value is a rise; the mirror image is a fall.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PageHinkley {
    pub spec: PageHinkleySpec,
    mean: Mean,
    #[serde(with = "bits")]
    rise: f64,
    #[serde(with = "bits")]
    rise_min: f64,
    #[serde(with = "bits")]
    fall: f64,
    #[serde(with = "bits")]
    fall_max: f64,
}

impl PageHinkley {
    pub fn new(spec: PageHinkleySpec) -> PageHinkley {
        PageHinkley {
            spec,
            mean: Mean::default(),
            rise: 0.0,
            rise_min: f64::INFINITY,
            fall: 0.0,
            // Not minus infinity: a stream that falls from its start is measured from here. River's.
            fall_max: -1.0,
        }
    }

    pub fn update(&mut self, x: f64) -> Signal {
        let PageHinkleySpec { min_instances, delta, threshold, alpha, mode } = self.spec;
        self.mean.update(x);
        let deviation = x - self.mean.value;
        self.rise = alpha * self.rise + deviation - delta;
        self.fall = alpha * self.fall + deviation + delta;
        self.rise_min = self.rise_min.min(self.rise);
        self.fall_max = self.fall_max.max(self.fall);
        if self.mean.count < min_instances {
            return Signal::None;
        }
        let rose = mode != Direction::Down && self.rise - self.rise_min > threshold;
        let fell = mode != Direction::Up && self.fall_max - self.fall > threshold;
        if rose || fell { Signal::Drift } else { Signal::None }
    }

    pub fn reset(&mut self) {
        *self = PageHinkley::new(self.spec.clone());
    }
}
