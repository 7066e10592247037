//! The sections of a recipe, with the default of each key.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidemill_engine::Averaging;
use tidemill_engine::data::tokens::TokenizerSpec;
use tidemill_engine::data::{DataSpec, ImageAugmentSpec, MAX_THREADS};
use tidemill_engine::nn::{LossSpec, ModelSpec, OptimizerSpec};
use tidemill_stream::FormatSpec;

use crate::log::LogSpec;
use crate::online::OnlineSpec;
use crate::sounds::AudioSection;
use crate::spikes::Spikes;
use crate::stop::{Plateau, StopSpec, validation_loss};
use crate::unfreeze::Unfreeze;
use tidemill_engine::metrics::{Metric, Task};

/// A whole recipe.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The model. Left out in recipes with a hashed linear model (`online.linear`).
    #[serde(default = "no_model")]
    pub model: ModelSpec,
    /// The loss, the optimizer and what is common to batches and streams.
    pub training: TrainingSpec,
    /// Training on stored data: which data, and for how long.
    #[serde(default)]
    pub batch: BatchSpec,
    /// How texts become tokens.
    #[serde(default)]
    pub text: TextSpec,
    /// How sounds become what a model reads.
    #[serde(default)]
    pub audio: AudioSection,
    /// The format of a stream's events.
    #[serde(default)]
    pub stream: FormatSpec,
    /// Learning from a stream.
    #[serde(default)]
    pub online: OnlineSpec,
    /// When a run ends before its last epoch.
    #[serde(default)]
    pub stop: StopSpec,
    /// When checkpoints are written, and which are kept.
    #[serde(default)]
    pub checkpoint: CheckpointSpec,
    /// What a run writes for other programs.
    #[serde(default)]
    pub log: LogSpec,
    /// The HTML report of a run.
    #[serde(default)]
    pub report: ReportSpec,
}

/// `[text]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSpec {
    /// What makes tokens of texts; trained on the training data, or read. It is kept in checkpoints. Required by data of
    /// tokens (`text`, `parallel`); none by default.
    #[serde(default)]
    pub tokenizer: Option<TokenizerSpec>,
}

/// `[training]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSpec {
    /// The loss that is minimized.
    pub loss: LossSpec,
    /// How the parameters are updated. The default needs no tuning on streams, where its rate stays; over
    /// a run of batches the rate falls to 0. Recipes with a hashed linear model (`online.linear`) leave it out: that model has its own update rules.
    #[serde(default = "OptimizerSpec::online")]
    pub optimizer: OptimizerSpec,
    /// Averages the weights over the steps or the last epochs: what is measured and predicted with is then the average. Off by
    /// default. For training on stored data.
    #[serde(default)]
    pub average: Option<Averaging>,
    /// Random seed of the initial weights, the sample order and dropout; 0 by default.
    #[serde(default)]
    pub seed: u64,
    /// Number of pieces that each batch is cut into for training on stored data; 1 by default. The gradients of the pieces are
    /// summed in a fixed order, so that a run has the same result for any number of workers up to this
    /// (`tidemill train --workers`). Batch norm and dropout are those of each piece, so that another number gives
    /// another result. 8 is a good number for up to 8 workers.
    #[serde(default = "one_shard")]
    pub shards: usize,
    /// Where the optimizer's slots are, such as Adam's moments, when several workers train: `"replicated"`, all of them with each
    /// worker, by default; or `"sharded"`, where each worker keeps those of some parameters, makes their updates, and gets the
    /// others' new weights (ZeRO stage 1). The result is the same to the last bit, and checkpoints hold all of it.
    #[serde(default)]
    pub optimizer_state: OptimizerState,
    /// Weights of the classes in the loss: `"balanced"`, or a table such as `{ cat = 2.0, "1" = 0.5
    /// }`. All 1 by default. A weight multiplies the gradients of its samples.
    #[serde(default)]
    pub class_weight: Option<ClassWeight>,
    /// Metrics reported beside the loss. By default accuracy for classes and the mean absolute
    /// error for values.
    #[serde(default)]
    pub metrics: Option<Vec<Metric>>,
    /// Lowers the learning rate when a metric stops improving; off by default.
    #[serde(default)]
    pub plateau: Option<Plateau>,
    /// Layers of `model.frozen` that learn from a later epoch on, such as `[{ epoch = 3, layers = ["layers.4"] }]`; none by
    /// default. For training on stored data in one process.
    #[serde(default)]
    pub unfreeze: Vec<Unfreeze>,
    /// Rolls the model back when the loss rises all at once or is not a number, as `{}` or with options; off by default, where
    /// a loss that is not a number ends the run.
    #[serde(default)]
    pub spikes: Option<Spikes>,
}

