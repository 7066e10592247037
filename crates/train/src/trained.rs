//! A run's model, used: measured on other data, or asked about files.

use std::cell::Cell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_engine::data::{
    DataSpec, Dataset, Known, LabelKind, Like, Loader, LoaderOptions, NumpyLabels,
};
use tidemill_engine::engine::Engine;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::evaluate::{Evaluation, evaluate, skipped};
use tidemill_engine::folder::RunFolder;
use tidemill_engine::metrics::Task;
use tidemill_engine::nn::Targets;
use tidemill_engine::transcript::greedy;
use tidemill_engine::{Average, Averaging};
use tidemill_recipe::data::open_one;
use tidemill_recipe::stream::features::Labels;
use tidemill_recipe::{DataPaths, RecipeFile, engine_spec, evaluate_options};

use crate::files::check_exist;
use crate::targets::check_sums;
use crate::transcribe::text_of;

/// The batch that a model is compiled for which only predicts.
const MOST_ROWS: usize = 1024;

/// Which of a run's weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// Those that the run ended with.
    #[default]
    Latest,
    /// Those of its best epoch.
    Best,
    /// Those of the checkpoint of this step.
    Step(u64),
}

impl Weights {
    /// Those that the options `--best` and `--checkpoint STEP` of a command ask for.
    pub fn asked_for(best: bool, step: Option<u64>) -> Weights {
        match (step, best) {
            (Some(step), _) => Weights::Step(step),
            (None, true) => Weights::Best,
            (None, false) => Weights::Latest,
        }
    }
}

/// A run's model with its weights.
pub struct Trained {
    /// The run's recipe.
    pub file: RecipeFile,
    /// The names of the classes; empty where the task has none.
    pub class_names: Vec<String>,
    /// The step of the weights.
    pub step: u64,
    /// The checkpoint that they are from.
    pub checkpoint: PathBuf,
    /// Whether the weights are averages over the steps.
    averaged: bool,
    /// Whether those of the best epoch were asked for, and there is none.
    lacks_best: bool,
    /// What was learned of columns and labels, of a table or a stream.
    known: Known,
    engine: Engine,
}

/// What the model says about one sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prediction {
    /// The file, or file and line.
    pub source: String,
    /// The class, where the task has classes.
    pub class: Option<String>,
    /// How sure the model is of it.
    pub probability: f32,
    /// Probabilities of all classes, or the values themselves in the units of the labels.
    pub outputs: Vec<f64>,
    /// The columns of its row that are passed on, as they are written.
    pub kept: Vec<String>,
    /// The text, where the model writes what a sound says.
    pub text: Option<String>,
    /// Where any number of classes may be true: what is between their names in `class`.
    pub separator: Option<char>,
}

impl Trained {
    /// Loads the model of the run in the folder `run`.
    pub fn open(run: &Path, weights: Weights, threads: Option<usize>) -> Result<Trained> {
        let folder = RunFolder::open(run)?;
        let mut file = RecipeFile::read(&folder.recipe_path(), &[])?;
        file.only_network()?;
        let checkpoints = folder.checkpoints(1);
        let found = match weights {
            Weights::Latest => checkpoints.latest()?,
            Weights::Best => checkpoints.best_or_newest()?,
            Weights::Step(step) => Some(checkpoints.of_step(step)?),
        };
        let lacks_best = matches!(weights, Weights::Best) && !checkpoints.has_best();
        let Some(checkpoint) = found else {
            return Err(Error::Usage(format!(
                "{}: has no checkpoint; train it first",
                run.display()
            )));
        };
        if let Some(tokenizer) = checkpoint.tokenizer()? {
            file.set_tokenizer(tokenizer)?;
        }
        file.thaw(checkpoint.meta.epoch)?;
        let mut spec = engine_spec(&file, threads);
        // No step of training is taken, so that its memory need not be that of a large batch.
        // Sequences come in plans of their own, and a batch of them at their longest is large.
        let sequences = spec.model.signature().inputs().iter().any(|f| f.time().is_some());
        spec.batch_size = spec.batch_size.min(if sequences { 2 } else { MOST_ROWS });
        let mut engine = Engine::compile(spec)?;
        checkpoint.load_into(&mut engine)?;
        let averaged = Average::is_in(&checkpoint);
        if averaged {
            Average::restore(&engine, Averaging::Ema(0.0), &checkpoint)?.swap(&mut engine);
        }
        let (meta, checkpoint) = (checkpoint.meta, checkpoint.path);
        let (step, known) = (meta.step, meta.known);
        // A stream may have brought further classes.
        let class_names = match known.labels.as_ref().map(|labels| labels.names()) {
            Some(names) if !names.is_empty() => names,
            _ => meta.class_names,
        };
        Ok(Trained { file, class_names, step, checkpoint, averaged, lacks_best, known, engine })
    }

