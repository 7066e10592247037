//! Reading a table into memory.
//!
//! The file is read two or three times: once for the columns' types, once for the names of
//! categories that look like numbers if there are any, once for the values. Reading again is cheaper than holding a
//! table of text, and a second read finds the file in the page cache.

use std::collections::HashMap;
use std::path::Path;

use super::schema::{Column, ColumnKind, CsvSchema};
use super::table::{MissingValues, Row, Table, number};
use super::{BadRows, CsvSpec, LabelType, Missing, infer};
use crate::memory::{Features, Labels, Origin};
use crate::{Error, MemoryDataset, Result};

/// Reasons kept for people; the count goes on.
const MAX_REASONS: usize = 20;

pub(super) fn open(spec: &CsvSpec, path: &Path, like: Option<&CsvSchema>) -> Result<MemoryDataset> {
    let (schema, num_rows) = match like {
        Some(schema) => (schema.clone(), 0),
        None => infer::infer(spec, path)?,
    };
    let mut table = Table::open(spec, path)?;
    let places = table.places(&schema, spec)?;
    let mut reader = Reader::new(&schema, spec, places, num_rows);
    let mut row = Row::default();
    while table.read(&mut row)? {
        if spec.limit.is_some_and(|limit| reader.lines.len() >= limit) {
            break;
        }
        if let Err(refusal) = reader.add(&row) {
            reader.refuse(path, &row, refusal)?;
        }
    }
    reader.finish(spec, path, schema.clone())
}

/// Where in the row the schema's columns are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Of each feature column.
    pub(super) columns: Vec<usize>,
    /// Of the label.
    pub(super) label: Option<usize>,
    /// Fields that a row must have.
    pub(super) num_fields: usize,
}

/// Why a row is not taken.
enum Refusal {
    /// A value is missing.
    Missing(String),
    /// The label is missing, which no policy makes up for.
    MissingLabel(String),
    /// The row cannot be understood.
    Bad(String),
}

/// What fields become.
struct Reader<'a> {
    spec: &'a CsvSpec,
    schema: &'a CsvSchema,
    missing: MissingValues,
    places: Places,
    /// Numbers of the names of each category column; empty for numbers.
    categories: Vec<HashMap<&'a str, u32>>,
    classes: Option<HashMap<&'a str, u32>>,
    features: Vec<f32>,
    labels: Vec<u32>,
    values: Vec<f32>,
    lines: Vec<u32>,
    num_skipped: usize,
    reasons: Vec<String>,
}

fn numbered(names: &[String]) -> HashMap<&str, u32> {
    names.iter().zip(0..).map(|(name, i)| (name.as_str(), i)).collect()
}

impl<'a> Reader<'a> {
    fn new(schema: &'a CsvSchema, spec: &'a CsvSpec, places: Places, num_rows: usize) -> Self {
        let num_rows = num_rows.min(spec.limit.unwrap_or(usize::MAX));
        let categories = schema.columns.iter().map(|c| match &c.kind {
            ColumnKind::Number { .. } => HashMap::new(),
            ColumnKind::Category { names, .. } => numbered(names),
        });
        Self {
            spec,
            schema,
            missing: MissingValues::new(spec),
            places,
            categories: categories.collect(),
            classes: schema.label.as_ref().and_then(|l| l.classes.as_deref()).map(numbered),
            features: Vec::with_capacity(num_rows * schema.num_features()),
            labels: Vec::new(),
            values: Vec::new(),
            lines: Vec::with_capacity(num_rows),
            num_skipped: 0,
            reasons: Vec::new(),
        }
    }

    /// Takes one row, or leaves everything as it was.
    fn add(&mut self, row: &Row) -> Result<(), Refusal> {
        let start = self.features.len();
        let result = self.add_fields(row);
        match result {
            Ok(()) => self.lines.push(row.line().min(u64::from(u32::MAX)) as u32),
            Err(_) => self.features.truncate(start),
        }
        result
    }

