//! Shows that a recipe's result does not depend on how it is computed: the same steps with other numbers of
//! workers and threads, and in two parts by different ones.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use tidemill_engine::error::{Error, Result};
use tidemill_engine::folder::Existing;
use tidemill_recipe::RecipeFile;

use crate::run::{Outcome, RunOptions, train};
use crate::workers::WorkerGroup;

/// One way to compute the steps, and what came of it.
#[derive(Clone, Debug)]
pub struct Proved {
    /// Workers, and threads of each. Several where the run was stopped and went on with others.
    pub parts: Vec<(usize, usize)>,
    /// Of parameters, optimizer slots and running statistics.
    pub state_sha256: String,
    /// The mean loss of the steps since the last epoch began.
    pub loss: f64,
    /// How long it took, with the reading of the data.
    pub seconds: f64,
}

/// The ways that are compared: each worker has a shard or more.
fn ways(shards: usize) -> Vec<Vec<(usize, usize)>> {
    let mut ways = vec![vec![(1, 1)], vec![(1, 2)], vec![(1, 3)]];
    let workers = [2, 3, 4, 8].into_iter().filter(|&workers| workers <= shards);
    ways.extend(workers.map(|workers| vec![(workers, 1)]));
    ways.push(vec![(2.min(shards), 1), (3.min(shards), 2)]);
    ways
}

/// Trains `steps` steps of a recipe in different ways, each in a folder of its own below `folder`. `tell` hears of
/// each as it is done. Nothing is validated.
///
/// # Errors
/// Those of the runs.
pub fn prove(
    file: &RecipeFile,
    steps: u64,
    folder: &Path,
    interrupt: &Arc<AtomicBool>,
    tell: &mut dyn FnMut(&Proved),
) -> Result<Vec<Proved>> {
    let mut file = file.clone();
    let recipe = &mut file.recipe;
    recipe.batch.validation = None;
    recipe.report.html = false;
    (recipe.stop.patience, recipe.stop.target, recipe.stop.wall_seconds) = (None, None, None);
    (recipe.training.plateau, recipe.checkpoint.best) = (None, None);
    let mut all = Vec::new();
    for (number, parts) in ways(recipe.training.shards).into_iter().enumerate() {
        let out = folder.join(number.to_string());
        let start = Instant::now();
        let mut last: Option<Outcome> = None;
        for (i, &(workers, threads)) in parts.iter().enumerate() {
            let mut file = file.clone();
            file.recipe.stop.steps = Some(steps * (i as u64 + 1) / parts.len() as u64);
            let options = RunOptions {
                out: out.clone(),
                existing: if i == 0 { Existing::Replace } else { Existing::Resume },
                threads: Some(threads),
                memory: None,
                from: None,
                workers: WorkerGroup::Local(workers),
                pause_after: None,
                interrupt: interrupt.clone(),
            };
            last = Some(train(file, &options, &mut |_| {})?);
            if interrupt.load(Relaxed) {
                return Err(Error::Run("interrupted".into()));
            }
        }
        let Some(Outcome { summary, .. }) = last else { continue };
        let proved = Proved {
            parts,
            state_sha256: summary.state_sha256,
            loss: summary.train.get("loss").copied().unwrap_or(f64::NAN),
            seconds: start.elapsed().as_secs_f64(),
        };
        tell(&proved);
        all.push(proved);
    }
    Ok(all)
}
