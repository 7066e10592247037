//! The loop over the records of a stream of corrections.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;
use tidemill_engine::checkpoint::{self, Attachment, Meta, Writer};
use tidemill_engine::engine::State;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::folder::RunFolder;
use tidemill_engine::prequential::Headline;
use tidemill_recipe::online::OnlineSpec;
use tidemill_recipe::stream::source::Poll;
use tidemill_recipe::stream::{
    Answerer, BadEvent, Content, Format, Position, Record, Records, Source,
};

use super::figures::TextScores;
use super::learner::Learner;
use super::record::Reading;
use super::sounds::Sounds;
use super::state::{CorrectionsState, Left};
use crate::driver::clock::StreamClock;
use crate::driver::{StreamEnd, StreamProgress, Until};
use crate::feed::DeadLetters;
use crate::input::Counts;
use crate::join::Join;
use crate::journal::Journal;
use crate::run::LearnEvent;

/// Bytes of records that are taken from the source at once.
const BLOCK: usize = 1 << 16;
/// How long the loop waits for records before it looks around.
const WAIT: Duration = Duration::from_millis(50);

/// What does not change.
pub(super) struct Base {
    pub source: String,
    pub format: Format,
    pub meta: Meta,
    pub batch_steps: u64,
    /// Whether nothing is learned.
    pub frozen: bool,
}

/// Drives a learner over a stream of corrections.
pub(super) struct Driver<'a> {
    pub spec: &'a OnlineSpec,
    pub base: Base,
    pub learner: Learner,
    pub reading: Reading,
    /// How sounds of records are read, where the model writes down what they say.
    pub sounds: Option<Sounds>,
    /// Sounds of this session that were odd, with the first of them.
    pub odd: (u64, String),
    pub source: Box<dyn Source>,
    pub answers: Option<Answerer>,
    pub join: Join,
    pub position: Position,
    pub content: Option<Content>,
    /// Texts that other streams brought.
    pub texts_before: u64,
    /// Where other streams were left.
    pub left: BTreeMap<String, Left>,
    pub counts: Counts,
    pub scores: TextScores,
    pub dead: DeadLetters,
    pub log: Journal,
    pub quarantine: Journal,
    pub audit: Journal,
    pub folder: RunFolder,
    pub writer: &'a mut Writer,
    pub interrupt: &'a AtomicBool,
    pub until: Until,
    pub tell: &'a mut dyn FnMut(LearnEvent<'_>),
    pub clock: StreamClock,
    /// The position of a checkpoint that is being written.
    pub written: Option<Position>,
    /// Names of values that are not used, of which a note was made.
    pub noted: usize,
}

