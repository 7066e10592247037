//! What a run writes down for other programs.

use serde::Deserialize;

use crate::spec::{Wrong, positive, wrong};

/// `[log]`: beside `metrics.jsonl`, which each run has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSpec {
    /// Steps between the lines of `steps.jsonl`, each with the mean loss since the line before and the learning rate; with
    /// `tensorboard` there is a point of both for each. Off by default.
    pub every_steps: Option<u64>,
    /// Whether `metrics.csv` is written, with a row for each epoch; no by default.
    pub csv: bool,
    /// Whether events for TensorBoard are written (`tensorboard --logdir RUN/tensorboard`): the figures of epochs and steps,
    /// the recipe; no by default.
    pub tensorboard: bool,
    /// With `tensorboard`: epochs between histograms of the parameters; none by default.
    pub histograms: Option<u64>,
    /// With `tensorboard`: number of training images that are shown; 0 by default.
    pub images: usize,
}

impl LogSpec {
    pub(crate) fn check(&self) -> Result<(), Wrong> {
        self.every_steps.map_or(Ok(()), |n| positive("log.every_steps", n))?;
        self.histograms.map_or(Ok(()), |n| positive("log.histograms", n))?;
        let given =
            [("log.histograms", self.histograms.is_some()), ("log.images", self.images > 0)];
        match given.into_iter().find(|(_, given)| *given && !self.tensorboard) {
            Some((key, _)) => wrong(key, "has no effect without log.tensorboard = true"),
            None => Ok(()),
        }
    }
}
