//! `report.html`: what a run came to, on one page that needs nothing else.

mod advice;
mod chart;
mod classes;
mod comparison;
mod html;
mod mistakes;
mod stream;

use std::fmt::Write;

use crate::checkpoint::EpochFigures;
use crate::data::RunData;
use crate::evaluate::Evaluation;
use crate::metrics::{Figures, Metric};
use crate::recipe::RecipeFile;
use crate::summary::Summary;

pub(crate) use advice::write_advice;
pub(crate) use comparison::write_comparison;
pub use stream::StreamReport;

use chart::{Chart, Line, Over};
pub(crate) use html::count;
use html::{Scale, duration, escape, megabytes, value};

/// Everything that the page shows.
pub struct Report<'a> {
    /// The recipe, resolved.
    pub file: &'a RecipeFile,
    /// The run's result.
    pub summary: &'a Summary,
    /// Its epochs.
    pub history: &'a [EpochFigures],
    /// The last pass over the validation data.
    pub evaluation: Option<&'a Evaluation>,
    /// The data of batch training, for thumbnails.
    pub data: Option<&'a RunData>,
    /// The names of the classes.
    pub class_names: &'a [String],
    /// The stream that was learned from, if it was one.
    pub stream: Option<StreamReport<'a>>,
    /// The plan as text.
    pub plan: &'a str,
    /// Threads of a step.
    pub threads: usize,
    /// Learned values.
    pub num_parameters: usize,
}

const STYLE: &str = include_str!("style.css");

/// Lines of the plan that are shown.
const PLAN_LINES: usize = 80;

