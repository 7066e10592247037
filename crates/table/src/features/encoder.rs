//! Events to the inputs of a model.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::dictionary::Dictionary;
use super::ids::Ids;
use super::labels::key;
use super::numeric::Running;
use super::spec::{Categorical, FeaturesSpec, Standardize};
use super::{MAX_NUMBER, bits};
use crate::error::{Error, Result};
use crate::events::{Event, Events, Schema, Value};
use crate::formats::{BadEvent, hash::murmur3, short, short_list};

type Checked<T> = std::result::Result<T, BadEvent>;

/// What has been learned about a stream's raw features; saved in checkpoints.
///
/// The inputs are, in this order and each in the order of the schema's columns: the numbers, their
/// missing indicators (if asked for), the categories, the vector, the rows of embeddings.
/// [`Encoder::names`] has them all.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Encoder {
    standardize: Standardize,
    #[serde(with = "bits")]
    clip: f64,
    missing_indicator: bool,
    /// Columns that are numbers.
    numbers: Vec<Column>,
    running: Running,
    /// Those with rows of embeddings after all others.
    categories: Vec<(Column, Category)>,
    vector: usize,
    #[serde(with = "bits")]
    vector_scale: f64,
    #[serde(with = "bits")]
    vector_offset: f64,
    /// Columns of the schema.
    columns: usize,
    /// The numbers of the event in hand; NaN where one is missing.
    #[serde(skip)]
    values: Vec<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Column {
    index: usize,
    name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Category {
    Hashing(usize),
    Words { buckets: usize, most: usize },
    Dictionary(Dictionary),
    Ids(Ids),
}

/// A row of an embedding that belongs to no id any more and is to be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreedRow {
    /// Which of the last inputs gives rows of this embedding.
    pub embedding: usize,
    /// The row.
    pub row: usize,
}

/// A column whose inputs are rows of an embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table<'a> {
    /// The column.
    pub column: &'a str,
    /// Rows, row 0 included.
    pub rows: usize,
    /// Inputs: 1 for an id, several for words.
    pub inputs: usize,
}

impl Encoder {
    /// Decides what each column is: a category if `categorical` or the format says so (nominal
    /// ARFF columns, `stream.text`), or if `numeric` is given without it, or if one of the `first`
    /// events has text there; else a number.
    ///
    /// # Errors
    /// If `spec` makes no sense or names a column that is not there.
    pub fn new(spec: &FeaturesSpec, schema: &Schema, first: &Events) -> Result<Encoder> {
        spec.check()?;
        let named = spec.numeric.iter().flatten().chain(spec.categorical.keys());
        for name in named {
            if !schema.columns.contains(name) {
                let columns = short_list(&schema.columns.join(", "));
                return Err(Error::Usage(format!(
                    "online.features: no column `{name}`; the columns are {columns}"
                )));
            }
        }
        let texts: HashSet<_> = schema.row.iter().filter(|f| f.text).map(|f| &f.name).collect();
        let is_text = |index: usize, name: &String| {
            let is = |event| matches!(first.get(event).value(index), Value::Text(_));
            texts.contains(name) || (0..first.len()).any(is)
        };
        let (mut numbers, mut categories) = (Vec::new(), Vec::new());
        for (index, name) in schema.columns.iter().enumerate() {
            let column = Column { index, name: name.clone() };
            let number = match &spec.numeric {
                _ if spec.categorical.contains_key(name) => false,
                Some(numeric) => numeric.contains(name),
                None => !is_text(index, name),
            };
            if number {
                numbers.push(column);
            } else {
                let how = spec.categorical.get(name).unwrap_or(&spec.text);
                categories.push((column, Category::new(how)));
            }
        }
        categories.sort_by_key(|(_, category)| category.is_row());
        Ok(Encoder {
            standardize: spec.standardize,
            clip: spec.clip,
            missing_indicator: spec.missing_indicator,
            running: Running::new(numbers.len(), spec.max_deviations),
            values: Vec::new(),
            numbers,
            categories,
            vector: schema.vector,
            vector_scale: spec.vector_scale,
            vector_offset: spec.vector_offset,
            columns: schema.columns.len(),
        })
    }

