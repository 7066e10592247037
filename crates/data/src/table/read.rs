//! Reading a table into memory.
//!
//! A training table is read twice: once to fit the encoder, once for the rows. Reading again is cheaper
//! than holding a table of text, and a second read finds the file in the page cache. One that is split is
//! read as often once more: which rows are for training is known only when all of them were taken.

use std::collections::{HashSet, VecDeque};
use std::io::Read;
use std::path::Path;

use memchr::memchr;
use tidemill_table::formats::LABELS;
use tidemill_table::formats::look::HEAD_BYTES;
use tidemill_table::{
    BadEvent, Decoded, Decoder, Encoder, Event, Events, Evidence, FeaturesSpec, Format, FormatSpec,
    Known, Labels, Look, Note, Schema, Sets, Understood, Utf16Reader, Value, decoder, json_lines,
    look,
};

use super::format::{Names, quotes};
use super::records::Records;
use super::rows::{Refusal, Rows, missing};
use super::{BadRows, LabelType, Missing, TableDataset, TableSpec};
use crate::images::split::Parts;
use crate::{Dataset, Error, Result, source};

/// More classes than this are taken for values to be predicted.
const MAX_CLASSES: usize = 100_000;

pub(super) fn open(spec: &TableSpec, path: &Path, known: Option<&Known>) -> Result<TableDataset> {
    let Some(known) = known else {
        let mut fitted = fit(spec, path)?;
        let all = read(spec, path, &fitted, true)?;
        let groups = all.groups();
        let parts = Parts::of(spec.validation_split, spec.subset, spec.seed);
        let parts = parts.together(groups.as_deref());
        let Some(training) = parts.training(&spec.path, all.len(), &|i| all.class(i))? else {
            return Ok(all);
        };
        let line = |&row: &u32| u64::from(all.lines[row as usize]);
        let lines: Vec<u64> = training.iter().map(line).collect();
        drop(all);
        fitted.fit_again(spec, path, &lines)?;
        return read(spec, path, &fitted, true);
    };
    let likely_thousands = known.schema.as_ref().and_then(|schema| schema.thousands);
    let mut own = FormatSpec { likely_thousands, ..spec.known_format(path).of_file(path) };
    let format = own.format.unwrap_or(Format::Csv);
    let found = Head::read(path, format)?.look(spec, &own)?;
    if !spec.labels.is_empty() {
        own.labels = known.labels.as_ref().map(Labels::names).unwrap_or_default();
    }
    if spec.group.is_some() {
        spec.set_group(&mut own, &Names::read(&found.spec, format, path)?)?;
    }
    let fitted = Fit {
        known: known.clone(),
        // The columns are known; how they are written is for each file to say.
        format_spec: own.written_as(&found.spec),
        features: FeaturesSpec::default(),
        num_rows: 0,
        // Which keys are inputs is known as well.
        notes: if format == Format::JsonLines { Vec::new() } else { found.notes },
        first: found.events,
    };
    read(spec, path, &fitted, false)
}

/// What is known of a table before its rows are read.
struct Fit {
    known: Known,
    format_spec: FormatSpec,
    features: FeaturesSpec,
    num_rows: usize,
    notes: Vec<Note>,
    /// The first rows.
    first: Events,
}

impl Fit {
    /// Learns the columns, and how values to be predicted are scaled, from the rows in `lines` alone.
    /// What is a column, a text or a class stays as it was found in all rows.
    fn fit_again(&mut self, spec: &TableSpec, path: &Path, lines: &[u64]) -> Result<()> {
        let fitted = pass(spec, path, &self.format_spec, &self.features, Some(lines))?;
        if spec.label_type() == LabelType::Value {
            self.known.labels = Some(fitted.targets);
        }
        self.learn(spec, fitted.schema, &fitted.evidence)
    }

