//! Drift: what is noticed when the stream is no longer the stream that it was, and what is done then.
//!
//! # Layout
//!
//! - [`Drift`]: the watch over a learner's errors and columns, with its actions
//! - [`state`]: what of that is in a checkpoint, in the summary and in `audit.jsonl`
//! - [`challenger`]: a second model in the shadow of the first
//! - [`wealth`]: the test by which it takes over
//!
//! What is watched is whether each event was predicted wrongly (the share of wrong outputs where a
//! model says yes or no to several), or the mean absolute error of values in the unit that the model
//! learns them in. Errors that fall are logged as well, and answered by nothing: that the model has
//! learned is no reason to disturb it.
//!
//! # What the actions come to
//!
//! Accuracy over the whole stream of a net with 12 hidden units, Adam at 0.002 (`tests/drift.rs`
//! prints it). In brackets how often the errors rose, and how many challengers took over:
//!
//! | action | SEA, 50,000 events | Elec2, 45,312 events | labels exchanged, slow SGD |
//! | --- | --- | --- | --- |
//! | `log` | 88.97 % (2) | 83.26 % (24) | 78.8 % |
//! | `raise_rate` | 89.02 % (2) | 83.08 % (20) | 87.9 % (factor 5) |
//! | `reset_slots` | 88.99 % (2) | 83.27 % (22) | |
//! | `challenger`, fresh | 88.97 % (2, 0 took over) | 83.09 % (27, 3 took over) | 88.3 % (rate 3) |
//! | the same from the champion, rate 3 | 89.03 % (2, 2 took over) | 82.48 % (33, 21 took over) | |
//! | `roll_back` | 88.93 % (1) | 82.93 % (31) | |
//!
//! The last column is the accuracy over the 1,500 events after an abrupt drift of a made stream. So
//! actions pay where a slow model meets an abrupt drift, and hardly anywhere else: a model that keeps
//! learning at a rate that suits its stream has followed by the time of the alarm. That is why the
//! default is `log`.
//!
//! ADWIN costs 29 ns an event on errors (`crates/drift/examples/cost.rs`, on a busy machine).

pub mod challenger;
pub mod state;
pub mod wealth;

use tidemill_engine::data::Batch;
use tidemill_recipe::drift::{Detector, FeatureDrift, FeatureDriftSpec, Signal};

use self::challenger::{Challenger, Standing};
use self::state::{Boost, ColumnMove, Means};
pub use self::state::{DriftCounts, DriftNote, DriftState};
use tidemill_engine::engine::{Engine, State, StateTensor};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::metrics::Task;
pub use tidemill_recipe::online::DriftSpec;
use tidemill_recipe::online::drift::{Action, name_of};

/// Labelled events for which the log of an alarm names a column that moved.
const RECENT: u64 = 1000;
/// Notes that nobody has taken; older ones go.
const MOST_NOTES: usize = 1000;

/// What an answer to drift leaves to the learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing.
    Nothing,
    /// A challenger has taken the champion's place.
    TookOver,
    /// The last good state is to be restored.
    RollBack,
}

/// The watch over a learner.
pub struct Drift {
    spec: DriftSpec,
    task: Task,
    num_outputs: usize,
    state: DriftState,
    challenger: Option<Challenger>,
    /// The champion's losses at the last step, from before it.
    losses: Vec<f32>,
    /// Its learning rate, not raised.
    rate: f64,
    /// What the last step's errors said: the means before and after.
    alarm: Option<(f64, f64)>,
    notes: Vec<DriftNote>,
}

impl Drift {
    /// A watch that has seen nothing.
    ///
    /// # Errors
    /// If a parameter of the detector is invalid.
    pub fn new(spec: DriftSpec, engine: &Engine) -> Result<Drift> {
        let task = Task::of(&engine.spec().loss);
        let detector = match spec.detector(task) {
            Some(detector) => {
                let detector = Detector::new(detector);
                Some(detector.map_err(|e| Error::Usage(format!("online.drift.detector.{e}")))?)
            }
            None => None,
        };
        Ok(Drift {
            spec,
            task,
            num_outputs: engine.num_outputs(),
            state: DriftState { detector, ..DriftState::default() },
            challenger: None,
            losses: Vec::new(),
            rate: 0.0,
            alarm: None,
            notes: Vec::new(),
        })
    }

    /// The learning rate of a step that would be taken at `rate`.
    pub(super) fn rate(&mut self, rate: f64) -> f64 {
        self.rate = rate;
        self.state.boost.map_or(rate, |boost| rate * boost.factor())
    }

