//! A model compiled for this machine: one state, one plan for each batch size and purpose.
//!
//! # Layout
//!
//! - this file: compiling, binding a batch to a plan's inputs, and running
//! - `state`: the state as tensors, copied out and taken over
//! - `slots`: single tensors of the state, and the optimizer's slots begun again
//! - `explain`: the plan as text; `check`: what is wrong with a batch
//! - `shared`: predicting by several threads at once

mod check;
mod explain;
mod shared;
mod slots;
mod state;

use std::sync::Arc;
use tidemill_cpu::isa::Isa;
use tidemill_cpu::runtime::{Input, InputError, PlanId, Prepared, Runtime, state_bytes};
use tidemill_cpu::threads::{Beside, NOTHING};
use tidemill_data::MAX_THREADS;
use tidemill_fields::{Batch, DType, Field, Signature};
use tidemill_graph::{Graph, Rule, hyper};
use tidemill_nn::{
    Custom, CustomMetric, Extent, LossSpec, ModelSpec, OptimizerSpec, TrainingOptions,
    evaluation_graph_with, hyper_values, inference_graph, initial_state, training_graph_with,
};
use tidemill_plan::{Options, Plan};

pub use state::{State, StateTensor};

use crate::bind::{Binding, Converted, Given, Reads, Source, classes};
use crate::error::Error;
use crate::memory::{Budget, Needs};
use shared::Readers;

/// What to compile.
#[derive(Clone, Debug)]
pub struct EngineSpec {
    /// The model.
    pub model: ModelSpec,
    /// Its loss.
    pub loss: LossSpec,
    /// How it learns.
    pub optimizer: OptimizerSpec,
    /// Largest batch; smaller ones (the last of an epoch) get a plan of their own over the same
    /// state when they first come.
    pub batch_size: usize,
    /// Seeds the initial weights and all randomness of the steps.
    pub seed: u64,
    /// Threads of a step; `None` takes all cores.
    pub threads: Option<usize>,
    /// Measured beside the loss in training and evaluation, by ops of the graph.
    pub metrics: Vec<Custom<dyn CustomMetric>>,
}

impl EngineSpec {
    /// Batches of 32, seed 0, all cores.
    pub fn new(model: ModelSpec, loss: LossSpec, optimizer: OptimizerSpec) -> EngineSpec {
        let (batch_size, seed, threads, metrics) = (32, 0, None, Vec::new());
        EngineSpec { model, loss, optimizer, batch_size, seed, threads, metrics }
    }
}

/// A model cannot be compiled or a batch does not fit it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EngineError(pub String);

/// What one training step gives.
#[derive(Clone, Copy, Debug)]
pub struct StepResult {
    /// Weighted mean loss of the batch, before the update.
    pub loss: f32,
}

/// Per-sample results of the batch run last; valid until the next step.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    /// `[len]`, unweighted.
    pub losses: &'a [f32],
    /// `[len, outputs]`
    pub logits: &'a [f32],
}

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Train,
    /// Training that can be refused once its losses are known.
    Learn,
    /// The same, with the activations of hidden units among its outputs.
    Watch,
    Evaluate,
    Predict,
}

#[derive(Clone)]
struct Compiled {
    purpose: Purpose,
    extent: Extent,
    plan: PlanId,
    sources: Vec<Source>,
    outputs: Places,
}

/// Where a plan's losses and logits are.
#[derive(Clone, Copy, Debug)]
struct Places {
    plan: PlanId,
    losses: Option<usize>,
    logits: Option<usize>,
}

/// A compiled model with its state. A clone has the same state, and memory and threads of its own.
#[derive(Clone)]
pub struct Engine {
    spec: EngineSpec,
    rule: Rule,
    runtime: Runtime,
    compiled: Vec<Compiled>,
    last: Option<usize>,
    step: u64,
    /// The step at which the optimizer's slots began.
    slots_from: u64,
    /// What the model and its loss read.
    reads: Reads,
    binding: Option<Binding>,
    converted: Converted,
    sample_len: usize,
    num_outputs: usize,
    /// Whether the model gives a row of outputs for each position of a sequence.
    by_position: bool,
    /// Added to the logits where they are trained.
    shift: f32,
    compile_seconds: f64,
    /// [`Purpose::Watch`] once hidden units are watched.
    learn: Purpose,
    /// What predicts from a shared reference.
    readers: Readers,
    /// What it may take.
    budget: Budget,
}

