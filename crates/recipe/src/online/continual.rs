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

/// `online.replay`: a memory of events; some of them go into each step beside the new ones (Rolnick
/// et al. 2019, "Experience replay for continual learning").
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplaySpec {
    /// Events that the memory holds.
    pub capacity: usize,
    /// Which events it holds.
    #[serde(default)]
    pub policy: ReplayPolicy,
    /// Events out of the memory in each step; 10 by default.
    #[serde(default = "ten")]
    pub per_step: usize,
}

/// Which events a full memory holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayPolicy {
    /// Each event so far with the same probability (Vitter 1985, algorithm R).
    #[default]
    Reservoir,
    /// The same within each class, and of each class as many as of any other, as far as there are
    /// so many (Chrysakis and Moens 2020, "Online continual learning from imbalanced data").
    ClassBalanced,
}

/// `online.anchor`: a pull towards the weights from before the stream.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnchorSpec {
    /// The same for all weights: the strength of `strength / 2 * |w - w0|^2` beside the loss.
    L2(f64),
    /// For each weight as much as it matters to what was learned in batches.
    Ewc(EwcSpec),
}

/// `online.anchor.ewc`: elastic weight consolidation (Kirkpatrick et al. 2017).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EwcSpec {
    /// Strength of `lambda / 2 * F (w - w0)^2` beside the loss.
    pub lambda: f64,
    /// Samples of the batch data from which the diagonal `F` of the Fisher information is
    /// estimated, as the mean square of their gradients; 2000 by default.
    #[serde(default = "two_thousand")]
    pub samples: usize,
}

/// `online.plasticity`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlasticitySpec {
    /// Hidden units of little use are drawn anew, now and then one.
    ContinualBackprop(ContinualBackpropSpec),
    /// All weights shrink a little and move a little towards fresh ones.
    ShrinkAndPerturb(ShrinkAndPerturbSpec),
}

/// `online.plasticity.continual_backprop` (Dohare et al. 2024, "Loss of plasticity in deep continual
/// learning").
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContinualBackpropSpec {
    /// The share of a layer's mature units that is replaced in a step; 1e-4 by default.
    pub replacement_rate: f64,
    /// Steps for which a new unit is safe; 100 by default.
    pub maturity: u32,
    /// How slowly the running mean of a unit's utility fades; 0.99 by default.
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
    /// Steps between; 1000 by default.
    pub every: u64,
    /// What is left of a weight; 0.995 by default.
    pub shrink: f64,
    /// How much of a fresh weight is added; 0.01 by default.
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

/// The key under `online` that makes no sense, and why.
pub type Wrong = (String, String);

impl ContinualSpec {
    /// Whether there is anything to do.
    pub fn is_empty(&self) -> bool {
        *self == ContinualSpec::default()
    }

    /// The first value that makes no sense.
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
            && Task::of(engine.loss) == Task::Values
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
        if let Some(PlasticitySpec::ContinualBackprop(_)) = &self.plasticity {
            let key = "plasticity.continual_backprop";
            if engine.model.hidden_layers().is_empty() {
                let what = "needs hidden units: a dense layer that another dense layer reads, with \
                            at most activations between; take shrink_and_perturb";
                return Err((key.into(), what.into()));
            }
            if engine.model.hedged_depth.is_some() {
                let what = "does not go with hedged_depth, where every hidden layer has an output; take \
                            shrink_and_perturb";
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
