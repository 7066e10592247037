//! A hashed linear model that learned from a stream, used afterwards: asked about files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidemill_engine::data::Known;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::folder::RunFolder;
use tidemill_engine::metrics::Figures;
use tidemill_engine::prequential::{Prequential, Truth};
use tidemill_recipe::RecipeFile;
use tidemill_recipe::stream::features::{HashedColumns, Label, Labels};
use tidemill_recipe::stream::{
    Decoded, Event, Events, Format, OpenOptions, Poll, Records, decoder, format_of, open,
};

use crate::error::stream_error;
use crate::linear::LinearLearner;
use crate::model::{StreamModel, build_linear};
use crate::start::checkpoint_of;
use crate::state::StreamState;

/// Bytes of records that are read at once.
const BLOCK: usize = 1 << 20;

/// A linear model with what its run has learned of columns and labels.
pub struct Asked {
    file: RecipeFile,
    model: LinearLearner,
    known: Known,
    format: Option<Format>,
    checkpoint: PathBuf,
}

/// What the model says of one event.
#[derive(Clone, Debug)]
pub struct AskedEvent {
    /// The file and the line.
    pub source: String,
    /// The name of the class, where the task has classes.
    pub class: Option<String>,
    /// The probability of that class.
    pub probability: f32,
    /// The probability of yes or of each class, or the value in the units of the labels.
    pub outputs: Vec<f64>,
}

/// Takes the place of an event, the model's outputs for it, and the event.
type Each<'a> = dyn FnMut(String, &[f32], Event<'_>) -> Result<()> + 'a;

impl Asked {
    /// Loads the model of the run in the folder `run`, whose recipe has `online.linear`: that of the
    /// checkpoint of `step`, or of the last one.
    ///
    /// # Errors
    /// If there is no such run or checkpoint, or it is damaged or cannot be read.
    pub fn open(run: &Path, step: Option<u64>) -> Result<Asked> {
        let file = RecipeFile::read(&RunFolder::open(run)?.recipe_path(), &[])?;
        let Some(linear) = &file.recipe.online.linear else {
            return Err(Error::Usage(format!("{}: has no hashed linear model", run.display())));
        };
        let mut model = build_linear(&file, linear, None)?;
        let checkpoint = checkpoint_of(run, step)?;
        StreamModel::load(&mut model, &checkpoint)?;
        let state = StreamState::of(&checkpoint.meta)?;
        let format = state.and_then(|state| state.format);
        let (known, checkpoint) = (checkpoint.meta.known, checkpoint.path);
        Ok(Asked { known, file, model, format, checkpoint })
    }

    /// Whether the recipe of the run in a folder is one of a linear model.
    ///
    /// # Errors
    /// If there is no such run.
    pub fn is_linear(run: &Path) -> Result<bool> {
        let file = RecipeFile::read(&RunFolder::open(run)?.recipe_path(), &[])?;
        Ok(file.recipe.online.linear.is_some())
    }

    /// Which weights these are, for people.
    pub fn weights_in_words(&self) -> String {
        format!("the weights are those of step {} ({})", self.steps(), self.checkpoint.display())
    }

    /// Steps learned.
    pub fn steps(&self) -> u64 {
        StreamModel::steps(&self.model)
    }

    /// Predicts each event of `files`, in their order.
    ///
    /// # Errors
    /// If a file cannot be read, or a record of it: then the error names the line.
    pub fn predict(
        &mut self,
        files: &[PathBuf],
        each: &mut dyn FnMut(AskedEvent) -> Result<()>,
    ) -> Result<()> {
        let labels = self.known.labels.clone();
        let task = self.model.prequential().task();
        if labels.as_ref().is_some_and(|labels| !labels.is_known()) {
            return Err(Error::Usage(
                "the run has learned from no label: no class is known".into(),
            ));
        }
        let classes = self.output_classes();
        self.read(files, true, &mut |source, outputs, _| {
            let name = |i: usize| classes.get(i).cloned().flatten();
            let (class, probability) =
                task.class_in_words(outputs, outputs.len(), None, name).unzip();
            let labels = labels.as_ref().filter(|_| class.is_none());
            let outputs = Labels::in_units(labels, outputs);
            let probability = probability.unwrap_or(1.0);
            each(AskedEvent { source, class, probability, outputs })
        })
    }

    /// The classes of the model's outputs, the two of one output; none where no label has taken one. Empty for values.
    pub fn output_classes(&self) -> Vec<Option<String>> {
        if !self.model.prequential().task().has_classes() {
            return Vec::new();
        }
        let class = |i| Labels::class_of(self.known.labels.as_ref(), i, &[]);
        (0..self.model.num_outputs().max(2)).map(class).collect()
    }

