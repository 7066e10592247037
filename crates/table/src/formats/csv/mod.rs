//! CSV: quoted fields as in RFC 4180, which may continue in the next line, any delimiter of one byte.
//!
//! # Layout
//!
//! - `fields`: cuts a row into fields and decodes them
//! - `header`: the first row of a file, which may be a header, and the lines before it
//! - `open`: records of several lines

mod fields;
mod header;
mod open;

use self::fields::Fields;
use super::row::{self, Cell, Role};
use super::{BadEvent, Decoded, Decoder, Format, FormatSpec, Note, text};
use crate::events::{Events, Schema, Value};

pub(super) struct Csv {
    spec: FormatSpec,
    format: Format,
    fields: Fields,
    schema: Option<Schema>,
    /// Of `schema.row`; empty while no header was good.
    cells: Vec<Cell>,
    /// What the header of this file lacks, where it was not good.
    lacks: Option<String>,
    /// The header as a line, as far as names tell: one that comes again is no row.
    header: Vec<u8>,
    /// Whether the next row may be a header, and rows before it that are passed over.
    at_start: bool,
    skip: usize,
    /// Whether an event has shown what columns are.
    shown: bool,
    /// Lines of a record whose quoted field continues.
    open: Vec<Vec<u8>>,
    lost: Vec<BadEvent>,
    /// Lines before the header, and the first of them.
    titles: (u64, String),
    notes: Vec<Note>,
}

/// What the fields of a first row are called: as it says where it is a header, else as `spec` says,
/// else `c1`, `c2`, ...; and the names that were there more than once.
///
/// # Errors
/// If it cannot be cut into fields, or has not as many as `spec` names.
pub fn names(
    spec: &FormatSpec,
    format: Format,
    first: &[u8],
) -> Result<(Vec<String>, Vec<String>), BadEvent> {
    let mut csv = Csv::new(&FormatSpec { by_place: true, ..spec.clone() }, format, None);
    let (_, doubled) = csv.first_row(without_mark(first))?;
    let row = csv.schema.map(|schema| schema.row).unwrap_or_default();
    Ok((row.into_iter().map(|field| field.name).collect(), doubled))
}

/// The fields of a row as they are written, quotes taken away.
///
/// # Errors
/// If a quote is not closed.
pub fn fields(spec: &FormatSpec, format: Format, row: &[u8]) -> Result<Vec<String>, BadEvent> {
    Csv::new(spec, format, None).fields.split(without_mark(row))
}

/// Whether a row has nothing in any of its fields.
pub fn is_blank(row: &[u8]) -> bool {
    row.iter().all(|b| matches!(b, b',' | b';' | b'\t' | b'|' | b' ' | b'"' | b'\r'))
}

