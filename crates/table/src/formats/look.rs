//! What the start of a file says of how it is written, where the recipe does not say it: what is
//! between fields, where the table begins, whether it has a header, which columns are text, which labels
//! there are.
//!
//! A live stream has no start to look at: its decoder decides by the first record, and what was decided
//! is part of the schema.

use std::collections::{BTreeSet, HashSet};

use memchr::memchr_iter;

use super::delimiter::{beside_commas, common, count, delimiter};
use super::doubts::{Doubts, settle};
use super::groups::{Grouping, grouping};
use super::row::nearest;
use super::titles::{are_names, are_row_names, is_padded};
use super::{
    Decoded, Format, FormatSpec, LABELS, Note, decoder, is_blank, number, short, short_list,
};
use crate::events::{Events, Schema, Value};
use crate::features::{Labels, Sets};

/// Bytes of a file that are looked at: thousands of rows, decoded in a few milliseconds.
pub const HEAD_BYTES: usize = 1 << 20;

/// Rows by which delimiter and header are decided.
const FEW: usize = 200;

/// Labels that are kept.
const MOST_LABELS: usize = 1000;

/// A key of JSON is a column if at least one event in so many has it.
const KEY_SHARE: usize = 10;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// The recipe's options with what was found where they say nothing.
    pub spec: FormatSpec,
    /// The different labels, as the names of classes; none if there are too many.
    pub labels: BTreeSet<String>,
    /// All columns or keys, those that are no inputs too; none where they are not known.
    pub names: Vec<String>,
    /// Whether they are columns of rows.
    pub rows: bool,
    /// What a user should know.
    pub notes: Vec<Note>,
    /// The events that were seen, as they are decoded with `spec`.
    pub events: Events,
    /// What the decoder notes of them; a decoder of the whole file notes it again.
    pub hints: Vec<Note>,
}

impl Look {
    /// The first name in `ignore` or `text` of `spec` that no column has, and no key of JSON in `head`:
    /// which of the two it is, and what is wrong. None where the columns are not known.
    pub fn unknown_name(&self, spec: &FormatSpec, head: &[u8]) -> Option<(&'static str, String)> {
        let ignored = spec.ignore.iter().map(|name| ("ignore", name));
        let mut named = ignored.chain(spec.text.iter().map(|name| ("text", name)));
        // A key may also be that of an array, or of an object in one.
        let is_key = |name: &str| {
            let key = format!("\"{}\"", name.rsplit('.').next().unwrap_or_default());
            memchr::memmem::find(head, key.as_bytes()).is_some()
        };
        let is_there = |name: &String| self.names.contains(name) || (!self.rows && is_key(name));
        let (key, lost) = named.find(|(_, name)| !is_there(name))?;
        let nearest = nearest(lost, self.names.iter())?;
        Some((
            key,
            format!("names `{lost}` (the nearest name is `{nearest}`), and no such column is"),
        ))
    }
}

/// Looks at the first bytes of a file; `is_whole` says that there are no others.
///
/// # Errors
/// If keys of `spec` do not go together, or it names a column that is not there.
pub fn look(head: &[u8], is_whole: bool, spec: &FormatSpec, format: Format) -> crate::Result<Look> {
    let ends = memchr_iter(b'\n', head).chain([head.len()]);
    let starts = std::iter::once(0).chain(memchr_iter(b'\n', head).map(|end| end + 1));
    let mut lines: Vec<&[u8]> = starts.zip(ends).map(|(start, end)| &head[start..end]).collect();
    if !is_whole {
        lines.pop();
    }
    let trim = |l: &&'_ [u8]| !l.strip_suffix(b"\r").unwrap_or(l).is_empty();
    lines.retain(trim);
    let of_rows = matches!(format, Format::Csv | Format::Tsv);
    if let [only] = lines[..]
        && of_rows
        && memchr_iter(b'\r', only).take(2).count() == 2
    {
        return Err(crate::Error::Usage(
            "the lines end with carriage returns alone, as old programs for the Macintosh write them; convert the file, such as \
             with: tr '\\r' '\\n' < FILE > NEW"
                .into(),
        ));
    }
    let mut found = Look { spec: spec.clone(), ..Look::default() };
    match format {
        Format::Csv | Format::Tsv => rows(&lines, format, &mut found)?,
        Format::JsonLines => keys(&lines, &mut found)?,
        _ => {}
    }
    // All events show which columns are texts, not the first.
    found.spec.looked = true;
    let mut seen = decode(&lines, &found.spec, format)?;
    let before = (found.spec.thousands, found.spec.units.len());
    found.notes.extend(settle(&seen.inputs(), &seen.label, &mut found.spec, of_rows));
    if before != (found.spec.thousands, found.spec.units.len()) {
        seen = decode(&lines, &found.spec, format)?;
    }
    let texts = seen.texts(&found.spec);
    let again = !texts.is_empty();
    found.spec.text.extend(texts);
    let seen = if again { decode(&lines, &found.spec, format)? } else { seen };
    found.spec.wants = None;
    found.labels = seen.labels;
    found.rows = !seen.names.is_empty();
    found.names.extend(seen.names);
    found.events = seen.events;
    found.hints = seen.notes;
    Ok(found)
}

