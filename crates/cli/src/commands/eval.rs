//! `tidemill eval`

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use tidemill_engine::Error;
use tidemill_engine::data::tokens::score::ErrorRateScore;
use tidemill_engine::evaluate::Evaluation;
use tidemill_engine::metrics::{ClassFigures, Confusion, Figures, Metric};
use tidemill_engine::page::number::count;
use tidemill_online::asked::Asked;
use tidemill_train::report::sounds_page;
use tidemill_train::{ExtractFigures, Trained, TranscriptFigures, Weights};

use super::beam::SearchOptions;
use crate::failure::{Failure, Result};
use crate::print::{say, tell};
use crate::table::table;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder of the run.
    run: PathBuf,
    /// The data: a folder of images, a table, or two IDX files (images and labels), or
    /// for a model that translates the file of sources and that of targets, or a file of documents [default: the recipe's validation data].
    #[arg(long, num_args = 1.., value_name = "DATA")]
    data: Vec<PathBuf>,
    /// Use the weights of the best epoch instead of the last.
    #[arg(long)]
    best: bool,
    /// Use the weights of the checkpoint of this step.
    #[arg(long, value_name = "STEP", conflicts_with = "best")]
    checkpoint: Option<u64>,
    /// Number of threads [default: all cores].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Write the worst sounds of a model that writes what sounds say to a page (HTML), with spectrograms and sounds that can be played.
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    #[command(flatten)]
    search: SearchOptions,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let no_page = || Failure::usage("--page is for models that write what sounds say");
    if Asked::is_linear(&arguments.run)? {
        if arguments.page.is_some() {
            return Err(no_page());
        }
        let mut model = Asked::open(&arguments.run, arguments.checkpoint)?;
        tell!("note: {}", model.weights_in_words());
        let figures = model.evaluate(&arguments.data)?;
        if arguments.json {
            say!("{}", json!({ "step": model.steps(), "figures": figures }))?;
        } else {
            show(&figures)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let weights = Weights::asked_for(arguments.best, arguments.checkpoint);
    let mut model = Trained::open(&arguments.run, weights, arguments.threads.map(usize::from))?;
    if let Some(what) = arguments.search.given().filter(|_| !model.translates()) {
        let what = format!("{what} is for models that make texts of texts");
        return Err(Failure::usage(what));
    }
    if arguments.page.is_some() && !model.transcribes() {
        return Err(no_page());
    }
    let beam = arguments.search.beam(1)?;
    let found = model.evaluate(&arguments.data)?;
    for what in found.notes.iter().chain(&found.skipped) {
        tell!("note: {what}");
    }
    let texts = match model.translates() {
        true => Some(model.score_texts(&arguments.data, &beam)?),
        false => None,
    };
    let extracts = match model.extracts() {
        true => Some(model.score_extracts(&arguments.data)?),
        false => None,
    };
    let transcripts = match model.transcribes() {
        true => Some(model.score_transcripts(&arguments.data, arguments.page.is_some())?),
        false => None,
    };
    if let (Some(path), Some(found)) = (&arguments.page, &transcripts) {
        let page = sounds_page(&arguments.run, &model.weights_in_words(), found);
        std::fs::write(path, page).map_err(|e| Error::write(path, e))?;
        tell!("note: the worst sounds are in {}", path.display());
    }
    let classes = model.output_classes();
    // An output that no label has taken is shown where something was predicted as it, and has no samples.
    let is_class = |class: usize| classes.get(class).is_none_or(Option::is_some);
    let name = |class: usize| match classes.get(class) {
        Some(Some(name)) => name.clone(),
        Some(None) => "no class".to_owned(),
        None => class.to_string(),
    };
    if arguments.json {
        let mut line = json!({
            "step": model.step,
            "checkpoint": model.checkpoint.display().to_string(),
            "figures": found.figures,
        });
        let classes = of_classes(&found).map(|(classes, _)| per_class_json(&classes, &name));
        classes.into_iter().for_each(|classes| line["classes"] = classes);
        if let Some(confusion) = &found.confusion {
            line["confusion"] = matrix_json(confusion);
        }
        if let Some(texts) = &texts {
            line["texts"] = json!(texts.lines());
        }
        if let Some(found) = &extracts {
            line["summaries"] = summaries_json(found);
        }
        if let Some(found) = &transcripts {
            line["transcripts"] = transcripts_json(found);
        }
        say!("{line}")?;
        return Ok(ExitCode::SUCCESS);
    }
    tell!("note: {}", model.weights_in_words());
    show(&found.figures)?;
    for line in texts.iter().flat_map(|texts| texts.lines()) {
        say!("{line}")?;
    }
    if let Some(found) = &extracts {
        show_summaries(found)?;
    }
    if let Some(found) = &transcripts {
        show_transcripts(found)?;
    }
    if let Some((classes, mean)) = of_classes(&found) {
        let classes = classes.into_iter().enumerate().filter(|(class, _)| is_class(*class));
        say!("\n{}", per_class(classes.collect(), mean, &name).trim_end())?;
    }
    if let Some(confusion) = found.confusion.filter(|c| c.num_classes() <= MOST_COLUMNS) {
        let shown = |class: &usize| is_class(*class) || confusion.predicted(*class) > 0;
        let shown: Vec<usize> = (0..confusion.num_classes()).filter(shown).collect();
        say!("\n{}", matrix(&confusion, &shown, &name).trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(figures: &Figures) -> io::Result<()> {
    let row = |(name, &value): (&String, &f64)| (name.clone(), Metric::text(name, value));
    let rows: Vec<_> = figures.iter().map(row).collect();
    say!("{}", table(&rows).trim_end())
}

/// ROUGE of the summaries, beside that of the first sentences.
fn show_summaries(found: &ExtractFigures) -> io::Result<()> {
    let ExtractFigures { documents, take, rouge, lead } = found;
    let documents = count(*documents as u64);
    let first = match take {
        1 => "the first sentence".to_owned(),
        take => format!("the first {take} sentences"),
    };
    say!("summaries of {documents} documents, each by its best reference ({})", rouge.signature())?;
    say!("  {:<2$}  {}", "the model", rouge.score(), first.len())?;
    say!("  {first}  {}", lead.score())
}

fn summaries_json(found: &ExtractFigures) -> Value {
    json!({
        "documents": found.documents,
        "take": found.take,
        "rouge": found.rouge.score(),
        "lead": found.lead.score(),
        "signature": found.rouge.signature(),
    })
}

/// Word and character error rates, and the sounds with the most wrong words.
fn show_transcripts(found: &TranscriptFigures) -> io::Result<()> {
    let TranscriptFigures { sounds, words, characters, worst } = found;
    say!("texts of {} sounds, read whole", count(*sounds as u64))?;
    say!("  WER  {words}")?;
    say!("  CER  {characters}")?;
    for one in worst {
        say!("\n{}\n{}", one.source, one.words.to_string().trim_end())?;
    }
    Ok(())
}

fn transcripts_json(found: &TranscriptFigures) -> Value {
    let rate = |score: &ErrorRateScore| {
        json!({
            "value": score.value(),
            "hits": score.hits,
            "substitutions": score.substitutions,
            "deletions": score.deletions,
            "insertions": score.insertions,
        })
    };
    let worst = found.worst.iter().map(|one| {
        json!({
            "file": one.source,
            "said": one.words.reference.join(" "),
            "written": one.words.hypothesis.join(" "),
        })
    });
    json!({
        "sounds": found.sounds,
        "wer": rate(&found.words),
        "cer": rate(&found.characters),
        "worst": worst.collect::<Vec<_>>(),
    })
}

/// A matrix of more classes is wider than a screen; `--json` has it.
const MOST_COLUMNS: usize = 20;

/// The figures of each class and their mean, where there are classes.
fn of_classes(found: &Evaluation) -> Option<(Vec<ClassFigures>, ClassFigures)> {
    match (&found.sets, &found.confusion) {
        (Some(sets), _) => {
            let classes = (0..sets.num_classes()).map(|class| sets.of_class(class));
            Some((classes.collect(), sets.macro_mean()))
        }
        (None, Some(confusion)) => {
            let classes = (0..confusion.num_classes()).map(|class| confusion.of_class(class));
            Some((classes.collect(), confusion.macro_mean()))
        }
        (None, None) => None,
    }
}

/// Precision, recall, F1 and samples of each class, then their mean.
fn per_class(
    classes: Vec<(usize, ClassFigures)>,
    mean: ClassFigures,
    name: &dyn Fn(usize) -> String,
) -> String {
    let row = |name: String, of: ClassFigures| {
        let percent = |v: f64| format!("{:.2} %", 100.0 * v);
        vec![name, percent(of.precision), percent(of.recall), percent(of.f1), count(of.support)]
    };
    let mut rows =
        vec![["class", "precision", "recall", "F1", "samples"].map(String::from).to_vec()];
    rows.extend(classes.into_iter().map(|(class, of)| row(name(class), of)));
    rows.push(row("mean".into(), mean));
    columns(&rows)
}

/// How often each class (a row) was predicted as each (a column).
fn matrix(confusion: &Confusion, shown: &[usize], name: &dyn Fn(usize) -> String) -> String {
    let classes = || shown.iter().copied();
    let mut rows =
        vec![std::iter::once("is \\ predicted".to_owned()).chain(classes().map(name)).collect()];
    rows.extend(classes().map(|truth| {
        let counts = classes().map(|predicted| count(confusion.count(truth, predicted)));
        std::iter::once(name(truth)).chain(counts).collect::<Vec<String>>()
    }));
    columns(&rows)
}

/// The first column to the left, the others to the right.
fn columns(rows: &[Vec<String>]) -> String {
    let width = |i: usize| rows.iter().filter_map(|row| Some(row.get(i)?.chars().count())).max();
    let widths: Vec<usize> = (0..rows[0].len()).map(|i| width(i).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = format!("  {:<1$}", row[0], widths[0]);
        for (cell, &width) in row.iter().zip(&widths).skip(1) {
            line += &format!("  {cell:>width$}");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn per_class_json(classes: &[ClassFigures], name: &dyn Fn(usize) -> String) -> Value {
    let one = |(class, of): (usize, &ClassFigures)| {
        json!({
            "class": name(class),
            "precision": of.precision,
            "recall": of.recall,
            "f1": of.f1,
            "samples": of.support,
        })
    };
    classes.iter().enumerate().map(one).collect()
}

/// Rows are true classes, columns predicted ones.
fn matrix_json(confusion: &Confusion) -> Value {
    let classes = 0..confusion.num_classes();
    let row = |truth: usize| -> Value {
        (0..confusion.num_classes()).map(|p| json!(confusion.count(truth, p))).collect()
    };
    classes.map(row).collect()
}
