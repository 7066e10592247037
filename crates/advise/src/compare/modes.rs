//! The modes of learning, driven over the same events.

use serde::Serialize;
use tidemill_engine::data::Batch;

use super::CHUNK;
use super::cost::{Clock, Cost};
use super::events::View;
use super::fit::{Fit, Untrained, fit};
use super::score::{Judge, Scores};
use tidemill_engine::engine::{Engine, EngineSpec, State};
use tidemill_engine::error::Result;
use tidemill_engine::prequential::PrequentialSpec;
use tidemill_online::{GuardSpec, Inputs, Learner, Sample, StreamModel};

/// How a model continues after the first events, from which all modes are trained in batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It only predicts.
    Frozen,
    /// It is trained again.
    Retrained {
        /// After so many events.
        every: usize,
        /// On the last so many; on all events so far if none.
        window: Option<usize>,
    },
    /// It learns from the events as they come.
    Online {
        /// Events of a step.
        step: usize,
        /// Events after which new weights predict; those between are learned from then.
        every: usize,
    },
}

/// What all modes have in common.
#[derive(Clone)]
pub(crate) struct Setting<'a> {
    pub(crate) spec: EngineSpec,
    pub(crate) view: View<'a>,
    /// Events that come before any is scored.
    pub(crate) first: usize,
    /// Of these, the ones whose labels had come.
    pub(crate) trained: usize,
    /// Labels come so many events late.
    pub(crate) delay: usize,
    pub(crate) judge: Judge,
    pub(crate) guard: GuardSpec,
    pub(crate) fit: Fit,
    /// The learning rate of single events, and that of steps of several.
    pub(crate) rates: [f64; 2],
    /// After training on the first events.
    pub(crate) start: (State, u64),
}

/// What came of a mode.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) scores: Scores,
    /// Without the first training, which all modes share.
    pub(crate) cost: Cost,
    /// Of the trainings from the start alone, each.
    pub(crate) training: Cost,
    pub(crate) updates: u64,
    pub(crate) refused: u64,
    /// Arena, weights twice (those that learn and those that predict), and the rows that are kept.
    pub(crate) memory_bytes: u64,
    /// Mean age, in events, of the newest event that the predicting weights have seen.
    pub(crate) age: f64,
}

/// Events predicted so far.
struct Run {
    scores: Scores,
    ages: f64,
    updates: u64,
    batch: Batch,
}

impl Run {
    /// Predicts the events from `at` to `end` with weights that know all before `learned`.
    fn predict(
        &mut self,
        s: &Setting<'_>,
        engine: &mut Engine,
        (at, end, learned): (usize, usize, usize),
    ) -> Result<()> {
        let n = engine.num_outputs();
        let mut from = at;
        while from < end {
            let to = (from + CHUNK).min(end);
            s.view.fill(from..to, &mut self.batch);
            let outputs = engine.predict(&self.batch)?;
            for (place, outputs) in (from..to).zip(outputs.chunks_exact(n)) {
                self.scores.add(s.judge, &s.view, place, outputs);
            }
            from = to;
        }
        self.count_ages(at, end, learned);
        Ok(())
    }

    fn count_ages(&mut self, at: usize, end: usize, learned: usize) {
        // The event at `place` is predicted by weights whose newest event is `learned - 1`.
        self.ages += (at..end).map(|place| (place + 1 - learned) as f64).sum::<f64>();
    }
}

