//! Events to the inputs of a model.
//!
//! # Layout
//!
//! - `column`: what one column has shown, and what a text among numbers becomes
//! - `inputs`: the numbers and the vector of an event, checked and written
//! - `rows`: events as [`Codes`](super::Codes), for a table in memory
//! - `about`: what columns and inputs are, for people and for the learner

mod about;
mod column;
mod inputs;
mod rows;

pub use about::{ColumnKind, Table};

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use self::column::Column;
use super::bits;
use super::category::{Category, write_words};
use super::evidence::Evidence;
use super::hats::Hats;
use super::numeric::Running;
use super::spec::{FeaturesSpec, Standardize};
use crate::error::{Error, Result};
use crate::events::{Event, Events, Schema, Value};
use crate::formats::number::mostly_numbers;
use crate::formats::{BadEvent, short_list};

type Checked<T> = std::result::Result<T, BadEvent>;

/// What has been learned of raw features, in a pass over a table ([`Encoder::fit`]) or online; saved in
/// checkpoints.
///
/// The inputs are, in this order and each in the order of the schema's columns: the numbers, their
/// missing indicators (if asked for), the categories, the vector, the numbers' hats (if the model reads them), the
/// rows of embeddings.
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
    /// Which columns have hats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hats: Option<Hats>,
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

/// A row of an embedding that belongs to no id any more and is to be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreedRow {
    /// Which of the last inputs gives rows of this embedding.
    pub embedding: usize,
    /// The row.
    pub row: usize,
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
                let value = first.get(event).value(index);
                numbers += u64::from(matches!(value, Value::Number(_)));
                texts += u64::from(value.is_text());
            }
            match (numbers, texts) {
                (0, 0) => !spec.unknown_is_text,
                _ => mostly_numbers(numbers, texts),
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
        if let Some(hats) = &mut encoder.hats {
            for (j, column) in encoder.numbers.iter().enumerate() {
                evidence.first_numbers(column.index).into_iter().for_each(|n| hats.learn_one(j, n));
            }
            let columns = encoder.numbers.iter().map(|column| evidence.distinct(column.index));
            hats.fit(columns, |j, value| encoder.running.place(j, value));
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
            hats: spec.hats.map(|each| Hats::new(numbers.len(), each)),
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
        let hats = self.hats.as_ref().map_or(0, Hats::width);
        numbers + categories + self.vector + hats
    }

    /// Learns from an event's inputs and then gives them: what test-then-train uses. What is no number
    /// in a column of numbers is missing and counted; a column with many of them becomes one of texts.
    ///
    /// # Errors
    /// If a number of the vector is not finite. Then nothing was learned, and `x` holds anything.
    pub fn encode(&mut self, event: Event<'_>, x: &mut [f32]) -> Checked<()> {
        assert_eq!(x.len(), self.width(), "inputs");
        let mut values = std::mem::take(&mut self.values);
        let mut vector = std::mem::take(&mut self.vector_values);
        let checked = self.check_vector(event);
        if checked.is_ok() {
            self.take(event, &mut values);
            if self.standardize == Standardize::Running {
                self.running.learn(&values);
            }
            if let Some(hats) = &mut self.hats {
                hats.learn(&values);
            }
            self.vector_values(event, &mut vector);
            if let Some(running) = &mut self.vector_running {
                running.learn(&vector);
            }
            let [mut rest, mut rows] = self.numbers_and_vector(event, &values, &vector, x);
            for (column, category) in &mut self.categories {
                let from = if category.is_row() { &mut rows } else { &mut rest };
                let (inputs, others) = std::mem::take(from).split_at_mut(category.width());
                *from = others;
                let value = event.value(column.index);
                column.numbers += u64::from(matches!(value, Value::Number(_)));
                column.texts += u64::from(value.is_text());
                match category {
                    Category::Words { buckets, .. } => write_words(value, *buckets, inputs),
                    _ => {
                        let found = category.learn(value);
                        category.write(found, inputs);
                    }
                }
            }
        }
        (self.values, self.vector_values) = (values, vector);
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
        let mut vector = Vec::new();
        self.vector_values(event, &mut vector);
        let [mut rest, mut rows] = self.numbers_and_vector(event, &values, &vector, x);
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

    /// Inputs that are rows of embeddings, the last ones.
    fn rows(&self) -> usize {
        let rows = self.categories.iter().filter(|(_, category)| category.is_row());
        rows.map(|(_, category)| category.width()).sum()
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
