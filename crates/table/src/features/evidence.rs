//! What one pass over a table tells of its columns.

use std::collections::HashMap;

use super::distinct::Distinct;
use super::numeric::Running;
use super::spec::FeaturesSpec;
use super::{MAX_KEY_BYTES, MAX_NUMBER, number_key};
use crate::events::{Event, Schema, Value};
use crate::formats::number::mostly_numbers;

/// Texts of a column that are counted, at least. When there are twice as many, the rarer half is
/// forgotten.
const MIN_KEYS: usize = 1 << 16;

/// Numbers of a column that are counted as texts, in case the column turns out to be one of texts.
const MAX_NUMBER_KEYS: usize = 1024;

/// Statistics of all columns of a table, from which [`super::Encoder::fit`] makes an encoder. Its memory
/// does not grow with the number of rows.
#[derive(Clone, Debug)]
pub struct Evidence {
    rows: u64,
    running: Running,
    columns: Vec<Tally>,
    fill: f64,
    values: Vec<f64>,
    /// Where columns have hats: the different numbers of each.
    distinct: Vec<Distinct>,
    /// Of the input vector, where it is standardized.
    vector: Running,
    vector_values: Vec<f64>,
}

#[derive(Clone, Debug)]
struct Tally {
    numbers: u64,
    texts: u64,
    keys: Keys,
    number_keys: HashMap<u64, Seen>,
}

/// How often texts were seen, and when.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    seen: HashMap<Box<str>, Seen>,
    most: usize,
}

/// A text and what was seen of it.
pub(super) type Counted = (Box<str>, Seen);

/// Of one text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// In how many rows.
    pub count: u64,
    /// The first row, from 1.
    pub first: u64,
    /// The last row, from 1.
    pub last: u64,
}

impl Seen {
    fn at(row: u64) -> Seen {
        Seen { count: 0, first: row, last: row }
    }

    fn again(&mut self, row: u64) {
        self.count += 1;
        self.last = row;
    }
}

impl Evidence {
    /// Nothing seen yet of a table of this schema.
    pub fn new(spec: &FeaturesSpec, schema: &Schema) -> Evidence {
        let columns = schema.columns.iter().map(|name| {
            let how = spec.categorical.get(name).unwrap_or(&spec.text);
            Tally {
                numbers: 0,
                texts: 0,
                keys: Keys { seen: HashMap::new(), most: MIN_KEYS.max(2 * how.capacity()) },
                number_keys: HashMap::new(),
            }
        });
        let columns: Vec<Tally> = columns.collect();
        let width = if spec.vector_map().is_none() { schema.vector } else { 0 };
        Evidence {
            vector: Running::new(width, spec.max_deviations),
            vector_values: vec![0.0; width],
            rows: 0,
            distinct: vec![
                Distinct::default();
                if spec.hats.is_some() { columns.len() } else { 0 }
            ],
            running: Running::new(columns.len(), spec.max_deviations),
            values: vec![f64::NAN; columns.len()],
            fill: spec.fill.unwrap_or(f64::NAN),
            columns,
        }
    }

    /// Takes a row into account.
    pub fn add(&mut self, event: Event<'_>) {
        self.rows += 1;
        for (i, (value, tally)) in self.values.iter_mut().zip(&mut self.columns).enumerate() {
            let given = event.value(i);
            *value = match given {
                Value::Missing => self.fill,
                Value::Number(n) => {
                    tally.add_number(n, self.rows);
                    if n.abs() <= MAX_NUMBER { n } else { f64::NAN }
                }
                Value::Text(text) => {
                    tally.texts += u64::from(given.is_text());
                    tally.keys.add(text, self.rows);
                    f64::NAN
                }
            };
        }
        self.running.learn(&self.values);
        self.distinct.iter_mut().zip(&self.values).for_each(|(distinct, v)| distinct.add(*v));
        if !self.vector_values.is_empty() {
            for (value, v) in self.vector_values.iter_mut().zip(event.vector()) {
                let v = f64::from(*v);
                *value = if v.abs() <= MAX_NUMBER { v } else { f64::NAN };
            }
            self.vector.learn(&self.vector_values);
        }
    }

    /// Rows taken into account.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether a column is numbers.
    pub(super) fn is_number(&self, column: usize) -> bool {
        let Tally { numbers, texts, .. } = self.columns[column];
        mostly_numbers(numbers, texts)
    }

