//! `tidemill advise`

use std::path::PathBuf;
use std::process::ExitCode;

use tidemill_advise::words::{quality, short, speed};
use tidemill_advise::{Advised, Evidence, advise};
use tidemill_engine::page::number::{bytes, count};
use tidemill_recipe::RecipeFile;

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
