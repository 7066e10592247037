//! What the values of a table's columns look like.

use std::collections::BTreeSet;

use tidemill_stream::features::{Labels, Sets};
use tidemill_stream::formats::number::mostly_numbers;
use tidemill_stream::{Event, Schema, Value};

/// Different values are counted up to this number.
const MANY: usize = 20_000;

/// So many different whole numbers are more likely classes than values.
pub(super) const FEW_CLASSES: usize = 20;

/// What was seen of one column.
#[derive(Default)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) numbers: usize,
    pub(super) texts: usize,
    pub(super) missing: usize,
    /// The different values as text, up to [`MANY`] of them; of numbers, those of labels and ids only.
    pub(super) values: BTreeSet<String>,
    keeps_numbers: bool,
    many: bool,
    words: usize,
    /// The first text and its line.
    pub(super) odd: Option<(String, u64)>,
    /// The last number, and whether each one so far is one more than the number before.
    last: Option<f64>,
    counts: bool,
    whole: bool,
    /// Of the numbers: their mean, the sum of squares around it, the least and the greatest.
    mean: f64,
    squares: f64,
    least: f64,
    most: f64,
}

impl Column {
    fn input(name: &str) -> Column {
        let keeps_numbers = is_id_name(name);
        Column {
            name: name.to_owned(),
            keeps_numbers,
            counts: true,
            whole: true,
            ..Column::default()
        }
    }

    fn label(name: &str) -> Column {
        Column { keeps_numbers: true, ..Column::input(name) }
    }

    pub(super) fn add(&mut self, value: Value<'_>, line: u64) {
        match value {
            Value::Missing => self.missing += 1,
            Value::Number(n) => {
                self.numbers += 1;
                self.whole &= n.fract() == 0.0;
                self.counts &= self.last.is_none_or(|last| n == last + 1.0);
                self.last = Some(n);
                self.spread(n);
                if self.keeps_numbers && !self.many {
                    self.remember(&n.to_string());
                }
            }
            Value::Text(text) if !value.is_text() => {
                self.missing += 1;
                self.remember(text);
            }
            Value::Text(text) => {
                self.texts += 1;
                self.odd.get_or_insert_with(|| (text.chars().take(40).collect(), line));
                self.words += text.split_whitespace().count();
                self.remember(text);
            }
        }
    }

    fn spread(&mut self, n: f64) {
        if self.numbers == 1 {
            (self.least, self.most) = (n, n);
        }
        let off = n - self.mean;
        self.mean += off / self.numbers as f64;
        self.squares += off * (n - self.mean);
        (self.least, self.most) = (self.least.min(n), self.most.max(n));
    }

    /// How far its numbers are from their mean at most, in standard deviations.
    pub(super) fn reach(&self) -> f64 {
        let deviation = (self.squares / self.numbers.max(1) as f64).sqrt();
        let most = (self.most - self.mean).max(self.mean - self.least);
        if deviation > 0.0 && most.is_finite() { most / deviation } else { 0.0 }
    }

    fn remember(&mut self, value: &str) {
        if self.many || self.values.contains(value) {
            return;
        }
        if self.values.len() < MANY {
            self.values.insert(value.to_owned());
        } else {
            self.many = true;
        }
    }

    /// Values that are there.
    pub(super) fn len(&self) -> usize {
        self.numbers + self.texts
    }

    /// Whether its values are texts; in a column of numbers the few texts count as missing.
    pub(super) fn is_text(&self) -> bool {
        !mostly_numbers(self.numbers as u64, self.texts as u64)
    }

    /// The number of different values; none if there are too many to count.
    pub(super) fn distinct(&self) -> Option<usize> {
        (!self.many).then_some(self.values.len())
    }

    /// Whether it counts the rows.
    pub(super) fn is_row_number(&self) -> bool {
        self.counts && self.len() > 20 && self.texts == 0 && self.missing == 0
    }

    /// Whether nearly every row has another text or id: a name, a time, the key of the table.
    pub(super) fn is_id(&self) -> bool {
        let is_name = self.is_text() && !self.is_prose();
        (is_name || self.is_entity()) && self.len() > 20 && self.mostly_different()
    }

