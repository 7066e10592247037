//! The compiled step of a stream: predict, score, learn.

use std::sync::Arc;

use tidemill_engine::fields::{Batch, DType, Row};
use tidemill_engine::nn::{Link, ScheduleSpec};

use super::continual::{Continual, Fisher};
use super::drift::{Answer, Drift, DriftState};
use super::guard::{Guard, Verdict};
use super::state::{mark_good, split, unmark_good};
use super::tuning::{InputLength, num_values};
use super::{ContinualSpec, DriftSpec, GuardSpec};
use tidemill_engine::engine::{Engine, EngineError, EngineSpec, State, StateTensor};
use tidemill_engine::error::Result;
use tidemill_engine::metrics::{Figures, Task};
use tidemill_engine::prequential::{Prequential, PrequentialSpec, Truth};

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
/// let spec = EngineSpec { model, loss, optimizer, batch_size: 1, seed: 1, threads: Some(1) };
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
    /// The last state that was good, to come back to, under marked names; checkpoints share it.
    good: Option<Arc<State>>,
    /// Watches for drift.
    drift: Option<Drift>,
    /// Scores without learning.
    frozen: bool,
    /// Replay, anchor, plasticity.
    continual: Continual,
}

/// What sees the outputs of a step before the update.
struct Scorer {
    link: Link,
    num_outputs: usize,
    /// Outputs of one event: several rows of them where the model has one for each position.
    stride: usize,
    prequential: Prequential,
    guard: Guard,
    probabilities: Vec<f32>,
    /// For each event of the step whose target was scaled: how to undo that.
    scales: Vec<Option<Scale>>,
    /// Which events of the step were scored before, by a prediction of their arrival.
    scored: Vec<bool>,
}

/// How a target was scaled: `(target - mean) / deviation`.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Taken off the target.
    pub mean: f64,
    /// What the rest was divided by.
    pub deviation: f64,
    /// The target as it came.
    pub target: f64,
}

/// What came of one event of a step.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    /// Probabilities of the classes, or values, from before the step.
    pub outputs: &'a [f32],
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learned {
    /// Whether the update was applied, and if not, why.
    pub verdict: Verdict,
    /// Whether the last good state came back.
    pub rolled_back: bool,
}

impl Learner {
    /// Compiles a model to learn from a stream.
    ///
    /// # Errors
    /// Says which layer does not fit its input.
    pub fn new(spec: EngineSpec) -> Result<Learner> {
        Self::with(Engine::compile(spec)?, PrequentialSpec::default(), GuardSpec::default())
    }

