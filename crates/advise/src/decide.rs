//! From measurements to an answer.

use serde::Serialize;

use super::measure::{AtStep, Evidence};
use super::words;
use crate::compare::Estimate;

/// Points of accuracy that are worth another way of training.
const WORTH_POINTS: f64 = 0.005;
/// The same for an error: its share.
const WORTH_SHARE: f64 = 0.02;
/// The drift index from which on being fresh is what is gained. Below it, what learning on line gains it
/// gains from more data or more steps, and batch training can have those too.
const DRIFTS: f64 = 0.05;
/// Scored events below which nothing is said.
const LEAST_SCORED: usize = 500;
/// Share of the measured speed that a stream may take: it comes unevenly.
const HEADROOM: f64 = 0.7;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Learn from the events as they come.
    Online,
    /// Train again from time to time.
    Retrain,
    /// Train once.
    TrainOnce,
    /// There is too little data to say.
    Undecided,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// What to do.
    pub choice: Choice,
    /// Events between new weights, where there are new weights.
    pub interval: Option<usize>,
    /// Events of a step, on line.
    pub step: Option<usize>,
    /// The quality to be expected.
    pub quality: f64,
    /// How much better that is than the next best way: of learning on line than the best batch
    /// model, of retraining than training once.
    pub gain: Estimate,
    /// The answer in a few words.
    pub headline: String,
    /// The answer in a sentence.
    pub sentence: String,
    /// What speaks for it.
    pub why: Vec<String>,
    /// What would make it another one.
    pub would_change: Vec<String>,
}

impl Evidence {
    /// What a way of training must gain to be worth naming.
    pub(super) fn worth(&self) -> f64 {
        if self.more_is_better { WORTH_POINTS } else { WORTH_SHARE * self.frozen }
    }

    /// The smallest step that keeps up with the rate.
    pub(super) fn step(&self) -> Option<&AtStep> {
        let fits = |s: &&AtStep| self.rate.is_none_or(|r| r <= HEADROOM * s.events_per_second);
        self.steps.iter().find(fits)
    }

    /// Whether it is surely better by something that matters.
    pub(super) fn matters(&self, gain: Estimate) -> bool {
        gain.is_gain() && gain.mean >= self.worth()
    }

    /// Whether time has a say.
    pub(super) fn drifts(&self) -> bool {
        self.drift.is_gain() && self.drift.mean >= DRIFTS
    }

    /// Events between trainings: as measured, or more where a training takes too long for the rate.
    pub(super) fn affordable_interval(&self) -> usize {
        let took = self.retrained.training.free_seconds() * self.rate.unwrap_or(0.0);
        self.retrained.every.max((took / HEADROOM).ceil() as usize)
    }

    fn too_little(&self) -> bool {
        let Some(single) = self.steps.first() else { return true };
        // The way could be either, by much.
        let open = |e: Estimate| !(e.is_gain() || e.is_loss()) && e.within > 6.0 * self.worth();
        self.scored < LEAST_SCORED || open(single.over_retrained)
    }

    /// The longest interval that costs next to nothing: a twentieth of what is wrong at best, or half of
    /// the points that matter.
    fn interval(&self) -> usize {
        let Some(each) = self.intervals.first() else { return 1 };
        let allowed = match self.more_is_better {
            true => (0.05 * (1.0 - each.quality)).max(self.worth() / 2.0),
            false => 0.05 * each.quality,
        };
        let enough = self.intervals.iter().filter(|i| i.gain.mean >= each.gain.mean - allowed);
        // Not a longer one behind a worse one.
        enough.zip(&self.intervals).take_while(|(a, b)| a == b).last().map_or(1, |(i, _)| i.events)
    }
}

/// The answer to what was measured.
pub fn decide(e: &Evidence) -> Advice {
    let mut advice = match e.step() {
        _ if e.too_little() => undecided(e),
        Some(step) if e.drifts() && e.matters(step.over_retrained) && e.matters(step.gain) => {
            online(e, *step)
        }
        _ if e.matters(e.retrained.gain) => retrain(e),
        _ => train_once(e),
    };
    words::fill(e, &mut advice);
    advice
}

fn advice(choice: Choice, quality: f64, gain: Estimate) -> Advice {
    Advice {
        choice,
        interval: None,
        step: None,
        quality,
        gain,
        headline: String::new(),
        sentence: String::new(),
        why: Vec::new(),
        would_change: Vec::new(),
    }
}

fn online(e: &Evidence, step: AtStep) -> Advice {
    let interval = if step.events > 1 { step.events } else { e.interval() };
    let at = e.intervals.iter().find(|i| i.events == interval && step.events == 1);
    let quality = at.map_or(step.quality, |i| i.quality);
    // What a longer interval costs is taken off the gain.
    let lost = at.map_or(0.0, |i| step.gain.mean - i.gain.mean);
    let over = step.over_retrained;
    let gain = Estimate { mean: over.mean - lost, ..over };
    Advice {
        interval: Some(interval),
        step: Some(step.events),
        ..advice(Choice::Online, quality, gain)
    }
}

fn retrain(e: &Evidence) -> Advice {
    let interval = Some(e.affordable_interval());
    Advice { interval, ..advice(Choice::Retrain, e.retrained.quality, e.retrained.gain) }
}

fn train_once(e: &Evidence) -> Advice {
    advice(Choice::TrainOnce, e.frozen, Estimate::default())
}

fn undecided(e: &Evidence) -> Advice {
    let gain = e.steps.first().map(|s| s.over_retrained).unwrap_or_default();
    advice(Choice::Undecided, e.frozen, gain)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
