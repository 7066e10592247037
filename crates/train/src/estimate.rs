//! What a run will take, before it is started: memory by the plan, time by some steps of it.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use tidemill_engine::data::Shards;
use tidemill_engine::engine::Engine;
use tidemill_engine::error::Result;
use tidemill_engine::memory::Shares;
use tidemill_engine::metrics::Meter;
use tidemill_engine::page::number::{bytes, count, duration, plural, seconds};
use tidemill_engine::training::{Callback, Flow, Step, Training};
use tidemill_recipe::data::RunData;
use tidemill_recipe::{DataPaths, RecipeFile, training_spec};

use crate::memory::{budget, least_beside, reading};
use crate::reading::{Reading, loader};
use crate::resume::course;

/// Steps that are made for an estimate take about as long as this.
const MEASURED: Duration = Duration::from_millis(1000);
/// Steps that come first and are not counted: caches and clock are cold.
const COLD: u64 = 2;

/// The memory and the time of a run.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// The parts of its memory.
    pub shares: Shares,
    /// What of the state is in a file, where not all of it fits into memory.
    pub filed: Option<String>,
    /// Mean time of a step, with its data.
    pub step_seconds: f64,
    /// Steps that this is the mean of.
    pub measured: u64,
    /// Epochs of the run.
    pub epochs: u64,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// Steps of the run.
    pub steps: u64,
}

/// A run that is planned, and not started.
pub(crate) struct Planned {
    engine: Engine,
    reading: Reading,
    shares: Shares,
}

impl Planned {
    /// Plans the recipe's run as `train` does, within `limit` bytes if there is a limit.
    ///
    /// # Errors
    /// If the run does not fit.
    pub(crate) fn new(
        file: &RecipeFile,
        data: &RunData,
        threads: Option<usize>,
        limit: Option<u64>,
    ) -> Result<Planned> {
        let mut spec = training_spec(file, threads);
        spec.batch_size = spec.batch_size.min(data.train.len());
        let beside = least_beside(file, data, limit);
        let budget = budget(file, (limit, beside), Path::new("runs"), (1, 0));
        let mut engine = Engine::compile_within(spec, 0.0, budget)?;
        let reading = reading(file, data, limit, &mut engine)?;
        let shares = engine.memory_shares();
        Ok(Planned { engine, reading, shares })
    }

    /// Makes some steps of it, and throws away what they learned.
    ///
    /// # Errors
    /// If the data cannot be read.
    pub(crate) fn measure(mut self, file: &RecipeFile, data: &RunData) -> Result<Estimate> {
        let course = course(file, data);
        let shards = Shards::all(file.recipe.training.shards);
        let loader = loader(file, data, 0, &self.reading, shards)?;
        let (task, metrics) = (file.recipe.task(), file.recipe.metrics());
        let meter = Meter::new(task, self.engine.num_outputs(), &metrics);
        let mut clock = Clock { start: Instant::now(), steps: 0, most: course.run_steps };
        Training::new(&mut self.engine, loader, vec![meter]).run(&mut [&mut clock])?;
        let measured = match clock.steps {
            steps @ 0..=COLD => steps.max(1),
            steps => steps - COLD,
        };
        Ok(Estimate {
            shares: self.shares,
            filed: self.engine.filed_in_words(),
            step_seconds: clock.start.elapsed().as_secs_f64() / measured as f64,
            measured,
            epochs: file.recipe.epochs(),
            steps_per_epoch: course.steps_per_epoch,
            steps: course.run_steps,
        })
    }
}

/// What a step with shards consists of.
#[derive(Clone, Copy, Debug)]
pub struct StepParts {
    /// Samples of a batch.
    pub batch: usize,
    /// Seconds of a shard with its gradients.
    pub shard_seconds: f64,
    /// Seconds of the update.
    pub update_seconds: f64,
    /// Bytes of the sums that workers exchange.
    pub bytes: u64,
}

/// Makes steps of the recipe for about a second, with an engine that is thrown away, and takes the time of their parts.
/// `training.shards` has to be above 1.
///
/// # Errors
/// If the run does not fit, or the data cannot be read.
pub fn step_parts(file: &RecipeFile, threads: Option<usize>) -> Result<StepParts> {
    file.only_network()?;
    let data = RunData::open(file, &DataPaths::new(&file.path), None)?;
    let mut file = file.clone();
    file.set_tokenizer_of(data.train.as_ref())?;
    let Planned { mut engine, reading, .. } = Planned::new(&file, &data, threads, None)?;
    let count = engine.shards();
    let mut loader = loader(&file, &data, 0, &reading, Shards::all(count))?;
    let rate = engine.spec().optimizer.schedule().at(0) as f32;
    let (mut times, mut steps) = ([0.0; 2], 0u64);
    let start = Instant::now();
    while steps <= COLD || start.elapsed() < MEASURED {
        if steps == COLD {
            times = [0.0; 2];
        }
        engine.forget_shards();
        for shard in 0..count {
            let Some(batch) = loader.next_batch()? else { continue };
            engine.check(batch)?;
            let begun = Instant::now();
            engine.train_shard(shard, shard + 1 == count, batch, &|| false)?;
            times[0] += begun.elapsed().as_secs_f64();
        }
        let begun = Instant::now();
        engine.update(rate)?;
        times[1] += begun.elapsed().as_secs_f64();
        steps += 1;
    }
    let measured = (steps - COLD) as f64;
    Ok(StepParts {
        batch: file.recipe.batch.batch_size.min(data.train.len()),
        shard_seconds: times[0] / measured / count as f64,
        update_seconds: times[1] / measured,
        bytes: 4 * engine.num_sums() as u64,
    })
}

/// Ends the training after [`MEASURED`].
struct Clock {
    start: Instant,
    steps: u64,
    most: u64,
}

impl Callback for Clock {
    fn after_step(&mut self, _: &mut Training<'_>, _: &Step) -> Result<Flow> {
        self.steps += 1;
        if self.steps == COLD && self.most > COLD {
            self.start = Instant::now();
        }
        let enough = self.steps > COLD && self.start.elapsed() > MEASURED;
        Ok(if enough || self.steps >= self.most { Flow::Stop } else { Flow::Continue })
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit =
            self.shares.limit.map_or(String::new(), |limit| format!(" of {}", bytes(limit)));
        writeln!(f, "memory: {}{limit}", bytes(self.shares.total()))?;
        if let Some(filed) = &self.filed {
            writeln!(f, "file: {filed}")?;
        }
        write!(
            f,
            "time: about {} for {} of {} steps, {} a step ({} made just now; validation is not counted)",
            duration(self.step_seconds * self.steps as f64),
            plural(self.epochs, "epoch"),
            count(self.steps_per_epoch),
            match self.step_seconds {
                short @ ..1e-3 => format!("{:.0} us", short * 1e6),
                long => seconds(long),
            },
            count(self.measured),
        )
    }
}
