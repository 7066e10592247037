//! `tidemill init`

use std::path::PathBuf;
use std::process::ExitCode;

use tidemill_recipe::init::{Init, init};
use tidemill_recipe::stream::{Encoding, FormatSpec};

use crate::failure::{Failure, Result};
use crate::print::say;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The data: a folder or archive of images with a sub-folder per class, a folder of texts with a
    /// sub-folder per class, a folder of IDX files (or the two files), or a table (CSV, TSV, JSON
    /// lines, ARFF, VW text, libsvm), plain or gzipped.
    #[arg(required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// The column of a table to predict: its name, or its place (0 is the first, -1 the last) [default: class, target, label or y,
    /// else the last column].
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    label: Option<String>,
    /// Where any number of classes is true of a row and each has a column of 0 and 1: the names of these columns, with commas.
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',', conflicts_with = "label")]
    labels: Vec<String>,
    /// Where any number of classes is true of a row: the character between their names in the label, such as ";".
    #[arg(long, value_name = "CHARACTER")]
    label_separator: Option<String>,
    /// For training in batches alone: a large table of classes gets larger layers, which are 1 to 2 points better there, and slow on a
    /// stream.
    #[arg(long)]
    batch: bool,
    /// The recipe to write.
    #[arg(long, value_name = "RECIPE", default_value = "recipe.toml")]
    out: PathBuf,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    written: Written,
}

/// How a table is written, where a look at it finds something else; keys of the same names in the recipe's `[stream]`.
#[derive(clap::Args)]
#[command(next_help_heading = "How a table is written")]
struct Written {
    /// The character between fields; "tab" for a tab [default: what cuts all rows alike].
    #[arg(long, value_name = "CHARACTER")]
    delimiter: Option<String>,
    /// The character before the decimals of numbers [default: ., and , where that is not the delimiter].
    #[arg(long, value_name = "CHARACTER")]
    decimal: Option<String>,
    /// The character between groups of three digits [default: what the values show].
    #[arg(long, value_name = "CHARACTER")]
    thousands: Option<String>,
    /// How texts are written [default: UTF-8, and Windows-1252 for what is not].
    #[arg(long, value_name = "ENCODING", value_parser = ["utf-8", "latin1"])]
    encoding: Option<String>,
    /// Whether the first row names the columns [default: the rows show it].
    #[arg(long, value_name = "true|false")]
    header: Option<bool>,
    /// Rows at the start that are no part of the table, such as a title [default: those before the first row that is as long as
    /// the others].
    #[arg(long, value_name = "NUMBER")]
    skip_rows: Option<usize>,
    /// The character around fields that hold delimiters; "" for none [default: "].
    #[arg(long, value_name = "CHARACTER")]
    quote: Option<String>,
    /// Signs and units beside numbers that are no part of them, with commas, such as "$,kg" [default: signs like $ and % that all
    /// values of a column have].
    #[arg(long, value_name = "UNIT,...", value_delimiter = ',')]
    units: Vec<String>,
}

impl Written {
    fn spec(&self) -> Result<FormatSpec> {
        let one = |option: &str, given: &Option<String>| {
            let given = given.as_deref();
            given.map(|given| one_character(option, given)).transpose()
        };
        let encoding = |name: &String| match &**name {
            "latin1" => Encoding::Latin1,
            _ => Encoding::Utf8,
        };
        Ok(FormatSpec {
            delimiter: one("--delimiter", &self.delimiter)?,
            decimal: one("--decimal", &self.decimal)?,
            thousands: one("--thousands", &self.thousands)?,
            encoding: self.encoding.as_ref().map(encoding),
            header: self.header,
            skip_rows: self.skip_rows,
            quote: self.quote.clone(),
            units: self.units.clone(),
            ..FormatSpec::default()
        })
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let Arguments { data, label, labels, label_separator, written, batch, out, force } = arguments;
    let label_separator = match label_separator {
        Some(given) => Some(one_character("--label-separator", given)?),
        None => None,
    };
    let wanted = Init {
        data: data.clone(),
        label: label.clone(),
        labels: labels.clone(),
        label_separator,
        written: written.spec()?,
        batch: *batch,
        out: out.clone(),
        force: *force,
    };
    let drafted = init(&wanted)?;
    for sentence in &drafted.found {
        say!("{sentence}")?;
    }
    say!("Wrote {}.\n\nNext:", out.display())?;
    for command in &drafted.next {
        say!("  {command}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The character of an option; `tab` is one that is hard to type.
fn one_character(option: &str, given: &str) -> Result<char> {
    let mut characters = given.chars();
    match (characters.next(), characters.next()) {
        (Some(one), None) => Ok(one),
        _ if matches!(given, "tab" | "\\t") => Ok('\t'),
        _ => Err(Failure::usage(format!(
            "{option} must be one character, such as \";\", found {given:?}"
        ))),
    }
}
