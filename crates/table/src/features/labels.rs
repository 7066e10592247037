//! Labels to classes or scaled targets.

use serde::{Deserialize, Serialize};

use super::dictionary::Dictionary;
use super::numeric::Running;
use super::{MAX_KEY_BYTES, MAX_NUMBER, number_key};
use crate::events::Value;
use crate::formats::{BadEvent, short};

/// A label as the model sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Label {
    /// The number of a class.
    Class(usize),
    /// A target, scaled.
    Value(f32),
}

/// What has been learned about a stream's labels; saved in checkpoints.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labels {
    /// Classes by name.
    Classes(Classes),
    /// Two classes by number: 0 or -1 is class 0, 1 is class 1. (Other pairs are [`Labels::Classes`]
    /// of two.)
    Binary,
    /// Numbers.
    Values(Targets),
}

/// Classes in their order of appearance, up to a capacity.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Dictionary", into = "Dictionary")]
pub struct Classes {
    names: Dictionary,
    /// By number, where the name is a small whole number, as it mostly is.
    small: Vec<Option<usize>>,
}

/// Targets scaled by running mean and standard deviation, or not at all.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Targets {
    running: Option<Running>,
}

impl From<Dictionary> for Classes {
    fn from(names: Dictionary) -> Classes {
        let mut classes = Classes { names, small: vec![None; 256] };
        for (class, name) in classes.names.texts().iter().enumerate() {
            let small = name.parse::<usize>().ok().filter(|n| *n < 256 && n.to_string() == *name);
            if let Some(small) = small {
                classes.small[small] = Some(class);
            }
        }
        classes
    }
}

impl From<Classes> for Dictionary {
    fn from(classes: Classes) -> Dictionary {
        classes.names
    }
}

impl Labels {
    /// Up to `capacity` classes, of which these are known.
    pub fn classes(capacity: usize, known: &[String]) -> Labels {
        let mut names = Dictionary::new(capacity.max(known.len()));
        for name in known {
            names.learn(name);
        }
        Labels::Classes(Classes::from(names))
    }

    /// Targets, scaled as they come (`scale`) or as they are.
    pub fn values(scale: bool) -> Labels {
        Labels::Values(Targets { running: scale.then(|| Running::new(1, 10.0)) })
    }

    /// Classes of a table, of these names: sorted, as numbers where all are numbers, so that `10` comes
    /// after `9`.
    pub fn sorted(found: impl IntoIterator<Item = String>) -> Labels {
        let mut names: Vec<String> = found.into_iter().collect();
        let numbers: Option<Vec<f64>> = names.iter().map(|n| n.parse().ok()).collect();
        match numbers {
            Some(numbers) => {
                let mut both: Vec<_> = numbers.into_iter().zip(names).collect();
                both.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
                names = both.into_iter().map(|(_, name)| name).collect();
            }
            None => names.sort(),
        }
        Labels::classes(names.len(), &names)
    }

    /// Makes room for so many classes, as many as the model tells apart.
    pub fn reserve(&mut self, classes: usize) {
        if let Labels::Classes(known) = self {
            known.names.reserve(classes);
        }
    }

    /// What a label is called as a class; `None` if it is missing or not finite.
    pub fn name(label: Value<'_>) -> Option<String> {
        match label {
            Value::Number(n) if !n.is_finite() => None,
            label => key(label, &mut [0; 32]).map(str::to_owned),
        }
    }

    /// Whether [`Labels::encode`] will take a label; for whoever must know before learning from
    /// the event's inputs.
    ///
    /// # Errors
    /// As [`Labels::encode`].
    pub fn check(&self, label: Value<'_>) -> Result<(), BadEvent> {
        match self {
            Labels::Classes(classes) => classes.check(label),
            _ => self.transform(label).map(|_| ()),
        }
    }

    /// Learns from a label and then gives it as the model sees it; `None` if it is missing.
    ///
    /// # Errors
    /// If it is a class for which there is no room, or no finite number. Then nothing was learned.
    pub fn encode(&mut self, label: Value<'_>) -> Result<Option<Label>, BadEvent> {
        match self {
            Labels::Classes(classes) => {
                if classes.find(label)?.is_none() {
                    classes.check(label)?;
                    classes.learn(label);
                }
            }
            Labels::Values(Targets { running: Some(running) }) => {
                if let Some(target) = target(label)? {
                    running.learn_one(0, target);
                }
            }
            Labels::Values(_) | Labels::Binary => {}
        }
        self.transform(label)
    }

