//! What a run needs before its first step: the data opened, the model compiled.

use tidemill_engine::data::{FillCost, Known, Loader, LoaderOptions};
use tidemill_engine::engine::{Engine, EngineSpec};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::folder::restore as restore_folder;
use tidemill_engine::memory::Budget;
use tidemill_recipe::data::RunData;
use tidemill_recipe::{DataPaths, OptimizerState, RecipeFile, evaluate_options, training_spec};

use crate::batch::Event;
use crate::doctor;
use crate::memory;
use crate::reading::Reading;
use crate::resume::known;
use crate::run::RunOptions;

/// What a run starts with.
pub(crate) struct Start {
    pub(crate) data: RunData,
    pub(crate) engine: Engine,
    pub(crate) reading: Reading,
    pub(crate) budget: Budget,
}

/// What a run that continues knows of columns; its tokenizer becomes the recipe's.
pub(crate) fn look_up(
    file: &mut RecipeFile,
    options: &RunOptions,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Option<Known>> {
    // Before its columns are looked up.
    if let Some(text) = restore_folder(&options.out)? {
        watch(Event::Notice(&text));
    }
    let (known, tokenizer) = known(file, options)?;
    if let Some(tokenizer) = tokenizer {
        file.set_tokenizer(tokenizer)?;
    }
    Ok(known)
}

/// The threads of each worker; all cores where there is one.
fn threads_of_each(options: &RunOptions) -> Option<usize> {
    let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
    match (options.threads, options.workers.local_size()) {
        (None, 1) => None,
        (None, workers) => Some((cores() / workers).max(1)),
        (given, _) => given,
    }
}

/// What to compile for this worker of a run.
fn spec_of(file: &RecipeFile, options: &RunOptions) -> EngineSpec {
    let sharded = file.recipe.training.optimizer_state == OptimizerState::Sharded;
    let part = Some(options.workers.part()).filter(|part| sharded && part.of > 1);
    EngineSpec { part, ..training_spec(file, threads_of_each(options)) }
}

/// A larger batch may be more than all samples, and memory for it is better not taken.
const LARGE_BATCH: usize = 1024;

/// Opens the data and compiles the model, at the same time where memory does not matter; a mistake in
/// the data is reported first.
pub(crate) fn open(
    file: &mut RecipeFile,
    paths: &DataPaths,
    known: Option<&Known>,
    options: &RunOptions,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Start> {
    let spec = spec_of(file, options);
    let small = options.memory.is_none() && spec.batch_size <= LARGE_BATCH;
    // How many tokens the model has is known once the texts are.
    let waits = file.reads_tokens() && file.tokenizer().is_none();
    let (data, engine) = match small && !waits {
        true => open_both(file, paths, known, spec)?,
        false => (RunData::open(file, paths, known)?, None),
    };
    if waits {
        file.set_tokenizer_of(data.train.as_ref())?;
    }
    let file = &*file;
    let mut spec = spec_of(file, options);
    let (errors, warnings): (Vec<_>, Vec<_>) =
        doctor::check_all(file, &data).into_iter().partition(|finding| finding.is_error);
    // Also before an error: that a folder of a class is empty may be what explains it.
    warnings.iter().for_each(|finding| watch(Event::Notice(&finding.to_string())));
    if let Some(finding) = errors.first() {
        return Err(file.error_at(&finding.key, &finding.message()));
    }
    let beside = memory::least_beside(file, &data, options.memory);
    let workers = (options.workers.size(), options.workers.local_size() - 1);
    let budget = memory::budget(file, (options.memory, beside), &options.out, workers);
    spec.batch_size = spec.batch_size.min(data.train.len());
    let mut engine = match engine {
        Some(engine) => engine?,
        None => Engine::compile_within(spec, 0.0, budget.clone())?,
    };
    if options.memory.is_some() && file.next_thaw(0).is_some() {
        // The last of its steps takes the most; better no run than one that ends in the middle.
        let mut whole = file.clone();
        whole.thaw(u64::MAX - 1)?;
        let mut spec = spec_of(&whole, options);
        spec.batch_size = spec.batch_size.min(data.train.len());
        Engine::compile_within(spec, 0.0, budget.clone())?;
    }
    if let Some(what) = engine.filed_in_words() {
        watch(Event::Notice(&format!("--memory: {what}")));
    }
    let evaluated = data.validation.as_ref().map_or(Vec::new(), |set| {
        let size = evaluate_options(file).batch_size.min(set.len());
        let rest = Some(set.len() % size).filter(|&rest| rest > 0);
        std::iter::once(size).chain(rest).collect()
    });
    let prepared = engine.prepare(doctor::last_batch(file, data.train.len()), &evaluated);
    prepared.map_err(|e| Error::Usage(e.to_string()))?;
    let reading = memory::reading(file, &data, options.memory, &mut engine)?;
    Ok(Start { data, engine, reading, budget })
}

type Both = (RunData, Option<Result<Engine>>);

fn open_both(
    file: &RecipeFile,
    paths: &DataPaths,
    known: Option<&Known>,
    spec: EngineSpec,
) -> Result<Both> {
    let (data, engine) = std::thread::scope(|scope| {
        let compile = std::thread::Builder::new().name("compile".into());
        let budget = Budget { copies: 2, ..Budget::default() };
        let engine = compile.spawn_scoped(scope, move || Engine::compile_within(spec, 0.0, budget));
        let data = RunData::open(file, paths, known);
        let ended = |_| Error::Run("the thread that compiles has ended; please report it".into());
        let engine = engine.map_err(|e| Error::Run(format!("no thread can be started: {e}")));
        (data, engine.and_then(|thread| thread.join().map_err(ended)?))
    });
    Ok((data?, Some(engine)))
}

/// Reads the validation data if it is decoded file by file: one that is broken would end the run at the
/// end of its first epoch. Where all of it is kept in memory this is no work done twice.
pub(crate) fn check_validation(data: &RunData, reading: &Reading) -> Result<()> {
    let Some(set) = &data.validation else { return Ok(()) };
    if set.fill_cost() != FillCost::Decode {
        return Ok(());
    }
    let mut pass = LoaderOptions::one_pass(8);
    pass.threads = reading.threads;
    pass.memory_bytes = reading.memory_bytes.unwrap_or(pass.memory_bytes);
    let mut loader = Loader::new(set.clone(), pass)?;
    while loader.next_batch()?.is_some() {}
    Ok(())
}