    /// Takes over what the rows have shown of the columns.
    fn learn(&mut self, spec: &TableSpec, mut schema: Schema, evidence: &Evidence) -> Result<()> {
        let encoder = Encoder::fit(&self.features, &schema, evidence)
            .map_err(|e| Error::option(format!("{}: {e}", spec.path)))?;
        schema.shown = true;
        for column in encoder.kinds().into_iter().filter(|c| c.kind != "number") {
            if !schema.texts.contains(&column.name) {
                schema.texts.push(column.name);
            }
        }
        (self.known.schema, self.known.encoder) = (Some(schema), Some(encoder));
        Ok(())
    }
}

/// Reads the rows of a table of which the columns are known.
fn read(spec: &TableSpec, path: &Path, fit: &Fit, is_training: bool) -> Result<TableDataset> {
    let Fit { known, format_spec, num_rows, notes, first, .. } = fit;
    let mut notes = notes.clone();
    let (Some(schema), Some(encoder)) = (&known.schema, &known.encoder) else {
        return Err(Error::option(format!(
            "{}: the run has not learned from the columns of a table or stream",
            spec.path
        )));
    };
    let mut file = File::open(path, format_spec, Some(schema.clone()))?;
    let mut rows = Rows::new(spec, encoder, own_labels(spec, known)?, *num_rows);
    while spec.limit.is_none_or(|limit| rows.len() < limit)
        && let Some((line, decoded)) = file.next()?
    {
        if !file.has_label() {
            rows.without_labels();
        }
        let taken = match decoded {
            Ok(()) => rows.add(file.event(), schema, line),
            Err(bad) => Err(Refusal::of(bad)),
        };
        if let Err(refusal) = taken {
            rows.refuse(path, line, refusal)?;
        }
    }
    if let Some(lost) = file.lost_column(spec) {
        return Err(Error::format(path, lost));
    }
    for note in file.notes() {
        notes.retain(|before| before.text != note.text);
        notes.push(note);
    }
    // Those of the encoder are about the data that it was learned from.
    let learned = if is_training { encoder.notes() } else { Vec::new() };
    rows.note(notes.into_iter().chain(learned));
    let labels = known.labels.as_ref();
    let first = Some(first).filter(|first| first.width() == (schema.columns.len(), schema.vector));
    // The columns beside those of the model are those of this file.
    let own = file.decoder.schema().unwrap_or(schema);
    let understood = Understood::new(format_spec, own, Some(encoder), labels, first);
    Ok(rows.finish(path, schema)?.dataset(spec, encoder.width(), known.clone(), understood))
}

/// How the fields of a file are written.
pub(super) fn written(spec: &TableSpec, path: &Path, format: Format) -> Result<FormatSpec> {
    Ok(Head::read(path, format)?.look(spec, &spec.plain(format).of_file(path))?.spec)
}

/// The start of a file.
struct Head {
    format: Format,
    bytes: Vec<u8>,
    /// Whether that is all of it.
    is_whole: bool,
}

impl Head {
    /// Reads it, where the format is one of rows or lines; decompressed and as UTF-8.
    fn read(path: &Path, format: Format) -> Result<Head> {
        let mut head = Head { format, bytes: Vec::new(), is_whole: true };
        if matches!(format, Format::Csv | Format::Tsv | Format::JsonLines) {
            let mut input: Box<dyn Read + Send> =
                Box::new(Utf16Reader::new(source::open_table(path)?));
            if format == Format::JsonLines {
                input = json_lines(input).map_err(|e| source::read_error(path, e))?;
            }
            let read = input.take(HEAD_BYTES as u64).read_to_end(&mut head.bytes);
            read.map_err(|e| source::read_error(path, e))?;
            head.is_whole = head.bytes.len() < HEAD_BYTES;
        }
        Ok(head)
    }

    /// What it says of how the file is written, where `own` does not say it.
    fn look(&self, spec: &TableSpec, own: &FormatSpec) -> Result<Look> {
        let found = look(&self.bytes, self.is_whole, own, self.format);
        found.map_err(|e| Error::option(format!("{}: {e}", spec.path)))
    }
}

