//! Events to the inputs of a model.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::category::{Category, write_words};
use super::codes::{Codes, Part};
use super::evidence::Evidence;
use super::numeric::Running;
use super::spec::{FeaturesSpec, Standardize};
use super::{MAX_NUMBER, bits};
use crate::error::{Error, Result};
use crate::events::{Event, Events, Schema, Value};
use crate::formats::{BadEvent, short, short_list};

type Checked<T> = std::result::Result<T, BadEvent>;

/// What has been learned of raw features, in a pass over a table ([`Encoder::fit`]) or online; saved in
/// checkpoints.
///
/// The inputs are, in this order and each in the order of the schema's columns: the numbers, their
/// missing indicators (if asked for), the categories, the vector, the rows of embeddings.
/// [`Encoder::names`] has them all.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Encoder {
    standardize: Standardize,
    #[serde(with = "bits")]
    clip: f64,
    /// What takes the place of a missing number.
    #[serde(with = "bits", default)]
    fill: Option<f64>,
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
    /// If `spec` is invalid or names a column that is not there.
    pub fn new(spec: &FeaturesSpec, schema: &Schema, first: &Events) -> Result<Encoder> {
        let text = |index| {
            let is = |event| matches!(first.get(event).value(index), Value::Text(_));
            (0..first.len()).any(is)
        };
        Encoder::with_kinds(spec, schema, &|index| !text(index))
    }

    /// What a pass over a table has learned, as if its rows had come as events: the kinds of columns
    /// from all of them (a column is numbers if nine values in ten are), means and deviations, texts and
    /// ids; of too many texts the most frequent ones.
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub fn fit(spec: &FeaturesSpec, schema: &Schema, evidence: &Evidence) -> Result<Encoder> {
        let mut encoder = Encoder::with_kinds(spec, schema, &|index| evidence.is_number(index))?;
        if spec.standardize == Standardize::Running {
            encoder.running = evidence.running(encoder.numbers.iter().map(|c| c.index));
        }
        for (column, category) in &mut encoder.categories {
            let how = spec.categorical.get(&column.name).unwrap_or(&spec.text);
            *category = Category::fit(how, evidence.keys(column.index), evidence.rows());
        }
        Ok(encoder)
    }

    /// An encoder that has learned nothing yet; `is_number` decides where nothing else does.
    fn with_kinds(
        spec: &FeaturesSpec,
        schema: &Schema,
        is_number: &dyn Fn(usize) -> bool,
    ) -> Result<Encoder> {
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
        if let Some(name) = spec.sequences.iter().find(|name| !schema.columns.contains(name)) {
            let columns = short_list(&schema.columns.join(", "));
            return Err(Error::Usage(format!(
                "model.inputs: no column `{name}`, which the input of that name reads; the columns are \
                 {columns}"
            )));
        }
        let texts: HashSet<_> = schema.row.iter().filter(|f| f.text).map(|f| &f.name).collect();
        let (mut numbers, mut categories) = (Vec::new(), Vec::new());
        for (index, name) in schema.columns.iter().enumerate() {
            if spec.sequences.contains(name) {
                continue;
            }
            let column = Column { index, name: name.clone() };
            let number = match &spec.numeric {
                _ if spec.categorical.contains_key(name) => false,
                Some(numeric) => numeric.contains(name),
                None => !texts.contains(name) && is_number(index),
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
            fill: spec.fill,
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
        assert_eq!(x.len(), self.width(), "inputs");
        let mut values = std::mem::take(&mut self.values);
        let checked = self.check(event, &mut values);
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
        assert_eq!(x.len(), self.width(), "inputs");
        let mut values = Vec::with_capacity(self.numbers.len());
        self.check(event, &mut values)?;
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
    fn check(&self, event: Event<'_>, values: &mut Vec<f64>) -> Checked<()> {
        assert_eq!((event.columns(), event.vector().len()), (self.columns, self.vector), "columns");
        values.resize(self.numbers.len(), 0.0);
        for (value, column) in values.iter_mut().zip(&self.numbers) {
            *value = match event.value(column.index) {
                Value::Number(n) if n.abs() <= MAX_NUMBER => n,
                Value::Missing => self.fill.unwrap_or(f64::NAN),
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
        self.scale(values, numbers);
        let mut rest = rest;
        if self.missing_indicator {
            let (indicators, others) = rest.split_at_mut(values.len());
            for (x, v) in indicators.iter_mut().zip(values) {
                *x = f32::from(u8::from(v.is_nan()));
            }
            rest = others;
        }
        let (categories, vector) = rest.split_at_mut(rest.len() - self.vector);
        self.write_vector(event, vector);
        [categories, rows]
    }

    /// The inputs in their order, as [`Codes`] hold them.
    pub(super) fn parts(&self) -> Vec<Part> {
        let mut parts = vec![Part::Plain(self.numbers.len())];
        if self.missing_indicator {
            parts.push(Part::Bits(self.numbers.len()));
        }
        let (rows, others): (Vec<_>, Vec<_>) =
            self.categories.iter().map(|(_, c)| c).partition(|c| c.is_row());
        parts.extend(others.iter().map(|c| c.part()));
        parts.push(Part::Plain(self.vector));
        parts.extend(rows.iter().map(|c| c.part()));
        parts
    }

    /// Appends the codes of an event; of a bad one only a part.
    pub(super) fn append(&self, event: Event<'_>, codes: &mut Codes) -> Checked<()> {
        let (mut values, mut x) = (Vec::new(), vec![0.0; self.numbers.len()]);
        self.check(event, &mut values)?;
        self.scale(&values, &mut x);
        codes.fixed.extend(x.iter().map(|x| x.to_bits()));
        if self.missing_indicator {
            let bits =
                |few: &[f64]| few.iter().rev().fold(0, |b, v| b << 1 | u32::from(v.is_nan()));
            codes.fixed.extend(values.chunks(32).map(bits));
        }
        let first_row = self.categories.iter().position(|(_, category)| category.is_row());
        let (others, rows) = self.categories.split_at(first_row.unwrap_or(self.categories.len()));
        for (column, category) in others {
            let place = category.find(event.value(column.index));
            codes.fixed.push(place.map_or(0, |place| place as u32 + 1));
        }
        x.resize(self.vector, 0.0);
        self.write_vector(event, &mut x);
        codes.fixed.extend(x.iter().map(|x| x.to_bits()));
        for (column, category) in rows {
            let value = event.value(column.index);
            if let Category::Words { buckets, most } = category {
                x.clear();
                x.resize(*most, 0.0);
                write_words(value, *buckets, &mut x);
                let words = x.iter().take_while(|row| **row != 0.0);
                let before = codes.words.len();
                codes.words.extend(words.map(|row| *row as u32));
                codes.fixed.push((codes.words.len() - before) as u32);
            } else {
                codes.fixed.push(category.find(value).map_or(0, |row| row as u32));
            }
        }
        Ok(())
    }

    /// The inputs of these numbers.
    fn scale(&self, values: &[f64], x: &mut [f32]) {
        let map = |x: &mut [f32], f: &dyn Fn(f64) -> f64| {
            for (x, v) in x.iter_mut().zip(values) {
                *x = if v.is_nan() { 0.0 } else { f(*v) as f32 };
            }
        };
        match self.standardize {
            Standardize::Running => self.running.transform(values, self.clip as f32, x),
            Standardize::None => map(x, &|v| v),
            Standardize::Scale { multiply, add } => map(x, &|v| v * multiply + add),
        }
    }

    /// The inputs of the event's vector.
    fn write_vector(&self, event: Event<'_>, x: &mut [f32]) {
        let (scale, offset) = (self.vector_scale as f32, self.vector_offset as f32);
        for (x, v) in x.iter_mut().zip(event.vector()) {
            *x = v * scale + offset;
        }
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
