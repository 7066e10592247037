//! Training in batches: the one loop over the steps, for recipes and for the library.

use tidemill_data::{Loader, Shards};

use crate::engine::{Engine, State, Totals};
use crate::error::{Error, Result};
use crate::metrics::{CustomMeter, Figures, Meter, Task};
use crate::parallel::{Computed, Remake, Workers, shards};

/// An engine that is being trained on a loader's batches.
pub struct Training<'a> {
    /// The model with its weights.
    pub engine: &'a mut Engine,
    /// The learning rate of the next step. It is the optimizer's own again before each step, for
    /// [`Callback::before_step`] to change.
    pub learning_rate: f64,
    /// The built-in figures of the epoch under way, of each shard of the batches.
    meters: Vec<Meter>,
    custom: CustomMeter,
    loader: Loader,
    /// The other workers, if there are some, and what makes loaders of shards.
    workers: Option<(Workers, Remake<'a>)>,
    /// What is measured of each shard of one batch.
    measured: Vec<Meter>,
    notices: Vec<String>,
    /// Steps of an epoch and those that are made of it, where epochs are not passes over the data.
    rounds: Option<(u64, u64)>,
}

/// A step that was made.
#[derive(Clone, Debug)]
pub struct Step {
    /// The mean loss of its batch before the update.
    pub loss: f32,
    /// Where the loss is not finite: what may be the cause, and what to do. The update was made, so that
    /// weights may not be finite either.
    pub why_not_finite: Option<String>,
    /// Its learning rate.
    pub learning_rate: f64,
    /// Samples that it learned from.
    pub samples: u64,
    /// The loader's position after it.
    pub position: u64,
    /// Whether the epoch ends with it.
    pub last_in_epoch: bool,
}

/// Whether training continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// With the next step.
    Continue,
    /// It ends here.
    Stop,
}

