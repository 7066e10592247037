//! What a recipe says about forgetting and plasticity.

use serde::Deserialize;
use tidemill_engine::graph::Rule;

use tidemill_engine::engine::EngineSpec;
use tidemill_engine::metrics::Task;

/// `online.replay`, `online.anchor` and `online.plasticity`; all off by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContinualSpec {
    /// Events from before that are learned from again.
    pub replay: Option<ReplaySpec>,
    /// What holds the weights near those from before the stream.
    pub anchor: Option<AnchorSpec>,
    /// What keeps the model able to learn.
    pub plasticity: Option<PlasticitySpec>,
}

/// A memory of past events; each step learns from some of them beside the new ones (Rolnick et al.
/// 2019, "Experience replay for continual learning").
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplaySpec {
    /// Number of events in the memory.
    pub capacity: usize,
    /// Which events are kept.
    #[serde(default)]
    pub policy: ReplayPolicy,
    /// Number of remembered events per step; 10 by default.
    #[serde(default = "ten")]
    pub per_step: usize,
}

/// Which events a full memory keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayPolicy {
    /// A uniform random sample of all events so far (Vitter 1985, algorithm R).
    #[default]
    Reservoir,
    /// A uniform random sample of each class, with the same number of events for each class as far
    /// as there are enough (Chrysakis and Moens 2020, "Online continual learning from imbalanced
    /// data").
    ClassBalanced,
}

/// Keeps the weights near those from before the stream.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnchorSpec {
    /// The same strength for all weights: adds `strength / 2 * |w - w0|^2` to the loss.
    L2(f64),
    /// Elastic weight consolidation: each weight is held as strongly as it matters for the batch
    /// data.
    Ewc(EwcSpec),
}

/// Elastic weight consolidation (Kirkpatrick et al. 2017). The batch data of the recipe tells how
/// much each weight matters.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EwcSpec {
    /// Strength: adds `lambda / 2 * F * (w - w0)^2` to the loss.
    pub lambda: f64,
    /// Number of samples of the batch data from which `F`, the diagonal of the Fisher information,
    /// is estimated; 2000 by default.
    #[serde(default = "two_thousand")]
    pub samples: usize,
}

/// Keeps the model able to learn on long streams.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlasticitySpec {
    /// Replaces little-used hidden units by new ones, a few at a time (Dohare et al. 2024).
    ContinualBackprop(ContinualBackpropSpec),
    /// Shrinks all weights a little and adds a little of newly initialized ones (Ash and Adams
    /// 2020).
    ShrinkAndPerturb(ShrinkAndPerturbSpec),
}

/// `online.plasticity.continual_backprop` (Dohare et al. 2024, "Loss of plasticity in deep continual
/// learning").
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContinualBackpropSpec {
    /// Share of a layer's mature units that is replaced per step; 1e-4 by default.
    pub replacement_rate: f64,
    /// Number of steps during which a new unit is not replaced; 100 by default.
    pub maturity: u32,
    /// Decay of the running mean of a unit's utility; 0.99 by default.
    pub decay: f64,
}

impl Default for ContinualBackpropSpec {
    fn default() -> Self {
        Self { replacement_rate: 1e-4, maturity: 100, decay: 0.99 }
    }
}

/// `online.plasticity.shrink_and_perturb` (Ash and Adams 2020, "On warm-starting neural network
/// training"): `w = shrink w + perturb w'`, with `w'` drawn from the initializers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShrinkAndPerturbSpec {
    /// Number of steps between two changes; 1000 by default.
    pub every: u64,
    /// Factor by which weights shrink; 0.995 by default.
    pub shrink: f64,
    /// Share of a newly initialized weight that is added; 0.01 by default.
    pub perturb: f64,
}

impl Default for ShrinkAndPerturbSpec {
    fn default() -> Self {
        Self { every: 1000, shrink: 0.995, perturb: 0.01 }
    }
}

fn ten() -> usize {
    10
}

fn two_thousand() -> usize {
    2000
}

/// The key under `online` that is invalid, and why.
pub type Wrong = (String, String);

