//! How long a training step takes.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tidemill_engine::data::memory::{Features, Labels};
use tidemill_engine::data::{Batch, Dataset, Loader, LoaderOptions, MemoryDataset, Order};

use tidemill_engine::engine::Engine;
use tidemill_engine::error::Result;
use tidemill_engine::metrics::Task;
use tidemill_recipe::data::open_one;
use tidemill_recipe::engine_spec;
use tidemill_recipe::{DataPaths, RecipeFile};

/// One measurement; the keys of a line of `tidemill bench --json`.
#[derive(Clone, Debug, Serialize)]
pub struct BenchResult {
    /// The recipe's name.
    pub recipe: String,
    /// Samples of a step.
    pub batch_size: usize,
    /// Threads of a step.
    pub threads: usize,
    /// Median over windows.
    pub microseconds_per_step: f64,
    /// At that time a step.
    pub samples_per_second: f64,
    /// The least that the machine could take, as the plan predicts from measured rates.
    pub floor_microseconds: f64,
}

/// Distinct batches that are stepped through: enough that no cache holds the answer of the last
/// one, few enough that small batches stay in cache as in a real run.
const BATCHES: usize = 16;
const MOST_VALUES: usize = 16 << 20;
const WARM_UP: Duration = Duration::from_millis(300);
const WINDOW: Duration = Duration::from_millis(60);
const WINDOWS: usize = 15;

/// What a recipe's step is measured on: its training data where they can be opened, else random
/// values. Those take as long, but for the work that zeros save, such as an image's dark pixels.
pub struct BenchData(Result<Arc<dyn Dataset>>);

impl BenchData {
    /// Opens the recipe's training data; a model of tokens gets their vocabulary.
    ///
    /// # Errors
    /// If the model is one of tokens, and its texts cannot be read.
    pub fn open(file: &mut RecipeFile) -> Result<BenchData> {
        let paths = DataPaths::new(&file.path);
        let open = |spec| open_one(file, "batch.data", spec, &paths, None, || None);
        let data = file.batch_data().and_then(open);
        if !file.reads_tokens() {
            return Ok(BenchData(data));
        }
        let data = data?;
        file.set_tokenizer_of(data.as_ref())?;
        Ok(BenchData(Ok(data)))
    }

    /// Why batches of this size are of random values, if they are.
    pub fn why_random(&self, batch_size: usize) -> Option<String> {
        match &self.0 {
            Ok(data) if data.len() >= batch_size => None,
            Ok(data) => Some(format!(
                "batch.data has {} samples, too few for a batch of {batch_size}",
                data.len()
            )),
            Err(e) => Some(e.to_string()),
        }
    }
}

/// Measures the step of a recipe's model at `batch_size`.
pub fn bench(
    file: &RecipeFile,
    data: &BenchData,
    batch_size: usize,
    threads: Option<usize>,
) -> Result<BenchResult> {
    file.only_network()?;
    let mut spec = engine_spec(file, threads);
    spec.batch_size = batch_size;
    let mut engine = Engine::compile(spec)?;
    let batches = batches(file, data, &engine, batch_size)?;
    let rate = file.recipe.training.optimizer.schedule().at(0) as f32;
    let mut next = 0;
    let mut step = |engine: &mut Engine| -> Result<()> {
        engine.train(&batches[next], rate)?;
        next = (next + 1) % batches.len();
        Ok(())
    };
    let start = Instant::now();
    let mut steps = 0u32;
    while start.elapsed() < WARM_UP || steps < 3 {
        step(&mut engine)?;
        steps += 1;
    }
    let one = start.elapsed() / steps;
    let per_window = (WINDOW.as_secs_f64() / one.as_secs_f64()).ceil().max(1.0) as u32;
    let mut windows = Vec::with_capacity(WINDOWS);
    for _ in 0..WINDOWS {
        let start = Instant::now();
        for _ in 0..per_window {
            step(&mut engine)?;
        }
        windows.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(per_window));
    }
    windows.sort_by(f64::total_cmp);
    let microseconds = windows[WINDOWS / 2];
    Ok(BenchResult {
        recipe: name(&file.path),
        batch_size,
        threads: engine.threads(),
        microseconds_per_step: microseconds,
        samples_per_second: batch_size as f64 * 1e6 / microseconds,
        floor_microseconds: engine.floor_microseconds(),
    })
}

/// The kernels of one step with the mean microseconds that each takes on one thread.
pub fn kernels(
    file: &RecipeFile,
    data: &BenchData,
    batch_size: usize,
) -> Result<Vec<(String, f64)>> {
    file.only_network()?;
    let mut spec = engine_spec(file, Some(1));
    spec.batch_size = batch_size;
    let mut engine = Engine::compile(spec)?;
    let batches = batches(file, data, &engine, batch_size)?;
    let rate = file.recipe.training.optimizer.schedule().at(0) as f32;
    let (start, mut rounds) = (Instant::now(), 0);
    while start.elapsed() < WARM_UP {
        engine.train(&batches[0], rate)?;
        rounds += 1;
    }
    Ok(engine.profile(&batches[batches.len() - 1], rate, 3 * rounds)?)
}

fn name(path: &Path) -> String {
    path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Batches to step through.
///
/// # Errors
/// If the data cannot be read.
pub fn batches(
    file: &RecipeFile,
    data: &BenchData,
    engine: &Engine,
    batch_size: usize,
) -> Result<Vec<Batch>> {
    let data: Arc<dyn Dataset> = match &data.0 {
        Ok(data) if data.len() >= batch_size => data.clone(),
        _ => Arc::new(random(file, engine, batch_size)?),
    };
    let most = (MOST_VALUES / (batch_size * data.sample_len()).max(1)).clamp(2, BATCHES);
    let mut options = LoaderOptions::new(batch_size, Order::Shuffled { seed: 0 });
    options.drop_last = true;
    let mut loader = Loader::new(data, options)?;
    let mut batches = Vec::with_capacity(most);
    while batches.len() < most {
        match loader.next_batch()? {
            Some(batch) => batches.push(batch.clone()),
            None => break,
        }
    }
    Ok(batches)
}

/// Values from 0 to 1 (ids where the model takes ids), and labels for the task.
fn random(file: &RecipeFile, engine: &Engine, batch_size: usize) -> Result<MemoryDataset> {
    let shape = file.recipe.model.input.shape();
    let len: usize = shape.iter().product();
    let samples = (2 * batch_size).max(64);
    let limit = match file.recipe.model.input {
        tidemill_engine::nn::InputSpec::Ids { vocabulary, .. } => Some(vocabulary as u64),
        _ => None,
    };
    let mut state = 1u64;
    let mut next = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let value = |bits: u64| match limit {
        Some(n) => (bits % n) as f32,
        None => bits as f32 / (1u64 << 31) as f32,
    };
    let features: Vec<f32> = (0..samples * len).map(|_| value(next())).collect();
    let outputs = engine.num_outputs();
    let labels = match file.recipe.task() {
        Task::Classes => {
            Labels::Classes((0..samples).map(|_| (next() % outputs as u64) as u32).collect())
        }
        _ => Labels::Values {
            values: (0..samples * outputs).map(|_| (next() % 2) as f32).collect(),
            width: outputs,
        },
    };
    let data = MemoryDataset::new(Features::F32(features), &shape, labels)?;
    Ok(match file.recipe.task() {
        Task::Classes => data.with_num_classes(outputs)?,
        _ => data,
    })
}
