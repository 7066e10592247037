//! Learning from a stream, from the recipe to the summary.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tidemill_engine::checkpoint::Meta;
use tidemill_engine::data::DataSpec;
use tidemill_engine::error::Result;
use tidemill_engine::folder::{Existing, RunFolder};
use tidemill_engine::memory::return_pieces;
use tidemill_engine::prequential::Prequential;
use tidemill_engine::session::Session;
use tidemill_recipe::stream::Access;
use tidemill_recipe::{ClassWeight, OptimizerState, RecipeFile};

use crate::driver::{Parts, StreamBase, StreamDriver, StreamEnd, StreamProgress, Until};
use crate::input::Input;
use crate::journal::JournalMark;
use crate::model::build;
use crate::open::{Opened, open};
use crate::predictions::{self, Predictions};
use crate::report::{StreamReport, page};
use crate::start::{Start, has_learned_nothing};
use crate::summary::StreamSummary;

/// Bytes of `dead-letter.jsonl` and of `audit.jsonl`; what does not fit is counted only.
pub(crate) const JOURNAL_BYTES: u64 = 256 << 20;

/// How a stream is learned from.
#[derive(Clone, Debug)]
pub struct LearnOptions {
    /// The stream: an address as [`tidemill_recipe::stream::open()`] takes it, a folder of images, or `data:`
    /// for the recipe's own training data.
    pub from: String,
    /// The run's folder.
    pub out: PathBuf,
    /// What happens to a run that is there: one that is resumed continues with its model, and, if the
    /// stream is the same, from where it ended.
    pub existing: Existing,
    /// A run whose newest weights are started from, where `out` is another folder.
    pub model: Option<PathBuf>,
    /// The step of that run's checkpoint; its last one by default.
    pub checkpoint: Option<u64>,
    /// Only score the events, without learning from them.
    pub frozen: bool,
    /// The same stream scored by a model that did not learn from it, to be shown beside.
    pub beside: Option<Prequential>,
    /// Whether a resumed run takes the same stream from its start instead.
    pub from_start: bool,
    /// Threads of a step; all cores by default.
    pub threads: Option<usize>,
    /// Bytes that the run must fit into.
    pub memory: Option<u64>,
    /// What ends it before the stream does.
    pub until: Until,
    /// Samples a second of a replayed dataset; as fast as they are learned from by default.
    pub rate: Option<f64>,
    /// Who may send, if the stream is an address that is listened on.
    pub access: Access,
    /// Records that are set aside unseen, by their numbers as messages give them: lines of files, sequence numbers of
    /// other streams.
    pub skip: Vec<String>,
    /// A file for what was predicted for each event before it was learned from, as CSV.
    pub predictions: Option<PathBuf>,
    /// Set to true to end the run with a checkpoint.
    pub interrupt: Arc<AtomicBool>,
}

/// What is reported while a stream is learned from.
#[derive(Clone, Copy, Debug)]
pub enum LearnEvent<'a> {
    /// Something that a user should know.
    Notice(&'a str),
    /// Told a few times a second.
    Progress(StreamProgress),
}

