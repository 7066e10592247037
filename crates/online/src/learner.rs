//! The compiled step of a stream: predict, score, learn.
//!
//! # Layout
//!
//! - [`Learner`]: the step
//! - `scorer`: what sees its outputs before the update; `experts`: those of the parts of a mixture
//! - `saved`: the state to roll back to; `stream`: the learner as the model of a stream

mod experts;
mod saved;
mod scorer;
mod stream;

use std::sync::Arc;

use tidemill_engine::engine::{Engine, EngineError, EngineSpec, State};
use tidemill_engine::error::Result;
use tidemill_engine::fields::{Batch, DType, Row};
use tidemill_engine::graph::SlotType;
use tidemill_engine::metrics::{Figures, Task};
use tidemill_engine::nn::ScheduleSpec;
use tidemill_engine::prequential::{Prequential, PrequentialSpec, Truth};

pub use scorer::Scored;

use crate::continual::{Continual, Fisher};
use crate::drift::{Answer, Drift};
use crate::guard::{Guard, Verdict};
use crate::model::Learned;
use crate::sample::Scale;
use crate::state::mark_good;
use crate::tuning::{InputLength, num_values};
use crate::{ContinualSpec, DriftSpec, GuardSpec};
use experts::Experts;
use scorer::Scorer;

/// A model that learns event by event. Each labelled event is scored with the weights from before
/// it was learned from; an update that the guard refuses changes nothing.
///
/// ```
/// use tidemill_engine::nn::{Activation, LossSpec, Model, OptimizerSpec};
/// use tidemill_engine::engine::EngineSpec;
/// use tidemill_online::Learner;
/// use tidemill_engine::prequential::Truth;
///
/// let model = Model::features(2).dense(8, Activation::Relu).dense(2, Activation::Linear);
/// let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
/// let optimizer = OptimizerSpec::sgd(0.1);
/// let spec = EngineSpec { batch_size: 1, seed: 1, threads: Some(1), ..EngineSpec::new(model, loss, optimizer) };
/// let mut learner = Learner::new(spec)?;
/// for i in 0..1000 {
///     let x = [(i % 7) as f32 - 3.0, (i % 5) as f32 - 2.0];
///     let class = usize::from(x[0] + x[1] > 0.0);
///     learner.learn(&x, Truth::Class(class))?;
/// }
/// assert!(learner.figures()["sliding.accuracy"] > 0.9);
/// assert!(learner.predict(&[3.0, 2.0])?[1] > 0.5);
/// # Ok::<(), tidemill_engine::Error>(())
/// ```
pub struct Learner {
    engine: Engine,
    schedule: ScheduleSpec,
    /// In place of the schedule.
    learning_rate: Option<f64>,
    /// Lowers the rate for long inputs.
    input_length: Option<InputLength>,
    /// How many inputs of an event are numbers.
    num_values: usize,
    scorer: Scorer,
    batch: Batch,
    /// One event that is only asked about.
    asked: Batch,
    /// The last state that was good, to roll back to, under marked names; checkpoints share it.
    good: Option<Arc<State>>,
    /// Watches for drift.
    drift: Option<Drift>,
    /// Scores without learning.
    frozen: bool,
    /// Replay, anchor, plasticity.
    continual: Continual,
}

impl Learner {
    /// Compiles a model to learn from a stream.
    ///
    /// # Errors
    /// Says which layer does not fit its input.
    pub fn new(mut spec: EngineSpec) -> Result<Learner> {
        spec.optimizer = spec.optimizer.with_f32_slots();
        Self::with(Engine::compile(spec)?, PrequentialSpec::default(), GuardSpec::default())
    }

