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

/// Called after an epoch with its number from 1; says whether to go on.
pub type OnEpoch<'a> = Box<dyn FnMut(u64, &Epoch) -> Flow + 'a>;

/// How [`Network::fit`] goes through the data.
pub struct Fit<'a> {
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
    /// The learning rate of each step, by its number from 0; the optimizer's own by default.
    pub learning_rate: Option<Box<dyn FnMut(u64) -> f64 + 'a>>,
    /// Called after each epoch, with its number from 1; says whether to go on.
    pub on_epoch: Option<OnEpoch<'a>>,
}

/// Whether training goes on after an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// With the next epoch.
    Continue,
    /// It ends here.
    Stop,
}

impl Default for Fit<'_> {
    fn default() -> Self {
        Fit {
            batch_size: 32,
            epochs: 1,
            shuffle: true,
            validation: None,
            class_weights: vec![],
            learning_rate: None,
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

    /// Trains on `data`; called again, it continues with the same optimizer state.
    ///
    /// # Errors
    /// For data that does not fit the model or cannot be read, and when the loss is not finite.
    pub fn fit(&mut self, data: Arc<dyn Dataset>, mut fit: Fit<'_>) -> Result<Vec<Epoch>> {
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
            let step = self.engine.step();
            let rate = match &mut fit.learning_rate {
                Some(own) => own(step),
                None => schedule.at(step),
            };
            let loss = self.engine.train(batch, rate as f32)?.loss;
            if !loss.is_finite() {
                return Err(Error::Run(format!(
                    "the loss is {loss} at step {step}; lower the learning rate, set clip_norm in \
                     the optimizer, or look for bad values in the data"
                )));
            }
            let outputs = self.engine.outputs();
            meter.add(outputs.losses, outputs.logits, batch);
            if batch.last_in_epoch {
                let mut epoch = Epoch { train: meter.figures(), validation: Figures::new() };
                meter.reset();
                if let Some(validation) = &fit.validation {
                    epoch.validation = self.evaluate(validation.clone())?;
                }
                self.epochs_done += 1;
                let flow = match &mut fit.on_epoch {
                    Some(call) => call(history.len() as u64 + 1, &epoch),
                    None => Flow::Continue,
                };
                history.push(epoch);
                if flow == Flow::Stop {
                    break;
                }
            }
        }
        Ok(history)
    }

    /// One training step on a batch of the caller's at the optimizer's learning rate; gives the loss
    /// before the update.
    ///
    /// # Errors
    /// For a batch that does not fit the model.
    pub fn train_on_batch(&mut self, batch: &Batch) -> Result<f32> {
        let rate = self.engine.spec().optimizer.schedule().at(self.engine.step());
        self.train_on_batch_at(batch, rate)
    }

    /// The same at a learning rate of the caller's, for a training loop with a schedule of its own.
    ///
    /// # Errors
    /// For a batch that does not fit the model.
    pub fn train_on_batch_at(&mut self, batch: &Batch, learning_rate: f64) -> Result<f32> {
        Ok(self.engine.train(batch, learning_rate as f32)?.loss)
    }

    /// The names of the weights, such as `layers.1.dense.kernel`.
    pub fn weight_names(&self) -> Vec<String> {
        self.engine.parameters().map(|(_, name)| name.to_owned()).collect()
    }

    /// The values of the weights of that name, if the model has some.
    pub fn weight(&self, name: &str) -> Option<&[f32]> {
        let (index, _) = self.engine.parameters().find(|(_, own)| *own == name)?;
        Some(self.engine.tensor(index))
    }

    /// Sets the weights of that name.
    ///
    /// # Errors
    /// If the model has no such weights, or a different number of values.
    pub fn set_weight(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let found = self.engine.parameters().find(|(_, own)| *own == name);
        let Some((index, _)) = found else {
            return Err(Error::Run(format!(
                "the model has no weights {name}; it has {}",
                self.weight_names().join(", ")
            )));
        };
        let own = self.engine.tensor_mut(index);
        if own.len() != values.len() {
            let (wants, found) = (own.len(), values.len());
            return Err(Error::Run(format!("{name} has {wants} values, found {found}")));
        }
        own.copy_from_slice(values);
        Ok(())
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