/// The column of a known `schema` that no event of the first bytes of a file has, in words, where records
/// name their values.
///
/// # Errors
/// If keys of `spec` do not go together.
pub fn lost_column(
    head: &[u8],
    spec: &FormatSpec,
    format: Format,
    schema: &Schema,
) -> crate::Result<Option<String>> {
    let mut decoder = decoder(spec, format, Some(schema.clone()))?;
    let mut events = Events::default();
    for (i, line) in head.split(|b| *b == b'\n').enumerate() {
        events.clear();
        // Whoever reads the file sets bad records aside.
        let _ = decoder.decode(line, i == 0, &mut events);
    }
    Ok(decoder.lost_column())
}

/// The places of names that are empty where an index stands: the only one without a name, at the start
/// or the end; or pandas' own name for it.
pub(super) fn unnamed(names: &[String]) -> Vec<usize> {
    let empty: Vec<usize> = (0..names.len()).filter(|i| names[*i].is_empty()).collect();
    match empty[..] {
        [] if names.len() > 1 && names[0] == "Unnamed: 0" => vec![0],
        [one] if names.len() > 1 && (one == 0 || one + 1 == names.len()) => vec![one],
        _ => Vec::new(),
    }
}

/// Delimiter, rows before the table, and the header of a file of rows.
fn rows(lines: &[&[u8]], format: Format, found: &mut Look) -> crate::Result<()> {
    let spec = &mut found.spec;
    let few = &lines[..lines.len().min(FEW)];
    if few.is_empty() {
        return Ok(());
    }
    if format == Format::Csv && spec.delimiter.is_none() {
        // A title at the start should not decide it.
        let from = few.len().min(4) - 1;
        let rows = &few[from.min(few.len() / 2)..];
        let by = match spec.decimal {
            Some(',') => beside_commas(rows, spec)?,
            _ => delimiter(rows, spec.quote_byte()),
        };
        if by != b',' {
            spec.delimiter = Some(by as char);
            let shown = if by == b'\t' { "tabs".to_owned() } else { format!("`{}`", by as char) };
            found.notes.push(Note::once(format!("fields are separated by {shown}")));
        }
    }
    let by = spec.delimiter.map_or(if format == Format::Tsv { b'\t' } else { b',' }, |c| c as u8);
    let counts: Vec<usize> = few.iter().map(|l| count(l, by, spec.quote_byte())).collect();
    let most = common(&counts);
    if spec.skip_rows.is_none() && most > 1 && few.len() > 2 {
        let is_title =
            |(line, &n): (&&[u8], &usize)| is_blank(line) || n != most && (n == 1 || n + 1 < most);
        let rows = few.iter().zip(&counts);
        let titles = rows.clone().take_while(|row| is_title(*row)).count();
        // Spreadsheets write a title with the delimiters of a whole row.
        let padded = |row: (&&[u8], &usize)| is_title(row) || is_padded(row.0, by, most);
        let padded = rows.take_while(|row| padded(*row)).count();
        let named = spec.header != Some(false) && spec.columns.is_none();
        let names = named && few.get(padded).is_some_and(|row| are_names(row, by, most));
        let titles = if names { padded } else { titles };
        if titles > 0 && titles <= 20 && titles + 2 <= few.len() {
            spec.skip_rows = Some(titles);
        }
    }
    let short = counts.iter().filter(|n| **n < most).count();
    spec.short_rows = short * 20 >= counts.len() && most > 2;
    let from = spec.skip_rows.unwrap_or(0).min(few.len());
    if let [first, others @ ..] = &counts[from..]
        && first + 1 == most
        && others.len() > 1
        && others.iter().all(|n| *n == most)
        && spec.columns.is_none()
        && spec.header != Some(false)
        && are_names(few[from], by, *first)
        && are_row_names(&few[from + 1..], by)
    {
        (spec.row_names, spec.header, spec.short_rows) = (true, Some(true), false);
    }
    if spec.header.is_none() && spec.columns.is_none() {
        let rows = &few[spec.skip_rows.unwrap_or(0).min(few.len())..];
        let blank = rows.iter().take_while(|row| is_blank(row)).count();
        spec.header = header(&rows[blank..], format, spec);
    }
    if spec.decimal.is_none() && spec.thousands.is_none() {
        groups(lines, by, found);
    }
    Ok(())
}