/// Where the optimizer's slots are when several workers train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerState {
    /// All of them with each worker.
    #[default]
    Replicated,
    /// Each worker has those of some parameters.
    Sharded,
}

/// Whether the numbers of an average make sense.
fn check_average(average: &Averaging) -> Result<(), Wrong> {
    match average {
        Averaging::Ema(share) if !(0.0..1.0).contains(share) => {
            wrong("training.average.ema", format!("must be from 0 to below 1, found {share}"))
        }
        Averaging::Epochs(0) => {
            wrong("training.average.epochs", "must be 1 or more, found 0".to_owned())
        }
        _ => Ok(()),
    }
}

/// Weights of classes: `"balanced"` or by name or number, `{ cat = 2.0, "1" = 0.5 }`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "\"balanced\" or a table of weights by class name or number")]
pub enum ClassWeight {
    /// A word; only `balanced` (samples / classes / samples of the class) is known.
    Named(String),
    /// The weight of each class; classes that are left out weigh 1.
    Each(BTreeMap<String, f64>),
}

/// `[batch]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSpec {
    /// The training data. Left out in recipes that only learn from a stream.
    pub data: Option<DataSpec>,
    /// The validation data: evaluated, never trained on. None by default.
    pub validation: Option<DataSpec>,
    /// Number of samples per step; 32 by default.
    pub batch_size: usize,
    /// Tokens per step, padding included, for data of tokens: samples of like length come together, as many as fit. Takes the
    /// place of `batch_size`; off by default.
    pub batch_tokens: Option<usize>,
    /// Number of passes over the data, or of rounds of `steps_per_epoch` steps; 1 by default.
    pub epochs: u64,
    /// Steps per epoch; the data is repeated as often as needed. One pass over the data by default.
    pub steps_per_epoch: Option<u64>,
    /// Whether each pass has a new random order; yes by default.
    pub shuffle: bool,
    /// Whether each class comes equally often: an epoch has as many steps as before, with samples of rare classes several times and
    /// of frequent ones in turn. No by default, where each sample comes once.
    pub balanced: bool,
    /// Whether to leave out the smaller last batch of a pass; no by default.
    pub drop_remainder: bool,
    /// Epochs between evaluations on the validation data; 1 by default.
    pub validation_every: u64,
    /// Number of samples evaluated at a time. Chosen for speed and little memory by default.
    pub validation_batch_size: Option<usize>,
    /// How training images are varied, differently in each epoch, for data of `image_directory`, `idx` and `numpy`. Off by default;
    /// validation images are as they are.
    pub augment: Option<ImageAugmentSpec>,
    /// Number of threads that decode and vary samples ahead. By default one per core if the data needs
    /// decoding or varying.
    pub data_threads: Option<usize>,
}

impl Default for BatchSpec {
    fn default() -> Self {
        Self {
            data: None,
            validation: None,
            batch_size: 32,
            batch_tokens: None,
            epochs: 1,
            steps_per_epoch: None,
            shuffle: true,
            balanced: false,
            drop_remainder: false,
            validation_every: 1,
            validation_batch_size: None,
            augment: None,
            data_threads: None,
        }
    }
}

/// `[checkpoint]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSpec {
    /// Epochs between checkpoints; 1 by default.
    pub every_epochs: u64,
    /// Also write a checkpoint every this many steps; off by default.
    pub every_steps: Option<u64>,
    /// Also write a checkpoint when this many minutes of training have passed since the last one; off by default.
    pub every_minutes: Option<f64>,
    /// Number of recent checkpoints that are kept beside the best one; 2 by default, so that a run
    /// whose newest one is damaged can continue from the one before.
    pub keep: usize,
    /// The metric that decides which checkpoint is the best. By default `validation.loss`, if there
    /// is validation data.
    pub best: Option<String>,
    /// Number of best checkpoints that are kept, by the same metric; 1 by default.
    pub keep_best: usize,
}

impl Default for CheckpointSpec {
    fn default() -> Self {
        Self {
            every_epochs: 1,
            every_steps: None,
            every_minutes: None,
            keep: 2,
            best: None,
            keep_best: 1,
        }
    }
}

/// `[report]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportSpec {
    /// Whether `report.html` is written; yes by default.
    pub html: bool,
    /// Number of worst mistakes shown in the report; 24 by default.
    pub mistakes: usize,
}

