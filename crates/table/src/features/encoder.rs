//! Events to the inputs of a model.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::category::{Category, write_words};
use super::codes::{Codes, Part};
use super::dictionary::Dictionary;
use super::evidence::Evidence;
use super::labels::key;
use super::numeric::Running;
use super::spec::{FeaturesSpec, Standardize};
use super::{MAX_NUMBER, bits, number_key};
use crate::error::{Error, Result};
use crate::events::{Event, Events, Schema, Value};
use crate::formats::{BadEvent, Note, number, short, short_list};

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
    /// Of the vector's numbers, where they are standardized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vector_running: Option<Running>,
    /// Columns of the schema.
    columns: usize,
    /// The numbers of the event in hand; NaN where one is missing.
    #[serde(skip)]
    values: Vec<f64>,
    /// The numbers of the vector in hand.
    #[serde(skip)]
    vector_values: Vec<f64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Column {
    index: usize,
    name: String,
    /// Values that were numbers, and values that were not.
    #[serde(default)]
    numbers: u64,
    #[serde(default)]
    texts: u64,
    /// The first value that was of the other kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    odd: Option<String>,
    /// Where a column of numbers turned out to be texts: its one input is a code of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    codes: Option<Dictionary>,
}

/// Texts that have a code of their own in a column that has one input.
const MOST_CODES: usize = 1024;

impl Column {
    /// A value of a column of numbers that is no number: missing while such values are few; from a
    /// tenth on the column is texts.
    #[cold]
    fn text(&mut self, text: &str) -> (f64, bool) {
        self.texts += 1;
        let mut revised = false;
        if self.codes.is_none() {
            self.odd.get_or_insert_with(|| short(text.as_bytes()));
            let few = self.texts < ENOUGH && self.numbers > 0;
            if few || self.texts * NUMBERS_PER_TEXT < self.numbers {
                return (f64::NAN, false);
            }
            self.codes = Some(Dictionary::new(MOST_CODES));
            revised = true;
        }
        (self.code(text), revised)
    }

    fn code(&mut self, text: &str) -> f64 {
        let codes = self.codes.as_mut();
        codes.and_then(|codes| codes.learn(text)).map_or(0.0, spread)
    }

    /// The same without learning.
    fn find_code(&self, value: Value<'_>) -> Option<f64> {
        let codes = self.codes.as_ref()?;
        let mut buffer = [0; 32];
        let text = key(value, &mut buffer)?;
        Some(codes.find(text).map_or(0.0, spread))
    }
}

/// A column of numbers with more than one text for so many numbers is texts.
const NUMBERS_PER_TEXT: u64 = 9;

/// Fewer texts than this say nothing where a number came.
const ENOUGH: u64 = 3;

/// Numbers from -1 to 1 for 0, 1, 2, ...: each far from those before it (multiples of the golden ratio).
fn spread(place: usize) -> f64 {
    (place as f64 * 0.618_033_988_749_894_9).fract() * 2.0 - 1.0
}

