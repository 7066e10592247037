//! How a run reads its batches.

use std::sync::Arc;

use tidemill_engine::data::{Balanced, Dataset, FillCost, Loader, LoaderOptions, Order, Shards};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::evaluate::EvaluateOptions;
use tidemill_engine::memory::rss_bytes;
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

    /// As the recipe says; with as little as possible where the memory does not suffice for more.
    /// Gives also the bytes that caches, batches and decoding take.
    pub(crate) fn within(file: &RecipeFile, data: &RunData, limit: Option<u64>) -> (Reading, u64) {
        let recipe = &file.recipe.batch;
        let usual = Reading { threads: recipe.data_threads, memory_bytes: None };
        let Some(limit) = limit else { return (usual, 0) };
        let sets = || std::iter::once(&data.train).chain(&data.validation);
        let caches: u64 = sets().map(|set| set.bytes_to_come()).sum();
        let bytes = |reading: &Reading| {
            let pass = reading.evaluation(file);
            let shards = Shards::all(file.recipe.training.shards);
            let train = LoaderOptions { batch_size: recipe.batch_size, shards, ..pass.pass() };
            let validation = data.validation.as_ref().map(|set| pass.pass().bytes(set.as_ref()));
            caches + train.bytes(data.train.as_ref()) + validation.unwrap_or(0)
        };
        let usually = bytes(&usual);
        if rss_bytes() + usually <= limit {
            return (usual, usually);
        }
        let decodes = sets().any(|set| set.fill_cost() == FillCost::Decode);
        let threads = if decodes { recipe.data_threads.or(Some(1)) } else { recipe.data_threads };
        let least = Reading { threads, memory_bytes: Some(0) };
        (least, bytes(&least))
    }
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
