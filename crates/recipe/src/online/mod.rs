//! What a recipe says about learning from a stream.
//!
//! # Layout
//!
//! - [`guard`]: which updates are refused
//! - [`continual`]: against forgetting and the loss of plasticity
//! - [`drift`]: what watches for drift, and what is done then
//! - [`join`]: labels that come later than their events
//! - [`linear`]: a linear model over hashed features
//! - [`corrections`]: corrections of generated texts

pub mod continual;
pub mod corrections;
pub mod drift;
pub mod guard;
pub mod join;
pub mod linear;

use serde::Deserialize;
use tidemill_stream::features::FeaturesSpec;

pub use continual::{AnchorSpec, ContinualSpec, PlasticitySpec, ReplaySpec};
pub use corrections::CorrectionsSpec;
pub use drift::DriftSpec;
pub use guard::GuardSpec;
pub use join::JoinSpec;
pub use linear::LinearSpec;
pub use tidemill_engine::prequential::PrequentialSpec;

/// `[online]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnlineSpec {
    /// Number of events per step, however fast they arrive; only the last step of a stream may have
    /// fewer; 1 by default.
    pub batch_size: usize,
    /// Instead of `batch_size`: a step takes all events that have arrived, up to this number. That
    /// is one event when the stream is slow, and more when there is a backlog; off by default.
    pub max_batch: Option<usize>,
    /// With `max_batch`: how long an event may wait for others, in milliseconds; 0 by default.
    pub max_delay_ms: f64,
    /// The learning rate on a stream. By default that of `training.optimizer`; single events are
    /// noisier than batches and usually need a smaller rate.
    pub learning_rate: Option<f64>,
    /// Whether the learning rate is lowered for events with long input vectors, by the factor
    /// `min(1, 4 / rms(|x|))`. By default yes if the recipe names no optimizer, and no otherwise.
    pub normalized_rate: Option<bool>,
    /// Names of the classes in the order of the model's outputs. By default, if the first label is
    /// the number of an output, class names are these numbers; otherwise classes are numbered in
    /// the order in which they appear.
    pub classes: Option<Vec<String>>,
    /// Whether numeric targets are standardized with their running mean and standard deviation; yes
    /// by default.
    pub scale_targets: bool,
    /// A hashed linear model instead of `[model]`; off by default.
    pub linear: Option<LinearSpec>,
    /// For labels that arrive later than their events. By default an event carries its label, or
    /// has none.
    pub labels: Option<JoinSpec>,
    /// How a model that makes texts of texts learns from what people correct them to.
    pub corrections: CorrectionsSpec,
    /// How the columns of an event become the model's inputs.
    pub features: FeaturesSpec,
    /// The reported metrics.
    pub metrics: PrequentialSpec,
    /// Which updates are refused, and when the model is rolled back.
    pub guard: GuardSpec,
    /// A memory of past events that are learned from again, against forgetting; off by default.
    pub replay: Option<ReplaySpec>,
    /// Keeps the weights near those from before the stream, against forgetting; off by default.
    pub anchor: Option<AnchorSpec>,
    /// Keeps the model able to learn on long streams; off by default.
    pub plasticity: Option<PlasticitySpec>,
    /// Drift detection, and what is done about drift.
    pub drift: DriftSpec,
    /// Seconds between checkpoints; 10 by default.
    pub checkpoint_seconds: f64,
    /// Also write a checkpoint every this many events; off by default.
    pub checkpoint_events: Option<u64>,
    /// Memory for events that wait to be learned from, in bytes; 1 MiB by default.
    pub queue_bytes: usize,
    /// What happens when `queue_bytes` is full. With `block` and `spill` each event is learned from
    /// exactly once.
    pub when_full: WhenFull,
    /// What happens when more than 100 of the last 1,000 records cannot be read or learned from.
    /// Each of them is in `dead-letter.jsonl`, and is counted, in either case. Default: `stop` for files, folders and standard
    /// input; `continue` for other streams, where whoever sends bad records must not end learning from good ones.
    pub on_bad: Option<OnBad>,
    /// With `when_full = "spill"`: disk space for waiting events, in bytes; 1 GiB by default.
    pub spill_bytes: u64,
}

/// What happens when more events wait than fit into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The source waits, and with it the sender.
    #[default]
    Block,
    /// The oldest waiting events are dropped and counted.
    DropOldest,
    /// A decreasing share of the new events is accepted; the others are counted.
    Sample,
    /// Events that do not fit are stored in `spill/` in the run's folder, up to
    /// `online.spill_bytes`; then the source waits.
    Spill,
}

/// What happens when many records are bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBad {
    /// Learning stops with a checkpoint and an error.
    Stop,
    /// They are set aside and counted, however many there are.
    Continue,
}

