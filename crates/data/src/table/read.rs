//! Reading a table into memory.
//!
//! A training table is read twice: once to fit the encoder, once for the rows. Reading again is cheaper
//! than holding a table of text, and a second read finds the file in the page cache.

use std::collections::HashSet;
use std::path::Path;

use tidemill_table::formats::LABELS;
use tidemill_table::{
    BadEvent, Decoded, Decoder, Encoder, Event, Events, Evidence, Format, FormatSpec, Known,
    Labels, Schema, Value, decoder,
};

use super::format::{Names, delimiter};
use super::records::Records;
use super::rows::{Refusal, Rows, missing};
use super::{BadRows, LabelType, Missing, TableDataset, TableSpec};
use crate::{Error, Result};

/// More classes than this are taken for values to be predicted.
const MAX_CLASSES: usize = 100_000;

pub(super) fn open(spec: &TableSpec, path: &Path, known: Option<&Known>) -> Result<TableDataset> {
    let (known, format_spec, num_rows) = match known {
        Some(known) => (known.clone(), spec.known_format(path), 0),
        None => fit(spec, path)?,
    };
    let (Some(schema), Some(encoder)) = (&known.schema, &known.encoder) else {
        return Err(Error::option(format!(
            "{}: the run has not learned from the columns of a table or stream",
            spec.path
        )));
    };
    let mut file = File::open(path, &format_spec, Some(schema.clone()))?;
    let mut rows = Rows::new(spec, encoder, own_labels(spec, &known)?, num_rows);
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
    Ok(rows.finish(path, schema)?.dataset(known.clone()))
}

/// A file's records decoded, one after the other.
struct File {
    records: Records,
    decoder: Box<dyn Decoder>,
    /// The row in hand.
    events: Events,
    first: bool,
}

impl File {
    fn open(path: &Path, spec: &FormatSpec, schema: Option<Schema>) -> Result<File> {
        let format = spec.format.unwrap_or(Format::Csv);
        let option =
            |what: &dyn std::fmt::Display| Error::option(format!("{}: {what}", path.display()));
        let decoder = decoder(spec, format, schema).map_err(|e| option(&e))?;
        let records = Records::open(path, format, delimiter(spec, format))?;
        let file = File { records, decoder, events: Events::default(), first: true };
        if file.decoder.schema().is_some_and(|s| s.sparse) {
            let what = "holds features by their hash, which a network does not take: columns are \
                        needed, or online.linear and a stream";
            return Err(option(&what));
        }
        Ok(file)
    }

    /// Decodes the next row; gives the line where it begins.
    fn next(&mut self) -> Result<Option<(u64, Result<(), BadEvent>)>> {
        self.events.clear();
        while let Some(record) = self.records.next()? {
            let first = std::mem::take(&mut self.first);
            match self.decoder.decode(record.bytes, first, &mut self.events) {
                Ok(Decoded::Nothing) => {}
                Ok(Decoded::Event) => return Ok(Some((record.line, Ok(())))),
                Err(bad) => return Ok(Some((record.line, Err(bad)))),
            }
        }
        Ok(None)
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

/// Learns what a training table is like, in one pass; gives also its number of rows.
fn fit(spec: &TableSpec, path: &Path) -> Result<(Known, FormatSpec, usize)> {
    let option = |what: &str| Err(Error::option(format!("{}: {what}", spec.path)));
    if spec.context.unlabelled {
        return option(
            "nothing is known of its columns: a table without labels is read as the run's training \
             table was",
        );
    }
    let format = spec.format(path);
    let names = Names::read(spec, format, path)?;
    let format_spec = spec.format_spec(format, &names)?;
    let features = spec.features_spec(&names)?;
    let mut file = File::open(path, &format_spec, None)?;
    let mut evidence: Option<Evidence> = None;
    let mut classes = HashSet::new();
    let mut left_out = String::new();
    while spec.limit.is_none_or(|most| evidence.as_ref().is_none_or(|e| e.rows() < most as u64))
        && let Some((line, decoded)) = file.next()?
    {
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
        let evidence = evidence.get_or_insert_with(|| Evidence::new(&features, &schema));
        evidence.add(event);
        if spec.label_type() == LabelType::Class && classes.len() <= MAX_CLASSES {
            classes.extend(Labels::name(event.label()));
        }
    }
    let (Some(evidence), Some(schema)) = (evidence, file.decoder.schema()) else {
        return Err(Error::format(path, format!("has no usable rows{left_out}")));
    };
    if schema.columns.is_empty() && schema.vector == 0 {
        return option(&format!(
            "no feature columns are left of {}; is the delimiter right?",
            schema.row.len()
        ));
    }
    let by_name = schema.label.as_ref().is_some_and(|l| LABELS.contains(&l.as_str()));
    if format_spec.label.is_none() && !by_name && format != Format::Arff {
        return option("which column is the label? Name it: label = \"...\", or -1 for the last");
    }
    let labels = match spec.label_type() {
        LabelType::Value => Labels::values(false),
        LabelType::Class if classes.len() > MAX_CLASSES => {
            return option(&format!(
                "the label has more than {MAX_CLASSES} classes; say label_type = \"value\" to \
                 predict a value"
            ));
        }
        LabelType::Class if spec.class_names.is_empty() => Labels::sorted(classes),
        LabelType::Class => {
            Labels::classes(spec.class_names.len(), &class_names(spec, &format_spec, schema))
        }
    };
    let encoder = Encoder::fit(&features, schema, &evidence)
        .map_err(|e| Error::option(format!("{}: {e}", spec.path)))?;
    let known =
        Known { schema: Some(schema.clone()), encoder: Some(encoder), labels: Some(labels) };
    Ok((known, format_spec, evidence.rows() as usize))
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
    let (Some(labels @ Labels::Classes(_)), Some(schema)) = (&known.labels, &known.schema) else {
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
    Ok(Some(Labels::classes(own.len(), &own)))
}
