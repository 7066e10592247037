//! The online driver: one loop over the events of a stream.

pub(crate) mod clock;
mod end;
mod steps;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;
use tidemill_engine::checkpoint::{self, Attachment, Meta, Writer};
use tidemill_engine::engine::State;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::folder::RunFolder;
use tidemill_engine::prequential::Headline;
use tidemill_engine::session::Session;
use tidemill_recipe::RecipeFile;
use tidemill_recipe::online::OnlineSpec;
use tidemill_recipe::stream::Position;

pub use end::{StreamEnd, Until};

use clock::StreamClock;
use steps::sizes_after;

use crate::ahead::Ahead;
use crate::answering::Answering;
use crate::drift::{Drift, DriftNote};
use crate::guard::Verdict;
use crate::input::{Counts, Input};
use crate::join::Join;
use crate::journal::{Journal, JournalMark};
use crate::lag::Lags;
use crate::model::StreamModel;
use crate::predictions::Predictions;
use crate::run::{JOURNAL_BYTES, LearnEvent, LearnOptions};
use crate::state::StreamState;

/// What is reported while it runs.
#[derive(Clone, Copy, Debug)]
pub struct StreamProgress {
    /// What came.
    pub counts: Counts,
    /// Events a second since the last time.
    pub events_per_second: f64,
    /// The figures so far; none before the first label.
    pub headline: Option<Headline>,
    /// How many milliseconds the last event had been acknowledged when it was learned from.
    pub lag_ms: Option<f64>,
    /// Updates refused by the guard.
    pub refused: u64,
    /// Times that the errors rose.
    pub drifts: u64,
}

/// Steps between looks at the clock.
const LOOK_EVERY: u32 = 64;
/// How long the loop waits for events before it looks around.
const WAIT: Duration = Duration::from_millis(50);

/// A line of `audit.jsonl`.
#[derive(Serialize)]
struct Audit<'a> {
    event: u64,
    step: u64,
    position: String,
    what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deviations: Option<f64>,
}

/// A line of `audit.jsonl` about a drift.
#[derive(Serialize)]
struct DriftAudit<'a> {
    event: u64,
    step: u64,
    position: &'a str,
    #[serde(flatten)]
    note: &'a DriftNote,
}

/// Drives a learner over a feed until something stops it.
pub(crate) struct StreamDriver<'a> {
    pub(crate) spec: &'a OnlineSpec,
    pub(crate) model: Box<dyn StreamModel>,
    pub(crate) input: Input,
    /// What answers senders, where labels come later and the source takes answers.
    pub(crate) answering: Option<Answering>,
    /// What waits for labels, where they come later than their events.
    pub(crate) join: Option<Box<Join>>,
    pub(crate) until: Until,
    pub(crate) audit: Journal,
    /// The sizes of steps, where they depend on when events come.
    pub(crate) batches: Option<Journal>,
    /// Sizes that an earlier run took after its last checkpoint.
    pub(crate) replay: VecDeque<usize>,
    folder: RunFolder,
    pub(crate) writer: &'a mut Writer,
    pub(crate) stream: StreamBase,
    pub(crate) interrupt: &'a AtomicBool,
    pub(crate) tell: &'a mut dyn FnMut(LearnEvent<'_>),
    /// Whether it was printed what records were taken for.
    announced: bool,
    /// The notes that were printed.
    noted: Vec<String>,
    pub(crate) clock: StreamClock,
    /// The position of a checkpoint that is being written.
    pub(crate) written: Option<Position>,
    /// Until when a step that adapts waits for more events.
    deadline: Option<Instant>,
    /// Where the stream stood at the last checkpoint.
    saved_position: Option<Position>,
    /// Events encoded before they are learned from one by one, where steps are of one event.
    ahead: Option<Ahead>,
    /// From acknowledged to learned, in this process.
    pub(crate) lags: Lags,
    /// Memory of the last checkpoint's copy of the state, to be used again.
    pub(crate) spare: Arc<Mutex<Option<State>>>,
    /// The longest time that a checkpoint kept learning waiting.
    pub(crate) longest_stall: Duration,
}

/// What a driver puts together.
pub(crate) struct Parts {
    pub(crate) model: Box<dyn StreamModel>,
    pub(crate) input: Input,
    pub(crate) join: Option<Box<Join>>,
    pub(crate) answering: Option<Answering>,
    pub(crate) stream: StreamBase,
    /// Where `audit.jsonl` stands.
    pub(crate) audit: JournalMark,
    /// Whether the steps that are in `batches.jsonl` after the checkpoint are taken again.
    pub(crate) replays: bool,
}

