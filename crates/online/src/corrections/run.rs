//! Learning from corrections, from the recipe to the summary.

use std::path::Path;

use tidemill_engine::checkpoint::{Checkpoint, Meta, state_sha256};
use tidemill_engine::data::DataSpec;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::memory::peak_rss_bytes;
use tidemill_engine::metrics::Figures;
use tidemill_engine::prequential::Prequential;
use tidemill_engine::session::Session;
use tidemill_engine::summary::Summary;
use tidemill_recipe::RecipeFile;
use tidemill_recipe::online::JoinSpec;
use tidemill_recipe::online::join::Missing;
use tidemill_recipe::stream::{Awaited, Content, Format, format_of, is_files};

use super::driver::{Base, Driver};
use super::figures::TextScores;
use super::learner::Learner;
use super::page::page;
use super::record::Reading;
use super::sounds::Sounds;
use super::state::{CorrectionsState, Left};
use crate::driver::StreamEnd;
use crate::driver::clock::StreamClock;
use crate::error::stream_error;
use crate::feed::DeadLetters;
use crate::input::Counts;
use crate::join::{Join, TENSOR};
use crate::journal::{Journal, JournalMark};
use crate::open::{is_data, open_at};
use crate::run::{JOURNAL_BYTES, LearnEvent, LearnOptions, LearnOutcome};
use crate::start::{Before, continues, model_of, source_of};
use crate::summary::StreamSummary;

/// Records after which a text waits no more for its correction, where the recipe says nothing of it.
const WINDOW: f64 = 1e6;
/// Memory for what waits, then.
const WAITING_BYTES: usize = 64 << 20;

/// Keys of `[online]` that have an effect on corrections.
const KEYS: [&str; 6] =
    ["corrections", "labels", "learning_rate", "checkpoint_seconds", "checkpoint_events", "on_bad"];

/// Whether a recipe's model makes texts, of other texts or of sounds.
pub(crate) fn fits(file: &RecipeFile) -> bool {
    matches!(file.recipe.batch.data, Some(DataSpec::Parallel(_))) || file.reads_transcripts()
}

