//! Labels to classes or scaled targets.

mod names;

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::numeric::Running;
use super::sets::Sets;
use super::{MAX_KEY_BYTES, MAX_NUMBER, number_key};
use crate::events::Value;
use crate::formats::{BadEvent, number, short};

/// A label as the model sees it.
#[derive(Clone, Debug, PartialEq)]
pub enum Label {
    /// The number of a class.
    Class(usize),
    /// A target, scaled.
    Value(f32),
    /// Several classes or none: 1 for each class that is true, and 0 for the others.
    Set(Vec<f32>),
}

/// The shortest decimal number that is this `f32`: what people and JSON are shown of it.
pub fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
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
    /// Several classes by name, or none.
    Sets(Sets),
}

/// Classes by name, each of them an output of the model. A whole number is the class of that output
/// where it is free, so that labels 0 to K-1 are what they say; any other label takes the first output
/// that is free. So 1 to K, -1 and 1, or texts take the outputs as they come, and none is lost while
/// one is free.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct Classes {
    /// By output; none where it is free.
    names: Vec<Option<String>>,
    /// By name.
    index: HashMap<String, usize>,
    /// By number, where the name is a small whole number, as it mostly is.
    small: Vec<Option<usize>>,
    /// Whether the order of the classes was given, and not found.
    given: bool,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    capacity: usize,
    texts: Vec<Option<String>>,
    #[serde(default)]
    given: bool,
}

/// Names up to this are looked up by their number.
const SMALL: usize = 256;

/// Targets scaled by running mean and standard deviation, or not at all.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Targets {
    running: Option<Running>,
}

impl From<Saved> for Classes {
    fn from(saved: Saved) -> Classes {
        let mut names = saved.texts;
        names.resize(saved.capacity.max(names.len()), None);
        let mut classes =
            Classes { index: HashMap::new(), small: vec![None; SMALL], given: saved.given, names };
        for class in 0..classes.names.len() {
            classes.remember(class);
        }
        classes
    }
}

impl From<Classes> for Saved {
    fn from(classes: Classes) -> Saved {
        let mut texts = classes.names;
        let capacity = texts.len();
        while texts.last().is_some_and(Option::is_none) {
            texts.pop();
        }
        Saved { capacity, texts, given: classes.given }
    }
}

impl Labels {
    /// Up to `capacity` classes, of which these are known.
    pub fn classes(capacity: usize, known: &[String]) -> Labels {
        let texts = known.iter().cloned().map(Some).collect();
        let (capacity, given) = (capacity.max(known.len()), !known.is_empty());
        Labels::Classes(Classes::from(Saved { capacity, texts, given }))
    }

    /// Up to `capacity` classes, of which these labels were found: numbers that are outputs as they are,
    /// others in their order. What comes later takes outputs that are free.
    pub fn found(capacity: usize, found: &BTreeSet<String>) -> Labels {
        let output = |name: &String| name.parse::<usize>().ok().filter(|n| *n < capacity);
        let own: Option<Vec<usize>> = found.iter().map(output).collect();
        let mut texts = vec![None; capacity];
        match own {
            Some(outputs) => {
                for (output, name) in outputs.into_iter().zip(found) {
                    texts[output].get_or_insert(name.clone());
                }
            }
            None if found.len() <= capacity => {
                texts = in_order(found.iter().cloned()).into_iter().map(Some).collect();
            }
            // As they come: there is no room for all.
            None => {}
        }
        Labels::Classes(Classes::from(Saved { capacity, texts, given: false }))
    }

    /// Targets, scaled as they come (`scale`) or as they are.
    pub fn values(scale: bool) -> Labels {
        Labels::Values(Targets { running: scale.then(|| Running::new(1, 10.0)) })
    }

    /// Classes of a table, of these names: sorted, as numbers where all are numbers, so that `10` comes
    /// after `9`.
    pub fn sorted(found: impl IntoIterator<Item = String>) -> Labels {
        let names = in_order(found);
        let texts = names.iter().cloned().map(Some).collect();
        Labels::Classes(Classes::from(Saved { capacity: names.len(), texts, given: false }))
    }

