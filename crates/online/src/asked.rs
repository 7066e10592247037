//! A hashed linear model that learned from a stream, used afterwards: asked about files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidemill_engine::data::Known;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::folder::RunFolder;
use tidemill_engine::metrics::{Figures, Task};
use tidemill_engine::prequential::{Prequential, Truth};
use tidemill_recipe::RecipeFile;
use tidemill_recipe::stream::features::{HashedColumns, Label, Labels};
use tidemill_recipe::stream::{
    Decoded, Event, Events, Format, OpenOptions, Poll, Records, decoder, format_of, open,
};

use crate::error::stream_error;
use crate::linear::LinearLearner;
use crate::model::{StreamModel, build_linear};
use crate::start::newest_of;
use crate::state::StreamState;

/// Bytes of records that are read at once.
const BLOCK: usize = 1 << 20;

/// A linear model with what its run has learned of columns and labels.
pub struct Asked {
    file: RecipeFile,
    model: LinearLearner,
    known: Known,
    format: Option<Format>,
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
    /// The probability of yes, or the value in the units of the labels.
    pub output: f64,
}

impl Asked {
    /// Loads the model of the run in the folder `run`, whose recipe has `online.linear`.
    ///
    /// # Errors
    /// If there is no such run, or it has no checkpoint.
    pub fn open(run: &Path) -> Result<Asked> {
        let file = RecipeFile::read(&RunFolder::open(run)?.recipe_path(), &[])?;
        let Some(linear) = &file.recipe.online.linear else {
            return Err(Error::Usage(format!("{}: has no hashed linear model", run.display())));
        };
        let mut model = build_linear(&file, linear, None)?;
        let checkpoint = newest_of(run)?;
        StreamModel::load(&mut model, &checkpoint)?;
        let state = StreamState::of(&checkpoint.meta)?;
        let format = state.and_then(|state| state.format);
        Ok(Asked { known: checkpoint.meta.known, file, model, format })
    }

    /// Whether the recipe of the run in a folder is one of a linear model.
    ///
    /// # Errors
    /// If there is no such run.
    pub fn is_linear(run: &Path) -> Result<bool> {
        let file = RecipeFile::read(&RunFolder::open(run)?.recipe_path(), &[])?;
        Ok(file.recipe.online.linear.is_some())
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
        &self,
        files: &[PathBuf],
        each: &mut dyn FnMut(AskedEvent) -> Result<()>,
    ) -> Result<()> {
        let names = self.known.labels.as_ref().map(Labels::names).unwrap_or_default();
        self.read(files, &mut |source, output, _| {
            let (class, probability) = match self.model.prequential().task() {
                Task::Values => (None, 1.0),
                _ => {
                    let yes = output > 0.5;
                    let name = names.get(usize::from(yes)).cloned();
                    let class = name.unwrap_or_else(|| u8::from(yes).to_string());
                    (Some(class), if yes { output } else { 1.0 - output })
                }
            };
            let output = match (&self.known.labels, class.is_some()) {
                (Some(labels), false) => labels.unscale(output),
                _ => f64::from(output),
            };
            each(AskedEvent { source, class, probability, output })
        })
    }

    /// The figures over `files`.
    ///
    /// # Errors
    /// As [`Asked::predict`], and if no event has a label.
    pub fn evaluate(&self, files: &[PathBuf]) -> Result<Figures> {
        if files.is_empty() {
            return Err(Error::Usage(
                "a linear model has no validation data: name data with --data".into(),
            ));
        }
        let task = self.model.prequential().task();
        let mut scores = Prequential::new(task, 1, self.model.prequential().spec().clone());
        let labels = self.known.labels.as_ref();
        self.read(files, &mut |source, output, event| {
            let label = labels.map_or(Ok(None), |labels| labels.transform(event.label()));
            let label = label.map_err(|bad| Error::Usage(format!("{source}: {}", bad.reason)))?;
            match (label, Labels::number(event.label())) {
                (Some(Label::Class(class)), _) => {
                    scores.add(&[output], Truth::Class(class), 0.0, event.weight());
                }
                (Some(Label::Value(_)), Some(target)) => {
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

    /// Gives each event with its place and the model's output.
    fn read(
        &self,
        files: &[PathBuf],
        each: &mut dyn FnMut(String, f32, Event<'_>) -> Result<()>,
    ) -> Result<()> {
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
            spec.unlabelled = true;
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
                        (none, Some(schema)) => none.insert(HashedColumns::new(schema)),
                        (_, None) => return Err(bad("its columns are not known".into())),
                    };
                    let event = events.get(0);
                    let output = columns.features(event).map_err(|e| bad(e.reason))?;
                    let output = self.model.predict(output);
                    each(place, output, event)?;
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
