//! Labels that are sets: any number of the classes is true of a sample.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::labels::{Classes, Labels};
use crate::events::Value;
use crate::formats::{BadEvent, short};

/// Sets of classes by name, written as a text with a character between the names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sets {
    pub(super) classes: Classes,
    separator: char,
}

/// The names in a set; what is between two separators without a name is none, so that a text without names is the empty set.
fn members(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.split(separator).map(str::trim).filter(|name| !name.is_empty())
}

impl Sets {
    pub(super) fn new(classes: Classes, separator: char) -> Sets {
        Sets { classes, separator }
    }

    /// The names in a label, for whoever looks for classes; none if it is missing.
    pub fn names_in(label: Value<'_>, separator: char) -> Vec<String> {
        match label {
            Value::Missing => Vec::new(),
            Value::Number(n) => vec![n.to_string()],
            Value::Text(text) => members(text, separator).map(str::to_owned).collect(),
        }
    }

    /// A set as it is written in one way: each name once, in alphabetical order.
    pub fn canonical(text: &str, separator: char) -> String {
        let names: BTreeSet<&str> = members(text, separator).collect();
        names.into_iter().collect::<Vec<_>>().join(&separator.to_string())
    }

    /// The first class in a label that is not known.
    pub(super) fn unknown(&self, label: Value<'_>) -> Option<String> {
        let mut names = Sets::names_in(label, self.separator).into_iter();
        names.find(|name| matches!(self.classes.find(Value::Text(name)), Ok(None)))
    }

    /// What is between names.
    pub fn separator(&self) -> char {
        self.separator
    }

    /// Whether all classes in a label are known or there is room for them.
    pub(super) fn check(&self, label: Value<'_>) -> Result<(), BadEvent> {
        let names = Sets::names_in(label, self.separator);
        let mut new = BTreeSet::new();
        for name in &names {
            let value = Value::Text(name);
            self.classes.check(value)?;
            if self.classes.find(value)?.is_none() {
                new.insert(name);
            }
        }
        let free = self.classes.num_free();
        if new.len() <= free {
            return Ok(());
        }
        let names: Vec<&str> = new.into_iter().map(String::as_str).collect();
        let (new, outputs) = (short(names.join(", ").as_bytes()), self.classes.capacity());
        Err(BadEvent::new(format!(
            "{} new classes in one label ({new}): of the model's {outputs} outputs {free} {} free, the others are taken ({})",
            names.len(),
            if free == 1 { "is" } else { "are" },
            self.classes.taken()
        )))
    }

    /// Takes over the classes in a label that are new; there is room for them.
    pub(super) fn learn(&mut self, label: Value<'_>) -> Result<(), BadEvent> {
        for name in Sets::names_in(label, self.separator) {
            if self.classes.find(Value::Text(&name))?.is_none() {
                self.classes.learn(Value::Text(&name));
            }
        }
        Ok(())
    }

    /// 1 for each class in a label, 0 for the others; none if the label is missing.
    ///
    /// # Errors
    /// If it has a class that is not known.
    pub(super) fn transform(&self, label: Value<'_>) -> Result<Option<Vec<f32>>, BadEvent> {
        if label == Value::Missing {
            return Ok(None);
        }
        let mut values = vec![0.0; self.classes.capacity()];
        for name in Sets::names_in(label, self.separator) {
            match self.classes.find(Value::Text(&name))? {
                Some(class) => values[class] = 1.0,
                None => return Err(BadEvent::new(format!("`{name}` is no known class"))),
            }
        }
        Ok(Some(values))
    }
}

impl Labels {
    /// The class in a label with several that is not known.
    pub fn unknown(&self, label: Value<'_>) -> Option<String> {
        match self {
            Labels::Sets(sets) => sets.unknown(label),
            _ => None,
        }
    }

    /// What is between the classes of a label that has several.
    pub fn separator(&self) -> Option<char> {
        match self {
            Labels::Sets(sets) => Some(sets.separator()),
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::labels::Label;
    use super::*;

    fn values(label: Option<Label>) -> Vec<f32> {
        match label {
            Some(Label::Set(values)) => values,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sets_of_known_classes() {
        let found = ["b", "a", "10", "9"].map(String::from);
        let labels = Labels::sorted(found).into_sets(';');
        assert_eq!(labels.names(), ["10", "9", "a", "b"]);
        let of = |text| labels.transform(Value::Text(text));
        assert_eq!(values(of(" b ; a;;a").unwrap()), [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(values(of("").unwrap()), [0.0; 4]);
        assert_eq!(labels.transform(Value::Missing).unwrap(), None);
        assert_eq!(of("a;c").unwrap_err().reason, "`c` is no known class");
        assert_eq!(labels.positive(), None);
    }

    #[test]
    fn sets_whose_classes_come() {
        let mut labels = Labels::classes(3, &[]).into_sets('|');
        assert!(!labels.is_known());
        assert_eq!(values(labels.encode(Value::Text("x|y")).unwrap()), [1.0, 1.0, 0.0]);
        // There is room for one of them.
        let full = labels.encode(Value::Text("z|w|x")).unwrap_err().reason;
        let says = "2 new classes in one label (w, z): of the model's 3 outputs 1 is free, the others are taken (x, y)";
        assert_eq!(full, says);
        assert_eq!(labels.names(), ["x", "y"]);
        assert_eq!(values(labels.encode(Value::Text("z|x")).unwrap()), [1.0, 0.0, 1.0]);
        let saved = serde_json::to_string(&labels).unwrap();
        let back: Labels = serde_json::from_str(&saved).unwrap();
        assert_eq!(back.names(), ["x", "y", "z"]);
        assert_eq!(values(back.transform(Value::Text("y")).unwrap()), [0.0, 1.0, 0.0]);
    }
}