    /// Number of inputs.
    pub fn width(&self) -> usize {
        let categories: usize = self.categories.iter().map(|(_, c)| c.width()).sum();
        let numbers = self.numbers.len() * (1 + usize::from(self.missing_indicator));
        numbers + categories + self.vector
    }

    /// Learns from an event's inputs and then gives them: what test-then-train uses.
    ///
    /// # Errors
    /// If a number is text or not finite. Then nothing was learned, and `x` holds anything.
    pub fn encode(&mut self, event: Event<'_>, x: &mut [f32]) -> Checked<()> {
        let mut values = std::mem::take(&mut self.values);
        let checked = self.check(event, x, &mut values);
        if checked.is_ok() {
            if self.standardize == Standardize::Running {
                self.running.learn(&values);
            }
            let [mut rest, mut rows] = self.numbers_and_vector(event, &values, x);
            for (column, category) in &mut self.categories {
                let from = if category.is_row() { &mut rows } else { &mut rest };
                let (inputs, others) = std::mem::take(from).split_at_mut(category.width());
                *from = others;
                let value = event.value(column.index);
                match category {
                    Category::Words { buckets, .. } => write_words(value, *buckets, inputs),
                    _ => {
                        let found = category.learn(value);
                        category.write(found, inputs);
                    }
                }
            }
        }
        self.values = values;
        checked
    }