impl Default for OnlineSpec {
    fn default() -> Self {
        Self {
            batch_size: 1,
            max_batch: None,
            max_delay_ms: 0.0,
            learning_rate: None,
            normalized_rate: None,
            classes: None,
            scale_targets: true,
            linear: None,
            labels: None,
            corrections: CorrectionsSpec::default(),
            features: FeaturesSpec::default(),
            metrics: PrequentialSpec::default(),
            guard: GuardSpec::default(),
            replay: None,
            anchor: None,
            plasticity: None,
            drift: DriftSpec::default(),
            checkpoint_seconds: 10.0,
            checkpoint_events: None,
            queue_bytes: 1 << 20,
            when_full: WhenFull::Block,
            on_bad: None,
            spill_bytes: 1 << 30,
        }
    }
}

impl OnlineSpec {
    /// The most events of a step.
    pub fn most(&self) -> usize {
        self.max_batch.unwrap_or(self.batch_size)
    }

    /// Its keys against forgetting and the loss of plasticity.
    pub fn continual(&self) -> ContinualSpec {
        let (replay, anchor) = (self.replay.clone(), self.anchor.clone());
        ContinualSpec { replay, anchor, plasticity: self.plasticity.clone() }
    }

    /// What decides the weights after a given stream.
    pub fn deciding(&self) -> impl std::fmt::Debug {
        let batch = (self.batch_size, self.max_batch, self.learning_rate, self.normalized_rate);
        let data = (&self.classes, self.scale_targets, &self.linear, &self.features);
        let own = (self.continual(), &self.corrections);
        (batch, data, &self.guard, &self.drift, self.labels.as_ref(), own)
    }

    /// The first value that is invalid.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, what: String| Err((format!("online.{key}"), what));
        let positive = |key: &str, n: Option<u64>| match n {
            Some(0) => wrong(key, "must be a positive integer, found 0".into()),
            _ => Ok(()),
        };
        positive("batch_size", Some(self.batch_size as u64))?;
        positive("max_batch", self.max_batch.map(|n| n as u64))?;
        positive("checkpoint_events", self.checkpoint_events)?;
        if self.max_batch.is_some() && self.batch_size != 1 {
            let what = "and online.batch_size exclude each other; leave one out".into();
            return wrong("max_batch", what);
        }
        for (key, value) in
            [("max_delay_ms", self.max_delay_ms), ("checkpoint_seconds", self.checkpoint_seconds)]
        {
            if !(value.is_finite() && value >= 0.0) {
                return wrong(key, format!("must be a number of 0 or more, found {value}"));
            }
        }
        if let Some(rate) = self.learning_rate
            && !(rate.is_finite() && rate > 0.0)
        {
            return wrong("learning_rate", format!("must be above 0, found {rate}"));
        }
        if let Some(linear) = &self.linear {
            linear.check().map_err(|(key, what)| (format!("online.linear.{key}"), what))?;
            if self.learning_rate.is_some() {
                let what = "has no place beside online.linear: set online.linear.learning_rate";
                return wrong("learning_rate", what.into());
            }
            if self.most() > 1 {
                let key = if self.max_batch.is_some() { "max_batch" } else { "batch_size" };
                let what =
                    "must be 1 with online.linear, which learns event by event; leave it out";
                return wrong(key, what.into());
            }
        }
        if let Some(labels) = &self.labels {
            labels.check().map_err(|(key, what)| (format!("online.labels.{key}"), what))?;
            if self.max_batch.is_some() {
                let what = "has no place beside online.labels: steps are as long as labels come, \
                            in online.batch_size";
                return wrong("max_batch", what.into());
            }
        }
        self.corrections
            .check()
            .map_err(|(key, what)| (format!("online.corrections.{key}"), what))?;
        let continual = self.continual();
        if let (Some(_), false) = (&self.linear, continual.is_empty()) {
            let key = if self.replay.is_some() {
                "replay"
            } else if self.anchor.is_some() {
                "anchor"
            } else {
                "plasticity"
            };
            let what = "goes with a network; it has no place beside online.linear: leave it out";
            return wrong(key, what.into());
        }
        continual.check().map_err(|(key, what)| (format!("online.{key}"), what))?;
        self.drift
            .check(&self.guard)
            .map_err(|(key, what)| (format!("online.drift.{key}"), what))?;
        if self.queue_bytes < 1 << 10 {
            let what = format!("must be 1024 or more, found {}", self.queue_bytes);
            return wrong("queue_bytes", what);
        }
        if let Err((key, what)) = self.metrics.check() {
            return wrong(&format!("metrics.{key}"), what);
        }
        self.guard.check().map_err(|(key, what)| (format!("online.guard.{key}"), what))
    }
}