    /// Takes in the numeric columns of an event; NaN where one is missing.
    pub(super) fn see_columns(&mut self, names: impl FnOnce() -> Vec<String>, values: &[f64]) {
        if !self.spec.features {
            return;
        }
        let columns = match &mut self.state.columns {
            Some(columns) if columns.names().len() == values.len() => columns,
            place => match FeatureDrift::new(FeatureDriftSpec::default(), names()) {
                Ok(columns) => place.insert(columns),
                Err(_) => return,
            },
        };
        let moves = columns.update(values.iter().copied());
        if moves.is_empty() {
            return;
        }
        let column = |m: &tidemill_recipe::drift::FeatureMove| {
            let (column, before, after) = (m.name.clone(), m.before, m.after);
            ColumnMove { column, before, after }
        };
        let moves: Vec<ColumnMove> = moves.iter().map(column).collect();
        self.state.counts.moves += moves.len() as u64;
        self.state.moved.retain(|(_, m)| moves.iter().all(|new| new.column != m.column));
        let now = self.state.events;
        self.state.moved.extend(moves.iter().map(|m| (now, m.clone())));
        self.note(DriftNote { columns: moves, ..DriftNote::new("drift: columns moved") });
    }

    /// Takes in the losses and outputs of a step's events, before it was taken.
    /// Only the first `events` of the batch came with the stream; the others are replayed.
    pub(super) fn see(&mut self, batch: &Batch, events: usize, losses: &[f32], logits: &[f32]) {
        self.losses.clear();
        self.losses.extend_from_slice(&losses[..events]);
        let n = self.num_outputs;
        for (i, logits) in logits.chunks_exact(n).enumerate().take(events) {
            if batch.weights[i] == 0.0 {
                continue;
            }
            let error = self.task.error(batch.truth(i), logits);
            let state = &mut self.state;
            state.events += 1;
            let Some(detector) = &mut state.detector else { continue };
            if !error.is_finite() {
                continue;
            }
            state.means.add(error);
            if detector.update(error) == Signal::Drift {
                let Means { long, recent, .. } = state.means;
                let told = detector.change().map(|c| (c.before, c.after));
                self.alarm = Some(told.unwrap_or((long, recent)));
                state.means.restart();
            }
        }
    }

    /// Logs an alarm of a step of a model that does not learn.
    pub(super) fn only_log(&mut self) {
        if let Some((before, after)) = self.alarm.take() {
            self.tell(before, after, Vec::new());
        }
    }

    /// Does what is to be done after a step, and says what is left to the learner.
    pub(super) fn answer(
        &mut self,
        engine: &mut Engine,
        batch: &Batch,
        applied: bool,
    ) -> Result<Answer> {
        let learned = batch.weights.iter().filter(|&&w| w > 0.0).count() as u64;
        if learned == 0 {
            return Ok(Answer::Nothing);
        }
        if let Some(boost) = &mut self.state.boost {
            boost.left = boost.left.saturating_sub(learned);
            if boost.left == 0 {
                self.state.boost = None;
            }
        }
        let mut answer = Answer::Nothing;
        // An event that the champion refused is none for the challenger either.
        if applied && let Some(challenger) = self.challenger.take() {
            answer = self.race(challenger, engine, batch)?;
        }
        let Some((before, after)) = self.alarm.take() else { return Ok(answer) };
        let mut done = Vec::new();
        if after > before {
            for action in self.spec.action.clone() {
                done.extend(self.act(&action, engine, &mut answer)?);
            }
        }
        self.tell(before, after, done);
        Ok(answer)
    }