    /// Goes on with a compiled model, such as one that was trained in batches.
    ///
    /// # Errors
    /// If a step of one event cannot be compiled.
    pub fn with(engine: Engine, metrics: PrequentialSpec, guard: GuardSpec) -> Result<Learner> {
        let (loss, num_outputs) = (engine.spec().loss, engine.num_outputs());
        let task = Task::of(loss);
        let scorer = Scorer {
            link: loss.link(),
            num_outputs,
            stride: num_outputs,
            prequential: Prequential::new(task, num_outputs, metrics),
            guard: Guard::new(guard, task, num_outputs),
            probabilities: Vec::new(),
            scales: Vec::new(),
            scored: Vec::new(),
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
    /// If a number makes no sense or does not go with the model.
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
    /// If a parameter of the detector makes no sense.
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

    /// The logits of one event, without learning.
    pub(crate) fn logits(&mut self, x: &[f32]) -> Result<&[f32]> {
        self.predict(x)?;
        Ok(self.engine.outputs().logits)
    }

    /// Scores an event by the logits that were predicted when it came; its loss is known already.
    pub(crate) fn score_earlier(
        &mut self,
        logits: &[f32],
        truth: Truth<'_>,
        loss: f32,
        weight: f32,
        scale: Option<Scale>,
    ) {
        let mut outputs = vec![0.0; logits.len()];
        self.scorer.link.probabilities(logits, &mut outputs);
        if let (Some(scale), [output]) = (scale, &mut outputs[..]) {
            *output = (f64::from(*output) * scale.deviation + scale.mean) as f32;
            let target = [scale.target as f32];
            self.scorer.prequential.add(&outputs, Truth::Values(&target), loss, weight);
            return;
        }
        self.scorer.prequential.add(&outputs, truth, loss, weight);
    }

    /// Event `i` of the step was scored before: it is only learned from.
    pub(crate) fn set_scored(&mut self, i: usize) {
        self.scorer.scored[i] = true;
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
        self.scorer.scales.clear();
        self.scorer.scales.resize(len, None);
        self.scorer.scored.clear();
        self.scorer.scored.resize(len, false);
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

    /// Event `i` becomes sample `from` of a batch, whose weight is 0 if it is to be left out.
    ///
    /// # Errors
    /// If its fields or its truth do not fit the model.
    pub fn take(&mut self, i: usize, batch: &Batch, from: usize) -> Result<()> {
        let weight = batch.weights.get(from).copied().unwrap_or(0.0);
        if weight == 0.0 {
            self.leave_out(i);
            return Ok(());
        }
        self.batch.copy_inputs(i, batch, from).map_err(|e| EngineError(e.to_string()))?;
        match batch.truth(from) {
            Truth::Unknown => self.unlabelled(i),
            truth => self.set(i, truth, weight)?,
        }
        Ok(())
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
            drift.only_tell();
        } else {
            let applied = learned.verdict == Verdict::Apply;
            match drift.answer(&mut self.engine, &self.batch, applied)? {
                Answer::Nothing => {}
                // The state to come back to would be that of the model that has lost.
                Answer::TookOver => self.keep_as_good(),
                Answer::RollBack => self.roll_back()?,
            }
        }
        Ok(learned)
    }

    fn score_and_learn(&mut self) -> Result<Learned> {
        let applied = Learned { verdict: Verdict::Apply, rolled_back: false };
        if self.batch.weights.iter().all(|&w| w == 0.0) {
            return Ok(applied);
        }
        self.batch.pad();
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
        run?;
        if verdict == Verdict::Apply {
            self.continual.learned(&mut self.engine, &self.batch, rate)?;
            if self.scorer.guard.is_good() {
                self.keep_as_good();
            }
            return Ok(applied);
        }
        let rolled_back = self.scorer.guard.wants_rollback();
        if rolled_back {
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

    /// All of the state now, under marked names.
    fn marked_state(&self) -> State {
        let mut tensors = self.engine.state().into_tensors();
        tensors.extend(self.continual.tensors());
        mark_good(State::from_tensors(tensors))
    }

    /// What replay, anchors and plasticity have, for a checkpoint; none without them.
    pub(crate) fn continual(&self) -> Option<Arc<State>> {
        let tensors = self.continual.tensors();
        (!tensors.is_empty()).then(|| Arc::new(State::from_tensors(tensors)))
    }

    /// Anchors to the weights as they are now, as far as that takes no samples.
    pub(crate) fn anchor_here(&mut self) {
        self.continual.anchor(&self.engine, None);
    }

    /// Takes over what a checkpoint has of that; what it lacks begins anew, with the weights as
    /// they are now.
    pub(crate) fn restore_continual(&mut self, tensors: &[StateTensor]) {
        self.anchor_here();
        self.continual.restore(tensors);
    }

    /// Whether an anchor needs [`Learner::anchor`] before the first step.
    pub(crate) fn wants_anchor(&self) -> bool {
        self.continual.wants_anchor()
    }

    /// What is now is what a rollback comes back to.
    pub(crate) fn keep_as_good(&mut self) {
        // Where no checkpoint that is being written shares the last one, its memory is used again.
        let last = self.good.as_mut().and_then(Arc::get_mut);
        let last = last.filter(|_| self.continual.is_empty());
        if !last.is_some_and(|last| self.engine.copy_values(last)) {
            self.good = Some(Arc::new(self.marked_state()));
        }
        if let Some(drift) = &mut self.drift {
            drift.kept_good(&self.engine);
        }
    }

    /// Goes back to the last state that was good.
    fn roll_back(&mut self) -> Result<()> {
        let Some(good) = &self.good else { return Ok(()) };
        let good = split(unmark_good(good).into_tensors());
        self.engine.set_state(&good.own)?;
        self.continual.restore(&good.continual);
        if let Some(drift) = &self.drift {
            drift.rolled_back(&mut self.engine);
        }
        Ok(())
    }

    /// The state to come back to, under marked names.
    pub(crate) fn good(&self) -> Option<Arc<State>> {
        self.good.clone()
    }

    /// Takes over what a checkpoint holds beside the engine's state.
    pub fn restore(&mut self, prequential: Prequential, guard: Guard, good: Option<State>) {
        (self.scorer.prequential, self.scorer.guard) = (prequential, guard);
        self.good = good.map(Arc::new);
    }

    /// The watch for drift, for a checkpoint.
    pub(crate) fn drift_state(&self) -> Option<DriftState> {
        self.drift.as_ref().map(|drift| drift.state(&self.engine))
    }

    /// Takes that over, with the tensors of a challenger.
    pub(crate) fn restore_drift(
        &mut self,
        saved: Option<DriftState>,
        challenger: &[StateTensor],
    ) -> Result<()> {
        match (&mut self.drift, saved) {
            (Some(drift), Some(saved)) => drift.restore(&mut self.engine, saved, challenger),
            _ => Ok(()),
        }
    }

    /// Gives a row of a table of the model's entity embeddings to another id, see
    /// [`Engine::reset_row`].
    pub(crate) fn reset_row(&mut self, table: usize, row: usize) {
        self.engine.reset_row(table, row);
        if let Some(drift) = &mut self.drift {
            drift.reset_row(table, row);
        }
    }

    /// Copies the state over another one, with that of a challenger.
    pub(crate) fn copy_state(&self, to: &mut State) {
        self.engine.copy_state(to);
        if let Some(drift) = &self.drift {
            drift.append_challenger(to);
        }
    }

    /// What the learning rate is set by, if it is.
    pub fn input_length(&self) -> Option<InputLength> {
        self.input_length
    }

    /// Takes over what another learner has seen, if its rate was set by that too.
    pub fn restore_input_length(&mut self, seen: Option<InputLength>) {
        if let (Some(length), Some(seen)) = (&mut self.input_length, seen) {
            *length = seen;
        }
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

impl Scorer {
    /// Scores the first `events` rows; the others are old ones.
    fn score(&mut self, batch: &Batch, events: usize, losses: &[f32], logits: &[f32]) -> Verdict {
        // One row of outputs, or one for each position of a sequence.
        let n = (logits.len() / batch.len.max(1)).max(1);
        self.stride = n;
        self.probabilities.resize(events * n, 0.0);
        let (mut sum, mut weights) = (0.0, 0.0);
        // Inputs too: a bounded activation hides them from the loss, and not from the gradient.
        let mut finite = !batch.has_non_finite();
        let rows = logits.chunks_exact(n).zip(self.probabilities.chunks_exact_mut(n));
        for (i, ((logits, outputs), &loss)) in rows.zip(losses).enumerate().take(events) {
            let rows = logits.chunks_exact(self.num_outputs);
            for (logits, outputs) in rows.zip(outputs.chunks_exact_mut(self.num_outputs)) {
                self.link.probabilities(logits, outputs);
            }
            let weight = batch.weights[i];
            if weight == 0.0 {
                continue;
            }
            finite &= logits.iter().all(|v| v.is_finite());
            sum += loss * weight;
            weights += weight;
            if self.scored[i] {
                continue;
            }
            if let (Some(scale), [output]) = (self.scales[i], &mut *outputs) {
                *output = (f64::from(*output) * scale.deviation + scale.mean) as f32;
                let target = [scale.target as f32];
                self.prequential.add(outputs, Truth::Values(&target), loss, weight);
                continue;
            }
            self.prequential.add(outputs, batch.truth(i), loss, weight);
        }
        self.guard.judge(sum / weights, finite)
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
