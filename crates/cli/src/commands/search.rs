//! `tidemill search`

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tidemill_engine::page::number::plural;
use tidemill_recipe::RecipeFile;
use tidemill_train::runs::{self, RunShown, common_metric, sort_by};
use tidemill_train::search::{Over, check_keys, grid, list, random, rungs};

use super::runs::table;
use crate::failure::{Failure, INTERRUPTED, Result};
use crate::interrupt;
use crate::print::{say, tell};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The recipe, a TOML file.
    recipe: PathBuf,
    /// A key and what is tried: values (batch.batch_size=32,64), a range of numbers (training.seed=0..99), or one drawn by its
    /// logarithms (training.optimizer.adam.learning_rate=log:1e-4..1e-1). May be repeated: all combinations of values are tried; ranges need --random.
    #[arg(long, value_name = "KEY=VALUES", required = true)]
    over: Vec<String>,
    /// Draw so many combinations at random, in place of all.
    #[arg(long, value_name = "TRIALS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    random: Option<u32>,
    /// Seed of --random.
    #[arg(long, default_value_t = 0, requires = "random")]
    seed: u64,
    /// Successive halving: train all trials for some epochs, the best one of so many for so many times as many epochs, and so on up to
    /// the recipe's epochs.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=100))]
    halving: Option<u16>,
    /// Figure that trials are compared by, the best of their epochs [default: accuracy where all have it, else loss].
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Number of trials that run at the same time, each in a process of its own with a share of the cores.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: u16,
    /// Folder of the trials; a search that is there continues [default: searches/ and the recipe's name].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Override a value of the recipe in all trials; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// One set of values.
struct Trial {
    folder: PathBuf,
    name: String,
    set: Vec<String>,
    /// Whether its process failed.
    failed: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let over: Vec<Over> =
        arguments.over.iter().map(|o| Over::parse(o)).collect::<std::result::Result<_, _>>()?;
    check_keys(&over)?;
    let all = match arguments.random {
        Some(n) => random(&over, n as usize, arguments.seed),
        None => grid(&over)?,
    };
    // A wrong key or value fails here, not in some trial at night.
    let (mut epochs, mut listed) = (1, Vec::new());
    let (count, mut sets, mut recipes) = (all.len(), Vec::new(), HashSet::new());
    for set in all {
        let whole = [&arguments.set[..], &set].concat();
        let file = RecipeFile::read(&arguments.recipe, &whole)?;
        arguments.by.as_ref().map_or(Ok(()), |name| check_figure(name, &file))?;
        // Values may be equal however they are written.
        if recipes.insert(format!("{:?}", file.recipe)) {
            epochs = file.recipe.epochs();
            listed.push((whole, file.sha256()));
            sets.push(set);
        }
    }
    if sets.len() < count {
        let same = count - sets.len();
        tell!("note: {same} of {count} trials have the same values as others, and are left out");
    }
    let name = arguments.recipe.file_stem().unwrap_or_default();
    let out = arguments.out.clone().unwrap_or_else(|| Path::new("searches").join(name));
    std::fs::create_dir_all(&out).map_err(|e| cannot(&out, "made", &e))?;
    let _lock = lock(&out)?;
    list(&out, &listed)?;
    let mut trials: Vec<Trial> =
        sets.into_iter().enumerate().map(|(i, set)| trial(&out, i, set)).collect();
    let plan = match arguments.halving {
        Some(eta) => rungs(trials.len(), epochs, eta.into()),
        None => vec![(epochs, trials.len())],
    };
    let mut shown = Vec::new();
    for &(until, count) in &plan {
        if plan.len() > 1 {
            tell!("{} up to epoch {until}", plural(count as u64, "trial"));
        }
        let pause = (until < epochs).then_some(until);
        if !train_all(arguments, &mut trials[..count], until, pause)? {
            tell!("interrupted: the same command continues the search");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        shown = read(&trials)?;
        let metric = metric(arguments, &shown);
        sort_by(&mut shown, &metric);
        let place = |t: &Trial| shown.iter().position(|s| s.path == t.folder).unwrap_or(usize::MAX);
        // Only those of this rung are compared; the others stay behind them.
        trials[..count].sort_by_key(place);
    }
    conclude(arguments, &out, &trials, shown)
}

/// One search at a time uses a folder; the system gives the lock back when the process ends.
fn lock(out: &Path) -> Result<File> {
    let path = out.join(".lock");
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|e| cannot(&path, "written", &e))?;
    match file.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => Err(Failure::usage(format!(
            "{}: another process is searching there; wait for it, or name another folder with --out",
            out.display()
        ))),
        // A file system without locks: better a search without one than none.
        _ => Ok(file),
    }
}

