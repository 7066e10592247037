//! A learner as the model of a stream.

use std::sync::Arc;

use tidemill_engine::checkpoint::Checkpoint;
use tidemill_engine::engine::{EngineError, State, StateTensor};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::prequential::{Prequential, Truth};
use tidemill_recipe::stream::features::{Encoder, FreedRow};

use super::Learner;
use crate::drift::challenger::take_challenger;
use crate::drift::{Drift, DriftState};
use crate::guard::Guard;
use crate::model::{Learned, NextSample, Resources, StreamModel, Takes};
use crate::sample::{Inputs, Sample, Scale};
use crate::state::{StreamState, split};
use crate::tuning::InputLength;

impl StreamModel for Learner {
    fn takes(&self) -> Takes {
        Takes::Fields(self.asked.signature().clone())
    }

    fn num_outputs(&self) -> usize {
        self.engine.num_outputs()
    }

    fn steps(&self) -> u64 {
        self.engine.step()
    }

    fn start(&mut self, len: usize) {
        Learner::start(self, len);
    }

    fn take(&mut self, i: usize, sample: &Sample<'_>) -> Result<()> {
        self.see(&sample.freed, sample.encoder);
        for row in &sample.freed {
            self.leave_row(i, row);
        }
        match sample.inputs {
            Inputs::Row(x) => {
                let row = self.batch.x_mut(i);
                if row.len() != x.len() {
                    return Err(Error::Run(format!(
                        "an event has {} inputs, and the model {}",
                        x.len(),
                        row.len()
                    )));
                }
                row.copy_from_slice(x);
            }
            Inputs::Fields(batch, from) => {
                let copied = self.batch.copy_inputs(i, batch, from);
                copied.map_err(|e| EngineError(e.to_string()))?;
            }
            Inputs::Features(_) => {
                return Err(Error::Run("a network takes no features; please report it".into()));
            }
        }
        match sample.truth {
            Truth::Unknown => self.unlabelled(i),
            truth => self.set(i, truth, sample.weight)?,
        }
        if let Some(scale) = sample.scale {
            self.set_scale(i, scale);
        }
        self.scorer.scored[i] = sample.scored;
        Ok(())
    }

    fn leave_out(&mut self, i: usize) {
        Learner::leave_out(self, i);
    }

    fn step(&mut self) -> Result<Learned> {
        Learner::step(self)
    }

    fn freeze(&mut self) {
        Learner::freeze(self);
    }

    fn keep_predictions(&mut self) {
        self.scorer.raw = Some(Vec::new());
    }

    fn predicted(&self, i: usize) -> &[f32] {
        let n = self.scorer.stride;
        self.scorer.raw.as_ref().and_then(|raw| raw.get(i * n..(i + 1) * n)).unwrap_or_default()
    }

    fn see(&mut self, freed: &[FreedRow], encoder: Option<&Encoder>) {
        self.reset_rows(freed);
        if let (Some(drift), Some(encoder)) = (&mut self.drift, encoder) {
            let (names, values) = encoder.numbers();
            drift.see_columns(|| names.map(str::to_owned).collect(), values);
        }
    }

    fn predict_logits(&mut self, inputs: Inputs<'_>, logits: &mut Vec<f32>) -> Result<()> {
        match inputs {
            Inputs::Row(x) => self.predict(x)?,
            Inputs::Fields(batch, i) => {
                self.asked.resize(1);
                let copied = self.asked.copy_inputs(0, batch, i);
                copied.map_err(|e| EngineError(e.to_string()))?;
                self.asked.pad();
                self.engine.predict(&self.asked)?
            }
            Inputs::Features(_) => {
                return Err(Error::Run("a network takes no features; please report it".into()));
            }
        };
        logits.extend_from_slice(self.engine.outputs().logits);
        Ok(())
    }

    fn score_earlier(
        &mut self,
        logits: &[f32],
        truth: Truth<'_>,
        weight: f32,
        scale: Option<Scale>,
    ) {
        let loss = self.engine.spec().loss.of_sample(logits, truth);
        self.scorer.score_earlier(logits, truth, loss, weight, scale);
    }

    fn prequential(&self) -> &Prequential {
        Learner::prequential(self)
    }

    fn guard(&self) -> &Guard {
        Learner::guard(self)
    }

    fn drift(&self) -> Option<&Drift> {
        Learner::drift(self)
    }

    fn drift_mut(&mut self) -> Option<&mut Drift> {
        Learner::drift_mut(self)
    }

    fn load(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.load_into(&mut self.engine)?;
        // An anchor stays where it was, and the memory of one stream is of use on the next; what the
        // checkpoint lacks starts with the weights as they are now.
        let continual = split(checkpoint.tensors.clone()).continual;
        self.continual.anchor(&self.engine, None);
        if !continual.is_empty() {
            let restored = self.continual.restore(&continual);
            restored.map_err(|e| checkpoint.unusable(e))?;
        }
        self.keep_as_good();
        Ok(())
    }

    fn wants_anchor(&self) -> bool {
        self.continual.wants_anchor()
    }

    fn anchor(&mut self, next: &mut NextSample<'_>) -> Result<()> {
        Learner::anchor(self, &mut |learner| next(&mut |sample| learner.take(0, sample)))
    }

    fn restore(&mut self, state: &StreamState, tensors: &[StateTensor]) -> Result<()> {
        let mut tensors = tensors.to_vec();
        let challenger = take_challenger(&mut tensors);
        self.scorer.prequential = state.prequential.clone();
        self.scorer.guard = state.guard.clone();
        self.good = split(tensors).good.map(Arc::new);
        if let (Some(drift), Some(saved)) = (&mut self.drift, state.drift.clone()) {
            drift.restore(&mut self.engine, saved, &challenger)?;
        }
        Ok(())
    }

    fn input_length(&self) -> Option<InputLength> {
        self.input_length
    }

    fn restore_input_length(&mut self, seen: Option<InputLength>) {
        if let (Some(length), Some(seen)) = (&mut self.input_length, seen) {
            *length = seen;
        }
    }

    fn drift_state(&self) -> Option<DriftState> {
        self.drift.as_ref().map(|drift| drift.state(&self.engine))
    }

    fn copy_state(&self, to: &mut State) {
        self.engine.copy_state(to);
        if let Some(drift) = &self.drift {
            drift.append_challenger(to);
        }
    }

    fn shared_states(&self) -> Vec<Arc<State>> {
        let mut shared: Vec<Arc<State>> = self.good.iter().cloned().collect();
        let tensors = self.continual.tensors();
        if !tensors.is_empty() {
            shared.push(Arc::new(State::from_tensors(tensors)));
        }
        shared
    }

    fn own_tensors(&self) -> Vec<StateTensor> {
        self.engine.state().into_tensors()
    }

    fn resources(&self) -> Resources {
        Resources {
            arena_bytes: self.engine.arena_bytes() as u64,
            threads: self.engine.threads(),
            num_parameters: self.engine.num_parameters(),
            plan: self.engine.plan_in_short(),
        }
    }
}
