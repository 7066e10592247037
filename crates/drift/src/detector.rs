//! One type for all detectors.

use crate::adwin::Adwin;
use crate::ddm::Ddm;
use crate::eddm::Eddm;
use crate::hddm_a::HddmA;
use crate::hddm_w::HddmW;
use crate::kswin::Kswin;
use crate::page_hinkley::PageHinkley;
use crate::spec::{DetectorSpec, SpecError};
use serde::{Deserialize, Serialize};

/// What a detector says after a value. Of a warning and a drift at once, the drift is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Nothing to report.
    #[default]
    None,
    /// There may be a drift soon. ADWIN, KSWIN and Page-Hinkley never say this.
    Warning,
    /// The stream is another one now. The detector starts anew with the next value.
    Drift,
}

/// A mean that moved, in the unit of the values. Where the change was is known to a bucket, so a few
/// of the values that `after` is the mean of may be older.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Mean before.
    pub before: f64,
    /// Mean after.
    pub after: f64,
}

/// Numbers of a larger magnitude are rejected: their squares and the sums of those might overflow,
/// and a detector would be deaf from then on.
pub const LARGEST_VALUE: f64 = 1e100;

/// A drift detector with its state, which serde saves and restores to the same bits: a restored
/// detector gives the alarms that the saved one would have given. The state's floats are saved as
/// their bits; the parameters are saved as numbers, which the format must read exactly (`serde_json`
/// does with its feature `float_roundtrip`). A state that cannot be one is refused when it is read.
///
/// **Rejected values.** NaN, infinities and magnitudes above [`LARGEST_VALUE`] are rejected by every
/// detector, and values outside [0, 1] by DDM, EDDM, HDDM-A and HDDM-W (to which 1 is an error and 0
/// is none; to EDDM all below 1 is none). A rejected value changes nothing but
/// [`Detector::rejected`] and gives [`Signal::None`].
///
/// ```
/// use tidemill_drift::{DetectorSpec, Detector, Signal};
/// let mut detector = Detector::new(DetectorSpec::Adwin(Default::default())).unwrap();
/// let moved = (0..2000).find(|&i| detector.update(if i < 1000 { 0.2 } else { 0.8 }) == Signal::Drift);
/// assert_eq!(moved, Some(1023));
/// assert!((detector.change().unwrap().after - 0.8).abs() < 1e-9);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
pub struct Detector {
    state: State,
    last: Signal,
    rejected: u64,
}

/// Each holds its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Adwin(Adwin),
    Ddm(Ddm),
    Eddm(Eddm),
    HddmA(HddmA),
    HddmW(HddmW),
    Kswin(Kswin),
    PageHinkley(PageHinkley),
}

impl Detector {
    /// A detector that has seen nothing; fails if a parameter makes no sense.
    pub fn new(spec: DetectorSpec) -> Result<Detector, SpecError> {
        spec.check()?;
        let state = match spec {
            DetectorSpec::Adwin(spec) => State::Adwin(Adwin::new(spec)),
            DetectorSpec::Ddm(spec) => State::Ddm(Ddm::new(spec)),
            DetectorSpec::Eddm(spec) => State::Eddm(Eddm::new(spec)),
            DetectorSpec::HddmA(spec) => State::HddmA(HddmA::new(spec)),
            DetectorSpec::HddmW(spec) => State::HddmW(HddmW::new(spec)),
            DetectorSpec::Kswin(spec) => State::Kswin(Kswin::new(spec)),
            DetectorSpec::PageHinkley(spec) => State::PageHinkley(PageHinkley::new(spec)),
        };
        Ok(Detector { state, last: Signal::None, rejected: 0 })
    }

    /// Takes in the next value of the stream.
    pub fn update(&mut self, value: f64) -> Signal {
        if !self.accepts(value) {
            self.rejected += 1;
            return Signal::None;
        }
        if self.last == Signal::Drift {
            self.reset();
        }
        self.last = match &mut self.state {
            State::Adwin(d) => d.update(value),
            State::Ddm(d) => d.update(value),
            State::Eddm(d) => d.update(value),
            State::HddmA(d) => d.update(value),
            State::HddmW(d) => d.update(value),
            State::Kswin(d) => d.update(value),
            State::PageHinkley(d) => d.update(value),
        };
        self.last
    }

    fn accepts(&self, value: f64) -> bool {
        match &self.state {
            State::Adwin(_) | State::Kswin(_) | State::PageHinkley(_) => {
                value.abs() <= LARGEST_VALUE
            }
            _ => (0.0..=1.0).contains(&value),
        }
    }

    /// Forgets the stream. The count of rejected values stays.
    pub fn reset(&mut self) {
        self.last = Signal::None;
        match &mut self.state {
            State::Adwin(d) => d.reset(),
            State::Ddm(d) => d.reset(),
            State::Eddm(d) => d.reset(),
            State::HddmA(d) => d.reset(),
            State::HddmW(d) => d.reset(),
            State::Kswin(d) => d.reset(),
            State::PageHinkley(d) => d.reset(),
        }
    }

    /// The parameters.
    pub fn spec(&self) -> DetectorSpec {
        match &self.state {
            State::Adwin(d) => DetectorSpec::Adwin(d.spec.clone()),
            State::Ddm(d) => DetectorSpec::Ddm(d.spec.clone()),
            State::Eddm(d) => DetectorSpec::Eddm(d.spec.clone()),
            State::HddmA(d) => DetectorSpec::HddmA(d.spec.clone()),
            State::HddmW(d) => DetectorSpec::HddmW(d.spec.clone()),
            State::Kswin(d) => DetectorSpec::Kswin(d.spec.clone()),
            State::PageHinkley(d) => DetectorSpec::PageHinkley(d.spec.clone()),
        }
    }

    /// The signal of the last value that was not rejected.
    pub fn last(&self) -> Signal {
        self.last
    }

    /// Values that were rejected.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// After a drift and before the next value, the means before and after the change. Only ADWIN
    /// knows them; `None` from the others.
    pub fn change(&self) -> Option<Change> {
        match &self.state {
            State::Adwin(d) if self.last == Signal::Drift => Some(d.change()),
            _ => None,
        }
    }

    /// Values in ADWIN's window, and their mean; `None` from the others.
    pub fn window(&self) -> Option<(u64, f64)> {
        match &self.state {
            State::Adwin(d) => Some(d.window()),
            _ => None,
        }
    }
}

/// A detector as it was read, before anything relies on it.
#[derive(Deserialize)]
struct Saved {
    state: State,
    last: Signal,
    rejected: u64,
}

impl TryFrom<Saved> for Detector {
    type Error = String;

    fn try_from(saved: Saved) -> Result<Detector, String> {
        let Saved { state, last, rejected } = saved;
        let detector = Detector { state, last, rejected };
        detector.spec().check().map_err(|error| error.to_string())?;
        let is_sound = match &detector.state {
            State::Adwin(d) => d.is_sound(),
            State::Kswin(d) => d.is_sound(),
            _ => true,
        };
        let damaged = "the state of a drift detector is damaged; start from an earlier checkpoint";
        if is_sound { Ok(detector) } else { Err(damaged.to_owned()) }
    }
}