    /// The same classes, of which a label has any number with `separator` between them. Other labels stay as they are.
    #[must_use]
    pub fn into_sets(self, separator: char) -> Labels {
        match self {
            Labels::Classes(classes) => Labels::Sets(Sets::new(classes, separator)),
            other => other,
        }
    }

    /// The classes, where there are some.
    fn known(&self) -> Option<&Classes> {
        match self {
            Labels::Classes(classes) | Labels::Sets(Sets { classes, .. }) => Some(classes),
            Labels::Binary | Labels::Values(_) => None,
        }
    }

    /// Makes room for so many classes, as many as the model tells apart.
    pub fn reserve(&mut self, classes: usize) {
        if let Labels::Classes(known) | Labels::Sets(Sets { classes: known, .. }) = self {
            known.names.resize(classes.max(known.names.len()), None);
        }
    }

    /// What a label is called as a class; `None` if it is missing or not finite.
    pub fn name(label: Value<'_>) -> Option<String> {
        match label {
            Value::Number(n) if !n.is_finite() => None,
            label => key(label, &mut [0; 32]).map(str::to_owned),
        }
    }

    /// The number that a label is as a target; none if it is missing or no number.
    pub fn number(label: Value<'_>) -> Option<f64> {
        target(label).ok().flatten()
    }

    /// Whether [`Labels::encode`] will take a label; for whoever must know before learning from
    /// the event's inputs.
    ///
    /// # Errors
    /// As [`Labels::encode`].
    pub fn check(&self, label: Value<'_>) -> Result<(), BadEvent> {
        match self {
            Labels::Classes(classes) => classes.check(label),
            Labels::Sets(sets) => sets.check(label),
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
            Labels::Sets(sets) => {
                sets.check(label)?;
                sets.learn(label)?;
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
            Labels::Sets(sets) => sets.transform(label)?.map(Label::Set),
            Labels::Binary => match label {
                Value::Missing => None,
                Value::Number(0.0 | -1.0) | Value::Text("false") => Some(Label::Class(0)),
                Value::Number(1.0) | Value::Text("true") => Some(Label::Class(1)),
                other => {
                    return Err(BadEvent::new(format!(
                        "label {} is none of 0, -1, 1, false and true; name the classes",
                        shown(other)
                    )));
                }
            },
            Labels::Values(targets) => {
                target(label)?.map(|target| Label::Value(targets.scale(target)))
            }
        })
    }

    /// Whether a label has been seen, or classes were named.
    pub fn is_known(&self) -> bool {
        self.known().is_none_or(|classes| !classes.index.is_empty())
    }

    /// A prediction of the model in the units of the labels.
    pub fn unscale(&self, prediction: f32) -> f64 {
        match self.scaling() {
            Some((mean, deviation)) => f64::from(prediction) * deviation + mean,
            None => f64::from(prediction),
        }
    }

    /// Outputs of a model in the units of `labels`. Those that nothing scales are the shortest decimal
    /// numbers of their `f32`.
    pub fn in_units(labels: Option<&Labels>, outputs: &[f32]) -> Vec<f64> {
        let scaling = labels.and_then(Labels::scaling).filter(|scaling| *scaling != (0.0, 1.0));
        let value = |output: &f32| match scaling {
            Some((mean, deviation)) => f64::from(*output) * deviation + mean,
            None => shortest(*output),
        };
        outputs.iter().map(value).collect()
    }

    /// Mean and deviation by which a prediction becomes a target; `None` before the first target,
    /// when nothing gives the units. While all targets were the same, a prediction is their mean.
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
    pub(super) fn find(&self, label: Value<'_>) -> Result<Option<usize>, BadEvent> {
        Ok(match label {
            Value::Missing => None,
            Value::Text(text) => self.place(text),
            Value::Number(n) if n.is_finite() => {
                // Whole numbers are looked up without being written out.
                let whole = n as usize;
                if whole < self.small.len() && whole as f64 == n {
                    self.small[whole]
                } else {
                    self.place(number_key(n, &mut [0; 32]))
                }
            }
            Value::Number(n) => return Err(BadEvent::new(format!("label {n} is not finite"))),
        })
    }

