//! `tidemill learn`

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tidemill_engine::Existing;
use tidemill_engine::metrics::Figures;
use tidemill_engine::page::number::{bytes, count, duration, figure, percent};
use tidemill_online::driver::{StreamEnd, StreamProgress, Until};
use tidemill_online::{
    LearnEvent, LearnOptions, LearnOutcome, StreamSummary, learn, learned_from_stream,
};
use tidemill_recipe::DATA_VARIABLE;
use tidemill_recipe::RecipeFile;

use super::access::AccessArguments;
use super::train::places;
use crate::failure::{Failure, INTERRUPTED, Result};
use crate::print::{say, tell};
use crate::table::table;
use crate::{interrupt, size};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The recipe, a TOML file; or the folder of a run, to continue with its model.
    recipe: PathBuf,
    /// The stream: - for standard input, a file, tail:FILE, dir:FOLDER, tcp://ADDRESS,
    /// http://ADDRESS, log:FOLDER, nats://HOST:PORT/STREAM, redis://HOST:PORT/KEY,
    /// kafka://BROKERS/TOPIC, a folder of images, or data: for the recipe's training data.
    #[arg(long, value_name = "ADDRESS")]
    from: String,
    /// Folder of the run [default: runs/ and the recipe's name; for a run that was trained in
    /// batches, RUN-stream].
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Continue from the newest checkpoint in the run's folder, if there is one.
    #[arg(long)]
    resume: bool,
    /// With the folder of a run and --out: start with the model of its checkpoint of this step [default: the
    /// last].
    #[arg(long, value_name = "STEP", conflicts_with = "resume")]
    checkpoint: Option<u64>,
    /// With the folder of a run: read its last stream from the start again.
    #[arg(long, alias = "anew")]
    from_start: bool,
    #[command(flatten)]
    access: AccessArguments,
    /// Write what was predicted for each event before it was learned from to this file, as CSV.
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
    /// Set this record aside unseen, by the number that a message gives; may be repeated.
    #[arg(long = "skip-record", value_name = "N")]
    skip_record: Vec<String>,
    /// Score the events with the weights as they are; only the running means, deviations and texts of columns follow the stream.
    #[arg(long)]
    frozen: bool,
    /// Delete and replace an existing run in the folder.
    #[arg(long, conflicts_with = "resume")]
    force: bool,
    /// Override a value of the recipe, such as online.batch_size=16; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Stop after this many events, counted from the start of the stream.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    until_events: Option<u64>,
    /// Stop after this many seconds of learning.
    #[arg(long, value_name = "SECONDS")]
    until_seconds: Option<f64>,
    /// Samples per second when replaying a folder of images or data: [default: as fast as possible].
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Number of threads [default: all cores].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Memory limit for the run, such as 64MB; fails before the first event if it does not fit.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    memory: Option<u64>,
    /// Print the summary as one line of JSON at the end.
    #[arg(long)]
    json: bool,
}