/// What a column is, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnKind {
    /// Its name.
    pub name: String,
    /// `number`, `text`, `code of a text`, `row of an embedding`, `words`.
    pub kind: String,
    /// Inputs that it makes.
    pub inputs: usize,
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
    /// ARFF columns, `stream.text`), or if `numeric` is given without it, or if more than a tenth of its
    /// values in the `first` events is text; else a number.
    ///
    /// # Errors
    /// If `spec` is invalid or names a column that is not there.
    pub fn new(spec: &FeaturesSpec, schema: &Schema, first: &Events) -> Result<Encoder> {
        let is_number = |index| {
            let (mut numbers, mut texts) = (0, 0);
            for event in 0..first.len() {
                match first.get(event).value(index) {
                    Value::Missing => {}
                    Value::Number(_) => numbers += 1,
                    Value::Text(_) => texts += 1,
                }
            }
            match (numbers, texts) {
                (0, 0) => !spec.unknown_is_text,
                _ => numbers >= NUMBERS_PER_TEXT * texts,
            }
        };
        Encoder::with_kinds(spec, schema, &is_number)
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
        if encoder.vector_running.is_some() {
            encoder.vector_running = Some(evidence.vector());
        }
        let categories = encoder.categories.iter_mut().map(|(column, _)| column);
        for column in encoder.numbers.iter_mut().chain(categories) {
            (column.numbers, column.texts) = evidence.counts(column.index);
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
        let texts = schema.row.iter().filter(|f| f.text).map(|f| &f.name);
        let texts: HashSet<_> = texts.chain(&schema.texts).collect();
        let vector = spec.vector_map();
        let (mut numbers, mut categories) = (Vec::new(), Vec::new());
        for (index, name) in schema.columns.iter().enumerate() {
            if spec.sequences.contains(name) {
                continue;
            }
            let column = Column { index, name: name.clone(), ..Column::default() };
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
            vector_scale: vector.map_or(1.0, |(scale, _)| scale),
            vector_offset: vector.map_or(0.0, |(_, offset)| offset),
            vector_running: (vector.is_none() && schema.vector > 0)
                .then(|| Running::new(schema.vector, spec.max_deviations)),
            vector_values: Vec::new(),
            columns: schema.columns.len(),
        })
    }

    /// Number of inputs.
    pub fn width(&self) -> usize {
        let categories: usize = self.categories.iter().map(|(_, c)| c.width()).sum();
        let numbers = self.numbers.len() * (1 + usize::from(self.missing_indicator));
        numbers + categories + self.vector
    }

    /// Learns from an event's inputs and then gives them: what test-then-train uses. What is no number
    /// in a column of numbers is missing and counted; a column with many of them becomes one of texts.
    ///
    /// # Errors
    /// If a number of the vector is not finite. Then nothing was learned, and `x` holds anything.
    pub fn encode(&mut self, event: Event<'_>, x: &mut [f32]) -> Checked<()> {
        assert_eq!(x.len(), self.width(), "inputs");
        let mut values = std::mem::take(&mut self.values);
        let checked = self.check_vector(event);
        if checked.is_ok() {
            self.take(event, &mut values);
            if self.standardize == Standardize::Running {
                self.running.learn(&values);
            }
            if let Some(running) = &mut self.vector_running {
                self.vector_values.clear();
                self.vector_values.extend(event.vector().iter().map(|v| f64::from(*v)));
                running.learn(&self.vector_values);
            }
            let [mut rest, mut rows] = self.numbers_and_vector(event, &values, x);
            for (column, category) in &mut self.categories {
                let from = if category.is_row() { &mut rows } else { &mut rest };
                let (inputs, others) = std::mem::take(from).split_at_mut(category.width());
                *from = others;
                let value = event.value(column.index);
                match value {
                    Value::Number(_) => column.numbers += 1,
                    Value::Text(_) => column.texts += 1,
                    Value::Missing => {}
                }
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
        self.check(event, &mut values, false)?;
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

    /// Takes the event's numbers and learns what their columns are.
    fn take(&mut self, event: Event<'_>, values: &mut Vec<f64>) {
        let fill = self.fill.unwrap_or(f64::NAN);
        values.resize(self.numbers.len(), 0.0);
        for (j, (value, column)) in values.iter_mut().zip(&mut self.numbers).enumerate() {
            *value = match event.value(column.index) {
                Value::Number(n) if column.codes.is_none() && n.abs() <= MAX_NUMBER => {
                    column.numbers += 1;
                    n
                }
                Value::Missing => fill,
                other => {
                    let (taken, revised) = column.other(other);
                    if revised {
                        self.running.reset(j);
                    }
                    if taken.is_nan() { fill } else { taken }
                }
            };
        }
    }

    /// The event's numbers; `strict` says that what is no number is an error instead of missing.
    fn check(&self, event: Event<'_>, values: &mut Vec<f64>, strict: bool) -> Checked<()> {
        let fill = self.fill.unwrap_or(f64::NAN);
        values.resize(self.numbers.len(), 0.0);
        for (value, column) in values.iter_mut().zip(&self.numbers) {
            *value = match event.value(column.index) {
                Value::Missing => fill,
                value if column.codes.is_some() => column.find_code(value).unwrap_or(0.0),
                Value::Number(n) if n.abs() <= MAX_NUMBER => n,
                Value::Text(text) if loose(text).is_some() => loose(text).unwrap_or(f64::NAN),
                bad if strict => return Err(bad_number(&column.name, bad)),
                _ => fill,
            };
        }
        self.check_vector(event)
    }

    /// Whether the numbers of the vector are good.
    fn check_vector(&self, event: Event<'_>) -> Checked<()> {
        assert_eq!((event.columns(), event.vector().len()), (self.columns, self.vector), "columns");
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
        self.check(event, &mut values, true)?;
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
        if let Some(running) = &self.vector_running {
            let values: Vec<f64> = event.vector().iter().map(|v| f64::from(*v)).collect();
            running.transform(&values, self.clip as f32, x);
            return;
        }
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

    /// What each column is, in the order of the schema.
    pub fn kinds(&self) -> Vec<ColumnKind> {
        let indicator = usize::from(self.missing_indicator);
        let number = |column: &Column| {
            let kind = if column.codes.is_some() { "code of a text" } else { "number" };
            (column.index, column.name.clone(), kind, 1 + indicator)
        };
        let category = |(column, category): &(Column, Category)| {
            let kind = match category {
                Category::Hashing(_) | Category::Dictionary(_) => "text",
                Category::Words { .. } => "words",
                Category::Ids(_) => "row of an embedding",
            };
            (column.index, column.name.clone(), kind, category.width())
        };
        let mut all: Vec<_> = self.numbers.iter().map(number).collect();
        all.extend(self.categories.iter().map(category));
        all.sort_unstable();
        let kind = |(_, name, kind, inputs): (usize, String, &str, usize)| ColumnKind {
            name,
            kind: kind.to_owned(),
            inputs,
        };
        all.into_iter().map(kind).collect()
    }

    /// What a user should know of columns whose values are of two kinds.
    pub fn notes(&self) -> Vec<Note> {
        let odd = |column: &Column| column.odd.clone().unwrap_or_default();
        let numbers = self.numbers.iter().filter(|c| c.odd.is_some()).map(|c| {
            let (name, odd) = (&c.name, odd(c));
            let text = match &c.codes {
                Some(_) => format!(
                    "column `{name}` was taken for numbers and holds texts (`{odd}`): each is a code of \
                     its one input; name the column in text for an input for each text"
                ),
                None => format!("column `{name}`: `{odd}` and the like are no numbers and are missing"),
            };
            Note { text, count: c.texts }
        });
        let texts = self
            .categories
            .iter()
            .map(|(column, _)| column)
            .filter(|c| c.numbers + c.texts >= 20 && c.texts > 0 && c.numbers > c.texts);
        let texts = texts.map(|c| {
            Note::once(format!(
                "column `{}` is text, though most of its values are numbers; name it in \
                 features.numeric if the others are missing values",
                c.name
            ))
        });
        numbers.chain(texts).collect()
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

impl Column {
    /// A value that is no number to be used as it is: of a column of texts, or a text among numbers.
    #[cold]
    fn other(&mut self, value: Value<'_>) -> (f64, bool) {
        match value {
            Value::Missing => (f64::NAN, false),
            // Beyond what a model can take.
            Value::Number(n) if self.codes.is_none() => {
                self.texts += 1;
                self.odd.get_or_insert_with(|| n.to_string());
                (f64::NAN, false)
            }
            Value::Number(n) => {
                self.numbers += 1;
                if self.numbers > NUMBERS_PER_TEXT * (self.texts + ENOUGH) && n.abs() <= MAX_NUMBER
                {
                    // Numbers after all.
                    self.codes = None;
                    return (n, true);
                }
                let mut buffer = [0; 32];
                (self.code(number_key(n, &mut buffer)), false)
            }
            // Such as 007, where most values have no zeros before them.
            Value::Text(text) if self.codes.is_none() && self.numbers > 0 => match loose(text) {
                Some(n) if n.abs() <= MAX_NUMBER => {
                    self.numbers += 1;
                    (n, false)
                }
                _ => self.text(text),
            },
            Value::Text(text) => self.text(text),
        }
    }
}

fn loose(text: &str) -> Option<f64> {
    number::loose(text.as_bytes(), number::Style::default())
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