/// What is between groups of three digits.
fn groups(lines: &[&[u8]], by: u8, found: &mut Look) {
    let spec = &mut found.spec;
    let rows = &lines[spec.skip_rows.unwrap_or(0).min(lines.len())..];
    let Some((grouping, place, sample)) = grouping(rows, by, spec.likely_thousands) else { return };
    let names = rows.first().filter(|_| spec.header != Some(false));
    let name = names.and_then(|row| row.split(|b| *b == by).nth(place)).map(short);
    let name = name.unwrap_or_else(|| format!("c{}", place + 1));
    let other = |sign| if sign == '.' { ',' } else { '.' };
    found.notes.push(Note::once(match grouping {
        Grouping::Thousands(sign) => {
            (spec.thousands, spec.decimal) = (Some(sign), Some(other(sign)));
            format!(
                "`{sign}` groups thousands in numbers, as in `{sample}` of column `{name}`; if it is before \
                 decimals, set decimal = \"{sign}\""
            )
        }
        Grouping::Decimals(sign) => {
            spec.decimal = Some(sign);
            format!(
                "`{sign}` is before decimals in numbers of this file, and grouped thousands in the file \
                 that the columns were learned from; thousands and decimal fix it"
            )
        }
        Grouping::Unclear(sign) => format!(
            "`{sign}` is taken to be before decimals, as in `{sample}` of column `{name}`; if it groups \
             thousands, set thousands = \"{sign}\""
        ),
    }));
}

