//! The sections of the page that a stream has: its figures over the events, with the baselines.

use std::fmt::Write;
use std::path::Path;

use crate::drift::DriftState;
use tidemill_engine::checkpoint::EpochFigures;
use tidemill_engine::metrics::Figures;
use tidemill_engine::page::chart::{Chart, Line, Over};
use tidemill_engine::page::html::{escape, without_credentials};
use tidemill_engine::page::matrix::{MOST_CLASSES as MOST_IN_MATRIX, Matrix};
use tidemill_engine::page::number::{Scale, count, plain};
use tidemill_engine::prequential::Prequential;
use tidemill_engine::report::Report;
use tidemill_recipe::RecipeFile;

use crate::model::StreamModel;
use crate::summary::StreamSummary;

/// The page of a run that learned from a stream; `history` are the epochs of batch training before.
pub(crate) fn page(
    file: &RecipeFile,
    (folder, from): (&Path, &str),
    summary: &StreamSummary,
    stream: &StreamReport<'_>,
    history: &[EpochFigures],
    model: &dyn StreamModel,
) -> String {
    let run = &summary.run;
    let of_stream: Figures = ["accuracy", "mae", "loss"]
        .iter()
        .filter_map(|&name| Some((name.to_string(), *summary.prequential.get(name)?)))
        .collect();
    let (figures, measured_on) = match (of_stream.is_empty(), run.validation.is_empty()) {
        (false, _) => (&of_stream, "tested, then learned from"),
        (true, true) => (&run.train, "training"),
        (true, false) => (&run.validation, "validation"),
    };
    let lag = match (summary.lag_p50_ms, summary.lag_p99_ms, summary.lag_max_ms) {
        (Some(p50), Some(p99), Some(max)) => {
            let note = format!("99 of 100 events; half {p50:.2} ms, slowest {max:.1} ms");
            Some(("Acknowledged to learned".into(), format!("{p99:.2} ms"), note))
        }
        _ => None,
    };
    let resources = model.resources();
    Report {
        title: &file.path.file_stem().map(|s| s.to_string_lossy()).unwrap_or_default(),
        run: folder,
        data: read_in_words(from, summary),
        recipe: &file.to_toml(),
        seed: file.recipe.training.seed,
        summary: run,
        length: ("event", summary.events),
        figures,
        measured_on,
        speed: "events, checkpoints included",
        cards: lag.into_iter().collect(),
        history,
        curves: "In batches, before",
        before: stream.sections(),
        after: String::new(),
        plan: &resources.plan,
        threads: resources.threads,
        num_parameters: resources.num_parameters,
    }
    .page()
}

/// Where the events came from, and how many could be used.
pub(crate) fn read_in_words(from: &str, summary: &StreamSummary) -> Vec<(&'static str, String)> {
    let mut rows = vec![("stream", without_credentials(from)), ("events", count(summary.events))];
    if summary.bad_events > 0 {
        rows.push(("set aside", format!("{}, see dead-letter.jsonl", count(summary.bad_events))));
    }
    rows
}

/// What a stream was scored on, for the page.
pub struct StreamReport<'a> {
    /// The model that learned.
    pub learning: &'a Prequential,
    /// The same events scored with a model that did not learn from them, where there was one.
    pub frozen: Option<&'a Prequential>,
    /// By class number; a class without a name is shown by its number.
    pub class_names: &'a [String],
    /// The watch for drift, where there was one.
    pub drift: Option<&'a DriftState>,
}

/// Classes whose recall is listed.
const MOST_CLASSES: usize = 40;

/// A row of the table: its words, the figure's name, and how it is written.
type Row = (&'static str, &'static str, Scale);

const CLASS_ROWS: [Row; 10] = [
    ("accuracy", "accuracy", Scale::Percent),
    ("all classes of an event right", "subset_accuracy", Scale::Percent),
    ("accuracy of no change", "no_change.accuracy", Scale::Percent),
    ("accuracy of the prior", "prior.accuracy", Scale::Percent),
    ("Kappa-T, gain over no change", "kappa_t", Scale::Plain),
    ("Kappa-M, gain over the prior", "kappa_m", Scale::Plain),
    ("Kappa, gain over chance", "kappa", Scale::Plain),
    ("micro F1", "micro_f1", Scale::Percent),
    ("macro F1", "macro_f1", Scale::Percent),
    ("log loss", "log_loss", Scale::Plain),
];

const VALUE_ROWS: [Row; 5] = [
    ("mean absolute error", "mae", Scale::Plain),
    ("that of no change", "no_change.mae", Scale::Plain),
    ("that of the mean so far", "mean.mae", Scale::Plain),
    ("root of the mean squared error", "rmse", Scale::Plain),
    ("R\u{b2}", "r2", Scale::Plain),
];

