//! The metrics that a recipe can name, and how they are written.

use super::classes::Score;
use serde::{Deserialize, Serialize};
use tidemill_nn::Task;
use tidemill_page::number::{Scale, figure, percent};

/// A metric reported beside the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Metric {
    /// Share of correct predictions; where any number of classes is true of a sample, each class is one.
    Accuracy,
    /// Share of samples of which every class is right, where any number of classes is true of a sample.
    SubsetAccuracy,
    /// Share of samples whose class is among the five highest outputs; any other number works too,
    /// such as `top_3`.
    TopK(usize),
    /// Precision: mean over the classes, or that of the positive class for yes or no.
    Precision,
    /// Recall, averaged like precision.
    Recall,
    /// F1 score, averaged like precision.
    F1,
    /// Area under the ROC curve; of several classes the mean of each against the others.
    Auc,
    /// Mean absolute error.
    Mae,
    /// Mean squared error.
    Mse,
    /// Coefficient of determination, averaged over the outputs.
    R2,
    /// Precision, recall or F-beta, averaged as the name says: `f1_weighted`, `precision_micro`, `recall_macro`,
    /// `fbeta_0.5`. Without the last part the mean over the classes, or that of the positive class for yes-or-no tasks.
    Averaged(Score, Averaged),
    /// Mean recall over the classes.
    BalancedAccuracy,
    /// Cohen's kappa.
    CohenKappa,
    /// Matthews' correlation coefficient.
    Mcc,
    /// Average precision, the area under the curve of precision by recall; of several classes the mean of each against the
    /// others.
    AveragePrecision,
    /// Mean of `-ln p` of the true classes, without label smoothing, weights and what else the loss has.
    LogLoss,
    /// Mean squared error of the probabilities.
    Brier,
    /// Expected calibration error, in 15 bins.
    Ece,
    /// Root of the mean squared error.
    Rmse,
    /// Mean absolute error by the size of the target, as a share.
    Mape,
    /// Median of the absolute errors.
    MedianAbsoluteError,
    /// The absolute error that this many in a hundred are below: `absolute_error_p90`.
    AbsoluteErrorQuantile(u8),
    /// Labels that are put in, left out or wrong in the best labels of each position, by the number of true labels: the word
    /// error rate where labels are words.
    LabelErrorRate,
}

/// How a score of classes is averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Averaged {
    /// Macro for classes, the positive class for yes-or-no tasks.
    Usual,
    /// The mean over classes.
    Macro,
    /// Over all samples together.
    Micro,
    /// The mean over classes, weighted by their samples.
    Weighted,
}

impl Metric {
    /// The names a recipe may use; `top_5` stands for any `top_K`, `absolute_error_p90` for any hundredth, `fbeta_2` for any
    /// beta, and `_macro`, `_micro` or `_weighted` may follow `precision`, `recall`, `f1` and `fbeta_2`.
    pub const NAMES: [&'static str; 23] = [
        "accuracy",
        "subset_accuracy",
        "top_5",
        "precision",
        "recall",
        "f1",
        "auc",
        "mae",
        "mse",
        "r2",
        "fbeta_2_weighted",
        "balanced_accuracy",
        "cohen_kappa",
        "mcc",
        "average_precision",
        "log_loss",
        "brier_score",
        "ece",
        "rmse",
        "mape",
        "median_absolute_error",
        "absolute_error_p90",
        "label_error_rate",
    ];

    /// What is measured where nothing is named.
    pub fn default_for(task: Task) -> Vec<Metric> {
        match task {
            task if task.is_transcript() => vec![Metric::LabelErrorRate],
            _ if task.has_classes() => vec![Metric::Accuracy],
            _ => vec![Metric::Mae],
        }
    }

    /// The metric of that name.
    pub fn parse(name: &str) -> Option<Metric> {
        Some(match name {
            "accuracy" => Metric::Accuracy,
            "subset_accuracy" => Metric::SubsetAccuracy,
            "precision" => Metric::Precision,
            "recall" => Metric::Recall,
            "f1" => Metric::F1,
            "auc" => Metric::Auc,
            "mae" => Metric::Mae,
            "mse" => Metric::Mse,
            "r2" => Metric::R2,
            "label_error_rate" => Metric::LabelErrorRate,
            "roc_auc" => Metric::Auc,
            "balanced_accuracy" => Metric::BalancedAccuracy,
            "cohen_kappa" => Metric::CohenKappa,
            "mcc" | "matthews_corrcoef" => Metric::Mcc,
            "average_precision" | "pr_auc" => Metric::AveragePrecision,
            "log_loss" => Metric::LogLoss,
            "brier_score" => Metric::Brier,
            "ece" => Metric::Ece,
            "rmse" => Metric::Rmse,
            "mape" => Metric::Mape,
            "median_absolute_error" => Metric::MedianAbsoluteError,
            _ => return Metric::parse_numbered(name),
        })
    }

    /// Names with a number or an average in them.
    fn parse_numbered(name: &str) -> Option<Metric> {
        if let Some(k) = name.strip_prefix("top_") {
            return k.parse().ok().filter(|&k| k > 0).map(Metric::TopK);
        }
        if let Some(hundredths) = name.strip_prefix("absolute_error_p") {
            let hundredths = hundredths.parse().ok().filter(|&n| n <= 100)?;
            return Some(Metric::AbsoluteErrorQuantile(hundredths));
        }
        let ends = [
            ("_macro", Averaged::Macro),
            ("_micro", Averaged::Micro),
            ("_weighted", Averaged::Weighted),
        ];
        let end = ends.into_iter().find_map(|(end, how)| Some((name.strip_suffix(end)?, how)));
        let (score, how) = end.unwrap_or((name, Averaged::Usual));
        let score = match score {
            "precision" => Score::Precision,
            "recall" => Score::Recall,
            "f1" => Score::FBeta(1000),
            _ => {
                let beta: f64 = score.strip_prefix("fbeta_")?.parse().ok()?;
                let thousandths = (beta * 1000.0).round();
                let whole = (thousandths - beta * 1000.0).abs() < 1e-6;
                if !whole || !(1.0..=1e6).contains(&thousandths) {
                    return None;
                }
                Score::FBeta(thousandths as u32)
            }
        };
        Some(Metric::Averaged(score, how))
    }

