//! `tidemill find-rate`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tidemill_engine::Existing;
use tidemill_recipe::RecipeFile;
use tidemill_train::rates::{Rates, Sweep, find_rate};
use tidemill_train::{Event, RunOptions, WorkerGroup};

use crate::failure::{Failure, Result};
use crate::print::{say, tell};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The recipe, a TOML file.
    recipe: PathBuf,
    /// The first learning rate.
    #[arg(long, value_name = "RATE", default_value_t = 1e-6)]
    from: f64,
    /// The last learning rate.
    #[arg(long, value_name = "RATE", default_value_t = 1.0)]
    to: f64,
    /// Number of steps, one for each rate.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(20..=100_000))]
    steps: u64,
    /// Write a picture of the losses, an SVG file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Override a value of the recipe, such as batch.batch_size=256; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Number of threads [default: all cores].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print one line of JSON with all steps.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let Arguments { from, to, steps, .. } = *arguments;
    if !(from > 0.0 && to > from && to.is_finite()) {
        return Err(Failure::usage(format!(
            "--from {from} --to {to}: the rates must be above 0, and the last one above the first"
        )));
    }
    if let Some(out) = arguments.out.as_ref().filter(|o| o.extension().is_none_or(|e| e != "svg")) {
        let what = format!("--out {}: the picture is an SVG file, FILE.svg", out.display());
        return Err(Failure::usage(what));
    }
    let file = RecipeFile::read(&arguments.recipe, &arguments.set)?;
    let options = RunOptions {
        out: PathBuf::new(),
        existing: Existing::Refuse,
        threads: arguments.threads.map(usize::from),
        memory: None,
        from: None,
        workers: WorkerGroup::One,
        pause_after: None,
        interrupt: Arc::default(),
    };
    let rates = find_rate(file, &options, Sweep { from, to, steps }, &mut |event| {
        if let Event::Notice(what) = event {
            tell!("note: {what}");
        }
    })?;
    if let Some(out) = &arguments.out {
        std::fs::write(out, rates.picture())
            .map_err(|e| Failure::failed(format!("{}: cannot be written: {e}", out.display())))?;
    }
    if arguments.json {
        let line = serde_json::to_string(&rates)
            .map_err(|e| Failure::failed(format!("cannot write the result: {e}")))?;
        say!("{line}")?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&rates)?;
    if let Some(out) = &arguments.out {
        say!("picture: {}", out.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Lines of the table.
const LINES: usize = 16;

fn print(rates: &Rates) -> Result<()> {
    say!("learning rate      loss   average")?;
    for tried in rates.tried.iter().step_by(rates.tried.len().div_ceil(LINES).max(1)) {
        say!("{:>13.2e}  {:>8.4}  {:>8.4}", tried.learning_rate, tried.loss, tried.smooth)?;
    }
    let steps = rates.tried.len();
    match rates.diverged {
        true => say!("the loss diverged after {steps} steps")?,
        false => {
            say!("the loss did not diverge in {steps} steps; a larger --to shows where it does")?
        }
    }
    match (rates.steepest, rates.least) {
        (Some(steepest), Some(least)) => say!(
            "the loss fell the fastest at {steepest:.1e} and was the least at {least:.1e}\n\
             suggestion: training.optimizer's learning_rate = {:.1e}",
            steepest.min(least / 2.0)
        )?,
        _ => say!(
            "the loss did not fall by more than batches differ, so that no rate is suggested; try other values of \
             --from and --to, more --steps, or look at the data"
        )?,
    }
    Ok(())
}