/// Whether the first row names the columns, where the rows after it tell.
fn header(lines: &[&[u8]], format: Format, spec: &FormatSpec) -> Option<bool> {
    let bare = FormatSpec {
        header: Some(false),
        skip_rows: None,
        label: None,
        id: None,
        time: None,
        weight: None,
        ignore: Vec::new(),
        text: Vec::new(),
        inputs: None,
        looked: true,
        ..spec.clone()
    };
    let seen = decode(lines, &bare, format).ok()?.events;
    if seen.len() < 3 {
        return None;
    }
    let first = seen.get(0);
    let cell = |row: usize, i: usize| {
        let row = seen.get(row);
        if i < row.columns() { row.value(i) } else { row.label() }
    };
    let places = 0..=first.columns();
    let name = |i: usize| match cell(0, i) {
        Value::Text(text) => Some(text),
        _ => None,
    };
    // Only a header has the label that is asked for.
    if spec.label.is_some() && places.clone().any(|i| name(i) == spec.label.as_deref()) {
        return Some(true);
    }
    // The header of another file that was put behind it is none of the others.
    let same = |row: usize| places.clone().all(|i| cell(row, i) == cell(0, i));
    let others: Vec<usize> = (1..seen.len()).filter(|row| !same(*row)).collect();
    let others = || others.iter().copied();
    let is_text = |i: &usize| cell(0, *i).is_text();
    let texts = places.clone().filter(is_text).count();
    // A value, as it comes again.
    let again = |i: &usize| others().any(|row| cell(row, *i) == cell(0, *i));
    let again = places.clone().filter(is_text).filter(again).count();
    let above_numbers = |i: &usize| {
        let i = *i;
        let text = |row| match cell(row, i) {
            value @ Value::Text(text) => value.is_text() && !number::leading_zero(text.as_bytes()),
            _ => false,
        };
        others().any(|row| matches!(cell(row, i), Value::Number(_))) && !others().any(text)
    };
    let above: Vec<usize> = places.clone().filter(is_text).filter(above_numbers).collect();
    let named = places.clone().filter(|i| name(*i).is_some_and(|name| LABELS.contains(&name)));
    let (above_all, named) = (above.len(), named.count());
    // A name may be one of its column's values, too; and a first number may be broken, which begins with a digit then.
    let is_word =
        |i: &usize| name(*i).is_some_and(|name| !name.starts_with(|c: char| c.is_ascii_digit()));
    let words = above.iter().any(is_word);
    if above_all + named > again || (again > 0 && above_all + named == again && words) {
        return Some(true);
    }
    if again > 0 {
        return Some(false);
    }
    // 0, 1, 2, ... above something else.
    let width = first.columns() + 1;
    let counts = |from: f64| places.clone().all(|i| cell(0, i) == Value::Number(from + i as f64));
    let fraction = |i: usize| {
        others().all(|row| match cell(row, i) {
            Value::Number(n) => n.fract() != 0.0,
            Value::Text(_) => true,
            Value::Missing => false,
        })
    };
    let unlike = width >= 8 || places.clone().any(fraction);
    if width > 1 && unlike && (counts(0.0) || counts(1.0)) {
        return Some(true);
    }
    // Texts above texts: by its looks.
    (texts < width).then_some(false)
}

/// The keys of JSON that are columns, and the label and array among them.
fn keys(lines: &[&[u8]], found: &mut Look) -> crate::Result<()> {
    let spec = &mut found.spec;
    if spec.columns.is_some() || spec.inputs.is_some() || spec.image.is_some() {
        return Ok(());
    }
    let Some(keys) = super::json::keys(lines, spec) else { return Ok(()) };
    found.names = keys.values.iter().map(|(name, _)| name).chain(&keys.vector).cloned().collect();
    let often = |n: usize| n * KEY_SHARE >= keys.events;
    // A label may come by itself.
    let roles = [&spec.label, &spec.id, &spec.time, &spec.weight];
    let is_role = |name: &str| {
        roles.into_iter().any(|role| role.as_deref() == Some(name))
            || spec.labels.iter().any(|label| label == name)
            || spec.label.is_none() && super::LABELS.contains(&name)
    };
    let rare: Vec<String> = keys
        .values
        .iter()
        .filter(|(name, n)| !often(*n) && !is_role(name))
        .map(|(name, n)| format!("{name}: {n}"))
        .collect();
    if !rare.is_empty() {
        let list = short_list(&rare.join(", "));
        found.notes.push(Note::once(format!(
            "keys that few of the first {} events have are no inputs ({list}); columns names those that are",
            keys.events
        )));
    }
    if spec.label.is_none() && spec.labels.is_empty() {
        let is_there = |name: &&&str| keys.values.iter().any(|(n, _)| n == **name);
        spec.label = LABELS.iter().find(is_there).map(|name| name.to_string());
    }
    if spec.vector.is_none() {
        spec.vector = keys.vector.clone();
    }
    let special = |name: &String| {
        [&spec.label, &spec.id, &spec.time, &spec.weight]
            .into_iter()
            .any(|other| other.as_ref() == Some(name))
            || (spec.label.is_none() && LABELS.contains(&name.as_str()))
            || spec.labels.contains(name)
            || spec.ignore.contains(name)
    };
    let columns = keys.values.iter().filter(|(name, n)| often(*n) && !special(name));
    let mut columns: Vec<(String, usize)> = columns.cloned().collect();
    // More keys than the model has inputs: those that more events have.
    if let Some(wants) = spec.wants.filter(|wants| columns.len() > *wants) {
        let mut counts: Vec<usize> = columns.iter().map(|(_, n)| *n).collect();
        counts.sort_unstable_by_key(|n| std::cmp::Reverse(*n));
        if wants > 0 && counts[wants - 1] > counts[wants] {
            let least = counts[wants - 1];
            columns.retain(|(_, n)| *n >= least);
        }
    }
    spec.inputs = Some(columns.into_iter().map(|(name, _)| name).collect());
    Ok(())
}