/// What does not change in the state of a stream.
#[derive(Clone, Debug)]
pub(crate) struct StreamBase {
    pub(crate) source: String,
    pub(crate) format: Option<tidemill_recipe::stream::Format>,
    /// Steps that were taken in batches, which come before in the count of steps.
    pub(crate) batch_steps: u64,
    /// Where the file of predictions stands as long as none is written.
    pub(crate) predictions: JournalMark,
    /// The fields of a checkpoint that stay the same; its samples are those of before this stream.
    pub(crate) meta: Meta,
}

impl<'a> StreamDriver<'a> {
    /// A driver at the start of a stream.
    ///
    /// # Errors
    /// If `audit.jsonl` or `batches.jsonl` cannot be opened.
    pub(crate) fn new(
        file: &'a RecipeFile,
        options: &'a LearnOptions,
        session: &'a mut Session,
        parts: Parts,
        same: Option<&StreamState>,
        tell: &'a mut dyn FnMut(LearnEvent<'_>),
    ) -> Result<StreamDriver<'a>> {
        let Parts { model, input, join, answering, stream, audit, replays } = parts;
        let spec = &file.recipe.online;
        let path = |name: &str| session.folder.path().join(name);
        let mut audit = Journal::open(&path("audit.jsonl"), audit, JOURNAL_BYTES)?;
        let (mut replay, mut batches) = (VecDeque::new(), None);
        if spec.max_batch.is_some() {
            let mark = same.map(|s| s.batches).unwrap_or_default();
            let path = path("batches.jsonl");
            if replays {
                replay = sizes_after(&path, mark)?;
            }
            batches = Some(Journal::open(&path, mark, u64::MAX)?);
        }
        for journal in [Some(&mut audit), batches.as_mut()].into_iter().flatten() {
            if let Some(note) = journal.take_note() {
                tell(LearnEvent::Notice(&note));
            }
        }
        // Its memory is touched here, so that no checkpoint has to.
        let mut spare = State::default();
        model.copy_state(&mut spare);
        let events = input.counts().events;
        let saved_position = Some(input.feed.position().clone());
        let one_by_one = spec.most() == 1 && spec.max_batch.is_none() && join.is_none();
        let looked_at = input.predictions.is_some() || spec.drift.features;
        let may_be = one_by_one && !looked_at && input.feed.is_of_records();
        let ahead = may_be.then(|| input.encoding.ahead()).flatten();
        Ok(StreamDriver {
            ahead,
            spec,
            model,
            input,
            join,
            answering,
            until: options.until,
            audit,
            batches,
            replay,
            folder: session.folder.clone(),
            writer: &mut session.writer,
            stream,
            interrupt: &options.interrupt,
            tell,
            announced: false,
            noted: Vec::new(),
            clock: StreamClock::start(same.map_or(0.0, |s| s.wall_seconds), events),
            written: None,
            deadline: None,
            saved_position,
            lags: Lags::default(),
            spare: Arc::new(Mutex::new(Some(spare))),
            longest_stall: Duration::ZERO,
        })
    }

    /// Learns until something stops it, and hands a checkpoint to the writer.
    pub(crate) fn run(&mut self) -> Result<StreamEnd> {
        let end = loop {
            if self.until.events.is_some_and(|n| self.input.counts().events >= n) {
                break StreamEnd::Events;
            }
            let next = match self.next_len() {
                Ok(next) => next,
                Err(e) => {
                    // What was learned until the stream broke is not learned again.
                    if self.input.counts().events > self.clock.saved_events {
                        self.checkpoint()?;
                        self.wait()?;
                    }
                    return Err(e);
                }
            };
            let Some(len) = next else {
                self.input.pass()?;
                self.stop_if_bad()?;
                self.with_join(|driver, join| driver.learn_rest(join))?;
                break StreamEnd::Stream;
            };
            let steps = match len {
                0 => 1,
                _ if self.ahead.is_some() => self.step_ahead()?,
                _ => {
                    self.step(len)?;
                    1
                }
            };
            self.stop_if_bad()?;
            self.clock.steps += steps;
            if len == 0 || self.clock.steps >= LOOK_EVERY {
                self.clock.steps = 0;
                if let Some(end) = self.look()? {
                    break end;
                }
            }
        };
        self.lags.count();
        self.tell_notes();
        self.clock.learning = self.clock.start.elapsed();
        self.checkpoint()?;
        self.tell_first_bad();
        Ok(end)
    }

    /// Stops with a checkpoint where too many of the last records were bad.
    fn stop_if_bad(&mut self) -> Result<()> {
        let Some(what) = self.input.feed.too_many_bad() else { return Ok(()) };
        self.checkpoint()?;
        self.wait()?;
        Err(Error::Run(what))
    }

    fn tell_first_bad(&mut self) {
        if let Some(what) = self.input.feed.first_bad() {
            (self.tell)(LearnEvent::Notice(&what));
        }
    }

    fn step(&mut self, len: usize) -> Result<()> {
        if self.join.is_some() {
            return self.with_join(|driver, join| driver.step_joined(join, len));
        }
        self.model.start(len);
        if let Some(predictions) = &mut self.input.predictions {
            predictions.start();
        }
        for i in 0..len {
            self.input.take(self.model.as_mut(), i)?;
            self.lags.take(self.input.feed.acknowledged());
        }
        if let Some(batches) = &mut self.batches {
            batches.write(&len)?;
        }
        self.learn(None)?;
        if let Some(predictions) = &mut self.input.predictions {
            predictions.write(self.model.as_ref())?;
        }
        self.lags.learned(self.input.feed.waiting());
        Ok(())
    }

    /// Works with what waits for labels, which is taken out of the driver for so long.
    fn with_join(&mut self, work: impl FnOnce(&mut Self, &mut Join) -> Result<()>) -> Result<()> {
        let Some(mut join) = self.join.take() else { return Ok(()) };
        let done = work(self, &mut join);
        self.join = Some(join);
        done
    }

    /// Learns from the step, of event `j` of those that were encoded ahead if it is one of them, and writes
    /// down what the guard did.
    pub(super) fn learn(&mut self, of: Option<(&Ahead, usize)>) -> Result<()> {
        let learned = self.model.step().map_err(|e| {
            let (_, position) = self.place(of);
            self.input.feed.at(&position, e)
        })?;
        self.audit_drift(of)?;
        let (what, deviations) = match learned.verdict {
            Verdict::Apply => return Ok(()),
            Verdict::NotFinite => ("refused: the loss is not finite", None),
            Verdict::Spike(z) => ("refused: the loss is a spike", Some(z)),
        };
        let (event, position) = self.place(of);
        let step = self.model.steps();
        self.audit.write(&Audit { event, step, position: position.clone(), what, deviations })?;
        if learned.rolled_back {
            let what = "rolled back to the last good state";
            self.audit.write(&Audit { event, step, position, what, deviations: None })?;
        }
        Ok(())
    }

    fn audit_drift(&mut self, of: Option<(&Ahead, usize)>) -> Result<()> {
        let notes = self.model.drift_mut().map_or_else(Vec::new, Drift::take_notes);
        if notes.is_empty() {
            return Ok(());
        }
        let ((event, position), step) = (self.place(of), self.model.steps());
        for note in &notes {
            self.audit.write(&DriftAudit { event, step, position: &position, note })?;
        }
        Ok(())
    }

    /// Says what records were taken for, once that is known, and what is new to know of them.
    fn tell_notes(&mut self) {
        let encoding = &self.input.encoding;
        if !self.announced && encoding.is_prepared() {
            self.announced = true;
            let lines = encoding.understood().map_or_else(Vec::new, |u| u.lines());
            if !lines.is_empty() {
                let lines = lines.join("\n  ");
                (self.tell)(LearnEvent::Notice(&format!("the stream is read as\n  {lines}")));
            }
        }
        for note in self.input.notes() {
            if !self.noted.contains(&note.text) {
                (self.tell)(LearnEvent::Notice(&note.text));
                self.noted.push(note.text);
            }
        }
    }

    /// Tells, saves and stops when it is time.
    fn look(&mut self) -> Result<Option<StreamEnd>> {
        if !self.announced && self.input.encoding.is_prepared() {
            self.tell_notes();
        }
        let counts = self.input.counts();
        let events = counts.events + counts.labels;
        if let Some(events_per_second) = self.clock.report(events) {
            let progress = StreamProgress {
                counts: self.input.counts(),
                events_per_second,
                headline: self.model.prequential().headline(),
                lag_ms: self.lags.last(),
                refused: self.model.guard().refused,
                drifts: self.model.drift().map_or(0, |drift| drift.counts().alarms),
            };
            (self.tell)(LearnEvent::Progress(progress));
            self.tell_first_bad();
            self.tell_notes();
        }
        if let Some(what) = self.input.feed.flood() {
            (self.tell)(LearnEvent::Notice(&what));
        }
        // Learning does not wait for a checkpoint that is being written: the next one is due then.
        if !self.writer.is_busy()? {
            self.commit()?;
            // Records that are no events count as well: a source keeps them until a checkpoint is behind them.
            if self.clock.is_checkpoint_due(events, self.spec)
                && (events > self.clock.saved_events || self.has_moved())
            {
                self.checkpoint()?;
            }
        }
        if self.interrupt.load(Relaxed) {
            return Ok(Some(StreamEnd::Interrupt));
        }
        let late = self.until.seconds.is_some_and(|s| self.clock.total() >= s);
        Ok(late.then_some(StreamEnd::WallSeconds))
    }

    /// Whether a record was taken since the last checkpoint.
    fn has_moved(&self) -> bool {
        self.saved_position.as_ref() != Some(self.input.feed.position())
    }

    /// Copies the state and hands it to the writer; the source hears of it once it is on disk.
    fn checkpoint(&mut self) -> Result<()> {
        // The one before is on disk already, except at the end of the stream.
        self.wait()?;
        let start = Instant::now();
        let position = self.input.feed.position().clone();
        let dead_letters = self.input.feed.dead_letters().map(|dead| dead.mark());
        let state = StreamState {
            source: self.stream.source.clone(),
            position: position.clone(),
            format: self.stream.format,
            known: None,
            linear: self.model.sums(),
            prequential: self.model.prequential().clone(),
            guard: self.model.guard().clone(),
            input_length: self.model.input_length(),
            drift: self.model.drift_state(),
            counts: self.input.counts(),
            dead_letters: dead_letters.unwrap_or_default(),
            predictions: self
                .input
                .predictions
                .as_ref()
                .map_or(self.stream.predictions, Predictions::mark),
            recent: self.input.feed.recent(),
            content: self.input.feed.content(),
            audit: self.audit.mark(),
            batches: self.batches.as_ref().map_or_else(Default::default, Journal::mark),
            wall_seconds: self.clock.total(),
        };
        let step = self.model.steps();
        let waiting = self.join.as_mut().map(|join| join.save(step)).transpose()?;
        let meta = Meta {
            step,
            online_steps: step - self.stream.batch_steps,
            samples: self.stream.meta.samples + state.counts.events - state.counts.unlabelled,
            known: self.input.encoding.known().clone(),
            ..self.stream.meta.clone()
        };
        let spare = self.spare.lock().ok().and_then(|mut spare| spare.take());
        let mut copy = spare.unwrap_or_default();
        self.model.copy_state(&mut copy);
        let (tensor, mut files) = waiting.map_or((None, Vec::new()), |w| (Some(w.tensor), w.files));
        files.extend(self.journals().filter_map(Journal::needed));
        let parts = checkpoint::Parts {
            state: copy,
            shared: self.model.shared_states(),
            tensors: tensor.into_iter().collect(),
            files,
            attach: Box::new(move || Attachment::new(&state)),
        };
        self.writer.write_parts(meta, parts, self.spare.clone())?;
        self.saved_position = Some(position.clone());
        self.written = Some(position);
        self.longest_stall = self.longest_stall.max(start.elapsed());
        let counts = self.input.counts();
        self.clock.save(counts.events + counts.labels);
        Ok(())
    }

    /// The files whose lengths are in a checkpoint.
    fn journals(&mut self) -> impl Iterator<Item = &mut Journal> {
        let Input { feed, predictions, .. } = &mut self.input;
        let predictions = predictions.as_mut().and_then(Predictions::opened);
        let others = [feed.dead_letters(), predictions, self.batches.as_mut()];
        others.into_iter().flatten().chain([&mut self.audit])
    }

    /// Whether this process has written a checkpoint.
    pub(crate) fn has_saved(&self) -> bool {
        self.clock.has_saved
    }

    /// Waits until the last checkpoint is on disk.
    pub(crate) fn wait(&mut self) -> Result<()> {
        self.writer.wait()?;
        self.commit()
    }

    /// The last checkpoint is on disk: the source need not keep what is in it, and a run that this one
    /// replaces is not needed any more, once something came.
    fn commit(&mut self) -> Result<()> {
        let Some(position) = self.written.take() else { return Ok(()) };
        self.input.feed.commit(position);
        if self.clock.saved_events > 0 { self.folder.settle() } else { Ok(()) }
    }
}
