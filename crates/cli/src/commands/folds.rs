//! `tidemill train --fold` and `--folds`

use std::path::Path;
use std::process::ExitCode;

use tidemill_engine::Existing;
use tidemill_engine::metrics::Metric;
use tidemill_recipe::data::RunData;
use tidemill_recipe::{DataPaths, RecipeFile};
use tidemill_train::runs::{self, common_metric, mean_and_deviation};
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

/// Trains one run for each fold, in folders `fold-1`, `fold-2`, ... With --resume, those that are there continue.
pub(super) fn run(arguments: &Arguments, file: &RecipeFile, out: &Path, folds: usize) -> Result {
    // The last fold is the first one without samples.
    let last = file.with_fold(folds, folds)?;
    RunData::open(&last, &DataPaths::new(&last.path), None)?;
    begin(arguments, out, folds)?;
    let mut shown = Vec::new();
    for number in 1..=folds {
        let file = file.with_fold(number, folds)?;
        let (name, folder) = (format!("fold {number}/{folds}"), out.join(format!("fold-{number}")));
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
    write(out, folds, &figures)?;
    Ok(ExitCode::SUCCESS)
}

/// Marks the folder as one of so many folds; one of another number of them cannot continue as these.
fn begin(arguments: &Arguments, out: &Path, folds: usize) -> Result<()> {
    let there = std::fs::read_to_string(out.join(FILE)).ok();
    let there = there.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let there = there.and_then(|value| value["folds"].as_u64());
    if let Some(n) = there.filter(|&n| n != folds as u64 && !arguments.force) {
        return Err(Failure::usage(format!(
            "{}: holds {n} folds, and other parts of the data are held out by {folds}; replace them with --force, or name another \
             folder with --out",
            out.display()
        )));
    }
    std::fs::create_dir_all(out)
        .map_err(|e| Failure::failed(format!("{}: cannot be made: {e}", out.display())))?;
    if there == Some(folds as u64) { Ok(()) } else { write(out, folds, &[]) }
}

/// Below the folder of the folds.
const FILE: &str = "folds.json";

/// The number of folds, then mean and standard deviation of each figure.
fn write(out: &Path, folds: usize, figures: &[(String, f64, f64)]) -> Result<()> {
    let one = |(name, mean, deviation): &(String, f64, f64)| {
        (name.clone(), serde_json::json!({ "mean": mean, "standard_deviation": deviation }))
    };
    let mut all: serde_json::Map<_, _> = figures.iter().map(one).collect();
    all.insert("folds".into(), folds.into());
    let path = out.join(FILE);
    let text = serde_json::Value::Object(all).to_string() + "\n";
    std::fs::write(&path, text)
        .map_err(|e| Failure::failed(format!("{}: cannot be written: {e}", path.display())))
}