/// Learns from a stream of corrections as the recipe says.
///
/// # Errors
/// If there is no trained model, or the stream cannot be read on; what was learned until then is in the last checkpoint.
pub(crate) fn learn(
    mut file: RecipeFile,
    options: &LearnOptions,
    watch: &mut dyn FnMut(LearnEvent<'_>),
) -> Result<LearnOutcome> {
    check(&file, options)?;
    let labels = waiting(&file)?;
    let keep = file.recipe.checkpoint.keep;
    let mut notice = |what: &str| watch(LearnEvent::Notice(what));
    let mut session = Session::open(&options.out, options.existing, (keep, false), &mut notice)?;
    let folder = session.folder.clone();
    let is_own = session.resumed.is_some();
    let result = start(&mut file, options, &labels, &mut session, watch);
    if result.is_err() && !is_own && folder.checkpoints(1).latest().is_ok_and(|c| c.is_none()) {
        // What has learned nothing leaves no run behind that would be in the way.
        folder.abandon();
    }
    result
}

/// What cannot be, or would have no effect.
fn check(file: &RecipeFile, options: &LearnOptions) -> Result<()> {
    if options.predictions.is_some() {
        let what = "--predictions is for classes and values; corrections.jsonl in the run's folder has what was written";
        return Err(Error::Usage(what.into()));
    }
    if options.rate.is_some() {
        return Err(Error::Usage(
            "--rate is for stored data that is replayed; leave it out".into(),
        ));
    }
    if is_data(&options.from) {
        let sounds = if file.reads_transcripts() { ", such as a manifest of sounds" } else { "" };
        let from = &options.from;
        let what =
            format!("{from}: corrections come as records: name a file{sounds}, or another stream");
        return Err(Error::Usage(what));
    }
    if !file.reads_transcripts() && file.recipe.online.corrections.sound_folder.is_some() {
        let what = "has no effect: the model makes texts of texts, not of sounds";
        return Err(file.error_at("online.corrections.sound_folder", what));
    }
    if let Some(key) = file.keys_of("online").into_iter().find(|key| !KEYS.contains(&key.as_str()))
    {
        let what =
            format!("has no effect on corrections of texts; known here are {}", KEYS.join(", "));
        return Err(file.error_at(&format!("online.{key}"), &what));
    }
    if let Some(key) = file
        .keys_of("stream")
        .into_iter()
        .find(|key| !["format", "delimiter", "quote"].contains(&key.as_str()))
    {
        let what = "has no effect on corrections of texts, whose columns are named in online.corrections and \
                    online.labels; leave it out";
        return Err(file.error_at(&format!("stream.{key}"), what));
    }
    Ok(())
}

/// How texts wait for their corrections.
fn waiting(file: &RecipeFile) -> Result<JoinSpec> {
    let labels = file.recipe.online.labels.clone();
    let labels = labels.unwrap_or(JoinSpec {
        id: None,
        time: None,
        window: WINDOW,
        max_ahead: None,
        memory_bytes: WAITING_BYTES,
        spill_bytes: 1 << 30,
        missing: Missing::Drop,
        negative_sampling: 1.0,
    });
    let no = |key: &str| {
        let what = "has no effect on corrections of texts, of which none is negative; leave it out";
        Err(file.error_at(&format!("online.labels.{key}"), what))
    };
    match labels {
        JoinSpec { missing: Missing::Negative, .. } => no("missing"),
        JoinSpec { negative_sampling, .. } if negative_sampling < 1.0 => no("negative_sampling"),
        labels => Ok(labels),
    }
}

fn start(
    file: &mut RecipeFile,
    options: &LearnOptions,
    labels: &JoinSpec,
    session: &mut Session,
    watch: &mut dyn FnMut(LearnEvent<'_>),
) -> Result<LearnOutcome> {
    let is_own = session.resumed.is_some();
    let checkpoint = match (session.resumed.take(), &options.model) {
        (Some(own), _) => own,
        (None, Some(run)) => model_of(run, options.checkpoint, watch)?,
        (None, None) => {
            let what = "learns from corrections of the texts of a trained model; name the folder of its run";
            return Err(Error::Usage(format!("{}: {what}", file.path.display())));
        }
    };
    let Some(tokenizer) = checkpoint.tokenizer()? else {
        return Err(checkpoint.misfit("it has no tokenizer"));
    };
    file.set_tokenizer(tokenizer)?;
    let state = CorrectionsState::of(&checkpoint.meta)?;
    let source = source_of(options);
    let mut learned = state.as_ref().map(|state| state.corrections.clone());
    if let (Some(learned), false) = (&mut learned, is_own) {
        // Those lie in the other run's folder.
        (learned.quarantined, learned.quarantine) = (0, JournalMark::default());
        learned.released.clear();
    }
    let limits = (options.threads, options.memory);
    let learner = Learner::open(file, limits, &checkpoint, learned.as_ref())?;
    let mut state = state.filter(|_| is_own);
    let mut left = None;
    if let Some(state) = &mut state {
        left = where_left(file, options, state, &source, watch)?;
        let what = if file.reads_transcripts() { "sounds" } else { "texts" };
        let text = match &left {
            Some(left) => format!("continuing after {} {what}, from {}", left.texts, left.position),
            None => format!("{} {what} came by other streams before", state.counts.events),
        };
        watch(LearnEvent::Notice(&text));
    }
    let folder = session.folder.clone();
    file.absolute_paths();
    let mut driver =
        driver(file, options, labels, session, &checkpoint, (learner, source, state, left), watch)?;
    folder.write_recipe(&file.to_toml())?;
    let ended_by = driver.run()?;
    driver.on_disk()?;
    let summary = summary(&driver, ended_by)?;
    let html = file
        .recipe
        .report
        .html
        .then(|| page(file, (&options.out, &options.from), &driver, &summary));
    drop(driver);
    session.finish(&summary, html.as_deref())?;
    if folder.is_replacing() {
        let text = format!(
            "the run that is in {} stays as it was, since no record came for another",
            folder.path().display()
        );
        watch(LearnEvent::Notice(&text));
    }
    let prequential = Prequential::new(file.recipe.task(), 1, file.recipe.online.metrics.clone());
    Ok(LearnOutcome { summary, ended_by, prequential, folder })
}

/// Where the source was left, if it was learned from before. One that was moved or renamed is known by what it holds.
fn where_left(
    file: &RecipeFile,
    options: &LearnOptions,
    state: &mut CorrectionsState,
    source: &str,
    watch: &mut dyn FnMut(LearnEvent<'_>),
) -> Result<Option<Left>> {
    if options.from_start {
        state.left.remove(source);
        return Ok(None);
    }
    let known =
        if state.left.contains_key(source) { source.to_owned() } else { state.source.clone() };
    let Some(left) = state.left.get(&known) else { return Ok(None) };
    let before = Before {
        source: &known,
        content: left.content.as_ref(),
        format: Some(left.format),
        goes_on: true,
    };
    match continues(file, options, &before, source, watch)? {
        true => Ok(state.left.remove(&known)),
        false => Ok(None),
    }
}

/// All that the loop needs.
fn driver<'a>(
    file: &'a RecipeFile,
    options: &'a LearnOptions,
    labels: &JoinSpec,
    session: &'a mut Session,
    checkpoint: &Checkpoint,
    (learner, source, state, left): (Learner, String, Option<CorrectionsState>, Option<Left>),
    watch: &'a mut dyn FnMut(LearnEvent<'_>),
) -> Result<Driver<'a>> {
    let folder = session.folder.path().to_owned();
    // Those who send corrections as they come send JSON, where nothing else is said.
    let format = match format_of(&file.recipe.stream, &options.from) {
        Ok((format, _)) => format,
        Err(_) if file.recipe.stream.format.is_none() && !is_files(&options.from) => {
            Format::JsonLines
        }
        Err(e) => return Err(stream_error(e)),
    };
    if !matches!(format, Format::JsonLines | Format::Csv | Format::Tsv) {
        let what = "corrections are records of JSON lines, CSV or TSV";
        return Err(file.error_at("stream.format", what));
    }
    let position = left.as_ref().map(|left| left.position.clone());
    let answers = (options, Awaited::ByDefault);
    let opened = open_at(answers, &session.folder, format, position.as_ref(), watch)?;
    if opened.answers().is_some() && format != Format::JsonLines {
        let what = "must be \"json_lines\" by HTTP, where each request has records of its own";
        return Err(file.error_at("stream.format", what));
    }
    session.folder.make_room()?;
    let spec = &file.recipe.online;
    let is_sound = learner.standard().is_some();
    let reading = reading(file, labels, format, left.as_ref(), is_sound)?;
    let standard = learner.standard().cloned();
    let sounds = standard.map(|standard| Sounds::of(file, standard, &options.from)).transpose()?;
    let seed = file.recipe.training.seed;
    let mut join = Join::new(labels, seed, &folder.join("labels"), file.recipe.checkpoint.keep)?;
    if state.is_some()
        && let Some(waiting) = checkpoint.tensors.iter().find(|t| t.name == TENSOR)
    {
        join.restore(waiting)?;
    }
    let mark =
        |of: fn(&CorrectionsState) -> JournalMark| state.as_ref().map(of).unwrap_or_default();
    let bad = state.as_ref().map_or(0, |state| state.counts.bad);
    let mut dead = DeadLetters::open(&folder, mark(|s| s.dead_letters), bad, JOURNAL_BYTES)?;
    let recent = state.as_ref().map(|state| state.recent.clone()).unwrap_or_default();
    let marks = [mark(|s| s.log), learner.state.quarantine, mark(|s| s.audit)];
    let [log, quarantine, audit] = journals(&folder, marks, &mut dead, watch)?;
    let dead = dead.watch(recent, spec.on_bad, &options.from).tell(opened.health());
    let position = position.unwrap_or_default();
    let answers = opened.answers().map(|answers| answers.start());
    let meta = base_meta(checkpoint, file, state.as_ref());
    let counts = state.as_ref().map(|state| state.counts).unwrap_or_default();
    let here = left.as_ref().map_or(0, |left| left.texts);
    let others = state.as_ref().map(|state| state.left.clone()).unwrap_or_default();
    let content = left.and_then(|left| left.content);
    let before = state.as_ref().map_or(0.0, |state| state.wall_seconds);
    let scores = state.as_ref().map(|state| state.scores.clone());
    Ok(Driver {
        spec,
        base: Base {
            source,
            format,
            batch_steps: checkpoint.meta.step - checkpoint.meta.online_steps,
            meta,
            frozen: options.frozen,
        },
        reading,
        sounds,
        odd: (0, String::new()),
        source: opened,
        answers,
        join,
        position,
        content: is_files(&options.from).then(|| content.unwrap_or_else(Content::default)),
        clock: StreamClock::start(before, counts.events + counts.labels + bad),
        written: None,
        noted: 0,
        texts_before: counts.events - here,
        left: others,
        counts,
        scores: scores.unwrap_or_else(|| TextScores::new(is_sound)),
        dead,
        log,
        quarantine,
        audit,
        learner,
        folder: session.folder.clone(),
        writer: &mut session.writer,
        interrupt: &options.interrupt,
        until: options.until,
        tell: watch,
    })
}