    /// Its name in recipes and results.
    pub fn name(self) -> String {
        match self {
            Metric::Accuracy => "accuracy".into(),
            Metric::SubsetAccuracy => "subset_accuracy".into(),
            Metric::TopK(k) => format!("top_{k}"),
            Metric::Precision => "precision".into(),
            Metric::Recall => "recall".into(),
            Metric::F1 => "f1".into(),
            Metric::Auc => "auc".into(),
            Metric::Mae => "mae".into(),
            Metric::Mse => "mse".into(),
            Metric::R2 => "r2".into(),
            Metric::LabelErrorRate => "label_error_rate".into(),
            Metric::Averaged(score, how) => {
                let score = match score {
                    Score::Precision => "precision".to_owned(),
                    Score::Recall => "recall".to_owned(),
                    Score::FBeta(1000) if how != Averaged::Usual => "f1".to_owned(),
                    Score::FBeta(thousandths) => {
                        format!("fbeta_{}", f64::from(thousandths) / 1000.0)
                    }
                };
                score
                    + match how {
                        Averaged::Usual => "",
                        Averaged::Macro => "_macro",
                        Averaged::Micro => "_micro",
                        Averaged::Weighted => "_weighted",
                    }
            }
            Metric::BalancedAccuracy => "balanced_accuracy".into(),
            Metric::CohenKappa => "cohen_kappa".into(),
            Metric::Mcc => "mcc".into(),
            Metric::AveragePrecision => "average_precision".into(),
            Metric::LogLoss => "log_loss".into(),
            Metric::Brier => "brier_score".into(),
            Metric::Ece => "ece".into(),
            Metric::Rmse => "rmse".into(),
            Metric::Mape => "mape".into(),
            Metric::MedianAbsoluteError => "median_absolute_error".into(),
            Metric::AbsoluteErrorQuantile(hundredths) => format!("absolute_error_p{hundredths}"),
        }
    }

    /// Whether it follows from the matrix of true by predicted classes.
    pub(super) fn is_of_confusion(self) -> bool {
        matches!(
            self,
            Metric::Precision
                | Metric::Recall
                | Metric::F1
                | Metric::Averaged(..)
                | Metric::BalancedAccuracy
                | Metric::CohenKappa
                | Metric::Mcc
        )
    }

    /// Whether it is one of probabilities.
    pub(super) fn is_of_probabilities(self) -> bool {
        matches!(self, Metric::LogLoss | Metric::Brier | Metric::Ece) || self.is_of_curves()
    }

    /// Whether it is an area under a curve.
    pub(super) fn is_of_curves(self) -> bool {
        matches!(self, Metric::Auc | Metric::AveragePrecision)
    }

    /// Whether it is a quantile of errors, and of which share.
    pub(super) fn quantile(self) -> Option<f64> {
        match self {
            Metric::MedianAbsoluteError => Some(0.5),
            Metric::AbsoluteErrorQuantile(hundredths) => Some(f64::from(hundredths) / 100.0),
            _ => None,
        }
    }

    /// Whether the metric has a meaning for `task`.
    pub fn fits(self, task: Task) -> bool {
        match self {
            Metric::SubsetAccuracy => task == Task::Binary,
            Metric::Accuracy => task.has_classes() && !task.is_transcript(),
            Metric::LabelErrorRate => task.is_transcript(),
            // A mean over all tokens of a vocabulary says nothing.
            _ if self.is_of_confusion() || self.is_of_probabilities() => {
                matches!(task, Task::Classes | Task::Binary)
            }
            Metric::TopK(_) => matches!(task, Task::Classes | Task::Tokens),
            _ => !task.has_classes(),
        }
    }

    /// Whether it is among the figures of a stream.
    pub fn is_prequential(self) -> bool {
        matches!(self, Metric::Accuracy | Metric::F1 | Metric::Auc | Metric::Mae | Metric::R2)
    }

    /// Whether a greater value of the metric of that name is better; true of all but errors.
    pub fn greater_is_better(name: &str) -> bool {
        let errors = [
            "loss",
            "mae",
            "mse",
            "label_error_rate",
            "log_loss",
            "brier_score",
            "ece",
            "rmse",
            "mape",
            "median_absolute_error",
        ];
        !errors.contains(&name) && !name.starts_with("absolute_error_p")
    }

    /// How the figure of that name is written: shares in percent, the loss and errors as they are.
    pub fn scale(name: &str) -> Scale {
        match Metric::parse(name) {
            Some(
                Metric::Accuracy
                | Metric::SubsetAccuracy
                | Metric::TopK(_)
                | Metric::Precision
                | Metric::Recall
                | Metric::F1
                | Metric::Averaged(..)
                | Metric::BalancedAccuracy
                | Metric::Mape
                | Metric::LabelErrorRate,
            ) => Scale::Percent,
            // Of texts that sounds say, beside the metrics of a recipe.
            None if matches!(name, "wer" | "cer") => Scale::Percent,
            _ => Scale::Plain,
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