    /// The classes of the model's outputs, the two of one output; none where no label has taken one. Empty for values without
    /// names.
    pub fn output_classes(&self) -> Vec<Option<String>> {
        if !self.file.recipe.task().has_classes() {
            return self.class_names.iter().cloned().map(Some).collect();
        }
        let class = |i| Labels::class_of(self.known.labels.as_ref(), i, &self.class_names);
        (0..self.engine.num_outputs().max(2)).map(class).collect()
    }

    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Which weights these are, for people.
    pub fn weights_in_words(&self) -> String {
        let what = if self.averaged { "the average kept up to" } else { "those of" };
        let (step, path) = (self.step, self.checkpoint.display());
        let best = match self.lacks_best {
            true => {
                "; the run has no best epoch, which only batches with validation data have, so that --best names its newest weights"
            }
            false => "",
        };
        format!("the weights are {what} step {step} ({path}){best}")
    }

    /// Measures the model on `data`, or on the recipe's validation data. Files take the place of
    /// those that the recipe's training data names.
    pub fn evaluate(&mut self, data: &[PathBuf]) -> Result<Evaluation> {
        let spec = self.measured(data)?;
        let set = self.open_spec(&spec)?;
        if set.label_kind() == LabelKind::None {
            return Err(Error::Usage(self.without_labels(&spec, set.as_ref())));
        }
        if let Some(wrong) = check_sums(&self.file, "data", set.as_ref()) {
            return Err(Error::Usage(wrong.to_string()));
        }
        let options = evaluate_options(&self.file);
        evaluate(&mut self.engine, &set, &options)
    }

    /// The data to measure on: `data`, or the recipe's validation data.
    pub(crate) fn measured(&self, data: &[PathBuf]) -> Result<DataSpec> {
        let batch = &self.file.recipe.batch;
        check_exist(data)?;
        match (data, &batch.validation) {
            ([], Some(validation)) => Ok(validation.clone()),
            ([], None) => Err(Error::Usage(
                "the recipe has no batch.validation; name data with --data".into(),
            )),
            (files, _) => {
                let spec = match &batch.validation {
                    Some(validation) => validation,
                    None => &self.data_spec()?,
                };
                self.spec_of(spec, files)
            }
        }
    }

    /// The texts of both sides of the data to measure on.
    pub(crate) fn pairs(&self, data: &[PathBuf]) -> Result<Vec<(String, String)>> {
        match self.measured(data)? {
            DataSpec::Parallel(pairs) => {
                let paths = DataPaths::new(&self.file.path);
                Ok(pairs.pairs(&|name| paths.resolve(name))?)
            }
            _ => Err(Error::Usage("the data have no texts of two sides to compare".into())),
        }
    }

    /// Says that there is nothing to compare with.
    fn without_labels(&self, spec: &DataSpec, set: &dyn Dataset) -> String {
        let label = self.known.schema.as_ref().and_then(|schema| schema.label.as_ref());
        let (DataSpec::Csv(table), Some(label)) = (spec, label) else {
            return "the data have no labels to compare with; name those too, such as --data IMAGES \
                    LABELS for IDX files, or use predict"
                .into();
        };
        let others = set.understood().map(|u| u.ignored.join(", ")).unwrap_or_default();
        let others = match others.is_empty() {
            true => others,
            false => format!(" (columns that the model does not use: {others})"),
        };
        let path = &table.path;
        format!(
            "{path}: has no column `{label}`, the label to compare with{others}; use predict for data \
             without labels"
        )
    }

