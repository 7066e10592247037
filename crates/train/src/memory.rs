//! What the memory of a run is made of, before it starts.

use std::path::{Path, PathBuf};

use tidemill_engine::Averaging;
use tidemill_engine::engine::Engine;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::memory::{Budget, return_pieces};
use tidemill_recipe::data::RunData;
use tidemill_recipe::{DataPaths, RecipeFile, training_spec};

use crate::reading::Reading;

/// The budget of a run with so many workers in all, of which `others` are beside the first one in this process. `beside` are the bytes of its data.
pub(crate) fn budget(
    file: &RecipeFile,
    (limit, beside): (Option<u64>, u64),
    out: &Path,
    (workers, others): (usize, usize),
) -> Budget {
    let (training, others) = (&file.recipe.training, others as u64);
    // A checkpoint that is being written, and the next; the state to roll back to is in both, and a copy itself.
    let copies = 2 + if training.spikes.is_some() { 3 } else { 0 };
    // So it is with averages, and with the weights at the ends of epochs; of those there is one more while the oldest is left out.
    let averages = match training.average {
        None => 0,
        Some(Averaging::Ema(_)) => 3,
        Some(Averaging::Epochs(most)) => 3 * (most as u64 + 1) + 1,
    };
    let folder = limit.and_then(|_| folder(file, out, workers));
    Budget { limit, copies, averages, beside, others, folder, ..Budget::default() }
}

/// The states that a checkpoint has: the run's own, and those of averages and to roll back to.
pub(crate) fn written_copies(file: &RecipeFile) -> u64 {
    let training = &file.recipe.training;
    1 + u64::from(training.average.is_some()) + u64::from(training.spikes.is_some())
}

/// The folder whose disk has what of a run's state does not fit into memory, where the run can do with that: those that keep
/// copies of all weights cannot, nor those whose state goes to workers or begins again in the middle.
fn folder(file: &RecipeFile, out: &Path, workers: usize) -> Option<PathBuf> {
    let training = &file.recipe.training;
    let copies = training.average.is_some() || training.spikes.is_some();
    let can = !copies && file.next_thaw(0).is_none() && workers == 1;
    can.then(|| out.to_owned())
}

/// How a run reads its data ahead: as the recipe says, if the budget of the engine, which counts the least, has room for that.
///
/// # Errors
/// If the engine has taken more than its budget.
pub(crate) fn reading(
    file: &RecipeFile,
    data: &RunData,
    limit: Option<u64>,
    engine: &mut Engine,
) -> Result<Reading> {
    let usual = Reading::usual(file);
    match limit.is_none() || engine.begin(usual.bytes(file, data))? {
        true => Ok(usual),
        false => Ok(Reading::sparing(file, data)),
    }
}

/// The bytes of data that a run reads ahead at least; 0 where memory has no limit.
pub(crate) fn least_beside(file: &RecipeFile, data: &RunData, limit: Option<u64>) -> u64 {
    limit.map_or(0, |_| Reading::sparing(file, data).bytes(file, data))
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
    return_pieces();
    let paths = DataPaths::new(&file.path);
    let opened = RunData::open(file, &paths, None);
    if let (Ok(data), true) = (&opened, file.reads_tokens() && file.tokenizer().is_none()) {
        file.set_tokenizer_of(data.train.as_ref())?;
    }
    let mut spec = training_spec(file, threads);
    let (beside, why) = match &opened {
        Ok(data) => {
            spec.batch_size = spec.batch_size.min(data.train.len());
            (least_beside(file, data, Some(limit)), None)
        }
        Err(why @ (Error::Data(_) | Error::Usage(_))) => (0, Some(why.to_string())),
        Err(_) => (0, Some("the data cannot be opened".to_owned())),
    };
    let budget = budget(file, (Some(limit), beside), Path::new("runs"), (1, 0));
    let mut engine = Engine::compile_within(spec, 0.0, budget)?;
    if let Ok(data) = &opened {
        reading(file, data, Some(limit), &mut engine)?;
    }
    Ok((engine, why))
}
