//! EDDM: errors come closer together.

use crate::mean::Variance;
use crate::spec::EddmSpec;
use crate::{Signal, bits};
use serde::{Deserialize, Serialize};

/// Baena-Garcia et al. 2006, "Early drift detection method".
///
/// Watches the distance between two errors, in events: its mean plus two standard deviations,
/// relative to the largest such sum. Slow drifts show there earlier than in the error rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Eddm {
    pub spec: EddmSpec,
    distance: Variance,
    events: u64,
    last_error: u64,
    #[serde(with = "bits")]
    largest: f64,
    /// The warning stays from one error to the next.
    warning: bool,
}

impl Eddm {
    pub fn new(spec: EddmSpec) -> Eddm {
        let distance = Variance::default();
        Eddm { spec, distance, events: 0, last_error: 0, largest: -1.0, warning: false }
    }

    pub fn update(&mut self, error: f64) -> Signal {
        self.events += 1;
        if error == 1.0 && self.is_drift() {
            return Signal::Drift;
        }
        if self.warning { Signal::Warning } else { Signal::None }
    }

    /// Takes in an error at this event.
    fn is_drift(&mut self) -> bool {
        self.distance.update(self.events.saturating_sub(self.last_error) as f64);
        self.last_error = self.events;
        if self.events <= self.spec.warm_start {
            return false;
        }
        let sum = self.distance.mean.value + 2.0 * self.distance.value().sqrt();
        if sum > self.largest {
            // A new maximum says nothing about a warning: an earlier one stays.
            self.largest = sum;
            return false;
        }
        if self.distance.mean.count <= self.spec.warm_start {
            return false;
        }
        let level = sum / self.largest;
        if level < self.spec.beta {
            return true;
        }
        self.warning = level < self.spec.alpha;
        false
    }

    pub fn reset(&mut self) {
        *self = Eddm::new(self.spec.clone());
    }
}
