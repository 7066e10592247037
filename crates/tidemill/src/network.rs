//! A compiled model that fits itself to data.

use std::path::Path;
use std::sync::Arc;

use tidemill_engine::checkpoint::{read_tensors, write_tensors};
use tidemill_engine::data::{Batch, Dataset, Loader, LoaderOptions, Order};
use tidemill_engine::engine::{Engine, EngineSpec};
use tidemill_engine::evaluate::{EvaluateOptions, default_batch_size, evaluate};
use tidemill_engine::metrics::{Figures, Meter, Metric, Task};
use tidemill_engine::nn::{LossSpec, Model, OptimizerSpec};
use tidemill_engine::{Error, Result};

/// Compiles a model with its loss and optimizer for this machine's cores, with seed 0.
///
/// # Errors
/// Says which layer does not fit its input, with both shapes.
pub fn compile(model: Model, loss: LossSpec, optimizer: OptimizerSpec) -> Result<Network> {
    Network::new(EngineSpec { model, loss, optimizer, batch_size: 32, seed: 0, threads: None })
}

/// How [`Network::fit`] goes through the data.
pub struct Fit {
    /// Samples of a step; 32 by default.
    pub batch_size: usize,
    /// Passes over the data; 1 by default.
    pub epochs: u64,
    /// Whether each epoch has an order of its own; yes by default.
    pub shuffle: bool,
    /// Measured after each epoch.
    pub validation: Option<Arc<dyn Dataset>>,
    /// Weight of each class in the loss; empty means 1 for all.
    pub class_weights: Vec<f32>,
    /// Called after each epoch, with its number from 1.
    pub on_epoch: Option<fn(u64, &Epoch)>,
}

impl Default for Fit {
    fn default() -> Fit {
        Fit {
            batch_size: 32,
            epochs: 1,
            shuffle: true,
            validation: None,
            class_weights: vec![],
            on_epoch: None,
        }
    }
}

/// Figures of one epoch by name: `loss`, `accuracy`, ...
#[derive(Clone, Debug, Default)]
pub struct Epoch {
    /// Over the training batches, each measured before its step.
    pub train: Figures,
    /// Over the validation data, if there were any.
    pub validation: Figures,
}

/// A compiled model with its weights and optimizer state.
pub struct Network {
    engine: Engine,
    task: Task,
    metrics: Vec<Metric>,
    epochs_done: u64,
}

impl Network {
    /// Compiles with all choices given.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn new(spec: EngineSpec) -> Result<Network> {
        let task = Task::of(spec.loss);
        let metrics = Metric::default_for(task);
        Ok(Network { engine: Engine::compile(spec)?, task, metrics, epochs_done: 0 })
    }

    /// Trains on `data`; called again, it goes on with the same optimizer state.
    ///
    /// # Errors
    /// For data that does not fit the model or cannot be read.
    pub fn fit(&mut self, data: Arc<dyn Dataset>, fit: &Fit) -> Result<Vec<Epoch>> {
        let seed = self.engine.spec().seed;
        let order = if fit.shuffle { Order::Shuffled { seed } } else { Order::Sequential };
        let mut options = LoaderOptions::new(fit.batch_size, order);
        options.class_weights = fit.class_weights.clone();
        options.position = self.epochs_done * data.len() as u64;
        options.epochs = Some(self.epochs_done + fit.epochs);
        let mut loader = Loader::new(data, options)?;
        let schedule = self.engine.spec().optimizer.schedule().clone();
        let mut meter = Meter::new(self.task, self.engine.num_outputs(), &self.metrics);
        let mut history = Vec::new();
        while let Some(batch) = loader.next_batch()? {
            let rate = schedule.at(self.engine.step()) as f32;
            self.engine.train(batch, rate)?;
            let outputs = self.engine.outputs();
            meter.add(outputs.losses, outputs.logits, batch);
            if batch.last_in_epoch {
                let mut epoch = Epoch { train: meter.figures(), validation: Figures::new() };
                meter.reset();
                if let Some(validation) = &fit.validation {
                    epoch.validation = self.evaluate(validation.clone())?;
                }
                self.epochs_done += 1;
                if let Some(tell) = fit.on_epoch {
                    tell(history.len() as u64 + 1, &epoch);
                }
                history.push(epoch);
            }
        }
        Ok(history)
    }

    /// One training step on a batch of the caller's; gives the loss before the update.
    ///
    /// # Errors
    /// For a batch that does not fit the model.
    pub fn train_on_batch(&mut self, batch: &Batch) -> Result<f32> {
        let rate = self.engine.spec().optimizer.schedule().at(self.engine.step());
        Ok(self.engine.train(batch, rate as f32)?.loss)
    }

    /// Loss and metrics on `data`, by name.
    ///
    /// # Errors
    /// For data that does not fit the model or cannot be read.
    pub fn evaluate(&mut self, data: Arc<dyn Dataset>) -> Result<Figures> {
        let options = EvaluateOptions {
            task: self.task,
            metrics: self.metrics.clone(),
            batch_size: default_batch_size(self.engine.spec().batch_size),
            mistakes: 0,
            data_threads: None,
        };
        Ok(evaluate(&mut self.engine, &data, &options)?.figures)
    }

    /// Probabilities of the classes (or values, for regression) of each sample in `x`, a row of
    /// [`Network::num_outputs`] each; `x` holds whole samples one after the other.
    ///
    /// # Errors
    /// If `x` is not a whole number of samples.
    pub fn predict(&mut self, x: &[f32]) -> Result<Vec<f32>> {
        let width = self.engine.sample_len();
        if width == 0 || !x.len().is_multiple_of(width) {
            return Err(Error::Run(format!(
                "predict: a sample has {width} values, and {} is not a multiple of that",
                x.len()
            )));
        }
        let mut probabilities = Vec::with_capacity(x.len() / width * self.num_outputs());
        for samples in x.chunks(width * 256) {
            let batch = Batch::of_x(samples.to_vec(), &[width]);
            probabilities.extend_from_slice(self.engine.predict(&batch)?);
        }
        Ok(probabilities)
    }

    /// Values that the model puts out for each sample.
    pub fn num_outputs(&self) -> usize {
        self.engine.num_outputs()
    }

    /// Writes weights, optimizer state and statistics as a safetensors file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_tensors(path.as_ref(), self.engine.step(), self.engine.state().tensors())
    }

    /// Takes over what [`Network::save`] wrote.
    ///
    /// # Errors
    /// If the file is not one of this model, naming the first tensor that differs.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let tensors =
            read_tensors(path).map_err(|why| Error::Run(format!("{}: {why}", path.display())))?;
        Ok(self.engine.set_state(&tensors)?)
    }

    /// The compiled model itself.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }
}