impl Report<'_> {
    /// The page as text.
    pub fn page(&self) -> String {
        let title = self.title();
        let mut page = String::with_capacity(64 * 1024);
        html::start(&mut page, &title, STYLE);
        self.header(&mut page, &title);
        self.cards(&mut page);
        if let Some(stream) = &self.stream {
            page.push_str(&stream.sections());
        }
        self.curves(&mut page);
        if let Some(confusion) = self.evaluation.and_then(|e| e.confusion.as_ref()) {
            classes::write(&mut page, confusion, self.class_names);
        }
        let validation = self.data.and_then(|data| data.validation.as_ref());
        if let (Some(evaluation), Some(data)) = (self.evaluation, validation) {
            mistakes::write(&mut page, &evaluation.mistakes, data.as_ref(), self.class_names);
        }
        self.details(&mut page);
        page.push_str("</main></body></html>\n");
        page
    }

    fn title(&self) -> String {
        let stem = self.file.path.file_stem().map(|s| s.to_string_lossy()).unwrap_or_default();
        escape(&stem)
    }

    fn header(&self, page: &mut String, title: &str) {
        let s = self.summary;
        let ended = match s.stopped_by.as_str() {
            "epochs" => "all epochs done".to_string(),
            "steps" => "stopped at the wanted number of steps".into(),
            "wall_seconds" => "stopped at the time limit".into(),
            "target" => "stopped at the target".into(),
            "patience" => "stopped early: no more gain".into(),
            "interrupt" => "interrupted; a checkpoint was written".into(),
            "end of stream" => "the stream has ended".into(),
            "events" => "stopped at the wanted number of events".into(),
            other => escape(other),
        };
        let _ = write!(
            page,
            "<header><p class=\"eyebrow\">tidemill run</p><h1>{title}</h1>\
             <p class=\"sub\">{}, {}, {} in {} &middot; {ended}</p></header>",
            match &s.stream {
                Some(stream) => html::plural(stream.events, "event"),
                None => html::plural(s.epochs, "epoch"),
            },
            html::plural(s.steps, "step"),
            html::plural(s.samples, "sample"),
            duration(s.wall_seconds)
        );
    }

    fn cards(&self, page: &mut String) {
        let s = self.summary;
        let of_stream: Figures = match &s.stream {
            Some(stream) => ["accuracy", "mae", "loss"]
                .iter()
                .filter_map(|&name| Some((name.to_string(), *stream.prequential.get(name)?)))
                .collect(),
            None => Figures::new(),
        };
        let (figures, side) = match (of_stream.is_empty(), s.validation.is_empty()) {
            (false, _) => (&of_stream, "tested, then learned from"),
            (true, true) => (&s.train, "training"),
            (true, false) => (&s.validation, "validation"),
        };
        let mut cards: Vec<(String, String, String)> = ordered(figures)
            .into_iter()
            .map(|(name, v)| (words(name), value(v, scale(name)), side.to_string()))
            .collect();
        cards.push((
            "Speed".into(),
            format!("{}<small>/s</small>", count(s.samples_per_second as u64)),
            match &s.stream {
                Some(_) => "events, checkpoints included".into(),
                None => "samples, validation included".into(),
            },
        ));
        cards.push((
            "Parameters".into(),
            count(self.num_parameters as u64),
            format!("arena {}", megabytes(s.arena_bytes)),
        ));
        if s.peak_rss_bytes > 0 {
            let peak = megabytes(s.peak_rss_bytes);
            cards.push(("Memory".into(), peak, "peak of the process".into()));
        }
        let lag =
            s.stream.as_ref().and_then(|s| Some((s.lag_p50_ms?, s.lag_p99_ms?, s.lag_max_ms?)));
        if let Some((p50, p99, max)) = lag {
            let note = format!("99 of 100 events; half {p50:.2} ms, slowest {max:.1} ms");
            cards.push(("Acknowledged to learned".into(), format!("{p99:.2} ms"), note));
        }
        html::cards(page, &cards);
    }

    fn curves(&self, page: &mut String) {
        if self.history.is_empty() {
            return;
        }
        let mut names: Vec<&str> = Vec::new();
        for epoch in self.history {
            for (name, _) in ordered(&epoch.train).into_iter().chain(ordered(&epoch.validation)) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let title = if self.stream.is_some() { "In batches, before" } else { "Curves" };
        let _ = write!(page, "<section><h2>{title}</h2><div class=\"charts\">");
        for name in names {
            let points = |side: fn(&EpochFigures) -> &Figures| {
                let at = |e: &EpochFigures| side(e).get(name).map(|&v| (e.epoch as f64, v));
                self.history.iter().filter_map(at).collect::<Vec<_>>()
            };
            let lines = [
                Line::new("train", "training", points(|e| &e.train)),
                Line::new("valid", "validation", points(|e| &e.validation)),
            ];
            let (title, scale) = (words(name), scale(name));
            Chart { title, scale, over: Over::Epochs, lines: &lines }.write(page);
        }
        page.push_str("</div></section>");
    }

    fn details(&self, page: &mut String) {
        let s = self.summary;
        page.push_str("<section><h2>How it ran</h2>");
        let (processor, cores) = machine();
        let rows = [
            ("machine", format!("{}, {cores} cores", escape(&processor))),
            ("system", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
            ("threads of a step", self.threads.to_string()),
            ("tidemill", env!("CARGO_PKG_VERSION").to_string()),
            ("seed", self.file.recipe.training.seed.to_string()),
            ("state", format!("<code>{}</code>", escape(&s.state_sha256))),
        ];
        page.push_str("<dl>");
        for (name, text) in rows {
            let _ = write!(page, "<dt>{name}</dt><dd>{text}</dd>");
        }
        page.push_str("</dl>");
        let lines: Vec<&str> = self.plan.lines().collect();
        let mut plan = lines[..lines.len().min(PLAN_LINES)].join("\n");
        if lines.len() > PLAN_LINES {
            let more = lines.len() - PLAN_LINES;
            let _ = write!(plan, "\n... {more} more lines: tidemill explain");
        }
        let blocks = [("The plan", plan), ("The recipe", self.file.to_toml())];
        for (name, text) in blocks {
            let _ = write!(
                page,
                "<details><summary>{name}</summary><pre>{}</pre></details>",
                escape(text.trim_end())
            );
        }
        page.push_str("</section>");
    }
}

/// Accuracy first, then the loss, then the rest by name.
fn ordered(figures: &Figures) -> Vec<(&str, f64)> {
    let rank = |name: &str| match name {
        "accuracy" => 0,
        "loss" => 1,
        _ => 2,
    };
    let mut all: Vec<(&str, f64)> = figures.iter().map(|(n, &v)| (n.as_str(), v)).collect();
    all.sort_by_key(|(name, _)| rank(name));
    all
}

fn scale(name: &str) -> Scale {
    match Metric::parse(name) {
        Some(Metric::Mae | Metric::Mse | Metric::R2 | Metric::Auc) | None => Scale::Plain,
        Some(_) => Scale::Percent,
    }
}

/// A metric's name for people.
fn words(name: &str) -> String {
    match name {
        "auc" => "AUC".into(),
        "mae" => "Mean absolute error".into(),
        "mse" => "Mean squared error".into(),
        "r2" => "R\u{b2}".into(),
        "f1" => "F1".into(),
        _ => {
            let name = name.replace('_', "-");
            let mut letters = name.chars();
            letters.next().map_or(String::new(), |c| c.to_uppercase().chain(letters).collect())
        }
    }
}

fn machine() -> (String, usize) {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": "));
    (name.map_or_else(|| "processor unknown".into(), |(_, n)| n.trim().to_string()), cores)
}

#[cfg(test)]
mod tests;
