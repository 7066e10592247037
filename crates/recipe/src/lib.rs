//! The recipe: a TOML file that names model, loss, optimizer, data and stops.
//!
//! Every mistake is reported with file, line and key; an unknown key with the nearest known one.
//!
//! # Layout
//!
//! - [`RecipeFile`]: a recipe with its text; `locate` finds the line of a key, `message` says what
//!   is wrong, `edit` sets values
//! - [`Recipe`] and its sections, with the default of each key; [`online`] is the largest
//! - [`tables`]: what it says about tables and streams of rows; `tokens`: about texts
//! - [`DataPaths`]: where data files are; [`data`]: the datasets, opened and shaped for the loss
//! - [`engine_spec`], [`training_spec`], [`evaluate_options`]: what a recipe compiles to, and how it is measured
//! - [`init`]: a commented recipe for data that is there
//!
//! Those who use it find [`stream`] and [`drift`], whose specifications are sections of a recipe, by
//! its name.
#![forbid(unsafe_code)]

mod augment;
mod compile;
pub mod data;
mod edit;
pub mod init;
mod locate;
mod log;
mod message;
pub mod online;
mod paths;
mod reader;
mod sounds;
mod spec;
mod spikes;
mod stop;
pub mod tables;
mod tokens;
mod unfreeze;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use tidemill_engine::data::DataSpec;
use tidemill_engine::data::tokens::Tokenizer;
use tidemill_engine::metrics::Metric;
use toml_edit::{Document, DocumentMut};

pub use tidemill_drift as drift;
pub use tidemill_stream as stream;

pub use compile::{engine_spec, evaluate_options, training_spec};
pub use paths::{DATA_VARIABLE, DataPaths};
pub use spec::{
    BatchSpec, CheckpointSpec, ClassWeight, OptimizerState, Recipe, ReportSpec, TextSpec,
    TrainingSpec,
};
pub use stop::{Patience, Plateau, StopSpec, Target};

pub use log::LogSpec;
pub use sounds::{AudioSection, EndpointSpec};
pub use spikes::Spikes;
pub use unfreeze::Unfreeze;

use edit::Override;
use online::linear::UpdateRule;
use tidemill_engine::error::{Error, Result};

/// A recipe with the text it came from, for messages about its values.
#[derive(Clone, Debug)]
pub struct RecipeFile {
    /// The recipe.
    pub recipe: Recipe,
    /// Where it was read from.
    pub path: PathBuf,
    source: Source,
    /// What makes tokens of texts, once it is trained or read.
    tokenizer: Option<Arc<Tokenizer>>,
    /// `model.frozen` as it is written, where layers have been taken out of it.
    frozen: Option<Vec<String>>,
}

/// The text of a recipe, and what was set over it.
#[derive(Clone, Debug)]
struct Source {
    /// As messages name it.
    file: String,
    spans: Document<String>,
    edited: DocumentMut,
    overrides: Vec<Override>,
}