/// Events decoded, and what their values are.
#[derive(Default)]
struct Seen {
    columns: Vec<Tally>,
    /// The columns of rows, those that are no inputs too.
    names: Vec<String>,
    label: Doubts,
    labels: BTreeSet<String>,
    events: Events,
    notes: Vec<Note>,
}

#[derive(Default)]
struct Tally {
    doubts: Doubts,
    /// The lengths of its texts, up to two of them.
    lengths: BTreeSet<usize>,
}

impl Tally {
    fn of(name: &str) -> Tally {
        Tally { doubts: Doubts::of(name), ..Tally::default() }
    }
}

fn decode(lines: &[&[u8]], spec: &FormatSpec, format: Format) -> crate::Result<Seen> {
    let mut decoder = decoder(spec, format, None)?;
    let mut seen = Seen::default();
    let style = spec.style(spec.delimiter.map_or(b',', |c| c as u8));
    let (mut many, mut numbers) = (false, HashSet::new());
    for (i, line) in lines.iter().enumerate() {
        match decoder.decode(line, i == 0, &mut seen.events) {
            Ok(Decoded::Event) => {}
            Ok(_) => continue,
            // Whoever reads the file sets it aside.
            Err(_) => continue,
        }
        let Some(schema) = decoder.schema() else { continue };
        if seen.columns.len() != schema.columns.len() {
            seen.columns = schema.columns.iter().map(|name| Tally::of(name)).collect();
            seen.label = Doubts::of(schema.label.as_deref().unwrap_or_default());
        }
        let event = seen.events.get(seen.events.len() - 1);
        for (i, tally) in seen.columns.iter_mut().enumerate() {
            match event.value(i) {
                Value::Number(_) => tally.doubts.numbers += 1,
                value @ Value::Text(text) if value.is_text() => {
                    tally.doubts.add_text(text, style);
                    if tally.lengths.len() < 2 {
                        tally.lengths.insert(text.len());
                    }
                }
                _ => {}
            }
        }
        match event.label() {
            Value::Number(_) => seen.label.numbers += 1,
            value @ Value::Text(text) if value.is_text() => seen.label.add_text(text, style),
            _ => {}
        }
        let is_new = match event.label() {
            Value::Number(n) => numbers.len() <= MOST_LABELS && numbers.insert(n.to_bits()),
            Value::Text(text) => !seen.labels.contains(text),
            Value::Missing => false,
        };
        if is_new && !many {
            match spec.set_separator() {
                Some(by) => seen.labels.extend(Sets::names_in(event.label(), by)),
                None => seen.labels.extend(Labels::name(event.label())),
            }
            many = seen.labels.len() > MOST_LABELS;
        }
    }
    let row = decoder.schema().map(|schema| &schema.row[..]).unwrap_or_default();
    seen.names = row.iter().map(|field| field.name.clone()).collect();
    seen.notes = decoder.notes();
    if many {
        seen.labels.clear();
    }
    Ok(seen)
}

impl Seen {
    /// The columns that are text: of which more than a tenth is no number, or which are codes of digits
    /// that begin with zeros.
    fn texts(&self, spec: &FormatSpec) -> Vec<String> {
        let is_text = |t: &&Tally| {
            let Doubts { zeros, texts, ref name, .. } = t.doubts;
            let codes = zeros > 0 && zeros == texts && t.lengths.len() == 1 && {
                t.lengths.first().is_some_and(|len| *len > 2)
            };
            (codes || t.doubts.is_text()) && !spec.text.contains(name)
        };
        self.columns.iter().filter(is_text).map(|t| t.doubts.name.clone()).collect()
    }

    fn inputs(&self) -> Vec<&Doubts> {
        self.columns.iter().map(|t| &t.doubts).collect()
    }
}