impl Engine {
    /// Compiles a training step and draws the initial weights.
    pub fn compile(spec: EngineSpec) -> Result<Engine, EngineError> {
        Engine::compile_shifted(spec, 0.0)
    }

    /// The same for samples of which only some are trained on: losses of training steps are of the
    /// logits plus `shift` ([`TrainingOptions`]); predictions are without it.
    pub fn compile_shifted(spec: EngineSpec, shift: f32) -> Result<Engine, EngineError> {
        Engine::compile_within(spec, shift, Budget::default()).map_err(error)
    }

    /// The same within a budget of memory, which is checked before memory is taken: now, and for each
    /// further plan.
    ///
    /// # Errors
    /// If the model cannot be compiled, or does not fit.
    pub fn compile_within(spec: EngineSpec, shift: f32, budget: Budget) -> Result<Engine, Error> {
        let start = std::time::Instant::now();
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let threads = spec.threads.unwrap_or(cores).max(1);
        if threads > MAX_THREADS {
            let what = format!("threads must be 1 to {MAX_THREADS}, found {threads}");
            return Err(EngineError(what).into());
        }
        let extent = Extent::from(spec.batch_size);
        let graph = spec.graph(Purpose::Train, &extent, shift)?;
        let isa = Isa::detect();
        let mut needs = Needs { state: state_bytes(&graph) as u64, ..Needs::default() };
        budget.check(needs, Needs::default())?;
        let prepared = Prepared::new(isa, &graph, options(Purpose::Train));
        let (arena, scratch) = prepared.bytes();
        (needs.arena, needs.scratch) = (arena as u64, (threads * scratch) as u64);
        budget.check(needs, Needs::default())?;
        let mut runtime = Runtime::new(isa, threads, &graph);
        let values = initial_state(&graph, &spec.model, spec.seed).map_err(error)?;
        for (id, values) in values {
            let name = &graph.tensor(id).name;
            if let Some(index) = runtime.slots().iter().position(|s| s.name == *name) {
                runtime.state_mut(index).copy_from_slice(&values);
            }
        }
        let output = spec.model.output_shape().map_err(error)?;
        let longest = spec.model.longest_output().map_err(error)?;
        let inputs = spec.model.signature().inputs().to_vec();
        let sample_len = inputs.iter().map(Field::most).sum();
        let truth = spec.loss.truth(&output, longest);
        let num_outputs = match longest {
            Some(_) => output.last().copied().unwrap_or(1),
            None => output.iter().product(),
        };
        let mut engine = Engine {
            rule: spec.optimizer.rule(),
            reads: Reads::new(&spec.model, &spec.loss, inputs, truth, num_outputs),
            binding: None,
            converted: Converted::default(),
            sample_len,
            num_outputs,
            by_position: longest.is_some(),
            spec,
            runtime,
            compiled: Vec::new(),
            last: None,
            step: 0,
            slots_from: 0,
            shift,
            compile_seconds: 0.0,
            learn: Purpose::Learn,
            readers: Readers::default(),
            budget,
        };
        engine.add_prepared(Purpose::Train, extent, prepared)?;
        engine.compile_seconds = start.elapsed().as_secs_f64();
        Ok(engine)
    }

    fn add(
        &mut self,
        purpose: Purpose,
        extent: Extent,
        graph: &Graph,
    ) -> Result<usize, EngineError> {
        let prepared = Prepared::new(self.runtime.isa(), graph, options(purpose));
        let (arena, scratch) = prepared.bytes();
        let held = self.needs();
        let needs = Needs {
            arena: held.arena.max(arena as u64),
            scratch: held.scratch.max((self.threads() * scratch) as u64),
            state: held.state,
        };
        if needs.arena > held.arena || needs.scratch > held.scratch {
            self.budget.check(needs, held).map_err(error)?;
        }
        self.add_prepared(purpose, extent, prepared)
    }

    fn add_prepared(
        &mut self,
        purpose: Purpose,
        extent: Extent,
        prepared: Prepared,
    ) -> Result<usize, EngineError> {
        let plan = self.runtime.add_prepared(prepared).map_err(error)?;
        let sources = self.reads.sources(&self.runtime.plan(plan).inputs)?;
        let place = |name| self.runtime.find_output(plan, name);
        let outputs = Places { plan, losses: place("losses"), logits: place("logits") };
        self.compiled.push(Compiled { purpose, extent, plan, sources, outputs });
        Ok(self.compiled.len() - 1)
    }

