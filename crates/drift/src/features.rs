//! Which inputs moved, and from where to where.

use crate::detector::{Detector, Signal};
use crate::spec::{AdwinSpec, DetectorSpec, SpecError};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How the columns of a stream are watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeatureDriftSpec {
    /// Chance of a false alarm at one check of one column, in (0, 1). Default: 0.002; in practice
    /// there are far fewer.
    pub delta: f64,
    /// Values of a column from one check to the next. Default: 32.
    pub clock: u64,
    /// Only every so-manieth event is looked at; the others cost nothing. Default: 1.
    pub every: u64,
}

impl Default for FeatureDriftSpec {
    fn default() -> FeatureDriftSpec {
        FeatureDriftSpec { delta: 0.002, clock: 32, every: 1 }
    }
}

impl FeatureDriftSpec {
    /// Refuses parameters that make no sense, naming the key and what it must be.
    pub fn check(&self) -> Result<(), SpecError> {
        let chance = self.delta > 0.0 && self.delta < 1.0;
        SpecError::unless(chance, "delta", "above 0 and below 1", self.delta)?;
        SpecError::unless(self.clock >= 1, "clock", "at least 1", self.clock)?;
        SpecError::unless(self.every >= 1, "every", "at least 1", self.every)
    }
}

/// A column whose mean moved. Displays as ``feature `nswdemand` moved from 0.42 to 0.61``.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMove {
    /// The column's place.
    pub column: usize,
    /// The column's name.
    pub name: String,
    /// Mean before, in the unit of the column.
    pub before: f64,
    /// Mean after.
    pub after: f64,
}

impl fmt::Display for FeatureMove {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Two digits of the difference.
        let digits = 1.0 - (self.after - self.before).abs().log10().floor();
        let decimals = digits.clamp(0.0, 15.0) as usize;
        let FeatureMove { name, before, after, .. } = self;
        write!(f, "feature `{name}` moved from {before:.decimals$} to {after:.decimals$}")
    }
}

/// Watches the columns of a stream with an ADWIN each, in about 2 KB a column, and names
/// those whose mean moved. Any unit will do ([`AdwinSpec::any_scale`]).
///
/// Why ADWIN and not Page-Hinkley: it needs no scale for each column, and its window says what the
/// mean was before and is after (the figures are in the crate's documentation). A column that goes
/// up and down by the hour does move by this measure, and is reported each time.
///
/// ```
/// use tidemill_drift::{FeatureDrift, FeatureDriftSpec};
/// let names = ["period", "nswdemand"].map(String::from);
/// let mut watch = FeatureDrift::new(FeatureDriftSpec::default(), names).unwrap();
/// let mut told = Vec::new();
/// for i in 0..1000 {
///     let demand = if i < 500 { 0.42 } else { 0.61 } + 0.1 * f64::from(i % 2);
///     told.extend(watch.update([f64::from(i % 48), demand]).iter().map(|m| m.to_string()));
/// }
/// assert_eq!(told, ["feature `nswdemand` moved from 0.47 to 0.64"]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureDrift {
    spec: FeatureDriftSpec,
    names: Vec<String>,
    detectors: Vec<Detector>,
    events: u64,
    /// Those of the last event.
    #[serde(skip)]
    moves: Vec<FeatureMove>,
}

impl FeatureDrift {
    /// A watch over these columns; fails if a parameter makes no sense.
    pub fn new(
        spec: FeatureDriftSpec,
        names: impl IntoIterator<Item = String>,
    ) -> Result<FeatureDrift, SpecError> {
        spec.check()?;
        let FeatureDriftSpec { delta, clock, .. } = spec;
        let adwin = AdwinSpec { delta, clock, any_scale: true, ..AdwinSpec::default() };
        let names: Vec<String> = names.into_iter().collect();
        let detector = Detector::new(DetectorSpec::Adwin(adwin))?;
        let detectors = vec![detector; names.len()];
        Ok(FeatureDrift { spec, names, detectors, events: 0, moves: Vec::new() })
    }

    /// Takes in the columns of the next event and tells which ones moved, most often none.
    ///
    /// A missing value is NaN: its column learns nothing from this event. Columns that `values`
    /// lacks at its end are missing; what it has beyond the last column is ignored.
    pub fn update(&mut self, values: impl IntoIterator<Item = f64>) -> &[FeatureMove] {
        self.moves.clear();
        let looked_at = self.events.is_multiple_of(self.spec.every);
        self.events += 1;
        if looked_at {
            for (column, (detector, value)) in self.detectors.iter_mut().zip(values).enumerate() {
                if detector.update(value) != Signal::Drift {
                    continue;
                }
                if let Some(change) = detector.change() {
                    let name = self.names.get(column).cloned().unwrap_or_default();
                    let (before, after) = (change.before, change.after);
                    self.moves.push(FeatureMove { column, name, before, after });
                }
            }
        }
        &self.moves
    }

    /// Forgets the stream.
    pub fn reset(&mut self) {
        self.events = 0;
        self.moves.clear();
        self.detectors.iter_mut().for_each(Detector::reset);
    }

    /// The parameters.
    pub fn spec(&self) -> &FeatureDriftSpec {
        &self.spec
    }

    /// The names of the columns, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Events so far, looked at or not.
    pub fn events(&self) -> u64 {
        self.events
    }
}