/// A file's records decoded, one after the other.
struct File {
    records: Records,
    decoder: Box<dyn Decoder>,
    /// The row in hand.
    events: Events,
    first: bool,
    /// Lines of a record that is none, each to be decoded by itself, and what was bad before the row in
    /// hand.
    lines: VecDeque<(u64, Vec<u8>)>,
    lost: VecDeque<(u64, BadEvent)>,
    /// The row that was decoded and waits for those.
    waiting: Option<u64>,
    ended: bool,
}

impl File {
    fn open(path: &Path, spec: &FormatSpec, schema: Option<Schema>) -> Result<File> {
        let format = spec.format.unwrap_or(Format::Csv);
        let option =
            |what: &dyn std::fmt::Display| Error::option(format!("{}: {what}", path.display()));
        let decoder = decoder(spec, format, schema).map_err(|e| option(&e))?;
        let records = Records::open(path, format, quotes(spec, format))?;
        let file = File {
            records,
            decoder,
            events: Events::default(),
            first: true,
            lines: VecDeque::new(),
            lost: VecDeque::new(),
            waiting: None,
            ended: false,
        };
        if file.decoder.schema().is_some_and(|s| s.sparse) {
            let what = "holds features by their hash, which a network does not take: columns are \
                        needed, or online.linear and a stream";
            return Err(option(&what));
        }
        Ok(file)
    }

    /// Decodes the next row; gives the line where it begins.
    fn next(&mut self) -> Result<Option<(u64, Result<(), BadEvent>)>> {
        loop {
            if let Some((line, bad)) = self.lost.pop_front() {
                return Ok(Some((line, Err(bad))));
            }
            if let Some(line) = self.waiting.take() {
                return Ok(Some((line, Ok(()))));
            }
            let own = self.lines.pop_front();
            let (line, bytes) = match &own {
                Some((line, bytes)) => (*line, &bytes[..]),
                None => match self.records.next()? {
                    Some(record) => (record.line, record.bytes),
                    None if self.ended => return Ok(None),
                    None => {
                        self.ended = true;
                        let line = self.records.line();
                        self.lost.extend(self.decoder.finish().into_iter().map(|bad| (line, bad)));
                        continue;
                    }
                },
            };
            self.events.clear();
            let first = std::mem::take(&mut self.first);
            let decoded = self.decoder.decode(bytes, first, &mut self.events);
            let before = line.saturating_sub(1).max(1);
            self.lost.extend(self.decoder.take_lost().into_iter().map(|bad| (before, bad)));
            match decoded {
                Ok(Decoded::Nothing | Decoded::Header) => {}
                Ok(Decoded::Event) => self.waiting = Some(line),
                // Taken for one record by its quotes, which are stray ones.
                Err(bad) if own.is_none() && !bad.fatal && memchr(b'\n', bytes).is_some() => {
                    let lines = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec);
                    self.lines.extend((line..).zip(lines).filter(|(_, bytes)| !bytes.is_empty()));
                }
                Err(bad) => self.lost.push_back((line, bad)),
            }
        }
    }

    /// What a user should know of the rows.
    fn notes(&self) -> Vec<Note> {
        self.decoder.notes()
    }

    /// The column that no row of the whole file had, in words.
    fn lost_column(&self, spec: &TableSpec) -> Option<String> {
        self.decoder.lost_column().filter(|_| self.ended || spec.limit.is_none())
    }

    /// The row that was decoded last.
    fn event(&self) -> Event<'_> {
        self.events.get(0)
    }

    /// Whether rows have a place for the label, as far as one can tell.
    fn has_label(&self) -> bool {
        let Some(schema) = self.decoder.schema() else { return true };
        schema.row.is_empty() || schema.row.iter().any(|f| Some(&f.name) == schema.label.as_ref())
    }
}