    /// The plan for this purpose and size of batches, compiled when it first comes.
    fn plan_for(&mut self, purpose: Purpose, extent: &Extent) -> Result<usize, EngineError> {
        let found = self.compiled.iter().position(|c| c.purpose == purpose && c.extent == *extent);
        match found {
            Some(index) => Ok(index),
            None => {
                let graph = self.spec.graph(purpose, extent, self.shift)?;
                self.add(purpose, extent.clone(), &graph)
            }
        }
    }

    /// The plan for a batch, whose columns are bound to the engine's fields.
    fn plan_of(&mut self, purpose: Purpose, batch: &Batch) -> Result<usize, EngineError> {
        let binding = Binding::keep(&mut self.binding, &self.reads, batch);
        let extent = binding.extent(&self.reads, batch);
        self.plan_for(purpose, &extent)
    }

    fn run(
        &mut self,
        purpose: Purpose,
        batch: &Batch,
        hyper: [f32; hyper::LEN],
        beside: Beside<'_>,
    ) -> Result<usize, EngineError> {
        self.with_inputs(purpose, batch, hyper, |runtime, plan, inputs| {
            runtime.run_beside(plan, inputs, beside)
        })?;
        Ok(self.last.unwrap_or(0))
    }

    /// Gives `f` the plan for a batch and the plan's inputs.
    fn with_inputs<R>(
        &mut self,
        purpose: Purpose,
        batch: &Batch,
        hyper: [f32; hyper::LEN],
        f: impl FnOnce(&mut Runtime, PlanId, &[Input<'_>]) -> Result<R, InputError>,
    ) -> Result<R, EngineError> {
        let index = self.plan_of(purpose, batch)?;
        let Some(binding) = &self.binding else {
            return Err(EngineError("a batch is not bound; please report it".into()));
        };
        let seed = self.spec.seed;
        let key = [seed as i32, (seed >> 32) as i32, self.step as i32, 0];
        let Compiled { plan, sources, .. } = &self.compiled[index];
        for source in sources {
            self.converted.prepare(*source, &self.reads, binding, batch)?;
        }
        let given = Given { reads: &self.reads, binding, batch, key: &key, hyper: &hyper };
        let inputs = self.converted.inputs(sources, &given);
        let done = f(&mut self.runtime, *plan, &inputs).map_err(error)?;
        self.last = Some(index);
        Ok(done)
    }

    /// What the optimizer is given at the next step; its bias corrections count from where its slots
    /// began.
    fn hyper(&self, learning_rate: f32) -> [f32; hyper::LEN] {
        hyper_values(&self.rule, f64::from(learning_rate), self.slot_age() + 1)
    }

    /// One training step on `batch.len` samples. Allocates nothing once the batch size has been
    /// seen.
    pub fn train(&mut self, batch: &Batch, learning_rate: f32) -> Result<StepResult, EngineError> {
        self.train_beside(batch, learning_rate, NOTHING)
    }

    /// Like [`Engine::train`], and lets threads that would wait do the work of `beside`, all of
    /// which is done in the end.
    pub fn train_beside(
        &mut self,
        batch: &Batch,
        learning_rate: f32,
        beside: Beside<'_>,
    ) -> Result<StepResult, EngineError> {
        let hyper = self.hyper(learning_rate);
        let index = self.run(Purpose::Train, batch, hyper, beside)?;
        self.step += 1;
        let loss = self.runtime.output(self.compiled[index].plan, "loss");
        Ok(StepResult { loss: loss.and_then(|l| l.first()).copied().unwrap_or(f32::NAN) })
    }

    /// Compiles what a run needs beside its step at the full batch size: the step for a smaller last
    /// batch of `last` samples, and evaluation on batches of `evaluated` samples. What is wrong with them
    /// is known then before the first step. Models of sequences compile these when they come.
    ///
    /// # Errors
    /// If one cannot be compiled or has no room.
    pub fn prepare(&mut self, last: Option<usize>, evaluated: &[usize]) -> Result<(), EngineError> {
        if self.reads.signature.inputs().iter().any(|f| f.time().is_some()) {
            return Ok(());
        }
        if let Some(batch) = last {
            self.plan_for(Purpose::Train, &Extent::from(batch))?;
        }
        for &batch in evaluated {
            self.plan_for(Purpose::Evaluate, &Extent::from(batch))?;
        }
        Ok(())
    }

    /// Compiles the step for [`Engine::train_if`] on batches of this size before the first comes.
    pub fn prepare_learning(&mut self, batch: usize) -> Result<(), EngineError> {
        self.plan_for(self.learn, &Extent::from(batch)).map(|_| ())
    }

    /// A training step that `gate` can refuse when it has seen the losses and logits of the batch:
    /// then the state stays exactly as it was. Says whether the step was taken. The outputs stay
    /// those from before the update ([`Engine::outputs`]).
    ///
    /// Models that do other things in training than in evaluation (batch norm, dropout) are judged
    /// by a pass in evaluation mode first; for all others this costs nothing beside the step.
    pub fn train_if(
        &mut self,
        batch: &Batch,
        learning_rate: f32,
        gate: &mut dyn FnMut(Outputs<'_>) -> bool,
    ) -> Result<bool, EngineError> {
        let index = self.plan_of(self.learn, batch)?;
        let Compiled { plan, sources, outputs, .. } = &self.compiled[index];
        let places = *outputs;
        if !self.runtime.has_gate(*plan) || sources.contains(&Source::Key) {
            if !gate(self.evaluate(batch)?) {
                return Ok(false);
            }
            self.train(batch, learning_rate)?;
            return Ok(true);
        }
        let hyper = self.hyper(learning_rate);
        let taken = self.with_inputs(self.learn, batch, hyper, |runtime, plan, inputs| {
            runtime.run_gated(plan, inputs, &mut |runtime| gate(outputs_of(runtime, places)))
        })?;
        self.step += u64::from(taken);
        Ok(taken)
    }

    /// From here on a step of [`Engine::train_if`] leaves the activations of hidden units to be
    /// read by [`Engine::output`]; only where such a step is one pass, so without dropout and batch
    /// norm.
    pub fn watch_hidden(&mut self) {
        self.learn = Purpose::Watch;
    }

    /// An output of the step that ran last, by its name in the graph.
    pub fn output(&self, name: &str) -> Option<&[f32]> {
        self.runtime.output(self.compiled[self.last?].plan, name)
    }

    /// The kernels of a training step on `batch` with the mean microseconds that each takes on one
    /// thread, over `rounds` steps (which train).
    pub fn profile(
        &mut self,
        batch: &Batch,
        learning_rate: f32,
        rounds: usize,
    ) -> Result<Vec<(String, f64)>, EngineError> {
        let hyper = self.hyper(learning_rate);
        let times = self.with_inputs(Purpose::Train, batch, hyper, |runtime, plan, inputs| {
            runtime.profile(plan, inputs, rounds)
        })?;
        let calls = &self.training_plan().calls;
        let name = |c: &tidemill_plan::Call| format!("{:<22} {}", c.spec.name(), c.label);
        Ok(calls.iter().map(name).zip(times).collect())
    }

    /// Runs the model in evaluation mode.
    pub fn evaluate(&mut self, batch: &Batch) -> Result<Outputs<'_>, EngineError> {
        self.evaluate_beside(batch, NOTHING)
    }

    /// Like [`Engine::evaluate`], with work beside it as in [`Engine::train_beside`].
    pub fn evaluate_beside(
        &mut self,
        batch: &Batch,
        beside: Beside<'_>,
    ) -> Result<Outputs<'_>, EngineError> {
        self.run(Purpose::Evaluate, batch, [0.0; hyper::LEN], beside)?;
        Ok(self.outputs())
    }

    /// Probabilities (or values, for losses of plain numbers) of each sample: `[len, outputs]`.
    pub fn predict(&mut self, batch: &Batch) -> Result<&[f32], EngineError> {
        let index = self.run(Purpose::Predict, batch, [0.0; hyper::LEN], NOTHING)?;
        Ok(self.runtime.output(self.compiled[index].plan, "probabilities").unwrap_or(&[]))
    }

    /// Logits and losses of the batch that the last `train` or `evaluate` ran on.
    pub fn outputs(&self) -> Outputs<'_> {
        match self.last {
            Some(last) => outputs_of(&self.runtime, self.compiled[last].outputs),
            None => Outputs { losses: &[], logits: &[] },
        }
    }