    /// Whether it is text of several words.
    pub(super) fn is_prose(&self) -> bool {
        self.is_text() && self.words >= 4 * self.texts && self.different() > self.texts / 4
    }

    /// Whether it holds numbers that are no ids.
    pub(super) fn is_number(&self) -> bool {
        !self.is_text() && !self.is_entity()
    }

    /// Whether it holds numbers that are ids: of users, of films.
    pub(super) fn is_entity(&self) -> bool {
        is_id_name(&self.name) && !self.is_text() && self.whole && self.different() > 20
    }

    fn different(&self) -> usize {
        if self.many { self.len() } else { self.values.len() }
    }

    fn mostly_different(&self) -> bool {
        match self.distinct() {
            Some(n) => 10 * n >= 9 * self.len(),
            None => self.len() <= 2 * MANY,
        }
    }

    /// What the labels are: classes, or values of which any number may be a new one.
    pub(super) fn classes(&self) -> Option<Vec<String>> {
        let n = self.distinct()?;
        if !self.is_text() && (n > FEW_CLASSES || !self.whole) {
            return None;
        }
        Some(Labels::sorted(self.values.iter().cloned()).names())
    }

    /// The classes that are in its values, with `separator` between them.
    pub(super) fn members(&self, separator: char) -> Vec<String> {
        let sets = self.values.iter().flat_map(|v| Sets::names_in(Value::Text(v), separator));
        Labels::sorted(sets.collect::<BTreeSet<_>>()).names()
    }
}

/// Whether a column is called as ids are.
fn is_id_name(name: &str) -> bool {
    name.eq_ignore_ascii_case("id")
        || ["_id", "Id", "ID", " id", "-id"].iter().any(|end| name.ends_with(end))
}

/// The columns of a table and its label.
pub(super) struct Columns {
    pub(super) rows: usize,
    pub(super) inputs: Vec<Column>,
    pub(super) label: Column,
}

impl Columns {
    pub(super) fn new(schema: &Schema) -> Columns {
        let inputs = schema.columns.iter().map(|name| Column::input(name)).collect();
        let label = Column::label(schema.label.as_deref().unwrap_or("label"));
        Columns { rows: 0, inputs, label }
    }

    pub(super) fn add(&mut self, event: Event<'_>, line: u64) {
        self.rows += 1;
        for (i, column) in self.inputs.iter_mut().enumerate() {
            column.add(event.value(i), line);
        }
        self.label.add(event.label(), line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column<'a>(values: impl IntoIterator<Item = Value<'a>>) -> Column {
        let mut column = Column::label("c");
        values.into_iter().for_each(|value| column.add(value, 1));
        column
    }

    #[test]
    fn what_columns_are() {
        let texts: Vec<String> = (0..30_000).map(|i| format!("2012-10-{i}")).collect();
        let ids = column(texts.iter().map(|t| Value::Text(t)));
        assert!(ids.is_id() && !ids.is_prose() && ids.distinct().is_none());
        let prose: Vec<String> = (0..100).map(|i| format!("are you {i} or not")).collect();
        let prose = column(prose.iter().map(|t| Value::Text(t)));
        assert!(prose.is_prose() && !prose.is_id());
        let rows = column((5..50).map(|i| Value::Number(f64::from(i))));
        assert!(rows.is_row_number());
        assert!(!column((0..50).map(|i| Value::Number(f64::from(i % 7)))).is_row_number());
    }

    #[test]
    fn labels_are_classes_or_values() {
        let numbers = |n: i32| column((0..200).map(move |i| Value::Number(f64::from(i % n))));
        let classes = numbers(12).classes();
        assert_eq!(classes.map(|c| c.len()), Some(12));
        assert_eq!(numbers(12).classes().and_then(|c| c.get(2).cloned()), Some("2".into()));
        assert_eq!(numbers(30).classes(), None);
        let halves = column((0..200).map(|i| Value::Number(f64::from(i % 3) / 2.0)));
        assert_eq!(halves.classes(), None);
        let named = column(["b", "a", "b"].map(Value::Text));
        assert_eq!(named.classes(), Some(vec!["a".to_owned(), "b".to_owned()]));
    }
}
