//! `tidemill advise`

use std::path::PathBuf;
use std::process::ExitCode;

use tidemill_advise::words::{quality, short, speed};
use tidemill_advise::workers::{Network, Parts, Predicted, best, predict};
use tidemill_advise::{Advised, Evidence, advise};
use tidemill_engine::page::number::{bytes, count};
use tidemill_recipe::RecipeFile;
use tidemill_train::estimate::{StepParts, step_parts};

use super::compare::Measuring;
use crate::failure::{Failure, Result};
use crate::print::say;
use crate::table::table;
use crate::watch::Watch;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The recipe, a TOML file.
    recipe: PathBuf,
    /// Events per second that the deployed system must keep up with.
    #[arg(long, value_name = "EVENTS_PER_SECOND")]
    rate: Option<f64>,
    /// How many workers a step of batch training is worth: predicts its time for these numbers of them.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', requires = "network",
        value_parser = clap::value_parser!(u16).range(1..=4096))]
    workers: Vec<u16>,
    /// The network between them: 1gbe, 10gbe, 25gbe, 100gbe, or a latency and a rate such as 20us,1.2GB/s.
    #[arg(long, value_name = "NETWORK", requires = "workers")]
    network: Option<Network>,
    #[command(flatten)]
    measuring: Measuring,
}

/// Columns of a paragraph.
const WIDTH: usize = 96;

pub(crate) fn run(arguments: &Arguments) -> Result {
    let file = RecipeFile::read(&arguments.recipe, &arguments.measuring.set)?;
    if arguments.rate.is_some_and(|r| !(r > 0.0 && r.is_finite())) {
        return Err(Failure::usage("--rate: must be above 0"));
    }
    if let Some(network) = &arguments.network {
        return on_workers(file, arguments, network);
    }
    let options = arguments.measuring.options(&arguments.recipe, "advise");
    let watch = Watch::new();
    let found = advise(&file, &options, arguments.rate, &mut |what| watch.show(what))?;
    watch.end();
    if arguments.measuring.json {
        let line = serde_json::to_string(&found)
            .map_err(|e| Failure::failed(format!("cannot write the advice: {e}")))?;
        say!("{line}")?;
        return Ok(ExitCode::SUCCESS);
    }
    say!("{}", text(&found))?;
    say!("page: {}", options.out.join("advise.html").display())?;
    Ok(ExitCode::SUCCESS)
}

/// Predicts a step by several workers, from the parts of one that are measured here.
fn on_workers(mut file: RecipeFile, arguments: &Arguments, network: &Network) -> Result {
    let numbers: Vec<usize> =
        std::iter::once(1).chain(arguments.workers.iter().map(|&n| usize::from(n))).collect();
    let most = numbers.iter().copied().max().unwrap_or(1);
    let mut assumed = String::new();
    if file.recipe.training.shards < 2 {
        let shards = most.min(file.recipe.batch.batch_size).max(2);
        file.recipe.training.shards = shards;
        assumed = format!("training.shards = {shards} is assumed; the recipe has none\n");
    }
    let found = step_parts(&file, arguments.measuring.threads())?;
    let shards = file.recipe.training.shards;
    let StepParts { batch, shard_seconds, update_seconds, bytes } = found;
    let parts = Parts { shards, batch, shard_seconds, update_seconds, bytes };
    let mut all: Vec<Predicted> = numbers.iter().map(|&n| predict(&parts, n, network)).collect();
    all.sort_by_key(|p| p.workers);
    all.dedup_by_key(|p| p.workers);
    if arguments.measuring.json {
        let line = serde_json::json!({ "network": network, "parts": parts, "workers": all });
        say!("{line}")?;
        return Ok(ExitCode::SUCCESS);
    }
    say!("{assumed}{}", workers_text(&parts, &all, network))?;
    Ok(ExitCode::SUCCESS)
}