fn cannot(path: &Path, what: &str, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: cannot be {what}: {error}", path.display()))
}

fn trial(out: &Path, index: usize, set: Vec<String>) -> Trial {
    let number = format!("{:03}", index + 1);
    let short = |one: &String| {
        let (key, value) = one.split_once('=').unwrap_or((one, ""));
        format!("{}={value}", key.rsplit('.').next().unwrap_or(key))
    };
    let values: Vec<String> = set.iter().map(short).collect();
    Trial {
        folder: out.join(&number),
        name: format!("{number} {}", values.join(" ")),
        set,
        failed: false,
    }
}

/// The figure that trials are compared by.
fn metric(arguments: &Arguments, shown: &[RunShown]) -> String {
    let named = arguments.by.as_deref().map(runs::figure);
    named.unwrap_or_else(|| common_metric(shown)).to_owned()
}

/// Whether the recipe measures the figure that is asked for.
fn check_figure(name: &str, file: &RecipeFile) -> Result<()> {
    let metrics = file.recipe.metrics();
    let known: Vec<String> =
        std::iter::once("loss".to_owned()).chain(metrics.iter().map(|m| m.name())).collect();
    match known.iter().any(|known| known == runs::figure(name)) {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "--by {name}: is no figure of the recipe, which has {} (training.metrics)",
            known.join(", ")
        ))),
    }
}

/// Trains these trials, some at a time; false if it was interrupted.
fn train_all(
    arguments: &Arguments,
    trials: &mut [Trial],
    until: u64,
    pause: Option<u64>,
) -> Result<bool> {
    let interrupt = interrupt::flag();
    let mut running: Vec<(usize, Child)> = Vec::new();
    let mut waiting: Vec<usize> =
        (0..trials.len()).rev().filter(|&i| !is_done(&trials[i], until)).collect();
    let mut since: Option<Instant> = None;
    loop {
        while !interrupt.load(Relaxed) && running.len() < usize::from(arguments.jobs) {
            let Some(next) = waiting.pop() else { break };
            running.push((next, start(arguments, &trials[next], pause)?));
        }
        if running.is_empty() {
            return Ok(!interrupt.load(Relaxed));
        }
        std::thread::sleep(Duration::from_millis(20));
        if interrupt.load(Relaxed) {
            // Ctrl-C reaches them too, and they write a checkpoint; other signals do not.
            if since.get_or_insert_with(Instant::now).elapsed() > Duration::from_secs(10) {
                running.iter_mut().for_each(|(_, child)| drop(child.kill()));
            }
        }
        let mut i = 0;
        while i < running.len() {
            let ended = running[i]
                .1
                .try_wait()
                .map_err(|e| Failure::failed(format!("a trial cannot be waited for: {e}")))?;
            let Some(status) = ended else {
                i += 1;
                continue;
            };
            let (which, _) = running.swap_remove(i);
            let trial = &mut trials[which];
            trial.failed = !status.success() && !interrupt.load(Relaxed);
            report(trial);
        }
    }
}

/// Whether a trial has as many epochs as it should, or has stopped for another reason of its own.
fn is_done(trial: &Trial, until: u64) -> bool {
    match runs::read(&trial.folder, String::new()) {
        Ok(RunShown { stopped_by: Some(why), epochs, .. }) => match why.as_str() {
            "interrupt" => false,
            "pause" | "epochs" => epochs >= until,
            _ => true,
        },
        _ => false,
    }
}

