//! Detectors as a recipe names them: `{ adwin = { delta = 0.002 } }`. Every field has a default,
//! and the defaults are those of River 0.26.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A drift detector with its parameters. The defaults are those of River 0.26.
///
/// ```
/// # #[derive(serde::Deserialize)] struct Recipe { drift: tidemill_drift::DetectorSpec }
/// let recipe: Recipe = toml::from_str("drift = { ddm = { warm_start = 100 } }").unwrap();
/// assert!(recipe.drift.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DetectorSpec {
    /// ADWIN: an adaptive window, cut where its mean changed (Bifet and Gavalda 2007). For any
    /// values.
    Adwin(AdwinSpec),
    /// DDM: alarms when the error rate rises above its best value (Gama et al. 2004). For classes.
    Ddm(DdmSpec),
    /// EDDM: alarms when errors come closer together (Baena-Garcia et al. 2006). For classes.
    Eddm(EddmSpec),
    /// HDDM-A: alarms when the mean moves beyond Hoeffding's bound (Frias-Blanco et al. 2015). For
    /// classes.
    HddmA(HddmASpec),
    /// HDDM-W: the same with a weighted mean and McDiarmid's bound. For classes.
    HddmW(HddmWSpec),
    /// KSWIN: a Kolmogorov-Smirnov test of the newest values (Raab et al. 2020). For any values.
    Kswin(KswinSpec),
    /// Page-Hinkley: alarms when deviations from the mean add up (Page 1954). For any values.
    PageHinkley(PageHinkleySpec),
}

/// Parameters of ADWIN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdwinSpec {
    /// Probability of a false alarm at one check, in (0, 1). Default: 0.002.
    pub delta: f64,
    /// Number of values between two checks. Default: 32.
    pub clock: u64,
    /// Number of buckets of one size before two are merged, 2 to 1,000. Default: 5.
    pub max_buckets: usize,
    /// Minimum number of values on each side of a cut, at least 1. Default: 5.
    pub min_window_length: u64,
    /// Number of values before the first check. Default: 10.
    pub grace_period: u64,
    /// Whether the bound is scaled to the range of the values (six standard deviations of the
    /// window), so that their unit does not matter; otherwise values must span at most 1. Not in
    /// River. Default: false.
    pub any_scale: bool,
}

impl Default for AdwinSpec {
    fn default() -> AdwinSpec {
        AdwinSpec {
            delta: 0.002,
            clock: 32,
            max_buckets: 5,
            min_window_length: 5,
            grace_period: 10,
            any_scale: false,
        }
    }
}

/// Parameters of DDM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DdmSpec {
    /// Number of events before the first decision. Default: 30.
    pub warm_start: u64,
    /// Standard deviations above the best value that count as a warning. Default: 2.
    pub warning_threshold: f64,
    /// Standard deviations above the best value that count as drift. Default: 3.
    pub drift_threshold: f64,
}

impl Default for DdmSpec {
    fn default() -> DdmSpec {
        DdmSpec { warm_start: 30, warning_threshold: 2.0, drift_threshold: 3.0 }
    }
}

/// Parameters of EDDM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EddmSpec {
    /// Number of errors before the first decision. Default: 30.
    pub warm_start: u64,
    /// A distance below this share of the largest one counts as a warning. Default: 0.95.
    pub alpha: f64,
    /// A distance below this share of the largest one counts as drift. Default: 0.9.
    pub beta: f64,
}

impl Default for EddmSpec {
    fn default() -> EddmSpec {
        EddmSpec { warm_start: 30, alpha: 0.95, beta: 0.9 }
    }
}

/// Parameters of HDDM-A.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HddmASpec {
    /// Probability of a false alarm, in (0, 1). Default: 0.001.
    pub drift_confidence: f64,
    /// Probability of a false warning, in (0, 1). Default: 0.005.
    pub warning_confidence: f64,
    /// Whether a fall counts as well as a rise. Default: false.
    pub two_sided_test: bool,
}

impl Default for HddmASpec {
    fn default() -> HddmASpec {
        HddmASpec { drift_confidence: 0.001, warning_confidence: 0.005, two_sided_test: false }
    }
}

/// Parameters of HDDM-W.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HddmWSpec {
    /// Probability of a false alarm, in (0, 1). Default: 0.001.
    pub drift_confidence: f64,
    /// Probability of a false warning, in (0, 1). Default: 0.005.
    pub warning_confidence: f64,
    /// Weight of the newest value in the mean, in (0, 1]. Default: 0.05.
    pub lambda_val: f64,
    /// Whether a fall counts as well as a rise. Default: false.
    pub two_sided_test: bool,
}

impl Default for HddmWSpec {
    fn default() -> HddmWSpec {
        HddmWSpec {
            drift_confidence: 0.001,
            warning_confidence: 0.005,
            lambda_val: 0.05,
            two_sided_test: false,
        }
    }
}

/// Parameters of KSWIN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KswinSpec {
    /// Largest p-value that counts as drift, in (0, 1). It applies to each event separately: with
    /// the default, a stream without drift has several alarms in 10,000 events. Default: 0.005.
    pub alpha: f64,
    /// Number of values in the window, at least twice `stat_size` and at most 1,000,000. Default:
    /// 100.
    pub window_size: usize,
    /// Number of newest values that are compared with as many older ones, 1 to 10,000. Default: 30.
    pub stat_size: usize,
    /// Random seed; the same seed gives the alarms of River. Default: 0.
    pub seed: u64,
}

impl Default for KswinSpec {
    fn default() -> KswinSpec {
        KswinSpec { alpha: 0.005, window_size: 100, stat_size: 30, seed: 0 }
    }
}

/// The direction in which a mean must change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// A rise counts.
    Up,
    /// A fall counts.
    Down,
    /// Both count.
    #[default]
    Both,
}

/// Parameters of Page-Hinkley. `delta` and `threshold` are in the unit of the values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PageHinkleySpec {
    /// Number of values before the first decision. Default: 30.
    pub min_instances: u64,
    /// Deviation from the mean that is ignored. Default: 0.005.
    pub delta: f64,
    /// Sum of deviations that counts as drift. Default: 50.
    pub threshold: f64,
    /// Factor by which the sum fades with each value, in (0, 1]. Default: 0.9999.
    pub alpha: f64,
    /// The direction of the change.
    pub mode: Direction,
}

impl Default for PageHinkleySpec {
    fn default() -> PageHinkleySpec {
        PageHinkleySpec {
            min_instances: 30,
            delta: 0.005,
            threshold: 50.0,
            alpha: 1.0 - 0.0001,
            mode: Direction::Both,
        }
    }
}

/// A parameter that makes no sense, by its key path below the specification, so that the reader of
/// a recipe can add file and line: `adwin.delta must be above 0 and below 1, found 2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// Key path, such as `adwin.delta`.
    pub path: String,
    /// What is wrong, continuing the path as a sentence.
    pub message: String,
}

impl SpecError {
    /// Fails with `path must be <expected>, found <found>` unless `holds`.
    pub(crate) fn unless(
        holds: bool,
        path: &str,
        expected: &str,
        found: impl fmt::Display,
    ) -> Result<(), SpecError> {
        if holds {
            return Ok(());
        }
        Err(SpecError {
            path: path.to_owned(),
            message: format!("must be {expected}, found {found}"),
        })
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.message)
    }
}

impl std::error::Error for SpecError {}