/// What happens around the steps: schedules, stops, checkpoints, logs. Each method does nothing by
/// default. An error of one ends the training with that error.
pub trait Callback {
    /// Before each step. It may set [`Training::learning_rate`], or change weights.
    ///
    /// # Errors
    /// Its own.
    fn before_step(&mut self, _training: &mut Training<'_>) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    /// After each step, also if its loss is not finite.
    ///
    /// # Errors
    /// Its own.
    fn after_step(&mut self, _training: &mut Training<'_>, _step: &Step) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    /// After the last step of each epoch, after [`Callback::after_step`]. The epoch's figures are in
    /// [`Training::figures`] until it returns.
    ///
    /// # Errors
    /// Its own.
    fn after_epoch(&mut self, _training: &mut Training<'_>, _step: &Step) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    /// When a batch cannot be read or does not fit; gives the error with which training ends.
    fn on_error(&mut self, _training: &mut Training<'_>, error: Error) -> Error {
        error
    }
}

impl<'a> Training<'a> {
    /// Of `engine` on the batches of `loader`, measured by `meters`: one for each shard of a batch
    /// ([`Engine::shards`]).
    pub fn new(engine: &'a mut Engine, loader: Loader, mut meters: Vec<Meter>) -> Training<'a> {
        let custom = CustomMeter::of(engine);
        if let (Some(first), true) = (meters.first(), meters.len() < engine.shards()) {
            let mut empty = first.clone();
            empty.reset();
            meters.resize(engine.shards(), empty);
        }
        let mut measured = meters.clone();
        measured.iter_mut().for_each(Meter::reset);
        let (learning_rate, workers, notices) = (0.0, None, Vec::new());
        let rounds = None;
        Training {
            engine,
            learning_rate,
            meters,
            custom,
            loader,
            workers,
            measured,
            notices,
            rounds,
        }
    }

    /// With other workers, if there are some, which compute the shards that the loader does not give; `remake` makes the loader
    /// of others when a worker is lost. This worker is number 0.
    pub fn with(self, workers: Option<Workers>, remake: Remake<'a>) -> Training<'a> {
        Training { workers: workers.map(|workers| (workers, remake)), ..self }
    }

    /// With epochs of so many steps, of which `made` are made of the one under way, in place of passes over the data.
    pub fn with_epochs_of(self, steps: u64, made: u64) -> Training<'a> {
        Training { rounds: Some((steps.max(1), made)), ..self }
    }

    /// Trains until the loader has no more batches or a callback stops it. Callbacks are called in their
    /// order, all of them, also if one of them stops the training.
    ///
    /// # Errors
    /// For a batch that cannot be read or does not fit the model, an id beyond a vocabulary, a target that
    /// the loss is not defined for, and those of the callbacks.
    pub fn run(&mut self, callbacks: &mut [&mut dyn Callback]) -> Result<()> {
        loop {
            let schedule = self.engine.spec().optimizer.schedule();
            self.learning_rate = schedule.at(self.engine.step());
            if all(callbacks, |c| c.before_step(self))? == Flow::Stop {
                return Ok(());
            }
            let mut step = match self.step() {
                Ok(Some(step)) => step,
                Ok(None) => return Ok(()),
                Err(error) => {
                    let why = error.to_string();
                    // Which may need what the other workers keep.
                    let error = callbacks.iter_mut().fold(error, |e, c| c.on_error(self, e));
                    if let Some((workers, _)) = &mut self.workers {
                        workers.end(&why);
                    }
                    return Err(error);
                }
            };
            if let Some((steps, made)) = &mut self.rounds {
                *made = (*made + 1) % *steps;
                step.last_in_epoch = *made == 0;
            }
            let mut flow = all(callbacks, |c| c.after_step(self, &step))?;
            if step.last_in_epoch {
                if all(callbacks, |c| c.after_epoch(self, &step))? == Flow::Stop {
                    flow = Flow::Stop;
                }
                self.start_epoch();
            }
            if flow == Flow::Stop {
                return Ok(());
            }
        }
    }

    /// Learns from the next batch. None where there is none.
    fn step(&mut self) -> Result<Option<Step>> {
        if self.engine.shards() > 1 {
            return self.sharded_step();
        }
        let Some((batch, ahead)) = self.loader.next_and_ahead()? else { return Ok(None) };
        self.engine.check(batch)?;
        let rate = self.learning_rate;
        let loss = self.engine.train_beside(batch, rate as f32, &|| ahead.piece())?.loss;
        drop(ahead);
        let outputs = self.engine.outputs();
        // A step without a loss, which is taken back or ends the run, is in no mean.
        if loss.is_finite() {
            if let Some(meter) = self.meters.first_mut() {
                meter.add(outputs.losses, outputs.logits, batch);
            }
            self.custom.add(self.engine, &batch.weights);
        }
        Ok(Some(Step {
            loss,
            why_not_finite: (!loss.is_finite()).then(|| self.engine.why_not_finite(batch)),
            learning_rate: rate,
            samples: (batch.len - batch.num_skipped) as u64,
            position: batch.next_position,
            last_in_epoch: batch.last_in_epoch,
        }))
    }

    /// The same, shard by shard, with other workers where there are some.
    fn sharded_step(&mut self) -> Result<Option<Step>> {
        let Some(position) = self.loader.position() else { return Ok(None) };
        let computed = loop {
            match self.compute(position) {
                Ok(computed) => break computed,
                Err(error) => {
                    let Some((workers, remake)) = &mut self.workers else { return Err(error) };
                    self.notices.push(workers.go_on(self.engine, error)?);
                    self.loader = remake(workers.own(), position)?;
                }
            }
        };
        let Some((computed, measured)) = computed else { return Ok(None) };
        let rate = self.learning_rate;
        let Totals { loss, samples } = self.engine.update(rate as f32)?;
        if let Some((workers, _)) = &mut self.workers {
            let done = workers.exchange_weights(self.engine);
            done.or_else(|error| workers.go_on(self.engine, error).map(drop))?;
        }
        if loss.is_finite() {
            self.meters.iter_mut().zip(&measured).for_each(|(meter, step)| meter.merge(step));
        }
        let unknown = || "help: lower the learning rate, or clip gradients".to_owned();
        Ok(Some(Step {
            loss,
            why_not_finite: (!loss.is_finite())
                .then(|| computed.why_not_finite.unwrap_or_else(unknown)),
            learning_rate: rate,
            samples,
            position: computed.position,
            last_in_epoch: computed.last_in_epoch,
        }))
    }

    /// The sums of all shards of the batch at `position`, with what was measured of each shard.
    fn compute(&mut self, position: u64) -> Result<Option<(Computed, Vec<Meter>)>> {
        let step = self.engine.step();
        let own = match &mut self.workers {
            Some((workers, _)) => {
                workers.begin(step, position, self.learning_rate as f32)?;
                workers.own()
            }
            None => Shards::all(self.engine.shards()),
        };
        let measured = &mut self.measured[..own.own.len()];
        let Some(computed) = shards(self.engine, &mut self.loader, &own, measured)? else {
            return Ok(None);
        };
        let all = match &mut self.workers {
            Some((workers, _)) => workers.exchange(self.engine, measured)?,
            None => measured.to_vec(),
        };
        Ok(Some((computed, all)))
    }

    /// A copy of the whole state, also of what other workers keep of it.
    ///
    /// # Errors
    /// If a worker that keeps some of it is lost.
    pub fn state(&mut self) -> Result<State> {
        if let Some((workers, _)) = &mut self.workers {
            workers.gather(self.engine)?;
        }
        Ok(self.engine.state())
    }

    /// Gives the model as it is here to the other workers, after a callback has changed it.
    ///
    /// # Errors
    /// If a worker is lost.
    pub fn share_state(&mut self) -> Result<()> {
        match &mut self.workers {
            Some((workers, _)) => workers.share_state(self.engine),
            None => Ok(()),
        }
    }

    /// What happened to the workers since this was asked last, for people.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// What is measured of the epoch under way.
    pub fn meter(&self) -> Meter {
        Meter::merged(&self.meters).unwrap_or_else(|| Meter::new(Task::Classes, 0, &[]))
    }

    /// What is measured of the epoch under way, shard by shard.
    pub fn meters(&self) -> &[Meter] {
        &self.meters
    }

    /// Figures of the epoch under way by name: `loss`, `accuracy`, ...; each batch is measured before its
    /// step.
    pub fn figures(&self) -> Figures {
        let mut figures = self.meter().figures();
        self.custom.extend(&mut figures);
        figures
    }

    /// Forgets the figures of the epoch under way.
    pub fn start_epoch(&mut self) {
        self.meters.iter_mut().for_each(Meter::reset);
        self.custom.reset();
    }
}

/// Calls all; the flow stops if one of them says so.
fn all(
    callbacks: &mut [&mut dyn Callback],
    mut call: impl FnMut(&mut dyn Callback) -> Result<Flow>,
) -> Result<Flow> {
    let mut flow = Flow::Continue;
    for callback in callbacks {
        if call(*callback)? == Flow::Stop {
            flow = Flow::Stop;
        }
    }
    Ok(flow)
}
