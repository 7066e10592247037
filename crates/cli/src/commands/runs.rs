//! `tidemill runs`

use std::path::PathBuf;
use std::process::ExitCode;

use tidemill_engine::metrics::Metric;
use tidemill_engine::page::number::{count, duration};
use tidemill_train::runs::{RunShown, common_metric, figure, page, runs_below, sort_by};

use crate::failure::{Failure, Result};
use crate::print::{say, tell};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder with runs, in it or below it.
    #[arg(default_value = "runs")]
    folder: PathBuf,
    /// Figure that the runs are sorted by, the best one first [default: accuracy where all runs have it, else loss].
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Write a page with the table and the curves of the runs over each other.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print one JSON object per run.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let mut runs = runs_below(&arguments.folder, &mut |error| tell!("note: left out: {error}"))?;
    if runs.is_empty() {
        let what = format!("{}: no run is in it or below it", arguments.folder.display());
        return Err(Failure::failed(what));
    }
    let metric = match arguments.by.as_deref().map(figure) {
        Some(name) if runs.iter().all(|run| run.best(name).is_none()) => {
            let mut known: Vec<&String> = runs.iter().flat_map(|r| r.figures.keys()).collect();
            known.sort();
            known.dedup();
            let known: Vec<&str> = known.into_iter().map(String::as_str).collect();
            let what = format!("--by {name}: no run has it; they have {}", known.join(", "));
            return Err(Failure::usage(what));
        }
        Some(name) => name.to_owned(),
        None => common_metric(&runs).to_owned(),
    };
    sort_by(&mut runs, &metric);
    if let Some(out) = &arguments.out {
        std::fs::write(out, page(&arguments.folder.display().to_string(), &runs))
            .map_err(|e| Failure::failed(format!("{}: cannot be written: {e}", out.display())))?;
    }
    if arguments.json {
        for run in &runs {
            let line = serde_json::to_string(run)
                .map_err(|e| Failure::failed(format!("cannot write a run: {e}")))?;
            say!("{line}")?;
        }
    } else {
        say!("{}", table(&runs, &metric).trim_end())?;
    }
    if let Some(out) = &arguments.out {
        say!("page: {}", out.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for each run, the best first.
pub(super) fn table(runs: &[RunShown], metric: &str) -> String {
    let head = |name: &str| {
        [
            name.to_owned(),
            format!("best {metric}"),
            "last".into(),
            "epochs".into(),
            "time".into(),
            "ended by".into(),
        ]
    };
    let text =
        |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| Metric::text(metric, v));
    let row = |run: &RunShown| {
        let last = run.figures.get(metric).copied();
        [
            run.name.clone(),
            text(run.best(metric)),
            text(last),
            count(run.epochs),
            duration(run.wall_seconds),
            run.state(),
        ]
    };
    let rows: Vec<[String; 6]> = std::iter::once(head("run")).chain(runs.iter().map(row)).collect();
    let widths: Vec<usize> =
        (0..6).map(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let [name, best, last, epochs, time, state] = row;
        text += &format!(
            "{name:<a$}  {best:>b$}  {last:>c$}  {epochs:>d$}  {time:>e$}  {state}\n",
            a = widths[0],
            b = widths[1],
            c = widths[2],
            d = widths[3],
            e = widths[4]
        );
    }
    text
}