impl StreamReport<'_> {
    /// The curves, the table of figures and the recall of each class, as sections of the page;
    /// nothing before the first event.
    pub fn sections(&self) -> String {
        let mut page = String::new();
        if self.learning.events() == 0 {
            return page;
        }
        page.push_str("<section><h2>Over the stream</h2><div class=\"charts\">");
        match self.learning.task() {
            task if task.has_classes() => self.class_charts(&mut page),
            _ => self.value_charts(&mut page),
        }
        let both = [("train", "since the start", "loss"), ("valid", "fading", "fading.loss")];
        self.chart(&mut page, "Loss".into(), Scale::Plain, &both);
        page.push_str("</div></section><section><h2>Figures</h2><div class=\"classes\">");
        let figures = self.learning.figures();
        self.table(&mut page, &figures);
        self.experts(&mut page);
        self.recalls(&mut page);
        self.confusion(&mut page);
        page.push_str("</div></section>");
        self.drifts(&mut page);
        page
    }

    fn window(&self) -> String {
        format!("last {} events", count(self.learning.spec().window as u64))
    }

    fn class_charts(&self, page: &mut String) {
        let sliding = [
            ("dashed", "no change", "sliding.no_change.accuracy"),
            ("dotted", "prior", "sliding.prior.accuracy"),
            ("valid", "learning", "sliding.accuracy"),
        ];
        let whole = [
            ("dashed", "no change", "no_change.accuracy"),
            ("dotted", "prior", "prior.accuracy"),
            ("valid", "learning", "accuracy"),
        ];
        let window = self.window();
        self.chart(page, format!("Accuracy, {window}"), Scale::Percent, &sliding);
        self.chart(page, "Accuracy since the start".into(), Scale::Percent, &whole);
        let gain = [("valid", "learning", "sliding.kappa_t")];
        self.chart(page, format!("Kappa-T, {window}"), Scale::Plain, &gain);
    }

    fn value_charts(&self, page: &mut String) {
        let sliding = [
            ("dashed", "no change", "sliding.no_change.mae"),
            ("valid", "learning", "sliding.mae"),
        ];
        let whole = [
            ("dashed", "no change", "no_change.mae"),
            ("dotted", "mean", "mean.mae"),
            ("valid", "learning", "mae"),
        ];
        let title = format!("Mean absolute error, {}", self.window());
        self.chart(page, title, Scale::Plain, &sliding);
        self.chart(page, "Mean absolute error since the start".into(), Scale::Plain, &whole);
    }

    /// Lines of (class, name, figure); that of the frozen model stands before the learning one.
    fn chart(
        &self,
        page: &mut String,
        title: String,
        scale: Scale,
        lines: &[(&'static str, &'static str, &str)],
    ) {
        let mut drawn = Vec::with_capacity(lines.len() + 1);
        for &(class, name, figure) in lines {
            if name == "learning"
                && let Some(frozen) = self.frozen
            {
                let points = course(frozen, figure);
                drawn.push(Line::new("train", "frozen", points));
            }
            let points = course(self.learning, figure);
            drawn.push(Line::new(class, name, points));
        }
        let rises = self.drift.map(DriftState::rises).unwrap_or_default();
        if !rises.is_empty() {
            let points = rises.into_iter().map(|event| (event as f64, 0.0)).collect();
            drawn.push(Line::new("mark", "errors rose", points));
        }
        Chart { title, scale, over: Over::Events, lines: &drawn }.write(page);
    }

    fn table(&self, page: &mut String, figures: &Figures) {
        let rows: &[Row] = match self.learning.task() {
            task if task.has_classes() => &CLASS_ROWS,
            _ => &VALUE_ROWS,
        };
        let _ = write!(
            page,
            "<figure class=\"scroll\"><figcaption><b>Tested, then learned from</b></figcaption>\
             <table class=\"figures\"><thead><tr><th></th><th>{} events</th><th>{}</th><th>fading</th></tr>\
             </thead><tbody>",
            count(self.learning.events()),
            self.window()
        );
        let cell = |name: &str, scale: Scale| match (figures.get(name), scale) {
            (None, _) => "<td></td>".to_string(),
            (Some(&v), Scale::Percent) => format!("<td>{:.2}&thinsp;%</td>", 100.0 * v),
            (Some(&v), Scale::Plain) => format!("<td>{}</td>", plain(v)),
        };
        let loss = ("loss", "loss", Scale::Plain);
        let there = |row: &&Row| figures.contains_key(row.1);
        for &(words, name, scale) in rows.iter().chain([&loss]).filter(there) {
            let cells =
                ["", "sliding.", "fading."].map(|view| cell(&format!("{view}{name}"), scale));
            let _ = write!(page, "<tr><th>{words}</th>{}</tr>", cells.concat());
        }
        if let Some(&auc) = figures.get("auc") {
            let sliding = figures.get("sliding.auc").map_or(String::new(), |auc| plain(*auc));
            let auc = plain(auc);
            let _ =
                write!(page, "<tr><th>ROC AUC</th><td>{auc}</td><td>{sliding}</td><td></td></tr>");
        }
        page.push_str("</tbody></table></figure>");
    }

    /// The last notes of the watch, the newest first.
    fn drifts(&self, page: &mut String) {
        let Some(drift) = self.drift.filter(|drift| drift.listed().next().is_some()) else {
            return;
        };
        let (rose, fell) = (drift.counts().alarms, drift.counts().falls);
        let _ = write!(
            page,
            "<section><h2>Drift</h2><p class=\"chips\">errors rose {} times and fell {}; the last of \
             audit.jsonl:</p><figure class=\"scroll\"><table class=\"figures\"><tbody>",
            count(rose),
            count(fell)
        );
        for (event, words) in drift.listed().collect::<Vec<_>>().into_iter().rev() {
            let words = escape(words);
            let _ = write!(page, "<tr><th>event {}</th><td>{words}</td></tr>", count(*event));
        }
        page.push_str("</tbody></table></figure></section>");
    }

    /// The parts of a mixture: why it predicts as it does.
    fn experts(&self, page: &mut String) {
        let experts = self.learning.experts();
        if experts.is_empty() {
            return;
        }
        let by_class = self.learning.task().has_classes();
        let (score, scale) = match by_class {
            true => ("accuracy", Scale::Percent),
            false => ("mean absolute error", Scale::Plain),
        };
        let _ = write!(
            page,
            "<figure class=\"scroll\"><figcaption><b>Parts of the mixture</b></figcaption><table class=\"figures\">\
             <thead><tr><th></th><th>share now</th><th>{score} alone</th><th>fading</th></tr></thead><tbody>"
        );
        let cell = |v: f64| match scale {
            Scale::Percent => format!("<td>{:.2}&thinsp;%</td>", 100.0 * v),
            Scale::Plain => format!("<td>{}</td>", plain(v)),
        };
        for expert in experts {
            let name = match &*expert.name {
                "plain" => "network without hats",
                "hats" => "network with hats",
                "linear" => "linear model",
                "additive" => "additive model of hats",
                "memory" => "memory of the last events",
                "last" => "the last label again",
                other => other,
            };
            let (name, value, fading) = (escape(name), cell(expert.value), cell(expert.fading));
            let share = 100.0 * expert.weight;
            let _ =
                write!(page, "<tr><th>{name}</th><td>{share:.0}&thinsp;%</td>{value}{fading}</tr>");
        }
        page.push_str("</tbody></table></figure>");
    }

    fn confusion(&self, page: &mut String) {
        let Some(confusion) = self.learning.confusion(MOST_IN_MATRIX) else { return };
        let name = |class: usize| {
            self.class_names.get(class).cloned().unwrap_or_else(|| class.to_string())
        };
        let count = |truth, predicted| confusion.count(truth, predicted);
        let title = format!("Confusion, {}", self.window());
        let classes = confusion.num_classes();
        Matrix { title: &title, classes, count: &count, name: &name }.write(page);
    }

    fn recalls(&self, page: &mut String) {
        let recalls = self.learning.recalls();
        if recalls.is_empty() {
            return;
        }
        page.push_str(
            "<figure class=\"scroll\"><figcaption><b>By class</b></figcaption><table class=\"bars\">\
             <thead><tr><th>class</th><th>events</th><th>recall</th></tr></thead><tbody>",
        );
        for recall in recalls.iter().take(MOST_CLASSES) {
            let number = recall.class.to_string();
            let name = escape(self.class_names.get(recall.class).unwrap_or(&number));
            let _ = write!(
                page,
                "<tr><th>{name}</th><td class=\"n\">{}</td><td style=\"--s:{:.3}\"><span>{:.1}</span></td></tr>",
                count(recall.events),
                recall.value,
                100.0 * recall.value
            );
        }
        page.push_str("</tbody></table></figure>");
        if recalls.len() > MOST_CLASSES {
            let more = recalls.len() - MOST_CLASSES;
            let _ = write!(page, "<p class=\"chips\">and {more} more classes</p>");
        }
    }
}

/// A figure over the events, up to now.
fn course(scores: &Prequential, figure: &str) -> Vec<(f64, f64)> {
    let mut points = scores.curve().line(figure);
    let now = scores.events() as f64;
    if points.last().is_none_or(|p| p.0 < now)
        && let Some((_, v)) = scores.quick().into_iter().find(|(name, _)| *name == figure)
        && v.is_finite()
    {
        points.push((now, v));
    }
    points
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
