//! Labels that come later than their events: an event with an id is predicted when it comes, kept,
//! and learned from when a label with its id does, within a window of event time.
//!
//! # Rules
//!
//! A record with inputs is an event; one with an id, a label and no inputs is a label. Time is what
//! the newest record so far says (the watermark), or the count of records.
//!
//! - A label within the window of its event is *joined*: the event is scored by the prediction made
//!   when it came, and learned from with the inputs that it had then.
//! - A label that comes *early* is kept for the window, and joined when its event comes.
//! - A label after the window is *late*: set aside into `dead-letter.jsonl`. Ids are known for one
//!   more window; after that such a label looks early, and is *unmatched* when no event comes.
//! - A second label is a *duplicate* if it says the same, else *contradictory* and set aside: the
//!   first one counts.
//! - A second event of an id that is known is refused.
//! - An event whose window closes without a label is *missing*: dropped, or of class 0.
//! - An event with its label is learned from at once.
//! - Inputs stay what they were made when the event came. An id that loses its row of an embedding
//!   table within the window leaves its events with a row that is another's: such tables should
//!   have more rows than a window has ids.
//! - An event with a time more than `max_ahead` (ten windows by default) after the newest one is set aside, and one of more
//!   than ten windows before it closes none, until eight records in a row agree: then that is the present.
//! - When memory and the room on disk are full, the oldest events are *evicted*: not learned from.
//!
//! # Layout
//!
//! - `time`: event time; `clock`: the newest time that records agree on
//! - `arrived`: what is made of an event; `kept`: what is known of an id; `store`: all ids;
//!   `spill`: events on disk
//! - `apply`: events and labels taken; `learn`: given to the model when both are there; `drive`: the
//!   driver's steps
//! - `sample`, `loss`: negatives that are left out, losses of earlier predictions
//! - `texts`: the same rules for texts and their corrections
//! - `bytes`: all of it in a checkpoint

mod apply;
mod arrived;
pub(crate) mod bytes;
mod clock;
mod drive;
mod kept;
mod learn;
mod sample;
mod spill;
mod store;
#[cfg(test)]
mod tests;
pub(crate) mod texts;
pub(crate) mod time;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidemill_engine::fields::Batch;
use tidemill_recipe::stream::{BadEvent, Label};

use crate::encoding::OrBad;
use crate::sample::Scale;
use arrived::{Arrived, Ready};
use bytes::{In, Out, to_tensor};
use clock::{Clock, Seen};
use kept::{Given, Place, Status};
use store::{Limits, Store};
use tidemill_engine::checkpoint::Needed;
use tidemill_engine::engine::StateTensor;
use tidemill_engine::error::{Error, Result};
use tidemill_recipe::online::join::{JoinSpec, Missing};

/// The name of the tensor of a checkpoint that holds what waits.
pub(crate) const TENSOR: &str = "labels/waiting";
/// The first byte of what is in it.
const VERSION: u8 = 3;

/// How far a time may be from the newest one, in units of [`time`].
fn limits_of(spec: &JoinSpec) -> clock::Limits {
    let far = units_of(spec, spec.window).saturating_mul(clock::FAR_WINDOWS);
    let ahead = spec.max_ahead.map_or(far, |ahead| units_of(spec, ahead));
    clock::Limits { ahead, behind: far }
}

/// A time between two records in units of [`time`].
fn units_of(spec: &JoinSpec, length: f64) -> i64 {
    let scale = if spec.time.is_some() { time::SECOND } else { 1.0 };
    (length * scale).round().max(1.0) as i64
}

/// What became of labels and of the events that waited for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinCounts {
    /// Labels that found their event in time.
    pub joined: u64,
    /// Labels that came after the window.
    pub late: u64,
    /// Labels that said again what an earlier one had said.
    pub duplicate: u64,
    /// Labels that said something else than an earlier one.
    pub contradictory: u64,
    /// Events whose window closed without a label.
    pub missing: u64,
    /// Labels that came before their event and were joined.
    pub early: u64,
    /// Labels for which no event came within the window.
    pub unmatched: u64,
    /// Events refused since one with their id was known.
    pub repeated: u64,
    /// What was given up for want of room.
    pub evicted: u64,
    /// Times far from those of the records around them, which were not taken for the present.
    #[serde(default)]
    pub stray_times: u64,
    /// Negatives that were not learned from.
    pub left_out: u64,
    /// Events that waited on disk.
    pub spilled: u64,
    /// Events that wait now.
    pub pending: u64,
    /// Labels that wait for their event now.
    #[serde(default)]
    pub waiting: u64,
}