fn workers_text(parts: &Parts, all: &[Predicted], network: &Network) -> String {
    let milliseconds = |seconds: f64| format!("{:.2} ms", seconds * 1e3);
    let mut text = format!(
        "a step of {} samples: {} shards of {}, an update of {}; {} of sums\n\
         network: {:.0} us and {:.2} GB/s\n\n\
         {:>7} {:>7} {:>12} {:>12} {:>12} {:>9} {:>11}\n",
        parts.batch,
        parts.shards,
        milliseconds(parts.shard_seconds),
        milliseconds(parts.update_seconds),
        bytes(parts.bytes),
        network.latency * 1e6,
        network.rate / 1e9,
        "workers",
        "shards",
        "step",
        "exchange",
        "samples/s",
        "speed-up",
        "efficiency",
    );
    for p in all {
        text += &format!(
            "{:>7} {:>7} {:>12} {:>12} {:>12} {:>9.2} {:>9.0} %\n",
            p.workers,
            p.shards,
            milliseconds(p.seconds),
            milliseconds(p.exchange),
            speed(p.samples_per_second),
            p.speedup,
            100.0 * p.efficiency(),
        );
    }
    text += "\n";
    match best(all) {
        Some(best) if best.workers > 1 => {
            let n = best.workers;
            text += &format!(
                "{n} workers: {:.2} times the samples of one in the same time",
                best.speedup
            );
            if best.shards > parts.shards {
                text += &format!(", with training.shards = {n} and batches as much larger");
            }
        }
        _ => {
            text += "one worker: the exchange takes longer than what others would compute is worth"
        }
    }
    text
}

fn text(found: &Advised) -> String {
    let (advice, e) = (&found.advice, &found.evidence);
    let mut text =
        format!("{}\n\n{}\n\n", advice.headline.to_uppercase(), wrap(&advice.sentence, ""));
    for say in &advice.why {
        text += &format!("{}\n", wrap(&format!("- {say}"), "  "));
    }
    text += "\nWhat would change this recommendation:\n";
    for say in &advice.would_change {
        text += &format!("{}\n", wrap(&format!("- {say}"), "  "));
    }
    text + "\n" + &figures(e)
}

fn figures(e: &Evidence) -> String {
    let list = |pairs: Vec<(String, f64)>| {
        let pairs: Vec<String> =
            pairs.into_iter().map(|(n, q)| format!("{n}: {}", quality(e, q))).collect();
        pairs.join("   ")
    };
    let mut intervals: Vec<(String, f64)> =
        e.intervals.iter().map(|i| (count(i.events as u64), i.quality)).collect();
    intervals.push(("never".into(), e.frozen));
    let delays = e.delays.iter().map(|d| (count(d.events as u64), d.quality)).collect();
    let speeds: Vec<String> =
        e.steps.iter().map(|s| format!("{}: {}/s", s.events, speed(s.events_per_second))).collect();
    let each = e.steps.first().map_or(0.0, |s| s.cpu_microseconds);
    let rows = [
        (
            "events",
            format!("{} for training, {} scored", count(e.first as u64), count(e.scored as u64)),
        ),
        (e.quality, "by events between updates of the weights".into()),
        ("", list(intervals)),
        ("", "by delay of the labels, in events".into()),
        ("", list(delays)),
        ("speed, by events of a step", speeds.join("   ")),
        (
            "CPU for an event",
            format!(
                "event by event {} us, retrained {} us",
                short(each),
                short(e.retrained.cpu_microseconds)
            ),
        ),
        (
            "memory",
            format!(
                "event by event {}, retrained {}",
                bytes(e.online_bytes),
                bytes(e.retrained_bytes)
            ),
        ),
    ];
    table(&rows.map(|(name, value)| (name.to_owned(), value)))
}

/// Breaks a paragraph into lines; all but the first start with `indent`.
fn wrap(text: &str, indent: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last().map_or(0, |l| l.chars().count());
        if line > indent.len() && line + 1 + word.chars().count() > WIDTH {
            lines.push(format!("{indent}{word}"));
        } else if let Some(last) = lines.last_mut() {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines.join("\n")
}
