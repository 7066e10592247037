//! The rows of a file, and its columns' names and places.

use std::io::Read;
use std::path::{Path, PathBuf};

use csv::{ByteRecord, ReaderBuilder, Trim};

use super::read::Places;
use super::{ColumnName, CsvSchema, CsvSpec};
use crate::source::{open, read_error};
use crate::{Error, Result};

/// One row; its storage is used again for the next one.
#[derive(Default)]
pub(super) struct Row(ByteRecord);

impl Row {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The text of a field; none if it is not UTF-8 (or not there).
    pub(super) fn get(&self, place: usize) -> Option<&str> {
        self.0.get(place).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// The line where the row begins, from 1.
    pub(super) fn line(&self) -> u64 {
        self.0.position().map_or(0, csv::Position::line)
    }
}

/// An open file, after its header.
pub(super) struct Table {
    path: PathBuf,
    reader: csv::Reader<Box<dyn Read>>,
    /// The columns' names, where there is a header.
    header: Option<Vec<String>>,
    /// The first row, if it was read to count its fields.
    first: Option<ByteRecord>,
    pub(super) num_fields: usize,
}

impl Table {
    pub(super) fn open(spec: &CsvSpec, path: &Path) -> Result<Self> {
        let delimiter = u8::try_from(spec.delimiter)
            .ok()
            .filter(|d| d.is_ascii() && !b"\"\r\n".contains(d))
            .ok_or_else(|| {
                Error::option(format!(
                    "{}: delimiter {:?} is no ASCII character",
                    spec.path, spec.delimiter
                ))
            })?;
        let reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .trim(Trim::All)
            .from_reader(open(path)?);
        let mut table =
            Self { path: path.to_owned(), reader, header: None, first: None, num_fields: 0 };
        let mut first = ByteRecord::new();
        if !table.read_record(&mut first)? {
            return Err(Error::format(path, "is empty"));
        }
        table.num_fields = first.len();
        if spec.header {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            table.header = Some(first.iter().map(text).collect());
        } else {
            table.first = Some(first);
        }
        Ok(table)
    }

    /// Reads the next row; false at the end.
    pub(super) fn read(&mut self, row: &mut Row) -> Result<bool> {
        match self.first.take() {
            Some(first) => {
                row.0 = first;
                Ok(true)
            }
            None => self.read_record(&mut row.0),
        }
    }

    fn read_record(&mut self, record: &mut ByteRecord) -> Result<bool> {
        self.reader.read_byte_record(record).map_err(|e| match e.into_kind() {
            csv::ErrorKind::Io(e) => read_error(&self.path, e),
            other => Error::format(&self.path, format!("cannot be read as a table: {other:?}")),
        })
    }

    /// What people call the column at `place`.
    pub(super) fn name(&self, place: usize) -> String {
        match &self.header {
            Some(header) => header[place].clone(),
            None => place.to_string(),
        }
    }

    /// The place of a column that an option names.
    pub(super) fn place(&self, option: &str, name: &ColumnName) -> Result<usize> {
        let n = self.num_fields;
        let path = self.path.display();
        match (name, &self.header) {
            (&ColumnName::Index(i), _) => {
                let place = if i < 0 { i + n as i64 } else { i };
                if !(0..n as i64).contains(&place) {
                    return Err(Error::option(format!(
                        "{path}: {option}: there is no column {i}; the table has {n}"
                    )));
                }
                Ok(place as usize)
            }
            (ColumnName::Name(name), Some(header)) => {
                header.iter().position(|h| h == name).ok_or_else(|| {
                    let mut names = header.iter().take(12).cloned().collect::<Vec<_>>().join(", ");
                    if header.len() > 12 {
                        names.push_str(", ...");
                    }
                    Error::option(format!(
                        "{path}: {option}: there is no column \"{name}\"; the columns are {names}"
                    ))
                })
            }
            (ColumnName::Name(name), None) => Err(Error::option(format!(
                "{path}: {option}: \"{name}\" names a column, but header = false; give its place, \
                 from 0, or -1 for the last"
            ))),
        }
    }

    /// Where this file has the columns of `schema`, which may come from another file.
    pub(super) fn places(&self, schema: &CsvSchema, spec: &CsvSpec) -> Result<Places> {
        let label = schema.label.as_ref().filter(|_| spec.label.is_some());
        if self.header.is_some() {
            let find = |option: &str, name: &str| self.place(option, &name.into());
            let columns = schema.columns.iter().map(|c| find("features", &c.name));
            return Ok(Places {
                columns: columns.collect::<Result<_>>()?,
                label: label.map(|l| find("label", &l.name)).transpose()?,
                num_fields: self.num_fields,
            });
        }
        // Data to predict often lacks just the label; what comes after it then moves down.
        let cut = match &schema.label {
            Some(l) if spec.label.is_none() && self.num_fields + 1 == schema.num_fields => l.index,
            _ if self.num_fields == schema.num_fields => usize::MAX,
            _ => {
                return Err(Error::format(
                    &self.path,
                    format!(
                        "has {} columns, the training set {}",
                        self.num_fields, schema.num_fields
                    ),
                ));
            }
        };
        let moved = |index: usize| if index > cut { index - 1 } else { index };
        Ok(Places {
            columns: schema.columns.iter().map(|c| moved(c.index)).collect(),
            label: label.map(|l| l.index),
            num_fields: self.num_fields,
        })
    }
}

/// The texts that stand for a missing value, made quick to rule out.
pub(super) struct MissingValues {
    values: Vec<String>,
    /// Whether one of them begins so; empty ones are looked up as a zero byte.
    first: [bool; 256],
}

impl MissingValues {
    pub(super) fn new(spec: &CsvSpec) -> Self {
        let mut first = [false; 256];
        for value in &spec.missing_values {
            first[usize::from(first_byte(value))] = true;
        }
        Self { values: spec.missing_values.clone(), first }
    }

    /// Whether `text` is one of them.
    pub(super) fn has(&self, text: &str) -> bool {
        self.first[usize::from(first_byte(text))] && self.values.iter().any(|m| m == text)
    }
}

fn first_byte(text: &str) -> u8 {
    text.bytes().next().unwrap_or(0)
}

/// A finite number.
pub(super) fn number(text: &str) -> Option<f32> {
    text.parse().ok().filter(|v: &f32| v.is_finite())
}
