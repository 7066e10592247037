//! A recipe for a table or a file of events: CSV, JSON lines, ARFF, VW text, libsvm.

mod learning;
mod read;
mod text;

use std::path::Path;

use tidemill_engine::error::{Error, Result};
use tidemill_stream::{Encoder, Format, FormatSpec};

use self::learning::Learning;
use self::read::Table;
use super::arrays::part;
use super::columns::{Column, Columns};
use super::text::{argument, quoted};
use super::{Data, Draft, Init, free_run};
use crate::RecipeFile;

pub(super) fn draft(data: &Data, wanted: &Init, out: &Path) -> Result<Draft> {
    let (format, delimiter) = read::format(data, &wanted.written)?;
    let written = FormatSpec { format: Some(format), delimiter, ..wanted.written.clone() };
    written.check(format).map_err(|e| Error::Usage(format!("{}: {e}", data.name)))?;
    let label =
        wanted.label.as_deref().map(|given| read::label(data, &written, given)).transpose()?;
    let named = label.as_ref().or(wanted.labels.first());
    let mut spec = FormatSpec {
        header: read::header(data, &written, named.map(String::as_str))?,
        label,
        labels: wanted.labels.clone(),
        label_separator: wanted.label_separator,
        ..written
    };
    spec.check(format).map_err(|e| Error::Usage(format!("{}: {e}", data.name)))?;
    let table = read::table(data, &spec)?;
    if table.schema.sparse {
        return Ok(text::sparse(data, &table, out));
    }
    let ignored = ignored(&table.columns);
    if ignored.len() == table.columns.inputs.len() && table.schema.vector == 0 {
        return Err(nothing_left(data, &table, &ignored));
    }
    spec.ignore = ignored.iter().map(|column| column.name.clone()).collect();
    spec.text = texts(&table);
    let plain = spec.ignore.is_empty() && spec.text.is_empty();
    // What is text or left out by now was a question at first, of which the notes are.
    let notes = table.notes.clone();
    let table = if plain { table } else { Table { notes, ..read::table(data, &spec)? } };
    dense(data, &table, &ignored, wanted.batch, out)
}

/// A column that says nothing about the label.
struct LeftOut {
    name: String,
    why: &'static str,
    /// The first text of it, where its texts are the reason.
    text: Option<String>,
}

impl LeftOut {
    /// What it is called, and why it is left out.
    fn reason(&self) -> String {
        match &self.text {
            Some(text) => format!("`{}` {}, such as `{text}`", self.name, self.why),
            None => format!("`{}` {}", self.name, self.why),
        }
    }

    /// Whether its texts may be numbers that are written in another way.
    fn like_numbers(&self) -> bool {
        let is_like = |text: &String| {
            text.contains(|c: char| c.is_ascii_digit()) && !text.contains(char::is_alphabetic)
        };
        self.text.as_ref().is_some_and(is_like)
    }
}

/// What to do where columns that are left out may be numbers.
fn if_numbers(ignored: &[LeftOut], table: &Table) -> Option<&'static str> {
    let of_rows = matches!(table.spec.format, Some(Format::Csv | Format::Tsv));
    let mut ignored = ignored.iter().filter(|_| of_rows);
    ignored.any(LeftOut::like_numbers).then_some(
        "where such texts are numbers, --decimal and --thousands say how these are written, and --units what is beside them",
    )
}

/// Columns that say nothing about the label, and why.
fn ignored(columns: &Columns) -> Vec<LeftOut> {
    let why = |column: &Column| match () {
        () if column.len() == 0 => Some("is empty"),
        () if column.is_row_number() => Some("counts the rows"),
        () if column.is_id() => Some("is different in nearly every row"),
        () => None,
    };
    let is_out = |c: &&Column| why(c).is_some();
    // Of ids alone something may be learned; of nothing, nothing.
    let all = columns.inputs.iter().filter(is_out).count() == columns.inputs.len();
    let left_out = columns.inputs.iter().filter(|c| !(all && c.is_entity()));
    let left_out = left_out.filter_map(|c| {
        let text =
            c.odd.as_ref().filter(|_| c.is_id() && c.is_text()).map(|(text, _)| text.clone());
        Some(LeftOut { name: c.name.clone(), why: why(c)?, text })
    });
    left_out.collect()
}

/// Says that all columns are left out.
fn nothing_left(data: &Data, table: &Table, ignored: &[LeftOut]) -> Error {
    const SHOWN: usize = 5;
    let mut why: Vec<String> = ignored.iter().take(SHOWN).map(LeftOut::reason).collect();
    if ignored.len() > SHOWN {
        why.push("...".into());
    }
    let delimiter = match table.spec.delimiter {
        None => {
            "; if fields are separated by another character than a comma, name it with --delimiter"
        }
        Some(_) => "",
    };
    let why = match why.is_empty() {
        true => format!("there is no other column{delimiter}"),
        false => why.join(", "),
    };
    let numbers = if_numbers(ignored, table).map_or(String::new(), |what| format!("; {what}"));
    Error::Usage(format!(
        "{}: no column is left to learn the label `{}` from: {why}; name another label with --label, or \
         add columns to the table{numbers}{}",
        data.name,
        table.columns.label.name,
        table.unread()
    ))
}

