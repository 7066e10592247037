//! The first row of a file of CSV, which may be a header, and the lines before it.

use memchr::memchr;

use super::super::bounds::Names;
use super::super::{LABELS, delimiter, look, row};
use super::fields::{Fields, wrong_count};
use super::{Csv, line_of, plain};
use crate::events::{Field, Schema};
use crate::formats::{BadEvent, Decoded, Format, Note, number, short};

impl Csv {
    /// Takes the first row of a stream or file, which may be a header; gives whether it is, and which
    /// names are there more than once.
    pub(super) fn first_row(&mut self, bytes: &[u8]) -> Result<(bool, Vec<String>), BadEvent> {
        if self.schema.is_none() && self.spec.delimiter.is_none() && self.format == Format::Csv {
            let delimiter = delimiter::delimiter(&[bytes], self.spec.quote_byte());
            self.fields.set_delimiter(&self.spec, delimiter);
        }
        let mut names = self.fields.split(bytes)?;
        if self.spec.row_names {
            names.insert(0, String::new());
        }
        if self.schema.is_some() {
            return self.next_file(names).map(|header| (header, Vec::new()));
        }
        let header = match (&self.spec.columns, self.spec.header) {
            (Some(columns), None) => names == *columns,
            (_, Some(header)) => header,
            (None, None) => self.is_header(&names),
        };
        let mut notes = Vec::new();
        let (mut doubled, mut index) = (Vec::new(), Vec::new());
        let names = match &self.spec.columns {
            Some(columns) if columns.len() == names.len() => columns.clone(),
            Some(columns) => {
                return Err(BadEvent::new(wrong_count(names.len(), columns.len())));
            }
            None if header => {
                let (mut names, mut bound) = (names, Names::default());
                names.iter().try_for_each(|name| bound.add("column", name, 0))?;
                index = look::unnamed(&names);
                let at_end = names.len() - 1;
                for &i in &index {
                    let place = if i == at_end && i > 0 { "last" } else { "first" };
                    notes.push(Note::once(format!(
                        "the {place} column has no name and is no input; name it, or set columns, to \
                         use it"
                    )));
                }
                doubled = row::unique(&mut names, &mut notes);
                names
            }
            None => (1..=names.len()).map(|i| format!("c{i}")).collect(),
        };
        let named = [&self.spec.label, &self.spec.id, &self.spec.weight].into_iter().flatten();
        if let Some(name) = named.into_iter().find(|n| doubled.contains(n) && !self.spec.by_place) {
            return Err(BadEvent::fatal(format!(
                "two columns are called `{name}`, which {} names; rename one",
                self.spec.section
            )));
        }
        let fields = names.into_iter().map(Field::named).collect();
        let mut schema = row::schema(&self.spec, fields, &index)?;
        schema.delimiter = Some(self.fields.delimiter as char).filter(|_| {
            self.spec.delimiter.is_none() && self.fields.delimiter != plain(self.format)
        });
        (schema.decimal, schema.thousands) = (self.spec.decimal, self.spec.thousands);
        schema.units.clone_from(&self.spec.units);
        notes.extend(like_labels(&schema));
        self.notes.extend(notes);
        self.set_schema(schema);
        Ok((header, doubled))
    }

    pub(super) fn set_schema(&mut self, schema: Schema) {
        self.cells = row::cells(&self.spec, &schema);
        self.header = line_of(&schema, self.fields.delimiter);
        self.schema = Some(schema);
    }

    /// The names in a row within a file that is the header with the columns in another order, as where files of several
    /// programs are one stream.
    pub(super) fn reordered(&mut self, bytes: &[u8]) -> Option<Vec<String>> {
        // Most rows that are as long differ in this.
        let sum = |line: &[u8]| line.iter().map(|&b| u64::from(b)).sum::<u64>();
        let alike = bytes.len() == self.header.len() && sum(bytes) == sum(&self.header);
        if !alike || self.spec.header == Some(false) {
            return None;
        }
        let names = self.fields.split(bytes).ok()?;
        let mut known: Vec<&String> = self.schema.as_ref()?.row.iter().map(|f| &f.name).collect();
        let mut found: Vec<&String> = names.iter().collect();
        known.sort_unstable();
        found.sort_unstable();
        // Under a header of numbers it is a row.
        let is_header = found == known && !names.iter().any(|n| is_value(n, &self.fields));
        is_header.then_some(names)
    }

    /// Takes such a row: it counts for the rows after it, unless others send theirs between them.
    pub(super) fn take_reordered(&mut self, names: Vec<String>) -> Result<Decoded, BadEvent> {
        if self.spec.live {
            return Err(BadEvent::new(format!(
                "the header has the columns in another order ({}) than the rows of this stream ({}): write them in the same order, \
                 or send events as JSON",
                short(names.join(",").as_bytes()),
                short(&self.header)
            )));
        }
        self.next_file(names)?;
        Ok(Decoded::Header)
    }

