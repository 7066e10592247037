//! Learning from a stream, from the recipe to the summary.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill_engine::data::{DataSpec, Dataset, ImageDirectorySpec, Known, Label, Order};
use tidemill_recipe::stream::{Format, OpenOptions, Policy, QueueOptions, Reader, decoder, open};

use super::drift::challenger::take_challenger;
use super::driver::{StreamBase, StreamClock, StreamDriver, StreamEnd, StreamProgress, Until};
use super::error::stream_error;
use super::feed::{Counts, DataFeed, Feed, RecordFeed};
use super::images::Images;
use super::intake::Intake;
use super::join::{Join, TENSOR};
use super::journal::{Journal, JournalMark};
use super::lag::Lags;
use super::model::Model;
use super::report::{StreamReport, page};
use super::state::{StreamState, split};
use super::summary::StreamSummary;
use tidemill_engine::checkpoint::{Checkpoint, Meta, Writer, state_sha256};
use tidemill_engine::engine::{State, StateTensor};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::folder::{Existing, RunFolder};
use tidemill_engine::memory::peak_rss_bytes;
use tidemill_engine::metrics::{Figures, Meter};
use tidemill_engine::prequential::{Prequential, Truth};
use tidemill_engine::summary::Summary;
use tidemill_recipe::data::{open_one, shaped};
use tidemill_recipe::online::{OnlineSpec, WhenFull};
use tidemill_recipe::{DataPaths, RecipeFile};

/// Bytes of `dead-letter.jsonl` and of `audit.jsonl`; what does not fit is counted only.
const JOURNAL_BYTES: u64 = 256 << 20;

/// How a stream is learned from.
#[derive(Clone, Debug)]
pub struct LearnOptions {
    /// The stream: an address as [`tidemill_recipe::stream::open()`] takes it, a folder of images, or `data:`
    /// for the recipe's own training data.
    pub from: String,
    /// The run's folder.
    pub out: PathBuf,
    /// What happens to a run that is there: one that is resumed goes on with its model, and, if the
    /// stream is the same, from where it was left.
    pub existing: Existing,
    /// A run whose newest weights are started from, where `out` is another folder.
    pub model: Option<PathBuf>,
    /// Only score the events, without learning from them.
    pub frozen: bool,
    /// The same stream scored by a model that did not learn from it, to be shown beside.
    pub beside: Option<Prequential>,
    /// Whether a resumed run takes the same stream from its start instead.
    pub anew: bool,
    /// Threads of a step; all cores by default.
    pub threads: Option<usize>,
    /// Bytes that the run must fit into.
    pub memory: Option<u64>,
    /// What ends it before the stream does.
    pub until: Until,
    /// Samples a second of a replayed dataset; as fast as they are learned from by default.
    pub rate: Option<f64>,
    /// Set to true to end the run with a checkpoint.
    pub interrupt: Arc<AtomicBool>,
}

/// What is told while a stream is learned from.
#[derive(Clone, Copy, Debug)]
pub enum LearnEvent<'a> {
    /// Something that a user should know.
    Notice(&'a str),
    /// Told a few times a second.
    Progress(StreamProgress),
}

/// What learning from a stream came to.
#[derive(Clone, Debug)]
pub struct LearnOutcome {
    /// The result.
    pub summary: StreamSummary,
    /// Why it ended.
    pub ended_by: StreamEnd,
    /// The figures over the stream.
    pub prequential: Prequential,
    /// The run's folder.
    pub folder: RunFolder,
}

