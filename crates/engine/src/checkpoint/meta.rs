//! What a checkpoint holds beside the tensors.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidemill_data::Known;

use crate::error::{Error, Result};
use crate::metrics::{Figures, Meter, Task};

/// The state of a run but for its tensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    /// Steps done.
    pub step: u64,
    /// Those of them that learned from a stream; the others are of batch training.
    #[serde(default)]
    pub online_steps: u64,
    /// The data position: samples passed, counted over all passes. What comes next is a pure
    /// function of this and the seed.
    pub position: u64,
    /// Full epochs done.
    pub epoch: u64,
    /// Samples learned from.
    pub samples: u64,
    /// Seeds weights, order and dropout.
    pub seed: u64,
    /// Seconds trained, over all resumptions.
    pub wall_seconds: f64,
    /// Of the parts of the recipe that decide the weights.
    pub recipe_sha256: String,
    /// Over names and bytes of all tensors.
    pub state_sha256: String,
    /// Sums of the epoch under way, so that it reports the same numbers after a resume.
    pub running: Meter,
    /// Where batches are cut into shards, `running` is of the first one, and these of the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub running_shards: Vec<Meter>,
    /// One entry for each full epoch: what `metrics.jsonl` says.
    pub history: Vec<EpochFigures>,
    /// The best epoch so far by the metric that the recipe watches.
    pub best: Option<Best>,
    /// The names of the classes, so that predictions need no training data.
    #[serde(default)]
    pub class_names: Vec<String>,
    /// What was learned of the columns and labels of a table or stream, for the same reason, and for
    /// whatever it learns from next.
    #[serde(default)]
    pub known: Known,
    /// What makes tokens of texts, as a `tokenizer.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<Attachment>,
    /// What the batch driver was doing, of which a resume says what has changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub course: Option<Course>,
    /// Where the files of the log were.
    #[serde(default, skip_serializing_if = "LogState::is_empty")]
    pub log: LogState,
    /// What the watch over spikes of the loss knows; the state to roll back to is among the tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spikes: Option<SpikeState>,
    /// Steps since the optimizer's slots began, where that is not all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot_age: Option<u64>,
    /// The steps of the best epochs beside `best`, whose checkpoints stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_best: Vec<u64>,
    /// What the online driver knows of the stream that was being learned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<Attachment>,
    /// Whether there is a manifest of its files, without which it is not whole. What earlier versions wrote
    /// has none; whatever is written now has one.
    #[serde(default, serialize_with = "always")]
    pub has_manifest: bool,
}

fn is_zero(steps: &u64) -> bool {
    *steps == 0
}

fn always<S: serde::Serializer>(_: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(true)
}

impl Meta {
    /// Of a run that has done nothing yet.
    pub fn new(seed: u64, task: Task, recipe_sha256: String) -> Meta {
        Meta {
            step: 0,
            online_steps: 0,
            position: 0,
            epoch: 0,
            samples: 0,
            seed,
            wall_seconds: 0.0,
            recipe_sha256,
            state_sha256: String::new(),
            running: Meter::new(task, 0, &[]),
            running_shards: Vec::new(),
            history: Vec::new(),
            best: None,
            class_names: Vec::new(),
            known: Known::default(),
            tokenizer: None,
            course: None,
            log: LogState::default(),
            spikes: None,
            slot_age: None,
            next_best: Vec::new(),
            stream: None,
            has_manifest: true,
        }
    }
}

/// What a run of batch training was being trained on, and how its steps count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// Samples of the training data.
    pub samples: u64,
    /// Samples of one pass: all, or those of whole batches.
    pub samples_per_pass: u64,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// The step (of batch training) at which the last epoch is done: what schedules span.
    pub run_steps: u64,
    /// Tells data that has changed; 0 where nothing does, since a stream has taught the encoder more and
    /// the same rows have other inputs.
    pub fingerprint: u64,
    /// Of the options by which the data is read.
    pub options_sha256: String,
    /// Epochs before `first_step`.
    pub first_epoch: u64,
    /// The step from which epochs have `steps_per_epoch` steps: 0, or where the data changed.
    pub first_step: u64,
}

impl Course {
    /// Full epochs done after so many steps.
    pub fn epoch(&self, step: u64) -> u64 {
        self.first_epoch + step.saturating_sub(self.first_step) / self.steps_per_epoch.max(1)
    }

    /// Steps done in the epoch under way.
    pub fn step_of_epoch(&self, step: u64) -> u64 {
        step.saturating_sub(self.first_step) % self.steps_per_epoch.max(1)
    }

    /// The step at which so many epochs are done.
    pub fn end(&self, epochs: u64) -> u64 {
        let left = epochs.saturating_sub(self.first_epoch);
        left.saturating_mul(self.steps_per_epoch).saturating_add(self.first_step)
    }
}

/// Where the files of a run's log were, so that a resumed run continues them there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogState {
    /// Their lengths in bytes, by their names in the run's folder.
    pub lengths: BTreeMap<String, u64>,
    /// The sum of the losses that are in no line yet.
    pub loss_sum: f64,
    /// Their number.
    pub losses: u64,
}

impl LogState {
    fn is_empty(&self) -> bool {
        *self == LogState::default()
    }
}

/// The losses of a run, and what was rolled back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpikeState {
    /// Of the losses of the last steps.
    pub mean: f64,
    /// The same.
    pub variance: f64,
    /// Losses that mean and variance are of.
    pub count: u64,
    /// The step whose state is kept.
    pub good: u64,
    /// Rollbacks to it.
    pub since: u64,
    /// Rollbacks of the run.
    pub rollbacks: u64,
    /// Steps whose learning they took back.
    pub steps_lost: u64,
}

/// What somebody else keeps in a checkpoint: JSON that is written and read back as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attachment(Box<RawValue>);

impl Attachment {
    /// A value as an attachment.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn new(value: &impl Serialize) -> Result<Attachment> {
        let raw = serde_json::value::to_raw_value(value);
        raw.map(Attachment)
            .map_err(|e| Error::Run(format!("a checkpoint's attachment cannot be written: {e}")))
    }

    /// JSON as an attachment.
    ///
    /// # Errors
    /// If it is none.
    pub fn of_json(json: String) -> Result<Attachment> {
        let raw = RawValue::from_string(json).map(Attachment);
        raw.map_err(|e| Error::Run(format!("a checkpoint's attachment is no JSON: {e}")))
    }

    /// As it is written.
    pub fn json(&self) -> &str {
        self.0.get()
    }

    /// The value again.
    ///
    /// # Errors
    /// If it is none of this type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(self.0.get())
            .map_err(|e| Error::Run(format!("a checkpoint's attachment is damaged: {e}")))
    }
}

/// The figures of one epoch; one line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochFigures {
    /// From 1.
    pub epoch: u64,
    /// Steps done at its end.
    pub step: u64,
    /// Those of them that were of a stream.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub online_steps: u64,
    /// Samples learned from at its end.
    pub samples: u64,
    /// Of its last step.
    pub learning_rate: f64,
    /// Seconds trained at its end.
    pub wall_seconds: f64,
    /// On the training samples, as they were learned from.
    pub train: Figures,
    /// On the validation data at its end; empty where there is none or it was not its turn.
    pub validation: Figures,
}

/// The best value of a watched metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Such as `validation.loss`.
    pub metric: String,
    /// Its best value.
    pub value: f64,
    /// Steps done then.
    pub step: u64,
    /// The epoch, from 1.
    pub epoch: u64,
}