    /// The first row of another file of the same columns.
    fn next_file(&mut self, names: Vec<String>) -> Result<bool, BadEvent> {
        let Some(schema) = &mut self.schema else { return Ok(false) };
        let known =
            |name: &String| schema.columns.contains(name) || schema.label.as_ref() == Some(name);
        let is_header = match self.spec.header {
            Some(header) => header,
            None => names.iter().any(known) && !names.iter().any(|n| is_value(n, &self.fields)),
        };
        // A header of numbers that is the one that is known.
        let same = || names.iter().eq(schema.row.iter().map(|f| &f.name));
        if is_header || same() {
            // A header that lacks a column leaves an empty row behind, also in checkpoints: what
            // follows it in this file is bad, until the next header.
            let mut names = names;
            row::unique(&mut names, &mut Vec::new());
            let mut labels = schema.label.iter().chain(&self.spec.labels);
            let label = labels.find(|l| !self.spec.unlabelled && !names.contains(l));
            if let Some(label) = label {
                let lost = row::lost_name("column", label, schema, names.iter());
                let text = format!("the header has {lost}: it is the label, and no row has one");
                self.notes.push(Note::once(text));
            }
            let row = row::same_columns(schema, names);
            if self.spec.live {
                // Others send rows under the header that is known.
                schema.row = row?;
                self.cells = row::cells(&self.spec, schema);
                self.header = line_of(schema, self.fields.delimiter);
                return Ok(true);
            }
            schema.row = row.as_ref().map_or_else(|_| Vec::new(), Clone::clone);
            self.cells = row::cells(&self.spec, schema);
            self.header = line_of(schema, self.fields.delimiter);
            self.lacks = row.as_ref().err().map(|bad| bad.reason.clone());
            row?;
            return Ok(true);
        }
        if self.spec.unlabelled && names.len() + 1 == schema.row.len() {
            // What comes after the label moves down.
            let label = schema.label.as_ref();
            schema.row.retain(|field| Some(&field.name) != label);
            self.cells = row::cells(&self.spec, schema);
        }
        Ok(false)
    }

    /// Whether a row by itself looks like one of names: no field is a number or missing, but for an
    /// index without a name; or it has the name of a label; or it counts from 0.
    fn is_header(&self, names: &[String]) -> bool {
        let unnamed = look::unnamed(names);
        let values = names.iter().enumerate().filter(|(i, _)| !unnamed.contains(i));
        if values.clone().all(|(_, n)| !is_value(n, &self.fields)) {
            return values.count() > 0;
        }
        let label =
            |n: &String| self.spec.label.as_ref() == Some(n) || LABELS.contains(&n.as_str());
        let counts = names.len() > 2 && names.iter().enumerate().all(|(i, n)| *n == i.to_string());
        names.iter().any(label) || counts
    }

    /// A line before the header: a comment, or a title of one field.
    pub(super) fn title(&mut self, bytes: &[u8]) -> Option<Result<Decoded, BadEvent>> {
        if self.schema.is_some() || self.spec.columns.is_some() || self.spec.looked {
            return None;
        }
        let alone = || {
            let by = delimiter::delimiter(&[bytes], self.spec.quote_byte());
            let by = self.spec.delimiter.map_or(by, |c| c as u8);
            memchr(if self.format == Format::Tsv { b'\t' } else { by }, bytes).is_none()
        };
        let comment = bytes.starts_with(b"#");
        let is_title = comment || (self.spec.inputs.is_none() && alone());
        if !is_title {
            return None;
        }
        self.count_title(bytes);
        Some(match comment {
            true => Ok(Decoded::Nothing),
            false => Err(BadEvent::new(
                "a line of one field before the header or first row of a table is no row",
            )),
        })
    }

    pub(super) fn count_title(&mut self, bytes: &[u8]) {
        self.titles.0 += 1;
        if self.titles.0 == 1 {
            self.titles.1 = short(bytes);
        }
    }
}

/// A name that is rather a value: a number or missing.
fn is_value(name: &str, fields: &Fields) -> bool {
    let name = name.as_bytes();
    number::whole(name).is_some() || fields.missing.has(name)
}

/// Inputs that are called as labels are.
fn like_labels(schema: &Schema) -> Vec<Note> {
    let label = schema.label.as_deref().unwrap_or_default();
    // `y` is an input as often.
    let is_like = |c: &&String| c.as_str() != "y" && LABELS.contains(&c.as_str());
    let inputs = schema.columns.iter().filter(is_like);
    let note = |name: &String| {
        Note::once(format!(
            "column `{name}` is an input beside the label `{label}`; name it in ignore if it is one, too"
        ))
    };
    inputs.map(note).collect()
}