/// Learns from a stream as the recipe says.
///
/// # Errors
/// If the recipe does not fit the stream, or the stream cannot be read on; what was learned until
/// then is in the last checkpoint.
pub fn learn(
    mut file: RecipeFile,
    options: &LearnOptions,
    watch: &mut dyn FnMut(LearnEvent<'_>),
) -> Result<LearnOutcome> {
    let spec = file.recipe.online.clone();
    if let Some(labels) = &spec.labels {
        let (task, loss) = (file.recipe.task(), file.recipe.training.loss);
        let fits = labels.check_task(task, loss);
        let fits = fits.and_then(|()| labels.apply(&mut file.recipe.stream));
        fits.map_err(|(key, what)| file.error_at(&format!("online.labels.{key}"), &what))?;
    }
    let mut model = Model::build(&file, options.threads, options.memory)?;

    let folder = RunFolder::create(&options.out, options.existing)?;
    let checkpoints = folder.checkpoints(file.recipe.checkpoint.keep);
    let resumed = match options.existing {
        Existing::Resume => {
            let (found, notices) = checkpoints.newest()?;
            notices.iter().for_each(|n| watch(LearnEvent::Notice(n)));
            found
        }
        _ => None,
    };
    let started_from = match (&resumed, &options.model) {
        (None, Some(run)) => Some(newest_of(run)?),
        _ => None,
    };
    let mut base = base_meta(&file);
    let mut good = None;
    if let Some(checkpoint) = resumed.as_ref().or(started_from.as_ref()) {
        model.load(checkpoint)?;
        good = split(checkpoint.tensors.clone()).good;
        base = Meta { recipe_sha256: file.sha256(), ..checkpoint.meta.clone() };
    }
    if options.frozen {
        model.freeze();
    }
    anchor(&mut model, &file, &base.known)?;
    // The same stream goes on where it was left; another starts with figures of its own.
    let source = address(&options.from);
    let stream = |c: &Option<Checkpoint>| match c {
        Some(c) => StreamState::of(&c.meta),
        None => Ok(None),
    };
    let (own, other) = (stream(&resumed)?, stream(&started_from)?);
    if let Some(known) = own.as_ref().or(other.as_ref()).and_then(|s| s.known.clone()) {
        base.known = known;
    }
    let same = own.as_ref().filter(|s| s.source == source && !options.anew);
    if let Some(state) = same {
        model.restore(state.prequential.clone(), state.guard.clone(), good);
        let mut tensors = resumed.as_ref().map(|c| c.tensors.clone()).unwrap_or_default();
        model.restore_drift(state.drift.clone(), &take_challenger(&mut tensors))?;
        tell_going_on(&file, resumed.as_ref(), state, watch);
    }
    model.restore_input_length(same.or(other.as_ref()).and_then(|s| s.input_length));
    let waiting = resumed.as_ref().filter(|_| same.is_some());
    let waiting = waiting.and_then(|c| c.tensors.iter().find(|t| t.name == TENSOR));
    let start = Start { same, waiting };
    let (feed, format) = feed(&file, options, &folder, &base, &start, &model, watch)?;
    let path = |name: &str| folder.path().join(name);
    let marks =
        same.map_or((JournalMark::default(), JournalMark::default()), |s| (s.audit, s.batches));
    let replay = match spec.max_batch {
        Some(_) => sizes_after(&path("batches.jsonl"), marks.1)?,
        None => VecDeque::new(),
    };
    let batches = match spec.max_batch {
        Some(_) => Some(Journal::open(&path("batches.jsonl"), marks.1, u64::MAX)?),
        None => None,
    };
    let audit = Journal::open(&path("audit.jsonl"), marks.0, JOURNAL_BYTES)?;
    file.absolute_paths();
    folder.write_recipe(&file.to_toml())?;

    let batch_steps = base.step - base.online_steps;
    base.samples -= same.map_or(0, |s| s.counts.events - s.counts.unlabelled).min(base.samples);
    let mut tell = |progress| watch(LearnEvent::Progress(progress));
    let events_before = feed.counts().events;
    // Its memory is touched here, so that no checkpoint has to.
    let mut spare = State::default();
    model.copy_state(&mut spare);
    let mut driver = StreamDriver {
        spec: &spec,
        learner: model,
        feed,
        until: options.until,
        audit,
        batches,
        replay,
        writer: Writer::new(checkpoints)?,
        base,
        stream: StreamBase { source, format, batch_steps },
        interrupt: &options.interrupt,
        tell: &mut tell,
        clock: StreamClock::start(same.map_or(0.0, |s| s.wall_seconds), events_before),
        written: None,
        lags: Lags::default(),
        spare: Arc::new(Mutex::new(Some(spare))),
        longest_stall: Duration::ZERO,
    };
    let ended_by = match driver.run() {
        Ok(ended_by) => ended_by,
        Err(e) => {
            // A stream that fits nothing leaves no run behind that would be in the way.
            if resumed.is_none() && driver.feed.counts().events == 0 {
                let _ = std::fs::remove_file(folder.recipe_path());
                let _ = std::fs::remove_dir(folder.path());
            }
            return Err(e);
        }
    };
    driver.wait()?;
    let seconds = driver.clock.learning.as_secs_f64();
    let wall_seconds = driver.clock.total();
    let (counts, guard) = (driver.feed.counts(), driver.learner.guard());
    let lag = driver.lags.figures();
    let events_per_second = (counts.events - events_before) as f64 / seconds.max(1e-9);
    let model = &driver.learner;
    let history = &driver.base.history;
    let run = Summary {
        steps: model.steps(),
        samples: driver.base.samples + counts.events - counts.unlabelled,
        epochs: driver.base.epoch,
        wall_seconds,
        samples_per_second: events_per_second,
        peak_rss_bytes: peak_rss_bytes(),
        arena_bytes: model.arena_bytes(),
        train: history.last().map_or_else(Figures::new, |h| h.train.clone()),
        validation: history.last().map_or_else(Figures::new, |h| h.validation.clone()),
        stopped_by: ended_by.name().to_owned(),
        state_sha256: state_sha256(&model.own_tensors()),
    };
    let summary = StreamSummary {
        run,
        source: driver.stream.source.clone(),
        position: driver.feed.position().to_string(),
        events: counts.events,
        events_per_second,
        unlabelled: counts.unlabelled,
        bad_events: counts.bad,
        shed: driver.feed.shed(),
        refused: guard.refused,
        rollbacks: guard.rollbacks,
        checkpoint_stall_ms: driver.longest_stall.as_secs_f64() * 1e3,
        lag_p50_ms: lag.map(|l| l.p50),
        lag_p99_ms: lag.map(|l| l.p99),
        lag_max_ms: lag.map(|l| l.max),
        labels: driver.feed.label_counts(),
        drift: model.drift_counts(),
        prequential: model.figures(),
    };
    let known = driver.feed.learned();
    let drift = driver.learner.drift_state();
    let names = known.labels.map_or_else(|| driver.base.class_names.clone(), |l| l.names());
    let page = file.recipe.report.html.then(|| {
        let stream = StreamReport {
            learning: driver.learner.prequential(),
            frozen: options.beside.as_ref(),
            class_names: &names,
            drift: drift.as_ref(),
        };
        page(&file, &summary, &stream, history, model)
    });
    folder.show(folder.stage_result(&summary, page.as_deref())?)?;
    let prequential = driver.learner.prequential().clone();
    Ok(LearnOutcome { summary, ended_by, prequential, folder })
}

fn newest_of(run: &Path) -> Result<Checkpoint> {
    let found = RunFolder::open(run)?.checkpoints(1).latest()?;
    found.ok_or_else(|| {
        Error::Usage(format!("{}: has no complete checkpoint; train it first", run.display()))
    })
}

/// What a stream goes on from.
struct Start<'a> {
    /// The same stream, read before.
    same: Option<&'a StreamState>,
    /// What waited for its label.
    waiting: Option<&'a StateTensor>,
}

