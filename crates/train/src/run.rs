//! A training run from the recipe to the summary.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tidemill_engine::checkpoint::{
    Checkpoint, Checkpoints, EpochFigures, Meta, Writer, state_sha256,
};
use tidemill_engine::data::{self, Known, Loader, LoaderOptions, Order};
use tidemill_engine::engine::Engine;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::evaluate::{evaluate, skipped, unit};
use tidemill_engine::folder::{Existing, RunFolder};
use tidemill_engine::memory::{check_memory, peak_rss_bytes};
use tidemill_engine::metrics::{Figures, Meter};
use tidemill_engine::summary::Summary;
use tidemill_recipe::data::{RunData, class_weights};
use tidemill_recipe::{DataPaths, RecipeFile, engine_spec, evaluate_options};

use crate::batch::{Clock, Driver, Event, Position, StoppedBy};
use crate::doctor;
use crate::report::Report;

/// How a recipe is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The run's folder.
    pub out: PathBuf,
    /// What happens to a run that is there.
    pub existing: Existing,
    /// Threads of a step; all cores by default.
    pub threads: Option<usize>,
    /// Bytes that the run must fit into.
    pub memory: Option<u64>,
    /// Set to true to end the run with a checkpoint.
    pub interrupt: Arc<AtomicBool>,
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it came to.
    pub summary: Summary,
    /// Why it ended.
    pub stopped_by: StoppedBy,
    /// Its folder.
    pub folder: RunFolder,
}