/// The result of learning from a stream.
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
    return_pieces();
    if crate::corrections::fits(&file) {
        return crate::corrections::learn(file, options, watch);
    }
    if options.from != "data:"
        && let Some(DataSpec::Documents(_)) = &file.recipe.batch.data
    {
        let what = "is documents, which a stream has none of; learn from them with tidemill train";
        return Err(file.error_at("batch.data", what));
    }
    if file.keys_of("online").iter().any(|key| key == "corrections") {
        let what = "has no effect: the model makes no texts, of other texts or of sounds";
        return Err(file.error_at("online.corrections", what));
    }
    let given = file.clone();
    check_predictions(&file, options)?;
    prepare(&mut file)?;
    thaw(&mut file, options)?;
    tell_without_effect(&file, watch);
    let mut model = build(&file, options.threads, options.memory)?;
    let keep = file.recipe.checkpoint.keep;
    let mut notice = |what: &str| watch(LearnEvent::Notice(what));
    // What has learned nothing is in nobody's way.
    let existing = match options.existing {
        Existing::Refuse if has_learned_nothing(&options.out)? => Existing::Replace,
        existing => existing,
    };
    let mut session = Session::open(&options.out, existing, (keep, false), &mut notice)?;
    let is_new = session.resumed.is_none();
    let start = Start::new(&given, options, session.resumed.take(), watch)?;
    start.restore(model.as_mut(), &file, options.frozen, watch)?;
    let mut base = start.base_meta(&file);
    if let Some(labels) = &mut base.known.labels {
        labels.reserve(model.num_outputs().max(2));
    }
    let folder = session.folder.clone();
    let Opened { mut input, join, answering, format } =
        open(&file, options, &folder, &base, &start, model.as_ref(), watch)?;
    let predictions = open_predictions(&file, options, (&start, &base), &mut input, watch)?;
    if input.predictions.is_some() {
        model.keep_predictions();
    }
    file.absolute_paths();
    folder.write_recipe(&file.to_toml())?;

    let batch_steps = base.step - base.online_steps;
    let learned = start.same().map_or(0, |s| s.counts.events - s.counts.unlabelled);
    base.samples -= learned.min(base.samples);
    let stream =
        StreamBase { source: start.source.clone(), format, batch_steps, predictions, meta: base };
    // Of a run that was killed before its first checkpoint as well.
    let replays = existing == Existing::Resume && (start.same().is_some() || start.is_new());
    let audit = start.own().map(|s| s.audit).unwrap_or_default();
    let parts = Parts { model, input, join, answering, stream, audit, replays };
    let mut driver = StreamDriver::new(&file, options, &mut session, parts, start.same(), watch)?;
    let ended_by = match driver.run() {
        Ok(ended_by) => ended_by,
        Err(e) => {
            // A stream that fits nothing leaves no run behind that would be in the way.
            if is_new && driver.input.counts().events == 0 && !driver.has_saved() {
                folder.abandon();
            }
            return Err(e);
        }
    };
    driver.wait()?;
    for class in driver.input.encoding.weights_without_class() {
        (driver.tell)(LearnEvent::Notice(&format!(
            "training.class_weight has a weight for {class}, and no label was called that"
        )));
    }
    let summary = driver.summary(ended_by)?;
    let prequential = driver.prequential();
    let page =
        file.recipe.report.html.then(|| report(&file, options, &driver, &summary, &prequential));
    session.finish(&summary, page.as_deref())?;
    if folder.is_replacing() {
        let text = format!(
            "the run that is in {} stays as it was, since no event came for another",
            folder.path().display()
        );
        watch(LearnEvent::Notice(&text));
    }
    Ok(LearnOutcome { summary, ended_by, prequential, folder })
}