    /// Says what the model thinks of each sample of `files`, in their order; a table's columns `keep` are
    /// passed on. What is broken is left out, whatever the recipe says of training data; gives what a user
    /// should know of that and of the data.
    ///
    /// # Errors
    /// If a named file does not exist, the data does not fit the model, or all of it is broken.
    pub fn predict(
        &mut self,
        files: &[PathBuf],
        keep: &[String],
        each: &mut dyn FnMut(Prediction) -> Result<()>,
    ) -> Result<Vec<String>> {
        check_exist(files)?;
        let kept = self.kept(files, keep)?;
        if self.transcribes() {
            return self.predict_sounds(files, each);
        }
        let set = self.open_files(files)?;
        self.predict_set(&set, kept.as_ref(), each)
    }

    /// The same of sounds whose words are written down, in their order: those that are longer than the samples of training are heard piece by
    /// piece.
    fn predict_sounds(
        &mut self,
        files: &[PathBuf],
        each: &mut dyn FnMut(Prediction) -> Result<()>,
    ) -> Result<Vec<String>> {
        let files = self.sounds_by_length(files)?;
        let (mut notes, mut first_error) = (Vec::new(), None);
        let (written, is_over) = (Cell::new(0_u64), Cell::new(false));
        let mut count = |prediction: Prediction| {
            written.set(written.get() + 1);
            each(prediction).inspect_err(|_| is_over.set(true))
        };
        for group in files.chunk_by(|a, b| !a.1 && !b.1) {
            let done = match group {
                [(path, true)] => self.transcribe_long(path).and_then(|(text, odd)| {
                    let source = path.display().to_string();
                    count(Prediction { source, text: Some(text), ..Prediction::default() })?;
                    Ok(odd)
                }),
                group => {
                    let paths: Vec<PathBuf> = group.iter().map(|(path, _)| path.clone()).collect();
                    let set = self.open_files(&paths);
                    set.and_then(|set| self.predict_set(&set, None, &mut count))
                }
            };
            match done {
                Ok(more) => notes.extend(more),
                // One that cannot be read keeps none of the others from being written down.
                Err(e) if files.len() > 1 && !is_over.get() => {
                    notes.push(e.to_string());
                    first_error = first_error.or(Some(e));
                }
                Err(e) => return Err(e),
            }
        }
        match first_error {
            Some(e) if written.get() == 0 => Err(e),
            _ => Ok(notes),
        }
    }

