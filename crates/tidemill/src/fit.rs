//! Training on a dataset, with callbacks.

use std::sync::Arc;

use tidemill_engine::Result;
use tidemill_engine::data::{Dataset, Loader, LoaderOptions, Order};
use tidemill_engine::metrics::{CustomMeter, Figures, Meter};

use crate::Network;

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
}

/// Whether training continues after an epoch.
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

impl Network {
    /// Trains on `data`; called again, it continues with the same optimizer state.
    ///
    /// # Errors
    /// For data that does not fit the model or cannot be read, and as [`Network::train_on_batch`].
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
        let mut custom = CustomMeter::of(&self.engine);
        let mut history = Vec::new();
        while let Some(batch) = loader.next_batch()? {
            let step = self.engine.step();
            let rate = match &mut fit.learning_rate {
                Some(own) => own(step),
                None => schedule.at(step),
            };
            self.train_on_batch_at(batch, rate)?;
            let outputs = self.engine.outputs();
            meter.add(outputs.losses, outputs.logits, batch);
            custom.add(&self.engine, &batch.weights);
            if batch.last_in_epoch {
                let mut epoch = Epoch { train: meter.figures(), validation: Figures::new() };
                custom.extend(&mut epoch.train);
                meter.reset();
                custom.reset();
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
}
