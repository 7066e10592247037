//! CSV: quoted fields as in RFC 4180, which may go on in the next line, any delimiter of one byte.

use memchr::memchr;

use super::missing::Missing;
use super::number::Style;
use super::row::{self, Cell, Role};
use super::spec::Encoding;
use super::{BadEvent, Decoded, Decoder, Format, FormatSpec, Note, look, number, short, text};
use crate::events::{Draft, Events, Field, Schema, Value};

/// A quoted field goes on for at most so many lines and bytes; what is longer is a stray quote.
const MOST_LINES: usize = 200;
const MOST_BYTES: usize = 1 << 20;

/// Whole numbers of this size and more are not told apart as `f64`.
const EXACT: f64 = 9_007_199_254_740_992.0;

pub(super) struct Csv {
    spec: FormatSpec,
    format: Format,
    fields: Fields,
    schema: Option<Schema>,
    /// Of `schema.row`; empty while no header was good.
    cells: Vec<Cell>,
    /// The header as a line, as far as names tell: one that comes again is no row.
    header: Vec<u8>,
    /// Whether the next row may be a header, and rows before it that are passed over.
    at_start: bool,
    skip: usize,
    /// Whether an event has shown what columns are.
    shown: bool,
    /// Lines of a record whose quoted field goes on.
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

/// Without a byte order mark and what is left of a line end.
fn without_mark(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

impl Csv {
    pub fn new(spec: &FormatSpec, format: Format, schema: Option<Schema>) -> Csv {
        let known = schema.as_ref().and_then(|s| s.delimiter);
        let delimiter = delimiter(spec, format, known);
        let cells = schema.as_ref().map_or_else(Vec::new, |s| row::cells(spec, s));
        let header = schema.as_ref().map_or_else(Vec::new, |s| line_of(s, delimiter));
        Csv {
            spec: spec.clone(),
            format,
            fields: Fields::new(spec, delimiter),
            shown: schema.as_ref().is_some_and(|s| s.shown),
            schema,
            cells,
            header,
            at_start: false,
            skip: 0,
            open: Vec::new(),
            lost: Vec::new(),
            titles: (0, String::new()),
            notes: Vec::new(),
        }
    }

    /// Takes the first row of a stream or file, which may be a header; tells whether it is, and which
    /// names are there more than once.
    fn first_row(&mut self, bytes: &[u8]) -> Result<(bool, Vec<String>), BadEvent> {
        if self.schema.is_none() && self.spec.delimiter.is_none() && self.format == Format::Csv {
            let delimiter = look::delimiter(&[bytes], self.spec.quote_byte());
            self.fields.set_delimiter(&self.spec, delimiter);
        }
        let names = self.fields.split(bytes)?;
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
                let mut names = names;
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
        notes.extend(like_labels(&schema));
        self.notes.extend(notes);
        self.set_schema(schema);
        Ok((header, doubled))
    }

    fn set_schema(&mut self, schema: Schema) {
        self.cells = row::cells(&self.spec, &schema);
        self.header = line_of(&schema, self.fields.delimiter);
        self.schema = Some(schema);
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
            let row = row::same_columns(schema, names);
            schema.row = row.as_ref().map_or_else(|_| Vec::new(), Clone::clone);
            self.cells = row::cells(&self.spec, schema);
            self.header = line_of(schema, self.fields.delimiter);
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
            |n: &String| self.spec.label.as_ref() == Some(n) || super::LABELS.contains(&n.as_str());
        let counts = names.len() > 2 && names.iter().enumerate().all(|(i, n)| *n == i.to_string());
        names.iter().any(label) || counts
    }

    fn name(&self, field: usize) -> &str {
        self.schema.as_ref().map_or("", |s| &s.row[field].name)
    }

    /// A line before the header: a comment, or a title of one field.
    fn title(&mut self, bytes: &[u8]) -> Option<Result<Decoded, BadEvent>> {
        if self.schema.is_some() || self.spec.columns.is_some() || self.spec.looked {
            return None;
        }
        let alone = || {
            let by = look::delimiter(&[bytes], self.spec.quote_byte());
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

    fn count_title(&mut self, bytes: &[u8]) {
        self.titles.0 += 1;
        if self.titles.0 == 1 {
            self.titles.1 = short(bytes);
        }
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
            if let Some(title) = self.title(bytes) {
                self.at_start = start;
                return title;
            }
            if self.first_row(bytes)?.0 {
                return Ok(Decoded::Header);
            }
        } else if bytes == self.header {
            return Ok(Decoded::Nothing);
        }
        let Some(schema) = self.schema.as_ref().filter(|s| !s.row.is_empty()) else {
            return Err(BadEvent::new("the header of this file lacks a column of the model"));
        };
        let mut draft = events.start(schema);
        match self.fields.row(bytes, &self.cells, &mut draft) {
            Ok(()) if self.shown => draft.finish(),
            Ok(()) => {
                let seen = self.cells.iter().map(|cell| match cell.role {
                    Role::Input(column) => match draft.get(column) {
                        Value::Text(_) => Seen::Text,
                        Value::Number(_) => Seen::Number,
                        Value::Missing => Seen::Nothing,
                    },
                    _ => Seen::Nothing,
                });
                let seen: Vec<Seen> = seen.collect();
                draft.finish();
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

    /// A line after one whose quoted field is not closed: its continuation, unless it is a row by
    /// itself, with numbers where there are numbers, so that the quote is a stray one.
    fn go_on(&mut self, bytes: &[u8], events: &mut Events) -> Result<Decoded, BadEvent> {
        let mut joined = self.open.join(&b'\n');
        joined.push(b'\n');
        joined.extend_from_slice(bytes);
        let whole = self.record(&joined, events);
        let unclosed = match &whole {
            Ok(_) => {
                self.open.clear();
                return whole;
            }
            Err(bad) => bad.unclosed,
        };
        let count = events.len();
        if let Ok(Decoded::Event) = self.record(bytes, events) {
            if self.has_numbers(events) {
                self.give_up();
                return Ok(Decoded::Event);
            }
            events.truncate(count);
        }
        if unclosed && self.open.len() < MOST_LINES && joined.len() < MOST_BYTES {
            self.open.push(bytes.to_vec());
            return Ok(Decoded::Nothing);
        }
        // No record of several lines: each is bad by itself, but perhaps for this one.
        self.give_up();
        let alone = self.record(bytes, events);
        if alone.as_ref().is_err_and(|bad| bad.unclosed) {
            self.open.push(bytes.to_vec());
            return Ok(Decoded::Nothing);
        }
        alone
    }

    /// Whether the last event has numbers, and lacks none that the first event had.
    fn has_numbers(&self, events: &Events) -> bool {
        let Some(schema) = &self.schema else { return false };
        let Some(last) = events.len().checked_sub(1) else { return false };
        let mut any = false;
        for (field, cell) in schema.row.iter().zip(&self.cells).filter(|(f, _)| f.number) {
            let Role::Input(column) = cell.role else { continue };
            debug_assert!(!field.name.is_empty() || !schema.columns.is_empty());
            match events.get(last).value(column) {
                Value::Number(_) => any = true,
                Value::Missing => {}
                Value::Text(_) => return false,
            }
        }
        any
    }

    /// The lines that were taken to be one record are bad, each by itself.
    fn give_up(&mut self) {
        for line in self.open.drain(..) {
            let reason = format!("{UNCLOSED}: `{}`", short(&line));
            self.lost.push(BadEvent::new(reason));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    Number,
    Text,
}

const UNCLOSED: &str = "a quoted field has no closing quote";

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

/// A name that is rather a value: a number or missing.
fn is_value(name: &str, fields: &Fields) -> bool {
    let name = name.as_bytes();
    number::whole(name).is_some() || fields.missing.has(name)
}

/// Inputs that are called as labels are.
fn like_labels(schema: &Schema) -> Vec<Note> {
    let label = schema.label.as_deref().unwrap_or_default();
    let inputs = schema.columns.iter().filter(|c| super::LABELS.contains(&c.as_str()));
    let note = |name: &String| {
        Note::once(format!(
            "column `{name}` is an input beside the label `{label}`; name it in ignore if it is one, too"
        ))
    };
    inputs.map(note).collect()
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

/// Cuts rows into fields.
struct Fields {
    delimiter: u8,
    quote: Option<u8>,
    missing: Missing,
    style: Style,
    encoding: Option<Encoding>,
    /// A quoted field without its doubled quotes.
    unquoted: Vec<u8>,
    converted: String,
    /// Values that were not UTF-8.
    odd: u64,
    /// Whether rows may end early, and how many did.
    short_rows: bool,
    short: u64,
}

impl Fields {
    fn new(spec: &FormatSpec, delimiter: u8) -> Fields {
        Fields {
            delimiter,
            quote: spec.quote_byte(),
            missing: Missing::new(&spec.missing),
            style: spec.style(delimiter),
            encoding: spec.encoding,
            unquoted: Vec::new(),
            converted: String::new(),
            odd: 0,
            short_rows: spec.short_rows,
            short: 0,
        }
    }

    fn set_delimiter(&mut self, spec: &FormatSpec, delimiter: u8) {
        (self.delimiter, self.style) = (delimiter, spec.style(delimiter));
    }

    /// Decodes a row; an error comes with the field it is in.
    fn row(
        &mut self,
        bytes: &[u8],
        cells: &[Cell],
        draft: &mut Draft<'_>,
    ) -> Result<(), (usize, BadEvent)> {
        let mut at = 0;
        let commas = self.style.decimal == Some(b',') || self.style.thousands == Some(b'.');
        for (i, cell) in cells.iter().enumerate() {
            // Nearly all fields are numbers: the end of the number is the end of the field.
            match number::prefix(&bytes[at..]) {
                Some((number, len))
                    if !cell.text
                        && bytes.get(at + len).is_none_or(|next| *next == self.delimiter)
                        && is_plain(number, &bytes[at..at + len], cell.role)
                        && !commas
                        && !self.missing.has_number(number) =>
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
                    let short = self.short_rows || self.delimiter == b'\t';
                    let has_label = cells[..=i].iter().any(|c| c.role == Role::Label);
                    if short && i > 0 && has_label {
                        self.short += 1;
                        return Ok(());
                    }
                    return Err((cells.len(), BadEvent::new(wrong_count(i + 1, cells.len()))));
                }
                return Ok(());
            }
            at += 1;
        }
        // A delimiter after the last value.
        if bytes[at..].trim_ascii().is_empty() {
            return Ok(());
        }
        let rest = self.split(&bytes[at..]).map_err(|bad| (cells.len(), bad))?.len();
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
        let number = match cell.text {
            true => None,
            false => number_of(value, cell.role, self.style),
        };
        let value = if self.missing.has(value) || number.is_some_and(|n| self.missing.has_number(n))
        {
            Value::Missing
        } else if let Some(number) = number {
            Value::Number(number)
        } else {
            Value::Text(text::value(value, self.encoding, &mut self.converted, &mut self.odd)?)
        };
        row::put(draft, cell.role, value)?;
        Ok(end)
    }

    /// Cuts out the field at `at`, without spaces around it, and finds its end.
    fn cut<'b>(&mut self, bytes: &'b [u8], at: usize) -> Result<(Cut<'b>, usize), BadEvent> {
        let spaces = |&&b: &&u8| b == b' ' && self.delimiter != b' ';
        let rest = &bytes[at..];
        let start = rest.iter().take_while(spaces).count();
        let quote = self.quote.filter(|quote| rest.get(start) == Some(quote));
        let Some(quote) = quote else { return Ok(self.cut_plain(bytes, at, start)) };
        let text = &rest[start + 1..];
        // Between tabs a quote is mostly a character like others.
        let tabs = self.delimiter == b'\t';
        let mut close = match memchr(quote, text) {
            Some(close) => close,
            None if tabs => return Ok(self.cut_plain(bytes, at, start)),
            None => return Err(BadEvent::unclosed()),
        };
        let doubled = text.get(close + 1) == Some(&quote);
        if doubled {
            self.unquoted.clear();
            let mut from = 0;
            while text.get(close + 1) == Some(&quote) {
                self.unquoted.extend_from_slice(&text[from..=close]);
                from = close + 2;
                close = match memchr(quote, &text[from..]) {
                    Some(more) => from + more,
                    None if tabs => return Ok(self.cut_plain(bytes, at, start)),
                    None => return Err(BadEvent::unclosed()),
                };
            }
            self.unquoted.extend_from_slice(&text[from..close]);
        }
        let after = close + 1;
        let end = after + text[after..].iter().take_while(spaces).count();
        if text.get(end).is_some_and(|next| *next != self.delimiter) {
            if tabs {
                return Ok(self.cut_plain(bytes, at, start));
            }
            return Err(BadEvent::new(format!(
                "`{}` follows a closing quote; a quote within a field is doubled",
                short(&text[end..])
            )));
        }
        let cut = if doubled { Cut::Unquoted } else { Cut::Plain(&text[..close]) };
        Ok((cut, at + start + 1 + end))
    }

    /// The field at `at` up to the next delimiter, of which the first `start` bytes are spaces.
    fn cut_plain<'b>(&self, bytes: &'b [u8], at: usize, start: usize) -> (Cut<'b>, usize) {
        let rest = &bytes[at..];
        let len = memchr(self.delimiter, rest).unwrap_or(rest.len());
        let start = start.min(len);
        let spaces = |&&b: &&u8| b == b' ' && self.delimiter != b' ';
        let after = rest[start..len].iter().rev().take_while(spaces).count();
        (Cut::Plain(&rest[start..len - after]), at + len)
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
            let text = text::value(value, self.encoding, &mut self.converted, &mut self.odd)?;
            fields.push(text.to_owned());
            if end == bytes.len() {
                return Ok(fields);
            }
            at = end + 1;
        }
    }
}

/// Whether what begins a field can be taken as the number that it was read as.
#[inline]
fn is_plain(number: f64, bytes: &[u8], role: Role) -> bool {
    let zero = bytes[0] == b'0' && bytes.get(1).is_some_and(u8::is_ascii_digit);
    // Labels that are whole numbers are told apart by their digits.
    let label = role == Role::Label && number.abs() >= EXACT && is_whole(bytes);
    number.is_finite() && !zero && !label
}

/// Whether it is digits and perhaps a sign.
fn is_whole(bytes: &[u8]) -> bool {
    bytes.strip_prefix(b"-").unwrap_or(bytes).iter().all(u8::is_ascii_digit)
}

/// The number that a value is where it is used like that.
fn number_of(value: &[u8], role: Role, style: Style) -> Option<f64> {
    if number::leading_zero(value) && matches!(role, Role::Input(_) | Role::Label | Role::Id) {
        return None;
    }
    match role {
        Role::Label => match number::loose(value, style) {
            // A class of 64 bits.
            Some(n) if n.abs() >= EXACT && is_whole(value) => None,
            // `true` and `false` are names of classes.
            Some(_) if value.first().is_some_and(u8::is_ascii_alphabetic) => None,
            number => number,
        },
        _ => number::loose(value, style),
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