    fn place(&self, name: &str) -> Option<usize> {
        // Hashing costs more than looking at a few.
        if self.names.len() <= 4 {
            return self.names.iter().position(|n| n.as_deref() == Some(name));
        }
        self.index.get(name).copied()
    }

    /// The output that a new class gets: that of its number if it is free, else the first free one.
    fn free(&self, name: &str) -> Option<usize> {
        let own = name.parse::<usize>().ok().filter(|n| *n < self.names.len());
        let own = own.filter(|n| self.names[*n].is_none());
        own.or_else(|| self.names.iter().position(Option::is_none))
    }

    pub(super) fn learn(&mut self, label: Value<'_>) {
        let mut buffer = [0; 32];
        let Some(name) = key(label, &mut buffer) else { return };
        if let Some(class) = self.free(name) {
            self.names[class] = Some(name.to_owned());
            self.remember(class);
        }
    }

    /// Enters the name of a class where it is looked up.
    fn remember(&mut self, class: usize) {
        let Some(name) = &self.names[class] else { return };
        self.index.entry(name.clone()).or_insert(class);
        let small = name.parse::<usize>().ok().filter(|n| *n < SMALL && n.to_string() == *name);
        if let Some(small) = small {
            self.small[small].get_or_insert(class);
        }
    }

    /// Whether it is known or there is room for it.
    pub(super) fn check(&self, label: Value<'_>) -> Result<(), BadEvent> {
        let mut buffer = [0; 32];
        if self.find(label)?.is_some() {
            return Ok(());
        }
        let Some(name) = key(label, &mut buffer) else { return Ok(()) };
        if name.len() > MAX_KEY_BYTES {
            let (name, most) = (short(name.as_bytes()), MAX_KEY_BYTES);
            return Err(BadEvent::new(format!("label `{name}` is longer than {most} bytes")));
        }
        if self.free(name).is_none() { Err(self.full(label)) } else { Ok(()) }
    }

    /// That there is no room for a class.
    fn full(&self, label: Value<'_>) -> BadEvent {
        BadEvent::new(format!(
            "unknown class {}: the model has {} outputs, all taken ({})",
            shown(label),
            self.names.len(),
            self.taken()
        ))
    }

    /// The classes that are known, for people.
    pub(super) fn taken(&self) -> String {
        let names: Vec<&str> = self.names.iter().flatten().map(String::as_str).collect();
        short(names.join(", ").as_bytes())
    }

    /// How many outputs it has, with a class or without.
    pub(super) fn capacity(&self) -> usize {
        self.names.len()
    }

    /// How many outputs no class has taken.
    pub(super) fn num_free(&self) -> usize {
        self.names.iter().filter(|name| name.is_none()).count()
    }
}

/// Names in their order: as numbers where all are numbers, so that `10` comes after `9`.
fn in_order(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().collect();
    let numbers: Option<Vec<f64>> = names.iter().map(|n| n.parse().ok()).collect();
    match numbers {
        Some(numbers) => {
            let mut both: Vec<_> = numbers.into_iter().zip(names).collect();
            both.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
            both.into_iter().map(|(_, name)| name).collect()
        }
        None => {
            names.sort();
            names
        }
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
        Value::Number(n) if n.is_finite() => {
            let what = format!("label {n:e} is beyond {MAX_NUMBER:e} (the largest number taken)");
            Err(BadEvent::new(what))
        }
        Value::Text(text) => match number::loose(text.as_bytes(), number::Style::default()) {
            Some(n) if n.abs() <= MAX_NUMBER => Ok(Some(n)),
            _ => Err(BadEvent::new(format!("label {} is no finite number", shown(label)))),
        },
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
