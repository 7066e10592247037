//! `tidemill compare`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tidemill_advise::compare::{Comparison, Measured, Options, compare};
use tidemill_engine::page::number::{self, bytes, count, percent, seconds};
use tidemill_recipe::RecipeFile;

use super::learn::stream_address;
use crate::failure::{Failure, Result};
use crate::print::say;
use crate::size;
use crate::watch::Watch;

/// What `compare` and `advise` measure on.
#[derive(clap::Args)]
pub(crate) struct Measuring {
    /// The events: any address that `tidemill learn --from` accepts, a folder of images, or data:
    /// for the recipe's training data in its stored order.
    #[arg(long, value_name = "ADDRESS", default_value = "data:")]
    from: String,
    /// Folder for the HTML page and the results [default: runs/NAME-compare or runs/NAME-advise].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Maximum number of events to read.
    #[arg(long, value_name = "N", default_value_t = 200_000,
        value_parser = clap::value_parser!(u32).range(1..))]
    events: u32,
    /// Events used only for training, before scoring starts [default: a third of all events].
    #[arg(long, value_name = "N")]
    first: Option<usize>,
    /// Events between two trainings of the retrained model [default: about an eighth of the
    /// scored events].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    every: Option<u32>,
    /// Delay of the labels, in events.
    #[arg(long, value_name = "EVENTS", default_value_t = 0)]
    label_delay: usize,
    /// Keep the recipe's learning rates [default: choose the rate of each mode on the first events].
    #[arg(long)]
    keep_rates: bool,
    /// Memory limit for the events, such as 64MB.
    #[arg(long, value_name = "SIZE", default_value = "1GB", value_parser = size::parse)]
    memory: u64,
    /// Number of threads [default: all cores].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Override a value of the recipe, such as online.batch_size=16; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Print all results as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Measuring {
    pub(crate) fn threads(&self) -> Option<usize> {
        self.threads.map(usize::from)
    }

    /// The same for the library; `what` is the end of the folder's name.
    pub(crate) fn options(&self, recipe: &Path, what: &str) -> Options {
        let stem = recipe.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Options {
            from: stream_address(&self.from),
            out: self.out.clone().unwrap_or_else(|| format!("runs/{stem}-{what}").into()),
            events: self.events as usize,
            bytes: self.memory,
            first: self.first,
            every: self.every.map(|n| n as usize),
            delay: self.label_delay,
            threads: self.threads.map(usize::from),
            tune: !self.keep_rates,
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The recipe, a TOML file.
    recipe: PathBuf,
    #[command(flatten)]
    measuring: Measuring,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let file = RecipeFile::read(&arguments.recipe, &arguments.measuring.set)?;
    let options = arguments.measuring.options(&arguments.recipe, "compare");
    let watch = Watch::new();
    let found = compare(&file, &options, &mut |what| watch.show(what))?;
    watch.end();
    if arguments.measuring.json {
        let line = serde_json::to_string(&found)
            .map_err(|e| Failure::failed(format!("cannot write the results: {e}")))?;
        say!("{line}")?;
        return Ok(ExitCode::SUCCESS);
    }
    say!("{}", text(&found))?;
    say!("  page  {}", options.out.join("compare.html").display())?;
    Ok(ExitCode::SUCCESS)
}

/// The comparison as a table.
fn text(c: &Comparison) -> String {
    let mut text = format!(
        "{} events of {}{}: {} for the first training, {} scored\n",
        count(c.events as u64),
        c.source,
        if c.cut { " (the source has more)" } else { "" },
        count(c.first as u64),
        count(c.scored as u64)
    );
    for (n, what) in [
        (c.unlabelled, "events without a label were left out"),
        (c.bad, "events could not be read, see dead-letter.jsonl"),
    ] {
        if n > 0 {
            text += &format!("{} {what}\n", count(n));
        }
    }
    if c.label_delay > 0 {
        text += &format!("labels delayed by {} events\n", count(c.label_delay as u64));
    }
    let width = c.rows.iter().map(|r| r.name.len()).max().unwrap_or(0).max(30);
    let sign = if c.more_is_better { 1.0 } else { -1.0 };
    if c.rows.iter().all(|r| sign * (r.ordered.quality - c.baselines.no_change) < 0.0) {
        text += "Repeating the last label is better than every mode.\n";
    }
    text += &format!("\n  {:<width$}  {:^22}  {:^41}\n", "", c.quality, "in order");
    text += &format!(
        "  {:<width$}  {:>10}  {:>10}  {:>8}  {:>8}  {:>8}  {:>11}\n",
        "", "in order", "shuffled", "time", "CPU", "memory", "newest data"
    );
    for row in &c.rows {
        let m = &row.ordered;
        text += &format!(
            "  {:<width$}  {:>10}  {:>10}  {:>8}  {:>8}  {:>8}  {:>11}\n",
            row.name,
            figure(c, m.quality),
            figure(c, row.shuffled.quality),
            seconds(m.cost.wall_seconds),
            seconds(m.cost.cpu_seconds),
            bytes(m.memory_bytes),
            age(m)
        );
    }
    let guess =
        if c.more_is_better { "always the most frequent class" } else { "always the mean so far" };
    let (a, b) = (&c.baselines, &c.shuffled_baselines);
    for (name, a, b) in
        [("always the last label", a.no_change, b.no_change), (guess, a.majority, b.majority)]
    {
        text += &format!("  {name:<width$}  {:>10}  {:>10}\n", figure(c, a), figure(c, b));
    }
    text
}

/// A quality for people.
fn figure(c: &Comparison, value: f64) -> String {
    if c.more_is_better { percent(value) } else { number::figure(value) }
}

fn age(m: &Measured) -> String {
    match m.mean_age {
        age if age <= 1.0 => "just before".into(),
        age => format!("{} ago", count(age.round() as u64)),
    }
}