/// Learns what a training table is like, by a look at its start and in one pass.
fn fit(spec: &TableSpec, path: &Path) -> Result<Fit> {
    let option = |what: &str| Err(Error::option(format!("{}: {what}", spec.path)));
    if spec.context.unlabelled {
        return option(
            "nothing is known of its columns: a table without labels is read as the run's training \
             table was",
        );
    }
    let format = spec.format(path);
    let plain = spec.plain(format).of_file(path);
    plain.check(format).map_err(|e| Error::option(format!("{}: {e}", spec.path)))?;
    let bare = FormatSpec {
        label: None,
        labels: Vec::new(),
        id: None,
        weight: None,
        time: None,
        ..plain.clone()
    };
    let head = Head::read(path, format)?;
    let found = head.look(spec, &bare)?;
    let (delimiter, header) = (found.spec.delimiter, found.spec.header);
    let skip_rows = found.spec.skip_rows;
    let names = Names::read(&FormatSpec { delimiter, header, skip_rows, ..plain }, format, path)?;
    let own = spec.format_spec(format, &names)?.of_file(path);
    let features = spec.features_spec(&names)?;
    let found = head.look(spec, &FormatSpec { delimiter, header, skip_rows, ..own })?;
    let (mut format_spec, mut notes, first) = (found.spec, found.notes, found.events);
    format_spec.looked = true;
    if let Some(by) = delimiter.filter(|_| plain.delimiter.is_none()) {
        notes.insert(0, Note::once(format!("fields are separated by {by:?}")));
    }
    let mut fitted = pass(spec, path, &format_spec, &features, None)?;
    let mixed = fitted.evidence.mixed(&fitted.schema, &format_spec.text);
    if !mixed.is_empty() {
        // Texts from here on, as they are written.
        format_spec.text.extend(mixed);
        fitted = pass(spec, path, &format_spec, &features, None)?;
    }
    let Fitted { evidence, classes, targets, schema, notes: own } = fitted;
    // Those of the first row; what is counted is counted again in the rows that are kept.
    notes.extend(own.into_iter().filter(|note| note.count == 1));
    check_columns(spec, &format_spec, format, &schema)?;
    let labels = match spec.label_type() {
        LabelType::Value => targets,
        LabelType::Class if classes.len() > MAX_CLASSES => {
            return option(&format!(
                "the label has more than {MAX_CLASSES} classes; say label_type = \"value\" to \
                 predict a value"
            ));
        }
        LabelType::Class if !format_spec.labels.is_empty() => {
            Labels::classes(format_spec.labels.len(), &format_spec.labels)
        }
        LabelType::Class if spec.class_names.is_empty() => Labels::sorted(classes),
        LabelType::Class => {
            Labels::classes(spec.class_names.len(), &class_names(spec, &format_spec, &schema))
        }
    };
    let labels = match format_spec.set_separator() {
        Some(separator) => labels.into_sets(separator),
        None => labels,
    };
    let known = Known { labels: Some(labels), ..Known::default() };
    let num_rows = evidence.rows() as usize;
    let mut fit = Fit { known, format_spec, features, num_rows, notes, first };
    fit.learn(spec, schema, &evidence)?;
    Ok(fit)
}

/// What a pass over a table has found.
struct Fitted {
    evidence: Evidence,
    classes: HashSet<String>,
    /// How values to be predicted are scaled.
    targets: Labels,
    schema: Schema,
    notes: Vec<Note>,
}

