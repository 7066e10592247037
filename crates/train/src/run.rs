//! A training run from the recipe to the summary.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tidemill_engine::checkpoint::{
    Attachment, Best, Checkpoint, Course, EpochFigures, Meta, SpikeState, state_sha256,
};
use tidemill_engine::data::{Known, Shards};
use tidemill_engine::engine::Engine;
use tidemill_engine::error::Result;
use tidemill_engine::evaluate::{EvaluateOptions, Evaluation, evaluate, skipped, unit};
use tidemill_engine::folder::{Existing, RunFolder};
use tidemill_engine::memory::{peak_rss_bytes, return_pieces};
use tidemill_engine::metrics::{Figures, Meter};
use tidemill_engine::session::Session;
use tidemill_engine::summary::Summary;
use tidemill_engine::{Average, Averaging, Training};
use tidemill_recipe::data::RunData;
use tidemill_recipe::{DataPaths, RecipeFile};

use crate::batch::{Driver, Event, StoppedBy, measure};
use crate::log::Log;
use crate::memory::written_copies;
use crate::open::{Start, check_validation, look_up, open};
use crate::place::{Clock, Position};
use crate::reading::{balanced, loader};
use crate::report::Report;
use crate::resume::{self, Continued, old_recipe};
use crate::spikes::Watch;
use crate::transfer::start;
use crate::unfreeze;
use crate::watch::best;
use crate::workers::{Leader, WorkerGroup};

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
    /// The folder of another run, which is continued in this one.
    pub from: Option<PathBuf>,
    /// Who computes the shards of its batches.
    pub workers: WorkerGroup,
    /// End for now when so many epochs are done: schedules span the whole run, which a resume continues.
    pub pause_after: Option<u64>,
    /// Set to true to end the run with a checkpoint.
    pub interrupt: Arc<AtomicBool>,
}