    /// Goes on with a compiled model, such as one that was trained in batches.
    ///
    /// # Errors
    /// If a step of one event cannot be compiled, or if the optimizer's slots are not of f32.
    pub fn with(engine: Engine, metrics: PrequentialSpec, guard: GuardSpec) -> Result<Learner> {
        if engine.spec().optimizer.slots() != SlotType::F32 {
            let what = "the optimizer's slots must be f32 to learn from a stream; \
                        help: compile the engine with OptimizerSpec::with_f32_slots";
            return Err(EngineError(what.into()).into());
        }
        let (loss, num_outputs) = (&engine.spec().loss, engine.num_outputs());
        let task = Task::of(loss);
        let scorer = Scorer {
            link: loss.link(),
            num_outputs,
            stride: num_outputs,
            prequential: Prequential::new(task, num_outputs, metrics),
            guard: Guard::new(guard, task, num_outputs),
            probabilities: Vec::new(),
            raw: None,
            scales: Vec::new(),
            scored: Vec::new(),
            experts: Experts::of(&engine.spec().model),
        };
        let schedule = engine.spec().optimizer.schedule().clone();
        let good = Some(Arc::new(mark_good(engine.state())));
        let batch = Batch::new(engine.signature().clone());
        let mut asked = Batch::new(Arc::new(engine.signature().without_truth()));
        asked.resize(1);
        let num_values = num_values(&engine.spec().model);
        Ok(Learner {
            engine,
            schedule,
            learning_rate: None,
            input_length: None,
            num_values,
            scorer,
            batch,
            asked,
            good,
            drift: None,
            frozen: false,
            continual: Continual::default(),
        })
    }

    /// Learns with replay, an anchor to the weights as they are now, or upkeep of plasticity. An
    /// anchor of EWC also wants [`Learner::anchor`].
    ///
    /// # Errors
    /// If a number is invalid or does not fit the model.
    pub fn set_continual(&mut self, spec: &ContinualSpec) -> Result<()> {
        self.continual = Continual::new(spec, &mut self.engine)?;
        self.keep_as_good();
        Ok(())
    }

    /// Anchors to the weights as they are now. With EWC, `fill` puts one sample of what was learned
    /// before into row 0 of the learner, by [`Learner::row`] and [`Learner::set`]; false ends them
    /// early.
    ///
    /// # Errors
    /// Those of `fill`, and if a step of one sample cannot be compiled.
    pub fn anchor(&mut self, fill: &mut dyn FnMut(&mut Learner) -> Result<bool>) -> Result<()> {
        let samples = self.continual.anchor_samples();
        let mut fisher = (samples > 0).then(|| Fisher::new(&self.engine)).transpose()?;
        for _ in 0..samples {
            self.start(1);
            if !fill(self)? {
                break;
            }
            if let (Some(fisher), true) = (&mut fisher, self.batch.weights[0] != 0.0) {
                fisher.add(&self.batch)?;
            }
        }
        self.continual.anchor(&self.engine, fisher);
        self.keep_as_good();
        Ok(())
    }

    /// Learns at this rate instead of the optimizer's own.
    pub fn set_learning_rate(&mut self, rate: f64) {
        self.learning_rate = Some(rate);
    }

    /// Lowers the learning rate where inputs are long, see [`super::tuning`].
    pub fn normalize_rate(&mut self) {
        self.input_length = Some(InputLength::default());
    }

    /// Watches the errors for drift from here on, and answers it as `spec` says.
    ///
    /// # Errors
    /// If a parameter of the detector is invalid.
    pub fn watch_drift(&mut self, spec: DriftSpec) -> Result<()> {
        self.drift = Some(Drift::new(spec, &self.engine)?);
        Ok(())
    }

    /// The watch for drift.
    pub fn drift(&self) -> Option<&Drift> {
        self.drift.as_ref()
    }

    /// The watch for drift.
    pub fn drift_mut(&mut self) -> Option<&mut Drift> {
        self.drift.as_mut()
    }

    /// Events are only scored from here on: what a model that does not learn would have done.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// Probabilities of the classes (or values) for one event, without learning.
    ///
    /// # Errors
    /// If `x` does not have as many values as the model has inputs.
    pub fn predict(&mut self, x: &[f32]) -> Result<&[f32]> {
        one_event(&mut self.asked, x)?;
        Ok(self.engine.predict(&self.asked)?)
    }