    /// The same without learning.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn transform(&self, event: Event<'_>, x: &mut [f32]) -> Checked<()> {
        let mut values = Vec::with_capacity(self.numbers.len());
        self.check(event, x, &mut values)?;
        let [mut rest, mut rows] = self.numbers_and_vector(event, &values, x);
        for (column, category) in &self.categories {
            let from = if category.is_row() { &mut rows } else { &mut rest };
            let (inputs, others) = std::mem::take(from).split_at_mut(category.width());
            *from = others;
            let value = event.value(column.index);
            match category {
                Category::Words { buckets, .. } => write_words(value, *buckets, inputs),
                _ => category.write(category.find(value), inputs),
            }
        }
        Ok(())
    }

    /// Takes the event's numbers, if all of it is good.
    fn check(&self, event: Event<'_>, x: &[f32], values: &mut Vec<f64>) -> Checked<()> {
        assert_eq!(x.len(), self.width(), "inputs");
        assert_eq!((event.columns(), event.vector().len()), (self.columns, self.vector), "columns");
        values.resize(self.numbers.len(), 0.0);
        for (value, column) in values.iter_mut().zip(&self.numbers) {
            *value = match event.value(column.index) {
                Value::Number(n) if n.abs() <= MAX_NUMBER => n,
                Value::Missing => f64::NAN,
                bad => return Err(bad_number(&column.name, bad)),
            };
        }
        for (column, _) in &self.categories {
            if let bad @ Value::Number(n) = event.value(column.index)
                && !n.is_finite()
            {
                return Err(bad_number(&column.name, bad));
            }
        }
        let good = |v: &f32| v.abs() <= MAX_NUMBER as f32;
        if !event.vector().iter().fold(true, |all, v| all & good(v)) {
            let at = event.vector().iter().position(|v| !good(v)).unwrap_or(0);
            let value = Value::Number(f64::from(event.vector()[at]));
            return Err(bad_number(&format!("vector[{at}]"), value));
        }
        Ok(())
    }

    /// Writes these inputs; gives those of the categories, and those that are rows of embeddings, to
    /// be written.
    fn numbers_and_vector<'x>(
        &self,
        event: Event<'_>,
        values: &[f64],
        x: &'x mut [f32],
    ) -> [&'x mut [f32]; 2] {
        let (x, rows) = x.split_at_mut(x.len() - self.rows());
        let (numbers, rest) = x.split_at_mut(values.len());
        match self.standardize {
            Standardize::Running => self.running.transform(values, self.clip as f32, numbers),
            Standardize::None => {
                for (x, v) in numbers.iter_mut().zip(values) {
                    *x = if v.is_nan() { 0.0 } else { *v as f32 };
                }
            }
        }
        let mut rest = rest;
        if self.missing_indicator {
            let (indicators, others) = rest.split_at_mut(values.len());
            for (x, v) in indicators.iter_mut().zip(values) {
                *x = f32::from(u8::from(v.is_nan()));
            }
            rest = others;
        }
        let (categories, vector) = rest.split_at_mut(rest.len() - self.vector);
        let (scale, offset) = (self.vector_scale as f32, self.vector_offset as f32);
        for (x, v) in vector.iter_mut().zip(event.vector()) {
            *x = v * scale + offset;
        }
        [categories, rows]
    }

    /// Inputs that are rows of embeddings, the last ones.
    fn rows(&self) -> usize {
        let rows = self.categories.iter().filter(|(_, category)| category.is_row());
        rows.map(|(_, category)| category.width()).sum()
    }

    /// The columns whose inputs, the last ones, are rows of embeddings.
    pub fn tables(&self) -> Vec<Table<'_>> {
        let categories = self.categories.iter();
        let tables = categories.filter_map(|(column, category)| {
            let rows = match category {
                Category::Ids(ids) => ids.capacity() + 1,
                Category::Words { buckets, .. } => buckets + 1,
                _ => return None,
            };
            Some(Table { column: &column.name, rows, inputs: category.width() })
        });
        tables.collect()
    }

    /// The names of the numeric columns, and their values in the event encoded last, as they came; NaN
    /// where one is missing.
    pub fn numbers(&self) -> (impl Iterator<Item = &str>, &[f64]) {
        (self.numbers.iter().map(|column| column.name.as_str()), &self.values)
    }

    /// What each input is: `price`, `price is missing`, `color=red`, `user row`, `x[3]`.
    pub fn names(&self) -> Vec<String> {
        let numbers = self.numbers.iter().map(|column| column.name.clone());
        let mut names: Vec<String> = numbers.collect();
        if self.missing_indicator {
            names.extend(self.numbers.iter().map(|c| format!("{} is missing", c.name)));
        }
        let first_row = self.categories.iter().position(|(_, category)| category.is_row());
        let (others, rows) = self.categories.split_at(first_row.unwrap_or(self.categories.len()));
        for (column, category) in others {
            category.names(&column.name, &mut names);
        }
        names.extend((0..self.vector).map(|i| format!("x[{i}]")));
        for (column, category) in rows {
            category.names(&column.name, &mut names);
        }
        names
    }

    /// Rows of embeddings freed since the last call, for the learner to reset.
    pub fn take_freed(&mut self) -> Vec<FreedRow> {
        let mut freed = Vec::new();
        if self.categories.last().is_none_or(|(_, last)| !last.is_row()) {
            return freed;
        }
        let embeddings = self.categories.iter_mut().filter(|(_, category)| category.is_row());
        for (embedding, (_, category)) in embeddings.enumerate() {
            if let Category::Ids(ids) = category {
                let rows = ids.take_freed();
                freed.extend(rows.into_iter().map(|row| FreedRow { embedding, row: row as usize }));
            }
        }
        freed
    }
}

impl Category {
    fn new(spec: &Categorical) -> Category {
        match *spec {
            Categorical::Hashing { buckets } => Category::Hashing(buckets),
            Categorical::Words { buckets, most } => Category::Words { buckets, most },
            Categorical::Dictionary { capacity } => Category::Dictionary(Dictionary::new(capacity)),
            Categorical::Embedding { capacity, min_count, expiry } => {
                Category::Ids(Ids::new(capacity, min_count, expiry))
            }
        }
    }

    /// Whether its input is a row of an embedding.
    fn is_row(&self) -> bool {
        matches!(self, Category::Ids(_) | Category::Words { .. })
    }

