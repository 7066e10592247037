//! A recipe for a table or a file of events: CSV, JSON lines, ARFF, VW text, libsvm.

use std::path::Path;
use std::time::Duration;

use tidemill_engine::error::{Error, Result};
use tidemill_stream::{
    BadEvent, Decoded, Encoder, Events, Format, FormatSpec, OpenOptions, Poll, Record, Records,
    Schema, decoder, open,
};

use super::columns::{Column, Columns};
use super::text::{argument, few, list, plural, quoted};
use super::{Data, Draft};
use crate::RecipeFile;

/// Rows that are looked at.
const MOST_ROWS: usize = 1_000_000;
/// The events by which a run decides what a column is: those of `tidemill-online`'s feed.
const FIRST: usize = 100;
/// The most texts of a column that get an input of their own.
const MOST_TEXTS: usize = 128;
/// Rows of the table of words.
const WORDS: usize = 16_384;

/// What was read of a table.
struct Table {
    spec: FormatSpec,
    /// The format and delimiter, where the name does not tell them.
    said: Vec<String>,
    schema: Schema,
    first: Events,
    columns: Columns,
    bad: usize,
    more: bool,
}

pub(super) fn draft(data: &Data, label: Option<&str>, out: &Path) -> Result<Draft> {
    let (format, delimiter) = format(data)?;
    let said = said(data, format, delimiter);
    let mut spec = FormatSpec {
        format: Some(format),
        delimiter,
        label: label.map(str::to_owned),
        ..FormatSpec::default()
    };
    let mut table = read(data, &spec, said)?;
    if table.schema.sparse {
        return Ok(sparse(data, &table, out));
    }
    spec.ignore = ignored(&table.columns).into_iter().map(|(name, _)| name).collect();
    spec.text = texts(&table);
    if !spec.ignore.is_empty() || !spec.text.is_empty() {
        let why = ignored(&table.columns);
        let said = std::mem::take(&mut table.said);
        table = read(data, &spec, said)?;
        return dense(data, &table, &why, out);
    }
    dense(data, &table, &[], out)
}

/// The format by the file's name, else by how it starts; and the delimiter where it is not a comma.
fn format(data: &Data) -> Result<(Format, Option<char>)> {
    let start = start(&data.path)?;
    let line = start.lines().find(|l| !l.trim().is_empty()).unwrap_or("");
    let by_name = Format::by_name(&data.name);
    let guess = || match line.trim_start() {
        l if l.starts_with('{') => Some(Format::JsonLines),
        l if l.to_ascii_lowercase().starts_with("@relation") || l.starts_with('%') => {
            Some(Format::Arff)
        }
        l if l.contains('\t') => Some(Format::Tsv),
        l if l.contains(" |") || l.starts_with('|') => Some(Format::Vw),
        l if l.contains(',') || l.contains(';') => Some(Format::Csv),
        _ => None,
    };
    let Some(format) = by_name.or_else(guess) else {
        return Err(Error::Usage(format!(
            "{}: is neither a folder or archive of images, nor IDX data, nor a table (CSV, TSV, JSON \
             lines, ARFF, VW text, libsvm)",
            data.name
        )));
    };
    if format == Format::Arrow {
        let what =
            "is Arrow data, which `tidemill init` does not look at; convert some of it to CSV";
        return Err(Error::Usage(format!("{}: {what}", data.name)));
    }
    let times = |c: char| line.matches(c).count();
    let semicolons = format == Format::Csv && times(';') > times(',');
    Ok((format, semicolons.then_some(';')))
}

