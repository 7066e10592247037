//! `tidemill train --fold` and `--folds`

use std::path::Path;
use std::process::ExitCode;

use tidemill_engine::Existing;
use tidemill_engine::metrics::Metric;
use tidemill_recipe::RecipeFile;
use tidemill_train::runs::{self, RunShown, common_metric, mean_and_deviation};
use tidemill_train::{RunOptions, StoppedBy, WorkerGroup};

use super::runs::table;
use super::train::{Arguments, train};
use crate::failure::{Failure, INTERRUPTED, Result};
use crate::interrupt;
use crate::print::{say, tell};

/// `2/5`
pub(super) fn fold(text: &str) -> std::result::Result<[usize; 2], String> {
    let parts = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((k, n)) if n >= 2 && (1..=n).contains(&k) => Ok([k, n]),
        _ => Err("must be a part and the number of parts, such as 2/5".to_owned()),
    }
}

/// Trains one run for each fold, in folders `fold-1`, `fold-2`, ...
pub(super) fn run(arguments: &Arguments, file: &RecipeFile, out: &Path, folds: usize) -> Result {
    let mut shown = Vec::new();
    for number in 1..=folds {
        let file = file.with_fold(number, folds)?;
        let (name, folder) = (format!("fold {number}/{folds}"), out.join(format!("fold-{number}")));
        let done = arguments.resume.then(|| finished(&folder, &name)).flatten();
        if let Some(run) = done {
            shown.push(run);
            continue;
        }
        tell!("{name}");
        let options = RunOptions {
            out: folder.clone(),
            existing: match (arguments.resume, arguments.force) {
                (_, true) => Existing::Replace,
                (true, _) => Existing::Resume,
                _ => Existing::Refuse,
            },
            threads: arguments.threads.map(usize::from),
            memory: arguments.memory,
            from: None,
            workers: WorkerGroup::One,
            pause_after: arguments.pause_after,
            interrupt: interrupt::flag(),
        };
        if train(file, &options)?.stopped_by == StoppedBy::Interrupt {
            return Ok(ExitCode::from(INTERRUPTED));
        }
        shown.push(runs::read(&folder, name)?);
    }
    let metric = common_metric(&shown);
    say!("{}", table(&shown, metric).trim_end())?;
    let figures = mean_and_deviation(&shown);
    for (name, mean, deviation) in &figures {
        let (mean, deviation) = (Metric::text(name, *mean), Metric::text(name, *deviation));
        say!("{name}: {mean} on average over {folds} folds, standard deviation {deviation}")?;
    }
    write(out, &figures)?;
    Ok(ExitCode::SUCCESS)
}

/// A fold's run that is over.
fn finished(folder: &Path, name: &str) -> Option<RunShown> {
    let run = runs::read(folder, name.to_owned()).ok()?;
    let over = run.stopped_by.as_deref().is_some_and(|why| !["interrupt", "pause"].contains(&why));
    over.then_some(run)
}

/// `folds.json`: mean and standard deviation of each figure.
fn write(out: &Path, figures: &[(String, f64, f64)]) -> Result<()> {
    let one = |(name, mean, deviation): &(String, f64, f64)| {
        (name.clone(), serde_json::json!({ "mean": mean, "standard_deviation": deviation }))
    };
    let all: serde_json::Map<_, _> = figures.iter().map(one).collect();
    let path = out.join("folds.json");
    let text = serde_json::Value::Object(all).to_string() + "\n";
    std::fs::write(&path, text)
        .map_err(|e| Failure::failed(format!("{}: cannot be written: {e}", path.display())))
}
