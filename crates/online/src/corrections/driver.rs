//! The loop over the records of a stream of corrections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use tidemill_engine::checkpoint::{self, Attachment, Meta, Writer};
use tidemill_engine::engine::State;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::prequential::Headline;
use tidemill_recipe::online::OnlineSpec;
use tidemill_recipe::stream::source::Poll;
use tidemill_recipe::stream::{
    Answers, BadEvent, Content, Format, Position, Record, Records, Source,
};

use super::figures::TextScores;
use super::learner::{Learner, Served};
use super::quarantine::{Judged, reason};
use super::record::Reading;
use super::state::CorrectionsState;
use crate::driver::{StreamEnd, StreamProgress, Until};
use crate::feed::DeadLetters;
use crate::input::Counts;
use crate::join::Join;
use crate::join::bytes::{In, Out};
use crate::join::texts::{CorrectionCame, TextCame};
use crate::journal::Journal;
use crate::run::LearnEvent;

/// Bytes of records that are taken from the source at once.
const BLOCK: usize = 1 << 16;
/// How long the loop waits for records before it looks around.
const WAIT: Duration = Duration::from_millis(50);
/// How often progress is reported.
const REPORT_EVERY: Duration = Duration::from_millis(200);
/// From the start to the first checkpoint.
const FIRST_CHECKPOINT: Duration = Duration::from_millis(500);

/// What becomes of a record: an answer for who sent it, or why it is set aside.
type Taken = Result<std::result::Result<serde_json::Value, BadEvent>>;

/// A line of `corrections.jsonl`, and one of `quarantine.jsonl` with its reason.
#[derive(Serialize, serde::Deserialize)]
pub(super) struct Line {
    pub number: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub id: Option<String>,
    pub source: String,
    pub hypothesis: String,
    pub correction: String,
    /// The mean loss of a token, before anything was learned from it.
    pub loss: Option<f64>,
    /// Steps taken before.
    pub step: u64,
}

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
    pub source: Box<dyn Source>,
    pub answers: Option<Arc<Answers>>,
    pub join: Join,
    pub position: Position,
    pub content: Option<Content>,
    pub counts: Counts,
    pub scores: TextScores,
    pub dead: DeadLetters,
    pub log: Journal,
    pub quarantine: Journal,
    pub audit: Journal,
    pub writer: &'a mut Writer,
    pub interrupt: &'a AtomicBool,
    pub until: Until,
    pub tell: &'a mut dyn FnMut(LearnEvent<'_>),
    /// Seconds of earlier processes.
    pub before: f64,
    pub clock: Clock,
}

/// When to look around, to tell, to save.
pub(super) struct Clock {
    start: Instant,
    reported: Instant,
    reported_records: u64,
    saved: Instant,
    saved_records: u64,
    pub has_saved: bool,
    /// The position of a checkpoint that is being written.
    written: Option<Position>,
    noted: usize,
    pub first_records: u64,
}

