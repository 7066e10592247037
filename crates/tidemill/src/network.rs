//! A compiled model: it fits itself to data, is measured, and predicts.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tidemill_engine::checkpoint::files::replace_by;
use tidemill_engine::checkpoint::{read_tensors, write_tensors};
use tidemill_engine::data::{Batch, Dataset, Loader, LoaderOptions};
use tidemill_engine::engine::{Engine, EngineSpec, StateTensor};
use tidemill_engine::evaluate::{EvaluateOptions, default_batch_size, evaluate};
use tidemill_engine::metrics::{Figures, Metric, Task};
use tidemill_engine::nn::{LossSpec, Model, OptimizerSpec};
use tidemill_engine::{Error, Result};

use crate::fit::not_finite;

/// Compiles a model with its loss and optimizer for this machine's cores, with seed 0.
///
/// # Errors
/// Says which layer does not fit its input, with both shapes.
pub fn compile(
    model: Model,
    loss: impl Into<LossSpec>,
    optimizer: OptimizerSpec,
) -> Result<Network> {
    Network::new(EngineSpec::new(model, loss.into(), optimizer))
}

/// A compiled model with its weights and optimizer state.
///
/// A clone has the same bits and is independent: it copies the weights, shares the kernels, and starts
/// threads of its own. [`Network::predict`] takes a shared reference and may be called by several threads
/// at once.
#[derive(Clone)]
pub struct Network {
    pub(crate) engine: Engine,
    pub(crate) task: Task,
    pub(crate) metrics: Vec<Metric>,
    pub(crate) epochs_done: u64,
}

impl Network {
    /// Compiles with all choices given.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn new(spec: EngineSpec) -> Result<Network> {
        let task = Task::of(&spec.loss);
        let metrics = match (&spec.loss, task) {
            // What the outputs of such a loss mean is not known.
            (LossSpec::Custom(_), task) if !task.has_classes() => Vec::new(),
            _ => Metric::default_for(task),
        };
        Ok(Network { engine: Engine::compile(spec)?, task, metrics, epochs_done: 0 })
    }

    /// Measures these built-in metrics beside the loss and the metrics of [`EngineSpec::metrics`], instead
    /// of the task's default (accuracy, or the mean absolute error).
    ///
    /// # Errors
    /// If one does not fit the task.
    pub fn set_metrics(&mut self, metrics: &[Metric]) -> Result<()> {
        if let Some(metric) = metrics.iter().find(|metric| !metric.fits(self.task)) {
            let (name, task) = (metric.name(), self.task);
            return Err(Error::Usage(format!("the metric {name} does not fit the task {task:?}")));
        }
        self.metrics = metrics.to_vec();
        Ok(())
    }

    /// One training step on a batch of the caller's at the optimizer's learning rate; gives the loss
    /// before the update.
    ///
    /// # Errors
    /// For a batch that does not fit the model, an id beyond a vocabulary, and when the loss is not finite.
    /// In the last case the update was made, and weights may not be finite either.
    pub fn train_on_batch(&mut self, batch: &Batch) -> Result<f32> {
        let rate = self.engine.spec().optimizer.schedule().at(self.engine.step());
        self.train_on_batch_at(batch, rate)
    }

    /// The same at a learning rate of the caller's, for a training loop with a schedule of its own.
    ///
    /// # Errors
    /// As [`Network::train_on_batch`].
    pub fn train_on_batch_at(&mut self, batch: &Batch, learning_rate: f64) -> Result<f32> {
        self.engine.check(batch)?;
        let loss = self.engine.train(batch, learning_rate as f32)?.loss;
        if loss.is_finite() {
            return Ok(loss);
        }
        Err(not_finite(&self.engine, loss, &self.engine.why_not_finite(batch)))
    }

    /// Steps trained so far.
    pub fn step(&self) -> u64 {
        self.engine.step()
    }

    /// Loss and metrics on `data`, by name.
    ///
    /// # Errors
    /// For data that does not fit the model or cannot be read, an id beyond a vocabulary, and if the loss is
    /// not finite.
    pub fn evaluate(&mut self, data: Arc<dyn Dataset>) -> Result<Figures> {
        let measure = Measure { task: self.task, metrics: self.metrics.clone() };
        measure.on(&mut self.engine, &data)
    }

    /// Probabilities of the classes (or values, for regression) of each sample in `x`, a row of
    /// [`Network::num_outputs`] each; `x` holds whole samples one after the other. For models with one
    /// input; see also [`Network::predict_batch`].
    ///
    /// Any number of threads may call it at once. They share the weights; each call that overlaps others
    /// has memory of its own for what lies between the layers. The network's threads help one call at a
    /// time, the others run on their caller's thread alone, with the same results.
    ///
    /// # Errors
    /// If `x` is not a whole number of samples, for an id beyond a vocabulary, and if an output is not
    /// finite.
    pub fn predict(&self, x: &[f32]) -> Result<Vec<f32>> {
        let width = self.engine.sample_len();
        if width == 0 || !x.len().is_multiple_of(width) {
            return Err(Error::Run(format!(
                "predict: a sample has {width} values, and {} is not a multiple of that",
                x.len()
            )));
        }
        let mut outputs = Vec::with_capacity(x.len() / width * self.num_outputs());
        for samples in x.chunks(width * AT_ONCE) {
            self.predict_to(&Batch::of_x(samples.to_vec(), &[width]), &mut outputs)?;
        }
        Ok(outputs)
    }

    /// The same for a batch of the caller's, whose fields are the model's inputs by name.
    ///
    /// # Errors
    /// For a batch that does not fit the model, and as [`Network::predict`].
    pub fn predict_batch(&self, batch: &Batch) -> Result<Vec<f32>> {
        let mut outputs = Vec::new();
        self.predict_to(batch, &mut outputs)?;
        Ok(outputs)
    }

    /// The same for all samples of a dataset, in their order; its labels, if it has some, are not read.
    ///
    /// # Errors
    /// For data that does not fit the model or cannot be read, and as [`Network::predict`].
    pub fn predict_all(&self, data: Arc<dyn Dataset>) -> Result<Vec<f32>> {
        let mut outputs = Vec::new();
        let mut loader = Loader::new(data, LoaderOptions::one_pass(AT_ONCE))?;
        while let Some(batch) = loader.next_batch()? {
            self.predict_to(batch, &mut outputs)?;
        }
        Ok(outputs)
    }

    fn predict_to(&self, batch: &Batch, outputs: &mut Vec<f32>) -> Result<()> {
        self.engine.check_ids(batch)?;
        let before = outputs.len();
        self.engine.predict_shared(batch, outputs)?;
        if outputs[before..].iter().all(|v| v.is_finite()) {
            return Ok(());
        }
        let why = self.engine.why_not_finite(batch);
        Err(Error::Run(format!("predict: an output is not finite; {why}")))
    }

    /// Values that the model puts out for each sample.
    pub fn num_outputs(&self) -> usize {
        self.engine.num_outputs()
    }

    /// Writes weights, optimizer state and statistics as a safetensors file, which takes the place of one
    /// that is there at once.
    ///
    /// # Errors
    /// If the file cannot be written, or a value is not finite; a file that is there stays then.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let (path, state) = (path.as_ref(), self.engine.state());
        check_finite(state.tensors(), &format!("{}: is not written", path.display()))?;
        replace_by(path, |file| write_tensors(file, self.engine.step(), state.tensors()))
    }

    /// Takes over what [`Network::save`] wrote.
    ///
    /// # Errors
    /// If the file is not one of this model, naming the first tensor that differs, or has a value that is not
    /// finite. The network is as it was then.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let tensors =
            read_tensors(path).map_err(|why| Error::Run(format!("{}: {why}", path.display())))?;
        check_finite(&tensors, &format!("{}: is not taken over", path.display()))?;
        Ok(self.engine.set_state(&tensors)?)
    }

    /// The compiled model itself.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The compiled model itself.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }
}

