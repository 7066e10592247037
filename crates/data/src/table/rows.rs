//! Rows encoded into memory, and what is done about those that cannot be.

use std::collections::BTreeMap;
use std::path::Path;

use tidemill_table::{
    BadEvent, Codes, Encoder, Event, Known, Label, Labels, Note, Schema, Understood, Value,
    no_number,
};

use super::{BadRows, EMPTY_SET, Missing, TableDataset, TableInputs, TableSpec};
use crate::groups::group;
use crate::memory::Labels as Stored;
use crate::{Error, FieldValues, Info, LabelKind, Result};

/// Reasons kept for people; the count goes on.
const MAX_REASONS: usize = 20;

/// Classes that are counted where the model does not have them.
const MAX_CLASSES: usize = 10_000;

/// Columns named in a note.
const MAX_NAMES: usize = 6;

/// Why a row is not taken.
pub(super) enum Refusal {
    /// A value is missing.
    Missing(String),
    /// The row cannot be understood.
    Bad(String),
    /// The label is of this class, which the model does not have.
    Unseen(String),
    /// No row can be understood.
    Fatal(String),
}

impl Refusal {
    pub(super) fn of(bad: BadEvent) -> Refusal {
        if bad.fatal { Refusal::Fatal(bad.reason) } else { Refusal::Bad(bad.reason) }
    }
}

/// A value for a message.
fn shown(value: Value<'_>) -> String {
    Labels::name(value).unwrap_or_default().chars().take(40).flat_map(char::escape_debug).collect()
}

/// The group of a row by the column that names it.
fn group_of(value: Value<'_>) -> Result<u64, Refusal> {
    match Labels::name(value) {
        Some(text) => Ok(group(&text)),
        None => Err(Refusal::Missing(
            "the group is missing, by which the split keeps rows together".into(),
        )),
    }
}

/// The rows taken so far.
pub(super) struct Rows<'a> {
    spec: &'a TableSpec,
    encoder: &'a Encoder,
    labels: Option<Labels>,
    codes: Codes,
    classes: Vec<u32>,
    values: Vec<f32>,
    weights: Vec<f32>,
    lines: Vec<u32>,
    /// The group of each row, where the split keeps groups together.
    groups: Option<Vec<u64>>,
    /// The words of each text column that an input reads.
    words: Vec<FieldValues>,
    /// Texts that are longer than their input.
    cut: usize,
    /// Rows with missing values, and how many of each column are missing.
    with_missing: usize,
    missing: Vec<u64>,
    /// By the place of a column of numbers: values that are none, and the first with its line.
    odd: BTreeMap<usize, (u64, String, u64)>,
    num_skipped: usize,
    reasons: Vec<String>,
    /// Rows of classes that the model does not have, and the line of the first of each.
    unseen: BTreeMap<String, (u64, u64)>,
    notes: Vec<String>,
}

/// The first input column of an event that has no value.
pub(super) fn missing(event: Event<'_>) -> Option<usize> {
    (0..event.columns()).find(|&i| event.value(i) == Value::Missing)
}

