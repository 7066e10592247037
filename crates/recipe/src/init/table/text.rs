//! The parts of a table's recipe.

use std::path::Path;

use tidemill_engine::nn::HATS;
use tidemill_stream::{Encoding, Format};

use super::super::arrays::FEW;
use super::super::text::{argument, few, key, list, plural, quoted};
use super::super::{Data, Draft};
use super::learning::{LARGE, Learning};
use super::read::Table;
use super::{Column, Columns, LeftOut, if_numbers};
use tidemill_engine::data::table::EMPTY_SET;

/// The most texts of a column that get an input of their own.
const MOST_TEXTS: usize = 128;
/// Rows of the table of words.
const WORDS: usize = 65_536;
/// Rows of a table of ids whose number is not known.
const IDS: usize = 50_000;

/// What was found, in sentences.
pub(super) fn found(
    data: &Data,
    table: &Table,
    classes: Option<&[String]>,
    ignored: &[LeftOut],
) -> Vec<String> {
    let Columns { rows, inputs, label } = &table.columns;
    let used: Vec<&Column> =
        inputs.iter().filter(|c| !ignored.iter().any(|out| out.name == c.name)).collect();
    let texts = used.iter().filter(|c| c.is_text()).count();
    let ids = used.iter().filter(|c| c.is_entity()).count();
    let mut parts = Vec::new();
    for (n, what) in [(used.len() - texts - ids, "numbers"), (texts, "text"), (ids, "ids")] {
        if n > 0 {
            parts.push(format!("{} of {what}", plural(n, "column")));
        }
    }
    if table.schema.vector > 0 {
        parts.push(format!("a vector of {}", plural(table.schema.vector, "number")));
    }
    let more = if table.more { " (there are more)" } else { "" };
    let mut found = vec![format!(
        "Found in {}: {}{more}, {}.",
        data.name,
        plural(*rows, "row"),
        parts.join(", ")
    )];
    found.push(match classes {
        Some(classes) if !table.spec.labels.is_empty() => {
            format!(
                "The labels are columns of 0 and 1, any number of {}: {}.",
                plural(classes.len(), "class"),
                few(classes)
            )
        }
        Some(classes) => format!(
            "The label is the column `{}`, with {}{}: {}.",
            label.name,
            if table.spec.label_separator.is_some() { "any number of " } else { "" },
            plural(classes.len(), "class"),
            few(classes)
        ),
        None => format!("The label is the column `{}`, a number.", label.name),
    });
    let one_each = table.spec.set_separator().is_none();
    if one_each && classes.is_some_and(|classes| *rows >= 20 && 2 * classes.len() > *rows) {
        found.push(
            "Most rows have a class of their own: if another column is the label, name it with --label."
                .into(),
        );
    }
    if label.missing > 0 {
        found.push(format!(
            "{} without a label: predicted, not learned from.",
            plural(label.missing, "row")
        ));
        if table.spec.label_separator.is_some() {
            found.push(format!("Where an {EMPTY_SET}."));
        }
    }
    if let Some(by) = table.spec.label_separator
        && !label.values.iter().any(|value| value.contains(by))
    {
        found.push(format!(
            "Note: no label has {by:?} in it, so that no row has several classes; where another character is between them, name it \
             with --label-separator."
        ));
    }
    if is_split(table) {
        let share = if held_out(table) < 0.2 { "tenth" } else { "fifth" };
        found.push(format!("A {share} of the rows is kept for validation."));
    }
    let odd = used.iter().filter(|column| !column.is_text());
    for (column, (value, line)) in odd.filter_map(|column| Some((column, column.odd.as_ref()?))) {
        found.push(format!(
            "Column `{}` is numbers; {} (`{value}` in line {line}{}) {} no number and missing.",
            column.name,
            plural(column.texts, "value"),
            if column.texts == 1 { "" } else { ", the first" },
            if column.texts == 1 { "is" } else { "are" },
        ));
    }
    found.extend(left_out(ignored, table));
    found.extend(table.notes.iter().map(|note| format!("Note: {note}.")));
    if let Some(bad) = table.bad_rows() {
        found.push(format!("{bad}."));
    }
    found
}

