//! `tidemill train`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tidemill_engine::Existing;
use tidemill_engine::group::Group;
use tidemill_engine::metrics::Metric;
use tidemill_engine::page::number::{bytes, count, duration, plural};
use tidemill_recipe::RecipeFile;
use tidemill_train::{
    Given, Joined, Launched, Mpi, Outcome, RunOptions, StoppedBy, WorkOptions, WorkerGroup,
    launched, take_part, work,
};

use super::folds;
use crate::failure::{Failure, INTERRUPTED, Result};
use crate::print::say;
use crate::progress::Display;
use crate::table::table;
use crate::{interrupt, size};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The recipe, a TOML file; or the folder of a run, to continue it with its own recipe: there, or
    /// with --out in a folder of its own that starts as a copy.
    recipe: PathBuf,
    /// Folder of the run [default: runs/ and the recipe's name].
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Continue from the newest checkpoint in the run's folder, if there is one.
    #[arg(long)]
    pub(super) resume: bool,
    /// Delete and replace an existing run in the folder.
    #[arg(long, conflicts_with = "resume")]
    pub(super) force: bool,
    /// Override a value of the recipe, such as batch.epochs=3; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Number of threads of each worker [default: all cores, divided among the workers].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) threads: Option<u16>,
    /// Number of workers that share each batch, each with its own copy of the model and threads. The result does not depend
    /// on it. Needs training.shards of as many or more.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Address at which other processes join as workers, such as 0.0.0.0:7000: `tidemill work --join HOST:7000` on each of
    /// the other machines. Waits until there are as many as --workers says.
    #[arg(long, value_name = "ADDRESS", requires = "workers")]
    listen: Option<String>,
    /// How processes that a launcher has started (mpirun, srun, torchrun) talk to each other.
    #[arg(long, value_enum, default_value_t = Transport::Tcp, conflicts_with = "workers")]
    transport: Transport,
    /// Memory limit for the run, such as 512MB: values of a step are computed twice where they cannot be kept, then weights and
    /// slots are in a file; fails before the first step if that does not suffice.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(super) memory: Option<u64>,
    /// End for now after so many epochs in all; --resume continues. Schedules span the whole run all the same.
    #[arg(long, value_name = "EPOCHS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) pause_after: Option<u64>,
    /// Hold out one of several parts of the training data for validation, such as 2/5, in place of batch.validation; each part has its
    /// share of each class.
    #[arg(long, value_name = "K/N", value_parser = folds::fold, conflicts_with = "folds")]
    fold: Option<[usize; 2]>,
    /// Train so many runs, each with another part of the data for validation (cross-validation), in folders below the run's; prints mean
    /// and standard deviation.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=1000), conflicts_with_all = ["workers", "json"])]
    folds: Option<u16>,
    /// Print the summary as one line of JSON at the end.
    #[arg(long)]
    json: bool,
}

/// What connects the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Transport {
    /// TCP: the run continues when a worker is lost.
    Tcp,
    /// MPI, by a library with the standard ABI; it ends all processes when one is lost.
    Mpi,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let (recipe, out) = places(&arguments.recipe, arguments.out.as_deref());
    let is_run = out == arguments.recipe && out.join("checkpoints").is_dir();
    let file = RecipeFile::read(&recipe, &arguments.set)?;
    if let Some(n) = arguments.folds {
        return folds::run(arguments, &file, &out, n.into());
    }
    let file = match arguments.fold {
        Some([number, of]) => {
            let old = out.join("recipe.toml");
            let held = if arguments.resume && old.is_file() {
                RecipeFile::read(&old, &[])?.fold()
            } else {
                None
            };
            let wanted = format!("{number}/{of}");
            if let Some(held) = held.filter(|held| *held != wanted) {
                return Err(Failure::usage(format!(
                    "{}: holds out fold {held}, so that it has learned from fold {wanted}; name another folder with --out",
                    out.display()
                )));
            }
            file.with_fold(number, of)?
        }
        None => file,
    };
    let is_other = arguments.recipe.join("checkpoints").is_dir() && !is_run;
    let launched = match (arguments.workers, arguments.transport) {
        (Some(1), _) => None,
        (Some(n), _) => match launched() {
            Ok(Some(Launched { size, .. })) => {
                return Err(Failure::usage(format!(
                    "a launcher has started {size} processes, which are the workers: leave out --workers {n}"
                )));
            }
            _ => None,
        },
        // MPI itself knows where worker 0 is.
        (None, Transport::Mpi) => launched().unwrap_or_default(),
        (None, Transport::Tcp) => launched().map_err(Failure::usage)?,
    };
    let threads = threads(arguments, launched.as_ref());
    let workers = match arguments.transport {
        Transport::Mpi => {
            let group = Mpi::start()?;
            if group.rank() > 0 {
                take_part(Box::new(group), Some(file), threads)?;
                return Ok(ExitCode::SUCCESS);
            }
            WorkerGroup::Given(Given::new(Box::new(group)))
        }
        Transport::Tcp => {
            if let Some(Launched { rank: rank @ 1.., size, address, .. }) = &launched {
                return follow(threads, file, [*rank, *size], address);
            }
            workers(arguments, launched)
        }
    };
    let options = RunOptions {
        from: is_other.then(|| arguments.recipe.clone()).filter(|from| !same(from, &out)),
        out,
        existing: match (arguments.resume || is_run, arguments.force) {
            (_, true) => Existing::Replace,
            (true, _) => Existing::Resume,
            _ => Existing::Refuse,
        },
        threads,
        memory: arguments.memory,
        workers,
        pause_after: arguments.pause_after,
        interrupt: interrupt::flag(),
    };
    let outcome = train(file, &options)?;
    if arguments.json {
        say!("{}", json(&outcome)?)?;
    } else {
        say!("{}", result(&outcome).trim_end())?;
    }
    Ok(match outcome.stopped_by {
        StoppedBy::Interrupt => ExitCode::from(INTERRUPTED),
        _ => ExitCode::SUCCESS,
    })
}

