//! Reading a table to see what is in it.

use std::path::Path;
use std::time::Duration;

use tidemill_engine::error::{Error, Result};
use tidemill_stream::{
    BadEvent, Decoded, Decoder, Event, Events, Format, FormatSpec, Note, OpenOptions, Poll, Record,
    Records, Schema, Value, decoder, formats::look::HEAD_BYTES, head_of, look, open,
};

use super::super::Data;
use super::super::text::plural;
use super::Columns;

/// Rows that are looked at.
const MOST_ROWS: usize = 1_000_000;
/// The events by which a run decides what a column is: those of `tidemill-online`'s feed.
const FIRST: usize = 100;

/// What was read of a table.
pub(super) struct Table {
    pub(super) spec: FormatSpec,
    pub(super) schema: Schema,
    /// The first events.
    pub(super) first: Events,
    pub(super) columns: Columns,
    /// Columns that are texts by the look at the start of the file, as a run has it.
    pub(super) texts: Vec<String>,
    /// Whether the first event of JSON has not all keys that are inputs.
    pub(super) more_keys: bool,
    /// What a user should know of how the file is written.
    pub(super) notes: Vec<String>,
    /// Rows that could not be read, and what is wrong with the first of them.
    pub(super) bad: usize,
    pub(super) reason: Option<String>,
    /// Whether there are rows beyond those that were read.
    pub(super) more: bool,
}

impl Table {
    /// The rows that could not be read, if there are any: how many, and why the first one.
    pub(super) fn bad_rows(&self) -> Option<String> {
        let reason = self.reason.as_ref()?;
        Some(format!("{} could not be read; {reason}", plural(self.bad, "row")))
    }

    /// The same behind an error that may follow from it.
    pub(super) fn unread(&self) -> String {
        self.bad_rows().map_or(String::new(), |bad| format!(" ({bad})"))
    }
}

/// The format by the file's name, else by how it starts; and the delimiter where it is not a comma. `written` is what is
/// given of that.
pub(super) fn format(data: &Data, written: &FormatSpec) -> Result<(Format, Option<char>)> {
    let start = start(&data.path)?;
    let line = start.lines().find(|l| !l.trim().is_empty()).unwrap_or("");
    let by_name = Format::by_name(&data.name);
    let guess = || match line.trim_start() {
        l if l.starts_with(['{', '[']) => Some(Format::JsonLines),
        l if l.to_ascii_lowercase().starts_with("@relation") || l.starts_with('%') => {
            Some(Format::Arff)
        }
        l if l.contains('\t') => Some(Format::Tsv),
        l if l.contains(" |") || l.starts_with('|') => Some(Format::Vw),
        l if l.contains(',') || l.contains(';') || written.delimiter.is_some() => Some(Format::Csv),
        _ => None,
    };
    let Some(format) = by_name.or_else(guess) else {
        return Err(Error::Usage(format!(
            "{}: is neither a folder of images or texts, nor an archive of images, nor IDX data, nor \
             a table (CSV, TSV, JSON lines, ARFF, VW text, libsvm); if it is a table, --delimiter says what is between its fields",
            data.name
        )));
    };
    if format == Format::Arrow {
        let what =
            "is Arrow data, which `tidemill init` does not look at; convert some of it to CSV";
        return Err(Error::Usage(format!("{}: {what}", data.name)));
    }
    if format != Format::Csv || written.delimiter.is_some() {
        return Ok((format, written.delimiter));
    }
    let times = |c: char| line.matches(c).count();
    if times(';') > times(',') {
        return Ok((format, Some(';')));
    }
    let head = head_of(&data.path.display().to_string(), format).map_err(stream)?;
    let found = look(&head, head.len() < HEAD_BYTES, written, format);
    Ok((format, found.map_err(stream)?.spec.delimiter))
}