/// The columns that are left out, in a sentence.
fn left_out(ignored: &[LeftOut], table: &Table) -> Option<String> {
    const SHOWN: usize = 10;
    if ignored.is_empty() {
        return None;
    }
    let mut all: Vec<String> = ignored.iter().take(SHOWN).map(LeftOut::reason).collect();
    if ignored.len() > SHOWN {
        all.push(format!("and {} more", ignored.len() - SHOWN));
    }
    let numbers = if_numbers(ignored, table).map_or(String::new(), |what| format!("; {what}"));
    Some(format!("Left out: {}{numbers}.", all.join(", ")))
}

/// Whether some rows are kept for validation: of a few rows all are for training.
pub(super) fn is_split(table: &Table) -> bool {
    table.columns.rows >= FEW
}

/// The share of the rows that is kept for validation, where some are: less of many, since training needs the others.
pub(super) fn held_out(table: &Table) -> f64 {
    if table.columns.rows < LARGE { 0.2 } else { 0.1 }
}

/// The lines of the recipe for the format of the events.
fn format(table: &Table) -> Vec<String> {
    let name = match table.spec.format {
        Some(Format::Tsv) => "tsv",
        Some(Format::JsonLines) => "json_lines",
        Some(Format::Vw) => "vw",
        Some(Format::Libsvm) => "libsvm",
        Some(Format::Arff) => "arff",
        Some(Format::Arrow) => "arrow",
        Some(Format::Csv) | None => "csv",
    };
    // Said even where the name of this file tells: other sources have no name.
    let mut lines = vec![format!("format = \"{name}\"")];
    lines.extend(table.spec.delimiter.map(|c| format!("delimiter = \"{c}\"")));
    lines.extend(table.spec.header.map(|header| format!("header = {header}")));
    let (decimal, thousands) = (table.spec.decimal, table.spec.thousands);
    lines.extend(decimal.map(|c| format!("decimal = \"{c}\"")));
    lines.extend(thousands.map(|c| format!("thousands = \"{c}\"")));
    if !table.spec.units.is_empty() {
        lines.push(format!("units = {}", list(&table.spec.units)));
    }
    lines.extend(table.spec.quote.iter().map(|quote| format!("quote = {}", quoted(quote))));
    lines.extend(table.spec.skip_rows.map(|rows| format!("skip_rows = {rows}")));
    lines.extend(table.spec.encoding.map(|encoding| {
        let name = match encoding {
            Encoding::Utf8 => "utf-8",
            Encoding::Latin1 => "latin1",
        };
        format!("encoding = \"{name}\"")
    }));
    if table.more_keys {
        lines.push("# The keys that are inputs: the first event has not all of them.".to_owned());
        lines.push(format!("columns = {}", list(&table.schema.columns)));
        lines.extend(table.schema.vector_key.iter().map(|key| format!("vector = {}", quoted(key))));
    }
    lines
}

/// The keys of `[stream]`.
pub(super) fn stream(table: &Table, ignored: &[LeftOut]) -> String {
    let mut lines = format(table);
    lines.push(match &table.spec.labels[..] {
        [] => format!("label = {}", quoted(&table.columns.label.name)),
        labels => format!("labels = {}", list(labels)),
    });
    lines.extend(table.spec.label_separator.map(|c| format!("label_separator = \"{c}\"")));
    let mut text = lines.join("\n") + "\n";
    if !ignored.is_empty() {
        for LeftOut { name, why, .. } in ignored {
            text += &format!("# {name} {why}.\n");
        }
        let names: Vec<String> = ignored.iter().map(|out| out.name.clone()).collect();
        text += &format!("ignore = {}\n", list(&names));
    }
    if !table.spec.text.is_empty() {
        text += "# Text of which some looks like numbers.\n";
        text += &format!("text = {}\n", list(&table.spec.text));
    }
    text
}

