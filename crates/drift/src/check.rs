//! Parameters that make no sense are refused before the first event.

use crate::spec::{DetectorSpec, SpecError};

/// Window of KSWIN at most: 8 MB.
const MAX_WINDOW: usize = 1_000_000;
/// Above this, scipy has an approximation instead of the exact test.
const MAX_SAMPLE: usize = 10_000;

fn chance(path: &str, x: f64) -> Result<(), SpecError> {
    SpecError::unless(x > 0.0 && x < 1.0, path, "above 0 and below 1", x)
}

fn weight(path: &str, x: f64) -> Result<(), SpecError> {
    SpecError::unless(x > 0.0 && x <= 1.0, path, "above 0 and at most 1", x)
}

fn not_negative(path: &str, x: f64) -> Result<(), SpecError> {
    SpecError::unless(x.is_finite() && x >= 0.0, path, "a finite number of at least 0", x)
}

fn at_least_one(path: &str, x: u64) -> Result<(), SpecError> {
    SpecError::unless(x >= 1, path, "at least 1", x)
}

impl DetectorSpec {
    /// Refuses parameters that make no sense, naming the key and what it must be.
    pub fn check(&self) -> Result<(), SpecError> {
        match self {
            DetectorSpec::Adwin(s) => {
                chance("adwin.delta", s.delta)?;
                at_least_one("adwin.clock", s.clock)?;
                let buckets = s.max_buckets;
                let fits = (2..=1000).contains(&buckets);
                SpecError::unless(fits, "adwin.max_buckets", "2 to 1000", buckets)?;
                at_least_one("adwin.min_window_length", s.min_window_length)
            }
            DetectorSpec::Ddm(s) => {
                not_negative("ddm.warning_threshold", s.warning_threshold)?;
                not_negative("ddm.drift_threshold", s.drift_threshold)?;
                SpecError::unless(
                    s.drift_threshold >= s.warning_threshold,
                    "ddm.drift_threshold",
                    &format!("at least warning_threshold = {}", s.warning_threshold),
                    s.drift_threshold,
                )
            }
            DetectorSpec::Eddm(s) => {
                weight("eddm.alpha", s.alpha)?;
                weight("eddm.beta", s.beta)?;
                let expected = format!("at most alpha = {}", s.alpha);
                SpecError::unless(s.beta <= s.alpha, "eddm.beta", &expected, s.beta)
            }
            DetectorSpec::HddmA(s) => {
                confidences("hddm_a", s.drift_confidence, s.warning_confidence)
            }
            DetectorSpec::HddmW(s) => {
                weight("hddm_w.lambda_val", s.lambda_val)?;
                confidences("hddm_w", s.drift_confidence, s.warning_confidence)
            }
            DetectorSpec::Kswin(s) => {
                chance("kswin.alpha", s.alpha)?;
                let (sample, window) = (s.stat_size, s.window_size);
                let fits = (1..=MAX_SAMPLE).contains(&sample);
                SpecError::unless(fits, "kswin.stat_size", &format!("1 to {MAX_SAMPLE}"), sample)?;
                SpecError::unless(
                    window >= 2 * sample && window <= MAX_WINDOW,
                    "kswin.window_size",
                    &format!("{} (twice stat_size) to {MAX_WINDOW}", 2 * sample),
                    window,
                )
            }
            DetectorSpec::PageHinkley(s) => {
                not_negative("page_hinkley.delta", s.delta)?;
                not_negative("page_hinkley.threshold", s.threshold)?;
                weight("page_hinkley.alpha", s.alpha)
            }
        }
    }
}

fn confidences(name: &str, drift: f64, warning: f64) -> Result<(), SpecError> {
    chance(&format!("{name}.drift_confidence"), drift)?;
    chance(&format!("{name}.warning_confidence"), warning)?;
    // The other way round every warning would be a drift already.
    let expected = format!("at most warning_confidence = {warning}");
    SpecError::unless(drift <= warning, &format!("{name}.drift_confidence"), &expected, drift)
}
