//! `tidemill bench`

use std::path::PathBuf;
use std::process::ExitCode;

use tidemill_recipe::RecipeFile;
use tidemill_train::bench::{BenchData, BenchResult, bench, kernels};

use crate::failure::{Failure, Result};
use crate::print::{say, tell};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The recipe, a TOML file.
    recipe: PathBuf,
    /// Samples per step; several sizes, separated by commas, are measured one after the other
    /// [default: the recipe's batch_size].
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: Vec<u32>,
    /// Number of threads [default: all cores].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Override a value of the recipe, such as training.optimizer=sgd; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print the time of each kernel, on one thread, instead of the time of the whole step.
    #[arg(long, conflicts_with_all = ["json", "threads"])]
    kernels: bool,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let mut file = RecipeFile::read(&arguments.recipe, &arguments.set)?;
    let sizes = match arguments.batch_size.as_slice() {
        [] => vec![file.recipe.batch.batch_size],
        sizes => sizes.iter().map(|&n| n as usize).collect(),
    };
    if file.recipe.training.shards > 1 {
        tell!("note: a step on a whole batch is measured, as with training.shards = 1");
    }
    let data = BenchData::open(&mut file)?;
    if !arguments.json && !arguments.kernels {
        say!("  batch  threads     us/step      floor    samples/s")?;
    }
    let mut told = None;
    for size in sizes {
        let why = data.why_random(size);
        if let Some(why) = &why
            && told.as_ref() != Some(why)
        {
            tell!("note: measured on random values, not on the recipe's data: {why}");
        }
        told = why;
        if arguments.kernels {
            print_kernels(&file, &data, size)?;
            continue;
        }
        let found = bench(&file, &data, size, arguments.threads.map(usize::from))?;
        if arguments.json {
            let line = serde_json::to_string(&found)
                .map_err(|e| Failure::failed(format!("cannot write the result: {e}")))?;
            say!("{line}")?;
        } else {
            say!("{}", row(&found))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_kernels(file: &RecipeFile, data: &BenchData, batch_size: usize) -> Result<()> {
    let times = kernels(file, data, batch_size)?;
    let total: f64 = times.iter().map(|t| t.1).sum();
    say!("one step of {batch_size} samples on one thread: {total:.1} us")?;
    say!("         us      %  kernel                 for")?;
    for (name, time) in times {
        say!("{time:>11.1}  {:>5.1}  {name}", 100.0 * time / total)?;
    }
    Ok(())
}

fn row(r: &BenchResult) -> String {
    format!(
        "{:>7}  {:>7}  {:>10.1}  {:>9.1}  {:>11.0}",
        r.batch_size,
        r.threads,
        r.microseconds_per_step,
        r.floor_microseconds,
        r.samples_per_second
    )
}