    fn add_fields(&mut self, row: &Row) -> Result<(), Refusal> {
        if row.len() != self.places.num_fields {
            return Err(Refusal::Bad(format!(
                "has {} fields, expected {}",
                row.len(),
                self.places.num_fields
            )));
        }
        for (i, column) in self.schema.columns.iter().enumerate() {
            let text = field(row, self.places.columns[i], &column.name)?;
            self.add_feature(i, column, text)?;
        }
        let (Some(label), Some(place)) = (&self.schema.label, self.places.label) else {
            return Ok(());
        };
        let text = field(row, place, &label.name)?;
        if self.missing.has(text) {
            return Err(Refusal::MissingLabel(format!("the label \"{}\" is missing", label.name)));
        }
        match &self.classes {
            Some(classes) => match classes.get(text) {
                Some(&class) => self.labels.push(class),
                None => {
                    return Err(Refusal::Bad(format!(
                        "label \"{}\": \"{text}\" is no known class",
                        label.name
                    )));
                }
            },
            None => match number(text) {
                Some(value) => self.values.push(value),
                None => {
                    return Err(Refusal::Bad(format!(
                        "label \"{}\": \"{text}\" is no number; classes need label_type = \"class\"",
                        label.name
                    )));
                }
            },
        }
        Ok(())
    }

    fn add_feature(&mut self, i: usize, column: &Column, text: &str) -> Result<(), Refusal> {
        let missing = self.missing.has(text);
        let fill = match self.spec.missing {
            Missing::Fill(value) => Some(value),
            _ if missing => {
                return Err(Refusal::Missing(format!(
                    "column \"{}\" is missing; say missing = \"skip\" or missing = {{ fill = 0.0 }}",
                    column.name
                )));
            }
            _ => None,
        };
        match &column.kind {
            ColumnKind::Number { mean, std } => {
                let value = match fill {
                    Some(fill) if missing => fill,
                    _ => number(text).ok_or_else(|| {
                        Refusal::Bad(format!(
                            "column \"{}\": \"{text}\" is no number; say bad_rows = \"skip\", or \
                             list the column in categorical",
                            column.name
                        ))
                    })?,
                };
                self.features.push((value - mean) / std);
            }
            ColumnKind::Category { names, one_hot } => {
                let name = if missing { "" } else { text };
                let &number = self.categories[i].get(name).ok_or_else(|| {
                    Refusal::Bad(format!(
                        "column \"{}\": the training set has no category \"{text}\"",
                        column.name
                    ))
                })?;
                if *one_hot {
                    let hot = self.features.len() + number as usize;
                    self.features.resize(self.features.len() + names.len(), 0.0);
                    self.features[hot] = 1.0;
                } else {
                    self.features.push(number as f32);
                }
            }
        }
        Ok(())
    }

    /// Applies the policy for a row that was not taken.
    fn refuse(&mut self, path: &Path, row: &Row, refusal: Refusal) -> Result<()> {
        let (what, fatal) = match refusal {
            Refusal::Missing(what) => (what, self.spec.missing == Missing::Fail),
            Refusal::MissingLabel(what) => (what, self.spec.missing == Missing::Fail),
            Refusal::Bad(what) => (what, self.spec.bad_rows == BadRows::Fail),
        };
        let error = Error::Row { path: path.to_owned(), line: row.line(), what };
        if fatal {
            return Err(error);
        }
        self.num_skipped += 1;
        if self.reasons.len() < MAX_REASONS {
            self.reasons.push(error.to_string());
        }
        Ok(())
    }

    fn finish(self, spec: &CsvSpec, path: &Path, schema: CsvSchema) -> Result<MemoryDataset> {
        if self.lines.is_empty() {
            let skipped = match self.reasons.first() {
                Some(first) => format!("; {} were left out, first: {first}", self.num_skipped),
                None => String::new(),
            };
            return Err(Error::format(path, format!("has no usable rows{skipped}")));
        }
        let labels = match (self.places.label, &self.classes) {
            (None, _) => Labels::None,
            (Some(_), Some(_)) => Labels::Classes(self.labels),
            (Some(_), None) => Labels::Values { values: self.values, width: 1 },
        };
        let origin = Origin { file: spec.path.clone(), lines: self.lines };
        let mut data = MemoryDataset::new(
            Features::F32(self.features),
            &[self.schema.num_features()],
            labels,
        )?
        .with_origin(origin)
        .with_skipped(self.num_skipped, self.reasons);
        if let Some(classes) = schema.label.as_ref().and_then(|l| l.classes.clone()) {
            data = data.with_class_names(classes)?;
        }
        if let Some(normalize) = &spec.normalize {
            data = data.with_normalize(normalize)?;
        }
        Ok(data.with_schema(schema))
    }
}

/// The text of a field; `name` is its column.
fn field<'r>(row: &'r Row, place: usize, name: &str) -> Result<&'r str, Refusal> {
    row.get(place).ok_or_else(|| Refusal::Bad(format!("column \"{name}\" is not UTF-8 text")))
}

/// Whether labels of this kind are classes.
pub(super) fn wants_classes(spec: &CsvSpec) -> bool {
    spec.label_type == LabelType::Class
}
