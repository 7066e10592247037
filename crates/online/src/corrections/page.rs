//! The page of a run that learned from corrections.

use std::fmt::Write;
use std::path::Path;

use tidemill_engine::metrics::Figures;
use tidemill_engine::page::chart::{Chart, Line, Over};
use tidemill_engine::page::html::escape;
use tidemill_engine::page::number::{Scale, count, value};
use tidemill_engine::report::Report;
use tidemill_recipe::RecipeFile;

use super::driver::Driver;
use super::figures::Point;
use crate::report::read_in_words;
use crate::summary::StreamSummary;

/// The rows of the table of figures: words, the figure's name, and how it is written.
const ROWS: [(&str, &str, Scale); 14] = [
    ("word error rate (WER) of all corrections", "wer", Scale::Percent),
    ("word error rate of the last 200", "sliding.wer", Scale::Percent),
    ("character error rate (CER)", "cer", Scale::Percent),
    ("BLEU of all corrections", "bleu", Scale::Plain),
    ("BLEU of the last 200", "sliding.bleu", Scale::Plain),
    ("chrF2", "chrf", Scale::Plain),
    ("TER, edits of words in per cent", "ter", Scale::Plain),
    ("ROUGE-1", "rouge1", Scale::Plain),
    ("ROUGE-2", "rouge2", Scale::Plain),
    ("ROUGE-L", "rougeL", Scale::Plain),
    ("recall of words new to the stream (R0)", "r0", Scale::Percent),
    ("recall of words corrected once before (R1)", "r1", Scale::Percent),
    ("characters to be typed, of those of the corrections", "keystrokes", Scale::Percent),
    ("texts accepted as they were", "accepted", Scale::Percent),
];

/// Speakers in the table of them.
const SPEAKERS: usize = 30;

/// The page.
pub(super) fn page(
    file: &RecipeFile,
    (folder, from): (&Path, &str),
    driver: &Driver<'_>,
    summary: &StreamSummary,
) -> String {
    let top: Figures = ["bleu", "chrf", "ter", "wer", "cer"]
        .iter()
        .filter_map(|&name| Some((name.to_owned(), *summary.prequential.get(name)?)))
        .collect();
    let engine = driver.learner.engine();
    let waiting = driver.waiting_in_quarantine();
    let note = "see quarantine.jsonl; released by a record {\"release\": NUMBER}";
    let card = ("In quarantine".into(), count(waiting), escape(note));
    Report {
        title: &file.path.file_stem().map(|s| s.to_string_lossy()).unwrap_or_default(),
        run: folder,
        data: read_in_words(from, summary),
        recipe: &file.to_toml(),
        seed: file.recipe.training.seed,
        summary: &summary.run,
        length: ("correction", driver.scores.corrections()),
        figures: &top,
        measured_on: match driver.base.frozen {
            true => "written, then corrected",
            false => "written, then corrected and learned from",
        },
        speed: "records, checkpoints included",
        cards: if waiting > 0 { vec![card] } else { Vec::new() },
        history: &driver.base.meta.history,
        curves: "In batches, before",
        before: sections(driver, summary),
        after: String::new(),
        plan: &engine.plan_in_short(),
        threads: engine.threads(),
        num_parameters: engine.num_parameters(),
    }
    .page()
}

fn sections(driver: &Driver<'_>, summary: &StreamSummary) -> String {
    let mut page = String::new();
    if summary.prequential.is_empty() {
        return page;
    }
    page.push_str("<section><h2>Over the corrections</h2><div class=\"charts\">");
    let points = |of: fn(&Point) -> f64| -> Vec<(f64, f64)> {
        driver.scores.curve.iter().map(|point| (point.corrections as f64, of(point))).collect()
    };
    let lines = [
        Line::new("train", "since the start", points(|point| point.all)),
        Line::new("valid", "last 200", points(|point| point.recent)),
    ];
    let (title, scale) = match driver.scores.name() {
        "wer" => ("Word error rate", Scale::Percent),
        _ => ("BLEU", Scale::Plain),
    };
    Chart { title: title.into(), scale, over: Over::Events, lines: &lines }.write(&mut page);
    let loss = [Line::new("valid", "of the weights that learn", points(|point| point.loss))];
    let title = "Loss of a token, before it was learned from".into();
    Chart { title, scale: Scale::Plain, over: Over::Events, lines: &loss }.write(&mut page);
    page.push_str("</div></section><section><h2>Figures</h2><table class=\"figures\"><tbody>");
    for (words, name, scale) in ROWS {
        if let Some(&figure) = summary.prequential.get(name) {
            let _ = write!(page, "<tr><th>{words}</th><td>{}</td></tr>", value(figure, scale));
        }
    }
    let signature = escape(&driver.scores.signature());
    let _ = write!(page, "</tbody></table><p class=\"note\">{signature}</p></section>");
    speakers(driver, &mut page);
    page.push_str(
        "<section><h2>The last corrections</h2><div class=\"scroll\"><table class=\"figures texts\"><thead>\
         <tr><th>written</th><th>corrected</th></tr></thead><tbody>",
    );
    for (hypothesis, correction) in driver.scores.newest(10) {
        let (hypothesis, correction) = (escape(hypothesis), escape(correction));
        let _ = write!(page, "<tr><td>{hypothesis}</td><td>{correction}</td></tr>");
    }
    page.push_str("</tbody></table></div></section>");
    page
}

/// Errors by who speaks, those with the most first.
fn speakers(driver: &Driver<'_>, page: &mut String) {
    let mut all: Vec<_> = driver.scores.speakers().collect();
    if all.is_empty() {
        return;
    }
    all.sort_by(|a, b| b.1.value().total_cmp(&a.1.value()));
    page.push_str(
        "<section><h2>By speaker</h2><div class=\"scroll\"><table class=\"figures\"><thead><tr><th>speaker</th>\
         <th>word error rate</th><th>words</th></tr></thead><tbody>",
    );
    for (name, score) in all.into_iter().take(SPEAKERS) {
        let (name, rate) = (escape(name), value(score.value(), Scale::Percent));
        let words = count(score.hits + score.substitutions + score.deletions);
        let _ = write!(page, "<tr><th>{name}</th><td>{rate}</td><td>{words}</td></tr>");
    }
    page.push_str("</tbody></table></div></section>");
}