    /// The figures over `files`.
    ///
    /// # Errors
    /// As [`Asked::predict`], and if no event has a label.
    pub fn evaluate(&mut self, files: &[PathBuf]) -> Result<Figures> {
        if files.is_empty() {
            return Err(Error::Usage(
                "a linear model has no validation data: name data with --data".into(),
            ));
        }
        let task = self.model.prequential().task();
        let spec = self.model.prequential().spec().clone();
        let mut scores = Prequential::new(task, self.model.num_outputs(), spec);
        let labels = self.known.labels.clone();
        let labels = labels.as_ref();
        self.read(files, false, &mut |source, outputs, event| {
            let label = labels.map_or(Ok(None), |labels| labels.transform(event.label()));
            let label = label.map_err(|bad| Error::Usage(format!("{source}: {}", bad.reason)))?;
            match (label, Labels::number(event.label())) {
                (Some(Label::Class(class)), _) => {
                    scores.add(outputs, Truth::Class(class), 0.0, event.weight());
                }
                (Some(Label::Value(_)), Some(target)) => {
                    let output = outputs[0];
                    let value = labels.map_or(f64::from(output), |labels| labels.unscale(output));
                    scores.add_values(Some(&[value]), &[target], 0.0, event.weight());
                }
                _ => {}
            }
            Ok(())
        })?;
        if scores.events() == 0 {
            return Err(Error::Usage(
                "the data have no labels to compare with; use predict".into(),
            ));
        }
        let wanted =
            ["accuracy", "auc", "f1", "macro_f1", "kappa", "log_loss", "mae", "rmse", "r2"];
        let figures = scores.figures().into_iter();
        Ok(figures.filter(|(name, _)| wanted.contains(&name.as_str())).collect())
    }

    /// Gives each event with its place and the model's outputs; `unlabelled` says that no label is needed.
    fn read(&mut self, files: &[PathBuf], unlabelled: bool, each: &mut Each<'_>) -> Result<()> {
        let linear = self.file.recipe.online.linear.as_ref();
        let interactions = linear.map(|l| l.interactions.clone()).unwrap_or_default();
        for path in files {
            let address = path.display().to_string();
            let found = format_of(&self.file.recipe.stream, &address);
            let format = found.ok().map(|(format, _)| format).or(self.format);
            let Some(format) = format else {
                let what = format!("{address}: its format is not clear from its name");
                return Err(self.file.error_at("stream.format", &what));
            };
            let options = OpenOptions { format: Some(format), ..OpenOptions::default() };
            let mut source = open(&address, &options).map_err(stream_error)?;
            let mut spec = self.file.stream_format(format)?;
            spec.unlabelled = unlabelled;
            let mut decoder =
                decoder(&spec, format, self.known.schema.clone()).map_err(stream_error)?;
            let (mut records, mut events) = (Records::default(), Events::default());
            let mut columns = None;
            loop {
                records.clear();
                match source.poll(&mut records, BLOCK, Duration::from_secs(1)) {
                    Ok(Poll::End) => break,
                    Ok(_) => {}
                    Err(e) => return Err(stream_error(e)),
                }
                for record in records.iter() {
                    events.clear();
                    let place = format!("{address}:{}", record.mark.minor);
                    let bad = |what: String| Error::Usage(format!("{place}: {what}"));
                    if record.too_long {
                        return Err(bad("the line is too long".into()));
                    }
                    let decoded = decoder.decode(record.bytes, record.first, &mut events);
                    if let Some(lost) = decoder.take_lost().into_iter().next() {
                        return Err(bad(lost.reason));
                    }
                    if decoded.map_err(|e| bad(e.reason))? != Decoded::Event {
                        continue;
                    }
                    let columns: &mut HashedColumns = match (&mut columns, decoder.schema()) {
                        (Some(columns), _) => columns,
                        (none, Some(schema)) => {
                            let hashed = HashedColumns::new(schema, &interactions);
                            let wrong = |what| bad(format!("online.linear.interactions {what}"));
                            none.insert(hashed.map_err(wrong)?)
                        }
                        (_, None) => return Err(bad("its columns are not known".into())),
                    };
                    let event = events.get(0);
                    let features = columns.features(event).map_err(|e| bad(e.reason))?;
                    each(place, self.model.predict(features), event)?;
                }
            }
            let lost = decoder.finish().into_iter().next().map(|bad| bad.reason);
            if let Some(lost) = lost.or_else(|| decoder.lost_column()) {
                return Err(Error::Usage(format!("{address}: {lost}")));
            }
        }
        Ok(())
    }
}