/// Opens the file of predictions where it is asked for, and gives where it stands as long as none is written.
fn open_predictions(
    file: &RecipeFile,
    options: &LearnOptions,
    (start, base): (&Start, &Meta),
    input: &mut Input,
    watch: &mut dyn FnMut(LearnEvent<'_>),
) -> Result<JournalMark> {
    let before = start.same().map(|s| (s.predictions, s.counts.events)).unwrap_or_default();
    let Some(path) = &options.predictions else {
        if before.0.bytes > 0 {
            watch(LearnEvent::Notice(
                "the predictions of the events before were written to a file, and those from here on are not: --predictions FILE \
                 with that file continues it",
            ));
        }
        return Ok(before.0);
    };
    let (task, names) = (file.recipe.task(), base.class_names.clone());
    let mut predictions = Predictions::open(path, before, task, names)?;
    if let Some(note) = predictions.take_note() {
        watch(LearnEvent::Notice(&note));
    }
    input.predictions = Some(predictions);
    Ok(before.0)
}

/// Whether predictions can be written where they are asked for.
fn check_predictions(file: &RecipeFile, options: &LearnOptions) -> Result<()> {
    let Some(path) = &options.predictions else { return Ok(()) };
    predictions::check(path, &options.from)?;
    if file.recipe.online.labels.is_some() {
        let what = "has labels that come later than what is predicted, and --predictions writes both in one line; leave one \
                    out (by HTTP, senders that wait are answered with predictions)";
        return Err(file.error_at("online.labels", what));
    }
    Ok(())
}

/// Lets the layers learn that did when the run ended which is continued.
fn thaw(file: &mut RecipeFile, options: &LearnOptions) -> Result<()> {
    if file.recipe.training.unfreeze.is_empty() {
        return Ok(());
    }
    let own = RunFolder::open(&options.out).ok();
    let (folder, step) = match own {
        Some(own) => (Some(own), None),
        None => (options.model.as_deref().map(RunFolder::open).transpose()?, options.checkpoint),
    };
    let checkpoints = folder.map(|folder| folder.checkpoints(1));
    let found = match (checkpoints, step) {
        (Some(checkpoints), Some(step)) => Some(checkpoints.of_step(step)?),
        (Some(checkpoints), None) => checkpoints.newest()?.0,
        (None, _) => None,
    };
    file.thaw(found.map_or(0, |checkpoint| checkpoint.meta.epoch))
}

/// Names what the recipe says and a stream does not heed.
fn tell_without_effect(file: &RecipeFile, watch: &mut dyn FnMut(LearnEvent<'_>)) {
    if let Some(ClassWeight::Named(word)) = &file.recipe.training.class_weight {
        watch(LearnEvent::Notice(&format!(
            "training.class_weight = \"{word}\" counts stored data and has no effect on a stream; \
             give the weights by name"
        )));
    }
    if file.recipe.training.average.is_some() {
        watch(LearnEvent::Notice(
            "training.average has no effect on a stream, which starts from the weights of the last step, not from their \
             average",
        ));
    }
    if file.recipe.model.from.is_some() {
        watch(LearnEvent::Notice(
            "model.from has no effect on a stream, which starts from the weights of the run that it continues, or \
             from random ones: train on stored data with it first, then learn from the stream with that run",
        ));
    }
    if !file.recipe.training.unfreeze.is_empty() && !file.recipe.model.frozen.is_empty() {
        watch(LearnEvent::Notice(
            "training.unfreeze has no effect on a stream, which has no epochs: layers that are frozen where it starts stay frozen",
        ));
    }
    if file.recipe.training.shards > 1 {
        watch(LearnEvent::Notice(
            "training.shards has no effect on a stream, whose steps are not shared by workers",
        ));
    }
    if file.recipe.training.optimizer_state == OptimizerState::Sharded {
        watch(LearnEvent::Notice(
            "training.optimizer_state has no effect on a stream, which one worker learns from",
        ));
    }
    let metrics = file.recipe.training.metrics.iter().flatten();
    let sets = file.sets().is_some();
    let of_sets = |name: &str| sets && ["subset_accuracy", "f1_micro", "f1_macro"].contains(&name);
    let lacking = metrics.filter(|m| !m.is_prequential() && !of_sets(&m.name()));
    let lacking: Vec<String> = lacking.map(|m| m.name()).collect();
    if !lacking.is_empty() {
        watch(LearnEvent::Notice(&format!(
            "training.metrics names {}, which a stream does not report; eval does",
            lacking.join(", ")
        )));
    }
}

/// Tells the decoders what `[online.labels]` says of columns.
fn prepare(file: &mut RecipeFile) -> Result<()> {
    if let Some(labels) = file.recipe.online.labels.clone() {
        let (task, loss) = (file.recipe.task(), &file.recipe.training.loss);
        let fits = labels.check_task(task, loss);
        let fits = fits.and_then(|()| labels.apply(&mut file.recipe.stream));
        fits.map_err(|(key, what)| file.error_at(&format!("online.labels.{key}"), &what))?;
    }
    Ok(())
}

fn report(
    file: &RecipeFile,
    options: &LearnOptions,
    driver: &StreamDriver<'_>,
    summary: &StreamSummary,
    prequential: &Prequential,
) -> String {
    let base = &driver.stream.meta;
    let labels = driver.input.encoding.known().labels.as_ref();
    let names = labels.map_or_else(|| base.class_names.clone(), |l| l.names());
    let drift = driver.model.drift_state();
    let stream = StreamReport {
        learning: prequential,
        frozen: options.beside.as_ref(),
        class_names: &names,
        drift: drift.as_ref(),
    };
    page(
        file,
        (&options.out, &options.from),
        summary,
        &stream,
        &base.history,
        driver.model.as_ref(),
    )
}