/// A pass over a table, or over its rows in `lines` (in order).
fn pass(
    spec: &TableSpec,
    path: &Path,
    format_spec: &FormatSpec,
    features: &FeaturesSpec,
    lines: Option<&[u64]>,
) -> Result<Fitted> {
    let mut file = File::open(path, format_spec, None)?;
    let mut evidence: Option<Evidence> = None;
    let (mut classes, mut targets) = (HashSet::new(), Labels::values(spec.scale_targets));
    let mut left_out = String::new();
    while spec.limit.is_none_or(|most| evidence.as_ref().is_none_or(|e| e.rows() < most as u64))
        && let Some((line, decoded)) = file.next()?
    {
        if lines.is_some_and(|lines| lines.binary_search(&line).is_err()) {
            continue;
        }
        if let Err(bad) = decoded {
            let error = Error::Row { path: path.into(), line, what: bad.reason };
            if bad.fatal || spec.bad_rows == BadRows::Fail {
                return Err(error);
            }
            if left_out.is_empty() {
                left_out = format!("; all were left out, the first since {error}");
            }
            continue;
        }
        let event = file.event();
        if spec.missing == Missing::Skip && missing(event).is_some() {
            continue;
        }
        let schema = file.decoder.schema().cloned().unwrap_or_default();
        let evidence = evidence.get_or_insert_with(|| Evidence::new(features, &schema));
        evidence.add(event);
        match spec.label_type() {
            LabelType::Class if classes.len() <= MAX_CLASSES => match format_spec.set_separator() {
                Some(by) => classes.extend(Sets::names_in(event.label(), by)),
                None => classes.extend(Labels::name(event.label())),
            },
            LabelType::Class => {}
            // One that can be no target is refused with its row.
            LabelType::Value => drop(targets.encode(event.label())),
        }
    }
    let schema = file.decoder.schema().cloned().unwrap_or_default();
    let Some(evidence) = evidence else {
        return Err(Error::format(path, format!("has no usable rows{left_out}")));
    };
    if let Some(lost) = file.lost_column(spec) {
        return Err(Error::format(path, lost));
    }
    Ok(Fitted { evidence, classes, targets, schema, notes: file.notes() })
}

/// Refuses a table without columns, or of which nobody says what its label is.
fn check_columns(
    spec: &TableSpec,
    format_spec: &FormatSpec,
    format: Format,
    schema: &Schema,
) -> Result<()> {
    let option = |what: &str| Err(Error::option(format!("{}: {what}", spec.path)));
    if schema.columns.is_empty() && schema.vector == 0 {
        return option(&format!(
            "no feature columns are left of {}; is the delimiter right?",
            schema.row.len()
        ));
    }
    let by_name = schema.label.as_ref().is_some_and(|l| LABELS.contains(&l.as_str()));
    if format_spec.label.is_none()
        && format_spec.labels.is_empty()
        && !by_name
        && format != Format::Arff
    {
        return option("which column is the label? Name it: label = \"...\", or -1 for the last");
    }
    Ok(())
}

/// The class names of an option as the labels have them: numbers are written in one way.
fn class_names(spec: &TableSpec, format: &FormatSpec, schema: &Schema) -> Vec<String> {
    let is_text = schema.label.as_ref().is_some_and(|label| format.text.contains(label));
    let name = |name: &String| match name.trim().parse() {
        Ok(number) if !is_text => Labels::name(Value::Number(number)),
        _ => None,
    };
    spec.class_names.iter().map(|n| name(n).unwrap_or_else(|| n.clone())).collect()
}

/// The labels as this file has them: its classes may have other names.
fn own_labels(spec: &TableSpec, known: &Known) -> Result<Option<Labels>> {
    if spec.context.unlabelled {
        return Ok(None);
    }
    let (Some(labels @ (Labels::Classes(_) | Labels::Sets(_))), Some(schema)) =
        (&known.labels, &known.schema)
    else {
        return Ok(known.labels.clone());
    };
    let (own, names) = (class_names(spec, &spec.plain(Format::Csv), schema), labels.names());
    let is_same = own.is_empty() || own.iter().all(|name| names.contains(name));
    if is_same {
        return Ok(Some(labels.clone()));
    }
    if own.len() != names.len() {
        return Err(Error::option(format!(
            "{}: class_names has {} names, and the training data {} classes: {}",
            spec.path,
            own.len(),
            names.len(),
            names.join(", ")
        )));
    }
    let own = Labels::classes(own.len(), &own);
    Ok(Some(match labels.separator() {
        Some(separator) => own.into_sets(separator),
        None => own,
    }))
}