/// The first lines of a file, plain or gzipped.
fn start(path: &Path) -> Result<String> {
    let mut source = open(&path.display().to_string(), &OpenOptions::default()).map_err(stream)?;
    let mut records = Records::default();
    source.poll(&mut records, 1 << 16, Duration::from_secs(1)).map_err(stream)?;
    let lines = records.iter().take(100).map(|record| String::from_utf8_lossy(record.bytes));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// The name of the column that `--label` names: by its place, where no column is called so.
pub(super) fn label(data: &Data, written: &FormatSpec, given: &str) -> Result<String> {
    let format = written.format.unwrap_or(Format::Csv);
    let Ok(place) = given.parse::<isize>() else { return Ok(given.to_owned()) };
    let head = head_of(&data.path.display().to_string(), format).map_err(stream)?;
    let found = look(&head, head.len() < HEAD_BYTES, written, format).map_err(stream)?;
    let names = found.names;
    if !found.rows || names.iter().any(|name| name == given) {
        return Ok(given.to_owned());
    }
    let count = names.len() as isize;
    let index = if place < 0 { place + count } else { place };
    match usize::try_from(index).ok().and_then(|i| names.get(i)) {
        Some(name) => Ok(name.clone()),
        None => Err(Error::Usage(format!(
            "{}: --label {given}: there is no such column; its {} are 0 to {}, or -1 for the last",
            data.name,
            plural(names.len(), "column"),
            count - 1
        ))),
    }
}

/// Whether the first row names the columns, where it has to be said: `None` if the row's own looks
/// decide it rightly, or if the format has no such row.
pub(super) fn header(
    data: &Data,
    written: &FormatSpec,
    label: Option<&str>,
) -> Result<Option<bool>> {
    let format = written.format.unwrap_or(Format::Csv);
    if !matches!(format, Format::Csv | Format::Tsv) {
        return Ok(None);
    }
    // Where the file itself or the user says it, no look is needed.
    if let known @ Some(_) = written.clone().of_file(&data.path).header {
        return Ok(known);
    }
    // A first row that is a header must not make texts of its columns.
    let spec = FormatSpec { header: Some(false), looked: true, ..written.clone() };
    let mut decoder = decoder(&spec, format, None).map_err(stream)?;
    let (mut records, mut rows) = (Records::default(), Events::default());
    let mut source =
        open(&data.path.display().to_string(), &OpenOptions::default()).map_err(stream)?;
    source.poll(&mut records, 1 << 18, Duration::from_secs(1)).map_err(stream)?;
    for record in records.iter() {
        // Rows that cannot be read are reported by whoever reads all of them.
        let _ = decode(&mut *decoder, record, &mut rows);
    }
    if rows.len() < 2 {
        return Ok(None);
    }
    let others = || (1..rows.len()).map(|i| rows.get(i));
    let first = rows.get(0);
    let places = 0..=first.columns();
    let is_text = |i: &usize| cell(first, *i).is_text();
    // By its looks a row without a number or a gap is a header.
    let looks = places.clone().all(|i| is_text(&i));
    let name = |i: usize| match cell(first, i) {
        Value::Text(text) => Some(text),
        _ => None,
    };
    // Only a header has the label that is asked for.
    if label.is_some() && places.clone().any(|i| name(i) == label) {
        return Ok(Some(true));
    }
    // The same rule as that of a run (`formats::look`).
    let again = |i: &usize| others().any(|row| cell(row, *i) == cell(first, *i));
    let again = places.clone().filter(is_text).filter(again).count();
    let above_numbers = |i: &usize| {
        others().any(|row| matches!(cell(row, *i), Value::Number(_)))
            && others().all(|row| !cell(row, *i).is_text())
    };
    let above: Vec<usize> = places.filter(is_text).filter(above_numbers).collect();
    let is_word =
        |i: &usize| name(*i).is_some_and(|n| !n.starts_with(|c: char| c.is_ascii_digit()));
    if again > 0 && (above.len() > again || above.len() == again && above.iter().any(is_word)) {
        return Ok(Some(true));
    }
    if again > 0 {
        // Values, as they come again.
        return Ok(looks.then_some(false));
    }
    Ok((!above.is_empty() && !looks).then_some(true))
}

/// A value of a row; its label is the last one.
fn cell(row: Event<'_>, i: usize) -> Value<'_> {
    if i < row.columns() { row.value(i) } else { row.label() }
}

/// Reads a table, at most [`MOST_ROWS`] of it.
pub(super) fn table(data: &Data, spec: &FormatSpec) -> Result<Table> {
    let format = spec.format.unwrap_or(Format::Csv);
    let place = data.path.display().to_string();
    let head = head_of(&place, format).map_err(stream)?;
    let found = look(&head, head.len() < HEAD_BYTES, spec, format).map_err(stream)?;
    // A run decides by the same look, but that all rows show which columns are texts.
    let texts = found.spec.text.clone();
    let looked = FormatSpec { text: spec.text.clone(), ..found.spec };
    let mut source = open(&place, &OpenOptions { format: Some(format), ..OpenOptions::default() })
        .map_err(stream)?;
    let mut decoder = decoder(&looked, format, None).map_err(stream)?;
    let (mut records, mut event) = (Records::default(), Events::default());
    let (mut first, mut bad, mut reason) = (Events::default(), 0, None);
    let mut columns: Option<Columns> = None;
    let rows = |columns: &Option<Columns>| columns.as_ref().map_or(0, |c| c.rows);
    let more = 'read: loop {
        records.clear();
        let poll = source.poll(&mut records, 1 << 20, Duration::from_secs(1)).map_err(stream)?;
        for record in records.iter() {
            let to = if rows(&columns) < FIRST { &mut first } else { &mut event };
            match decode(&mut *decoder, record, to) {
                Ok(Some(_)) if rows(&columns) >= MOST_ROWS => break 'read true,
                Ok(Some(at)) => {
                    let Some(schema) = decoder.schema() else { continue };
                    columns
                        .get_or_insert_with(|| Columns::new(schema))
                        .add(to.get(at), record.mark.minor);
                }
                Ok(None) => {}
                Err(e) if e.fatal => {
                    return Err(Error::Usage(format!("{}: {}", data.name, e.reason)));
                }
                Err(e) => {
                    bad += 1;
                    let line = record.mark.minor;
                    reason.get_or_insert_with(|| format!("line {line}: {}", e.reason));
                }
            }
            event.clear();
        }
        if poll == Poll::End {
            break false;
        }
    };
    let (Some(columns), Some(schema)) = (columns, decoder.schema()) else {
        let why = reason.map_or(String::new(), |r| format!(": {r}"));
        return Err(Error::Usage(format!("{}: has no row that can be read{why}", data.name)));
    };
    let schema = schema.clone();
    if !found.events.is_empty() && found.events.width() == first.width() {
        first = found.events;
    }
    let (decimal, thousands, units) = (looked.decimal, looked.thousands, looked.units);
    let spec = FormatSpec { decimal, thousands, units, ..spec.clone() };
    let own = decoder.notes();
    let notes = found.notes.iter().chain(&own).map(Note::to_string);
    // That of the delimiter is in the recipe.
    let notes = notes.filter(|n| !n.starts_with("fields are")).collect();
    let more_keys = format == Format::JsonLines && has_more(&head, &spec, &schema);
    Ok(Table { spec, schema, first, columns, texts, more_keys, notes, bad, reason, more })
}

/// Whether a schema has columns that the first event lacks.
fn has_more(head: &[u8], spec: &FormatSpec, schema: &Schema) -> bool {
    let first = head.split(|b| *b == b'\n').next().unwrap_or_default();
    let Ok(mut decoder) = decoder(spec, Format::JsonLines, None) else { return false };
    let _ = decoder.decode(first, true, &mut Events::default());
    let own = decoder.schema().map(|own| &own.columns[..]).unwrap_or_default();
    schema.columns.iter().any(|column| !own.contains(column))
}

/// The place of the record's event, if it has one.
fn decode(
    decoder: &mut dyn Decoder,
    record: Record<'_>,
    events: &mut Events,
) -> std::result::Result<Option<usize>, BadEvent> {
    Ok(match decoder.decode(record.bytes, record.first, events)? {
        Decoded::Event => Some(events.len() - 1),
        Decoded::Nothing | Decoded::Header => None,
    })
}

pub(super) fn stream(e: impl std::fmt::Display) -> Error {
    Error::Usage(e.to_string())
}