impl Setting<'_> {
    /// An engine with the weights that the first events gave.
    pub(crate) fn engine(&self) -> Result<(Engine, Untrained)> {
        let mut engine = Engine::compile(self.spec.clone())?;
        let untrained = Untrained::of(&engine);
        engine.set_state(self.start.0.tensors())?;
        engine.set_step(self.start.1);
        Ok((engine, untrained))
    }

    /// The learning rate of steps of so many events.
    fn rate(&self, step: usize) -> f64 {
        self.rates[usize::from(step > 1)]
    }

    /// Runs a mode over all events after the first ones: each is predicted before it is learned from.
    pub(crate) fn run(&self, mode: Mode) -> Result<Outcome> {
        let (mut engine, untrained) = self.engine()?;
        let run = Run { scores: Scores::default(), ages: 0.0, updates: 0, batch: Batch::default() };
        // Steps are compiled before the clock runs.
        let block = match mode {
            Mode::Frozen => CHUNK,
            Mode::Retrained { every, .. } | Mode::Online { every, .. } => every.min(CHUNK),
        };
        let mut batch = Batch::default();
        self.view.fill(0..block.min(self.view.len()), &mut batch);
        engine.predict(&batch)?;
        if let Mode::Online { step, .. } = mode {
            engine.prepare_learning(step)?;
        }
        match mode {
            Mode::Frozen => self.retrained(engine, &untrained, run, usize::MAX, None),
            Mode::Retrained { every, window } => {
                self.retrained(engine, &untrained, run, every, window)
            }
            Mode::Online { step, every } => self.online(engine, run, step, every),
        }
    }

    fn retrained(
        &self,
        mut engine: Engine,
        untrained: &Untrained,
        mut run: Run,
        every: usize,
        window: Option<usize>,
    ) -> Result<Outcome> {
        let n = self.view.len();
        let (mut at, mut learned) = (self.first, self.trained);
        let clock = Clock::start();
        let mut training = Cost::default();
        let mut kept = 0;
        while at < n {
            let end = at.saturating_add(every).min(n);
            run.predict(self, &mut engine, (at, end, learned))?;
            at = end;
            if at < n {
                learned = learned.max(at - self.delay.min(at));
                let from = window.map_or(0, |w| learned.saturating_sub(w));
                let start = Clock::start();
                fit(&mut engine, untrained, &self.view, from..learned, self.fit)?;
                let cost = start.cost();
                training.wall_seconds += cost.wall_seconds;
                training.cpu_seconds += cost.cpu_seconds;
                run.updates += 1;
                kept = kept.max(learned - from);
            }
        }
        let each = |seconds: f64| seconds / run.updates.max(1) as f64;
        let training = Cost {
            wall_seconds: each(training.wall_seconds),
            cpu_seconds: each(training.cpu_seconds),
        };
        let rows = if every == usize::MAX { 1 } else { kept + self.delay };
        Ok(self.outcome(&engine, run, clock.cost(), training, rows, 0))
    }

    fn online(&self, engine: Engine, mut run: Run, step: usize, every: usize) -> Result<Outcome> {
        let n = self.view.len();
        let metrics = PrequentialSpec { curve_points: 2, ..PrequentialSpec::default() };
        let mut learner = Learner::with(engine, metrics, self.guard.clone())?;
        learner.set_learning_rate(self.rate(step));
        learner.keep_predictions();
        let (mut at, mut learned) = (self.first, self.trained);
        let clock = Clock::start();
        while at < n {
            let end = (at + every).min(n);
            if every == step && self.delay == 0 && learned == at {
                // Predicted and learned from in one pass, as in `tidemill learn`.
                run.count_ages(at, end, learned);
                self.learn(&mut learner, at..end)?;
                for place in at..end {
                    // As they are scaled: the units of targets far from zero do not fit into f32.
                    run.scores.add(self.judge, &self.view, place, learner.predicted(place - at));
                }
                (learned, run.updates) = (end, run.updates + 1);
            } else {
                run.predict(self, learner.engine_mut(), (at, end, learned))?;
                while learned + step <= end.saturating_sub(self.delay) {
                    self.learn(&mut learner, learned..learned + step)?;
                    (learned, run.updates) = (learned + step, run.updates + 1);
                }
            }
            at = end;
        }
        let cost = clock.cost();
        let rows = every.max(step) + self.delay;
        let refused = learner.guard().refused;
        let training = Cost::default();
        Ok(self.outcome(learner.engine(), run, cost, training, rows, refused))
    }

    fn learn(&self, learner: &mut Learner, places: std::ops::Range<usize>) -> Result<()> {
        let events = self.view.events;
        learner.start(places.len());
        for (row, place) in places.enumerate() {
            let i = self.view.at(place);
            let (weight, scale) = (events.rows.weights[i], events.scales[i]);
            let sample = Sample::new(Inputs::Fields(&events.rows, i), events.truth(i));
            learner.take(row, &Sample { weight, scale, ..sample })?;
        }
        learner.step()?;
        Ok(())
    }

    fn outcome(
        &self,
        engine: &Engine,
        run: Run,
        cost: Cost,
        training: Cost,
        rows: usize,
        refused: u64,
    ) -> Outcome {
        let (arena, state) = (engine.arena_bytes(), engine.state_and_scratch_bytes());
        let model = (arena + 2 * state) as u64;
        Outcome {
            age: run.ages / run.scores.each.len().max(1) as f64,
            scores: run.scores,
            cost,
            training,
            updates: run.updates,
            refused,
            memory_bytes: model + self.view.events.bytes(rows),
        }
    }

    /// Mean loss of the events at `places` when they are learned from in steps of `step` at `rate`:
    /// each with the weights from before. Infinite if it is not finite.
    pub(crate) fn online_loss(
        &self,
        places: std::ops::Range<usize>,
        step: usize,
        rate: f64,
    ) -> Result<f64> {
        let (mut engine, _) = self.engine()?;
        let mut batch = Batch::default();
        let (mut sum, mut n) = (0.0, 0);
        let mut at = places.start;
        while at + step <= places.end {
            self.view.fill(at..at + step, &mut batch);
            engine.train_if(&batch, rate as f32, &mut |outputs| {
                sum += outputs.losses.iter().take(step).map(|&l| f64::from(l)).sum::<f64>();
                true
            })?;
            (at, n) = (at + step, n + step);
        }
        let mean = sum / n.max(1) as f64;
        Ok(if n > 0 && mean.is_finite() { mean } else { f64::INFINITY })
    }
}

impl Mode {
    /// In words.
    pub fn words(self) -> String {
        let count = tidemill_engine::page::number::count;
        match self {
            Mode::Frozen => "batch, trained once".into(),
            Mode::Retrained { every, window: None } => {
                format!("batch, retrained every {} events", count(every as u64))
            }
            Mode::Retrained { every, window: Some(window) } => {
                let (every, window) = (count(every as u64), count(window as u64));
                format!("batch, every {every} on the last {window}")
            }
            Mode::Online { step: 1, every: 1 } => "online, each event".into(),
            Mode::Online { step: 1, every } => {
                format!("online, new weights every {} events", count(every as u64))
            }
            Mode::Online { step, .. } => format!("online, {} events a step", count(step as u64)),
        }
    }
}