/// How records are read, from where the stream was left.
fn reading(
    file: &RecipeFile,
    labels: &JoinSpec,
    format: Format,
    left: Option<&Left>,
    is_sound: bool,
) -> Result<Reading> {
    let id = labels.id.as_deref().unwrap_or("id");
    let (spec, stream) = (&file.recipe.online.corrections, file.stream_format(format)?);
    let time = labels.time.as_deref();
    let mut reading = Reading::new(spec, id, time, format, &stream, is_sound);
    reading.is_id_given = labels.id.is_some();
    if let Some(left) = left {
        (reading.header, reading.open) = (left.header.clone(), left.open.clone());
    }
    Ok(reading)
}

/// `corrections.jsonl`, `quarantine.jsonl` and `audit.jsonl`. Says what a user should know of what was found of
/// these and of the dead letters.
fn journals(
    folder: &Path,
    marks: [JournalMark; 3],
    dead: &mut DeadLetters,
    watch: &mut dyn FnMut(LearnEvent<'_>),
) -> Result<[Journal; 3]> {
    let open = |name: &str, mark| Journal::open(&folder.join(name), mark, JOURNAL_BYTES);
    let [log, quarantine, audit] = marks;
    let mut all = [
        open("corrections.jsonl", log)?,
        open("quarantine.jsonl", quarantine)?,
        open("audit.jsonl", audit)?,
    ];
    let notes = all.iter_mut().chain([dead.journal()]).filter_map(Journal::take_note);
    notes.for_each(|note| watch(LearnEvent::Notice(&note)));
    Ok(all)
}

/// The fields of a checkpoint that stay the same; its samples are those of before this stream.
fn base_meta(checkpoint: &Checkpoint, file: &RecipeFile, same: Option<&CorrectionsState>) -> Meta {
    let meta = checkpoint.meta.clone();
    let samples =
        meta.samples - same.map_or(0, |state| state.scores.corrections()).min(meta.samples);
    Meta { recipe_sha256: file.sha256(), stream: None, samples, ..meta }
}

/// The result, once the last checkpoint is on disk.
fn summary(driver: &Driver<'_>, ended_by: StreamEnd) -> Result<StreamSummary> {
    let engine = driver.learner.engine();
    let seconds = driver.clock.start.elapsed().as_secs_f64().max(1e-9);
    let per_second = (driver.records() - driver.clock.first_event) as f64 / seconds;
    let mut tensors = engine.state().into_tensors();
    tensors.extend(driver.learner.tensors());
    let corrections = driver.scores.corrections();
    let run = Summary {
        steps: engine.step(),
        samples: driver.base.meta.samples + corrections,
        epochs: driver.base.meta.epoch,
        wall_seconds: driver.clock.total(),
        samples_per_second: per_second,
        peak_rss_bytes: peak_rss_bytes(),
        arena_bytes: engine.arena_bytes() as u64,
        train: Figures::new(),
        validation: Figures::new(),
        rollbacks: 0,
        steps_lost: 0,
        stopped_by: ended_by.name().to_owned(),
        state_sha256: state_sha256(&tensors)?,
    };
    let Counts { events, unlabelled, .. } = driver.counts;
    Ok(StreamSummary {
        source: driver.base.source.clone(),
        position: driver.position.to_string(),
        events,
        events_per_second: per_second,
        unlabelled,
        bad_events: driver.dead.count(),
        quarantined: Some(driver.waiting_in_quarantine()),
        released: driver.learner.state.released.len() as u64,
        labels: Some(driver.join.counts()),
        prequential: driver.scores.figures(),
        ..StreamSummary::of(run)
    })
}