/// What a checkpoint holds of it.
#[derive(Debug)]
pub struct Waiting {
    /// All but the events that are on disk.
    pub tensor: StateTensor,
    /// Files that must be on disk before the checkpoint is.
    pub files: Vec<Needed>,
}

/// What is said to whoever sent the last record.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Said {
    /// Nothing.
    #[default]
    Nothing,
    /// What became of the label with this id.
    Label(String, &'static str),
    /// What the model predicts of an event before its label is seen, by its id if it has one.
    Predicted { id: Option<String>, logits: Vec<f32>, scale: Scale },
}

/// All that waits.
pub(crate) struct Join {
    spec: JoinSpec,
    seed: u64,
    window: i64,
    limits: clock::Limits,
    folder: PathBuf,
    keep: u64,
    counts: JoinCounts,
    clock: Clock,
    /// Steps learned, also those that were refused: whether a prediction is still the present one.
    steps: u64,
    /// Whether what labels look like was decided without having seen one.
    pub(crate) guessed: bool,
    store: Store,
    ready: VecDeque<Ready>,
    /// Of `ready`, those that are learned from.
    to_learn: usize,
    /// The step of the last checkpoint.
    saved: Option<u64>,
    scratch: Arrived,
    out: Out,
    /// An event of named inputs that is given to the model.
    one: Batch,
    /// Kept only where someone may ask for it.
    pub(crate) said: Option<Said>,
    /// Whether someone waits for it now: then an event is predicted also where nothing else needs that.
    pub(crate) awaited: bool,
}

impl Join {
    /// Nothing waits yet. Events on disk go into `folder`; `keep` checkpoints are kept.
    pub(crate) fn new(spec: &JoinSpec, seed: u64, folder: &Path, keep: usize) -> Result<Join> {
        let limits = Limits { memory: spec.memory_bytes, disk: spec.spill_bytes };
        Ok(Join {
            window: units_of(spec, spec.window),
            limits: limits_of(spec),
            spec: spec.clone(),
            seed,
            folder: folder.to_owned(),
            keep: keep as u64,
            counts: JoinCounts::default(),
            clock: Clock::default(),
            steps: 0,
            guessed: false,
            store: Store::new(limits, folder, keep as u64)?,
            ready: VecDeque::new(),
            to_learn: 0,
            saved: None,
            scratch: Arrived::default(),
            out: Out::default(),
            one: Batch::default(),
            said: None,
            awaited: false,
        })
    }

    /// What became of labels so far.
    pub(crate) fn counts(&self) -> JoinCounts {
        let (pending, spilled) = (self.store.num_waiting(), self.store.num_spilled());
        JoinCounts { pending, spilled, waiting: self.store.num_early(), ..self.counts }
    }

    /// Events with labels that wait to be learned from.
    pub(crate) fn num_ready(&self) -> usize {
        self.to_learn
    }

    /// A record has this time: time advances, unless it is far from the present and nothing else
    /// confirms it. Gives the time from which the record's own window runs.
    fn see_time(&mut self, at: i64) -> OrBad<i64> {
        if self.spec.time.is_none() {
            self.clock.now = self.clock.now.max(Some(at));
            self.close_windows()?;
            return Ok(Ok(at));
        }
        match self.clock.see(at, self.limits, &mut self.counts.stray_times) {
            Seen::Time(at) => {
                self.close_windows()?;
                Ok(Ok(at))
            }
            Seen::Ahead(by) => {
                let (by, most) =
                    (by as f64 / time::SECOND, self.limits.ahead as f64 / time::SECOND);
                Ok(Err(BadEvent::new(format!(
                    "its time is {by} seconds after that of the records before it, and {most} are the most \
                     (online.labels.max_ahead): the clock is wrong, unless the next records say the same"
                ))))
            }
        }
    }