impl RunOptions {
    /// The folder of the run that is continued, if one is.
    pub(crate) fn continued(&self) -> Option<&Path> {
        let is_there = || self.out.join("checkpoints").is_dir();
        match (self.existing, &self.from) {
            (Existing::Resume, Some(from)) if !is_there() => Some(from),
            (Existing::Resume, _) => Some(&self.out),
            (_, from) => from.as_deref(),
        }
    }
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
    file: RecipeFile,
    options: &RunOptions,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome> {
    if options.memory.is_some() {
        return_pieces();
    }
    let (mut options, mut is_first) = (options.clone(), true);
    loop {
        if let Some(outcome) = train_until_unfrozen(file.clone(), &options, is_first, watch)? {
            return Ok(outcome);
        }
        options.existing = Existing::Resume;
        is_first = false;
    }
}

/// The same, up to the epoch from which further layers learn: another step is compiled then. None if there is one.
fn train_until_unfrozen(
    mut file: RecipeFile,
    options: &RunOptions,
    is_first: bool,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Option<Outcome>> {
    file.only_network()?;
    options.workers.check(&file)?;
    let listener = options.workers.listen()?;
    let paths = DataPaths::new(&file.path);
    let known = look_up(&mut file, options, watch)?;
    let epochs = unfreeze::start(&mut file, options)?;
    let Start { data, mut engine, reading, budget } =
        open(&mut file, &paths, known.as_ref(), options, watch)?;
    tell_notes(&file, &data, watch);
    check_validation(&data, &reading)?;
    let mut notice = |what: &str| watch(Event::Notice(what));
    let mut session = open_session(options, &file, &engine, &mut notice)?;
    let (at, course, meters) =
        begin(&file, &paths, options, &session, &mut engine, &data, &mut notice)?;
    // Only now: a recipe that does not fit the checkpoint must not take the place of its own.
    file.set_paths(&paths);
    write_start(&mut session, &file, &at)?;
    let shards = engine.shards();
    let leader = Leader::new(&file, &data, &engine, reading, &options.interrupt);
    let workers = options.workers.start(listener, leader, watch)?;
    let own = workers.as_ref().map_or(Shards::all(shards), |workers| workers.own());
    let remake = |shards: Shards, position: u64| loader(&file, &data, position, &reading, shards);
    let loader = remake(own, at.data)?;
    let recipe = file.recipe.clone();
    let mut validate = |engine: &mut Engine, for_page: bool| match &data.validation {
        Some(data) => {
            let drawn = for_page && file.recipe.report.html;
            let options = EvaluateOptions { drawn, ..reading.evaluation(&file) };
            evaluate(engine, data, &options).map(Some)
        }
        None => Ok(None),
    };
    let log = open_log(&session, &file, &at, &data, watch)?;
    let spikes = Watch::of(&recipe.training, &engine, at.step, session.resumed.as_ref())?;
    let averaging = recipe.training.average;
    let average = average(averaging, session.resumed.as_ref(), &engine)?;
    let mut driver = Driver {
        recipe: &recipe,
        schedule: recipe.training.optimizer.schedule().clone().over(course.run_steps),
        course,
        base: base_meta(&file, &data, session.resumed.as_ref())?,
        saved: session.resumed.as_ref().map(|c| c.meta.step),
        saved_at: at.wall_seconds,
        session: &mut session,
        log,
        spikes,
        validate: &mut validate,
        average,
        last_validation: None,
        interrupt: &options.interrupt,
        pause: options.pause_after,
        unfreeze: file.next_thaw(epochs),
        watch: &mut *watch,
        clock: Clock::start(&at),
        at,
        budget,
        factor: 1.0,
        stopped_by: StoppedBy::Epochs,
    };
    if driver.saved.is_some() && is_first {
        driver.tell_resumed();
    }
    let mut training = Training::new(&mut engine, loader, meters).with(workers, &remake);
    if let Some(steps) = file.recipe.batch.steps_per_epoch {
        training = training.with_epochs_of(steps, driver.course.step_of_epoch(driver.at.step));
    }
    let stopped_by = driver.run(&mut training)?;
    let meter = training.meter();
    drop(training);
    if stopped_by == StoppedBy::Unfreeze {
        let epochs = driver.course.epoch(driver.at.step);
        drop(driver);
        return tell_unfrozen(&file, epochs, &mut session, watch).map(|()| None);
    }
    let Driver { at, course, clock, last_validation, mut average, spikes, .. } = driver;
    let wall_seconds = clock.total();
    tell_skipped(&data, watch);
    let restored = restore_best(&file, stopped_by, &at, &mut session, &mut engine, watch)?;
    if let (Some(best), Some(how)) = (&restored, averaging) {
        average = Some(Average::restore(&engine, how, best)?);
    }
    let last = last_validation.filter(|(step, _)| *step == at.total_steps() && restored.is_none());
    let last = last.map(|(_, found)| found);
    let measured = match is_drawn(last.is_some(), stopped_by, &file) {
        true => last,
        false => measure(&mut engine, &mut average, &mut validate, true)?,
    };
    let spikes = spikes.map(|watch| watch.state()).unwrap_or_default();
    let ran = Ran { epochs: course.epoch(at.step), wall_seconds, stopped_by, measured, spikes };
    let summary = summary(&engine, &at, &meter, &ran)?;
    let page = page(&file, session.folder.path(), &data, &engine, &at, &ran, &summary);
    session.finish(&summary, page.as_deref())?;
    Ok(Some(Outcome { summary, stopped_by, folder: session.folder.clone() }))
}

/// Whether the last validation, where there was one of the final weights, is all that the page needs. Nothing is drawn of one that
/// was not known to be the last; an interrupt should end the program soon, and its checkpoint can be measured later.
fn is_drawn(is_there: bool, stopped_by: StoppedBy, file: &RecipeFile) -> bool {
    match stopped_by {
        StoppedBy::Interrupt => true,
        StoppedBy::Pause | StoppedBy::Epochs => is_there,
        _ => is_there && !file.recipe.report.html,
    }
}

/// Where the run starts or continues, with the engine's state as it is there.
fn begin(
    file: &RecipeFile,
    paths: &DataPaths,
    options: &RunOptions,
    session: &Session,
    engine: &mut Engine,
    data: &RunData,
    notice: &mut dyn FnMut(&str),
) -> Result<(Position, Course, Vec<Meter>)> {
    let Some(checkpoint) = &session.resumed else {
        return start(file, paths, engine, data, notice);
    };
    let old_recipe = old_recipe(options);
    let begun = restore(file, old_recipe.as_deref(), checkpoint, engine, data, notice)?;
    let (at, course, _) = &begun;
    if course.step_of_epoch(at.step) == 0 && file.starts_to_thaw(course.epoch(at.step)) {
        // The corrections of their bias count steps since the slots began, which is the same for all parameters.
        engine.reset_slots();
    }
    if let Some(from) = &file.recipe.model.from {
        // What is not there any more stays as it is written.
        from.run.iter().chain(&from.safetensors).for_each(|name| drop(paths.resolve(name)));
    }
    Ok(begun)
}

/// Says which layers learn from here on, once the checkpoint is written from which the run continues.
fn tell_unfrozen(
    file: &RecipeFile,
    epochs: u64,
    session: &mut Session,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<()> {
    session.writer.wait()?;
    let layers = file.thaws_at(epochs).join(", ");
    let what = format!("from epoch {} on, {layers} learn as well", epochs + 1);
    watch(Event::Notice(&format!("training.unfreeze: {what}")));
    Ok(())
}

/// Opens the run's folder, and finds the checkpoint that it continues from.
fn open_session(
    options: &RunOptions,
    file: &RecipeFile,
    engine: &Engine,
    notice: &mut dyn FnMut(&str),
) -> Result<Session> {
    let keep = (file.recipe.checkpoint.keep, engine.is_filed());
    let mut session = Session::open(&options.out, options.existing, keep, notice)?;
    session.folder.make_room()?;
    let (recipe, spec) = (&file.recipe, &file.recipe.checkpoint);
    let bytes = engine.state_bytes() * written_copies(file);
    let most = spec.keep + usize::from(recipe.best_metric().is_some()) * spec.keep_best + 1;
    match session.folder.checkpoints(spec.keep).room(bytes, most)? {
        // A run that is resumed has some of them already.
        Some(what) if session.resumed.is_none() => notice(&what),
        _ => {}
    }
    if let (Some(from), None) = (&options.from, &session.resumed) {
        session.continue_from(from, notice)?;
    }
    Ok(session)
}

/// The files of the run's log, with some images of the training data at their start.
fn open_log(
    session: &Session,
    file: &RecipeFile,
    at: &Position,
    data: &RunData,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Log> {
    let spec = &file.recipe.log;
    let state = session.resumed.as_ref().map(|c| c.meta.log.clone()).unwrap_or_default();
    let mut log = Log::open(session.folder.path(), spec, &file.to_toml(), &state, &at.history)?;
    if spec.images > 0 && session.resumed.is_none() {
        let shown = log.images(data.train.as_ref(), spec.images)?;
        if shown == 0 {
            watch(Event::Notice(
                "log.images: the training data has no images, so that none is shown",
            ));
        }
    }
    Ok(log)
}

/// The averaged weights, if the recipe wants some, as the run starts.
fn average(
    how: Option<Averaging>,
    resumed: Option<&Checkpoint>,
    engine: &Engine,
) -> Result<Option<Average>> {
    match (how, resumed) {
        (None, _) => Ok(None),
        (Some(how), None) => Ok(Some(Average::new(engine, how))),
        (Some(how), Some(checkpoint)) => Average::restore(engine, how, checkpoint).map(Some),
    }
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

/// How the driver's loop went.
struct Ran {
    epochs: u64,
    wall_seconds: f64,
    stopped_by: StoppedBy,
    /// The final weights on the validation data.
    measured: Option<Evaluation>,
    spikes: SpikeState,
}

fn summary(engine: &Engine, at: &Position, meter: &Meter, ran: &Ran) -> Result<Summary> {
    Ok(Summary {
        steps: at.total_steps(),
        samples: at.samples,
        epochs: ran.epochs,
        wall_seconds: ran.wall_seconds,
        samples_per_second: at.samples as f64 / ran.wall_seconds.max(1e-9),
        peak_rss_bytes: peak_rss_bytes(),
        arena_bytes: engine.arena_bytes() as u64,
        train: train_figures(meter, &at.history),
        validation: ran.measured.as_ref().map_or_else(Figures::new, |m| m.figures.clone()),
        rollbacks: ran.spikes.rollbacks,
        steps_lost: ran.spikes.steps_lost,
        stopped_by: ran.stopped_by.name().to_string(),
        state_sha256: state_sha256(engine.state().tensors())?,
    })
}

/// The page about the run, if the recipe wants it.
fn page(
    file: &RecipeFile,
    run: &Path,
    data: &RunData,
    engine: &Engine,
    at: &Position,
    ran: &Ran,
    summary: &Summary,
) -> Option<String> {
    file.recipe.report.html.then(|| {
        Report {
            file,
            run,
            summary,
            history: &at.history,
            best: file.recipe.best_metric().and_then(|metric| best(at.epochs(), &metric)),
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

/// The fields of a checkpoint that stay the same. What was learned from a stream stays with the run.
fn base_meta(file: &RecipeFile, data: &RunData, resumed: Option<&Checkpoint>) -> Result<Meta> {
    let tokenizer = file.tokenizer().map(|t| Attachment::of_json(t.to_json())).transpose()?;
    Ok(Meta {
        tokenizer,
        class_names: data.class_names.clone(),
        known: match (data.train.known(), resumed) {
            (Some(known), Some(checkpoint)) => known.beside(&checkpoint.meta.known),
            (Some(known), None) => known.clone(),
            (None, Some(checkpoint)) => checkpoint.meta.known.clone(),
            (None, None) => Known::default(),
        },
        stream: resumed.and_then(|c| c.meta.stream.clone()),
        ..Meta::new(file.recipe.training.seed, file.recipe.task(), file.sha256())
    })
}

/// What measures the training batches.
pub(crate) fn empty_meter(file: &RecipeFile, engine: &Engine, data: &RunData) -> Meter {
    let meter = Meter::new(file.recipe.task(), engine.num_outputs(), &file.recipe.metrics());
    meter.in_units(unit(data.train.as_ref()))
}

fn restore(
    file: &RecipeFile,
    old_recipe: Option<&str>,
    checkpoint: &Checkpoint,
    engine: &mut Engine,
    data: &RunData,
    notice: &mut dyn FnMut(&str),
) -> Result<(Position, Course, Vec<Meter>)> {
    let Continued { at, course, same_epoch } =
        resume::resume(file, old_recipe, checkpoint, data, notice)?;
    checkpoint.load_into(engine).map_err(|e| file.of_misfit(e, old_recipe))?;
    // A run that has only learned from a stream has measured no batch.
    let running = match same_epoch && at.step > 0 {
        false => vec![empty_meter(file, engine, data)],
        true => {
            let meta = &checkpoint.meta;
            let meters = std::iter::once(&meta.running).chain(&meta.running_shards);
            let meters: Vec<Meter> =
                meters.map(|m| m.clone().in_units(unit(data.train.as_ref()))).collect();
            match meters.len() <= engine.shards() {
                true => meters,
                // There were more shards.
                false => Meter::merged(&meters).into_iter().collect(),
            }
        }
    };
    Ok((at, course, running))
}

/// Takes the best epoch's weights when the run is over and the recipe asks for them.
fn restore_best(
    file: &RecipeFile,
    stopped_by: StoppedBy,
    at: &Position,
    session: &mut Session,
    engine: &mut Engine,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Option<Checkpoint>> {
    let wanted = file.recipe.stop.patience.as_ref().is_some_and(|p| p.restore_best);
    let best = file.recipe.best_metric().and_then(|metric| best(at.epochs(), &metric));
    let Some(Best { epoch, metric, value, step }) = best.filter(|_| wanted) else {
        return Ok(None);
    };
    // An interrupted run is not over.
    if matches!(stopped_by, StoppedBy::Interrupt | StoppedBy::Pause) {
        return Ok(None);
    }
    // The best one may be the last one.
    session.writer.wait()?;
    let best = match session.checkpoints.of_step(step) {
        Ok(best) => best,
        Err(e) => {
            watch(Event::Notice(&format!("{e}: the run ends with its last weights")));
            return Ok(None);
        }
    };
    best.load_into(engine)?;
    session.checkpoints.point_latest(best.meta.step)?;
    watch(Event::Notice(&format!(
        "restore_best: the run ends with the weights of epoch {epoch} ({metric} {value:.4})"
    )));
    Ok(Some(best))
}

fn tell_notes(file: &RecipeFile, data: &RunData, watch: &mut dyn FnMut(Event<'_>)) {
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
    if let Some(Ok(balanced)) = balanced(file, data) {
        watch(Event::Notice(&format!("batch.balanced: {}", balanced.in_words())));
    }
    if let Some(buckets) = &data.buckets {
        watch(Event::Notice(&format!("batch.batch_tokens: {}", buckets.in_words())));
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