    fn width(&self) -> usize {
        match self {
            Category::Hashing(buckets) => *buckets,
            Category::Words { most, .. } => *most,
            Category::Dictionary(dictionary) => dictionary.capacity() + 1,
            Category::Ids(_) => 1,
        }
    }

    /// The bucket, place in the dictionary or row of a value; `None` if it is missing.
    fn learn(&mut self, value: Value<'_>) -> Option<usize> {
        let mut buffer = [0; 32];
        let text = key(value, &mut buffer);
        match self {
            Category::Dictionary(dictionary) => Some(dictionary.learn(text?).map_or(0, |i| i + 1)),
            Category::Ids(ids) => {
                // A missing id lets the time go by for the others.
                let row = ids.learn(text);
                text.map(|_| row as usize)
            }
            Category::Hashing(_) | Category::Words { .. } => self.find(value),
        }
    }

    /// The same without learning.
    fn find(&self, value: Value<'_>) -> Option<usize> {
        let mut buffer = [0; 32];
        let text = key(value, &mut buffer)?;
        Some(match self {
            Category::Hashing(buckets) | Category::Words { buckets, .. } => bucket(text, *buckets),
            Category::Dictionary(dictionary) => dictionary.find(text).map_or(0, |i| i + 1),
            Category::Ids(ids) => ids.find(text) as usize,
        })
    }

    fn write(&self, found: Option<usize>, x: &mut [f32]) {
        x.fill(0.0);
        match (self, found) {
            (_, None) => {}
            (Category::Ids(_), Some(row)) => x[0] = row as f32,
            (_, Some(place)) => x[place] = 1.0,
        }
    }

    fn names(&self, column: &str, names: &mut Vec<String>) {
        match self {
            Category::Hashing(buckets) => {
                names.extend((0..*buckets).map(|b| format!("{column} hash {b}")));
            }
            Category::Dictionary(dictionary) => {
                names.push(format!("{column} is another"));
                let texts = dictionary.texts();
                names.extend(texts.iter().map(|text| format!("{column}={text}")));
                let left = texts.len()..dictionary.capacity();
                names.extend(left.map(|i| format!("{column} unused {i}")));
            }
            Category::Words { most, .. } => {
                names.extend((1..=*most).map(|i| format!("{column} word {i}")));
            }
            Category::Ids(_) => names.push(format!("{column} row")),
        }
    }
}

fn bucket(text: &str, buckets: usize) -> usize {
    murmur3(text.as_bytes(), 0) as usize % buckets
}

/// The rows of a text's different words, as many as there is room for.
fn write_words(value: Value<'_>, buckets: usize, x: &mut [f32]) {
    x.fill(0.0);
    let mut buffer = [0; 32];
    let Some(text) = key(value, &mut buffer) else { return };
    let mut len = 0;
    let mut put = |word: &[u8]| {
        let row = (murmur3(word, 0) as usize % buckets + 1) as f32;
        if len < x.len() && !x[..len].contains(&row) {
            x[len] = row;
            len += 1;
        }
    };
    // One pass, most of which sees ASCII.
    let mut word = Vec::with_capacity(64);
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            word.push(c.to_ascii_lowercase() as u8);
        } else if !c.is_ascii() && c.is_alphanumeric() {
            for c in c.to_lowercase() {
                word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        } else if !word.is_empty() {
            put(&word);
            word.clear();
        }
    }
    if !word.is_empty() {
        put(&word);
    }
}

#[cold]
fn bad_number(name: &str, value: Value<'_>) -> BadEvent {
    BadEvent::new(match value {
        Value::Text(text) => {
            format!("column `{name}`: `{}` is no number", short(text.as_bytes()))
        }
        Value::Number(n) if n.is_finite() => {
            format!("column `{name}`: {n:e} is beyond {MAX_NUMBER:e}")
        }
        Value::Number(n) => format!("column `{name}`: {n} is not finite"),
        Value::Missing => format!("column `{name}` is missing"),
    })
}
