//! `tidemill doctor`

use std::path::PathBuf;
use std::process::ExitCode;

use tidemill_engine::page::number::plural;
use tidemill_recipe::RecipeFile;
use tidemill_train::doctor;

use crate::failure::{Result, USAGE};
use crate::print::say;
use crate::size;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The recipe, a TOML file.
    recipe: PathBuf,
    /// Override a value of the recipe, such as batch.batch_size=1; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Number of threads [default: all cores].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Memory limit of the run, such as 512MB: whether it fits, and what it then costs in time.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    memory: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let file = RecipeFile::read(&arguments.recipe, &arguments.set)?;
    let threads = arguments.threads.map(usize::from);
    let doctor::Examined { findings, understood, estimate } =
        doctor::examine(&file, threads, arguments.memory)?;
    for line in &understood {
        say!("{line}")?;
    }
    for finding in &findings {
        let kind = if finding.is_error { "error" } else { "warning" };
        say!("{kind}: {}", file.error_at(&finding.key, &finding.message()))?;
    }
    let errors = findings.iter().filter(|f| f.is_error).count();
    match findings.len() {
        0 => say!("no problems found")?,
        n => {
            say!("{}, {}", plural(errors as u64, "error"), plural((n - errors) as u64, "warning"))?
        }
    }
    if let Some(estimate) = estimate {
        say!("{estimate}")?;
    }
    Ok(if errors > 0 { ExitCode::from(USAGE) } else { ExitCode::SUCCESS })
}
