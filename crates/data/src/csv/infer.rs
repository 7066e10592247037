//! Finding out what the columns of a training set mean.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use super::read::wants_classes;
use super::table::{MissingValues, Row, Table, number};
use super::{Column, ColumnKind, CsvSchema, CsvSpec, LabelColumn, Missing};
use crate::{Error, Result};

/// A column is numbers if at least this share of its values is; the others are then bad rows.
const NUMBER_SHARE: f64 = 0.9;
/// More classes than this are taken for values to be predicted.
const MAX_CLASSES: usize = 100_000;

/// More names than this are collected by a second reading, and only where they are needed.
const MAX_NAMES: usize = 10_000;

/// What a first reading tells about a column.
#[derive(Default)]
struct Tally {
    numbers: u64,
    texts: u64,
    /// The texts that are no numbers: all names of a category, unless some look like numbers.
    names: HashSet<String>,
    sum: f64,
    squares: f64,
}

/// The schema of `path`, and how many rows it has.
pub(super) fn infer(spec: &CsvSpec, path: &Path) -> Result<(CsvSchema, usize)> {
    let mut table = Table::open(spec, path)?;
    let num_fields = table.num_fields;
    let label = spec.label.as_ref().map(|l| table.place("label", l)).transpose()?;
    let features = feature_places(spec, &table, label)?;
    let categorical = spec
        .categorical
        .iter()
        .map(|c| table.place("categorical", c))
        .collect::<Result<Vec<_>>>()?;

    let missing = MissingValues::new(spec);
    let mut tallies: Vec<Tally> = features.iter().map(|_| Tally::default()).collect();
    let mut classes = BTreeSet::<String>::new();
    let mut num_rows = 0;
    let mut row = Row::default();
    while spec.limit.is_none_or(|limit| num_rows < limit) && table.read(&mut row)? {
        if row.len() != num_fields {
            continue;
        }
        num_rows += 1;
        for (tally, &place) in tallies.iter_mut().zip(&features) {
            tally.add(&missing, row.get(place).unwrap_or(""));
        }
        let class = label.and_then(|l| row.get(l)).filter(|c| !missing.has(c));
        if let Some(class) = class.filter(|c| wants_classes(spec) && !classes.contains(*c)) {
            classes.insert(class.to_owned());
            if classes.len() > MAX_CLASSES {
                return Err(Error::option(format!(
                    "{}: the label has more than {MAX_CLASSES} classes; say label_type = \
                     \"value\" to predict a value",
                    spec.path
                )));
            }
        }
    }
    let columns = features.iter().zip(&mut tallies).map(|(&place, tally)| {
        let number = tally.is_number() && !categorical.contains(&place);
        Column {
            name: table.name(place),
            index: place,
            kind: match number {
                true => tally.number(spec),
                false => category(spec, tally.all_names().unwrap_or_default()),
            },
        }
    });
    let mut columns: Vec<Column> = columns.collect();
    find_names(spec, path, &mut columns, num_rows)?;
    let label = label.map(|place| LabelColumn {
        name: table.name(place),
        index: place,
        classes: wants_classes(spec).then(|| class_names(spec, classes)),
    });
    Ok((CsvSchema { num_fields, columns, label }, num_rows))
}

impl Tally {
    fn add(&mut self, missing: &MissingValues, text: &str) {
        if missing.has(text) {
            return;
        }
        if let Some(value) = number(text) {
            self.numbers += 1;
            self.sum += f64::from(value);
            self.squares += f64::from(value) * f64::from(value);
            return;
        }
        self.texts += 1;
        if self.names.len() < MAX_NAMES && !self.names.contains(text) {
            self.names.insert(text.to_owned());
        }
    }

    /// All names, if this reading saw them all.
    fn all_names(&mut self) -> Option<BTreeSet<String>> {
        let complete = self.numbers == 0 && self.names.len() < MAX_NAMES;
        complete.then(|| self.names.drain().collect())
    }

