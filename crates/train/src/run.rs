//! A training run from the recipe to the summary.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tidemill_engine::checkpoint::{Checkpoint, Checkpoints, EpochFigures, Meta, state_sha256};
use tidemill_engine::data::{DataSpec, Known, Loader, LoaderOptions, Order};
use tidemill_engine::engine::Engine;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::evaluate::{Evaluation, evaluate, skipped, unit};
use tidemill_engine::folder::{Existing, RunFolder};
use tidemill_engine::memory::{check_memory, peak_rss_bytes};
use tidemill_engine::metrics::{Figures, Meter};
use tidemill_engine::session::Session;
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
    /// Its result.
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
    let known = known(&file, options)?;
    let (data, mut engine) = open(&file, &paths, known.as_ref(), options.threads, watch)?;
    tell_notes(&data, watch);
    // A copy that is being written as a checkpoint, and the next one.
    check_memory(&engine, options.memory, 2, 0)?;
    let keep = file.recipe.checkpoint.keep;
    let mut notice = |what: &str| watch(Event::Notice(what));
    let mut session = Session::open(&options.out, options.existing, keep, &mut notice)?;
    let (at, meter) = match &session.resumed {
        Some(checkpoint) => restore(&file, checkpoint, &mut engine, &data, watch)?,
        None => start(&file, &engine, &data),
    };
    // Only now: a recipe that does not fit the checkpoint must not take the place of its own.
    file.set_paths(&paths);
    write_start(&mut session, &file, &at)?;

    let loader = loader(&file, &data, at.data)?;
    let recipe = file.recipe.clone();
    let steps_per_epoch = recipe.batch.steps_per_epoch.unwrap_or(loader.batches_per_epoch());
    let run_steps = recipe.epochs().saturating_mul(steps_per_epoch);
    if session.resumed.is_some() {
        tell_resumed(at.step, steps_per_epoch, recipe.epochs(), watch);
    }
    let evaluation = evaluate_options(&file);
    let mut validate = |engine: &mut Engine| match &data.validation {
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
        base: base_meta(&file, &data, session.resumed.as_ref()),
        saved: session.resumed.as_ref().map(|c| c.meta.step),
        session: &mut session,
        validate: &mut validate,
        last_validation: None,
        interrupt: &options.interrupt,
        watch: &mut *watch,
        clock: Clock::start(&at),
        at,
    };
    let stopped_by = driver.run()?;
    let Driver { at, clock, meter, last_validation, .. } = driver;
    let wall_seconds = clock.total();
    tell_skipped(&data, watch);
    let restored = restore_best(&file, stopped_by, &mut session, &mut engine)?;
    let measured = match last_validation {
        Some((step, found)) if step == at.total_steps() && !restored => Some(found),
        // An interrupt should end the program soon; the checkpoint can be measured later.
        _ if stopped_by == StoppedBy::Interrupt => None,
        _ => validate(&mut engine)?,
    };
    let ran = Ran { steps_per_epoch, wall_seconds, stopped_by, measured };
    let summary = summary(&engine, &at, &meter, &ran);
    let page = page(&file, &data, &engine, &at, &ran, &summary);
    session.finish(&summary, page.as_deref())?;
    Ok(Outcome { summary, stopped_by, folder: session.folder })
}

/// What a run that continues knows of the columns of its table: the table is read as the run knows it.
fn known(file: &RecipeFile, options: &RunOptions) -> Result<Option<Known>> {
    let is_table = matches!(file.recipe.batch.data, Some(DataSpec::Csv(_)));
    if options.existing != Existing::Resume || !is_table {
        return Ok(None);
    }
    let checkpoints = Checkpoints::new(&options.out, file.recipe.checkpoint.keep);
    let (newest, _) = checkpoints.newest()?;
    Ok(newest.map(|c| c.meta.known).filter(|known| known.encoder.is_some()))
}