/// Columns of text of which some values look like numbers, or which are numbers in the events by which
/// a run decides what a column is.
fn texts(table: &Table) -> Vec<String> {
    let early = |index: usize| {
        let first = &table.first;
        (0..first.len()).any(|i| first.get(i).value(index).is_text())
    };
    let columns = table.columns.inputs.iter().enumerate();
    let is_text = |c: &Column| c.is_text() || table.texts.contains(&c.name);
    let texts = columns.filter(|(i, c)| is_text(c) && (c.numbers > 0 || !early(*i)));
    texts.map(|(_, column)| column.name.clone()).collect()
}

/// That there is something to predict.
fn check_label(data: &Data, table: &Table, classes: Option<&[String]>) -> Result<()> {
    let columns = &table.columns;
    if columns.label.len() == 0 {
        let label = &columns.label.name;
        return Err(Error::Usage(format!(
            "{}: no row has a label in the column `{label}`; name the column with --label{}",
            data.name,
            table.unread()
        )));
    }
    if classes.is_some_and(|classes| classes.len() < 2) {
        let label = &columns.label.name;
        if let Some(by) = table.spec.set_separator() {
            let only = classes.iter().copied().flatten().next().map_or("no class", String::as_str);
            return Err(Error::Usage(format!(
                "{}: all that the column `{label}` has between {by:?} is `{only}`, and labels of any number of classes need two or \
                 more; name another column with --label, or leave --label-separator out",
                data.name
            )));
        }
        return Err(Error::Usage(format!(
            "{}: the column `{label}` is the same in all rows, so that there is nothing to predict; \
             name another with --label{}",
            data.name,
            table.unread()
        )));
    }
    Ok(())
}

/// A recipe for events of columns.
fn dense(
    data: &Data,
    table: &Table,
    ignored: &[LeftOut],
    batch: bool,
    out: &Path,
) -> Result<Draft> {
    let columns = &table.columns;
    let classes = match (table.spec.set_separator(), &table.spec.labels[..]) {
        (Some(by), []) => Some(columns.label.members(by)),
        (_, labels @ [_, ..]) => Some(labels.to_vec()),
        (None, []) => columns.label.classes(),
    };
    check_label(data, table, classes.as_deref())?;
    let stream = text::stream(table, ignored);
    let skip = if table.bad > 0 { ", bad_rows = \"skip\"" } else { "" };
    let scale = if classes.is_none() { ", scale_targets = true" } else { "" };
    let source = |side: &str| {
        let part = match text::is_split(table) {
            true => part(side, text::held_out(table)),
            false => String::new(),
        };
        format!("{{ table = {{ path = {}{skip}{scale}{part} }} }}", quoted(&data.name))
    };
    // Of words alone a linear model is the better one.
    let linear = table.schema.vector == 0 && columns.inputs.iter().all(Column::is_prose);
    let units = if linear { 64 } else { 16 };
    let learning = Learning::of(table, classes.as_deref(), linear, batch);
    let (validation, stop) = match text::is_split(table) {
        true => (format!("validation = {}", source("validation")), text::stop(learning.patience)),
        false => ("# validation = { table = { path = \"...\" } }".to_owned(), String::new()),
    };
    let sources = [&*source("training"), &*validation, &*stop];
    let features = text::features(table, &learning);
    let recipe = |inputs: [&str; 2], layers: &str| {
        text::body(&learning, inputs, layers, &stream, &features, sources)
    };
    // The encoder knows how many inputs the columns have; it is asked with a recipe for one.
    let draft = RecipeFile::parse(&recipe(["1", ""], ""), out, &[])?;
    let mut spec = draft.recipe.online.features;
    let plain = Encoder::new(&spec, &table.schema, &table.first).map_err(read::stream)?;
    spec.hats = learning.knots.filter(|_| plain.num_numbers() > 0);
    let encoder = Encoder::new(&spec, &table.schema, &table.first).map_err(read::stream)?;
    let hats = match spec.hats {
        Some(knots) => text::hats(plain.num_numbers(), knots, batch),
        None => String::new(),
    };
    let tables = encoder.tables();
    let embedding = match tables.is_empty() {
        true => String::new(),
        false => {
            let part = |of: &dyn Fn(usize) -> usize| {
                let all: Vec<String> = (0..tables.len()).map(|i| of(i).to_string()).collect();
                all.join(", ")
            };
            format!(
                "  # a row of {units} numbers for each of the last inputs, which are words or ids\n  {{ \
                 entity_embedding = {{ vocabulary = [{}], tokens = [{}], units = {units} }} }},\n",
                part(&|i| tables[i].rows),
                part(&|i| tables[i].inputs)
            )
        }
    };
    let body = recipe([&encoder.width().to_string(), &hats], &embedding);
    let (file, from) = (argument(&out.display().to_string()), argument(&data.name));
    let next = vec![
        format!("tidemill learn {file} --from {from}"),
        format!("tidemill train {file} --out {}", free_run("batch")),
        format!("tidemill advise {file} --from {from}"),
    ];
    let mut found = text::found(data, table, classes.as_deref(), ignored);
    if learning.is_large && !batch {
        found.push(
            "For training in batches alone, --batch gives it larger layers, which are slow on a stream.".into(),
        );
    }
    Ok(Draft { found, body, next, one_for_both: learning.one_for_both })
}
