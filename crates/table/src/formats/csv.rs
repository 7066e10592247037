//! CSV: quoted fields as in RFC 4180, one row per line, any delimiter of one byte.

use memchr::memchr;

use super::row::{self, Cell, Role};
use super::{BadEvent, Decoded, Decoder, Format, FormatSpec, number, short};
use crate::events::{Draft, Events, Field, Schema, Value};

pub(super) struct Csv {
    spec: FormatSpec,
    fields: Fields,
    schema: Option<Schema>,
    /// Of `schema.row`; empty while no header was good.
    cells: Vec<Cell>,
}

/// What the fields of a first row are called: as it says where it is a header, else as `spec` says,
/// else `c1`, `c2`, ...
///
/// # Errors
/// If it cannot be cut into fields, or has not as many as `spec` names.
pub fn names(spec: &FormatSpec, format: Format, first: &[u8]) -> Result<Vec<String>, BadEvent> {
    let mut csv = Csv::new(spec, format, None);
    csv.first_row(without_mark(first))?;
    let row = csv.schema.map(|schema| schema.row).unwrap_or_default();
    Ok(row.into_iter().map(|field| field.name).collect())
}

/// The fields of a row as they are written, quotes taken away.
///
/// # Errors
/// If a quote is not closed.
pub fn fields(spec: &FormatSpec, format: Format, row: &[u8]) -> Result<Vec<String>, BadEvent> {
    Csv::new(spec, format, None).fields.split(without_mark(row))
}

