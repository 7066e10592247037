//! Continual learning: what works against forgetting, and against the loss of plasticity.
//!
//! # Layout
//!
//! - `replay`: a memory of events, some of which go into each step
//! - `anchor`: a pull towards the weights from before the stream, even (L2) or by importance (EWC)
//! - `backprop`: units of little use are drawn again (continual backprop)
//! - `perturb`: all weights move a little towards fresh ones (shrink and perturb)
//! - `random`: draws by counter; `saved`: all of it in a checkpoint

mod anchor;
mod backprop;
mod perturb;
pub(crate) mod random;
mod replay;
pub(crate) mod saved;

use tidemill_engine::data::Batch;
use tidemill_engine::fields::DType;
use tidemill_engine::nn::OptimizerSpec;

use anchor::Anchor;
pub(crate) use anchor::Fisher;
use backprop::ContinualBackprop;
use perturb::perturb;
use replay::Replay;
pub(crate) use replay::numbers;
pub use tidemill_recipe::online::continual::{
    AnchorSpec, ContinualBackpropSpec, ContinualSpec, EwcSpec, PlasticitySpec, ReplayPolicy,
    ReplaySpec, ShrinkAndPerturbSpec,
};

use tidemill_engine::engine::{Engine, EngineError, StateTensor};

/// The optimizer that leaves a parameter's gradient in the parameter's change.
fn probe() -> OptimizerSpec {
    OptimizerSpec::sgd(1.0)
}

/// What a learner does beside the steps; nothing by default. All of it is a function of the seed
/// and of the events, and is stored in checkpoints and in the state to roll back to.
#[derive(Clone, Debug, Default)]
pub(super) struct Continual {
    replay: Option<Replay>,
    anchor: Option<Anchor>,
    plasticity: Option<Plasticity>,
}

#[derive(Clone, Debug)]
enum Plasticity {
    Backprop(ContinualBackprop),
    Perturb(ShrinkAndPerturbSpec),
}

impl Continual {
    pub(super) fn new(spec: &ContinualSpec, engine: &mut Engine) -> Result<Continual, EngineError> {
        let checked = spec.check().and_then(|()| spec.check_model(engine.spec()));
        checked.map_err(|(key, what)| EngineError(format!("online.{key} {what}")))?;
        let outputs = engine.num_outputs();
        let seed = engine.spec().seed;
        let replay = spec.replay.clone();
        let replay = replay.map(|spec| Replay::new(spec, seed, engine.signature(), outputs));
        let anchor = spec.anchor.clone().map(|spec| Anchor::new(spec, engine));
        let plasticity = spec.plasticity.as_ref().map(|spec| match spec {
            PlasticitySpec::ContinualBackprop(spec) => {
                Plasticity::Backprop(ContinualBackprop::new(spec, engine))
            }
            PlasticitySpec::ShrinkAndPerturb(spec) => Plasticity::Perturb(spec.clone()),
        });
        Ok(Continual { replay, anchor, plasticity })
    }

    /// Before a step: old events come beside the new ones.
    pub(super) fn extend(&mut self, batch: &mut Batch, step: u64) -> Result<(), EngineError> {
        if let Some(anchor) = &self.anchor
            && !anchor.is_ready()
        {
            let what = "online.anchor.ewc has no samples yet to estimate what matters from; \
                        help: call Learner::anchor before the first step";
            return Err(EngineError(what.into()));
        }
        if let Some(replay) = &mut self.replay {
            replay.extend(batch, step);
        }
        Ok(())
    }

    /// After a step, whether it was taken or refused: the first `events` rows are left.
    pub(super) fn take_off(&self, batch: &mut Batch, events: usize) {
        if let Some(replay) = &self.replay {
            replay.take_off(batch, events);
        }
    }