/// Without a byte order mark and what is left of a line end.
fn without_mark(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

impl Csv {
    pub fn new(spec: &FormatSpec, format: Format, schema: Option<Schema>) -> Csv {
        let known = schema.as_ref().and_then(|s| s.delimiter);
        let delimiter = delimiter(spec, format, known);
        let mut spec = spec.clone();
        if let (Some(known), None, None) = (&schema, spec.decimal, spec.thousands) {
            (spec.decimal, spec.thousands) = (known.decimal, known.thousands);
        }
        if let (Some(known), true) = (&schema, spec.units.is_empty()) {
            spec.units.clone_from(&known.units);
        }
        let cells = schema.as_ref().map_or_else(Vec::new, |s| row::cells(&spec, s));
        let header = schema.as_ref().map_or_else(Vec::new, |s| line_of(s, delimiter));
        Csv {
            fields: Fields::new(&spec, delimiter),
            spec,
            format,
            shown: schema.as_ref().is_some_and(|s| s.shown),
            schema,
            cells,
            lacks: None,
            header,
            at_start: false,
            skip: 0,
            open: Vec::new(),
            lost: Vec::new(),
            titles: (0, String::new()),
            notes: Vec::new(),
        }
    }

    fn name(&self, field: usize) -> &str {
        self.schema.as_ref().map_or("", |s| &s.row[field].name)
    }

    /// Decodes a whole record.
    fn record(&mut self, bytes: &[u8], events: &mut Events) -> Result<Decoded, BadEvent> {
        if self.at_start || self.schema.is_none() {
            let start = std::mem::take(&mut self.at_start);
            if self.skip > 0 {
                self.skip -= 1;
                self.at_start = start;
                self.count_title(bytes);
                return Ok(Decoded::Nothing);
            }
            if is_blank(bytes) {
                self.at_start = start;
                self.count_title(bytes);
                return Ok(Decoded::Nothing);
            }
            if let Some(title) = self.title(bytes) {
                self.at_start = start;
                return title;
            }
            if self.first_row(bytes)?.0 {
                return Ok(Decoded::Header);
            }
        } else if bytes == self.header {
            return Ok(Decoded::Nothing);
        } else if let Some(names) = self.reordered(bytes) {
            return self.take_reordered(names);
        }
        let Some(schema) = self.schema.as_ref().filter(|s| !s.row.is_empty()) else {
            let lacks = self.lacks.as_deref();
            return Err(BadEvent::new(lacks.unwrap_or("the header lacks a column of the model")));
        };
        let mut draft = events.start(schema);
        match self.fields.row(bytes, &self.cells, &mut draft) {
            Ok(()) if self.shown => row::finish(&self.spec, draft),
            Ok(()) => {
                let seen = self.cells.iter().map(|cell| match cell.role {
                    Role::Input(column) => match draft.get(column) {
                        value if value.is_text() => Seen::Text,
                        Value::Number(_) => Seen::Number,
                        _ => Seen::Nothing,
                    },
                    _ => Seen::Nothing,
                });
                let seen: Vec<Seen> = seen.collect();
                row::finish(&self.spec, draft);
                self.show(&seen);
            }
            Err((field, mut bad)) => {
                if field < self.cells.len() {
                    bad.reason = format!("column `{}`: {}", self.name(field), bad.reason);
                }
                return Err(bad);
            }
        }
        Ok(Decoded::Event)
    }

    /// The first event shows which columns are text and which are numbers.
    fn show(&mut self, seen: &[Seen]) {
        self.shown = true;
        let Some(mut schema) = self.schema.take() else { return };
        schema.shown = true;
        for (field, seen) in schema.row.iter_mut().zip(seen) {
            field.number = *seen == Seen::Number;
            if *seen == Seen::Text && !self.spec.looked && !field.text {
                field.text = true;
                schema.texts.push(field.name.clone());
            }
        }
        self.set_schema(schema);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    Number,
    Text,
}

/// What a format has between fields where nothing is said.
fn plain(format: Format) -> u8 {
    if format == Format::Tsv { b'\t' } else { b',' }
}

/// What is between fields: as the recipe says, or is known, or the format has it.
fn delimiter(spec: &FormatSpec, format: Format, known: Option<char>) -> u8 {
    spec.delimiter.or(known).map_or(plain(format), |c| c as u8)
}

/// The names of a row between delimiters.
fn line_of(schema: &Schema, delimiter: u8) -> Vec<u8> {
    let names: Vec<&[u8]> = schema.row.iter().map(|f| f.name.as_bytes()).collect();
    names.join(&delimiter)
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
        if first {
            self.give_up();
            (self.at_start, self.skip) = (true, self.spec.skip_rows.unwrap_or(0));
        }
        if bytes.is_empty() {
            return Ok(Decoded::Nothing);
        }
        if !self.open.is_empty() {
            return self.go_on(bytes, events);
        }
        let at_start = self.at_start;
        let decoded = self.record(bytes, events);
        if decoded.as_ref().is_err_and(|bad| bad.unclosed) {
            self.at_start = at_start;
            self.open.push(bytes.to_vec());
            return Ok(Decoded::Nothing);
        }
        decoded
    }

    fn schema(&self) -> Option<&Schema> {
        self.schema.as_ref()
    }

    fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    fn take_lost(&mut self) -> Vec<BadEvent> {
        std::mem::take(&mut self.lost)
    }

    fn finish(&mut self) -> Vec<BadEvent> {
        self.give_up();
        self.take_lost()
    }

    fn notes(&self) -> Vec<Note> {
        let mut notes = self.notes.clone();
        if self.titles.0 > 0 {
            let text = format!(
                "lines before the table were passed over, the first of them `{}`",
                self.titles.1
            );
            notes.push(Note { text, count: self.titles.0 });
        }
        if self.fields.short > 0 {
            let text = "rows end before the last column; what is not there is missing".to_owned();
            notes.push(Note { text, count: self.fields.short });
        }
        notes.extend(text::note(self.fields.odd));
        notes
    }
}
