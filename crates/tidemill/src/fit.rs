//! Training on a dataset, with callbacks.

use std::sync::Arc;

use tidemill_engine::data::{Dataset, Loader, LoaderOptions, Order, Shards};
use tidemill_engine::metrics::{Figures, Meter};
use tidemill_engine::{Callback, Engine, Error, Flow, Result, Step, Training};

use crate::Network;
use crate::network::{Measure, check_finite};

/// Called after an epoch with its number from 1; says whether to continue.
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
    /// Called after each epoch, with its number from 1; says whether to continue.
    pub on_epoch: Option<OnEpoch<'a>>,
    /// Called around each step, in their order, before the functions above.
    pub callbacks: Vec<&'a mut dyn Callback>,
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
            callbacks: vec![],
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

impl Network {
    /// Trains on `data`; called again, it continues with the same optimizer state.
    ///
    /// # Errors
    /// For data that does not fit the model or cannot be read, as [`Network::train_on_batch`], and if the last
    /// update left a value that is not finite.
    pub fn fit(&mut self, data: Arc<dyn Dataset>, fit: Fit<'_>) -> Result<Vec<Epoch>> {
        let seed = self.engine.spec().seed;
        let order = if fit.shuffle { Order::Shuffled { seed } } else { Order::Sequential };
        let mut options = LoaderOptions::new(fit.batch_size, order);
        options.class_weights = fit.class_weights.clone();
        options.position = self.epochs_done * data.len() as u64;
        options.shards = Shards::all(self.engine.shards());
        options.epochs = Some(self.epochs_done + fit.epochs);
        let loader = Loader::new(data, options)?;
        let Fit { validation, learning_rate, on_epoch, callbacks, .. } = fit;
        let measure = Measure { task: self.task, metrics: self.metrics.clone() };
        let meter = Meter::new(self.task, self.engine.num_outputs(), &self.metrics);
        let mut own = Own { validation, learning_rate, on_epoch, measure, history: Vec::new() };
        let mut all: Vec<&mut dyn Callback> = Vec::new();
        for callback in callbacks {
            all.push(callback);
        }
        all.push(&mut own);
        let result = Training::new(&mut self.engine, loader, vec![meter]).run(&mut all);
        self.epochs_done += own.history.len() as u64;
        result?;
        let after = format!("after step {}", self.engine.step());
        check_finite(self.engine.state().tensors(), &after)?;
        Ok(own.history)
    }
}

/// What [`Fit`] says to be done around the steps.
struct Own<'a> {
    validation: Option<Arc<dyn Dataset>>,
    learning_rate: Option<Box<dyn FnMut(u64) -> f64 + 'a>>,
    on_epoch: Option<OnEpoch<'a>>,
    measure: Measure,
    history: Vec<Epoch>,
}

impl Callback for Own<'_> {
    fn before_step(&mut self, training: &mut Training<'_>) -> Result<Flow> {
        if let Some(rate) = &mut self.learning_rate {
            training.learning_rate = rate(training.engine.step());
        }
        Ok(Flow::Continue)
    }

    fn after_step(&mut self, training: &mut Training<'_>, step: &Step) -> Result<Flow> {
        match &step.why_not_finite {
            Some(why) => Err(not_finite(training.engine, step.loss, why)),
            None => Ok(Flow::Continue),
        }
    }

    fn after_epoch(&mut self, training: &mut Training<'_>, _: &Step) -> Result<Flow> {
        let mut epoch = Epoch { train: training.figures(), validation: Figures::new() };
        if let Some(validation) = &self.validation {
            epoch.validation = self.measure.on(training.engine, validation)?;
        }
        let flow = match &mut self.on_epoch {
            Some(call) => call(self.history.len() as u64 + 1, &epoch),
            None => Flow::Continue,
        };
        self.history.push(epoch);
        Ok(flow)
    }
}

/// The error of a step whose loss is not finite.
pub(crate) fn not_finite(engine: &Engine, loss: f32, why: &str) -> Error {
    Error::Run(format!("the loss is {loss} at step {}; {why}", engine.step()))
}
