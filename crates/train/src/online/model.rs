//! What learns from a stream: a compiled network, or a hashed linear model.

use std::sync::Arc;

use super::guard::Guard;
use super::learner::{Learned, Learner};
use super::linear::{LinearLearner, LinearSums};
use crate::engine::{State, StateTensor};
use crate::error::Result;
use crate::metrics::Figures;
use crate::prequential::Prequential;
use crate::run::plan_in_short;

/// The model of a stream's driver.
#[allow(clippy::large_enum_variant)] // There is one of it.
pub enum Model {
    /// Layers, compiled.
    Network(Learner),
    /// A hashed linear model.
    Linear(LinearLearner),
}

impl Model {
    /// Begins a step of `len` events; a linear model takes steps of one.
    pub fn start(&mut self, len: usize) {
        match self {
            Model::Network(learner) => learner.start(len),
            Model::Linear(learner) => learner.start(),
        }
    }

    /// Learns from the events of the step; a linear model has done so when it was given the event.
    ///
    /// # Errors
    /// If the step cannot be compiled.
    pub fn step(&mut self) -> Result<Learned> {
        match self {
            Model::Network(learner) => learner.step(),
            Model::Linear(learner) => Ok(learner.last()),
        }
    }

    /// Steps learned, over all streams and batches.
    pub fn steps(&self) -> u64 {
        match self {
            Model::Network(learner) => learner.engine().step(),
            Model::Linear(learner) => learner.model().events(),
        }
    }

    /// Values of a prediction.
    pub fn num_outputs(&self) -> usize {
        match self {
            Model::Network(learner) => learner.engine().num_outputs(),
            Model::Linear(_) => 1,
        }
    }

    /// Copies the state over another one, into its memory where that fits.
    pub fn copy_state(&self, to: &mut State) {
        match self {
            Model::Network(learner) => learner.engine().copy_state(to),
            Model::Linear(learner) => *to = State::from_tensors(learner.model().tensors()),
        }
    }

    /// The state to roll back to, for a checkpoint.
    pub(crate) fn good(&self) -> Option<Arc<State>> {
        match self {
            Model::Network(learner) => learner.good(),
            Model::Linear(_) => None,
        }
    }

    /// The tensors that make the fingerprint of the weights.
    pub fn own_tensors(&self) -> Vec<StateTensor> {
        match self {
            Model::Network(learner) => learner.engine().state().into_tensors(),
            Model::Linear(learner) => learner.model().tensors(),
        }
    }

    /// What a linear model has beside its tensors.
    pub fn sums(&self) -> Option<LinearSums> {
        match self {
            Model::Network(_) => None,
            Model::Linear(learner) => Some(learner.model().sums()),
        }
    }

    /// The prequential figures.
    pub fn prequential(&self) -> &Prequential {
        match self {
            Model::Network(learner) => learner.prequential(),
            Model::Linear(learner) => learner.prequential(),
        }
    }

    /// What was measured so far.
    pub fn figures(&self) -> Figures {
        self.prequential().figures()
    }

    /// The guard.
    pub fn guard(&self) -> &Guard {
        match self {
            Model::Network(learner) => learner.guard(),
            Model::Linear(learner) => learner.guard(),
        }
    }

    /// Bytes of what a step works on.
    pub fn arena_bytes(&self) -> u64 {
        match self {
            Model::Network(learner) => learner.engine().arena_bytes() as u64,
            Model::Linear(learner) => learner.model().bytes() as u64,
        }
    }

    /// Threads of a step.
    pub fn threads(&self) -> usize {
        match self {
            Model::Network(learner) => learner.engine().threads(),
            Model::Linear(_) => 1,
        }
    }

    /// Numbers that are learned.
    pub fn num_parameters(&self) -> usize {
        match self {
            Model::Network(learner) => learner.engine().num_parameters(),
            Model::Linear(learner) => 1 << learner.model().spec().bits,
        }
    }

    /// How a step is taken, for the report.
    pub fn in_short(&self) -> String {
        match self {
            Model::Network(learner) => plan_in_short(learner.engine()),
            Model::Linear(learner) => {
                let (spec, bytes) = (learner.model().spec(), learner.model().bytes());
                format!(
                    "hashed linear model: 2^{} rows of 16 bytes ({:.1} MB)\nrule {:?}, learning rate {}",
                    spec.bits,
                    bytes as f64 / 1e6,
                    spec.rule,
                    spec.learning_rate
                )
            }
        }
    }
}
