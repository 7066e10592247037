//! The metrics that a recipe can name, and how they are written.

use serde::{Deserialize, Serialize};
use tidemill_nn::Task;
use tidemill_page::number::{Scale, figure, percent};

/// A metric reported beside the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Metric {
    /// Share of correct predictions.
    Accuracy,
    /// Share of samples whose class is among the five highest outputs; any other number works too,
    /// such as `top_3`.
    TopK(usize),
    /// Precision: mean over the classes, or that of the positive class for yes-or-no tasks.
    Precision,
    /// Recall, averaged like precision.
    Recall,
    /// F1 score, averaged like precision.
    F1,
    /// Area under the ROC curve, for yes-or-no tasks.
    Auc,
    /// Mean absolute error.
    Mae,
    /// Mean squared error.
    Mse,
    /// Coefficient of determination, averaged over the outputs.
    R2,
    /// Labels that are put in, left out or wrong in the best labels of each position, by the number of true labels: the word
    /// error rate where labels are words.
    LabelErrorRate,
}

impl Metric {
    /// The names a recipe may use; `top_5` stands for any `top_K`.
    pub const NAMES: [&'static str; 10] = [
        "accuracy",
        "top_5",
        "precision",
        "recall",
        "f1",
        "auc",
        "mae",
        "mse",
        "r2",
        "label_error_rate",
    ];

    /// What is measured where nothing is named.
    pub fn default_for(task: Task) -> Vec<Metric> {
        match task {
            Task::Transcript => vec![Metric::LabelErrorRate],
            _ if task.has_classes() => vec![Metric::Accuracy],
            _ => vec![Metric::Mae],
        }
    }

    /// The metric of that name.
    pub fn parse(name: &str) -> Option<Metric> {
        Some(match name {
            "accuracy" => Metric::Accuracy,
            "precision" => Metric::Precision,
            "recall" => Metric::Recall,
            "f1" => Metric::F1,
            "auc" => Metric::Auc,
            "mae" => Metric::Mae,
            "mse" => Metric::Mse,
            "r2" => Metric::R2,
            "label_error_rate" => Metric::LabelErrorRate,
            _ => Metric::TopK(name.strip_prefix("top_")?.parse().ok().filter(|&k| k > 0)?),
        })
    }

    /// Its name in recipes and results.
    pub fn name(self) -> String {
        match self {
            Metric::Accuracy => "accuracy".into(),
            Metric::TopK(k) => format!("top_{k}"),
            Metric::Precision => "precision".into(),
            Metric::Recall => "recall".into(),
            Metric::F1 => "f1".into(),
            Metric::Auc => "auc".into(),
            Metric::Mae => "mae".into(),
            Metric::Mse => "mse".into(),
            Metric::R2 => "r2".into(),
            Metric::LabelErrorRate => "label_error_rate".into(),
        }
    }

    /// Whether the metric has a meaning for `task`.
    pub fn fits(self, task: Task) -> bool {
        match self {
            Metric::Accuracy => task.has_classes() && task != Task::Transcript,
            Metric::LabelErrorRate => task == Task::Transcript,
            // A mean over all tokens of a vocabulary says nothing.
            Metric::Precision | Metric::Recall | Metric::F1 => {
                matches!(task, Task::Classes | Task::Binary)
            }
            Metric::TopK(_) => matches!(task, Task::Classes | Task::Tokens),
            Metric::Auc => task == Task::Binary,
            Metric::Mae | Metric::Mse | Metric::R2 => !task.has_classes(),
        }
    }

    /// Whether it is among the figures of a stream.
    pub fn is_prequential(self) -> bool {
        match self {
            Metric::Accuracy | Metric::F1 | Metric::Auc | Metric::Mae | Metric::R2 => true,
            Metric::TopK(_)
            | Metric::Precision
            | Metric::Recall
            | Metric::Mse
            | Metric::LabelErrorRate => false,
        }
    }

    /// Whether a greater value of the metric of that name is better; true of all but errors.
    pub fn greater_is_better(name: &str) -> bool {
        !matches!(name, "loss" | "mae" | "mse" | "label_error_rate")
    }

    /// How the figure of that name is written: shares in percent, the loss and errors as they are.
    pub fn scale(name: &str) -> Scale {
        match Metric::parse(name) {
            Some(Metric::Mae | Metric::Mse | Metric::R2 | Metric::Auc) | None => Scale::Plain,
            Some(_) => Scale::Percent,
        }
    }

    /// The figure of that name as text: `97.31 %`, `0.1234`.
    pub fn text(name: &str, value: f64) -> String {
        match Metric::scale(name) {
            Scale::Percent => percent(value),
            Scale::Plain => figure(value),
        }
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> String {
        metric.name()
    }
}

impl TryFrom<String> for Metric {
    type Error = String;

    fn try_from(name: String) -> Result<Metric, String> {
        let known = Metric::NAMES.join(", ");
        Metric::parse(&name).ok_or_else(|| format!("must be one of {known}, found \"{name}\""))
    }
}
