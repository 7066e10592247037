//! A model compiled for this machine: one state, one plan for each batch size and purpose.
//!
//! # Layout
//!
//! - this file: binding a batch to a plan's inputs, and running
//! - `compile`: the plans, each for a purpose and a size of batches
//! - `state`: the state as tensors, copied out and taken over; `values`: what they hold
//! - `filed`: what of the state is in a file and not in memory; `budget`: what all of it takes
//! - `part`: what of it is here, where several workers keep a part each
//! - `slots`: single tensors of the state, and the optimizer's slots begun again
//! - `explain`: the plan as text; `check`: what is wrong with a batch
//! - `shards`: a step whose batch is cut into pieces
//! - `shared`: predicting by several threads at once
//! - `decode`: texts written token by token

mod budget;
mod check;
mod chunks;
mod compile;
mod decode;
mod explain;
mod filed;
mod part;
mod shards;
mod shared;
mod slots;
mod state;
mod values;

use std::sync::{Arc, OnceLock};
use tidemill_cpu::runtime::{Input, InputError, PlanId, Runtime};
use tidemill_cpu::threads::{Beside, NOTHING};
use tidemill_fields::{Batch, Signature};
use tidemill_graph::{Rule, hyper};
use tidemill_nn::{
    Custom, CustomMetric, Extent, LossSpec, ModelSpec, OptimizerSpec, Part, hyper_values,
};
use tidemill_plan::{Plan, Rates};

pub use chunks::Chunks;
pub use decode::{Continued, Decoding, Next};
pub use safetensors::tensor::Dtype;
pub use shards::Totals;
pub use state::{State, StateTensor};
pub use values::{Element, StateValues, Stored};

use crate::bind::{Binding, Converted, Given, Reads, Source};
use crate::memory::Budget;
use part::Parted;
use shards::Sharded;
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
    /// Pieces that each batch is cut into for training, and in whose order gradients are summed
    /// ([`Engine::train_shard`]); 1 trains on whole batches.
    pub shards: usize,
    /// Measured beside the loss in training and evaluation, by ops of the graph.
    pub metrics: Vec<Custom<dyn CustomMetric>>,
    /// Of several workers that share the shards, and keep a part of the optimizer's slots each, the one that this is; `None`
    /// keeps all of them.
    pub part: Option<Part>,
}

impl EngineSpec {
    /// Batches of 32, seed 0, all cores.
    pub fn new(model: ModelSpec, loss: LossSpec, optimizer: OptimizerSpec) -> EngineSpec {
        let (batch_size, seed, threads, shards, metrics) = (32, 0, None, 1, Vec::new());
        let part = None;
        EngineSpec { model, loss, optimizer, batch_size, seed, threads, shards, metrics, part }
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

/// Sets the keys of shards apart (2^32 divided by the golden ratio); the first one has that of a whole batch.
const SHARD_KEY: u32 = 0x9e37_79b9;

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Train,
    /// The gradients of a piece of a batch, added to sums.
    Shard,
    /// The update from the sums.
    Update,
    /// Training that can be refused once its losses are known.
    Learn,
    /// The same, with the activations of hidden units among its outputs.
    Watch,
    Evaluate,
    Predict,
    /// What comes after each sample's last position.
    Next,
    /// The same, with what later steps need to know of all positions.
    Start,
    /// One more position of each row, with room for so many earlier ones.
    Step(usize),
    /// A chunk of a sequence that comes in chunks.
    Chunk,
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

/// Where an output of a kind of step is; see [`Engine::find_output`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputPlace {
    compiled: usize,
    index: usize,
}

/// A compiled model with its state. A clone has the same state, and memory and threads of its own.
#[derive(Clone)]
pub struct Engine {
    spec: EngineSpec,
    rule: Rule,
    runtime: Runtime,
    /// Tensors of the runtime's state that are the model's; the others are sums of shards.
    kept: usize,
    /// What a step with shards needs besides.
    sharded: Option<Sharded>,
    /// What of the state other workers keep.
    parted: Option<Parted>,
    /// The shard that is computed; its randomness depends on it.
    shard: u32,
    compiled: Vec<Compiled>,
    last: Option<usize>,
    step: u64,
    /// The machine's rates, once they were measured.
    rates: OnceLock<Rates>,
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
    /// The field that the model writes token by token, once that is known.
    written: Option<Option<usize>>,
    /// What it may take.
    budget: Budget,
    /// The file of that part of the state that is not in memory, to be read.
    filed: Option<Arc<std::fs::File>>,
}

impl Engine {
    /// Compiles a training step and draws the initial weights.
    pub fn compile(spec: EngineSpec) -> Result<Engine, EngineError> {
        Engine::compile_shifted(spec, 0.0)
    }