/// Trains as the recipe says.
pub fn train(
    mut file: RecipeFile,
    options: &RunOptions,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome> {
    file.only_network()?;
    let paths = DataPaths::new(&file.path);
    let spec = engine_spec(&file, options.threads);
    // First, since a table is read as the run knows it.
    let resumed = match options.existing {
        Existing::Resume => newest(&file, options, watch)?,
        _ => None,
    };
    let known = resumed.as_ref().map(|c| &c.meta.known).filter(|known| known.encoder.is_some());
    // Compiled while the data is read; a mistake in the data is told first.
    let (data, engine) = std::thread::scope(|scope| {
        let compile = std::thread::Builder::new().name("compile".into());
        let engine = compile.spawn_scoped(scope, || Engine::compile(spec));
        let data = RunData::open(&file, &paths, known);
        let ended = |_| Error::Run("the thread that compiles has ended; please report it".into());
        let engine = engine.map_err(|e| Error::Run(format!("no thread can be started: {e}")));
        (data, engine.and_then(|thread| thread.join().map_err(ended)))
    });
    let data = data?;
    notes(&data, watch);
    for finding in doctor::check_all(&file, &data) {
        match finding.is_error {
            true => return Err(file.error_at(&finding.key, &finding.message())),
            false => watch(Event::Notice(&finding.to_string())),
        }
    }
    let mut engine = engine??;
    // A copy that is being written as a checkpoint, and the next one.
    check_memory(&engine, options.memory, 2, 0)?;

    let folder = RunFolder::create(&options.out, options.existing)?;
    let checkpoints = folder.checkpoints(file.recipe.checkpoint.keep);
    let mut writer = Writer::new(checkpoints.clone())?;
    let (at, meter) = match &resumed {
        Some(checkpoint) => restore(&file, checkpoint, &mut engine, watch)?,
        None => start(&file, &engine, &data),
    };
    // Only now: a recipe that does not fit the checkpoint must not take the place of its own.
    file.set_paths(&paths);
    writer.run({
        let (folder, recipe, history) = (folder.clone(), file.to_toml(), at.history.clone());
        move || {
            folder.write_recipe(&recipe)?;
            folder.rewrite_metrics(&history)
        }
    })?;

    let shaped = data.shaped(&file, engine.num_outputs());
    let loader = loader(&file, &data, &shaped, at.data)?;
    let recipe = file.recipe.clone();
    let steps_per_epoch = recipe.batch.steps_per_epoch.unwrap_or(loader.batches_per_epoch());
    let run_steps = recipe.epochs().saturating_mul(steps_per_epoch);
    if resumed.is_some() {
        watch(Event::Notice(&match at.step < run_steps {
            true => {
                format!("going on from step {} (epoch {})", at.step, at.step / steps_per_epoch + 1)
            }
            false => format!(
                "nothing is left to do after step {}: set batch.epochs to more than {} to go on",
                at.step,
                recipe.epochs()
            ),
        }));
    }
    let evaluation = evaluate_options(&file);
    let mut validate = |engine: &mut Engine| match &shaped.validation {
        Some(data) => evaluate(engine, data, &evaluation).map(Some),
        None => Ok(None),
    };
    let mut driver = Driver {
        recipe: &recipe,
        engine: &mut engine,
        loader,
        schedule: recipe.training.optimizer.schedule().clone().over(run_steps),
        steps_per_epoch,
        meter,
        base: Meta {
            // What was learned from a stream stays with the run.
            stream: resumed.as_ref().and_then(|c| c.meta.stream.clone()),
            known: data.train.known().cloned().unwrap_or_else(|| {
                resumed.as_ref().map(|c| c.meta.known.clone()).unwrap_or_default()
            }),
            ..base_meta(&file, &data)
        },
        writer,
        saved: resumed.as_ref().map(|c| c.meta.step),
        log: &mut |epoch: &EpochFigures| folder.append_metrics(epoch),
        validate: &mut validate,
        last_validation: None,
        interrupt: &options.interrupt,
        watch: &mut *watch,
        clock: Clock::start(&at),
        at,
    };
    let stopped_by = driver.run()?;
    let Driver { at, clock, meter, last_validation, mut writer, .. } = driver;
    let wall_seconds = clock.total();
    tell_skipped(&data, watch);

    if stopped_by == StoppedBy::Patience {
        writer.wait()?;
    }
    let restored = restore_best(&file, stopped_by, &folder, &mut engine)?;
    let measured = match last_validation {
        Some((step, found)) if step == at.total_steps() && !restored => Some(found),
        // An interrupt should end the program soon; the checkpoint can be measured later.
        _ if stopped_by == StoppedBy::Interrupt => None,
        _ => validate(&mut engine)?,
    };
    let state = engine.state();
    let summary = Summary {
        steps: at.total_steps(),
        samples: at.samples,
        epochs: at.step / steps_per_epoch,
        wall_seconds,
        samples_per_second: at.samples as f64 / wall_seconds.max(1e-9),
        peak_rss_bytes: peak_rss_bytes(),
        arena_bytes: engine.arena_bytes() as u64,
        train: train_figures(&meter, &at.history),
        validation: measured.as_ref().map_or_else(Figures::new, |m| m.figures.clone()),
        stopped_by: stopped_by.name().to_string(),
        state_sha256: state_sha256(state.tensors()),
    };
    let page = file.recipe.report.html.then(|| {
        Report {
            file: &file,
            summary: &summary,
            history: &at.history,
            evaluation: measured.as_ref(),
            data: Some(&data),
            class_names: &data.class_names,
            plan: &engine.plan_in_short(),
            threads: engine.threads(),
            num_parameters: engine.num_parameters(),
        }
        .page()
    });
    // Written while the last checkpoint is, but shown only when that is on disk.
    let staged = folder.stage_result(&summary, page.as_deref())?;
    writer.wait()?;
    folder.show(staged)?;
    Ok(Outcome { summary, stopped_by, folder })
}

fn loader(file: &RecipeFile, data: &RunData, shaped: &RunData, position: u64) -> Result<Loader> {
    let r = &file.recipe;
    let order = match r.batch.shuffle {
        true => Order::Shuffled { seed: r.training.seed },
        false => Order::Sequential,
    };
    let mut options = LoaderOptions::new(r.batch.batch_size, order);
    options.drop_last = r.batch.drop_remainder;
    options.position = position;
    options.threads = r.batch.data_threads;
    options.sample_weights = data.train.weights().map(Into::into);
    let weights = class_weights(file, data.train.as_ref())?;
    if shaped.train.num_classes().is_some() {
        options.class_weights = weights;
    } else if !weights.is_empty() {
        // The loader sees values instead of classes: weigh each sample by its class here.
        let own = |i: usize| options.sample_weights.as_ref().map_or(1.0, |w| w[i]);
        let weight = |i| match data.train.label(i) {
            data::Label::Class(c) => own(i) * weights[c as usize],
            _ => own(i),
        };
        options.sample_weights = Some((0..data.train.len()).map(weight).collect());
    }
    Loader::new(shaped.train.clone(), options).map_err(|e| match e {
        data::Error::Option { what } => file.error_at("batch", &format!("fails: {what}")),
        e => Error::Data(e),
    })
}

/// The fields of a checkpoint that stay the same.
fn base_meta(file: &RecipeFile, data: &RunData) -> Meta {
    Meta {
        step: 0,
        position: 0,
        epoch: 0,
        samples: 0,
        seed: file.recipe.training.seed,
        wall_seconds: 0.0,
        recipe_sha256: file.sha256(),
        state_sha256: String::new(),
        running: Meter::new(file.recipe.task(), 0, &[]),
        history: Vec::new(),
        best: None,
        class_names: data.class_names.clone(),
        known: Known::default(),
        online_steps: 0,
        stream: None,
    }
}

/// The newest checkpoint of the run that goes on, if there is one.
fn newest(
    file: &RecipeFile,
    options: &RunOptions,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Option<Checkpoint>> {
    let checkpoints = Checkpoints::new(&options.out, file.recipe.checkpoint.keep);
    let (found, notices) = checkpoints.newest()?;
    notices.iter().for_each(|n| watch(Event::Notice(n)));
    if found.is_none() && !notices.is_empty() {
        watch(Event::Notice("no checkpoint is left to go on from: the run starts anew"));
    }
    Ok(found)
}

/// What people should know of the data.
fn notes(data: &RunData, watch: &mut dyn FnMut(Event<'_>)) {
    let sets = [("batch.data", Some(&data.train)), ("batch.validation", data.validation.as_ref())];
    for (key, set) in sets {
        for note in set.map(|set| set.notes()).unwrap_or_default() {
            watch(Event::Notice(&format!("{key}: {note}")));
        }
    }
}

fn start(file: &RecipeFile, engine: &Engine, data: &RunData) -> (Position, Meter) {
    let meter = Meter::new(file.recipe.task(), engine.num_outputs(), &file.recipe.metrics())
        .in_units(unit(data.train.as_ref()));
    let at = Position {
        step: 0,
        online_steps: 0,
        samples: 0,
        data: 0,
        history: Vec::new(),
        wall_seconds: 0.0,
    };
    (at, meter)
}

fn restore(
    file: &RecipeFile,
    checkpoint: &Checkpoint,
    engine: &mut Engine,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<(Position, Meter)> {
    checkpoint.load_into(engine)?;
    let meta = &checkpoint.meta;
    if meta.recipe_sha256 != file.sha256() {
        watch(Event::Notice(
            "the recipe has changed since this checkpoint: the run goes on with the new one, and \
             will not end with the weights of a run that was never stopped",
        ));
    }
    let at = Position {
        step: meta.step - meta.online_steps,
        online_steps: meta.online_steps,
        samples: meta.samples,
        data: meta.position,
        history: meta.history.clone(),
        wall_seconds: meta.wall_seconds,
    };
    Ok((at, meta.running.clone()))
}

/// Takes the best epoch's weights when patience ran out and the recipe asks for them.
fn restore_best(
    file: &RecipeFile,
    stopped_by: StoppedBy,
    folder: &RunFolder,
    engine: &mut Engine,
) -> Result<bool> {
    let wanted = file.recipe.stop.patience.as_ref().is_some_and(|p| p.restore_best);
    if !wanted || stopped_by != StoppedBy::Patience {
        return Ok(false);
    }
    let checkpoints = folder.checkpoints(file.recipe.checkpoint.keep);
    let Some(best) = checkpoints.best_or_newest()? else { return Ok(false) };
    best.load_into(engine)?;
    checkpoints.point_latest(best.meta.step)?;
    Ok(true)
}

fn tell_skipped(data: &RunData, watch: &mut dyn FnMut(Event<'_>)) {
    let sets = [("batch.data", Some(&data.train)), ("batch.validation", data.validation.as_ref())];
    for (key, set) in sets {
        if let Some(what) = set.and_then(|set| skipped(set.as_ref())) {
            watch(Event::Notice(&format!("{key}: {what}")));
        }
    }
}

/// Of the epoch under way, else of the last full one.
fn train_figures(meter: &Meter, history: &[EpochFigures]) -> Figures {
    match (meter.samples(), history.last()) {
        (0, Some(last)) => last.train.clone(),
        _ => meter.figures(),
    }
}