impl<'a> Rows<'a> {
    pub(super) fn new(
        spec: &'a TableSpec,
        encoder: &'a Encoder,
        labels: Option<Labels>,
        num_rows: usize,
    ) -> Self {
        let num_rows = num_rows.min(spec.limit.unwrap_or(usize::MAX));
        Self {
            spec,
            encoder,
            labels,
            codes: encoder.codes(num_rows),
            classes: Vec::new(),
            values: Vec::new(),
            weights: Vec::new(),
            words: spec.context.inputs.words().map(|_| FieldValues::sequences()).collect(),
            cut: 0,
            lines: Vec::with_capacity(num_rows),
            groups: spec.group.as_ref().map(|_| Vec::with_capacity(num_rows)),
            with_missing: 0,
            missing: Vec::new(),
            odd: BTreeMap::new(),
            num_skipped: 0,
            reasons: Vec::new(),
            unseen: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The file has no column for labels.
    pub(super) fn without_labels(&mut self) {
        self.labels = None;
    }

    /// Takes one row, or leaves everything as it was.
    pub(super) fn add(
        &mut self,
        event: Event<'_>,
        schema: &Schema,
        line: u64,
    ) -> Result<(), Refusal> {
        let odd = self.encoder.not_numbers(event).next();
        if let (Some((column, value)), Missing::Fail | Missing::Skip) = (odd, self.spec.missing) {
            let (name, value) = (&schema.columns[column], shown(value));
            let none = no_number(&value);
            let what = format!("column `{name}`: `{value}` is {none} and counts as missing");
            return Err(Refusal::Missing(what));
        }
        let missing = missing(event);
        if let (Some(column), Missing::Fail | Missing::Skip) = (missing, self.spec.missing) {
            let help = match self.spec.missing {
                Missing::Fail => "; say missing = \"mean\" or \"skip\"",
                _ => "",
            };
            let name = &schema.columns[column];
            return Err(Refusal::Missing(format!("column `{name}` is missing{help}")));
        }
        let label = self.label(event.label(), schema)?;
        let group = match self.groups {
            None => None,
            Some(_) => Some(group_of(event.id())?),
        };
        let mut texts = Vec::new();
        for (_, column, how) in self.spec.context.inputs.words() {
            let mut ids = Vec::new();
            let input = (column.as_str(), how);
            let cut = TableInputs::ids(event, schema, input, &mut ids).map_err(Refusal::of)?;
            self.cut += usize::from(cut > 0);
            texts.push(ids);
        }
        self.encoder.code(event, &mut self.codes).map_err(Refusal::of)?;
        self.words.iter_mut().zip(&texts).for_each(|(words, ids)| words.push_sequence(ids));
        match label {
            Some(Label::Class(class)) => self.classes.push(class as u32),
            Some(Label::Value(value)) => self.values.push(value),
            Some(Label::Set(values)) => self.values.extend(values),
            None => {}
        }
        self.groups.iter_mut().for_each(|groups| groups.extend(group));
        if self.spec.context.stream.weight.is_some() {
            self.weights.push(event.weight());
        }
        self.lines.push(u32::try_from(line).unwrap_or(u32::MAX));
        for (column, value) in self.encoder.not_numbers(event) {
            self.odd.entry(column).or_insert_with(|| (0, shown(value), line)).0 += 1;
        }
        if missing.is_some() {
            self.with_missing += 1;
            self.missing.resize(event.columns(), 0);
            for (i, count) in self.missing.iter_mut().enumerate() {
                *count += u64::from(event.value(i) == Value::Missing);
            }
        }
        Ok(())
    }

    fn label(&self, value: Value<'_>, schema: &Schema) -> Result<Option<Label>, Refusal> {
        let Some(labels) = &self.labels else { return Ok(None) };
        let name = schema.label.as_deref().unwrap_or_default();
        if value == Value::Missing {
            let hint = match labels {
                Labels::Sets(_)
                    if self.spec.labels.is_empty()
                        && self.spec.context.stream.labels.is_empty() =>
                {
                    format!(" (where an {EMPTY_SET})")
                }
                _ => String::new(),
            };
            return Err(Refusal::Missing(format!("the label `{name}` is missing{hint}")));
        }
        if let Some(class) = labels.unknown(value) {
            return Err(Refusal::Unseen(class.chars().take(40).collect()));
        }
        let bad = |what: &str| Refusal::Bad(format!("label `{name}`: {what}"));
        match labels.transform(value) {
            Ok(Some(label)) => Ok(Some(label)),
            Ok(None) => {
                let text = Labels::name(value).unwrap_or_default();
                let text: String = text.chars().take(40).collect();
                Err(Refusal::Unseen(text))
            }
            Err(error) => Err(bad(&error.reason)),
        }
    }

    /// What a user should know beside what is counted here.
    pub(super) fn note(&mut self, notes: impl Iterator<Item = Note>) {
        self.notes.extend(notes.map(|note| note.to_string()));
    }

    /// Applies the policy for a row that was not taken.
    pub(super) fn refuse(&mut self, path: &Path, line: u64, refusal: Refusal) -> Result<()> {
        let (what, fatal) = match refusal {
            Refusal::Unseen(class) => {
                let what = format!("the label `{class}` is no known class");
                // All of them are counted before they are an error.
                if self.unseen.len() < MAX_CLASSES || self.unseen.contains_key(&class) {
                    self.unseen.entry(class).or_insert((0, line)).0 += 1;
                }
                (what, false)
            }
            Refusal::Missing(what) => (what, self.spec.missing == Missing::Fail),
            Refusal::Bad(what) => (what, self.spec.bad_rows == BadRows::Fail),
            Refusal::Fatal(what) => (what, true),
        };
        let error = Error::Row { path: path.to_owned(), line, what };
        if fatal {
            return Err(error);
        }
        self.num_skipped += 1;
        if self.reasons.len() < MAX_REASONS {
            self.reasons.push(error.to_string());
        }
        Ok(())
    }

    /// All rows are read.
    pub(super) fn finish(mut self, path: &Path, schema: &Schema) -> Result<Self> {
        if self.spec.bad_rows == BadRows::Fail && !self.unseen.is_empty() {
            return Err(self.unseen_classes(path, schema));
        }
        if self.lines.is_empty() {
            let skipped = match self.reasons.first() {
                Some(first) => format!("; {} were left out, first: {first}", self.num_skipped),
                None => String::new(),
            };
            return Err(Error::format(path, format!("has no usable rows{skipped}")));
        }
        if self.with_missing > 0 {
            let counts = schema.columns.iter().zip(&self.missing).filter(|(_, n)| **n > 0);
            let mut names: Vec<String> = counts.map(|(name, n)| format!("{name}: {n}")).collect();
            if names.len() > MAX_NAMES {
                let more = names.split_off(MAX_NAMES - 1).len();
                names.push(format!("{more} more columns"));
            }
            self.notes.push(format!(
                "{} of {} rows lack values ({})",
                self.with_missing,
                self.lines.len(),
                names.join(", ")
            ));
        }
        for (&column, (count, value, line)) in &self.odd {
            let name = &schema.columns[column];
            let values = if *count == 1 { "value is" } else { "values are" };
            let none = no_number(value);
            self.notes.push(format!(
                "column `{name}`: {count} {values} {none} and missing, the first `{value}` in line {line}"
            ));
        }
        self.codes.shrink_to_fit();
        Ok(self)
    }

    /// That rows have classes which the model does not have.
    fn unseen_classes(&self, path: &Path, schema: &Schema) -> Error {
        let rows: u64 = self.unseen.values().map(|(rows, _)| rows).sum();
        let few = self.unseen.iter().take(MAX_NAMES).map(|(class, (rows, line))| match rows {
            1 => format!("`{class}` (line {line})"),
            rows => format!("`{class}` ({rows} rows, the first in line {line})"),
        });
        let mut few: Vec<String> = few.collect();
        if self.unseen.len() > few.len() {
            few.push(format!("{} more", self.unseen.len() - few.len()));
        }
        let known = self.labels.as_ref().map(Labels::names).unwrap_or_default();
        let renamed = match self.unseen.len() <= known.len() {
            true => {
                "If these are classes of the model under other names, give the file's names in the order of the model's classes as \
                     class_names where a recipe names the file; if not, "
            }
            false => "",
        };
        let say = if renamed.is_empty() { "Say" } else { "say" };
        let mut known: Vec<&str> = known.iter().map(String::as_str).collect();
        if known.len() > 2 * MAX_NAMES {
            known.truncate(2 * MAX_NAMES);
            known.push("...");
        }
        Error::format(
            path,
            format!(
                "label `{}`: {rows} of {} rows have classes that the model does not have: {}; it has {}. {renamed}{say} \
                 bad_rows = \"skip\" there to leave such rows out, or leave them out of the file",
                schema.label.as_deref().unwrap_or_default(),
                self.lines.len() + self.num_skipped,
                few.join(", "),
                known.join(", ")
            ),
        )
    }

    /// The dataset that they are.
    pub(super) fn dataset(
        self,
        spec: &TableSpec,
        width: usize,
        known: Known,
        understood: Understood,
    ) -> TableDataset {
        let labels = match self.labels {
            None => Stored::None,
            Some(Labels::Values(_)) => Stored::Values { values: self.values, width: 1 },
            Some(labels @ Labels::Sets(_)) => {
                Stored::Values { values: self.values, width: labels.names().len() }
            }
            Some(_) => Stored::Classes(self.classes),
        };
        let class_names = known.labels.as_ref().map_or_else(Vec::new, Labels::names);
        let kind = match &labels {
            Stored::Classes(_) => LabelKind::Class { num_classes: class_names.len() },
            Stored::Values { width, .. } => LabelKind::Values { len: *width },
            Stored::None => LabelKind::None,
        };
        let inputs = &spec.context.inputs;
        let mut info = Info::of(self.lines.len(), inputs.fields(width), kind);
        let mut notes = self.notes;
        if self.cut > 0 {
            let cut = self.cut;
            notes.push(format!(
                "{cut} texts have more words than the model's input; the rest is cut off"
            ));
        }
        info.class_names = class_names;
        TableDataset {
            known,
            codes: self.codes,
            info,
            labels,
            weights: self.weights,
            file: spec.path.clone(),
            lines: self.lines,
            groups: self.groups.map(Into::into),
            skipped: (self.num_skipped, self.reasons),
            notes,
            understood,
            encoded: inputs.encoded(),
            words: inputs.words().map(|(field, ..)| field).zip(self.words).collect(),
        }
    }
}
