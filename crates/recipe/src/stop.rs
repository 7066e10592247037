//! What a run concludes from its epochs: when to end, when to learn more slowly.

use serde::Deserialize;

/// `[stop]`: whichever comes first.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StopSpec {
    /// Stop after this many epochs, if `batch.epochs` is not smaller. Only `batch.epochs` counts by
    /// default.
    pub epochs: Option<u64>,
    /// Stop after this many steps; off by default.
    pub steps: Option<u64>,
    /// Stop after this many seconds of training; off by default.
    pub wall_seconds: Option<f64>,
    /// Stop once a metric reaches a value; off by default.
    pub target: Option<Target>,
    /// Early stopping: stop when a metric has not improved for some epochs; off by default.
    pub patience: Option<Patience>,
}

/// Stop once a metric reaches a value.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The metric, such as `validation.accuracy`.
    pub metric: String,
    /// The value: a lower bound for metrics such as accuracy, an upper bound for losses and errors.
    pub value: f64,
}

/// Early stopping.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patience {
    /// The metric; `validation.loss` by default.
    #[serde(default = "validation_loss")]
    pub metric: String,
    /// Number of epochs without improvement. Epochs that are not evaluated count as well.
    pub epochs: u64,
    /// Smallest change that counts as an improvement; 0 by default.
    #[serde(default)]
    pub min_delta: f64,
    /// Whether the run ends with the weights of the best epoch instead of the last, whatever ends it but
    /// an interrupt; no by default.
    #[serde(default)]
    pub restore_best: bool,
}

/// Lowers the learning rate when a metric has not improved for some epochs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plateau {
    /// The metric; `validation.loss` by default.
    #[serde(default = "validation_loss")]
    pub metric: String,
    /// Factor by which the learning rate is multiplied; 0.1 by default.
    #[serde(default = "tenth")]
    pub factor: f64,
    /// Number of epochs without improvement; 10 by default. Epochs that are not evaluated count as well.
    #[serde(default = "ten")]
    pub epochs: u64,
    /// Smallest change that counts as an improvement; 1e-4 by default.
    #[serde(default = "plateau_delta")]
    pub min_delta: f64,
    /// Lower bound of the learning rate; 0 by default.
    #[serde(default)]
    pub min_learning_rate: f64,
}

pub(crate) fn validation_loss() -> String {
    "validation.loss".into()
}

fn ten() -> u64 {
    10
}

fn tenth() -> f64 {
    0.1
}

fn plateau_delta() -> f64 {
    1e-4
}