    /// One action; its name if it did anything.
    fn act(
        &mut self,
        action: &Action,
        engine: &mut Engine,
        answer: &mut Answer,
    ) -> Result<Option<&'static str>> {
        let counts = &mut self.state.counts;
        Ok(match (action, *answer) {
            (Action::Log {}, _) => None,
            (Action::RaiseRate(raise), _) => {
                let (factor, events) = (raise.factor, raise.events);
                self.state.boost = Some(Boost { factor, events, left: events });
                counts.raised += 1;
                Some("raise_rate")
            }
            (Action::ResetSlots {}, _) => {
                engine.reset_slots();
                counts.resets += 1;
                Some("reset_slots")
            }
            // A challenger that has just taken over has learned what is new.
            (Action::RollBack {}, Answer::TookOver) => None,
            (Action::RollBack {}, _) => {
                *answer = Answer::RollBack;
                counts.rollbacks += 1;
                Some("roll_back")
            }
            // One at a time: a drift while one learns is one for it too.
            (Action::Challenger(_), _) if self.challenger.is_some() => None,
            (Action::Challenger(spec), _) => {
                counts.challengers += 1;
                self.challenger = Some(Challenger::start(*spec, engine, counts.challengers)?);
                Some("challenger")
            }
        })
    }

    /// A step of the challenger, after which it may take over or go.
    fn race(
        &mut self,
        mut challenger: Challenger,
        engine: &mut Engine,
        batch: &Batch,
    ) -> Result<Answer> {
        let what = match challenger.step(batch, self.rate, &self.losses)? {
            Standing::Learning => {
                self.challenger = Some(challenger);
                return Ok(Answer::Nothing);
            }
            Standing::Better => {
                engine.set_state(challenger.engine.state().tensors())?;
                engine.set_slot_age(challenger.engine.slot_age());
                self.state.counts.takeovers += 1;
                "challenger took over"
            }
            Standing::Late => "challenger dropped: not better in time",
            Standing::NotFinite => "challenger dropped: its loss is not finite",
        };
        let took_over = what == "challenger took over";
        self.state.counts.dropped += u64::from(!took_over);
        let wealth = challenger.state().wealth;
        let (learned, advantage) = (Some(wealth.events()), Some(wealth.advantage()));
        self.note(DriftNote { learned, advantage, ..DriftNote::new(what) });
        Ok(if took_over { Answer::TookOver } else { Answer::Nothing })
    }

    fn tell(&mut self, before: f64, after: f64, done: Vec<&'static str>) {
        let now = self.state.events;
        self.state.moved.retain(|(at, _)| now - at <= RECENT);
        let rose = after > before;
        let what = if rose { state::ROSE } else { "drift: errors fell" };
        match rose {
            true => self.state.counts.alarms += 1,
            false => self.state.counts.falls += 1,
        }
        let detector = self.state.detector.as_ref().map(|d| name_of(&d.spec()));
        let columns = self.state.moved.iter().map(|(_, m)| m.clone()).collect();
        let (before, after) = (Some(before), Some(after));
        self.note(DriftNote { detector, before, after, columns, done, ..DriftNote::new(what) });
    }

    fn note(&mut self, note: DriftNote) {
        self.state.remember(&note);
        if self.notes.len() >= MOST_NOTES {
            self.notes.remove(0);
        }
        self.notes.push(note);
    }

    /// What was noted since the last call.
    pub fn take_notes(&mut self) -> Vec<DriftNote> {
        std::mem::take(&mut self.notes)
    }

    /// What was counted so far.
    pub fn counts(&self) -> &DriftCounts {
        &self.state.counts
    }

    /// The state to roll back to is that of now.
    pub(super) fn kept_good(&mut self, engine: &Engine) {
        self.state.good_age = Some(engine.slot_age());
    }

    /// The state to roll back to was restored.
    pub(super) fn rolled_back(&self, engine: &mut Engine) {
        if let Some(age) = self.state.good_age {
            engine.set_slot_age(age);
        }
    }

    /// A row of the champion's tables was given to another id.
    pub(super) fn reset_row(&mut self, table: usize, row: usize) {
        if let Some(challenger) = &mut self.challenger {
            challenger.engine.reset_row(table, row);
        }
    }

    /// All of it, for a checkpoint; the challenger's tensors are appended by
    /// [`Drift::append_challenger`].
    pub(super) fn state(&self, engine: &Engine) -> DriftState {
        DriftState {
            slot_age: Some(engine.slot_age()),
            challenger: self.challenger.as_ref().map(Challenger::state),
            ..self.state.clone()
        }
    }

    /// Appends the challenger's tensors to a state that is to be written.
    pub(super) fn append_challenger(&self, state: &mut State) {
        if let Some(challenger) = &self.challenger {
            challenger::append(state, &challenger.engine);
        }
    }

    /// Takes over what a checkpoint holds. What the recipe no longer has is left out.
    pub(super) fn restore(
        &mut self,
        engine: &mut Engine,
        saved: DriftState,
        challenger: &[StateTensor],
    ) -> Result<()> {
        let fresh = std::mem::replace(&mut self.state, saved);
        let spec = |d: &Option<Detector>| d.as_ref().map(Detector::spec);
        if spec(&self.state.detector) != spec(&fresh.detector) {
            self.state.detector = fresh.detector;
        }
        if !self.spec.features {
            self.state.columns = None;
        }
        if let Some(age) = self.state.slot_age {
            engine.set_slot_age(age);
        }
        if let (Some(state), Some(spec), false) =
            (self.state.challenger.take(), self.spec.challenger(), challenger.is_empty())
        {
            self.challenger = Some(Challenger::resume(spec, engine, state, challenger)?);
        }
        Ok(())
    }
}
