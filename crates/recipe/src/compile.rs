//! What a recipe compiles to, and how its model is measured.

use tidemill_engine::engine::EngineSpec;
use tidemill_engine::evaluate::{EvaluateOptions, default_batch_size};

use crate::RecipeFile;

/// What to compile for a recipe's model where batches are not cut: on streams, and to evaluate and predict.
pub fn engine_spec(file: &RecipeFile, threads: Option<usize>) -> EngineSpec {
    let r = &file.recipe;
    EngineSpec {
        batch_size: r.batch.batch_size,
        seed: r.training.seed,
        threads,
        ..EngineSpec::new(r.model.clone(), r.training.loss.clone(), r.training.optimizer.clone())
    }
}

/// What to compile to train a recipe's model on stored data.
pub fn training_spec(file: &RecipeFile, threads: Option<usize>) -> EngineSpec {
    EngineSpec {
        shards: file.recipe.training.shards,
        loss: file.training_loss(),
        ..engine_spec(file, threads)
    }
}

/// How a recipe's model is measured.
pub fn evaluate_options(file: &RecipeFile) -> EvaluateOptions {
    let r = &file.recipe;
    let batch_size = r.batch.validation_batch_size;
    EvaluateOptions {
        task: r.task(),
        metrics: r.metrics(),
        batch_size: batch_size.unwrap_or_else(|| default_batch_size(r.batch.batch_size)),
        mistakes: if r.report.html { r.report.mistakes } else { 0 },
        drawn: false,
        data_threads: r.batch.data_threads,
        read_ahead: None,
    }
}