impl RecipeFile {
    /// Reads a recipe; each of `overrides` is `a.b=value`, the value in TOML or a bare word.
    pub fn read(path: &Path, overrides: &[String]) -> Result<RecipeFile> {
        if path.is_dir() {
            let own = path.join("recipe.toml");
            if own.is_file() {
                return RecipeFile::read(&own, overrides);
            }
            return Err(Error::Recipe(format!(
                "{}: is a folder, and has no recipe.toml as a run's folder has; name a recipe's file",
                path.display()
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::Recipe(format!("{}: the recipe cannot be read: {e}", path.display()))
        })?;
        Self::parse(&text, path, overrides)
    }

    /// As [`RecipeFile::read`], of a text; `path` is for messages and relative data paths.
    pub fn parse(text: &str, path: &Path, overrides: &[String]) -> Result<RecipeFile> {
        let source = Source::parse(text, path, overrides)?;
        let recipe: Recipe = source.read()?;
        let mut file =
            RecipeFile { recipe, path: path.to_owned(), source, tokenizer: None, frozen: None };
        let later = file.recipe.training.unfreeze.iter().flat_map(|step| step.layers.clone());
        file.recipe.model.later = later.collect();
        file.check_kind()?;
        file.check_sounds()?;
        file.check_augment()?;
        file.check_tokens()?;
        file.expand()?;
        file.check_inputs_of_texts()?;
        file.check_sentences()?;
        file.check_sets()?;
        file.recipe.check().map_err(|(key, message)| file.error_at(&key, &message))?;
        Ok(file)
    }

    /// An error about the value at `key` (such as `layers[2].dense.units`, below `model`, or
    /// `batch.epochs`); `message` continues the sentence that the key begins.
    pub fn error_at(&self, key: &str, message: &str) -> Error {
        let segments = locate::parse_key(key);
        let first = segments.first().map(String::as_str).unwrap_or_default();
        let known = [
            "model",
            "training",
            "batch",
            "text",
            "audio",
            "stream",
            "online",
            "stop",
            "checkpoint",
            "log",
            "report",
        ];
        let full = if known.contains(&first) {
            segments
        } else {
            std::iter::once("model".to_string()).chain(segments).collect()
        };
        self.source.error(&full, message)
    }

    /// Whether the recipe has what its kind of model needs, and nothing of the other kind.
    fn check_kind(&self) -> Result<()> {
        let gives_model = self.gives(&["model"]);
        if self.recipe.online.linear.is_none() {
            self.check_units()?;
            if !gives_model {
                return Err(self.error_at("model", "is missing"));
            }
            if !self.gives(&["model", "layers"]) && !self.recipe.model.is_short() {
                return Err(self.error_at("model.layers", "is missing"));
            }
            return Ok(());
        }
        let both = match (gives_model, self.gives_optimizer()) {
            (true, _) => "model",
            (_, true) => "training.optimizer",
            _ => return self.check_linear(),
        };
        Err(self.error_at(
            both,
            "has no place beside online.linear, which is the model and has its own rules; leave one out",
        ))
    }

    /// Fails at keys that a linear model does not read.
    fn check_linear(&self) -> Result<()> {
        let features = ["online", "features"].map(str::to_owned);
        if let Some(key) = locate::keys(&self.source.edited, &features).first() {
            let what = "has no place beside online.linear, which hashes the columns as they are; leave it \
                        out";
            return Err(self.error_at(&format!("online.features.{key}"), what));
        }
        let rule = self.recipe.online.linear.as_ref().map(|linear| linear.rule);
        let keys = [
            (
                "online.drift",
                true,
                "has no place beside online.linear, whose errors nothing watches yet; leave it out",
            ),
            (
                "online.normalized_rate",
                true,
                "has no place beside online.linear: set online.linear.rule",
            ),
            (
                "online.linear.beta",
                rule != Some(UpdateRule::Ftrl),
                "is for online.linear.rule = \"ftrl\" only; leave it out",
            ),
        ];
        for (key, _, what) in keys.into_iter().filter(|(_, is_wrong, _)| *is_wrong) {
            if self.gives(&key.split('.').collect::<Vec<_>>()) {
                return Err(self.error_at(key, what));
            }
        }
        Ok(())
    }

    /// Targets are standardized only where they may be in any units.
    fn check_units(&self) -> Result<()> {
        self.check_arrays()?;
        let (kind, scaled) = match &self.recipe.batch.data {
            Some(DataSpec::Csv(table)) => ("csv", table.scale_targets),
            Some(DataSpec::Numpy(arrays)) => ("numpy", arrays.scale_targets),
            _ => ("csv", false),
        };
        let keys: [&[&str]; 2] =
            [&["online", "scale_targets"], &["batch", "data", kind, "scale_targets"]];
        let wanted = [self.gives(keys[0]) && self.recipe.online.scale_targets, scaled];
        let metrics = self.recipe.metrics();
        if let (true, Some(i)) = (scaled, metrics.iter().position(|m| *m == Metric::Mape)) {
            let what = format!(
                "= \"mape\" is a share of the labels, which batch.data.{kind}.scale_targets = true moves; leave one of them out"
            );
            return Err(self.error_at(&format!("training.metrics[{i}]"), &what));
        }
        for (key, _) in keys.iter().zip(wanted).filter(|(_, wanted)| *wanted) {
            if !self.recipe.task().in_any_units() {
                let loss = self.recipe.training.loss.name();
                let what = format!("= true has no meaning for the loss {loss}; leave it out");
                return Err(self.error_at(&key.join("."), &what));
            }
        }
        Ok(())
    }

    fn gives(&self, path: &[&str]) -> bool {
        let path: Vec<String> = path.iter().map(|part| part.to_string()).collect();
        locate::exists(&self.source.edited, &path)
    }

    /// The keys that the recipe gives in a section, such as `online`.
    pub fn keys_of(&self, section: &str) -> Vec<String> {
        let table = self.source.edited.get(section).and_then(|item| item.as_table_like());
        table.map_or_else(Vec::new, |table| table.iter().map(|(key, _)| key.to_owned()).collect())
    }

    /// Whether the recipe names an optimizer.
    pub fn gives_optimizer(&self) -> bool {
        self.gives(&["training", "optimizer"])
    }

    /// For commands that take networks only.
    ///
    /// # Errors
    /// If the recipe's model is a hashed linear one.
    pub fn only_network(&self) -> Result<()> {
        match self.recipe.online.linear {
            None => Ok(()),
            Some(_) => Err(self.error_at(
                "online.linear",
                "learns from streams only: this command is for models of layers; use `tidemill learn`",
            )),
        }
    }

    /// The data of `[batch]`, which a recipe for streams need not have.
    pub fn batch_data(&self) -> Result<&DataSpec> {
        self.recipe.batch.data.as_ref().ok_or_else(|| {
            self.error_at("batch.data", "is missing: name the data to train on, or learn from a stream with `tidemill learn`")
        })
    }

    /// The recipe's text with all overrides; comments stay.
    pub fn to_toml(&self) -> String {
        self.source.edited.to_string()
    }

    /// Writes the found places of the data into the text, so that the copy in a run's folder can be
    /// read from anywhere.
    pub fn set_paths(&mut self, paths: &DataPaths) {
        edit::set_paths(&mut self.source.edited, &paths.found());
    }

    /// The same recipe with the fold `number` of `of` (from 1) of its training data for validation and the others for training.
    ///
    /// # Errors
    /// If its data has no folds, such as one long text.
    pub fn with_fold(&self, number: usize, of: usize) -> Result<RecipeFile> {
        let mut document = self.source.edited.clone();
        if !edit::set_fold(&mut document, &format!("{number}/{of}")) {
            self.batch_data()?;
            return Err(self.error_at("batch.data", "has no folds"));
        }
        RecipeFile::parse(&document.to_string(), &self.path, &[])
    }

    /// The fold of the training data that is held out, such as `2/3`, if one is.
    pub fn fold(&self) -> Option<String> {
        let data = self.source.edited.get("batch")?.get("data")?.as_table_like()?;
        let (_, options) = data.iter().next()?;
        Some(options.get("validation_split")?.as_str()?.to_owned())
    }

    /// Makes the names of the data absolute, where they are found, so that the copy in a run's folder
    /// can be read from anywhere.
    pub fn absolute_paths(&mut self) {
        let paths = DataPaths::new(&self.path);
        let batch = &self.recipe.batch;
        for spec in batch.data.iter().chain(&batch.validation) {
            spec.files().iter().for_each(|name| {
                paths.resolve(name);
            });
        }
        self.set_paths(&paths);
        let stream = &self.recipe.stream;
        if stream.image.is_some() {
            let folder = paths.resolve(stream.image_folder.as_deref().unwrap_or("."));
            edit::set_image_folder(&mut self.source.edited, &folder.display().to_string());
        }
        if let Some(folder) = &self.recipe.online.corrections.sound_folder {
            let folder = paths.resolve(folder).display().to_string();
            edit::set_sound_folder(&mut self.source.edited, &folder);
        }
    }

    /// The fingerprint of the options by which samples are read, wherever they are.
    pub fn data_options_sha256(&self) -> String {
        let r = &self.recipe;
        let mut data = r.batch.data.clone();
        if let Some(data) = &mut data {
            data.forget_place();
        }
        let parts = format!("{data:?} {:?} {:?}", r.stream, r.online.features);
        // Recipes from before there were these options keep their number.
        let parts = [", augment: None", ", reduced_decoding: false", ", group: None"]
            .iter()
            .fold(parts, |parts, option| parts.replace(option, ""));
        let parts = if self.reads_sounds() { format!("{parts} {:?}", r.audio) } else { parts };
        tidemill_engine::checkpoint::sha256(parts.as_bytes())
    }

    /// The keys that have another value than in the text of another recipe, but for those that say where
    /// data is and for how long a run continues.
    pub fn differences(&self, other: &str) -> Vec<String> {
        let Ok(other) = other.parse::<DocumentMut>() else { return Vec::new() };
        edit::differences(&self.source.edited, &other)
            .into_iter()
            .filter(|key| {
                ![
                    "batch.data",
                    "batch.validation",
                    "batch.epochs",
                    "stop.",
                    "checkpoint.",
                    "log.",
                    "model.from.",
                    "report.",
                ]
                .iter()
                .any(|start| key.starts_with(start))
            })
            .collect()
    }

    /// The error of a checkpoint that belongs to another model, with the first key in which this recipe differs from `old`, that of
    /// the run; any other error stays as it is.
    pub fn of_misfit(&self, error: Error, old: Option<&str>) -> Error {
        let is_misfit = matches!(&error, Error::Checkpoint { what, .. } if what.starts_with(tidemill_engine::checkpoint::MISFIT));
        let mut keys =
            old.filter(|_| is_misfit).map(|old| self.differences(old)).unwrap_or_default();
        keys.retain(|key| key.starts_with("model.") || key.starts_with("training.optimizer."));
        let [key, others @ ..] = &keys[..] else { return error };
        let others = match others.len() {
            0 => String::new(),
            _ => {
                format!(" (and {})", others.iter().take(5).cloned().collect::<Vec<_>>().join(", "))
            }
        };
        let what = format!(
            "has changed{others} since the run's checkpoint was written, whose weights do not fit what it says now: leave it as it was, \
             or start a new run with --out"
        );
        self.error_at(key, &what)
    }

    /// The fingerprint of all that decides the weights after a given number of steps.
    pub fn sha256(&self) -> String {
        let r = &self.recipe;
        let b = &r.batch;
        let mut model = r.model.clone();
        self.frozen.iter().for_each(|frozen| model.frozen.clone_from(frozen));
        model.later = Vec::new();
        if let Some(from) = &mut model.from {
            // Paths are written as they were found, and a resume does not read them again.
            (from.run, from.safetensors) = (None, None);
        }
        let parts = format!(
            "{:?} {:?} {:?} {:?} {:?} {} {:?} {:?} {} {} {:?} {:?}",
            model,
            r.training.loss,
            r.training.optimizer,
            r.training.seed,
            r.training.class_weight,
            b.batch_size,
            b.batch_tokens,
            b.steps_per_epoch,
            b.shuffle,
            b.drop_remainder,
            r.online.deciding(),
            r.training.average
        );
        // Recipes from before there were these keys keep their number.
        let parts = LATER_DEFAULTS.iter().fold(parts, |parts, text| parts.replace(text, ""));
        // Recipes from before there were shards keep their number.
        let parts = match r.training.shards {
            1 => parts,
            shards => format!("{parts} {shards} shards"),
        };
        let parts = match &b.augment {
            None => parts,
            Some(augment) => format!("{parts} {augment:?}"),
        };
        let parts = match r.training.unfreeze.as_slice() {
            [] => parts,
            steps => format!("{parts} {steps:?}"),
        };
        let parts = if b.balanced { format!("{parts} balanced") } else { parts };
        let parts = match &r.training.spikes {
            None => parts,
            Some(spikes) => format!("{parts} {spikes:?}"),
        };
        tidemill_engine::checkpoint::sha256(parts.as_bytes())
    }
}

/// Keys without effect, as [`RecipeFile::sha256`] sees them, that recipes did not always have.
const LATER_DEFAULTS: [&str; 4] =
    [", vision: None, from: None", ", drop_path: 0.0", ", rates: {}", ", later: []"];

impl Source {
    fn parse(text: &str, path: &Path, overrides: &[String]) -> Result<Source> {
        let file = path.display().to_string();
        let spans = Document::parse(text.to_string()).map_err(|e| {
            let line = e.span().map_or(1, |s| locate::line_of(text, s.start));
            let what = e.message().lines().next().unwrap_or_default().to_string();
            Error::Recipe(format!("{file}:{line}: this is not TOML: {what}"))
        })?;
        let mut edited = spans.clone().into_mut();
        let overrides: Vec<Override> =
            overrides.iter().map(|o| Override::parse(o)).collect::<Result<_>>()?;
        for one in &overrides {
            one.apply(&mut edited)?;
        }
        edit::widen_for_hats(spans.as_item(), &mut edited, &overrides)?;
        Ok(Source { file, spans, edited, overrides })
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T> {
        reader::read(self.edited.as_item()).map_err(|mistake| {
            let (path, message) = mistake.into_parts();
            let is_key = |path: &[String], name: &str| {
                let path: Vec<String> = path.iter().cloned().chain([name.to_string()]).collect();
                locate::exists(&self.edited, &path)
            };
            let keys = |path: &[String]| locate::keys(&self.edited, path);
            let (path, message) = message::explain(path, &message, is_key, keys);
            self.error(&path, &message)
        })
    }

    /// `file:line: key message`, or `--set key=value: ...` where the value came from there.
    fn error(&self, path: &[String], message: &str) -> Error {
        let set = self.overrides.iter().rev().find(|o| path.starts_with(&o.path));
        let place = match set {
            Some(one) => format!("--set {}", one.text),
            None => {
                format!("{}:{}", self.file, locate::line(&self.spans, path))
            }
        };
        let key = locate::show(path);
        let space = if key.is_empty() || message.starts_with(':') { "" } else { " " };
        Error::Recipe(format!("{place}: {key}{space}{message}"))
    }
}

#[cfg(test)]
mod tests;