impl Default for ReportSpec {
    fn default() -> Self {
        Self { html: true, mistakes: 24 }
    }
}

/// More pieces of a batch than that are a mistake.
const MAX_SHARDS: usize = 65_536;

/// The key of a value and what is wrong with it.
pub(crate) type Wrong = (String, String);

impl Recipe {
    /// How the model's outputs are read.
    pub fn task(&self) -> Task {
        Task::of(&self.training.loss)
    }

    /// The metrics beside the loss.
    pub fn metrics(&self) -> Vec<Metric> {
        let chosen = self.training.metrics.clone();
        chosen.unwrap_or_else(|| Metric::default_for(self.task()))
    }

    /// The epochs of a full run.
    pub fn epochs(&self) -> u64 {
        self.batch.epochs.min(self.stop.epochs.unwrap_or(u64::MAX))
    }

    /// What the best epoch is measured by, if anything.
    pub fn best_metric(&self) -> Option<String> {
        let wanted = self.checkpoint.best.clone();
        let wanted = wanted.or_else(|| self.stop.patience.as_ref().map(|p| p.metric.clone()));
        wanted.or_else(|| self.batch.validation.is_some().then(validation_loss))
    }

    /// The first value that is invalid.
    pub(crate) fn check(&self) -> Result<(), Wrong> {
        if self.online.linear.is_none() {
            self.model.validate().map_err(|e| (e.path, e.message))?;
        }
        let training =
            |e: tidemill_engine::nn::ModelError| (format!("training.{}", e.path), e.message);
        self.training.loss.validate().map_err(training)?;
        self.training.optimizer.validate().map_err(training)?;
        let (b, c) = (&self.batch, &self.checkpoint);
        positive("batch.batch_size", b.batch_size as u64)?;
        positive("batch.epochs", b.epochs)?;
        positive("batch.validation_every", b.validation_every)?;
        positive("checkpoint.every_epochs", c.every_epochs)?;
        positive("checkpoint.keep", c.keep as u64)?;
        positive("checkpoint.keep_best", c.keep_best as u64)?;
        if c.keep_best > 1 && self.best_metric().is_none() {
            let message = "needs a metric to compare by: set checkpoint.best, or batch.validation";
            return wrong("checkpoint.keep_best", message);
        }
        above_zero("checkpoint.every_minutes", c.every_minutes)?;
        let optional = [
            ("batch.steps_per_epoch", b.steps_per_epoch),
            ("batch.batch_tokens", b.batch_tokens.map(|n| n as u64)),
            ("batch.validation_batch_size", b.validation_batch_size.map(|n| n as u64)),
            ("checkpoint.every_steps", c.every_steps),
            ("stop.epochs", self.stop.epochs),
            ("stop.steps", self.stop.steps),
        ];
        for (key, value) in optional {
            value.map_or(Ok(()), |value| positive(key, value))?;
        }
        self.check_shards()?;
        if let Some(threads) = b.data_threads.filter(|&n| n > MAX_THREADS) {
            let message = format!("must be 0 to {MAX_THREADS}, found {threads}");
            return wrong("batch.data_threads", message);
        }
        if b.balanced && (b.batch_tokens.is_some() || !b.shuffle) {
            let key = if b.shuffle { "batch_tokens" } else { "shuffle = false" };
            return wrong(
                "batch.balanced",
                format!("has no meaning with batch.{key}; leave one of them out"),
            );
        }
        above_zero("stop.wall_seconds", self.stop.wall_seconds)?;
        self.training.average.as_ref().map_or(Ok(()), check_average)?;
        self.training.spikes.as_ref().map_or(Ok(()), Spikes::check)?;
        self.check_unfreeze()?;
        self.online.check()?;
        self.log.check()?;
        self.check_metrics()?;
        self.check_weights()
    }

    /// Whether batches can be cut into so many pieces.
    fn check_shards(&self) -> Result<(), Wrong> {
        const KEY: &str = "training.shards";
        let (shards, size) = (self.training.shards, self.batch.batch_size);
        positive(KEY, shards as u64)?;
        if shards > MAX_SHARDS {
            return wrong(KEY, format!("must be 1 to {MAX_SHARDS}, found {shards}"));
        }
        if self.batch.batch_tokens.is_none() && shards > 1 && shards > size {
            let message =
                format!("= {shards} is more than the {size} samples of a batch (batch.batch_size)");
            return wrong(KEY, message);
        }
        if self.training.optimizer_state == OptimizerState::Sharded {
            self.check_sharded()?;
        }
        if shards > 1 && self.model.remembers() {
            return wrong(
                KEY,
                "cannot be more than 1 with model.memory and model.last_label, which keep a step's samples in their order; \
                 leave those out",
            );
        }
        Ok(())
    }

