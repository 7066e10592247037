//! Layers that learn from a later epoch on: the run goes from one compiled step to another at a checkpoint.

use tidemill_engine::checkpoint::Checkpoints;
use tidemill_engine::error::Result;
use tidemill_recipe::RecipeFile;

use crate::run::RunOptions;

/// Lets the layers learn that do where the run starts or continues, and gives the number of epochs that are done there.
pub(crate) fn start(file: &mut RecipeFile, options: &RunOptions) -> Result<u64> {
    if file.recipe.training.unfreeze.is_empty() {
        return Ok(0);
    }
    if options.workers.size() > 1 {
        let what = "is for training in one process; leave out --workers";
        return Err(file.error_at("training.unfreeze", what));
    }
    let newest = match options.continued() {
        Some(run) => Checkpoints::new(run, file.recipe.checkpoint.keep).newest()?.0,
        None => None,
    };
    let epochs = newest.map_or(0, |checkpoint| checkpoint.meta.epoch);
    file.thaw(epochs)?;
    Ok(epochs)
}
