//! A model compiled for this machine: one state, one plan for each batch size and purpose.

use tidemill_data::Batch;
use tidemill_nn::{LossSpec, ModelSpec, OptimizerSpec};

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
}

/// A model cannot be compiled or a batch does not fit it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EngineError(pub String);

/// A compiled model with its state.
pub struct Engine {
    state: State,
}

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

/// All that a checkpoint holds of the model: parameters, optimizer slots, running statistics.
#[derive(Clone, Debug, Default)]
pub struct State {
    tensors: Vec<StateTensor>,
}

/// One tensor of the state.
#[derive(Clone, Debug)]
pub struct StateTensor {
    /// Such as `layers.1.dense.kernel` or `layers.1.dense.kernel.m`.
    pub name: String,
    /// Dims.
    pub shape: Vec<usize>,
    /// Whether it is a parameter (else a slot or a running statistic).
    pub parameter: bool,
    /// Its values.
    pub values: Vec<f32>,
}

impl State {
    /// All tensors, in a fixed order.
    pub fn tensors(&self) -> Vec<StateTensor> {
        self.tensors.clone()
    }
}

impl Engine {
    /// Compiles a training step and draws the initial weights.
    pub fn compile(_spec: EngineSpec) -> Result<Engine, EngineError> {
        Err(EngineError("the engine is not connected yet".into()))
    }

    /// One training step on `batch.len` samples. Allocates nothing once the batch size has been seen.
    pub fn train(&mut self, _batch: &Batch, _learning_rate: f32) -> Result<StepResult, EngineError> {
        Err(EngineError("the engine is not connected yet".into()))
    }

    /// Runs the model in evaluation mode.
    pub fn evaluate(&mut self, _batch: &Batch) -> Result<Outputs<'_>, EngineError> {
        Err(EngineError("the engine is not connected yet".into()))
    }

    /// Logits and losses of the batch that the last `train` or `evaluate` ran on.
    pub fn outputs(&self) -> Outputs<'_> {
        Outputs { losses: &[], logits: &[] }
    }

    /// A copy of the state, in a fixed order.
    pub fn state(&self) -> State {
        self.state.clone()
    }

    /// Takes over a state; names and shapes must be the same.
    pub fn set_state(&mut self, _tensors: &[StateTensor]) -> Result<(), EngineError> {
        Ok(())
    }

    /// Steps trained so far; part of a checkpoint, since optimizers and dropout count steps.
    pub fn step(&self) -> u64 {
        0
    }

    /// Sets the number of steps trained (on resume).
    pub fn set_step(&mut self, _step: u64) {}

    /// Number of learned values.
    pub fn num_parameters(&self) -> usize {
        0
    }

    /// Values that the model puts out for a sample.
    pub fn num_outputs(&self) -> usize {
        0
    }

    /// Bytes of the arena that all plans share.
    pub fn arena_bytes(&self) -> usize {
        0
    }

    /// Threads that a step runs on.
    pub fn threads(&self) -> usize {
        1
    }

    /// The plan as text: layers, kernels with reasons, memory map.
    pub fn explain(&self) -> String {
        String::new()
    }
}
