//! A hashed linear model as the model of a stream.

use tidemill_engine::checkpoint::Checkpoint;
use tidemill_engine::engine::{State, StateTensor};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::page::number::bytes;
use tidemill_engine::prequential::{Prequential, Truth};

use super::{LinearLearner, LinearSums};
use crate::guard::Guard;
use crate::model::{Learned, Resources, StreamModel, Takes};
use crate::sample::{Inputs, Sample, Scale};
use crate::state::StreamState;

impl StreamModel for LinearLearner {
    fn takes(&self) -> Takes {
        Takes::Features
    }

    fn num_outputs(&self) -> usize {
        LinearLearner::num_outputs(self)
    }

    fn steps(&self) -> u64 {
        self.model().events()
    }

    /// Steps are of one event.
    fn start(&mut self, _len: usize) {
        LinearLearner::start(self);
    }

    /// Learns at once: an event costs less than it would to keep it.
    fn take(&mut self, _i: usize, sample: &Sample<'_>) -> Result<()> {
        let Inputs::Features(features) = sample.inputs else {
            return Err(Error::Usage(
                "a dataset has no hashed features: give online.linear a stream of records".into(),
            ));
        };
        if self.predicted.is_some() {
            self.predicted = Some(self.predict(features).to_vec());
        }
        if sample.truth != Truth::Unknown {
            if sample.scored {
                self.set_scored();
            }
            self.learn(features, sample.truth, sample.weight, sample.scale);
        }
        Ok(())
    }

    fn leave_out(&mut self, _i: usize) {}

    fn step(&mut self) -> Result<Learned> {
        Ok(self.last())
    }

    fn freeze(&mut self) {
        LinearLearner::freeze(self);
    }

    fn keep_predictions(&mut self) {
        self.predicted = Some(Vec::new());
    }

    fn predicted(&self, _i: usize) -> &[f32] {
        self.predicted.as_deref().unwrap_or_default()
    }

    fn predict_logits(&mut self, inputs: Inputs<'_>, logits: &mut Vec<f32>) -> Result<()> {
        let Inputs::Features(features) = inputs else {
            return Err(Error::Run("a linear model takes features; please report it".into()));
        };
        let start = logits.len();
        logits.resize(start + LinearLearner::num_outputs(self), 0.0);
        self.model().margins(features, &mut logits[start..]);
        Ok(())
    }

    fn score_earlier(
        &mut self,
        logits: &[f32],
        truth: Truth<'_>,
        weight: f32,
        scale: Option<Scale>,
    ) {
        self.score_margins(logits, truth, weight, scale);
    }

    fn prequential(&self) -> &Prequential {
        LinearLearner::prequential(self)
    }

    fn guard(&self) -> &Guard {
        LinearLearner::guard(self)
    }

    fn load(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let sums = StreamState::of(&checkpoint.meta)?.and_then(|s| s.linear);
        let restored = match sums {
            Some(sums) => self.model_mut().restore(&checkpoint.tensors, sums),
            None => Err("it is no hashed linear model".into()),
        };
        restored.map_err(|what| checkpoint.misfit(&what))
    }

    fn restore(&mut self, state: &StreamState, _tensors: &[StateTensor]) -> Result<()> {
        LinearLearner::restore(self, state.prequential.clone(), state.guard.clone());
        Ok(())
    }

    fn sums(&self) -> Option<LinearSums> {
        Some(self.model().sums())
    }

    fn copy_state(&self, to: &mut State) {
        *to = State::from_tensors(self.model().tensors());
    }

    fn own_tensors(&self) -> Vec<StateTensor> {
        self.model().tensors()
    }

    fn resources(&self) -> Resources {
        let (spec, size) = (self.model().spec(), self.model().bytes() as u64);
        let classes = LinearLearner::num_outputs(self);
        let each =
            if classes > 1 { format!(" for each of {classes} classes") } else { String::new() };
        let plan = format!(
            "hashed linear model: 2^{} rows of 16 bytes{each} ({})\nrule {:?}, learning rate {}",
            spec.bits,
            bytes(size),
            spec.rule,
            spec.learning_rate
        );
        Resources { arena_bytes: size, threads: 1, num_parameters: classes << spec.bits, plan }
    }
}