    /// Time has advanced: windows close.
    fn close_windows(&mut self) -> Result<()> {
        let Some(now) = self.clock.now else { return Ok(()) };
        while let Some(id) = self.store.overdue(now) {
            let Some((due, Status::Waiting(place))) = self.store.remove(&id) else { break };
            self.counts.missing += 1;
            let until = due.saturating_add(self.window);
            self.store.keep(id.clone(), until, Status::Expired)?;
            match self.spec.missing {
                Missing::Drop => self.store.free(place),
                Missing::Negative => self.push_ready(&id, place, Label::Class(0), None),
            }
        }
        while let Some(id) = self.store.outdated(now) {
            if let Some((_, Status::Early(_))) = self.store.remove(&id) {
                self.counts.unmatched += 1;
            }
        }
        Ok(())
    }

    /// An event has its label.
    fn push_ready(&mut self, id: &str, place: Place, label: Label, target: Option<f64>) {
        let rate = self.spec.negative_sampling;
        let negative = rate < 1.0 && label == Label::Class(0);
        let learn = !negative || sample::is_kept(id, self.seed, rate);
        self.counts.left_out += u64::from(!learn);
        self.to_learn += usize::from(learn);
        self.ready.push_back(Ready { place, label, target, learn });
    }

    /// Gives up what there is no room for.
    fn make_room(&mut self) {
        while let Some(id) = self.store.too_much() {
            match self.store.remove(&id) {
                Some((_, Status::Waiting(place))) => {
                    self.counts.evicted += 1;
                    self.store.free(place);
                }
                Some((_, Status::Early(_))) => self.counts.evicted += 1,
                _ => {}
            }
        }
    }

    /// For a checkpoint at `step`, when all before it are on disk.
    pub(crate) fn save(&mut self, step: u64) -> Result<Waiting> {
        let mut out = Out::default();
        out.u8(VERSION);
        // No key is missing and no number is too large: JSON of a plain struct.
        out.slice(&serde_json::to_vec(&self.counts).unwrap_or_default());
        self.clock.write(&mut out);
        out.u64(self.steps);
        out.u8(u8::from(self.guessed));
        self.store.write(&mut out);
        out.u64(self.ready.len() as u64);
        self.ready.iter().for_each(|r| r.write(&mut out));
        let is_new = self.saved.replace(step) != Some(step);
        let files = self.store.checkpoint(is_new)?;
        Ok(Waiting { tensor: to_tensor(TENSOR, out.0), files })
    }

    /// Goes on with what a checkpoint holds.
    pub(crate) fn restore(&mut self, tensor: &StateTensor) -> Result<()> {
        let read = self.read(&mut In(tensor.elements()?));
        read.ok_or_else(|| Error::Run(format!("the checkpoint's {TENSOR} is damaged")))?;
        let disk = |r: &Ready| match r.place {
            Place::Disk(spot) => Some(spot),
            Place::Memory(_) => None,
        };
        let ready: Vec<_> = self.ready.iter().filter_map(disk).collect();
        self.store.reopen(&self.folder, self.keep, &ready)
    }

    fn read(&mut self, from: &mut In<'_>) -> Option<()> {
        let version = from.u8()?;
        if version == 0 || version > VERSION {
            return None;
        }
        self.counts = serde_json::from_slice(from.slice()?).ok()?;
        self.clock = Clock::read(version, from)?;
        self.steps = from.u64()?;
        self.guessed = from.u8()? != 0;
        self.store.read(from)?;
        for _ in 0..from.u64()? {
            self.ready.push_back(Ready::read(from)?);
        }
        self.to_learn = self.ready.iter().filter(|r| r.learn).count();
        Some(())
    }

    /// Lets what `self.scratch` holds wait.
    fn keep_waiting(&mut self, id: &str, due: i64) -> Result<()> {
        self.out.0.clear();
        self.scratch.write(&mut self.out);
        self.store.wait(id, due, &self.out.0)?;
        self.make_room();
        Ok(())
    }

    /// What is known of the id of an event that comes now is this label, until the window closes.
    fn answered(&mut self, id: Arc<str>, due: i64, given: Given) -> Result<()> {
        self.store.keep(id, due, Status::Answered(given))?;
        self.make_room();
        Ok(())
    }
}