fn tell_going_on(
    file: &RecipeFile,
    checkpoint: Option<&Checkpoint>,
    state: &StreamState,
    watch: &mut dyn FnMut(LearnEvent<'_>),
) {
    if checkpoint.is_some_and(|c| c.meta.recipe_sha256 != file.sha256()) {
        watch(LearnEvent::Notice(
            "the recipe has changed since this checkpoint: the run goes on with the new one",
        ));
    }
    let (events, position) = (state.counts.events, &state.position);
    watch(LearnEvent::Notice(&format!("going on after {events} events, from {position}")));
}

/// The address by which a checkpoint knows a stream: files by their full path.
fn address(from: &str) -> String {
    match std::path::absolute(from) {
        Ok(path) if path.exists() => path.display().to_string(),
        _ => from.to_owned(),
    }
}

type Opened = (Box<dyn Feed>, Option<tidemill_recipe::stream::Format>);

fn feed(
    file: &RecipeFile,
    options: &LearnOptions,
    folder: &RunFolder,
    base: &Meta,
    start: &Start<'_>,
    model: &Model,
    watch: &mut dyn FnMut(LearnEvent<'_>),
) -> Result<Opened> {
    let position = start.same.map(|s| s.position.clone()).unwrap_or_default();
    let counts = start.same.map_or_else(Counts::default, |s| s.counts);
    let is_data = options.from == "data:" || Path::new(&options.from).is_dir();
    if let (true, Model::Linear(_)) = (is_data, model) {
        let what = format!(
            "learns from records, and {} has none: name a file or another stream",
            options.from
        );
        return Err(file.error_at("online.linear", &what));
    }
    if is_data && file.recipe.online.labels.is_some() {
        let what = format!("joins records by their ids, and {} has none", options.from);
        return Err(file.error_at("online.labels", &what));
    }
    if options.from == "data:" || Path::new(&options.from).is_dir() {
        let data = dataset(file, &options.from, Some(&base.known))?;
        let data = shaped(&data, file, model.num_outputs());
        let order = match file.recipe.batch.shuffle {
            true => Order::Shuffled { seed: file.recipe.training.seed },
            false => Order::Sequential,
        };
        let feed = DataFeed::new(data, order, options.rate, position, counts, base.known.clone());
        return Ok((Box::new(feed), None));
    }
    let spec = OnlineSpec { features: file.features()?, ..file.recipe.online.clone() };
    let images = Images::of(file)?;
    let format = match start.same.and_then(|s| s.format) {
        Some(format) => format,
        None => file.recipe.stream.format_of(&options.from).map_err(stream_error)?,
    };
    let open_options = OpenOptions {
        log_folder: Some(folder.path().join("log")),
        arrow: format == Format::Arrow,
        ..OpenOptions::default()
    };
    let mut source = open(&options.from, &open_options).map_err(stream_error)?;
    if let Some(why) = source.not_seekable() {
        watch(LearnEvent::Notice(&format!(
            "{}: {why}: after a crash, what came since the last checkpoint is lost",
            source.name()
        )));
    }
    if start.same.is_some() {
        match source.not_seekable() {
            None => source.seek(&position).map_err(stream_error)?,
            Some(_) => watch(LearnEvent::Notice(
                "the stream cannot be read again: the run goes on with what comes now",
            )),
        }
    }
    let mut known = base.known.clone();
    if let Some(labels) = &mut known.labels {
        labels.reserve(model.num_outputs().max(2));
    }
    if known.encoder.is_some() && matches!(format, Format::Vw | Format::Libsvm) {
        let what = format!("= {format:?} has no columns, and the model has learned from columns");
        return Err(file.error_at("stream.format", &what));
    }
    let decoder = decoder(&file.stream_format(format)?, format, known.schema.clone());
    let policy = match spec.when_full {
        WhenFull::Block => Policy::Block,
        WhenFull::DropOldest => Policy::DropOldest,
        WhenFull::Sample => Policy::Sample,
        WhenFull::Spill => {
            Policy::Spill { folder: folder.path().join("spill"), bytes: spec.spill_bytes }
        }
    };
    let queue = QueueOptions { bytes: spec.queue_bytes, policy };
    let reader = Reader::spawn(source, queue).map_err(stream_error)?;
    let intake = Intake::new(reader, decoder.map_err(stream_error)?)?;
    let dead = Journal::open(
        &folder.path().join("dead-letter.jsonl"),
        start.same.map(|s| s.dead_letters).unwrap_or_default(),
        JOURNAL_BYTES,
    )?;
    let stored = Path::new(options.from.trim_start_matches("file:")).is_file();
    let names = base.class_names.clone();
    let task = file.recipe.task();
    let mut feed = RecordFeed::new(intake, images, spec.clone(), task, stored, names, dead);
    feed.restore(known, position, counts);
    if let Some(labels) = &spec.labels {
        if format == Format::Libsvm || (format != Format::Vw && file.recipe.stream.id.is_none()) {
            let what = match format {
                Format::Libsvm => "joins records by their ids, and libsvm has none",
                _ => "is missing: name the column or key that events and labels share",
            };
            return Err(file.error_at("online.labels.id", what));
        }
        let seed = file.recipe.training.seed;
        let folder = folder.path().join("labels");
        let mut join = Join::new(labels, seed, &folder, file.recipe.checkpoint.keep)?;
        if let Some(waiting) = start.waiting {
            join.restore(waiting)?;
        }
        feed.join(join);
    }
    Ok((Box::new(feed), Some(format)))
}

/// The recipe's training data, or a folder of images with the recipe's options; `known` is what the
/// run has learned of columns and labels.
///
/// # Errors
/// If the recipe names no data, or they cannot be opened.
pub fn dataset(file: &RecipeFile, from: &str, known: Option<&Known>) -> Result<Arc<dyn Dataset>> {
    let paths = DataPaths::new(&file.path);
    let spec = match (from, &file.recipe.batch.data) {
        ("data:", _) => file.batch_data()?.clone(),
        (folder, spec) => {
            let folder =
                std::path::absolute(folder).map_err(|e| Error::read(Path::new(folder), e))?;
            let options = match spec {
                Some(DataSpec::ImageDirectory(options)) => options.clone(),
                _ => ImageDirectorySpec::new(""),
            };
            let path = folder.display().to_string();
            DataSpec::ImageDirectory(ImageDirectorySpec {
                path,
                validation_split: None,
                subset: None,
                ..options
            })
        }
    };
    let known = known.filter(|known| known.encoder.is_some());
    open_one(file, "batch.data", &spec, &paths, known, || None)
}

/// Where an anchor needs to know which weights matter: they are those of the recipe's batch data.
fn anchor(model: &mut Model, file: &RecipeFile, known: &Known) -> Result<()> {
    let outputs = model.num_outputs();
    let Model::Network(learner) = model else { return Ok(()) };
    if !learner.wants_anchor() {
        return Ok(());
    }
    let data = shaped(&dataset(file, "data:", Some(known))?, file, outputs);
    let order = Order::Shuffled { seed: file.recipe.training.seed }.epoch(0, data.len());
    let mut target = vec![0.0; data.label_kind().target_len()];
    let mut next = 0;
    learner.anchor(&mut |learner| {
        if next >= data.len() {
            return Ok(false);
        }
        match data.fill(order.index(next), learner.row(0), &mut target)? {
            Label::Class(class) => learner.set(0, Truth::Class(class as usize), 1.0)?,
            Label::Values => learner.set(0, Truth::Values(&target), 1.0)?,
            Label::None | Label::Skipped => learner.leave_out(0),
        }
        next += 1;
        Ok(true)
    })
}

/// The sizes of steps that an earlier run took after its checkpoint.
fn sizes_after(path: &Path, mark: JournalMark) -> Result<VecDeque<usize>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(VecDeque::new()),
        Err(e) => return Err(Error::read(path, e)),
    };
    let rest = text.get(mark.bytes as usize..).unwrap_or_default();
    // A line that was cut by a kill belongs to a step that was not taken.
    let whole = rest.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
    let lines = String::from_utf8_lossy(&rest[..whole]).into_owned();
    Ok(lines.lines().filter_map(|l| l.parse().ok()).collect())
}

fn base_meta(file: &RecipeFile) -> Meta {
    Meta {
        step: 0,
        online_steps: 0,
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
        class_names: file.recipe.online.classes.clone().unwrap_or_default(),
        known: Known::default(),
        stream: None,
    }
}