    /// Columns that are text though some values were read as numbers: to be read again as they are
    /// written, so that `1e3` and `1000` are two texts. None of those in `known`.
    pub fn mixed(&self, schema: &Schema, known: &[String]) -> Vec<String> {
        let columns = self.columns.iter().enumerate().zip(&schema.columns);
        let mixed = columns.filter(|((i, tally), name)| {
            !self.is_number(*i) && tally.numbers > 0 && !known.contains(name)
        });
        mixed.map(|(_, name)| name.clone()).collect()
    }

    /// Different numbers of a column in the order in which they came; not all where they are many.
    pub(super) fn first_numbers(&self, column: usize) -> Vec<f64> {
        let keys = self.columns[column].number_keys.iter();
        let keys = keys.map(|(bits, seen)| (seen.first, f64::from_bits(*bits)));
        let mut all: Vec<_> = keys.filter(|(_, number)| number.abs() <= MAX_NUMBER).collect();
        all.sort_unstable_by_key(|(first, _)| *first);
        all.into_iter().map(|(_, number)| number).collect()
    }

    /// Numbers and texts of a column.
    pub(super) fn counts(&self, column: usize) -> (u64, u64) {
        let Tally { numbers, texts, .. } = self.columns[column];
        (numbers, texts)
    }

    /// The different numbers of a column. The columns must have hats.
    pub(super) fn distinct(&self, column: usize) -> &Distinct {
        &self.distinct[column]
    }

    /// The statistics of the input vector.
    pub(super) fn vector(&self) -> Running {
        self.vector.clone()
    }

    /// The texts of a column, with its numbers as texts.
    pub(super) fn keys(&self, column: usize) -> Keys {
        let tally = &self.columns[column];
        let mut keys = tally.keys.clone();
        for (bits, seen) in &tally.number_keys {
            let mut buffer = [0; 32];
            let key = number_key(f64::from_bits(*bits), &mut buffer);
            let all = keys.seen.entry(key.into()).or_insert(Seen { count: 0, ..*seen });
            all.count += seen.count;
            (all.first, all.last) = (all.first.min(seen.first), all.last.max(seen.last));
        }
        keys
    }

    /// The statistics of these columns.
    pub(super) fn running(&self, columns: impl Iterator<Item = usize>) -> Running {
        self.running.select(columns)
    }
}

impl Tally {
    fn add_number(&mut self, number: f64, row: u64) {
        self.numbers += 1;
        let room = self.number_keys.len() < MAX_NUMBER_KEYS;
        // All keys are there: counting the values of a column of numbers any longer is no use.
        if !room && self.texts == 0 {
            return;
        }
        let bits = number.to_bits();
        if room || self.number_keys.contains_key(&bits) {
            self.number_keys.entry(bits).or_insert(Seen::at(row)).again(row);
        }
    }
}

impl Keys {
    fn add(&mut self, key: &str, row: u64) {
        if let Some(seen) = self.seen.get_mut(key) {
            return seen.again(row);
        }
        if key.len() > MAX_KEY_BYTES {
            return;
        }
        let mut seen = Seen::at(row);
        seen.again(row);
        self.seen.insert(key.into(), seen);
        if self.seen.len() > 2 * self.most {
            let mut all: Vec<_> = self.seen.drain().collect();
            all.sort_unstable_by_key(|(_, seen)| std::cmp::Reverse((seen.count, seen.last)));
            all.truncate(self.most);
            self.seen = all.into_iter().collect();
        }
    }

    /// All texts, the most frequent ones first, of equals the one that came first.
    pub fn by_frequency(self) -> Vec<Counted> {
        let mut all: Vec<_> = self.seen.into_iter().collect();
        all.sort_unstable_by_key(|(_, seen)| (std::cmp::Reverse(seen.count), seen.first));
        all
    }
}

/// The first `capacity` of `keys`, in the order in which they came, and the others.
pub(super) fn in_order(mut keys: Vec<Counted>, capacity: usize) -> (Vec<Counted>, Vec<Counted>) {
    let rest = keys.split_off(capacity.min(keys.len()));
    keys.sort_unstable_by_key(|(_, seen)| seen.first);
    (keys, rest)
}
