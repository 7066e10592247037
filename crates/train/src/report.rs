//! `report.html` of a run that trained in batches.

mod classes;
mod drawn;
pub(crate) mod mistakes;
mod sounds;

use std::path::Path;

use tidemill_engine::checkpoint::{Best, EpochFigures};
use tidemill_engine::data::DataSpec;
use tidemill_engine::evaluate::Evaluation;
use tidemill_engine::metrics::Metric;
use tidemill_engine::page::html::escape;
use tidemill_engine::page::number::{count, plural};
use tidemill_engine::report::Report as Page;
use tidemill_engine::summary::Summary;
use tidemill_recipe::RecipeFile;
use tidemill_recipe::data::RunData;

pub use sounds::sounds_page;

/// Everything that the page shows.
pub struct Report<'a> {
    /// The recipe, resolved.
    pub file: &'a RecipeFile,
    /// The run's folder.
    pub run: &'a Path,
    /// The run's result.
    pub summary: &'a Summary,
    /// Its epochs.
    pub history: &'a [EpochFigures],
    /// The best one whose weights the run still builds on, where the recipe measures one.
    pub best: Option<Best>,
    /// The last pass over the validation data.
    pub evaluation: Option<&'a Evaluation>,
    /// The data, for thumbnails.
    pub data: Option<&'a RunData>,
    /// The names of the classes.
    pub class_names: &'a [String],
    /// The plan as text.
    pub plan: &'a str,
    /// Threads of a step.
    pub threads: usize,
    /// Learned values.
    pub num_parameters: usize,
}

impl Report<'_> {
    /// The page as text.
    pub fn page(&self) -> String {
        let summary = self.summary;
        let (figures, measured_on) = match summary.validation.is_empty() {
            true => (&summary.train, "training"),
            false => (&summary.validation, "validation"),
        };
        Page {
            title: &self.file.path.file_stem().map(|s| s.to_string_lossy()).unwrap_or_default(),
            run: self.run,
            data: self.data_in_words(),
            recipe: &self.file.to_toml(),
            seed: self.file.recipe.training.seed,
            summary,
            length: ("epoch", summary.epochs),
            figures,
            measured_on,
            speed: "samples, validation included",
            cards: self.cards(),
            history: self.history,
            curves: "Curves",
            before: String::new(),
            after: self.sections(),
            plan: self.plan,
            threads: self.threads,
            num_parameters: self.num_parameters,
        }
        .page()
    }

    /// The best epoch, where the recipe measures one, and what was rolled back.
    fn cards(&self) -> Vec<(String, String, String)> {
        let mut cards = Vec::new();
        if let (Some(best), true) = (&self.best, self.history.len() > 1) {
            let name = best.metric.rsplit('.').next().unwrap_or(&best.metric);
            let note =
                format!("{} {}", best.metric.replace('.', " "), Metric::text(name, best.value));
            cards.push(("Best epoch".into(), best.epoch.to_string(), escape(&note)));
        }
        if self.summary.rollbacks > 0 {
            let note = format!("{} taken back", plural(self.summary.steps_lost, "step"));
            cards.push(("Rollbacks".into(), count(self.summary.rollbacks), note));
        }
        cards
    }

    /// Where the data is, and how much of it there is.
    fn data_in_words(&self) -> Vec<(&'static str, String)> {
        let Some(data) = self.data else { return Vec::new() };
        let batch = &self.file.recipe.batch;
        let words = |spec: Option<&DataSpec>, samples: usize| {
            let files = spec.map(|spec| spec.files().join(", ")).unwrap_or_default();
            format!("{files}: {}", plural(samples as u64, "sample"))
        };
        let mut rows = vec![("training data", words(batch.data.as_ref(), data.train.len()))];
        if let Some(validation) = &data.validation {
            rows.push(("validation data", words(batch.validation.as_ref(), validation.len())));
        }
        if !self.class_names.is_empty() {
            rows.push(("classes", count(self.class_names.len() as u64)));
        }
        rows
    }

    /// What the validation data showed: how right probabilities are, errors, classes, and the worst mistakes.
    fn sections(&self) -> String {
        let mut page = String::new();
        if let Some(evaluation) = self.evaluation {
            drawn::write(&mut page, evaluation, self.class_names);
        }
        if let Some(evaluation) = self.evaluation {
            classes::write(&mut page, evaluation, self.class_names);
        }
        let validation = self.data.and_then(|data| data.validation.as_ref());
        if let (Some(evaluation), Some(data)) = (self.evaluation, validation) {
            mistakes::write(&mut page, &evaluation.mistakes, data.as_ref(), self.class_names);
        }
        page
    }
}

#[cfg(test)]
mod tests;
