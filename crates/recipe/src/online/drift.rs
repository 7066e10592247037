//! What a recipe says about drift.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tidemill_drift::{AdwinSpec, DetectorSpec};

use super::guard::GuardSpec;
use tidemill_engine::metrics::Task;
use tidemill_engine::nn::form::one_of;

/// `[online.drift]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriftSpec {
    /// The detector that watches the errors: a name, a table such as `{ ddm = { warm_start = 100 }
    /// }`, or `"none"`. With `"adwin"`, errors of values are scaled to their own range.
    #[serde(deserialize_with = "named")]
    pub detector: Watch,
    /// What is done when the errors rise: one action or an array of them. Every alarm is also
    /// written to `audit.jsonl`.
    #[serde(deserialize_with = "one_or_more")]
    pub action: Vec<Action>,
    /// Whether the numeric columns are watched too, so that the log names those that changed; no by
    /// default.
    pub features: bool,
}

impl Default for DriftSpec {
    fn default() -> Self {
        DriftSpec { detector: Watch::Default {}, action: vec![Action::Log {}], features: false }
    }
}

/// What watches the errors.
#[derive(Clone, Debug, PartialEq)]
pub enum Watch {
    /// ADWIN, with [`AdwinSpec::any_scale`] for values.
    Default {},
    /// Nothing.
    None {},
    /// As the recipe says.
    Detector(DetectorSpec),
}

impl<'de> Deserialize<'de> for Watch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Watch, D::Error> {
        DetectorSpec::deserialize(deserializer).map(Watch::Detector)
    }
}

/// What is done after a drift alarm.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Only the line in `audit.jsonl`.
    Log {},
    /// Raises the learning rate for a while.
    RaiseRate(RaiseRate),
    /// Resets the optimizer's state (moments and accumulators) and its bias corrections; the
    /// weights stay.
    ResetSlots {},
    /// Trains a second model beside the first, which takes over once it is significantly better.
    /// Meanwhile each event costs twice as much.
    Challenger(ChallengerSpec),
    /// Rolls back to the last good state that the guard keeps.
    RollBack {},
}

/// `online.drift.action.raise_rate`
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RaiseRate {
    /// Initial factor of the learning rate; 3 by default.
    pub factor: f64,
    /// Number of events over which the factor falls back to 1, exponentially; 1000 by default.
    pub events: u64,
}

impl Default for RaiseRate {
    fn default() -> Self {
        RaiseRate { factor: 3.0, events: 1000 }
    }
}

/// The weights that a challenger starts with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// New random weights, with a seed of their own.
    #[default]
    Fresh,
    /// The current model's weights, with a new optimizer state.
    Champion,
}

/// `online.drift.action.challenger`
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChallengerSpec {
    /// Number of labelled events after which the challenger is dropped if it has not taken over;
    /// 5000 by default.
    pub events: u64,
    /// Where the challenger starts.
    pub from: From,
    /// Factor of the challenger's learning rate; 1 by default.
    pub rate: f64,
    /// Probability, over a whole stream, that a challenger takes over without ever being the better
    /// model, in (0, 1); 0.05 by default.
    pub alpha: f64,
    /// Differences of the two losses are clipped to this, in the unit of the loss; 1 by default.
    pub clip: f64,
}

impl Default for ChallengerSpec {
    fn default() -> Self {
        ChallengerSpec { events: 5000, from: From::Fresh, rate: 1.0, alpha: 0.05, clip: 1.0 }
    }
}

impl DriftSpec {
    /// The detector for errors of this task, if there is one.
    pub fn detector(&self, task: Task) -> Option<DetectorSpec> {
        match &self.detector {
            Watch::None {} => None,
            Watch::Default {} => {
                let any_scale = !task.has_classes();
                Some(DetectorSpec::Adwin(AdwinSpec { any_scale, ..AdwinSpec::default() }))
            }
            Watch::Detector(spec) => Some(spec.clone()),
        }
    }

    /// The challenger that an alarm starts, if it does.
    pub fn challenger(&self) -> Option<ChallengerSpec> {
        self.action.iter().find_map(|action| match action {
            Action::Challenger(spec) => Some(*spec),
            _ => None,
        })
    }

    /// The first value that is invalid: its key below `online.drift`, and why.
    pub fn check(&self, guard: &GuardSpec) -> Result<(), (String, String)> {
        if let Watch::Detector(spec) = &self.detector {
            spec.check().map_err(|e| (format!("detector.{}", e.path), e.message))?;
        }
        let positive = |key: &str, n: f64| match n.is_finite() && n > 0.0 {
            true => Ok(()),
            false => Err((format!("action.{key}"), format!("must be above 0, found {n}"))),
        };
        for action in &self.action {
            match action {
                Action::RaiseRate(raise) => {
                    positive("raise_rate.factor", raise.factor)?;
                    positive("raise_rate.events", raise.events as f64)?;
                }
                Action::Challenger(c) => {
                    positive("challenger.events", c.events as f64)?;
                    positive("challenger.rate", c.rate)?;
                    positive("challenger.clip", c.clip)?;
                    if !(c.alpha > 0.0 && c.alpha < 1.0) {
                        let what = format!("must be above 0 and below 1, found {}", c.alpha);
                        return Err(("action.challenger.alpha".into(), what));
                    }
                }
                Action::RollBack {} if guard.rollback_after == 0 => {
                    let what = "= \"roll_back\" needs the states that online.guard keeps, and \
                                online.guard.rollback_after = 0 keeps none";
                    return Err(("action".into(), what.into()));
                }
                Action::RollBack {} | Action::Log {} | Action::ResetSlots {} => {}
            }
        }
        Ok(())
    }

