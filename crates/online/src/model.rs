//! What learns from a stream: a compiled network, or a hashed linear model.

mod build;

use std::sync::Arc;

use tidemill_engine::checkpoint::Checkpoint;
use tidemill_engine::engine::{State, StateTensor};
use tidemill_engine::error::Result;
use tidemill_engine::fields::Signature;
use tidemill_engine::prequential::{Prequential, Truth};
use tidemill_recipe::stream::features::{Encoder, FreedRow};

pub(crate) use build::build_linear;
pub use build::{build, build_network};

use crate::drift::{Drift, DriftState};
use crate::guard::{Guard, Verdict};
use crate::linear::LinearSums;
use crate::sample::{Inputs, Sample, Scale};
use crate::state::StreamState;
use crate::tuning::InputLength;

/// What a model takes of an event.
#[derive(Clone, Debug)]
pub enum Takes {
    /// A row of fields.
    Fields(Arc<Signature>),
    /// Hashed features.
    Features,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learned {
    /// Whether the update was applied, and if not, why.
    pub verdict: Verdict,
    /// Whether the last good state came back.
    pub rolled_back: bool,
}

/// What a step works with, for the summary and the report.
#[derive(Clone, Debug)]
pub struct Resources {
    /// Bytes of what a step works on.
    pub arena_bytes: u64,
    /// Threads of a step.
    pub threads: usize,
    /// Numbers that are learned.
    pub num_parameters: usize,
    /// How a step is taken.
    pub plan: String,
}

/// A model that learns event by event: each is scored with the weights from before it was learned
/// from, and an update that the guard refuses changes nothing.
pub trait StreamModel {
    /// What it takes of an event.
    fn takes(&self) -> Takes;

    /// Values of a prediction.
    fn num_outputs(&self) -> usize;

    /// Steps learned, over all streams and batches.
    fn steps(&self) -> u64;

    /// Begins a step of `len` events.
    fn start(&mut self, len: usize);

    /// Makes a sample event `i` of the step.
    ///
    /// # Errors
    /// If it does not fit the model.
    fn take(&mut self, i: usize, sample: &Sample<'_>) -> Result<()>;

    /// Event `i` of the step counts for nothing, since it is bad.
    fn leave_out(&mut self, i: usize);

    /// Scores the events of the step and learns from them, unless the guard refuses.
    ///
    /// # Errors
    /// If the step cannot be compiled.
    fn step(&mut self) -> Result<Learned>;

    /// From here on events are scored, and nothing is learned from them.
    fn freeze(&mut self);

    /// An event was encoded: these rows of embedding tables belong to other ids from here on, and `encoder` has the
    /// numbers of its columns. Called once for each event, whenever its label comes.
    fn see(&mut self, _freed: &[FreedRow], _encoder: Option<&Encoder>) {}

    /// From here on [`StreamModel::predicted`] gives what was predicted, also for events without
    /// labels.
    fn keep_predictions(&mut self);

    /// What was predicted for event `i` of the last step before it was learned from: probabilities of
    /// classes, or values as they are scaled.
    fn predicted(&self, i: usize) -> &[f32];

    /// Appends the logits of an event whose label comes later.
    ///
    /// # Errors
    /// If the inputs do not fit the model.
    fn predict_logits(&mut self, inputs: Inputs<'_>, logits: &mut Vec<f32>) -> Result<()>;

    /// Scores an event by the logits that were predicted when it came.
    fn score_earlier(
        &mut self,
        logits: &[f32],
        truth: Truth<'_>,
        weight: f32,
        scale: Option<Scale>,
    );

    /// The prequential figures.
    fn prequential(&self) -> &Prequential;

    /// The guard.
    fn guard(&self) -> &Guard;

    /// The watch for drift, where there is one.
    fn drift(&self) -> Option<&Drift> {
        None
    }

    /// The watch for drift, where there is one.
    fn drift_mut(&mut self) -> Option<&mut Drift> {
        None
    }

    /// Takes over the weights of a checkpoint.
    ///
    /// # Errors
    /// If it is one of another model.
    fn load(&mut self, checkpoint: &Checkpoint) -> Result<()>;

    /// Whether it needs [`StreamModel::anchor`] before the first step.
    fn wants_anchor(&self) -> bool {
        false
    }

    /// Anchors to the weights as they are now; `next` gives samples of what was learned before to
    /// its argument, until it says false.
    ///
    /// # Errors
    /// Those of `next`.
    fn anchor(&mut self, _next: &mut NextSample<'_>) -> Result<()> {
        Ok(())
    }

    /// Takes over what a checkpoint of the same stream holds beside the weights.
    ///
    /// # Errors
    /// If the state of a challenger does not fit.
    fn restore(&mut self, state: &StreamState, tensors: &[StateTensor]) -> Result<()>;

    /// What the learning rate is set by, if it is.
    fn input_length(&self) -> Option<InputLength> {
        None
    }

    /// Takes that over from another stream.
    fn restore_input_length(&mut self, _seen: Option<InputLength>) {}

    /// The watch for drift, for a checkpoint.
    fn drift_state(&self) -> Option<DriftState> {
        None
    }

    /// What a linear model has beside its tensors, for a checkpoint.
    fn sums(&self) -> Option<LinearSums> {
        None
    }

    /// Copies the state over another one, into its memory where that fits.
    fn copy_state(&self, to: &mut State);

    /// The groups of tensors that a checkpoint shares: the state to roll back to, and what works
    /// against forgetting.
    fn shared_states(&self) -> Vec<Arc<State>> {
        Vec::new()
    }

    /// The tensors that make the fingerprint of the weights.
    fn own_tensors(&self) -> Vec<StateTensor>;

    /// What a step works with.
    fn resources(&self) -> Resources;
}

/// Gives the next sample to its argument; false if there is none.
pub type NextSample<'a> = dyn FnMut(&mut dyn FnMut(&Sample<'_>) -> Result<()>) -> Result<bool> + 'a;