    /// The same for samples of which only some are trained on: losses of training steps are of the
    /// logits plus `shift` ([`tidemill_nn::TrainingOptions`]); predictions are without it.
    pub fn compile_shifted(spec: EngineSpec, shift: f32) -> Result<Engine, EngineError> {
        Engine::compile_within(spec, shift, Budget::default()).map_err(error)
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
        self.with_inputs_of(index, batch, hyper, f)
    }

    /// [`Engine::with_inputs`] of a plan that [`Engine::plan_of`] gave for this batch.
    fn with_inputs_of<R>(
        &mut self,
        index: usize,
        batch: &Batch,
        hyper: [f32; hyper::LEN],
        f: impl FnOnce(&mut Runtime, PlanId, &[Input<'_>]) -> Result<R, InputError>,
    ) -> Result<R, EngineError> {
        let Some(binding) = &self.binding else {
            return Err(EngineError("a batch is not bound; please report it".into()));
        };
        let seed = self.spec.seed;
        let high = ((seed >> 32) as u32).wrapping_add(self.shard.wrapping_mul(SHARD_KEY));
        let key = [seed as i32, high as i32, self.step as i32, 0];
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
        let taken = self.with_inputs_of(index, batch, hyper, |runtime, plan, inputs| {
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
        self.output_at(self.find_output(name)?)
    }

    /// Where that is, for [`Engine::output_at`] after steps of the same kind.
    pub fn find_output(&self, name: &str) -> Option<OutputPlace> {
        let compiled = self.last?;
        let index = self.runtime.find_output(self.compiled[compiled].plan, name)?;
        Some(OutputPlace { compiled, index })
    }

    /// An output by its place; none if the step that ran last was of another kind.
    pub fn output_at(&self, place: OutputPlace) -> Option<&[f32]> {
        let plan = self.compiled.get(place.compiled)?.plan;
        if self.last == Some(place.compiled) {
            self.runtime.output_at(plan, place.index)
        } else {
            None
        }
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

    /// The logarithms of the probabilities of what comes after each sample's last position:
    /// `[len, tokens]`.
    ///
    /// # Errors
    /// For a batch that does not fit, and a model without positions.
    pub fn next(&mut self, batch: &Batch) -> Result<&[f32], EngineError> {
        let index = self.run(Purpose::Next, batch, [0.0; hyper::LEN], NOTHING)?;
        let plan = self.compiled[index].plan;
        Ok(self.runtime.output(plan, "log_probabilities").unwrap_or(&[]))
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

    /// The tensors of the model's state.
    fn slots(&self) -> &[tidemill_plan::Slot] {
        &self.runtime.slots()[..self.kept]
    }

    /// Number of learned values.
    pub fn num_parameters(&self) -> usize {
        self.slots().iter().filter(|s| s.parameter).map(|s| s.len()).sum()
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

    /// The instruction set that its kernels are compiled for.
    pub fn instructions(&self) -> &'static str {
        self.runtime.isa().name()
    }

    /// Threads that a step runs on.
    pub fn threads(&self) -> usize {
        self.runtime.threads()
    }

    /// The plan of the training step at the full batch size, or of a shard's part of it.
    pub fn training_plan(&self) -> &Plan {
        self.runtime.plan(self.compiled[0].plan)
    }
}

fn outputs_of(runtime: &Runtime, at: Places) -> Outputs<'_> {
    let output =
        |place: Option<usize>| place.and_then(|i| runtime.output_at(at.plan, i)).unwrap_or(&[]);
    Outputs { losses: output(at.losses), logits: output(at.logits) }
}

fn error(e: impl std::fmt::Display) -> EngineError {
    EngineError(e.to_string())
}