    /// Steps trained so far; part of a checkpoint, since optimizers and dropout count steps.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Sets the number of steps trained (on resume).
    pub fn set_step(&mut self, step: u64) {
        self.step = step;
    }

    /// What is added to the logits where they are trained.
    pub fn shift(&self) -> f32 {
        self.shift
    }

    /// What was compiled.
    pub fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    /// Number of learned values.
    pub fn num_parameters(&self) -> usize {
        self.runtime.slots().iter().filter(|s| s.parameter).map(|s| s.len()).sum()
    }

    /// Values that the model puts out for a sample.
    pub fn num_outputs(&self) -> usize {
        self.num_outputs
    }

    /// What the model and its loss read: the inputs, then the truth.
    pub fn signature(&self) -> &Arc<Signature> {
        &self.reads.signature
    }

    /// Whether the model gives a row of outputs for each position of a sequence.
    pub fn by_position(&self) -> bool {
        self.by_position
    }

    /// Elements of a sample's inputs, sequences at their longest.
    pub fn sample_len(&self) -> usize {
        self.sample_len
    }

    /// The bytes that it has taken.
    pub(crate) fn needs(&self) -> Needs {
        let (arena, state, scratch) = self.runtime.bytes();
        Needs { arena: arena as u64, state: state as u64, scratch: scratch as u64 }
    }

