//! Losses that rise all at once: the weights of some steps before come back, and the batch is left out.

use tidemill_engine::checkpoint::{Checkpoint, SpikeState};
use tidemill_engine::engine::{Engine, State, StateTensor};
use tidemill_engine::error::Result;
use tidemill_recipe::{Spikes, TrainingSpec};

/// What the names of the tensors to roll back to start with in a checkpoint.
const GROUP: &str = "good/";

/// The watch over the losses of a run.
pub(crate) struct Watch {
    spec: Spikes,
    at: SpikeState,
    /// The state after step `at.good`.
    good: State,
}

/// What the watch says of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing is wrong.
    Good,
    /// The model was rolled back; what people should know.
    RolledBack(String),
    /// It was rolled back too often; why the run ends.
    TooOften(String),
}

impl Watch {
    /// The watch that a recipe wants.
    pub(crate) fn of(
        spec: &TrainingSpec,
        engine: &Engine,
        step: u64,
        resumed: Option<&Checkpoint>,
    ) -> Result<Option<Watch>> {
        let spikes = spec.spikes.clone();
        spikes.map(|spikes| Watch::new(spikes, engine, step, resumed)).transpose()
    }

    /// Of a run as it starts, or as it was at a checkpoint after `step` steps of batch training. One that had no watch begins one.
    fn new(
        spec: Spikes,
        engine: &Engine,
        step: u64,
        resumed: Option<&Checkpoint>,
    ) -> Result<Watch> {
        let mut watch = Watch {
            spec,
            at: SpikeState { good: step, ..SpikeState::default() },
            good: engine.state(),
        };
        let Some((kept, checkpoint)) = resumed.and_then(|c| Some((c.meta.spikes.clone()?, c)))
        else {
            return Ok(watch);
        };
        for tensor in watch.good.tensors_mut() {
            let name = format!("{GROUP}{}", tensor.name);
            let found =
                checkpoint.tensors.iter().find(|t| t.name == name && t.shape == tensor.shape);
            let Some(found) = found else {
                // Of a parameter that was frozen then.
                if checkpoint.tensors.iter().all(|t| t.name != tensor.name) {
                    continue;
                }
                return Err(checkpoint.misfit(&format!("the tensor {name} is missing")));
            };
            tensor.values = found.values.clone();
        }
        watch.at = kept;
        Ok(watch)
    }

    /// Takes in the loss of a step, counted from 1, whose update the engine has made.
    pub(crate) fn step(&mut self, engine: &mut Engine, step: u64, loss: f32) -> Result<Verdict> {
        let loss = f64::from(loss);
        if !self.is_spike(loss) {
            self.add(loss);
            if step.is_multiple_of(self.spec.every) {
                engine.copy_state(&mut self.good);
                (self.at.good, self.at.since) = (step, 0);
            }
            return Ok(Verdict::Good);
        }
        let (back, lost) = (self.at.good, step - self.at.good);
        let usual = match self.at.count {
            0 => String::new(),
            _ => format!(" (before it {:.4} on average)", self.at.mean),
        };
        if self.at.since >= self.spec.most {
            let most = self.spec.most;
            return Ok(Verdict::TooOften(format!(
                "the loss is {loss:.4} at step {step}{usual}, after it was rolled back to step {back} {most} times \
                 (training.spikes.most); help: lower the learning rate, clip gradients \
                 (training.optimizer's global_clip_norm), or look at the data"
            )));
        }
        engine.set_state(self.good.tensors())?;
        self.at.since += 1;
        self.at.rollbacks += 1;
        self.at.steps_lost += lost;
        Ok(Verdict::RolledBack(format!(
            "training.spikes: the loss is {loss:.4} at step {step}{usual}: the weights of step {back} are back, so that \
             what was learned in the last {lost} steps is gone, and training continues after this batch"
        )))
    }

    fn is_spike(&self, loss: f64) -> bool {
        let known = self.at.count >= self.spec.window;
        // A deviation of 0, as of losses that are all the same, must not make any change a spike.
        let deviation = self.at.variance.max(0.0).sqrt().max(1e-6 * self.at.mean.abs()).max(1e-12);
        !loss.is_finite() || (known && loss > self.at.mean + self.spec.deviations * deviation)
    }

    /// Exponential averages whose first values are plain ones.
    fn add(&mut self, loss: f64) {
        let at = &mut self.at;
        at.count += 1;
        let share = 1.0 / at.count.min(self.spec.window) as f64;
        let apart = loss - at.mean;
        at.mean += share * apart;
        at.variance = (1.0 - share) * (at.variance + share * apart * apart);
    }

    /// What a checkpoint holds of it.
    pub(crate) fn state(&self) -> SpikeState {
        self.at.clone()
    }

    /// The tensors to roll back to, for a checkpoint.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = StateTensor> + '_ {
        self.good.tensors().iter().map(|tensor| StateTensor {
            name: format!("{GROUP}{}", tensor.name),
            parameter: false,
            ..tensor.clone()
        })
    }
}