    /// The same for the samples of an open dataset.
    pub(crate) fn predict_set(
        &mut self,
        set: &Arc<dyn Dataset>,
        kept: Option<&HashMap<u64, Vec<String>>>,
        each: &mut dyn FnMut(Prediction) -> Result<()>,
    ) -> Result<Vec<String>> {
        let options = evaluate_options(&self.file);
        let mut predicted = 0_u64;
        let (task, width) = (self.file.recipe.task(), self.engine.num_outputs());
        if self.known.labels.as_ref().is_some_and(|labels| !labels.is_known()) {
            return Err(Error::Usage(
                "the run has learned from no label: no class is known".into(),
            ));
        }
        let by_position = self.engine.by_position();
        let tokenizer = self.file.tokenizer().cloned();
        let (separator, classes) = (self.separator(), self.output_classes());
        let mut loader = Loader::new(set.clone(), LoaderOptions::one_pass(options.batch_size))?;
        while let Some(batch) = loader.next_batch()? {
            let outputs = self.engine.predict(batch)?;
            let stride = (outputs.len() / batch.len.max(1)).max(1);
            for (i, row) in outputs.chunks(stride).take(batch.len).enumerate() {
                // A sample of no weight is one that was left out.
                if batch.weights[i] == 0.0 {
                    continue;
                }
                let source = set.describe(batch.indices[i] as usize);
                // Of a sequence, the positions up to its end.
                let lengths = batch.columns.first().map(|c| &c.lengths[..]).unwrap_or_default();
                let row = match (by_position, lengths.get(i)) {
                    (true, Some(&length)) => &row[..length.max(0) as usize * width],
                    _ => row,
                };
                if task.is_transcript() {
                    let text = tokenizer.as_ref().map(|t| text_of(t, &greedy(task, row, width)));
                    each(Prediction { source, text, ..Prediction::default() })?;
                    predicted += 1;
                    continue;
                }
                let name = |i: usize| classes.get(i).cloned().flatten();
                let (class, probability) = task.class_in_words(row, width, separator, name).unzip();
                let labels = self.known.labels.as_ref().filter(|_| !task.has_classes());
                let outputs = Labels::in_units(labels, row);
                let line = || source.rsplit(':').next().and_then(|line| line.parse::<u64>().ok());
                let kept = kept.and_then(|kept| kept.get(&line()?).cloned());
                each(Prediction {
                    source,
                    class,
                    probability: probability.unwrap_or(1.0),
                    outputs,
                    kept: kept.unwrap_or_default(),
                    text: None,
                    separator,
                })?;
                predicted += 1;
            }
        }
        match (skipped(set.as_ref()), predicted) {
            (Some(what), 0) => Err(Error::Run(format!("nothing could be predicted: {what}"))),
            (what, _) => Ok(set.notes().into_iter().chain(what).collect()),
        }
    }

    /// What is between the classes of a prediction that may have several.
    fn separator(&self) -> Option<char> {
        let (task, width) = (self.file.recipe.task(), self.engine.num_outputs());
        match &self.known.labels {
            Some(labels) => labels.separator(),
            // Arrays of a yes or no for each class; folders of images are classes, of which one is true.
            None => {
                let arrays = matches!(self.file.recipe.batch.data, Some(DataSpec::Numpy(_)));
                let is_set = arrays || self.class_names.is_empty();
                (task == Task::Binary && width > 1 && is_set).then_some(';')
            }
        }
    }

    /// The columns of a table that are passed on, by line; none where none are asked for.
    fn kept(
        &self,
        files: &[PathBuf],
        keep: &[String],
    ) -> Result<Option<HashMap<u64, Vec<String>>>> {
        if keep.is_empty() {
            return Ok(None);
        }
        match (self.spec_of(&self.data_spec()?, files)?, files) {
            (DataSpec::Csv(table), [file]) => {
                Ok(Some(tidemill_engine::data::table::carry::columns(&table, file, keep)?))
            }
            _ => Err(Error::Usage(
                "--keep passes on columns of a table, and the data is none".into(),
            )),
        }
    }

    pub(crate) fn open_spec(&self, spec: &DataSpec) -> Result<Arc<dyn Dataset>> {
        let paths = DataPaths::new(&self.file.path);
        // Of arrays the scale of the targets and the type of the samples are all that is learned.
        let is_array = matches!(spec, DataSpec::Numpy(_));
        let of_arrays = |known: &Known| known.labels.is_some() || known.sample_type.is_some();
        let known =
            Some(&self.known).filter(|known| known.is_fitted() || (is_array && of_arrays(known)));
        // Classes keep the numbers of the training data, which is not opened.
        let (class_names, num_classes) = (&self.class_names[..], self.class_names.len());
        let num_classes = Some(num_classes).filter(|&n| n > 0);
        let tokenizer = self.file.tokenizer();
        // Labels mean what those of the training data do, however they are stored.
        let labels = match self.file.recipe.training.loss.targets() {
            Targets::ClassIds => Some(NumpyLabels::Class),
            _ if !self.file.recipe.task().has_classes() => Some(NumpyLabels::Values),
            _ => num_classes.map(|_| NumpyLabels::Class),
        };
        let like = || Some(Like { class_names, num_classes, labels, known, tokenizer });
        open_one(&self.file, "batch.validation", spec, &paths, known, like)
    }
}
