//! How a run reads its batches.

use std::sync::Arc;

use tidemill_engine::data::{Balanced, Dataset, FillCost, Loader, LoaderOptions, Order, Shards};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::evaluate::EvaluateOptions;
use tidemill_recipe::data::{RunData, class_weights};
use tidemill_recipe::{RecipeFile, evaluate_options};

/// How batches are read ahead.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) threads: Option<usize>,
    /// Bytes of batches that wait; the loader's default where none.
    pub(crate) memory_bytes: Option<usize>,
}

impl Reading {
    /// How a pass over validation data reads.
    pub(crate) fn evaluation(&self, file: &RecipeFile) -> EvaluateOptions {
        EvaluateOptions {
            data_threads: self.threads,
            read_ahead: self.memory_bytes,
            ..evaluate_options(file)
        }
    }

    /// As the recipe says.
    pub(crate) fn usual(file: &RecipeFile) -> Reading {
        Reading { threads: file.recipe.batch.data_threads, memory_bytes: None }
    }

    /// With as little memory as possible.
    pub(crate) fn sparing(file: &RecipeFile, data: &RunData) -> Reading {
        let given = file.recipe.batch.data_threads;
        let decodes = sets(data).any(|set| set.fill_cost() == FillCost::Decode);
        Reading { threads: if decodes { given.or(Some(1)) } else { given }, memory_bytes: Some(0) }
    }

    /// The bytes that caches, batches and decoding take.
    pub(crate) fn bytes(&self, file: &RecipeFile, data: &RunData) -> u64 {
        let recipe = &file.recipe.batch;
        let caches: u64 = sets(data).map(|set| set.bytes_to_come()).sum();
        let pass = self.evaluation(file);
        let shards = Shards::all(file.recipe.training.shards);
        let train = LoaderOptions { batch_size: recipe.batch_size, shards, ..pass.pass() };
        let validation = data.validation.as_ref().map(|set| pass.pass().bytes(set.as_ref()));
        caches + train.bytes(data.train.as_ref()) + validation.unwrap_or(0)
    }
}

/// The training data, then the validation data.
fn sets(data: &RunData) -> impl Iterator<Item = &Arc<dyn Dataset>> {
    std::iter::once(&data.train).chain(&data.validation)
}

/// The batches from `position` on: of each batch the shards that are wanted.
pub(crate) fn loader(
    file: &RecipeFile,
    data: &RunData,
    position: u64,
    reading: &Reading,
    shards: Shards,
) -> Result<Loader> {
    let r = &file.recipe;
    let order = match r.batch.shuffle {
        true => Order::Shuffled { seed: r.training.seed },
        false => Order::Sequential,
    };
    let mut options = LoaderOptions::new(r.batch.batch_size, order);
    options.drop_last = r.batch.drop_remainder;
    options.buckets = data.buckets.clone();
    options.position = position;
    options.shards = shards;
    options.threads = reading.threads;
    options.memory_bytes = reading.memory_bytes.unwrap_or(options.memory_bytes);
    options.mix = data.train.mix();
    options.class_weights = class_weights(file, data.train.as_ref())?;
    let refused = |key: &str, e| match e {
        tidemill_engine::data::Error::Option { what } => {
            file.error_at(key, &format!("fails: {what}"))
        }
        e => Error::Data(e),
    };
    let train: Arc<dyn Dataset> = match balanced(file, data) {
        Some(balanced) => Arc::new(balanced.map_err(|e| refused("batch.balanced", e))?),
        None => data.train.clone(),
    };
    Loader::new(train, options).map_err(|e| refused("batch", e))
}

/// The training data with each class equally often, if the recipe wants that.
pub(crate) fn balanced(
    file: &RecipeFile,
    data: &RunData,
) -> Option<tidemill_engine::data::Result<Balanced>> {
    let seed = file.recipe.training.seed;
    file.recipe.batch.balanced.then(|| Balanced::new(data.train.clone(), seed))
}