    /// The same without learning: a class not seen before is `None`, too.
    ///
    /// # Errors
    /// If it can be no label.
    pub fn transform(&self, label: Value<'_>) -> Result<Option<Label>, BadEvent> {
        Ok(match self {
            Labels::Classes(classes) => classes.find(label)?.map(Label::Class),
            Labels::Binary => match label {
                Value::Missing => None,
                Value::Number(0.0 | -1.0) => Some(Label::Class(0)),
                Value::Number(1.0) => Some(Label::Class(1)),
                other => {
                    return Err(BadEvent::new(format!(
                        "label {} is none of 0, -1 and 1; name the classes",
                        shown(other)
                    )));
                }
            },
            Labels::Values(targets) => {
                target(label)?.map(|target| Label::Value(targets.scale(target)))
            }
        })
    }

    /// Names of the classes so far; empty for targets.
    pub fn names(&self) -> Vec<String> {
        match self {
            Labels::Classes(classes) => classes.names.texts().to_vec(),
            Labels::Binary => vec!["0".to_owned(), "1".to_owned()],
            Labels::Values(_) => Vec::new(),
        }
    }

    /// A prediction of the model in the units of the labels.
    pub fn unscale(&self, prediction: f32) -> f64 {
        match self.scaling() {
            Some((mean, deviation)) => f64::from(prediction) * deviation + mean,
            None => f64::from(prediction),
        }
    }

    /// Mean and deviation by which a prediction becomes a target; `None` before the first target,
    /// when nothing tells the units. While all targets were the same, a prediction is their mean.
    /// What scores an event before learning from it calls this before [`Labels::encode`].
    pub fn scaling(&self) -> Option<(f64, f64)> {
        let Labels::Values(Targets { running: Some(running) }) = self else {
            return Some((0.0, 1.0));
        };
        let variance = running.squares[0] * running.inverses[0];
        (running.counts[0] > 0.0).then(|| (running.means[0], variance.max(0.0).sqrt()))
    }
}

impl Classes {
    fn find(&self, label: Value<'_>) -> Result<Option<usize>, BadEvent> {
        Ok(match label {
            Value::Missing => None,
            Value::Text(text) => self.names.find(text),
            Value::Number(n) if n.is_finite() => {
                // Whole numbers are looked up without being written out.
                let whole = n as usize;
                if whole < self.small.len() && whole as f64 == n {
                    self.small[whole]
                } else {
                    self.names.find(number_key(n, &mut [0; 32]))
                }
            }
            Value::Number(n) => return Err(BadEvent::new(format!("label {n} is not finite"))),
        })
    }

    fn learn(&mut self, label: Value<'_>) {
        if let Some(name) = key(label, &mut [0; 32]) {
            self.names.learn(name);
            *self = Classes::from(std::mem::replace(&mut self.names, Dictionary::new(0)));
        }
    }

    /// Whether it is known or there is room for it.
    fn check(&self, label: Value<'_>) -> Result<(), BadEvent> {
        let mut buffer = [0; 32];
        if self.find(label)?.is_some() {
            return Ok(());
        }
        let Some(name) = key(label, &mut buffer) else { return Ok(()) };
        if name.len() > MAX_KEY_BYTES {
            let (name, most) = (short(name.as_bytes()), MAX_KEY_BYTES);
            return Err(BadEvent::new(format!("label `{name}` is longer than {most} bytes")));
        }
        if self.names.texts().len() == self.names.capacity() {
            return Err(BadEvent::new(format!(
                "unknown class {}: the model has {} classes, all taken ({})",
                shown(label),
                self.names.capacity(),
                short(self.names.texts().join(", ").as_bytes())
            )));
        }
        Ok(())
    }
}

/// A value as the name of a class or category; `None` if missing.
pub(super) fn key<'a>(label: Value<'a>, buffer: &'a mut [u8; 32]) -> Option<&'a str> {
    match label {
        Value::Missing => None,
        Value::Text(text) => Some(text),
        Value::Number(n) => Some(number_key(n, buffer)),
    }
}

impl Targets {
    /// Mean and standard deviation; 0 and 1 while they are not known.
    fn mean_and_deviation(&self) -> (f64, f64) {
        let Some(running) = &self.running else { return (0.0, 1.0) };
        let variance = running.squares[0] * running.inverses[0];
        let deviation = if variance > 0.0 { variance.sqrt() } else { 1.0 };
        (running.means[0], deviation)
    }

    fn scale(&self, target: f64) -> f32 {
        let (mean, deviation) = self.mean_and_deviation();
        ((target - mean) / deviation) as f32
    }
}

fn target(label: Value<'_>) -> Result<Option<f64>, BadEvent> {
    match label {
        Value::Missing => Ok(None),
        Value::Number(n) if n.abs() <= MAX_NUMBER => Ok(Some(n)),
        other => Err(BadEvent::new(format!("label {} is no finite number", shown(other)))),
    }
}

fn shown(value: Value<'_>) -> String {
    match value {
        Value::Missing => "?".to_owned(),
        Value::Number(n) => n.to_string(),
        Value::Text(text) => format!("`{}`", short(text.as_bytes())),
    }
}
