//! What the memory of a run is made of, before it starts.

use std::path::{Path, PathBuf};

use tidemill_engine::engine::Engine;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::memory::Budget;
use tidemill_recipe::data::RunData;
use tidemill_recipe::{DataPaths, RecipeFile, training_spec};

use crate::reading::Reading;

/// Copies of the state that a run has beside it at most: one that is being written as a checkpoint, and the next. So it
/// is with averages, beside themselves, and with the state to roll back to, which is a copy itself.
pub(crate) fn copies(file: &RecipeFile) -> u64 {
    let training = &file.recipe.training;
    let averages = if training.average.is_some() { 2 } else { 0 };
    2 + averages + if training.spikes.is_some() { 3 } else { 0 }
}

/// The states that a checkpoint has: the run's own, and those of averages and to roll back to.
pub(crate) fn written_copies(file: &RecipeFile) -> u64 {
    let training = &file.recipe.training;
    1 + u64::from(training.average.is_some()) + u64::from(training.spikes.is_some())
}

/// The folder whose disk has what of a run's state does not fit into memory, where the run can do with that: those that keep
/// copies of all weights cannot, nor those whose state goes to workers or begins again in the middle.
pub(crate) fn folder(file: &RecipeFile, out: &Path, workers: usize) -> Option<PathBuf> {
    let training = &file.recipe.training;
    let copies = training.average.is_some() || training.spikes.is_some();
    let can = !copies && file.next_thaw(0).is_none() && workers == 1;
    can.then(|| out.to_owned())
}

/// The engine of a run within so many bytes, as `train` compiles it, and why data that are read ahead are not
/// counted, where they cannot be opened.
///
/// # Errors
/// If the model cannot be compiled, or its run does not fit.
pub fn engine_within(
    file: &mut RecipeFile,
    threads: Option<usize>,
    limit: u64,
) -> Result<(Engine, Option<String>)> {
    file.only_network()?;
    let paths = DataPaths::new(&file.path);
    let opened = RunData::open(file, &paths, None);
    if let (Ok(data), true) = (&opened, file.reads_tokens() && file.tokenizer().is_none()) {
        file.set_tokenizer_of(data.train.as_ref())?;
    }
    let mut spec = training_spec(file, threads);
    let (beside, why) = match &opened {
        Ok(data) => {
            spec.batch_size = spec.batch_size.min(data.train.len());
            (Reading::within(file, data, Some(limit)).1, None)
        }
        Err(why @ (Error::Data(_) | Error::Usage(_))) => (0, Some(why.to_string())),
        Err(_) => (0, Some("the data cannot be opened".to_owned())),
    };
    let (copies, folder) = (copies(file), folder(file, Path::new("runs"), 1));
    let budget = Budget { limit: Some(limit), copies, beside, folder, ..Budget::default() };
    Ok((Engine::compile_within(spec, 0.0, budget)?, why))
}
