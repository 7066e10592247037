//! The weights for readers: an immutable snapshot, exchanged as a whole.
//!
//! A reader that is predicting keeps the snapshot it has; the next prediction takes the newest. So
//! a prediction is never made with weights of two versions, and readers never wait for learning.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tidemill_engine::data::Batch;
use tidemill_recipe::stream::Position;

use super::learner::{Learner, one_event};
use tidemill_engine::engine::{Engine, EngineSpec, State};
use tidemill_engine::error::Result;

/// The state of a model at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Steps learned.
    pub version: u64,
    /// Where the last event learned from ends in its stream.
    pub position: Position,
    state: State,
}

/// Where a learner puts its newest snapshot.
#[derive(Clone, Debug)]
pub struct Publisher {
    newest: Arc<ArcSwap<Snapshot>>,
    spec: EngineSpec,
}

/// A model for predictions only, which follows a learner.
pub struct Follower {
    newest: Arc<ArcSwap<Snapshot>>,
    engine: Engine,
    /// The snapshot that the engine holds.
    held: Arc<Snapshot>,
    batch: Batch,
}

/// A prediction, and with which weights it was made.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Probabilities of the classes, or values.
    pub outputs: &'a [f32],
    /// Steps that the model had learned.
    pub version: u64,
    /// Where the last event that it had learned from ends.
    pub position: &'a Position,
}

impl Publisher {
    /// A publisher of `learner`'s weights as they are.
    pub fn new(learner: &Learner, position: &Position) -> Publisher {
        let snapshot = snapshot(learner, position);
        let mut spec = learner.engine().spec().clone();
        spec.batch_size = 1;
        spec.threads = Some(1);
        Publisher { newest: Arc::new(ArcSwap::from_pointee(snapshot)), spec }
    }

    /// Puts the weights as they are now in the place of the ones before.
    pub fn publish(&self, learner: &Learner, position: &Position) {
        self.newest.store(Arc::new(snapshot(learner, position)));
    }

    /// A model that follows; each thread that predicts has one of its own.
    ///
    /// # Errors
    /// If the model cannot be compiled.
    pub fn follower(&self) -> Result<Follower> {
        let mut engine = Engine::compile(self.spec.clone())?;
        let held = self.newest.load_full();
        engine.set_state(held.state.tensors())?;
        let newest = self.newest.clone();
        let mut batch = Batch::new(Arc::new(engine.signature().without_truth()));
        batch.resize(1);
        Ok(Follower { newest, engine, held, batch })
    }
}

fn snapshot(learner: &Learner, position: &Position) -> Snapshot {
    let engine = learner.engine();
    Snapshot { version: engine.step(), position: position.clone(), state: engine.state() }
}

impl Follower {
    /// Predicts one event with the newest weights.
    ///
    /// # Errors
    /// If `x` does not have as many values as the model has inputs.
    pub fn predict(&mut self, x: &[f32]) -> Result<Answer<'_>> {
        let newest = self.newest.load();
        if !Arc::ptr_eq(&newest, &self.held) {
            self.held = newest.clone();
            self.engine.set_state(self.held.state.tensors())?;
        }
        one_event(&mut self.batch, x)?;
        let outputs = self.engine.predict(&self.batch)?;
        Ok(Answer { outputs, version: self.held.version, position: &self.held.position })
    }
}