    /// Whether each worker may keep a part of the optimizer's slots.
    fn check_sharded(&self) -> Result<(), Wrong> {
        let training = &self.training;
        let what = match () {
            () if training.shards == 1 => {
                "needs training.shards of 2 or more, as several workers do"
            }
            () if training.optimizer.rule().slot_names().is_empty() => {
                "has no effect with this optimizer, which keeps nothing beside the weights; leave it out"
            }
            () if training.spikes.is_some() => {
                "cannot be used with training.spikes, which keeps a copy of the whole state; leave one of them out"
            }
            () if !training.unfreeze.is_empty() => {
                "cannot be used with training.unfreeze, after which other slots are kept; leave one of them out"
            }
            () => return Ok(()),
        };
        wrong("training.optimizer_state", format!("= \"sharded\" {what}"))
    }

    fn check_metrics(&self) -> Result<(), Wrong> {
        for (i, metric) in self.metrics().iter().enumerate() {
            if !metric.fits(self.task()) {
                return wrong(
                    format!("training.metrics[{i}]"),
                    format!(
                        "= \"{}\" has no meaning for the loss {}",
                        metric.name(),
                        self.training.loss.name()
                    ),
                );
            }
        }
        let (stop, training) = (&self.stop, &self.training);
        let watched = [
            ("stop.target.metric", stop.target.as_ref().map(|t| &t.metric)),
            ("stop.patience.metric", stop.patience.as_ref().map(|p| &p.metric)),
            ("training.plateau.metric", training.plateau.as_ref().map(|p| &p.metric)),
            ("checkpoint.best", self.checkpoint.best.as_ref()),
        ];
        for (key, name) in watched {
            if let Some(name) = name {
                self.check_watched(key, name)?;
            }
        }
        if let Some(p) = &training.plateau
            && !(p.factor > 0.0 && p.factor < 1.0)
        {
            let message = format!("must be between 0 and 1, found {}", p.factor);
            return wrong("training.plateau.factor", message);
        }
        Ok(())
    }

    fn check_watched(&self, key: &str, name: &str) -> Result<(), Wrong> {
        let (side, metric) = name.split_once('.').unwrap_or(("", name));
        if side == "validation" && self.batch.validation.is_none() {
            let message = format!("= \"{name}\" needs batch.validation, which the recipe has not");
            return wrong(key, message);
        }
        let mut known = vec!["loss".to_string()];
        known.extend(self.metrics().iter().map(|m| m.name()));
        if ["train", "validation"].contains(&side) && known.iter().any(|k| k == metric) {
            return Ok(());
        }
        let known: Vec<String> = ["validation", "train"]
            .iter()
            .flat_map(|side| known.iter().map(move |k| format!("{side}.{k}")))
            .collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        wrong(key, format!("= \"{name}\" is unknown; {}", super::message::nearest(name, &known)))
    }

    fn check_weights(&self) -> Result<(), Wrong> {
        match &self.training.class_weight {
            Some(ClassWeight::Named(word)) if word != "balanced" => wrong(
                "training.class_weight",
                format!("must be \"balanced\" or a table of weights, found \"{word}\""),
            ),
            Some(ClassWeight::Each(weights)) => {
                match weights.iter().find(|(_, w)| !(w.is_finite() && **w >= 0.0)) {
                    Some((class, weight)) => wrong(
                        format!("training.class_weight.{class}"),
                        format!("must be a number of 0 or more, found {weight}"),
                    ),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn wrong(key: impl Into<String>, message: impl Into<String>) -> Result<(), Wrong> {
    Err((key.into(), message.into()))
}

pub(crate) fn positive(key: &str, value: u64) -> Result<(), Wrong> {
    if value > 0 { Ok(()) } else { wrong(key, "must be a positive integer, found 0") }
}

fn above_zero(key: &str, value: Option<f64>) -> Result<(), Wrong> {
    match value {
        Some(value) if value.is_nan() || value <= 0.0 => {
            wrong(key, format!("must be above 0, found {value}"))
        }
        _ => Ok(()),
    }
}

fn no_model() -> ModelSpec {
    ModelSpec::features(0)
}

fn one_shard() -> usize {
    1
}