impl ContinualSpec {
    /// Whether there is anything to do.
    pub fn is_empty(&self) -> bool {
        *self == ContinualSpec::default()
    }

    /// The first value that is invalid.
    pub fn check(&self) -> Result<(), Wrong> {
        let whole = |key: &str, n: u64| match n {
            0 => Err((key.to_owned(), "must be a positive integer, found 0".to_owned())),
            _ => Ok(()),
        };
        let within = |key: &str, value: f64, most: f64| {
            if value.is_finite() && (0.0..=most).contains(&value) {
                return Ok(());
            }
            let bound =
                if most.is_finite() { format!("from 0 to {most}") } else { "of 0 or more".into() };
            Err((key.to_owned(), format!("must be a number {bound}, found {value}")))
        };
        if let Some(replay) = &self.replay {
            whole("replay.capacity", replay.capacity as u64)?;
            whole("replay.per_step", replay.per_step as u64)?;
        }
        match &self.anchor {
            Some(AnchorSpec::L2(strength)) => within("anchor.l2", *strength, f64::INFINITY)?,
            Some(AnchorSpec::Ewc(ewc)) => {
                within("anchor.ewc.lambda", ewc.lambda, f64::INFINITY)?;
                whole("anchor.ewc.samples", ewc.samples as u64)?;
            }
            None => {}
        }
        match &self.plasticity {
            Some(PlasticitySpec::ContinualBackprop(spec)) => {
                let key = "plasticity.continual_backprop";
                within(&format!("{key}.replacement_rate"), spec.replacement_rate, 1.0)?;
                within(&format!("{key}.decay"), spec.decay, 0.999_999)?;
            }
            Some(PlasticitySpec::ShrinkAndPerturb(spec)) => {
                let key = "plasticity.shrink_and_perturb";
                whole(&format!("{key}.every"), spec.every)?;
                within(&format!("{key}.shrink"), spec.shrink, 1.0)?;
                within(&format!("{key}.perturb"), spec.perturb, 1.0)?;
            }
            None => {}
        }
        if self.anchor.is_some() && self.plasticity.is_some() {
            let what = "and online.anchor work against each other: one brings weights back, the \
                        other makes new ones; leave one out";
            return Err(("plasticity".into(), what.into()));
        }
        Ok(())
    }

    /// What does not go with the model that learns.
    pub fn check_model(&self, engine: &EngineSpec) -> Result<(), Wrong> {
        if let Some(replay) = &self.replay
            && replay.policy == ReplayPolicy::ClassBalanced
            && !Task::of(&engine.loss).has_classes()
        {
            let what = "= \"class_balanced\" needs classes, and the loss has values; take \
                        \"reservoir\"";
            return Err(("replay.policy".into(), what.into()));
        }
        let ftrl = matches!(engine.optimizer.rule(), Rule::Ftrl { .. });
        for (key, given) in
            [("anchor", self.anchor.is_some()), ("plasticity", self.plasticity.is_some())]
        {
            if ftrl && given {
                let what = "does not go with ftrl, whose weights follow from its sums alone; take \
                            another optimizer";
                return Err((key.into(), what.into()));
            }
        }
        if let (Some(_), true) = (&self.replay, engine.model.remembers()) {
            let what = "has no place beside model.memory and model.last_label, which are of the last events: replayed \
                        ones would take their place";
            return Err(("replay".into(), what.into()));
        }
        if let Some(PlasticitySpec::ContinualBackprop(_)) = &self.plasticity {
            let key = "plasticity.continual_backprop";
            if engine.model.hidden_layers().is_empty() {
                let what = "needs hidden units: a dense layer that another dense layer reads, with \
                            at most activations between; take shrink_and_perturb";
                return Err((key.into(), what.into()));
            }
            if engine.model.mixes_outputs() {
                let what = "does not go with hedged_depth and hats.beside, where hidden layers have several \
                            outputs; take shrink_and_perturb";
                return Err((key.into(), what.into()));
            }
            if engine.model.trains_otherwise() {
                let what = "does not go with dropout and batch_norm; take shrink_and_perturb";
                return Err((key.into(), what.into()));
            }
        }
        Ok(())
    }
}
