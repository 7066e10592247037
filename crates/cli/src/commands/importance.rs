//! `tidemill importance`

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use tidemill_engine::metrics::Metric;
use tidemill_engine::page::number::{count, plural};
use tidemill_train::{Importance, ImportanceOptions, Trained, Weights};

use crate::failure::{Failure, Result};
use crate::print::{say, tell, visible};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder of the run.
    run: PathBuf,
    /// A table with labels [default: the recipe's validation data].
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// The metric that is compared, such as auc, log_loss or rmse [default: the recipe's first metric].
    #[arg(long, value_name = "NAME", value_parser = metric)]
    metric: Option<Metric>,
    /// How often each column is shuffled.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    repeats: u64,
    /// The random seed of the shuffles.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write a picture with a bar for each column, an SVG file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Use the weights of the best epoch instead of the last.
    #[arg(long)]
    best: bool,
    /// Use the weights of the checkpoint of this step.
    #[arg(long, value_name = "STEP", conflicts_with = "best")]
    checkpoint: Option<u64>,
    /// Number of threads [default: all cores].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

fn metric(name: &str) -> std::result::Result<Metric, String> {
    Metric::try_from(name.to_owned())
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    if let Some(out) = arguments.out.as_ref().filter(|o| o.extension().is_none_or(|e| e != "svg")) {
        let what = format!("--out {}: the picture is an SVG file, FILE.svg", out.display());
        return Err(Failure::usage(what));
    }
    let weights = Weights::asked_for(arguments.best, arguments.checkpoint);
    let mut model = Trained::open(&arguments.run, weights, arguments.threads.map(usize::from))?;
    let Arguments { metric, repeats, seed, .. } = *arguments;
    let options = ImportanceOptions { metric, repeats, seed };
    let shown = std::io::stderr().is_terminal();
    let data: Vec<PathBuf> = arguments.data.iter().cloned().collect();
    let found = model.importance(&data, &options, &mut |done, all| {
        if shown {
            let end = if done == all { "\r\x1b[K" } else { "" };
            // A display: where it cannot be written, there is nothing to do.
            let _ = write!(std::io::stderr(), "\rpass {done} of {all}{end}");
        }
    })?;
    if let Some(out) = &arguments.out {
        std::fs::write(out, found.picture())
            .map_err(|e| Failure::failed(format!("{}: cannot be written: {e}", out.display())))?;
    }
    if arguments.json {
        let line = serde_json::to_string(&found)
            .map_err(|e| Failure::failed(format!("cannot write the result: {e}")))?;
        say!("{line}")?;
        return Ok(ExitCode::SUCCESS);
    }
    tell!("note: {}", model.weights_in_words());
    print(&found)?;
    if let Some(out) = &arguments.out {
        say!("picture: {}", out.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(found: &Importance) -> Result<()> {
    let Importance { metric, value, samples, repeats, columns, .. } = found;
    let text = |value: f64| Metric::text(metric, value);
    let (samples, times) = (count(*samples as u64), plural(*repeats, "time"));
    say!("{metric} of {samples} samples: {}", text(*value))?;
    say!("how much worse it is when a column is shuffled ({times} each)\n")?;
    let names: Vec<String> = columns.iter().map(|c| visible(&c.column).into_owned()).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(6);
    say!("  {:<width$}  {:>10}  {:>10}", "column", "mean", "std dev")?;
    for (name, column) in names.iter().zip(columns) {
        let (mean, deviation) = (text(column.mean), text(column.standard_deviation));
        say!("  {name:<width$}  {mean:>10}  {deviation:>10}")?;
    }
    Ok(())
}
