//! The workers of a run: threads of this process, each with a model of its own.

use tidemill_engine::Engine;
use tidemill_engine::data::{Loader, Shards};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::group::Local;
use tidemill_engine::parallel::{Follower, Workers};
use tidemill_recipe::RecipeFile;
use tidemill_recipe::data::RunData;

use crate::run::{Reading, empty_meter, loader};

/// Who computes the shards of a run's batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkerGroup {
    /// This thread alone.
    #[default]
    One,
    /// So many threads, each with a copy of the model.
    Local(usize),
}

impl WorkerGroup {
    /// The number of workers.
    pub fn size(self) -> usize {
        match self {
            WorkerGroup::One => 1,
            WorkerGroup::Local(size) => size.max(1),
        }
    }

    /// Fails where a recipe's batches cannot be shared by so many.
    pub(crate) fn check(self, file: &RecipeFile) -> Result<()> {
        let (size, shards) = (self.size(), file.recipe.training.shards);
        if size <= shards {
            return Ok(());
        }
        let what = format!(
            "= {shards} is less than the {size} workers: each needs a shard of a batch or more. Set it to {} or \
             more; the result depends on it, and not on the number of workers",
            size.next_power_of_two().max(8)
        );
        Err(file.error_at("training.shards", &what))
    }

    /// Starts the workers beside this one, which is to be their number 0. `engine` is as the run starts.
    pub(crate) fn start(
        self,
        file: &RecipeFile,
        data: &RunData,
        engine: &Engine,
        reading: Reading,
    ) -> Result<Option<Workers>> {
        let size = self.size();
        if size < 2 {
            return Ok(None);
        }
        let mut groups = Local::group(size).into_iter();
        let leader = groups.next();
        for group in groups {
            let (file, data, mut engine) = (file.clone(), data.clone(), engine.clone());
            let workers = Workers::new(Box::new(group), engine.shards())?;
            let meter = empty_meter(&file, &engine, &data);
            let follow = move || {
                let loader = |shards: Shards, at: u64| -> Result<Loader> {
                    loader(&file, &data, at, &reading, shards)
                };
                // What ends it early is told to worker 0, which ends the run with it.
                drop(Follower { engine: &mut engine, loader: &loader, meter, workers }.run());
            };
            let thread = std::thread::Builder::new().name("worker".into()).spawn(follow);
            thread.map_err(|e| Error::Run(format!("no thread can be started: {e}")))?;
        }
        leader.map(|group| Workers::new(Box::new(group), engine.shards())).transpose()
    }
}