impl Driver<'_> {
    /// Takes records until something stops it, and hands a last checkpoint to the writer.
    pub fn run(&mut self) -> Result<StreamEnd> {
        let mut records = Records::default();
        let ended = loop {
            records.clear();
            let polled = self.source.poll(&mut records, BLOCK, WAIT);
            let polled = match polled {
                Ok(polled) => polled,
                Err(e) => {
                    self.checkpoint()?;
                    self.writer.wait()?;
                    return Err(Error::Run(e.to_string()));
                }
            };
            let mut end = None;
            for record in records.iter() {
                self.take(&record)?;
                end = self.look()?;
                if end.is_some() {
                    break;
                }
            }
            if polled != Poll::Some {
                end = end.or(self.look()?);
            }
            match (end, polled) {
                (Some(end), _) => break end,
                (None, Poll::End) => break StreamEnd::Stream,
                _ => {}
            }
        };
        self.tell_notes();
        if self.odd.0 > 1 {
            let (count, first) = &self.odd;
            let what = format!("{count} sounds are not quite as they should be; the first {first}");
            (self.tell)(LearnEvent::Notice(&what));
        }
        self.checkpoint()?;
        Ok(ended)
    }

    /// Counts a sound that is not quite as it should be.
    pub(super) fn note_odd(&mut self, what: &str) {
        self.odd.0 += 1;
        if self.odd.0 == 1 {
            self.odd.1 = what.to_owned();
            (self.tell)(LearnEvent::Notice(&format!("a sound {what}")));
        }
    }

    /// Records that were taken.
    pub fn records(&self) -> u64 {
        self.counts.events + self.counts.labels + self.dead.count()
    }

    fn take(&mut self, record: &Record<'_>) -> Result<()> {
        let taken = match record.too_long {
            true => Ok(Err(BadEvent::new("is longer than a record may be"))),
            false => match self.reading.read(record.bytes, record.first) {
                Ok(Some(read)) => self.take_read(read),
                Ok(None) => Ok(Ok(serde_json::Value::Null)),
                Err(bad) => Ok(Err(bad)),
            },
        }?;
        self.dead.count_recent(taken.as_ref().is_err_and(|bad| !bad.expected));
        let answer = match taken {
            Ok(answer) => answer,
            Err(bad) => {
                self.dead.write_dead_letter(record, &bad)?;
                json!({ "set_aside": bad.reason })
            }
        };
        self.position.take(record);
        if let Some(content) = &mut self.content {
            content.take(record);
        }
        if let Some(answers) = &self.answers {
            answers.give(&self.position, answer.to_string());
        }
        match self.dead.too_many() {
            Some(what) => {
                self.checkpoint()?;
                self.writer.wait()?;
                Err(Error::Run(what))
            }
            None => Ok(()),
        }
    }

    /// Tells, saves and stops when it is time.
    fn look(&mut self) -> Result<Option<StreamEnd>> {
        let records = self.records();
        if let Some(events_per_second) = self.clock.report(records) {
            let (value, loss) = self.scores.headline();
            let events = self.scores.corrections();
            let headline = (events > 0).then(|| Headline {
                events,
                name: self.scores.name(),
                value,
                sliding: self.scores.recent(),
                no_change: 0.0,
                kappa_t: None,
                loss,
            });
            let progress = StreamProgress {
                counts: Counts { bad: self.dead.count(), ..self.counts },
                events_per_second,
                headline,
                lag_ms: None,
                refused: self.waiting_in_quarantine(),
                drifts: 0,
            };
            (self.tell)(LearnEvent::Progress(progress));
            self.tell_notes();
        }
        if !self.writer.is_busy()? {
            self.on_disk()?;
            if self.clock.is_checkpoint_due(records, self.spec) && records > self.clock.saved_events
            {
                self.checkpoint()?;
            }
        }
        if self.until.events.is_some_and(|n| self.counts.events - self.texts_before >= n) {
            return Ok(Some(StreamEnd::Events));
        }
        if self.interrupt.load(Relaxed) {
            return Ok(Some(StreamEnd::Interrupt));
        }
        let late = self.until.seconds.is_some_and(|s| self.clock.total() >= s);
        Ok(late.then_some(StreamEnd::WallSeconds))
    }

    /// Waits for the checkpoint that is being written: its records need not come again, and a run that this one replaces
    /// is gone, if any record came.
    pub fn on_disk(&mut self) -> Result<()> {
        self.writer.wait()?;
        let Some(position) = self.written.take() else { return Ok(()) };
        self.source.commit(&position).map_err(|e| Error::Run(e.to_string()))?;
        if self.clock.saved_events > 0 { self.folder.settle() } else { Ok(()) }
    }

    /// Corrections that were set aside and not released.
    pub fn waiting_in_quarantine(&self) -> u64 {
        let state = &self.learner.state;
        state.quarantined - state.released.len() as u64
    }

    /// What a user should know of the records so far.
    fn tell_notes(&mut self) {
        if let Some(what) = self.dead.take_flood() {
            (self.tell)(LearnEvent::Notice(&what));
        }
        if let Some(what) = self.dead.take_first() {
            (self.tell)(LearnEvent::Notice(&what));
        }
        if self.noted < self.reading.unused.len() {
            self.noted = self.reading.unused.len();
            let names = self.reading.unused.join(", ");
            (self.tell)(LearnEvent::Notice(&format!("not used of the records: {names}")));
        }
    }

    /// Copies the state and hands it to the writer.
    fn checkpoint(&mut self) -> Result<()> {
        self.writer.wait()?;
        self.learner.state.quarantine = self.quarantine.mark();
        let mut left = self.left.clone();
        let here = Left {
            format: self.base.format,
            header: self.reading.header.clone(),
            open: self.reading.open.clone(),
            position: self.position.clone(),
            content: self.content.clone(),
            texts: self.counts.events - self.texts_before,
        };
        left.insert(self.base.source.clone(), here);
        let state = CorrectionsState {
            corrections: self.learner.state.clone(),
            source: self.base.source.clone(),
            left,
            counts: Counts { bad: self.dead.count(), ..self.counts },
            scores: self.scores.clone(),
            dead_letters: self.dead.mark(),
            recent: self.dead.recent().clone(),
            log: self.log.mark(),
            audit: self.audit.mark(),
            wall_seconds: self.clock.total(),
        };
        let step = self.learner.engine().step();
        let waiting = self.join.save(step)?;
        let meta = Meta {
            step,
            online_steps: step - self.base.batch_steps,
            samples: self.base.meta.samples + self.scores.corrections(),
            ..self.base.meta.clone()
        };
        let mut tensors = self.learner.tensors();
        tensors.push(waiting.tensor);
        let mut files = waiting.files;
        let journals = [self.dead.journal(), &mut self.log, &mut self.quarantine, &mut self.audit];
        files.extend(journals.into_iter().filter_map(Journal::needed));
        let parts = checkpoint::Parts {
            state: self.learner.engine().state(),
            shared: Vec::new(),
            tensors,
            files,
            attach: Box::new(move || Attachment::new(&state)),
        };
        let back: Arc<std::sync::Mutex<Option<State>>> = Arc::default();
        self.writer.write_parts(meta, parts, back)?;
        self.written = Some(self.position.clone());
        self.clock.save(self.records());
        Ok(())
    }
}