/// Without a byte order mark and what is left of a line end.
fn without_mark(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

impl Csv {
    pub fn new(spec: &FormatSpec, format: Format, schema: Option<Schema>) -> Csv {
        let tab = if format == Format::Tsv { b'\t' } else { b',' };
        let delimiter = spec.delimiter.map_or(tab, |c| c as u8);
        let missing = spec.missing.iter().map(|m| m.clone().into_bytes()).collect();
        let cells = schema.as_ref().map_or_else(Vec::new, |s| row::cells(spec, s));
        let fields = Fields::new(delimiter, missing);
        Csv { spec: spec.clone(), fields, schema, cells }
    }

    /// Takes the first row of a stream or file, which may be a header; tells whether it is.
    fn first_row(&mut self, bytes: &[u8]) -> Result<bool, BadEvent> {
        let names = self.fields.split(bytes)?;
        let Some(schema) = &mut self.schema else {
            let header = match (&self.spec.columns, self.spec.header) {
                (Some(columns), None) => names == *columns,
                (_, Some(header)) => header,
                (None, None) => self.no_values(&names),
            };
            let names = match &self.spec.columns {
                Some(columns) if columns.len() == names.len() => columns.clone(),
                Some(columns) => {
                    return Err(BadEvent::new(wrong_count(names.len(), columns.len())));
                }
                None if header => names,
                None => (1..=names.len()).map(|i| format!("c{i}")).collect(),
            };
            let field = |name| Field { name, text: false, zero: None };
            let schema = row::schema(&self.spec, names.into_iter().map(field).collect())?;
            self.cells = row::cells(&self.spec, &schema);
            self.schema = Some(schema);
            return Ok(header);
        };
        let known =
            |name: &String| schema.columns.contains(name) || schema.label.as_ref() == Some(name);
        let header = match self.spec.header {
            Some(header) => header,
            None => names.iter().any(known) && self.no_values(&names),
        };
        if header {
            // A header that lacks a column leaves an empty row behind, also in checkpoints: what
            // follows it in this file is bad, until the next header.
            let schema = self.schema.as_mut().expect("looked at above");
            let row = row::same_columns(schema, names);
            schema.row = row.as_ref().map_or_else(|_| Vec::new(), Clone::clone);
            self.cells = row::cells(&self.spec, schema);
            row?;
        } else if self.spec.unlabelled
            && let Some(schema) = &mut self.schema
            && names.len() + 1 == schema.row.len()
        {
            // What comes after the label moves down.
            let label = schema.label.as_ref();
            schema.row.retain(|field| Some(&field.name) != label);
            self.cells = row::cells(&self.spec, schema);
        }
        Ok(header)
    }

    /// Whether no field is a number or missing.
    fn no_values(&self, names: &[String]) -> bool {
        names.iter().all(|name| {
            let name = name.as_bytes();
            number::whole(name).is_none() && !self.fields.is_missing(name)
        })
    }

    fn name(&self, field: usize) -> &str {
        self.schema.as_ref().map_or("", |s| &s.row[field].name)
    }
}

impl Decoder for Csv {
    fn decode(
        &mut self,
        bytes: &[u8],
        first: bool,
        events: &mut Events,
    ) -> Result<Decoded, BadEvent> {
        let bytes = match first {
            true => without_mark(bytes),
            false => bytes.strip_suffix(b"\r").unwrap_or(bytes),
        };
        if bytes.is_empty() {
            return Ok(Decoded::Nothing);
        }
        if (first || self.schema.is_none()) && self.first_row(bytes)? {
            return Ok(Decoded::Nothing);
        }
        let Some(schema) = self.schema.as_ref().filter(|s| !s.row.is_empty()) else {
            return Err(BadEvent::new("the header of this file lacks a column of the model"));
        };
        let mut draft = events.start(schema);
        match self.fields.row(bytes, &self.cells, &mut draft) {
            Ok(()) => {
                draft.finish();
                Ok(Decoded::Event)
            }
            Err((field, mut bad)) => {
                if field < self.cells.len() {
                    bad.reason = format!("column `{}`: {}", self.name(field), bad.reason);
                }
                Err(bad)
            }
        }
    }

    fn schema(&self) -> Option<&Schema> {
        self.schema.as_ref()
    }
}

/// Cuts rows into fields.
struct Fields {
    delimiter: u8,
    missing: Vec<Vec<u8>>,
    /// Whether one of those reads as a number, such as `-999` or `NaN`.
    missing_number: bool,
    /// A quoted field without its doubled quotes.
    unquoted: Vec<u8>,
}

impl Fields {
    fn new(delimiter: u8, missing: Vec<Vec<u8>>) -> Fields {
        let missing_number = missing.iter().any(|text| number::whole(text).is_some());
        Fields { delimiter, missing, missing_number, unquoted: Vec::new() }
    }

    /// Decodes a row; an error comes with the field it is in.
    fn row(
        &mut self,
        bytes: &[u8],
        cells: &[Cell],
        draft: &mut Draft<'_>,
    ) -> Result<(), (usize, BadEvent)> {
        let mut at = 0;
        for (i, cell) in cells.iter().enumerate() {
            // Nearly all fields are numbers: the end of the number is the end of the field.
            match number::prefix(&bytes[at..]) {
                Some((number, len))
                    if !cell.text
                        && bytes.get(at + len).is_none_or(|next| *next == self.delimiter)
                        && !(self.missing_number && self.is_missing(&bytes[at..at + len])) =>
                {
                    at += len;
                    row::put(draft, cell.role, Value::Number(number)).map_err(|bad| (i, bad))?;
                }
                _ => {
                    let end = self.field(bytes, at, cell, draft).map_err(|bad| (i, bad))?;
                    at = end;
                }
            }
            if at == bytes.len() {
                if i + 1 < cells.len() {
                    return Err((cells.len(), BadEvent::new(wrong_count(i + 1, cells.len()))));
                }
                return Ok(());
            }
            at += 1;
        }
        let rest = self.split(&bytes[at..]).map_or(1, |rest| rest.len());
        Err((cells.len(), BadEvent::new(wrong_count(cells.len() + rest, cells.len()))))
    }

    /// The field at `at` that is no plain number; gives its end.
    fn field(
        &mut self,
        bytes: &[u8],
        at: usize,
        cell: &Cell,
        draft: &mut Draft<'_>,
    ) -> Result<usize, BadEvent> {
        let (value, end) = self.cut(bytes, at)?;
        let value = match value {
            Cut::Plain(value) => value,
            Cut::Unquoted => &self.unquoted,
        };
        if cell.role == Role::Ignore {
            return Ok(end);
        }
        let value = if self.is_missing(value) {
            Value::Missing
        } else if let Some(number) = number::whole(value).filter(|_| !cell.text) {
            Value::Number(number)
        } else {
            let text = std::str::from_utf8(value)
                .map_err(|_| BadEvent::new(format!("`{}` is not UTF-8", short(value))))?;
            Value::Text(text)
        };
        row::put(draft, cell.role, value)?;
        Ok(end)
    }

    /// Cuts out the field at `at`, without spaces around it, and finds its end.
    fn cut<'b>(&mut self, bytes: &'b [u8], at: usize) -> Result<(Cut<'b>, usize), BadEvent> {
        let spaces = |&&b: &&u8| b == b' ' && self.delimiter != b' ';
        let rest = &bytes[at..];
        let start = rest.iter().take_while(spaces).count();
        if rest.get(start) != Some(&b'"') {
            let len = memchr(self.delimiter, rest).unwrap_or(rest.len());
            let start = start.min(len);
            let after = rest[start..len].iter().rev().take_while(spaces).count();
            return Ok((Cut::Plain(&rest[start..len - after]), at + len));
        }
        let text = &rest[start + 1..];
        let unended = || BadEvent::new("a quoted field has no closing quote on its line");
        let mut close = memchr(b'"', text).ok_or_else(unended)?;
        let doubled = text.get(close + 1) == Some(&b'"');
        if doubled {
            self.unquoted.clear();
            let mut from = 0;
            while text.get(close + 1) == Some(&b'"') {
                self.unquoted.extend_from_slice(&text[from..=close]);
                from = close + 2;
                close = from + memchr(b'"', &text[from..]).ok_or_else(unended)?;
            }
            self.unquoted.extend_from_slice(&text[from..close]);
        }
        let after = close + 1;
        let end = after + text[after..].iter().take_while(spaces).count();
        if text.get(end).is_some_and(|next| *next != self.delimiter) {
            return Err(BadEvent::new(format!(
                "`{}` follows a closing quote; a quote within a field is doubled",
                short(&text[end..])
            )));
        }
        let cut = if doubled { Cut::Unquoted } else { Cut::Plain(&text[..close]) };
        Ok((cut, at + start + 1 + end))
    }

    fn is_missing(&self, value: &[u8]) -> bool {
        self.missing.iter().any(|missing| missing == value)
    }

    /// All fields as text; for headers.
    fn split(&mut self, bytes: &[u8]) -> Result<Vec<String>, BadEvent> {
        let mut fields = Vec::new();
        let mut at = 0;
        loop {
            let (value, end) = self.cut(bytes, at)?;
            let value = match value {
                Cut::Plain(value) => value,
                Cut::Unquoted => &self.unquoted,
            };
            fields.push(String::from_utf8_lossy(value).into_owned());
            if end == bytes.len() {
                return Ok(fields);
            }
            at = end + 1;
        }
    }
}

enum Cut<'a> {
    Plain(&'a [u8]),
    /// It is in [`Fields::unquoted`].
    Unquoted,
}

fn wrong_count(found: usize, expected: usize) -> String {
    format!("the row has {found} fields, expected {expected}")
}