    /// The same for samples of several fields, or of sequences: `fill` fills the event's inputs.
    ///
    /// # Errors
    /// Those of `fill`, and if the model cannot be compiled for it.
    pub fn predict_row(&mut self, fill: impl FnOnce(&mut Row<'_>) -> Result<()>) -> Result<&[f32]> {
        self.asked.resize(1);
        fill(&mut self.asked.row_mut(0))?;
        self.asked.pad();
        Ok(self.engine.predict(&self.asked)?)
    }

    /// Scores one event and learns from it.
    ///
    /// # Errors
    /// If `x` or `truth` does not fit the model.
    pub fn learn(&mut self, x: &[f32], truth: Truth<'_>) -> Result<Learned> {
        self.start(1);
        one_event(&mut self.batch, x)?;
        self.set(0, truth, 1.0)?;
        self.step()
    }

    /// Begins a step of `len` events; each is given by [`Learner::row`] and [`Learner::set`], or
    /// left out by [`Learner::leave_out`].
    pub fn start(&mut self, len: usize) {
        self.scorer.start(len);
        self.batch.resize(len);
    }

    /// The inputs of event `i` where they are one field of floats, to be filled.
    pub fn row(&mut self, i: usize) -> &mut [f32] {
        self.batch.x_mut(i)
    }

    /// All fields of event `i`, to be filled; its truth by [`Learner::set`].
    pub fn fields(&mut self, i: usize) -> Row<'_> {
        self.batch.row_mut(i)
    }

    /// Sets what is true of event `i` and how much it counts.
    ///
    /// # Errors
    /// For a class or a number of values that the model has no outputs for.
    pub fn set(&mut self, i: usize, truth: Truth<'_>, weight: f32) -> Result<()> {
        let n = self.scorer.num_outputs;
        let wrong = |what: String| Err(EngineError(what).into());
        let field = self.batch.signature().truth();
        let (dense, by_position) = match field {
            Some(field) => (field.dtype == DType::F32, field.time().is_some()),
            None => return wrong("the model's loss compares with nothing".into()),
        };
        let mut row = self.batch.row_mut(i);
        row.set_weight(weight);
        let fits = match truth {
            Truth::Class(class) if dense && (class < n || (n == 1 && class < 2)) => {
                row.targets().map(|targets| {
                    let values = targets.iter_mut().enumerate();
                    values.for_each(|(o, value)| *value = truth.target(o, n));
                })
            }
            Truth::Class(class) if !dense && !by_position && class < n => {
                row.set_class(class as u32)
            }
            Truth::Class(_) if by_position => {
                return wrong("the loss needs a class for each position, found one".into());
            }
            Truth::Class(class) => {
                return wrong(format!("class {class} is outside of the model's {n} outputs"));
            }
            Truth::Values(values) if dense && values.len() == n => {
                row.targets().map(|targets| targets.copy_from_slice(values))
            }
            Truth::Values(values) => {
                let what = if dense { format!("{n} targets") } else { "a class".into() };
                return wrong(format!("the loss needs {what}, found {} values", values.len()));
            }
            Truth::Classes(classes) if by_position => row.set_classes(classes).map(|_| ()),
            Truth::Classes(classes) => {
                return wrong(format!("the loss needs one class, found {}", classes.len()));
            }
            Truth::Unknown => {
                row.set_weight(0.0);
                row.forget_truth();
                Ok(())
            }
        };
        fits.map_err(|e| EngineError(e.to_string()).into())
    }

    /// Event `i` is scored in the units that its target came in.
    pub fn set_scale(&mut self, i: usize, scale: Scale) {
        self.scorer.scales[i] = Some(scale);
    }

    /// The first event of the step as it was given.
    pub fn given(&self) -> (&Batch, Option<Scale>) {
        (&self.batch, self.scorer.scales.first().copied().flatten())
    }

    /// Event `i` counts for nothing, since it is bad.
    pub fn leave_out(&mut self, i: usize) {
        self.batch.row_mut(i).skip();
    }

    /// Event `i` is not learned from, since its label is not known.
    pub fn unlabelled(&mut self, i: usize) {
        let mut row = self.batch.row_mut(i);
        row.set_weight(0.0);
        row.forget_truth();
    }

    /// Scores the events of the step, then learns from them, unless the guard refuses.
    ///
    /// # Errors
    /// If the step cannot be compiled.
    pub fn step(&mut self) -> Result<Learned> {
        let learned = self.score_and_learn()?;
        let Some(drift) = &mut self.drift else { return Ok(learned) };
        if self.frozen {
            drift.only_log();
        } else {
            let applied = learned.verdict == Verdict::Apply;
            match drift.answer(&mut self.engine, &self.batch, applied)? {
                Answer::Nothing => {}
                // The state to roll back to would be that of the model that has lost.
                Answer::TookOver => self.keep_as_good(),
                Answer::RollBack => self.roll_back()?,
            }
        }
        Ok(learned)
    }