    fn is_number(&self) -> bool {
        self.numbers as f64 >= NUMBER_SHARE * (self.numbers + self.texts) as f64
    }

    fn number(&self, spec: &CsvSpec) -> ColumnKind {
        let n = self.numbers as f64;
        if !spec.standardize || n == 0.0 {
            return ColumnKind::Number { mean: 0.0, std: 1.0 };
        }
        let mean = self.sum / n;
        let std = (self.squares / n - mean * mean).max(0.0).sqrt();
        // A constant column stays constant.
        let std = if std > 1e-9 * mean.abs().max(1e-9) { std } else { 1.0 };
        ColumnKind::Number { mean: mean as f32, std: std as f32 }
    }
}

/// A category of these names.
fn category(spec: &CsvSpec, mut found: BTreeSet<String>) -> ColumnKind {
    // A filled name is there even if none is missing here: another file may have one. Without
    // any name the column is left for a second reading.
    if matches!(spec.missing, Missing::Fill(_)) && !found.is_empty() {
        found.insert(String::new());
    }
    ColumnKind::Category { names: sorted(found), one_hot: spec.one_hot }
}

/// The places of the feature columns.
fn feature_places(spec: &CsvSpec, table: &Table, label: Option<usize>) -> Result<Vec<usize>> {
    let resolve = |option: &str, names: &[super::ColumnName]| {
        names.iter().map(|n| table.place(option, n)).collect::<Result<Vec<_>>>()
    };
    let excluded = resolve("exclude", &spec.exclude)?;
    let places = match &spec.features {
        None => (0..table.num_fields).filter(|&p| Some(p) != label).collect(),
        Some(names) => resolve("features", names)?,
    };
    if let Some(label) = label.filter(|l| places.contains(l)) {
        return Err(Error::option(format!(
            "{}: features has the label's column \"{}\"; take it out",
            spec.path,
            table.name(label)
        )));
    }
    let places: Vec<usize> = places.into_iter().filter(|p| !excluded.contains(p)).collect();
    if places.is_empty() {
        return Err(Error::option(format!(
            "{}: no feature columns are left of {}; is the delimiter {:?} right?",
            spec.path, table.num_fields, spec.delimiter
        )));
    }
    Ok(places)
}

/// Reads the file again for the names of categories that are still without.
fn find_names(spec: &CsvSpec, path: &Path, columns: &mut [Column], num_rows: usize) -> Result<()> {
    let nameless =
        |c: &&mut Column| matches!(&c.kind, ColumnKind::Category { names, .. } if names.is_empty());
    let mut wanted: Vec<(&mut Column, BTreeSet<String>)> =
        columns.iter_mut().filter(nameless).map(|c| (c, BTreeSet::new())).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut table = Table::open(spec, path)?;
    let missing = MissingValues::new(spec);
    let num_fields = table.num_fields;
    let (mut row, mut read) = (Row::default(), 0);
    while read < num_rows && table.read(&mut row)? {
        if row.len() != num_fields {
            continue;
        }
        read += 1;
        for (column, names) in &mut wanted {
            if let Some(text) = row.get(column.index)
                && !missing.has(text)
                && !names.contains(text)
            {
                names.insert(text.to_owned());
            }
        }
    }
    for (column, found) in wanted {
        column.kind = category(spec, found);
    }
    Ok(())
}

fn class_names(spec: &CsvSpec, found: BTreeSet<String>) -> Vec<String> {
    if spec.class_names.is_empty() { sorted(found) } else { spec.class_names.clone() }
}

/// Sorted as numbers where all are numbers, so that 10 comes after 9.
fn sorted(found: BTreeSet<String>) -> Vec<String> {
    let mut names: Vec<String> = found.into_iter().collect();
    if names.iter().all(|n| number(n).is_some()) {
        let value = |n: &String| n.parse::<f64>().unwrap_or(0.0);
        names.sort_by(|a, b| value(a).total_cmp(&value(b)));
    }
    names
}