    /// After a step that was taken on these events.
    pub(super) fn learned(
        &mut self,
        engine: &mut Engine,
        batch: &Batch,
        rate: f32,
    ) -> Result<(), EngineError> {
        if let Some(replay) = &mut self.replay {
            replay.store(batch);
        }
        if let Some(anchor) = &self.anchor {
            anchor.pull(engine, rate);
        }
        match &mut self.plasticity {
            Some(Plasticity::Backprop(backprop)) => backprop.learned(engine),
            Some(Plasticity::Perturb(spec)) => perturb(spec, engine)?,
            None => {}
        }
        Ok(())
    }

    /// A row of a table belongs to another id from here on: events of the old one are forgotten.
    pub(super) fn reset_row(&mut self, engine: &Engine, table: usize, row: usize) {
        if let (Some(replay), Some(place)) = (&mut self.replay, place_of(engine, table)) {
            replay.forget(place, row as f32);
        }
        if let Some(anchor) = &mut self.anchor {
            anchor.reset_row(engine, table, row);
        }
    }

    /// The same in what was saved of it.
    pub(super) fn reset_row_in(
        &self,
        engine: &Engine,
        tensors: &mut [StateTensor],
        table: usize,
        row: usize,
    ) {
        if let (Some(replay), Some(place)) = (&self.replay, place_of(engine, table)) {
            replay.forget_in(tensors, place, row as f32);
        }
    }

    /// Samples that an anchor wants to see before the first step.
    pub(super) fn anchor_samples(&self) -> usize {
        self.anchor.as_ref().map_or(0, Anchor::samples)
    }

    /// Anchors to the weights as they are, with what the samples say of them.
    pub(super) fn anchor(&mut self, engine: &Engine, fisher: Option<Fisher>) {
        if let Some(anchor) = &mut self.anchor {
            *anchor = Anchor::new(anchor.spec().clone(), engine);
            anchor.set_fisher(fisher.map_or_else(Vec::new, Fisher::finish));
        }
    }

    /// Whether an anchor lacks what [`Continual::anchor`] gives it.
    pub(super) fn wants_anchor(&self) -> bool {
        self.anchor.as_ref().is_some_and(|anchor| !anchor.is_ready())
    }

    /// Whether a checkpoint has nothing to keep of it.
    pub(super) fn is_empty(&self) -> bool {
        let backprop = matches!(self.plasticity, Some(Plasticity::Backprop(_)));
        self.replay.is_none() && self.anchor.is_none() && !backprop
    }

    /// All that a checkpoint holds of it.
    pub(super) fn tensors(&self) -> Vec<StateTensor> {
        let mut tensors = Vec::new();
        tensors.extend(self.replay.iter().flat_map(Replay::tensors));
        tensors.extend(self.anchor.iter().flat_map(Anchor::tensors));
        if let Some(Plasticity::Backprop(backprop)) = &self.plasticity {
            tensors.extend(backprop.tensors());
        }
        tensors
    }

    /// Takes over what a checkpoint holds. What it lacks starts again, so that a run can be resumed with
    /// another recipe.
    ///
    /// # Errors
    /// If a tensor holds values of another type.
    pub(super) fn restore(&mut self, tensors: &[StateTensor]) -> Result<(), EngineError> {
        if let Some(replay) = &mut self.replay {
            replay.restore(tensors)?;
        }
        if let Some(anchor) = &mut self.anchor {
            anchor.restore(tensors)?;
        }
        if let Some(Plasticity::Backprop(backprop)) = &mut self.plasticity {
            backprop.restore(tensors)?;
        }
        Ok(())
    }
}

/// Where the numbers of an event have the row of an entity embedding's table.
pub(super) fn place_of(engine: &Engine, table: usize) -> Option<usize> {
    let tables = engine.spec().model.entity_embedding()?;
    let inputs = engine.signature().inputs();
    let width = inputs.iter().find(|field| field.dtype == DType::F32)?.inner();
    let before: usize = tables.tables().take(table).map(|(_, tokens)| tokens).sum();
    Some(width.checked_sub(tables.num_ids())? + before)
}