    fn score_and_learn(&mut self) -> Result<Learned> {
        let applied = Learned { verdict: Verdict::Apply, rolled_back: false };
        let counts_for_nothing = self.batch.weights.iter().all(|&w| w == 0.0);
        if counts_for_nothing && self.scorer.raw.is_none() {
            return Ok(applied);
        }
        self.batch.pad();
        if counts_for_nothing {
            // Nothing is scored; what was predicted is wanted.
            let outputs = self.engine.evaluate(&self.batch)?;
            self.scorer.predict(&self.batch, outputs.logits);
            return Ok(applied);
        }
        let mut rate = self.rate();
        let (scorer, batch, drift) = (&mut self.scorer, &self.batch, &mut self.drift);
        if let Some(drift) = drift {
            rate = drift.rate(rate);
        }
        if self.frozen {
            let outputs = self.engine.evaluate(batch)?;
            scorer.score(batch, batch.len, outputs.losses, outputs.logits);
            if let Some(drift) = drift {
                drift.see(batch, batch.len, outputs.losses, outputs.logits);
            }
            return Ok(applied);
        }
        let rate = rate as f32;
        let events = batch.len;
        self.continual.extend(&mut self.batch, self.engine.step())?;
        let (batch, mut verdict) = (&self.batch, Verdict::Apply);
        let run = self.engine.train_if(batch, rate, &mut |outputs| {
            verdict = scorer.score(batch, events, outputs.losses, outputs.logits);
            if let Some(drift) = drift {
                drift.see(batch, events, outputs.losses, outputs.logits);
            }
            verdict == Verdict::Apply
        });
        self.continual.take_off(&mut self.batch, events);
        let taken = run?;
        self.scorer.see_experts(&self.engine, &self.batch, taken);
        if verdict == Verdict::Apply {
            self.continual.learned(&mut self.engine, &self.batch, rate)?;
            if self.scorer.guard.is_good() {
                self.keep_as_good();
            }
            return Ok(applied);
        }
        let rolled_back = self.scorer.guard.wants_rollback() && self.is_wrong()?;
        if rolled_back {
            self.scorer.guard.start_over();
            self.roll_back()?;
        }
        Ok(Learned { verdict, rolled_back })
    }

    /// The learning rate of the step, which sees the inputs first.
    fn rate(&mut self) -> f64 {
        let rate = self.learning_rate.unwrap_or_else(|| self.schedule.at(self.engine.step()));
        let Some(length) = &mut self.input_length else {
            return rate;
        };
        let width = (self.batch.x().len() / self.batch.len.max(1)).max(1);
        let rows = self.batch.x().chunks_exact(width);
        for (x, &weight) in rows.zip(&self.batch.weights) {
            if weight > 0.0 {
                length.add(&x[..self.num_values]);
            }
        }
        rate * length.factor()
    }

    /// An event of the last step, as it was predicted before it.
    pub fn scored(&self, i: usize) -> Scored<'_> {
        let n = self.scorer.stride;
        Scored { outputs: &self.scorer.probabilities[i * n..(i + 1) * n] }
    }

    /// What was measured so far; see [`Prequential::figures`].
    pub fn figures(&self) -> Figures {
        self.scorer.prequential.figures()
    }

    /// The prequential figures.
    pub fn prequential(&self) -> &Prequential {
        &self.scorer.prequential
    }

    /// The guard.
    pub fn guard(&self) -> &Guard {
        &self.scorer.guard
    }

    /// The compiled model.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The compiled model.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }
}

/// Makes `x` the first sample of a batch whose inputs are one field of floats.
pub(super) fn one_event(batch: &mut Batch, x: &[f32]) -> Result<()> {
    let row = batch.x_mut(0);
    if x.len() != row.len() {
        let width = row.len();
        return Err(EngineError(format!("an event has {width} values, found {}", x.len())).into());
    }
    row.copy_from_slice(x);
    Ok(())
}