    /// Bytes of the arena that all plans share.
    pub fn arena_bytes(&self) -> usize {
        self.runtime.bytes().0
    }

    /// Bytes of the state and of the threads' scratch memory.
    pub fn state_and_scratch_bytes(&self) -> usize {
        let (_, state, scratch) = self.runtime.bytes();
        state + scratch
    }

    /// Threads that a step runs on.
    pub fn threads(&self) -> usize {
        self.runtime.threads()
    }

    /// The plan of the training step at the full batch size.
    pub fn training_plan(&self) -> &Plan {
        self.runtime.plan(self.compiled[0].plan)
    }
}

impl EngineSpec {
    /// Whether a step on so many samples can be computed; models of sequences are not looked at.
    ///
    /// # Errors
    /// Says what cannot be, such as batch norm on one row.
    pub fn check_training(&self, batch: usize) -> Result<(), EngineError> {
        if self.model.signature().inputs().iter().any(|f| f.time().is_some()) {
            return Ok(());
        }
        self.graph(Purpose::Train, &Extent::from(batch), 0.0).map(|_| ())
    }

    /// The classes that the outputs are for; none where the loss compares with any value.
    pub fn classes(&self) -> Option<usize> {
        let output = self.model.output_shape().ok()?;
        let longest = self.model.longest_output().ok()?;
        let outputs = match longest {
            Some(_) => output.last().copied().unwrap_or(1),
            None => output.iter().product(),
        };
        let truth = self.loss.truth(&output, longest);
        let width = if truth.dtype == DType::F32 { truth.most() } else { outputs };
        Some(classes(&self.loss, width)).filter(|&classes| classes < usize::MAX)
    }

    fn graph(&self, purpose: Purpose, batch: &Extent, shift: f32) -> Result<Graph, EngineError> {
        match purpose {
            Purpose::Train | Purpose::Learn | Purpose::Watch => {
                // A stream is measured event by event, by the driver.
                let metrics = if purpose == Purpose::Train { &self.metrics[..] } else { &[] };
                let options = TrainingOptions { shift, watch: purpose == Purpose::Watch, metrics };
                training_graph_with(
                    &self.model,
                    &self.loss,
                    &self.optimizer,
                    batch.clone(),
                    options,
                )
            }
            Purpose::Evaluate => {
                evaluation_graph_with(&self.model, &self.loss, batch.clone(), &self.metrics)
            }
            Purpose::Predict => inference_graph(&self.model, &self.loss, batch.clone()),
        }
        .map_err(error)
    }
}

fn outputs_of(runtime: &Runtime, at: Places) -> Outputs<'_> {
    let output =
        |place: Option<usize>| place.and_then(|i| runtime.output_at(at.plan, i)).unwrap_or(&[]);
    Outputs { losses: output(at.losses), logits: output(at.logits) }
}

/// How a graph is planned.
fn options(purpose: Purpose) -> Options {
    let gated = matches!(purpose, Purpose::Learn | Purpose::Watch);
    Options { gated, ..Options::default() }
}

fn error(e: impl std::fmt::Display) -> EngineError {
    EngineError(e.to_string())
}