impl Clock {
    pub fn start(records: u64) -> Clock {
        let now = Instant::now();
        Clock {
            start: now,
            reported: now,
            reported_records: records,
            saved: now,
            saved_records: records,
            has_saved: false,
            written: None,
            noted: 0,
            first_records: records,
        }
    }
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
        self.checkpoint()?;
        Ok(ended)
    }

    /// Records that were taken.
    pub fn records(&self) -> u64 {
        self.counts.events + self.counts.labels + self.dead.count()
    }

    /// Seconds of learning, over all resumptions.
    pub fn seconds(&self) -> f64 {
        self.before + self.clock.start.elapsed().as_secs_f64()
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
            answers.give(record.mark.major, answer.to_string());
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

    fn take_read(&mut self, read: super::record::Record) -> Taken {
        let super::record::Record { id, at, source, correction, release } = read;
        if let Some(number) = release {
            return self.release(number);
        }
        let timed = self.spec.labels.as_ref().is_some_and(|labels| labels.time.is_some());
        if timed && at.is_none() && source.is_some() {
            return Ok(Err(BadEvent::new("has no time, and online.labels.time names one")));
        }
        let at = match (timed, at) {
            // A correction without a time comes at the present.
            (true, None) => 0,
            (_, at) => self.join.record_came(at)?,
        };
        let known = id.as_deref().is_some_and(|id| self.join.knows(id));
        match (id, source, correction) {
            (Some(id), _, Some(correction)) if known => self.correction(&id, &correction),
            (id, Some(source), Some(correction)) => {
                self.counts.events += 1;
                self.counts.labels += 1;
                if let Some(id) = &id {
                    self.join.pair_came(id, at, &correction)?;
                }
                let (hypothesis, _) = self.learner.write(&source)?;
                self.corrected(id, source, hypothesis.text, correction, false)
            }
            (Some(id), Some(source), None) => self.text(&id, at, source),
            (None, Some(source), None) => {
                self.counts.events += 1;
                self.counts.unlabelled += 1;
                let (hypothesis, is_cut) = self.learner.write(&source)?;
                Ok(Ok(answer(None, &hypothesis.text, Some(hypothesis.score), is_cut)))
            }
            (Some(id), None, Some(correction)) => self.correction(&id, &correction),
            (None, None, _) => Ok(Err(BadEvent::new("a correction needs the id of its text"))),
            (Some(_), None, None) => Ok(Err(BadEvent::new("has neither a text nor a correction"))),
        }
    }

    /// A text whose correction comes later, or has come.
    fn text(&mut self, id: &str, at: i64, source: String) -> Taken {
        let mut written = None;
        let Driver { join, learner, .. } = self;
        let came = join.text_came(id, at, || {
            let (hypothesis, is_cut) = learner.write(&source)?;
            let mut out = Out::default();
            out.slice(source.as_bytes());
            out.slice(hypothesis.text.as_bytes());
            written = Some((hypothesis, is_cut));
            Ok(out.0)
        })?;
        match (came, written) {
            (TextCame::Repeated(kept), _) => {
                let before = kept.as_deref().and_then(two).filter(|(text, _)| *text == source);
                match before {
                    // Who asks again, since the first answer was lost, gets it again.
                    Some((_, hypothesis)) => Ok(Ok(answer(Some(id), &hypothesis, None, false))),
                    None => Ok(Err(BadEvent::expected("a text with this id came before"))),
                }
            }
            (TextCame::Corrected(correction), _) => {
                self.counts.events += 1;
                let (hypothesis, _) = self.learner.write(&source)?;
                self.corrected(Some(id.to_owned()), source, hypothesis.text, correction, false)
            }
            (TextCame::Waits, written) => {
                self.counts.events += 1;
                self.counts.unlabelled += 1;
                let (text, score, is_cut) = match written {
                    Some((hypothesis, is_cut)) => (hypothesis.text, Some(hypothesis.score), is_cut),
                    None => (String::new(), None, false),
                };
                Ok(Ok(answer(Some(id), &text, score, is_cut)))
            }
        }
    }

    /// The correction of a text that came before, or comes later.
    fn correction(&mut self, id: &str, correction: &str) -> Taken {
        match self.join.correction_came(id, correction)? {
            CorrectionCame::Joined(kept) => {
                let Some((source, hypothesis)) = two(&kept) else {
                    return Err(Error::Run(
                        "a text that waited for its correction is damaged".into(),
                    ));
                };
                self.counts.labels += 1;
                self.counts.unlabelled -= self.counts.unlabelled.min(1);
                self.corrected(
                    Some(id.to_owned()),
                    source,
                    hypothesis,
                    correction.to_owned(),
                    false,
                )
            }
            CorrectionCame::Early => {
                self.counts.labels += 1;
                Ok(Ok(json!({ "id": id, "waits": "for its text" })))
            }
            CorrectionCame::Duplicate => {
                self.counts.labels += 1;
                Ok(Ok(json!({ "id": id, "duplicate": true })))
            }
            CorrectionCame::Contradictory(first) => Ok(Err(BadEvent::expected(format!(
                "another correction of this text came before it, and counts: {first}"
            )))),
            CorrectionCame::Late => {
                Ok(Err(BadEvent::expected("comes late: the window of its text is closed")))
            }
        }
    }

    /// A text with its correction: scored, then learned from, or set aside as garbage unless it was `released`.
    fn corrected(
        &mut self,
        id: Option<String>,
        source: String,
        hypothesis: String,
        correction: String,
        released: bool,
    ) -> Taken {
        let (pair, is_cut) = self.learner.pair(&source, &correction);
        if pair.target.is_empty() {
            return Ok(Err(BadEvent::new("the correction has nothing that the vocabulary knows")));
        }
        let losses = self.learner.losses(&pair)?;
        let loss = self.learner.served_loss(losses);
        let judged =
            Judged { source: &source, hypothesis: &hypothesis, correction: &correction, loss };
        let limits = &self.spec.corrections.quarantine;
        let garbage = reason(limits, self.learner.usual(), self.learner.known_losses(), judged);
        let step = self.learner.engine().step();
        let mut line = Line {
            number: self.learner.state.quarantined + 1,
            reason: garbage.filter(|_| !released),
            id,
            source,
            hypothesis,
            correction,
            loss: Some(loss).filter(|loss| loss.is_finite()),
            step,
        };
        if line.reason.is_some() {
            self.quarantine.write(&line)?;
            self.learner.state.quarantined += 1;
            let (number, reason) = (line.number, line.reason);
            return Ok(Ok(json!({ "id": line.id, "quarantined": number, "reason": reason })));
        }
        let added = self.scores.add(&line.hypothesis, &line.correction, losses.fast);
        if let Err(e) = added {
            return Ok(Err(BadEvent::new(format!("the correction cannot be compared: {e}"))));
        }
        line.number = self.scores.corrections();
        self.log.write(&line)?;
        let mut answer = json!({ "id": line.id, "learned": !self.base.frozen });
        if is_cut {
            answer["cut"] = json!("the model does not read or write texts as long as this");
        }
        if !self.base.frozen
            && let Some(served) = self.learner.learn(pair, losses)?
        {
            let what = match served {
                Served::Fast => "the fast weights make texts from here on",
                Served::Slow => "the slow weights make texts from here on",
            };
            let position = self.position.to_string();
            self.audit.write(&json!({ "correction": line.number, "step": step, "position": position, "what": what }))?;
            (self.tell)(LearnEvent::Notice(&format!("after {} corrections, {what}", line.number)));
        }
        Ok(Ok(answer))
    }

    /// Learns from a correction that was set aside.
    fn release(&mut self, number: u64) -> Taken {
        let state = &self.learner.state;
        if number == 0 || number > state.quarantined {
            let what =
                format!("release {number}: quarantine.jsonl has {} lines", state.quarantined);
            return Ok(Err(BadEvent::new(what)));
        }
        if state.released.contains(&number) {
            return Ok(Err(BadEvent::expected(format!(
                "release {number}: it was released before"
            ))));
        }
        let path = self.quarantine.path();
        let text = std::fs::read_to_string(path).map_err(|e| Error::read(path, e))?;
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let Some(line) = lines.into_iter().find(|line| line.number == number) else {
            let what = format!("release {number}: {} does not have it any more", path.display());
            return Ok(Err(BadEvent::new(what)));
        };
        self.learner.state.released.insert(number);
        self.corrected(line.id, line.source, line.hypothesis, line.correction, true)
    }

    /// Tells, saves and stops when it is time.
    fn look(&mut self) -> Result<Option<StreamEnd>> {
        let now = Instant::now();
        let records = self.records();
        if now - self.clock.reported >= REPORT_EVERY {
            let seconds = (now - self.clock.reported).as_secs_f64();
            let (bleu, loss) = self.scores.headline();
            let events = self.scores.corrections();
            let headline = (events > 0).then(|| Headline {
                events,
                name: "bleu",
                value: bleu,
                sliding: self.scores.recent(),
                no_change: 0.0,
                kappa_t: None,
                loss,
            });
            let progress = StreamProgress {
                counts: Counts { bad: self.dead.count(), ..self.counts },
                events_per_second: (records - self.clock.reported_records) as f64 / seconds,
                headline,
                lag_ms: None,
                refused: self.waiting_in_quarantine(),
                drifts: 0,
            };
            (self.tell)(LearnEvent::Progress(progress));
            self.tell_notes();
            (self.clock.reported, self.clock.reported_records) = (now, records);
        }
        if !self.writer.is_busy()? {
            if let Some(position) = self.clock.written.take() {
                self.source.commit(&position).map_err(|e| Error::Run(e.to_string()))?;
            }
            let since = records - self.clock.saved_records;
            let seconds = (now - self.clock.saved).as_secs_f64();
            let due = (!self.clock.has_saved && seconds >= FIRST_CHECKPOINT.as_secs_f64())
                || seconds >= self.spec.checkpoint_seconds
                || self.spec.checkpoint_events.is_some_and(|n| since >= n);
            if due && since > 0 {
                self.checkpoint()?;
            }
        }
        if self.until.events.is_some_and(|n| self.counts.events >= n) {
            return Ok(Some(StreamEnd::Events));
        }
        if self.interrupt.load(Relaxed) {
            return Ok(Some(StreamEnd::Interrupt));
        }
        let late = self.until.seconds.is_some_and(|s| self.seconds() >= s);
        Ok(late.then_some(StreamEnd::WallSeconds))
    }

    /// Corrections that were set aside and not released.
    pub fn waiting_in_quarantine(&self) -> u64 {
        let state = &self.learner.state;
        state.quarantined - state.released.len() as u64
    }

    /// What a user should know of the records so far.
    fn tell_notes(&mut self) {
        if let Some(what) = self.dead.take_first() {
            (self.tell)(LearnEvent::Notice(&what));
        }
        if self.clock.noted < self.reading.unused.len() {
            self.clock.noted = self.reading.unused.len();
            let names = self.reading.unused.join(", ");
            (self.tell)(LearnEvent::Notice(&format!("not used of the records: {names}")));
        }
    }

    /// Copies the state and hands it to the writer.
    fn checkpoint(&mut self) -> Result<()> {
        self.writer.wait()?;
        self.learner.state.quarantine = self.quarantine.mark();
        let state = CorrectionsState {
            corrections: self.learner.state.clone(),
            source: self.base.source.clone(),
            format: self.base.format,
            header: self.reading.header.clone(),
            position: self.position.clone(),
            content: self.content.clone(),
            counts: Counts { bad: self.dead.count(), ..self.counts },
            scores: self.scores.clone(),
            dead_letters: self.dead.mark(),
            recent: self.dead.recent().clone(),
            log: self.log.mark(),
            audit: self.audit.mark(),
            wall_seconds: self.seconds(),
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
        let parts = checkpoint::Parts {
            state: self.learner.engine().state(),
            shared: Vec::new(),
            tensors,
            files: waiting.files,
            attach: Box::new(move || Attachment::new(&state)),
        };
        let back: Arc<std::sync::Mutex<Option<State>>> = Arc::default();
        self.writer.write_parts(meta, parts, back)?;
        self.clock.written = Some(self.position.clone());
        self.clock.saved = Instant::now();
        self.clock.has_saved = true;
        self.clock.saved_records = self.records();
        Ok(())
    }
}

impl Drop for Driver<'_> {
    /// Nobody waits for answers that do not come any more.
    fn drop(&mut self) {
        if let Some(answers) = &self.answers {
            answers.stop();
        }
    }
}

/// What is said to a text.
fn answer(id: Option<&str>, text: &str, score: Option<f64>, is_cut: bool) -> serde_json::Value {
    let mut answer = json!({ "id": id, "text": text });
    if let Some(score) = score {
        answer["score"] = json!(score);
    }
    if is_cut {
        answer["cut"] = json!("the text is longer than the model reads, and its end was left out");
    }
    answer
}

/// The text and the hypothesis that are kept.
fn two(bytes: &[u8]) -> Option<(String, String)> {
    let mut from = In(bytes);
    Some((from.text()?.to_owned(), from.text()?.to_owned()))
}