/// Opens the data and compiles the model at the same time; a mistake in the data is reported first.
fn open(
    file: &RecipeFile,
    paths: &DataPaths,
    known: Option<&Known>,
    threads: Option<usize>,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<(RunData, Engine)> {
    let spec = engine_spec(file, threads);
    let (data, engine) = std::thread::scope(|scope| {
        let compile = std::thread::Builder::new().name("compile".into());
        let engine = compile.spawn_scoped(scope, || Engine::compile(spec));
        let data = RunData::open(file, paths, known);
        let ended = |_| Error::Run("the thread that compiles has ended; please report it".into());
        let engine = engine.map_err(|e| Error::Run(format!("no thread can be started: {e}")));
        (data, engine.and_then(|thread| thread.join().map_err(ended)))
    });
    let data = data?;
    for finding in doctor::check_all(file, &data) {
        if finding.is_error {
            return Err(file.error_at(&finding.key, &finding.message()));
        }
        watch(Event::Notice(&finding.to_string()));
    }
    Ok((data, engine??))
}

/// Writes the resolved recipe and the log of the epochs so far, beside the first steps.
fn write_start(session: &mut Session, file: &RecipeFile, at: &Position) -> Result<()> {
    let folder = session.folder.clone();
    let (recipe, history) = (file.to_toml(), at.history.clone());
    session.writer.run(move || {
        folder.write_recipe(&recipe)?;
        folder.rewrite_metrics(&history)
    })
}

fn tell_resumed(step: u64, per_epoch: u64, epochs: u64, watch: &mut dyn FnMut(Event<'_>)) {
    watch(Event::Notice(&if step < epochs.saturating_mul(per_epoch) {
        format!("continuing from step {step} (epoch {})", step / per_epoch + 1)
    } else {
        format!(
            "nothing is left to do after step {step}: set batch.epochs to more than {epochs} to continue"
        )
    }));
}

/// How the driver's loop went.
struct Ran {
    steps_per_epoch: u64,
    wall_seconds: f64,
    stopped_by: StoppedBy,
    /// The final weights on the validation data.
    measured: Option<Evaluation>,
}

fn summary(engine: &Engine, at: &Position, meter: &Meter, ran: &Ran) -> Summary {
    Summary {
        steps: at.total_steps(),
        samples: at.samples,
        epochs: at.step / ran.steps_per_epoch,
        wall_seconds: ran.wall_seconds,
        samples_per_second: at.samples as f64 / ran.wall_seconds.max(1e-9),
        peak_rss_bytes: peak_rss_bytes(),
        arena_bytes: engine.arena_bytes() as u64,
        train: train_figures(meter, &at.history),
        validation: ran.measured.as_ref().map_or_else(Figures::new, |m| m.figures.clone()),
        stopped_by: ran.stopped_by.name().to_string(),
        state_sha256: state_sha256(engine.state().tensors()),
    }
}

/// The page about the run, if the recipe wants it.
fn page(
    file: &RecipeFile,
    data: &RunData,
    engine: &Engine,
    at: &Position,
    ran: &Ran,
    summary: &Summary,
) -> Option<String> {
    file.recipe.report.html.then(|| {
        Report {
            file,
            summary,
            history: &at.history,
            evaluation: ran.measured.as_ref(),
            data: Some(data),
            class_names: &data.class_names,
            plan: &engine.plan_in_short(),
            threads: engine.threads(),
            num_parameters: engine.num_parameters(),
        }
        .page()
    })
}

fn loader(file: &RecipeFile, data: &RunData, position: u64) -> Result<Loader> {
    let r = &file.recipe;
    let order = match r.batch.shuffle {
        true => Order::Shuffled { seed: r.training.seed },
        false => Order::Sequential,
    };
    let mut options = LoaderOptions::new(r.batch.batch_size, order);
    options.drop_last = r.batch.drop_remainder;
    options.position = position;
    options.threads = r.batch.data_threads;
    options.class_weights = class_weights(file, data.train.as_ref())?;
    Loader::new(data.train.clone(), options).map_err(|e| match e {
        tidemill_engine::data::Error::Option { what } => {
            file.error_at("batch", &format!("fails: {what}"))
        }
        e => Error::Data(e),
    })
}

/// The fields of a checkpoint that stay the same. What was learned from a stream stays with the run.
fn base_meta(file: &RecipeFile, data: &RunData, resumed: Option<&Checkpoint>) -> Meta {
    Meta {
        class_names: data.class_names.clone(),
        known: match (data.train.known(), resumed) {
            (Some(known), _) => known.clone(),
            (None, Some(checkpoint)) => checkpoint.meta.known.clone(),
            (None, None) => Known::default(),
        },
        stream: resumed.and_then(|c| c.meta.stream.clone()),
        ..Meta::new(file.recipe.training.seed, file.recipe.task(), file.sha256())
    }
}

fn start(file: &RecipeFile, engine: &Engine, data: &RunData) -> (Position, Meter) {
    let at = Position {
        step: 0,
        online_steps: 0,
        samples: 0,
        data: 0,
        history: Vec::new(),
        wall_seconds: 0.0,
    };
    (at, meter(file, engine, data))
}

fn meter(file: &RecipeFile, engine: &Engine, data: &RunData) -> Meter {
    let meter = Meter::new(file.recipe.task(), engine.num_outputs(), &file.recipe.metrics());
    meter.in_units(unit(data.train.as_ref()))
}

fn restore(
    file: &RecipeFile,
    checkpoint: &Checkpoint,
    engine: &mut Engine,
    data: &RunData,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<(Position, Meter)> {
    checkpoint.load_into(engine)?;
    let meta = &checkpoint.meta;
    if meta.recipe_sha256 != file.sha256() {
        watch(Event::Notice(
            "the recipe has changed since this checkpoint: the run continues with the new one, and \
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
    // A run that has only learned from a stream has measured no batch.
    let running = match at.step {
        0 => meter(file, engine, data),
        _ => meta.running.clone().in_units(unit(data.train.as_ref())),
    };
    Ok((at, running))
}

/// Takes the best epoch's weights when patience ran out and the recipe asks for them.
fn restore_best(
    file: &RecipeFile,
    stopped_by: StoppedBy,
    session: &mut Session,
    engine: &mut Engine,
) -> Result<bool> {
    let wanted = file.recipe.stop.patience.as_ref().is_some_and(|p| p.restore_best);
    if !wanted || stopped_by != StoppedBy::Patience {
        return Ok(false);
    }
    // The best one may be the last one.
    session.writer.wait()?;
    let Some(best) = session.checkpoints.best_or_newest()? else { return Ok(false) };
    best.load_into(engine)?;
    session.checkpoints.point_latest(best.meta.step)?;
    Ok(true)
}

fn tell_notes(data: &RunData, watch: &mut dyn FnMut(Event<'_>)) {
    let sets = [("batch.data", Some(&data.train)), ("batch.validation", data.validation.as_ref())];
    if let Some(understood) = data.train.understood() {
        let lines = understood.lines().join("\n  ");
        watch(Event::Notice(&format!("batch.data is read as\n  {lines}")));
    }
    for (key, set) in sets {
        for note in set.map(|set| set.notes()).unwrap_or_default() {
            watch(Event::Notice(&format!("{key}: {note}")));
        }
    }
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