/// How the columns of an event become the model's inputs.
pub(super) fn features(table: &Table, learning: &Learning) -> String {
    let mut text = learning.clip.clone();
    let words = table.columns.inputs.iter().filter(|column| column.is_prose());
    let words: Vec<String> = words.map(|column| key(&column.name)).collect();
    let entities: Vec<&Column> =
        table.columns.inputs.iter().filter(|column| column.is_entity()).collect();
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
    if !entities.is_empty() {
        text += "# Ids, as rows of tables with some room for new ones.\n";
        for column in entities {
            let capacity = column.distinct().map_or(IDS, |n| n + n / 4 + 10);
            let column = key(&column.name);
            text +=
                &format!("categorical.{column} = {{ embedding = {{ capacity = {capacity} }} }}\n");
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

/// The lines of the model for hats; with linear models where it is not for batches alone.
pub(super) fn hats(columns: usize, knots: usize, batch: bool) -> String {
    let given = match knots {
        HATS => String::new(),
        _ => format!(", knots = {knots}"),
    };
    let linear = match batch {
        true => "",
        false => {
            "# Linear models beside the networks: ahead of them where little has come yet, or where no curve is to be found.\nlinear = true\n"
        }
    };
    format!(
        "# Each column of numbers has {knots} more of these inputs, its hats: they say which values its number is near.
hats   = {{ columns = {columns}{given} }}
{linear}# On a stream, mixes in what was true of the last events like this one; about twice the time of an event.
# memory = {{ events = 300 }}
"
    )
}

/// What ends a run whose validation rows say that it learns no more.
pub(super) fn stop(patience: usize) -> String {
    format!(
        "
[stop]
# Stop when the validation loss has not improved for {patience} epochs, and keep the best weights.
patience = {{ epochs = {patience}, restore_best = true }}
"
    )
}

/// The recipe of a network.
pub(super) fn body(
    learning: &Learning,
    [inputs, hats]: [&str; 2],
    first: &str,
    stream: &str,
    features: &str,
    [data, validation, stop]: [&str; 3],
) -> String {
    let Learning { layers, loss, optimizer, batch_size, epochs, online, .. } = learning;
    let online = match online.is_empty() {
        true => String::new(),
        false => format!("\n[online]\n{online}"),
    };
    format!(
        r#"[model]
# As many inputs as the columns make: one per number, several per text.
input  = {{ features = {inputs} }}
{hats}layers = [
{first}{layers}]

[training]
loss = "{loss}"
{optimizer}
seed = 1

# For `tidemill train`; the table for validation may be another one of the same columns.
[batch]
data       = {data}
{validation}
batch_size = {batch_size}
epochs     = {epochs}
{stop}
# For both: how rows are written, and which column is the label.
[stream]
{stream}{online}{features}"#
    )
}

/// A recipe for events of sparse features.
pub(super) fn sparse(data: &Data, table: &Table, out: &Path) -> Draft {
    let label = &table.columns.label;
    let binary = label.values.iter().all(|v| ["0", "1", "-1"].contains(&v.as_str()));
    let (loss, what) = match binary {
        true => ("binary_crossentropy", "0 or -1, and 1"),
        false => ("mean_squared_error", "numbers"),
    };
    let said = format(table).join("\n");
    let body = format!(
        r#"[training]
loss = "{loss}"

[online]
# A linear model over 2 to the power of `bits` hashed features, instead of [model].
linear = {{ bits = 18, rule = "normalized_adaptive", learning_rate = 0.5 }}
# No single event moves this model past its label, so that no update need be refused.
guard  = {{ spike = 0 }}

[stream]
{said}
"#
    );
    let found = vec![format!(
        "Found in {}: {} of sparse features; the labels are {what}.",
        data.name,
        plural(table.columns.rows, "event")
    )];
    let (recipe, from) = (argument(&out.display().to_string()), argument(&data.name));
    let next = vec![format!("tidemill learn {recipe} --from {from}")];
    Draft {
        found,
        body,
        next,
        one_for_both: Some("a hashed linear model has no layers".to_owned()),
    }
}
