//! Events with their labels, given to the model.

use tidemill_engine::error::{Error, Result};
use tidemill_engine::fields::Batch;

use super::Join;
use super::arrived::{Arrived, Ready};
use crate::input::Input;
use crate::model::{StreamModel, Takes};
use crate::sample::{Inputs, Sample};

impl Join {
    /// Makes the next event that is ready event `i` of the model's step.
    pub(crate) fn take_ready(
        &mut self,
        model: &mut dyn StreamModel,
        input: &mut Input,
        i: usize,
    ) -> Result<()> {
        self.score_left_out(model)?;
        let Some((ready, arrived)) = self.next_ready()? else { return Ok(()) };
        self.to_learn -= 1;
        let counts = input.counts_mut();
        counts.unlabelled -= counts.unlabelled.min(1);
        let scored = self.score(model, &arrived, &ready);
        let inputs = match &arrived {
            Arrived { fields, .. } if !fields.is_empty() => {
                put(fields, &mut self.one, model)?;
                Inputs::Fields(&self.one, 0)
            }
            Arrived { row, features, .. } if features.is_empty() && !row.is_empty() => {
                Inputs::Row(row)
            }
            Arrived { features, .. } => Inputs::Features(features),
        };
        let truth = ready.truth();
        let weight = arrived.weight * input.encoding.class_weight(truth);
        let (sample, scale) = (Sample::new(inputs, truth), arrived.scale(ready.target));
        model.take(i, &Sample { weight, scale, scored, ..sample })
    }

    fn next_ready(&mut self) -> Result<Option<(Ready, Arrived)>> {
        let Some(mut ready) = self.ready.pop_front() else { return Ok(None) };
        let arrived = read(&self.store.fetch(ready.take_place())?)?;
        Ok(Some((ready, arrived)))
    }

    /// Scores an event by its prediction of then, unless that is the present one: the step scores
    /// it in that case.
    fn score(&self, model: &mut dyn StreamModel, arrived: &Arrived, ready: &Ready) -> bool {
        let Arrived { logits, weight, .. } = arrived;
        let present = arrived.steps == self.steps && self.spec.shift() == 0.0;
        if logits.is_empty() || present {
            return false;
        }
        if *weight > 0.0 {
            let scale = arrived.scale(ready.target);
            model.score_earlier(logits, ready.truth(), *weight, scale);
        }
        true
    }

    /// Scores the negatives that are next and are not learned from.
    pub(crate) fn score_left_out(&mut self, model: &mut dyn StreamModel) -> Result<()> {
        while self.ready.front().is_some_and(|r| !r.learn) {
            let Some((ready, arrived)) = self.next_ready()? else { break };
            self.score(model, &arrived, &ready);
        }
        Ok(())
    }

    /// A step was learned, or refused.
    pub(crate) fn count_step(&mut self) {
        self.steps += 1;
    }
}

/// Makes `one` the event of these bits, as the model takes it.
fn put(fields: &[Vec<u32>], one: &mut Batch, model: &dyn StreamModel) -> Result<()> {
    if let Takes::Fields(signature) = model.takes() {
        one.restart(&signature);
    }
    one.resize(1);
    let fits = one.signature().inputs().len() == fields.len();
    let columns = one.columns.iter_mut().zip(fields);
    if fits && columns.fold(true, |fits, (column, bits)| column.set_bits(0, bits) && fits) {
        return Ok(());
    }
    Err(damaged())
}

fn read(bytes: &[u8]) -> Result<Arrived> {
    Arrived::read(bytes).ok_or_else(damaged)
}

fn damaged() -> Error {
    Error::Run("an event that waited for its label is damaged".into())
}