fn start(arguments: &Arguments, trial: &Trial, pause: Option<u64>) -> Result<Child> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::failed(format!("this program cannot be found: {e}")))?;
    let log = log_of(trial);
    let file = File::options()
        .append(true)
        .create(true)
        .open(&log)
        .map_err(|e| cannot(&log, "written", &e))?;
    let other = file.try_clone().map_err(|e| cannot(&log, "written", &e))?;
    let mut command = Command::new(program);
    command.arg("train").arg(&arguments.recipe).arg("--resume").arg("--out").arg(&trial.folder);
    for set in arguments.set.iter().chain(&trial.set) {
        command.arg("--set").arg(set);
    }
    if let Some(until) = pause {
        command.arg("--pause-after").arg(until.to_string());
    }
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    if arguments.jobs > 1 {
        command.arg("--threads").arg((cores / usize::from(arguments.jobs)).max(1).to_string());
    }
    command.env(interrupt::PARENT, std::process::id().to_string());
    command.stdin(Stdio::null()).stdout(file).stderr(other);
    command.spawn().map_err(|e| Failure::failed(format!("a trial cannot be started: {e}")))
}

/// Logs that are named at the end.
const MOST_LOGS: usize = 5;

fn log_of(trial: &Trial) -> PathBuf {
    trial.folder.with_extension("log")
}

fn report(trial: &Trial) {
    if trial.failed {
        let text = std::fs::read_to_string(log_of(trial)).unwrap_or_default();
        let why = text.lines().rfind(|line| line.starts_with("error")).unwrap_or("see its log");
        tell!("{}: failed: {why} ({})", trial.name, log_of(trial).display());
        return;
    }
    if let Ok(run) = runs::read(&trial.folder, String::new()) {
        let figures = tidemill_train::watch::in_words(&run.figures);
        tell!("{}: {figures} after {}", trial.name, plural(run.epochs, "epoch"));
    }
}

/// The trials that have results.
fn read(trials: &[Trial]) -> Result<Vec<RunShown>> {
    let there = trials.iter().filter(|trial| trial.folder.is_dir());
    let all: Vec<RunShown> = there
        .map(|t| runs::read(&t.folder, t.name.clone()))
        .collect::<std::result::Result<_, _>>()?;
    Ok(all.into_iter().filter(|run| !run.figures.is_empty()).collect())
}

fn conclude(arguments: &Arguments, out: &Path, trials: &[Trial], shown: Vec<RunShown>) -> Result {
    let page = out.join("search.html");
    let title = format!("Search {}", arguments.recipe.file_stem().unwrap_or_default().display());
    std::fs::write(&page, runs::page(&title, &shown)).map_err(|e| cannot(&page, "written", &e))?;
    let metric = metric(arguments, &shown);
    say!("{}", table(&shown, &metric).trim_end())?;
    say!("page: {}", page.display())?;
    let failed = trials.iter().filter(|trial| trial.failed).count();
    let failures = (failed > 0).then(|| {
        let logs = trials.iter().filter(|trial| trial.failed).map(log_of);
        let mut logs: Vec<String> = logs.map(|log| log.display().to_string()).collect();
        if logs.len() > MOST_LOGS {
            logs.truncate(MOST_LOGS);
            logs.push("...".to_owned());
        }
        format!("{failed} of {} trials failed; see {}", trials.len(), logs.join(", "))
    });
    let best = shown.first().and_then(|best| trials.iter().find(|t| t.folder == best.path));
    let Some(best) = best else {
        let none = "no trial has a result";
        return Err(Failure::failed(failures.map_or(none.into(), |all| format!("{none}: {all}"))));
    };
    let set: Vec<String> =
        arguments.set.iter().chain(&best.set).map(|s| format!("--set {}", quoted(s))).collect();
    say!(
        "best: {} (tidemill train {} {})",
        best.folder.display(),
        arguments.recipe.display(),
        set.join(" ")
    )?;
    // The others are compared, and the same command tries those again.
    failures.map_or(Ok(ExitCode::SUCCESS), |all| Err(Failure::failed(all)))
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=.,:/@%".contains(c);
    match text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}