/// A relative path that does not exist is looked up under `$TIDEMILL_DATA`, like a recipe's data.
pub(crate) fn stream_address(given: &str) -> String {
    let path = Path::new(given);
    let elsewhere = std::env::var_os(DATA_VARIABLE).map(|root| Path::new(&root).join(path));
    match elsewhere.filter(|e| path.is_relative() && !path.exists() && e.exists()) {
        Some(found) => found.to_string_lossy().into_owned(),
        None => given.to_owned(),
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let (recipe, mut out) = places(&arguments.recipe, arguments.out.as_deref());
    let is_run = out == arguments.recipe && out.join("checkpoints").is_dir();
    // A run that was trained in batches stays as it is, and its figures stay those of its weights.
    let is_batch = is_run && arguments.out.is_none() && !is_stream_run(&out)?;
    if is_batch {
        let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
        out.set_file_name(format!("{name}-stream"));
        let (run, out) = (arguments.recipe.display(), out.display());
        tell!("note: {run} stays as it is; the run that learns from the stream is {out}");
    }
    let is_run = is_run && !is_batch;
    if arguments.checkpoint.is_some() && (is_run || !arguments.recipe.is_dir()) {
        let what = "--checkpoint: chooses what a new run starts with: name the folder of a run, and \
                    another folder with --out";
        return Err(Failure::usage(what));
    }
    let file = RecipeFile::read(&recipe, &arguments.set)?;
    if arguments.rate.is_some_and(|r| !(r > 0.0 && r.is_finite())) {
        return Err(Failure::usage("--rate: must be above 0"));
    }
    if arguments.until_seconds.is_some_and(|s| !(s >= 0.0 && s.is_finite())) {
        return Err(Failure::usage("--until-seconds: must be a number of 0 or more"));
    }
    let options = LearnOptions {
        from: stream_address(&arguments.from),
        existing: match (arguments.resume || is_run, arguments.force) {
            (_, true) => Existing::Replace,
            (true, _) => Existing::Resume,
            _ => Existing::Refuse,
        },
        out,
        model: arguments.recipe.join("recipe.toml").is_file().then(|| arguments.recipe.clone()),
        checkpoint: arguments.checkpoint,
        frozen: arguments.frozen,
        beside: None,
        from_start: arguments.from_start,
        threads: arguments.threads.map(usize::from),
        memory: arguments.memory,
        until: Until { events: arguments.until_events, seconds: arguments.until_seconds },
        rate: arguments.rate,
        predictions: arguments.predictions.clone(),
        access: arguments.access.access()?,
        skip: arguments.skip_record.clone(),
        interrupt: interrupt::flag(),
    };
    let outcome = shown(file, &options, true)?;
    if arguments.json {
        let line = serde_json::to_string(&outcome.summary)
            .map_err(|e| Failure::failed(format!("cannot write the summary: {e}")))?;
        say!("{line}")?;
    } else {
        say!("{}", result(&outcome).trim_end())?;
    }
    match outcome.ended_by {
        StreamEnd::Interrupt => Ok(ExitCode::from(INTERRUPTED)),
        _ => {
            learned_something(&outcome.summary, &arguments.from)?;
            had_labels(&outcome.summary, arguments)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A run that read nothing, or nothing but bad records, has failed.
fn learned_something(summary: &StreamSummary, from: &str) -> Result<()> {
    let labels = summary.labels.is_some_and(|l| l.joined + l.pending + l.unmatched + l.waiting > 0);
    // Corrections that waited in quarantine may be all that was learned from.
    let released = summary.quarantined.is_some() && !summary.prequential.is_empty();
    let waits = summary.unlabelled + summary.labels.map_or(0, |l| l.waiting) > 0;
    let nothing = summary.prequential.is_empty() && !waits;
    if let (Some(all @ 1..), true) = (summary.quarantined, nothing) {
        return Err(Failure::failed(format!(
            "{from}: all {} corrections wait in quarantine, see quarantine.jsonl; nothing was learned",
            count(all)
        )));
    }
    match (summary.events, summary.bad_events) {
        (0, _) if labels || released => Ok(()),
        (0, 0) => Err(Failure::failed(format!("{from}: no event came; nothing was learned"))),
        (0, bad) => Err(Failure::failed(format!(
            "{from}: all {} records were set aside, see dead-letter.jsonl; nothing was learned",
            count(bad)
        ))),
        _ => Ok(()),
    }
}

/// A run whose events all came without a label has failed, where none may come later; predictions need none.
fn had_labels(summary: &StreamSummary, arguments: &Arguments) -> Result<()> {
    let events = summary.events;
    let may_come = summary.labels.is_some();
    if arguments.frozen || may_come || events == 0 || summary.unlabelled < events {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{}: none of the {} events has a label; nothing was learned. For predictions alone, use tidemill predict, \
         or learn with --frozen and --predictions FILE",
        arguments.from,
        count(events)
    )))
}

/// Whether the run in a folder has learned from a stream last.
fn is_stream_run(run: &Path) -> Result<bool> {
    let summary = std::fs::read(run.join("summary.json")).ok();
    let summary = summary.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    match summary {
        Some(summary) => Ok(summary.get("source").is_some()),
        // One that was killed.
        None => Ok(learned_from_stream(run)?),
    }
}

/// Seconds between lines where no terminal shows a live one.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// Learns with a live line on a terminal, and a line every few seconds elsewhere.
pub(crate) fn shown(file: RecipeFile, options: &LearnOptions, notes: bool) -> Result<LearnOutcome> {
    let bar = std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        bar
    });
    let (mut logged, mut seen) = (Instant::now(), 0);
    let outcome = learn(file, options, &mut |event| match (event, &bar) {
        (LearnEvent::Notice(_), _) if !notes => {}
        (LearnEvent::Notice(text), Some(bar)) => bar.suspend(|| tell!("note: {text}")),
        (LearnEvent::Notice(text), None) => tell!("note: {text}"),
        (LearnEvent::Progress(progress), Some(bar)) => {
            bar.set_message(live_line(&progress));
            bar.tick();
        }
        (LearnEvent::Progress(progress), None) => {
            let counts = progress.counts;
            let now = counts.events + counts.labels + counts.bad;
            if logged.elapsed() >= LOG_EVERY && now > seen {
                tell!("{}", live_line(&progress));
                (logged, seen) = (Instant::now(), now);
            }
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(outcome?)
}

fn live_line(p: &StreamProgress) -> String {
    let mut line =
        format!("{} events  {}/s", count(p.counts.events), count(p.events_per_second as u64));
    if let Some(h) = p.headline {
        line += &match h.name {
            "bleu" => format!("  BLEU {}  recent {}", figure(h.value), figure(h.sliding)),
            "wer" => format!("  WER {}  recent {}", percent(h.value), percent(h.sliding)),
            "accuracy" => format!(
                "  accuracy {}  recent {}  last-label baseline {}",
                percent(h.value),
                percent(h.sliding),
                percent(h.no_change)
            ),
            name => format!(
                "  {name} {}  recent {}  last-value baseline {}",
                figure(h.value),
                figure(h.sliding),
                figure(h.no_change)
            ),
        };
        if let Some(kappa) = h.kappa_t {
            line += &format!("  Kappa-T {kappa:.3}");
        }
        line += &format!("  loss {}", figure(h.loss));
    }
    if let Some(lag) = p.lag_ms {
        line += &format!("  latency {lag:.1} ms");
    }
    if p.counts.bad > 0 {
        line += &format!("  set aside {}", count(p.counts.bad));
    }
    if p.refused > 0 {
        let what = match p.headline {
            Some(h) if ["bleu", "wer"].contains(&h.name) => "in quarantine",
            _ => "refused",
        };
        line += &format!("  {what} {}", count(p.refused));
    }
    if p.drifts > 0 {
        line += &format!("  drift alarms {}", count(p.drifts));
    }
    line
}

/// Where the most frequent class has more than this share, log loss stands beside accuracy.
const MOSTLY: f64 = 0.9;

/// The result as a table, and where the rest is.
pub(crate) fn result(outcome: &LearnOutcome) -> String {
    let stream = &outcome.summary;
    let s = &stream.run;
    let mut rows: Vec<(String, String)> = Vec::new();
    let warning = worse_than_last(&stream.prequential).unwrap_or_default();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    let figures = [
        ("accuracy", "accuracy", true),
        ("  baseline: last label", "no_change.accuracy", true),
        ("  baseline: most frequent", "prior.accuracy", true),
        ("all classes of an event", "subset_accuracy", true),
        ("micro F1", "micro_f1", true),
        ("Kappa-T", "kappa_t", false),
        ("AUC", "auc", false),
        ("BLEU", "bleu", false),
        ("  of the last 200", "sliding.bleu", false),
        ("word error rate", "wer", true),
        ("  of the last 200", "sliding.wer", true),
        ("character error rate", "cer", true),
        ("chrF2", "chrf", false),
        ("TER", "ter", false),
        ("ROUGE-1", "rouge1", false),
        ("ROUGE-2", "rouge2", false),
        ("ROUGE-L", "rougeL", false),
        ("recall of new words (R0)", "r0", true),
        ("recall of words seen once (R1)", "r1", true),
        ("characters to type", "keystrokes", true),
        ("accepted as they were", "accepted", true),
        ("mean absolute error", "mae", false),
        ("  baseline: last value", "no_change.mae", false),
        ("  baseline: mean", "mean.mae", false),
        ("R2", "r2", false),
        ("loss", "loss", false),
    ];
    for (words, name, is_share) in figures {
        if let Some(&value) = stream.prequential.get(name) {
            row(words, if is_share { percent(value) } else { figure(value) });
        }
    }
    // Where nearly all events are of one class, an accuracy says little.
    let rare = stream.prequential.get("prior.accuracy").is_some_and(|share| *share > MOSTLY);
    if let (Some(&loss), true) = (stream.prequential.get("log_loss"), rare) {
        row("log loss (most events are of one class)", figure(loss));
    }
    if let (Some(&f1), Some(class)) = (stream.prequential.get("f1"), &stream.positive_class) {
        row(&format!("F1 of class {class}"), format!("{f1:.4}"));
    }
    row(
        "events",
        format!("{} ({} per second)", count(stream.events), count(stream.events_per_second as u64)),
    );
    let noted = [
        ("without a label", stream.unlabelled),
        ("set aside, see dead-letter.jsonl", stream.bad_events),
        ("in quarantine, see quarantine.jsonl", stream.quarantined.unwrap_or_default()),
        ("released from quarantine", stream.released),
        ("dropped, queue full", stream.shed),
        ("updates refused, see audit.jsonl", stream.refused),
        ("rollbacks, see audit.jsonl", stream.rollbacks),
        ("drift alarms, see audit.jsonl", stream.drift.map_or(0, |drift| drift.alarms)),
    ];
    let labels = stream.labels.unwrap_or_default();
    let later = [
        ("labels joined", labels.joined),
        ("  early", labels.early),
        ("  late, see dead-letter.jsonl", labels.late),
        ("  duplicate", labels.duplicate),
        ("  contradictory, see dead-letter.jsonl", labels.contradictory),
        ("  without an event", labels.unmatched),
        ("events whose label never came", labels.missing),
        ("  evicted, memory full", labels.evicted),
        ("  waiting", labels.pending),
        ("labels that wait for their event", labels.waiting),
        ("negatives not sampled", labels.left_out),
    ];
    for (words, n) in noted.into_iter().chain(later) {
        if n > 0 {
            row(words, count(n));
        }
    }
    if let (Some(p50), Some(p99), Some(max)) =
        (stream.lag_p50_ms, stream.lag_p99_ms, stream.lag_max_ms)
    {
        row(
            "latency, acknowledged to learned",
            format!("p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms"),
        );
    }
    row("time", duration(s.wall_seconds));
    if s.peak_rss_bytes > 0 {
        row("peak memory", bytes(s.peak_rss_bytes));
    }
    row("stopped by", s.stopped_by.clone());
    row("run", outcome.folder.path().display().to_string());
    let report = outcome.folder.report_path();
    if report.exists() {
        row("report", report.display().to_string());
    }
    warning + &table(&rows)
}

/// What to say first of a model that is worse than repeating the last label.
fn worse_than_last(figures: &Figures) -> Option<String> {
    let of = |name: &str| figures.get(name).copied();
    let what = match (of("accuracy"), of("no_change.accuracy"), of("mae"), of("no_change.mae")) {
        (Some(model), Some(last), ..) if model < last => "label",
        (_, _, Some(model), Some(last)) if model > last => "value",
        _ => return None,
    };
    Some(format!("The model is worse than repeating the last {what}.\n"))
}
