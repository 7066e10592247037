//! Events with their labels, given to the model.

use super::Join;
use super::arrived::Arrived;
use super::loss::loss_of;
use crate::feed::Counts;
use crate::model::Model;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::prequential::Truth;

impl Join {
    /// Puts the next event that is ready into row `i` of the step.
    pub(crate) fn give(&mut self, model: &mut Model, counts: &mut Counts, i: usize) -> Result<()> {
        self.settle(model)?;
        let Some(mut ready) = self.ready.pop_front() else { return Ok(()) };
        self.to_learn -= 1;
        counts.unlabelled -= counts.unlabelled.min(1);
        let arrived = read(&self.store.fetch(ready.take_place())?)?;
        let mut value = [0.0];
        let truth = ready.truth(&mut value);
        let scale = arrived.scale(ready.target);
        let scored = self.score(model, &arrived, truth, ready.target);
        match model {
            Model::Network(learner) => {
                let row = learner.row(i);
                if row.len() != arrived.row.len() {
                    return Err(Error::Run(format!(
                        "an event that waited for its label has {} inputs, and the model {}",
                        arrived.row.len(),
                        row.len()
                    )));
                }
                row.copy_from_slice(&arrived.row);
                learner.set(i, truth, arrived.weight)?;
                if let Some(scale) = scale {
                    learner.set_scale(i, scale);
                }
                if scored {
                    learner.set_scored(i);
                }
            }
            Model::Linear(learner) => {
                if scored {
                    learner.set_scored();
                }
                learner.learn(&arrived.features, truth, arrived.weight, scale);
            }
        }
        Ok(())
    }

    /// Scores an event by its prediction of then, unless that is the present one: the step scores
    /// it in that case.
    fn score(
        &self,
        model: &mut Model,
        arrived: &Arrived,
        truth: Truth<'_>,
        target: Option<f64>,
    ) -> bool {
        let Arrived { logits, weight, .. } = arrived;
        let present = arrived.steps == self.steps && self.spec.shift() == 0.0;
        if logits.is_empty() || present {
            return false;
        }
        if *weight > 0.0 {
            let scale = arrived.scale(target);
            match model {
                Model::Network(learner) => {
                    let loss = loss_of(learner.engine().spec().loss, logits, truth);
                    learner.score_earlier(logits, truth, loss, *weight, scale);
                }
                Model::Linear(learner) => learner.score_earlier(logits[0], truth, *weight, scale),
            }
        }
        true
    }

    /// Scores the negatives that are next and are not learned from.
    pub(crate) fn settle(&mut self, model: &mut Model) -> Result<()> {
        while self.ready.front().is_some_and(|r| !r.learn) {
            let Some(mut ready) = self.ready.pop_front() else { break };
            let arrived = read(&self.store.fetch(ready.take_place())?)?;
            self.score(model, &arrived, ready.truth(&mut [0.0]), ready.target);
        }
        Ok(())
    }

    /// A step was learned, or refused.
    pub(crate) fn stepped(&mut self) {
        self.steps += 1;
    }
}

fn read(bytes: &[u8]) -> Result<Arrived> {
    Arrived::read(bytes)
        .ok_or_else(|| Error::Run("an event that waited for its label is damaged".into()))
}