/// Who computes the batches' shards.
fn workers(arguments: &Arguments, launched: Option<Launched>) -> WorkerGroup {
    if let Some(Launched { size, address, .. }) = launched {
        return WorkerGroup::Joined(Joined { listen: address, size, patience: AT_ONCE });
    }
    match (arguments.workers, &arguments.listen) {
        (None | Some(1), _) => WorkerGroup::One,
        (Some(n), None) => WorkerGroup::Local(n.into()),
        (Some(n), Some(listen)) => {
            let (listen, size) = (listen.clone(), n.into());
            WorkerGroup::Joined(Joined { listen, size, patience: BY_HAND })
        }
    }
}

/// The threads of this process, where it does not have the machine for itself.
fn threads(arguments: &Arguments, launched: Option<&Launched>) -> Option<usize> {
    let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
    let shared = launched.map(|launched| (cores() / launched.local).max(1));
    arguments.threads.map(usize::from).or(shared)
}

/// Takes part in the run of process 0 of those that a launcher has started.
fn follow(threads: Option<usize>, file: RecipeFile, place: [usize; 2], address: &str) -> Result {
    let options = WorkOptions {
        address,
        place: Some(place),
        file: Some(file),
        patience: BY_HAND,
        threads,
        interrupt: Arc::default(),
    };
    work(options, &mut |_| {})?;
    Ok(ExitCode::SUCCESS)
}

/// How long processes are waited for that a launcher starts together, once the data are open.
const AT_ONCE: Duration = Duration::from_secs(60);

/// The same of processes that people start.
const BY_HAND: Duration = Duration::from_secs(24 * 3600);

/// Whether two names are one folder.
fn same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Trains with a display of what happens.
pub(crate) fn train(file: RecipeFile, options: &RunOptions) -> Result<Outcome> {
    let mut display = Display::new(file.recipe.epochs());
    let outcome = tidemill_train::train(file, options, &mut |event| display.show(event));
    display.finish();
    Ok(outcome?)
}

/// The recipe's file and the run's folder.
pub(crate) fn places(recipe: &Path, out: Option<&Path>) -> (PathBuf, PathBuf) {
    if recipe.join("recipe.toml").is_file() {
        return (recipe.join("recipe.toml"), out.unwrap_or(recipe).to_owned());
    }
    let name = recipe.file_stem().unwrap_or_default();
    (recipe.to_owned(), out.map_or_else(|| Path::new("runs").join(name), Path::to_owned))
}

fn json(outcome: &Outcome) -> Result<String> {
    serde_json::to_string(&outcome.summary)
        .map_err(|e| Failure::failed(format!("cannot write the summary: {e}")))
}

/// The result as a table, and where the rest is.
pub(crate) fn result(outcome: &Outcome) -> String {
    let s = &outcome.summary;
    let mut rows = Vec::new();
    for (side, figures) in [("validation", &s.validation), ("training", &s.train)] {
        for (name, &value) in figures {
            rows.push((format!("{side} {name}"), Metric::text(name, value)));
        }
    }
    rows.push(("epochs".into(), format!("{} ({})", count(s.epochs), plural(s.steps, "step"))));
    rows.push((
        "time".into(),
        format!(
            "{} ({} samples per second)",
            duration(s.wall_seconds),
            count(s.samples_per_second as u64)
        ),
    ));
    if s.peak_rss_bytes > 0 {
        rows.push(("peak memory".into(), bytes(s.peak_rss_bytes)));
    }
    if s.rollbacks > 0 {
        let lost = format!("{} ({} taken back)", count(s.rollbacks), plural(s.steps_lost, "step"));
        rows.push(("rollbacks".into(), lost));
    }
    rows.push(("stopped by".into(), s.stopped_by.clone()));
    rows.push(("run".into(), outcome.folder.path().display().to_string()));
    let report = outcome.folder.report_path();
    if report.exists() {
        rows.push(("report".into(), report.display().to_string()));
    }
    table(&rows)
}
