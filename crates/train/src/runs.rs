//! Runs side by side: a table, and a page with their curves over each other.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tidemill_engine::checkpoint::EpochFigures;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::metrics::{Figures, Metric};
use tidemill_engine::page::chart::{Chart, Line, Over};
use tidemill_engine::page::html::{self, escape};
use tidemill_engine::page::number::{count, duration, plural};

use crate::watch;

/// A run as its folder shows it.
#[derive(Clone, Debug, Serialize)]
pub struct RunShown {
    /// Its folder.
    pub path: PathBuf,
    /// Its name: the path below the folder that was searched.
    pub name: String,
    /// Why it ended; none while it is under way, and where it was killed.
    pub stopped_by: Option<String>,
    /// The process that writes it, if one does.
    pub writer: Option<u32>,
    /// Steps done.
    pub steps: u64,
    /// Epochs of batch training done.
    pub epochs: u64,
    /// Seconds trained.
    pub wall_seconds: f64,
    /// The newest figures: of validation data where there are some, else of training (of a stream: predicted, then learned).
    pub figures: Figures,
    /// Whether those are of validation data.
    pub validated: bool,
    /// The epochs of batch training.
    #[serde(skip)]
    pub history: Vec<EpochFigures>,
}

/// Folders below a folder that are searched for runs.
const DEPTH: usize = 4;

/// The runs in a folder and below it, by name.
///
/// One whose files cannot be read is left out, and `skipped` is given why.
///
/// # Errors
/// If the folder cannot be read.
pub fn runs_below(folder: &Path, skipped: &mut dyn FnMut(Error)) -> Result<Vec<RunShown>> {
    let mut found = Vec::new();
    search(folder, DEPTH, &mut found)?;
    found.sort();
    let name = |path: &Path| match path.strip_prefix(folder) {
        Ok(rest) if rest.as_os_str().is_empty() => path.display().to_string(),
        Ok(rest) => rest.display().to_string(),
        Err(_) => path.display().to_string(),
    };
    let each = found.iter().filter_map(|path| read(path, name(path)).map_err(&mut *skipped).ok());
    Ok(each.collect())
}

fn search(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    if folder.join("recipe.toml").is_file()
        && (folder.join("metrics.jsonl").is_file() || folder.join("summary.json").is_file())
    {
        found.push(folder.to_owned());
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    let entries = std::fs::read_dir(folder).map_err(|e| Error::read(folder, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| Error::read(folder, e))?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // Links may lead in circles.
        if !hidden && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            search(&entry.path(), depth - 1, found)?;
        }
    }
    Ok(())
}

/// The keys of `summary.json` that runs of both kinds have.
#[derive(serde::Deserialize)]
struct Ended {
    steps: u64,
    #[serde(default)]
    epochs: u64,
    #[serde(default)]
    wall_seconds: f64,
    #[serde(default)]
    train: Figures,
    #[serde(default)]
    validation: Figures,
    stopped_by: String,
}

/// The run in a folder.
///
/// # Errors
/// If its files are damaged.
pub fn read(path: &Path, name: String) -> Result<RunShown> {
    let history = history(path)?;
    let summary = path.join("summary.json");
    let ended: Option<Ended> = match std::fs::read(&summary) {
        Ok(text) => Some(
            serde_json::from_slice(&text)
                .map_err(|e| Error::Run(format!("{}: is damaged: {e}", summary.display())))?,
        ),
        Err(_) => None,
    };
    // A run that continues has the summary of its last end until the next one.
    let ended = ended.filter(|e| history.last().is_none_or(|last| last.step <= e.steps));
    let last = history.last();
    let measured = history.iter().rev().find(|epoch| !epoch.validation.is_empty());
    let (figures, validated) = match (&ended, measured, last) {
        (Some(e), ..) if !e.validation.is_empty() => (e.validation.clone(), true),
        // Of an interrupted run the last weights are not measured: those of its last epoch are.
        (_, Some(epoch), _) => (epoch.validation.clone(), true),
        (Some(e), ..) => (e.train.clone(), false),
        (None, None, Some(epoch)) => (epoch.train.clone(), false),
        (None, None, None) => (Figures::new(), false),
    };
    Ok(RunShown {
        path: path.to_owned(),
        name,
        writer: if ended.is_none() { writer(path) } else { None },
        steps: ended.as_ref().map_or(last.map_or(0, |e| e.step), |e| e.steps),
        epochs: ended.as_ref().map_or(last.map_or(0, |e| e.epoch), |e| e.epochs),
        wall_seconds: ended
            .as_ref()
            .map_or(last.map_or(0.0, |e| e.wall_seconds), |e| e.wall_seconds),
        stopped_by: ended.map(|e| e.stopped_by),
        figures,
        validated,
        history,
    })
}

/// The lines of `metrics.jsonl`; the last one may be under way.
fn history(run: &Path) -> Result<Vec<EpochFigures>> {
    let path = run.join("metrics.jsonl");
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(Vec::new()) };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let epoch = |(i, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|e| Error::Run(format!("{}, line {}: is damaged: {e}", path.display(), i + 1)))
    };
    whole.lines().enumerate().map(epoch).collect()
}

/// The process that holds a run's lock, where the system says whether it is there.
fn writer(run: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(run.join(".lock")).ok()?;
    let id: u32 = text.trim().parse().ok()?;
    Path::new("/proc").join(id.to_string()).is_dir().then_some(id)
}