/// The first lines of a file, plain or gzipped.
fn start(path: &Path) -> Result<String> {
    let mut source = open(&path.display().to_string(), &OpenOptions::default()).map_err(stream)?;
    let mut records = Records::default();
    source.poll(&mut records, 1 << 16, Duration::from_secs(1)).map_err(stream)?;
    let lines = records.iter().take(100).map(|record| String::from_utf8_lossy(record.bytes));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn said(data: &Data, format: Format, delimiter: Option<char>) -> Vec<String> {
    let name = match format {
        Format::Csv => "csv",
        Format::Tsv => "tsv",
        Format::JsonLines => "json_lines",
        Format::Vw => "vw",
        Format::Libsvm => "libsvm",
        Format::Arff => "arff",
        Format::Arrow => "arrow",
    };
    let mut said = Vec::new();
    if Format::by_name(&data.name).is_none() {
        said.push(format!("format = \"{name}\""));
    }
    said.extend(delimiter.map(|c| format!("delimiter = \"{c}\"")));
    said
}

fn read(data: &Data, spec: &FormatSpec, said: Vec<String>) -> Result<Table> {
    let format = spec.format.unwrap_or(Format::Csv);
    let mut source =
        open(&data.path.display().to_string(), &OpenOptions::default()).map_err(stream)?;
    let mut decoder = decoder(spec, format, None).map_err(|e| stream(e.into()))?;
    let (mut records, mut event) = (Records::default(), Events::default());
    let (mut first, mut bad, mut reason) = (Events::default(), 0, None);
    let mut columns: Option<Columns> = None;
    let rows = |columns: &Option<Columns>| columns.as_ref().map_or(0, |c| c.rows);
    let more = loop {
        records.clear();
        let poll = source.poll(&mut records, 1 << 20, Duration::from_secs(1)).map_err(stream)?;
        for record in records.iter() {
            let to = if rows(&columns) < FIRST { &mut first } else { &mut event };
            match decode(&mut *decoder, record, to) {
                Ok(Some(at)) => {
                    let Some(schema) = decoder.schema() else { continue };
                    columns.get_or_insert_with(|| Columns::new(schema)).add(to.get(at));
                }
                Ok(None) => {}
                Err(e) if e.fatal => {
                    return Err(Error::Usage(format!("{}: {}", data.name, e.reason)));
                }
                Err(e) => {
                    bad += 1;
                    reason.get_or_insert(e.reason);
                }
            }
            event.clear();
        }
        if poll == Poll::End || rows(&columns) >= MOST_ROWS {
            break poll != Poll::End;
        }
    };
    let (Some(columns), Some(schema)) = (columns, decoder.schema()) else {
        let why = reason.map_or(String::new(), |r| format!(": {r}"));
        return Err(Error::Usage(format!("{}: has no row that can be read{why}", data.name)));
    };
    let schema = schema.clone();
    Ok(Table { spec: spec.clone(), said, schema, first, columns, bad, more })
}

/// The place of the record's event, if it has one.
fn decode(
    decoder: &mut dyn tidemill_stream::Decoder,
    record: Record<'_>,
    events: &mut Events,
) -> std::result::Result<Option<usize>, BadEvent> {
    Ok(match decoder.decode(record.bytes, record.first, events)? {
        Decoded::Event => Some(events.len() - 1),
        Decoded::Nothing => None,
    })
}

fn stream(e: tidemill_stream::Error) -> Error {
    Error::Usage(e.to_string())
}

/// Columns that say nothing about the label, and why.
fn ignored(columns: &Columns) -> Vec<(String, &'static str)> {
    let why = |column: &Column| match () {
        () if column.len() == 0 => Some("is empty"),
        () if column.is_row_number() => Some("counts the rows"),
        () if column.is_id() => Some("is different in nearly every row"),
        () => None,
    };
    columns.inputs.iter().filter_map(|c| Some((c.name.clone(), why(c)?))).collect()
}

/// Columns that become text after the events by which a run decides what they are.
fn texts(table: &Table) -> Vec<String> {
    let early = |index: usize| {
        (0..table.first.len())
            .any(|i| matches!(table.first.get(i).value(index), tidemill_stream::Value::Text(_)))
    };
    let columns = table.columns.inputs.iter().enumerate();
    columns.filter(|(i, c)| c.is_text() && !early(*i)).map(|(_, c)| c.name.clone()).collect()
}

/// A recipe for events of columns.
fn dense(data: &Data, table: &Table, ignored: &[(String, &str)], out: &Path) -> Result<Draft> {
    let columns = &table.columns;
    let classes = columns.label.classes();
    if columns.label.len() == 0 {
        let label = &columns.label.name;
        return Err(Error::Usage(format!(
            "{}: no row has a label in the column `{label}`; name the column with --label",
            data.name
        )));
    }
    if classes.as_ref().is_some_and(|classes| classes.len() < 2) {
        let label = &columns.label.name;
        return Err(Error::Usage(format!(
            "{}: the column `{label}` is the same in all rows, so that there is nothing to predict; \
             name another with --label",
            data.name
        )));
    }
    let features = features(table);
    let stream = stream_section(table, ignored);
    let text =
        |input: &str, layers: &str| body(classes.as_deref(), input, layers, &stream, &features);
    // The encoder knows how many inputs the columns have; it is asked with a recipe for one.
    let draft = RecipeFile::parse(&text("1", ""), out, &[])?;
    let encoder = Encoder::new(&draft.recipe.online.features, &table.schema, &table.first);
    let encoder = encoder.map_err(|e| self::stream(e.into()))?;
    let tables = encoder.tables();
    let embedding = match tables.is_empty() {
        true => String::new(),
        false => {
            let part = |of: &dyn Fn(usize) -> usize| {
                let all: Vec<String> = (0..tables.len()).map(|i| of(i).to_string()).collect();
                all.join(", ")
            };
            format!(
                "  # a row of 16 numbers for each of the last inputs, which are words\n  {{ \
                 entity_embedding = {{ vocabulary = [{}], tokens = [{}], units = 16 }} }},\n",
                part(&|i| tables[i].rows),
                part(&|i| tables[i].inputs)
            )
        }
    };
    let body = text(&encoder.width().to_string(), &embedding);
    let (recipe, from) = (argument(&out.display().to_string()), argument(&data.name));
    let next = vec![
        format!("tidemill learn {recipe} --from {from}"),
        format!("tidemill advise {recipe} --from {from}"),
    ];
    Ok(Draft { found: found(data, table, classes.as_deref(), ignored), body, next })
}

fn found(
    data: &Data,
    table: &Table,
    classes: Option<&[String]>,
    ignored: &[(String, &str)],
) -> Vec<String> {
    let Columns { rows, inputs, label } = &table.columns;
    let used: Vec<&Column> =
        inputs.iter().filter(|c| !ignored.iter().any(|(name, _)| *name == c.name)).collect();
    let texts = used.iter().filter(|c| c.is_text()).count();
    let mut parts = Vec::new();
    if used.len() > texts {
        parts.push(format!("{} of numbers", plural(used.len() - texts, "column")));
    }
    if texts > 0 {
        parts.push(format!("{} of text", plural(texts, "column")));
    }
    if table.schema.vector > 0 {
        parts.push(format!("a vector of {}", plural(table.schema.vector, "number")));
    }
    let more = if table.more { " (there are more)" } else { "" };
    let mut found = vec![format!(
        "Found in {}: {}{more}, {}.",
        data.name,
        plural(*rows, "row"),
        parts.join(" and ")
    )];
    found.push(match classes {
        Some(classes) => format!(
            "The label is the column `{}`, with {}: {}.",
            label.name,
            plural(classes.len(), "class"),
            few(classes)
        ),
        None => format!("The label is the column `{}`, a number.", label.name),
    });
    if label.missing > 0 {
        found.push(format!(
            "{} without a label: predicted, not learned from.",
            plural(label.missing, "row")
        ));
    }
    if table.bad > 0 {
        found.push(format!("{} could not be read.", plural(table.bad, "row")));
    }
    found
}

/// The keys of `[stream]`.
fn stream_section(table: &Table, ignored: &[(String, &str)]) -> String {
    let mut lines = table.said.clone();
    lines.push(format!("label = {}", quoted(&table.columns.label.name)));
    let mut text = lines.join("\n") + "\n";
    if !ignored.is_empty() {
        for (name, why) in ignored {
            text += &format!("# {name} {why}.\n");
        }
        let names: Vec<String> = ignored.iter().map(|(name, _)| name.clone()).collect();
        text += &format!("ignore = {}\n", list(&names));
    }
    if !table.spec.text.is_empty() {
        text += "# Text that looks like numbers in the first rows.\n";
        text += &format!("text = {}\n", list(&table.spec.text));
    }
    text
}

/// The keys of `[online.features]`.
fn features(table: &Table) -> String {
    let mut text = String::new();
    let words = table.columns.inputs.iter().filter(|column| column.is_prose());
    let words: Vec<String> = words.map(|column| quoted(&column.name)).collect();
    let short = table.columns.inputs.iter().filter(|c| c.is_text() && !c.is_prose());
    let most = short.map(|c| c.distinct().unwrap_or(MOST_TEXTS)).max();
    if let Some(most) = most {
        let capacity = most.clamp(1, MOST_TEXTS);
        text += "# One input for each of the first so many texts of a column, and one for all others.\n";
        text += &format!("text = {{ dictionary = {{ capacity = {capacity} }} }}\n");
    }
    if !words.is_empty() {
        text += "# The words of a text, as rows of a table.\n";
        for column in words {
            text += &format!("categorical.{column} = {{ words = {{ buckets = {WORDS} }} }}\n");
        }
    }
    if table.schema.vector > 0 {
        let most = (0..table.first.len())
            .flat_map(|i| table.first.get(i).vector())
            .fold(0.0f32, |most, v| most.max(v.abs()));
        if most > 10.0 {
            let scale = 1.0 / most;
            text += &format!("# The vector's numbers go up to {most}.\nvector_scale = {scale}\n");
        }
    }
    match text.is_empty() {
        true => text,
        false => format!("\n[online.features]\n{text}"),
    }
}

fn body(
    classes: Option<&[String]>,
    inputs: &str,
    embedding: &str,
    stream: &str,
    features: &str,
) -> String {
    let (outputs, loss, note) = match classes {
        Some(classes) => (classes.len(), "sparse_categorical_crossentropy", "one output per class"),
        None => (1, "huber", "the value; it is standardized while learning"),
    };
    let named = match classes {
        // Numbers from 0 are known already.
        Some(classes) if classes.iter().enumerate().any(|(i, c)| *c != i.to_string()) => {
            format!("\n[online]\nclasses = {}\n", list(classes))
        }
        _ => String::new(),
    };
    format!(
        r#"[model]
# The number of inputs that the columns have: one per number, several per text.
input  = {{ features = {inputs} }}
layers = [
{embedding}  {{ dense = {{ units = 64, activation = {{ leaky_relu = {{ slope = 0.1 }} }} }} }},
  {{ dense = {{ units = 32, activation = {{ leaky_relu = {{ slope = 0.1 }} }} }} }},
  {{ dense = {{ units = {outputs} }} }}, # {note}
]

[training]
loss = "{loss}"
# No optimizer: the default needs no tuning on a stream.
seed = 1

[stream]
{stream}{named}{features}"#
    )
}

/// A recipe for events of sparse features.
fn sparse(data: &Data, table: &Table, out: &Path) -> Draft {
    let label = &table.columns.label;
    let binary = label.values.iter().all(|v| ["0", "1", "-1"].contains(&v.as_str()));
    let (loss, what) = match binary {
        true => ("binary_crossentropy", "0 or -1, and 1"),
        false => ("mean_squared_error", "numbers"),
    };
    let said = match table.said.is_empty() {
        true => String::new(),
        false => format!("\n[stream]\n{}\n", table.said.join("\n")),
    };
    let body = format!(
        r#"[training]
loss = "{loss}"

[online]
# A linear model over 2 to the power of `bits` hashed features, instead of [model].
linear = {{ bits = 18, rule = "normalized_adaptive", learning_rate = 0.5 }}
# No single event moves this model past its label, so that no update need be refused.
guard  = {{ spike = 0 }}
{said}"#
    );
    let found = vec![format!(
        "Found in {}: {} of sparse features; the labels are {what}.",
        data.name,
        plural(table.columns.rows, "event")
    )];
    let (recipe, from) = (argument(&out.display().to_string()), argument(&data.name));
    Draft { found, body, next: vec![format!("tidemill learn {recipe} --from {from}")] }
}
