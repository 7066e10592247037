//! The data of a run: opened as the recipe says.

use std::sync::{Arc, OnceLock};
use std::thread;

use tidemill_engine::data::spec::class_counts;
use tidemill_engine::data::text::words::TextIds;
use tidemill_engine::data::{Buckets, DataSpec, Dataset, InputSpec, Known, Like};
use tidemill_engine::nn::{ModelSpec, TokensSpec};
use tidemill_stream::features::Labels;

use crate::tables::{check_embeddings, check_inputs};
use crate::{ClassWeight, DataPaths, RecipeFile};
use tidemill_engine::error::{Error, Result};

/// The open datasets of a run.
#[derive(Clone)]
pub struct RunData {
    /// What is learned from.
    pub train: Arc<dyn Dataset>,
    /// What is measured on.
    pub validation: Option<Arc<dyn Dataset>>,
    /// The names of the classes; their numbers where the data has no names.
    pub class_names: Vec<String>,
    /// The training samples by their length, where batches are of tokens.
    pub buckets: Option<Arc<Buckets>>,
}

impl RunData {
    /// Opens what `[batch]` names; `known` is what the run has learned of columns and labels, where it
    /// goes on.
    pub fn open(file: &RecipeFile, paths: &DataPaths, known: Option<&Known>) -> Result<RunData> {
        let (batch, spec) = (&file.recipe.batch, file.batch_data()?);
        // Both are read at once: inflating or listing files keeps one core busy.
        let (train, validation) = match &batch.validation {
            None => (open_one(file, "batch.data", spec, paths, known, || None)?, None),
            Some(measured) => {
                let (train, validation) = open_two(file, spec, measured, paths, known);
                (train?, Some(validation?))
            }
        };
        let class_names = class_names(train.as_ref());
        let buckets = match batch.batch_tokens {
            Some(tokens) => Some(Arc::new(Buckets::new(train.as_ref(), tokens)?)),
            None => None,
        };
        Ok(RunData { train, validation, class_names, buckets })
    }
}

impl RecipeFile {
    /// Arrays for validation have labels as those of training: keys that say otherwise are refused.
    pub(crate) fn check_arrays(&self) -> Result<()> {
        let batch = &self.recipe.batch;
        let (Some(DataSpec::Numpy(train)), Some(DataSpec::Numpy(other))) =
            (&batch.data, &batch.validation)
        else {
            return Ok(());
        };
        let differ = [
            ("scale_targets", train.scale_targets != other.scale_targets),
            ("labels", train.labels != other.labels),
        ];
        for (key, differs) in differ {
            if differs && self.gives(&["batch", "validation", "numpy", key]) {
                let what = format!(
                    "differs from batch.data.numpy.{key}, which holds for validation as well; leave it out here, or set the same there"
                );
                return Err(self.error_at(&format!("batch.validation.numpy.{key}"), &what));
            }
        }
        Ok(())
    }
}

type Opened = Result<Arc<dyn Dataset>>;

/// Opens the training and the validation data, the latter on a thread of its own, which waits for
/// the former where it must know its classes or columns.
fn open_two(
    file: &RecipeFile,
    train: &DataSpec,
    validation: &DataSpec,
    paths: &DataPaths,
    known: Option<&Known>,
) -> (Opened, Opened) {
    let opened: OnceLock<Option<Arc<dyn Dataset>>> = OnceLock::new();
    let (other, first) = (paths.another(), &opened);
    thread::scope(|scope| {
        let second =
            thread::Builder::new().name("validation".into()).spawn_scoped(scope, move || {
                let like = || first.wait().as_deref().map(Like::of);
                (open_one(file, "batch.validation", validation, &other, known, like), other)
            });
        let train = open_one(file, "batch.data", train, paths, known, || None);
        // Set in any case: the thread may wait for it.
        let _ = opened.set(train.as_ref().ok().cloned());
        let lost = || Error::Run("the thread that opens the validation data has ended".into());
        let validation = match second.map(|thread| thread.join()) {
            Ok(Ok((validation, other))) => {
                paths.join(other);
                validation
            }
            _ => Err(lost()),
        };
        (train, validation)
    })
}