    /// Why the detector cannot watch the errors of a task, if it cannot.
    pub fn misfit(&self, task: Task) -> Option<String> {
        let Watch::Detector(spec) = &self.detector else { return None };
        let name = name_of(spec);
        let takes_shares = matches!(name, "ddm" | "eddm" | "hddm_a" | "hddm_w");
        (takes_shares && !task.has_classes()).then(|| {
            format!(
                "= \"{name}\" takes errors of classes, 0 or 1, and this loss is of values; set \
                 \"adwin\", \"kswin\" or \"page_hinkley\""
            )
        })
    }
}

/// A detector's name in a recipe.
pub fn name_of(spec: &DetectorSpec) -> &'static str {
    match spec {
        DetectorSpec::Adwin(_) => "adwin",
        DetectorSpec::Ddm(_) => "ddm",
        DetectorSpec::Eddm(_) => "eddm",
        DetectorSpec::HddmA(_) => "hddm_a",
        DetectorSpec::HddmW(_) => "hddm_w",
        DetectorSpec::Kswin(_) => "kswin",
        DetectorSpec::PageHinkley(_) => "page_hinkley",
    }
}

/// `"adwin"` is `{ adwin = {} }`.
fn from_name<T: DeserializeOwned>(name: &str) -> Result<T, serde::de::value::Error> {
    let table = std::iter::once((name.to_owned(), BTreeMap::<String, String>::new()));
    T::deserialize(MapAccessDeserializer::new(MapDeserializer::new(table)))
}

/// A name or a table of one key.
struct Named<T>(PhantomData<T>);

impl<'de> Visitor<'de> for Named<Watch> {
    type Value = Watch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a detector's name or a table with its parameters")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Watch, E> {
        match name {
            "none" => Ok(Watch::None {}),
            "adwin" => Ok(Watch::Default {}),
            name => from_name(name).map_err(E::custom),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Watch, A::Error> {
        one_of(map, |map| Watch::deserialize(map))
    }
}

impl<'de> Visitor<'de> for Named<Vec<Action>> {
    type Value = Vec<Action>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an action's name, a table with its parameters, or a list of these")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Vec<Action>, E> {
        Ok(vec![from_name(name).map_err(E::custom)?])
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<Action>, A::Error> {
        Ok(vec![one_of(map, |map| Action::deserialize(map))?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Action>, A::Error> {
        let mut actions = Vec::new();
        while let Some(OneOrMore(more)) = list.next_element()? {
            actions.extend(more);
        }
        Ok(actions)
    }
}

struct OneOrMore(Vec<Action>);

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMore, D::Error> {
        one_or_more(deserializer).map(OneOrMore)
    }
}

fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Watch, D::Error> {
    deserializer.deserialize_any(Named(PhantomData::<Watch>))
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Action>, D::Error> {
    deserializer.deserialize_any(Named(PhantomData::<Vec<Action>>))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DriftSpec, String> {
        let document: toml_edit::DocumentMut = text.parse().unwrap();
        crate::reader::read(document.as_item()).map_err(|e| e.to_string())
    }

    #[test]
    fn names_tables_and_lists() {
        assert_eq!(read("").unwrap(), DriftSpec::default());
        assert_eq!(read("detector = 'none'").unwrap().detector, Watch::None {});
        let spec =
            read("detector = 'ddm'\naction = ['reset_slots', { raise_rate = { events = 9 } }]");
        let spec = spec.unwrap();
        assert_eq!(spec.detector, Watch::Detector(DetectorSpec::Ddm(Default::default())));
        let raise = RaiseRate { events: 9, ..RaiseRate::default() };
        assert_eq!(spec.action, [Action::ResetSlots {}, Action::RaiseRate(raise)]);
        let spec = read("action.challenger.from = 'champion'").unwrap();
        assert_eq!(spec.challenger().unwrap().from, From::Champion);
        assert!(read("action = 'pray'").unwrap_err().contains("unknown variant `pray`"));
        assert!(read("action = { challenger = { eons = 3 } }").unwrap_err().contains("eons"));
        assert!(read("detector = { ddm = { warm = 3 } }").unwrap_err().contains("warm"));
        assert!(read("detector = 3").unwrap_err().contains("a detector's name"));
    }

    #[test]
    fn values_that_make_no_sense_are_told_by_key() {
        let told = |text: &str| {
            let guard = GuardSpec { rollback_after: 0, ..GuardSpec::default() };
            read(text).unwrap().check(&guard).unwrap_err()
        };
        assert_eq!(told("detector = { adwin = { delta = 2 } }").0, "detector.adwin.delta");
        assert_eq!(told("action = { raise_rate = { factor = -1 } }").0, "action.raise_rate.factor");
        assert_eq!(told("action = { challenger = { alpha = 1 } }").0, "action.challenger.alpha");
        assert!(told("action = 'roll_back'").1.contains("keeps none"));
        assert!(read("detector = 'ddm'").unwrap().misfit(Task::Values).is_some());
        assert!(read("detector = 'ddm'").unwrap().misfit(Task::Classes).is_none());
    }
}