/// # Errors
/// If a value is not finite, naming its tensor; `what` says what is not done then.
pub(crate) fn check_finite(tensors: &[StateTensor], what: &str) -> Result<()> {
    match tensors.iter().find(|tensor| !tensor.values.is_finite().unwrap_or(false)) {
        Some(bad) => Err(Error::Run(format!(
            "{what}: {} holds a value that is not finite; help: load weights from before, lower the \
             learning rate, or clip gradients",
            bad.name
        ))),
        None => Ok(()),
    }
}

/// What is measured on data.
pub(crate) struct Measure {
    pub(crate) task: Task,
    pub(crate) metrics: Vec<Metric>,
}

impl Measure {
    /// Loss and metrics on `data`, by name.
    pub(crate) fn on(&self, engine: &mut Engine, data: &Arc<dyn Dataset>) -> Result<Figures> {
        let options = EvaluateOptions {
            task: self.task,
            metrics: self.metrics.clone(),
            batch_size: default_batch_size(engine.spec().batch_size),
            mistakes: 0,
            drawn: false,
            data_threads: None,
            read_ahead: None,
        };
        let figures = evaluate(engine, data, &options)?.figures;
        match figures.get("loss") {
            Some(loss) if !loss.is_finite() => Err(not_finite_on(engine, data, *loss)),
            _ => Ok(figures),
        }
    }
}

/// Looks for the sample whose loss is not finite.
fn not_finite_on(engine: &mut Engine, data: &Arc<dyn Dataset>, loss: f64) -> Error {
    let mut find = || -> Result<Option<String>> {
        let mut loader = Loader::new(data.clone(), LoaderOptions::one_pass(1))?;
        while let Some(batch) = loader.next_batch()? {
            if engine.evaluate(batch)?.losses.iter().any(|l| !l.is_finite()) {
                let (sample, why) = (batch.position, engine.why_not_finite(batch));
                return Ok(Some(format!("the loss of sample {sample} is not finite; {why}")));
            }
        }
        Ok(None)
    };
    match find() {
        Ok(Some(why)) => Error::Run(why),
        Ok(None) => Error::Run(format!("the loss on the data is {loss}")),
        Err(error) => error,
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("parameters", &self.engine.num_parameters())
            .field("outputs", &self.num_outputs())
            .field("step", &self.step())
            .finish_non_exhaustive()
    }
}

/// Samples that are predicted at once.
const AT_ONCE: usize = 256;
