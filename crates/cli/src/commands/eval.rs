//! `tidemill eval`

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use tidemill_engine::metrics::{Figures, Metric};
use tidemill_online::asked::Asked;
use tidemill_train::{Trained, Weights};

use crate::failure::Result;
use crate::print::{say, tell};
use crate::table::table;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder of the run.
    run: PathBuf,
    /// The data: a folder of images, a table, or two IDX files (images and labels) [default: the
    /// recipe's validation data].
    #[arg(long, num_args = 1.., value_name = "DATA")]
    data: Vec<PathBuf>,
    /// Use the weights of the best epoch instead of the last.
    #[arg(long)]
    best: bool,
    /// Number of threads [default: all cores].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    if Asked::is_linear(&arguments.run)? {
        let model = Asked::open(&arguments.run)?;
        return show(model.steps(), &model.evaluate(&arguments.data)?, arguments.json);
    }
    let weights = if arguments.best { Weights::Best } else { Weights::Latest };
    let mut model = Trained::open(&arguments.run, weights, arguments.threads.map(usize::from))?;
    let found = model.evaluate(&arguments.data)?;
    if let Some(what) = &found.skipped {
        tell!("note: {what}");
    }
    show(model.step, &found.figures, arguments.json)
}

fn show(step: u64, figures: &Figures, as_json: bool) -> Result {
    if as_json {
        say!("{}", json!({ "step": step, "figures": figures }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |(name, &value): (&String, &f64)| (name.clone(), Metric::text(name, value));
    let rows: Vec<_> = figures.iter().map(row).collect();
    say!("{}", table(&rows).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
