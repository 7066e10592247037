//! `report.html`: the result of a run on one page that needs nothing else. Each driver adds the
//! sections of what it alone knows.

use std::fmt::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use tidemill_page::chart::{Chart, Line, Over};
use tidemill_page::html::{self, command, escape, machine};
use tidemill_page::number::{Scale, bytes, count, date, duration, plural, value};

use crate::checkpoint::EpochFigures;
use crate::metrics::{Figures, Metric};
use crate::summary::Summary;

/// What every run's page shows.
pub struct Report<'a> {
    /// The recipe's name.
    pub title: &'a str,
    /// The run's folder.
    pub run: &'a Path,
    /// What it learned from and was measured on: what it is, and where and how much. Plain text.
    pub data: Vec<(&'static str, String)>,
    /// The recipe's text, resolved.
    pub recipe: &'a str,
    /// The run's seed.
    pub seed: u64,
    /// The run's result.
    pub summary: &'a Summary,
    /// What the run is measured by, such as `("epoch", 10)`.
    pub length: (&'a str, u64),
    /// The figures at the top.
    pub figures: &'a Figures,
    /// What they are measured on.
    pub measured_on: &'a str,
    /// What the speed counts.
    pub speed: &'a str,
    /// Further cards: name, figure and note, as HTML.
    pub cards: Vec<(String, String, String)>,
    /// The epochs of batch training.
    pub history: &'a [EpochFigures],
    /// The title over their curves.
    pub curves: &'a str,
    /// Sections before the curves, as HTML.
    pub before: String,
    /// Sections after them.
    pub after: String,
    /// The plan as text.
    pub plan: &'a str,
    /// Threads of a step.
    pub threads: usize,
    /// Learned values.
    pub num_parameters: usize,
}

/// Lines of the plan that are shown.
const PLAN_LINES: usize = 80;

impl Report<'_> {
    /// The page as text.
    pub fn page(&self) -> String {
        let title = escape(self.title);
        let mut page = String::with_capacity(64 * 1024);
        let run = escape(&self.run.display().to_string());
        html::start(&mut page, &format!("{title} in {run}"));
        self.header(&mut page, &title, &run);
        self.cards(&mut page);
        page.push_str(&self.before);
        self.curves(&mut page);
        page.push_str(&self.after);
        self.details(&mut page);
        page.push_str("</main></body></html>\n");
        page
    }

    fn header(&self, page: &mut String, title: &str, run: &str) {
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
             <p class=\"sub\">{}, {}, {} in {} &middot; {ended}</p>\
             <p class=\"sub\"><code>{run}</code></p></header>",
            plural(self.length.1, self.length.0),
            plural(s.steps, "step"),
            plural(s.samples, "sample"),
            duration(s.wall_seconds)
        );
    }

    fn cards(&self, page: &mut String) {
        let s = self.summary;
        let mut cards: Vec<(String, String, String)> = ordered(self.figures)
            .into_iter()
            .map(|(name, v)| {
                (words(name), value(v, Metric::scale(name)), self.measured_on.to_string())
            })
            .collect();
        cards.push((
            "Speed".into(),
            format!("{}<small>/s</small>", count(s.samples_per_second as u64)),
            self.speed.into(),
        ));
        cards.push((
            "Parameters".into(),
            count(self.num_parameters as u64),
            format!("arena {}", bytes(s.arena_bytes)),
        ));
        if s.peak_rss_bytes > 0 {
            let peak = bytes(s.peak_rss_bytes);
            cards.push(("Memory".into(), peak, "peak of the process".into()));
        }
        cards.extend(self.cards.iter().cloned());
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
        let _ = write!(page, "<section><h2>{}</h2><div class=\"charts\">", self.curves);
        for name in names {
            let points = |side: fn(&EpochFigures) -> &Figures| {
                let at = |e: &EpochFigures| side(e).get(name).map(|&v| (e.epoch as f64, v));
                self.history.iter().filter_map(at).collect::<Vec<_>>()
            };
            let lines = [
                Line::new("train", "training", points(|e| &e.train)),
                Line::new("valid", "validation", points(|e| &e.validation)),
            ];
            let (title, scale) = (words(name), Metric::scale(name));
            Chart { title, scale, over: Over::Epochs, lines: &lines }.write(page);
        }
        let rates: Vec<(f64, f64)> =
            self.history.iter().map(|e| (e.epoch as f64, e.learning_rate)).collect();
        // One that stays says nothing.
        if rates.windows(2).any(|pair| pair[0].1 != pair[1].1) {
            let lines = [Line::new("other", "at the end of the epoch", rates)];
            let title = "Learning rate".to_owned();
            Chart { title, scale: Scale::Plain, over: Over::Epochs, lines: &lines }.write(page);
        }
        page.push_str("</div></section>");
    }

    fn details(&self, page: &mut String) {
        let s = self.summary;
        page.push_str("<section><h2>How it ran</h2>");
        let (processor, cores) = machine();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let mut rows: Vec<(&str, String)> =
            vec![("ended", date(now)), ("command", format!("<code>{}</code>", escape(&command())))];
        rows.extend(self.data.iter().map(|(name, what)| (*name, escape(what))));
        rows.extend([
            ("machine", format!("{}, {cores} cores", escape(&processor))),
            ("system", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
            ("threads of a step", self.threads.to_string()),
            ("tidemill", env!("CARGO_PKG_VERSION").to_string()),
            ("seed", self.seed.to_string()),
            ("state", format!("<code>{}</code>", escape(&s.state_sha256))),
        ]);
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
        let blocks = [("The plan", plan), ("The recipe", self.recipe.to_owned())];
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

/// A metric's name for people.
fn words(name: &str) -> String {
    match name {
        "auc" => "AUC".into(),
        "mae" => "Mean absolute error".into(),
        "mse" => "Mean squared error".into(),
        "r2" => "R\u{b2}".into(),
        "f1" => "F1".into(),
        "bleu" => "BLEU".into(),
        "chrf" => "chrF2".into(),
        "ter" => "TER".into(),
        "wer" => "WER".into(),
        "cer" => "CER".into(),
        _ => {
            let name = name.replace('_', "-");
            let mut letters = name.chars();
            letters.next().map_or(String::new(), |c| c.to_uppercase().chain(letters).collect())
        }
    }
}