/// Opens one dataset; `key` is its place in the recipe. `known`, or else `like`, gives classes and
/// columns their meaning.
pub fn open_one<'a>(
    file: &RecipeFile,
    key: &str,
    spec: &DataSpec,
    paths: &DataPaths,
    known: Option<&Known>,
    like: impl FnOnce() -> Option<Like<'a>>,
) -> Opened {
    let want = input_of(&file.recipe.model);
    let spec = match spec {
        DataSpec::Csv(table) => DataSpec::Csv(file.table(table)),
        spec => file.with_context(spec, key == "batch.data"),
    };
    let opened = spec.open_like(&|name| paths.resolve(name), want, known, like);
    // A path that was not found fails in the opening too, but with less to say.
    paths.check().map_err(|e| file.error_at(key, &e.to_string()))?;
    let data: Arc<dyn Dataset> = opened.map(Arc::from).map_err(|e| match e {
        tidemill_engine::data::Error::Option { what } => {
            file.error_at(key, &format!("cannot be used: {what}"))
        }
        e => Error::Data(e),
    })?;
    if let Some(encoder) = data.known().and_then(|known| known.encoder.as_ref()) {
        let model = &file.recipe.model;
        let fits = match model.inputs.is_empty() {
            true => check_embeddings(encoder, model),
            false => check_inputs(encoder, model),
        };
        fits.map_err(|e| file.error_at(key, &format!("cannot be used: {e}")))?;
    }
    Ok(data)
}

/// What the data should be for a model.
pub fn input_of(model: &ModelSpec) -> InputSpec {
    // Named inputs are checked against the fields of the data, by name.
    if !model.inputs.is_empty() {
        return InputSpec::Any;
    }
    match model.input {
        tidemill_engine::nn::InputSpec::Image { height, width, channels } => {
            InputSpec::Image { height, width, channels }
        }
        tidemill_engine::nn::InputSpec::Features(n) => InputSpec::Features(n),
        tidemill_engine::nn::InputSpec::Ids { length, .. } => InputSpec::Features(length),
        tidemill_engine::nn::InputSpec::Tokens(tokens) => InputSpec::Tokens(text_ids(tokens)),
        tidemill_engine::nn::InputSpec::Frames { length, values } => {
            InputSpec::Frames([length, values])
        }
    }
}

/// Which ids the texts of a model's input become.
pub(crate) fn text_ids(tokens: TokensSpec) -> TextIds {
    let TokensSpec { length, vocabulary, ngrams, minn, maxn } = tokens;
    TextIds { length, vocabulary, ngrams, characters: [minn, maxn] }
}

fn class_names(data: &dyn Dataset) -> Vec<String> {
    let Some(n) = data.num_classes() else {
        // Labels that are sets have names too, and those of values have none.
        let labels = data.known().and_then(|known| known.labels.as_ref());
        return labels.map(Labels::names).unwrap_or_default();
    };
    match data.class_names() {
        names if names.len() == n => names.to_vec(),
        _ => (0..n).map(|i| i.to_string()).collect(),
    }
}

/// The weight of each class; empty where all weigh the same.
pub fn class_weights(file: &RecipeFile, data: &dyn Dataset) -> Result<Vec<f32>> {
    let Some(spec) = &file.recipe.training.class_weight else { return Ok(Vec::new()) };
    let key = "training.class_weight";
    let Some(n) = data.num_classes() else {
        return Err(file.error_at(key, "needs labels that are classes"));
    };
    match spec {
        ClassWeight::Named(_) => {
            let total = data.len() as f64 / n as f64;
            let weight = |count: usize| if count == 0 { 1.0 } else { total / count as f64 };
            Ok(class_counts(data).into_iter().map(|c| weight(c) as f32).collect())
        }
        ClassWeight::Each(weights) => {
            let names = class_names(data);
            let mut all = vec![1.0; n];
            for (class, &weight) in weights {
                let index = names.iter().position(|n| n == class);
                let index = index.or_else(|| class.parse().ok().filter(|&i: &usize| i < n));
                match index {
                    Some(i) => all[i] = weight as f32,
                    None => {
                        return Err(file.error_at(
                            &format!("{key}.{class}"),
                            &format!("is no class of the data, which has {}", names.join(", ")),
                        ));
                    }
                }
            }
            Ok(all)
        }
    }
}
