//! What a recipe says about labels that come later than their events.

use serde::{Deserialize, Serialize};
use tidemill_engine::nn::LossSpec;
use tidemill_stream::FormatSpec;

use tidemill_engine::metrics::Task;

/// Labels that arrive later than their events. An event with an id is predicted when it arrives,
/// and learned from when a label with the same id arrives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinSpec {
    /// Column or key of the id. By default `stream.id`, and the tag for VW text.
    #[serde(default)]
    pub id: Option<String>,
    /// Column or key of the time of an event or label: seconds since 1970 (milliseconds to nanoseconds by their size), or text as in RFC 3339, UTC without an offset. By default
    /// the number of records so far is the time.
    #[serde(default)]
    pub time: Option<String>,
    /// How long after an event its label may arrive: in seconds of event time, or in records
    /// without `time`.
    pub window: f64,
    /// How far the time of an event may be after the newest one: in seconds, or in records without `time`. An event that is
    /// further ahead is set aside, since its clock is wrong, until eight records in a row agree. By default ten windows, and
    /// more where records are usually further apart.
    #[serde(default)]
    pub max_ahead: Option<f64>,
    /// Memory for waiting events and labels, in bytes: their ids, about 200 bytes each, and the
    /// inputs of events; 16 MiB by default.
    #[serde(default = "memory_bytes")]
    pub memory_bytes: usize,
    /// Disk space in the run's folder for waiting events once the memory is full, in bytes; the
    /// default is 1 GiB. When that is full too, or the ids alone fill the memory, the oldest events
    /// are evicted.
    #[serde(default = "spill_bytes")]
    pub spill_bytes: u64,
    /// What is done with an event whose label does not arrive in time.
    #[serde(default)]
    pub missing: Missing,
    /// Share of the negative events that is learned from; all by default. Which ones depends only
    /// on their ids and the seed. The log-odds are corrected during learning, so that predictions
    /// stay calibrated.
    #[serde(default = "all")]
    pub negative_sampling: f64,
}

/// What is done with an event whose label does not arrive in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// It is counted and not learned from.
    #[default]
    Drop,
    /// It counts as class 0, as for an ad that was shown and not clicked.
    Negative,
}

fn memory_bytes() -> usize {
    16 << 20
}

fn spill_bytes() -> u64 {
    1 << 30
}

fn all() -> f64 {
    1.0
}

/// Windows in seconds are counted in microseconds, which have to fit.
const MAX_WINDOW: f64 = 9e11;

impl JoinSpec {
    /// The first key that is invalid by itself, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if !(self.window > 0.0 && self.window <= MAX_WINDOW) {
            let window = self.window;
            return Err(("window", format!("must be above 0 and at most 9e11, found {window}")));
        }
        if let Some(ahead) = self.max_ahead.filter(|ahead| !(*ahead > 0.0 && *ahead <= MAX_WINDOW))
        {
            return Err(("max_ahead", format!("must be above 0 and at most 9e11, found {ahead}")));
        }
        if self.time.is_none() && self.window.fract() != 0.0 {
            let what = format!("must be a whole number of records, found {}", self.window);
            return Err(("window", what + "; name online.labels.time to have it in seconds"));
        }
        if self.memory_bytes < 4096 {
            let what = format!("must be 4096 or more, found {}", self.memory_bytes);
            return Err(("memory_bytes", what));
        }
        let rate = self.negative_sampling;
        if !(rate > 0.0 && rate <= 1.0) {
            let what = format!("must be above 0 and at most 1, found {rate}");
            return Err(("negative_sampling", what));
        }
        Ok(())
    }

    /// The first key that does not fit what is learned, and why.
    pub fn check_task(&self, task: Task, loss: &LossSpec) -> Result<(), (&'static str, String)> {
        if self.missing == Missing::Negative && !task.has_classes() {
            return Err((
                "missing",
                "= \"negative\" needs classes, and the targets are values".into(),
            ));
        }
        let logistic = matches!(loss, LossSpec::BinaryCrossentropy { .. });
        if self.negative_sampling < 1.0 && !logistic {
            let what = format!(
                "is for \"binary_crossentropy\", whose log-odds it corrects; the loss is \"{}\"",
                loss.name()
            );
            return Err(("negative_sampling", what));
        }
        Ok(())
    }

    /// Tells the decoders what is an id and a time.
    pub fn apply(&self, stream: &mut FormatSpec) -> Result<(), (&'static str, String)> {
        if let (Some(id), Some(other)) =
            (&self.id, stream.id.as_ref().filter(|o| Some(*o) != self.id.as_ref()))
        {
            return Err(("id", format!("= \"{id}\", and stream.id = \"{other}\"; leave one out")));
        }
        stream.id = self.id.clone().or_else(|| stream.id.take());
        stream.time.clone_from(&self.time);
        stream.label_records = true;
        Ok(())
    }

    /// What is added to logits while learning: with a share `r` of the negatives the odds of the
    /// positives are `1 / r` times what they are, so `ln(1 / r)` (He, Wang and others, *Nonuniform
    /// negative sampling and log odds correction with rare events data*, 2021; Monolith, arXiv
    /// 2209.07663, has it at serving time).
    pub fn shift(&self) -> f32 {
        match self.negative_sampling {
            1.0 => 0.0,
            rate => -rate.ln() as f32,
        }
    }
}
