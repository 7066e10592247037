//! `tidemill init`

use std::path::PathBuf;
use std::process::ExitCode;

use tidemill_recipe::init::{Init, init};

use crate::failure::{Failure, Result};
use crate::print::say;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The data: a folder or archive of images with a sub-folder per class, a folder of texts with a
    /// sub-folder per class, a folder of IDX files (or the two files), or a table (CSV, TSV, JSON
    /// lines, ARFF, VW text, libsvm), plain or gzipped.
    #[arg(required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// The column of a table to predict [default: class, target, label or y, else the last column].
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
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
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let Arguments { data, label, label_separator, batch, out, force } = arguments;
    let label_separator = match label_separator {
        Some(given) => Some(one_character(given)?),
        None => None,
    };
    let wanted = Init {
        data: data.clone(),
        label: label.clone(),
        label_separator,
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

/// The character that is between names.
fn one_character(given: &str) -> Result<char> {
    let mut characters = given.chars();
    match (characters.next(), characters.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(Failure::usage(format!(
            "--label-separator must be the one character between the names of classes, such as \";\", found {given:?}"
        ))),
    }
}