impl RunShown {
    /// How it ended, or whether it is under way.
    pub fn state(&self) -> String {
        match (&self.stopped_by, self.writer) {
            (Some(why), _) => why.clone(),
            (None, Some(process)) => format!("running ({process})"),
            (None, None) => "not finished".into(),
        }
    }

    /// The best value of a figure of validation data (or of training, where there are none) over its epochs, else the newest.
    pub fn best(&self, metric: &str) -> Option<f64> {
        let side = if self.validated { "validation" } else { "train" };
        let best = watch::best(&self.history, &format!("{side}.{metric}"));
        best.map(|b| b.value).or_else(|| self.figures.get(metric).copied())
    }
}

/// The figure that runs are compared by where none is named: accuracy where all have one, else the loss.
pub fn common_metric(runs: &[RunShown]) -> &'static str {
    let have = |name: &str| runs.iter().all(|run| run.figures.contains_key(name));
    if !runs.is_empty() && have("accuracy") { "accuracy" } else { "loss" }
}

/// The name of a figure without the side that `checkpoint.best` and others write before it: `validation.loss` is `loss`.
pub fn figure(name: &str) -> &str {
    name.strip_prefix("validation.").unwrap_or(name)
}

/// The names of a run's figures over its epochs.
pub fn figure_names(run: &RunShown) -> Vec<&String> {
    let figures =
        run.history.iter().flat_map(|epoch| epoch.validation.keys().chain(epoch.train.keys()));
    figures.fold(Vec::new(), |mut names, name| {
        if !names.contains(&name) {
            names.push(name);
        }
        names
    })
}

/// Puts the best run by a figure first; those without it come last.
pub fn sort_by(runs: &mut [RunShown], metric: &str) {
    let greater = Metric::greater_is_better(metric);
    runs.sort_by(|a, b| match (a.best(metric), b.best(metric)) {
        (Some(a), Some(b)) if greater => b.total_cmp(&a),
        (Some(a), Some(b)) => a.total_cmp(&b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
}

/// Lines that can be distinguished in one chart.
const LINES: [&str; 8] = ["run0", "run1", "run2", "run3", "run4", "run5", "run6", "run7"];

/// A page with a table of runs, in their order, and the curves of the first ones over each other.
pub fn page(title: &str, runs: &[RunShown]) -> String {
    let mut page = String::new();
    html::start(&mut page, &escape(title));
    let _ = write!(
        page,
        "<header><p class=\"eyebrow\">tidemill runs</p><h1>{}</h1><p class=\"sub\">{}</p></header>",
        escape(title),
        plural(runs.len() as u64, "run")
    );
    let mut names: Vec<&str> = Vec::new();
    for name in runs.iter().flat_map(|run| run.figures.keys()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    table(&mut page, runs, &names);
    let shown: Vec<&RunShown> =
        runs.iter().filter(|run| run.history.len() > 1).take(LINES.len()).collect();
    if !shown.is_empty() {
        page.push_str("<section><h2>Curves</h2>");
        let left = runs.len() - shown.len();
        if left > 0 {
            let _ =
                write!(page, "<p>Of the first {} runs with more than one epoch.</p>", shown.len());
        }
        page.push_str("<div class=\"charts\">");
        for name in names {
            let line = |(i, run): (usize, &&RunShown)| {
                let at = |e: &EpochFigures| {
                    let side = if run.validated { &e.validation } else { &e.train };
                    side.get(name).map(|&v| (e.epoch as f64, v))
                };
                Line::new(LINES[i], run.name.clone(), run.history.iter().filter_map(at).collect())
            };
            let lines: Vec<Line> = shown.iter().enumerate().map(line).collect();
            let (title, scale) = (name.to_owned(), Metric::scale(name));
            Chart { title, scale, over: Over::Epochs, lines: &lines }.write(&mut page);
        }
        page.push_str("</div></section>");
    }
    page.push_str("</main></body></html>\n");
    page
}

fn table(page: &mut String, runs: &[RunShown], names: &[&str]) {
    page.push_str(
        "<section><h2>Runs</h2><div class=\"scroll\"><table class=\"runs\"><thead><tr><th>run</th><th>ended by</th>",
    );
    for name in names {
        let _ = write!(page, "<th class=\"n\">{}</th>", escape(name));
    }
    page.push_str("<th class=\"n\">epochs</th><th class=\"n\">steps</th><th class=\"n\">time</th></tr></thead><tbody>");
    for run in runs {
        let _ = write!(page, "<tr><td>{}</td><td>{}</td>", escape(&run.name), escape(&run.state()));
        for name in names {
            let value = run.figures.get(*name).map_or_else(String::new, |&v| Metric::text(name, v));
            let _ = write!(page, "<td class=\"n\">{value}</td>");
        }
        let _ = write!(
            page,
            "<td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            count(run.epochs),
            count(run.steps),
            duration(run.wall_seconds)
        );
    }
    page.push_str("</tbody></table></div></section>");
}

/// Mean and standard deviation (of a sample) of the final figures of runs, such as those of folds.
pub fn mean_and_deviation(runs: &[RunShown]) -> Vec<(String, f64, f64)> {
    let names = runs.first().map(|run| run.figures.keys().cloned().collect::<Vec<_>>());
    let of = |name: String| {
        let values: Vec<f64> =
            runs.iter().filter_map(|run| run.figures.get(&name).copied()).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        (name, mean, (squares / (n - 1.0).max(1.0)).sqrt())
    };
    names.unwrap_or_default().into_iter().map(of).collect()
}
