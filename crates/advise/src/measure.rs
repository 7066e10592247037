//! What the advice rests on.

use serde::Serialize;

use crate::compare::events::View;
use crate::compare::modes::{Outcome, Setting};
use crate::compare::score::Scores;
use crate::compare::{Baselines, Cost, Estimate, Mode, Options, Study, Tuned, drift_index};
use tidemill_engine::error::{Error, Result};
use tidemill_recipe::RecipeFile;

/// Update intervals, and delays, that are measured where there are events enough.
const INTERVALS: [usize; 5] = [1, 10, 100, 1000, 10_000];
/// Events of a step.
const STEPS: [usize; 3] = [8, 32, 128];

/// Learning event by event, where new weights predict only after so many events.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AtInterval {
    /// Events between new weights.
    pub events: usize,
    /// Accuracy, or mean absolute error.
    pub quality: f64,
    /// How much better than the model trained once.
    pub gain: Estimate,
}

/// Learning event by event with labels that come late.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AtDelay {
    /// So many events late.
    pub events: usize,
    /// Accuracy, or mean absolute error.
    pub quality: f64,
    /// How much better than the model trained once.
    pub gain: Estimate,
}

/// Learning in steps of so many events.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AtStep {
    /// Events of a step.
    pub events: usize,
    /// Accuracy, or mean absolute error.
    pub quality: f64,
    /// How much better than the model trained once.
    pub gain: Estimate,
    /// How much better than the best retrained model.
    pub over_retrained: Estimate,
    /// Predicted, scored and learned from in a second on this machine.
    pub events_per_second: f64,
    /// Microseconds of CPU for an event.
    pub cpu_microseconds: f64,
}

/// Training again from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Retraining {
    /// Events between trainings.
    pub every: usize,
    /// On so many of the newest events; on all if none.
    pub window: Option<usize>,
    /// Accuracy, or mean absolute error.
    pub quality: f64,
    /// How much better than the model trained once.
    pub gain: Estimate,
    /// Of one training.
    pub training: Cost,
    /// Microseconds of CPU for an event, trainings included.
    pub cpu_microseconds: f64,
}

/// Everything that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// The recipe's file.
    pub recipe: String,
    /// Where the events came from.
    pub source: String,
    /// Events that train all modes.
    pub first: usize,
    /// Events that are scored.
    pub scored: usize,
    /// Whether the source has more events than were read.
    pub cut: bool,
    /// What quality is.
    pub quality: &'static str,
    /// Whether more of it is better.
    pub more_is_better: bool,
    /// What was chosen on the first events.
    pub tuned: Tuned,
    /// Of the model trained once.
    pub frozen: f64,
    /// The better one of two retrained models: on all events so far, or on the newest.
    pub retrained: Retraining,
    /// By update interval.
    pub intervals: Vec<AtInterval>,
    /// By label delay.
    pub delays: Vec<AtDelay>,
    /// By events of a step; single events first.
    pub steps: Vec<AtStep>,
    /// Event by event against trained once, in random order: what more data alone gives.
    pub shuffled_gain: Estimate,
    /// Share of its skill that a model trained once misses because of time.
    pub drift: Estimate,
    /// Guesses without a model.
    pub baselines: Baselines,
    /// Labels come so many events late.
    pub label_delay: usize,
    /// Events a second that are to be expected.
    pub rate: Option<f64>,
    /// Planned memory of learning event by event.
    pub online_bytes: u64,
    /// Planned memory of the retrained model, which keeps its events.
    pub retrained_bytes: u64,
}

pub(super) fn measure(
    file: &RecipeFile,
    study: &Study<'_>,
    options: &Options,
    rate: Option<f64>,
    watch: &mut dyn FnMut(&str),
) -> Result<Evidence> {
    watch("training on the first events");
    let ordered = study.setting(study.ordered())?;
    let mut run = |setting: &Setting<'_>, mode: Mode| {
        let order = if setting.view.is_ordered() { "" } else { ", shuffled" };
        watch(&format!("{}{order}", mode.words()));
        setting.run(mode)
    };
    let frozen = run(&ordered, Mode::Frozen)?;
    let (best, best_mode) = best_retrained(study, &ordered, &mut run)?;
    let gain = |scores: &Scores| scores.gain_over(&frozen.scores, ordered.judge);
    let scored = study.scored();

    let mut intervals = Vec::new();
    let mut steps = Vec::new();
    let mut online_bytes = 0;
    // Learned from at once: drift is a matter of the data, however late the labels come.
    let mut fresh = Scores::default();
    for every in INTERVALS.into_iter().filter(|&n| n == 1 || n <= scored / 4) {
        let found = run(&ordered, Mode::Online { step: 1, every })?;
        let (quality, gain) = (found.scores.mean(), gain(&found.scores));
        intervals.push(AtInterval { events: every, quality, gain });
        if every == 1 {
            online_bytes = found.memory_bytes;
            steps.push(at_step(&ordered, 1, &found, &frozen, &best));
            fresh = found.scores;
        }
    }
    for step in STEPS.into_iter().filter(|&n| n <= scored / 20) {
        let found = run(&ordered, Mode::Online { step, every: step })?;
        steps.push(at_step(&ordered, step, &found, &frozen, &best));
    }
    let mut delays = Vec::new();
    let own = options.delay;
    let wanted = [0].into_iter().chain(INTERVALS.into_iter().filter(|&n| n > 1)).chain([own]);
    let mut wanted: Vec<usize> = wanted.filter(|&n| n <= scored / 4 || n == own).collect();
    wanted.sort_unstable();
    wanted.dedup();
    for delay in wanted {
        // Measured above.
        if let Some(each) = intervals.first().filter(|_| delay == own) {
            delays.push(AtDelay { events: own, quality: each.quality, gain: each.gain });
            continue;
        }
        let late = Setting { delay, ..ordered.clone() };
        let found = run(&late, Mode::Online { step: 1, every: 1 })?;
        let quality = found.scores.mean();
        delays.push(AtDelay { events: delay, quality, gain: gain(&found.scores) });
        if delay == 0 {
            fresh = found.scores;
        }
    }
    let shuffled = study.setting(study.shuffled())?;
    let frozen_shuffled = run(&shuffled, Mode::Frozen)?;
    let online_shuffled = run(&shuffled, Mode::Online { step: 1, every: 1 })?;
    let baselines = Baselines::of(ordered.judge, &ordered.view, ordered.first, ordered.delay);
    let Mode::Retrained { every, window } = best_mode else {
        return Err(Error::Run("the retrained model was lost; please report it".into()));
    };
    Ok(Evidence {
        recipe: file.path.display().to_string(),
        source: options.source(),
        first: study.first,
        scored,
        cut: ordered.view.events.cut,
        quality: ordered.judge.quality(),
        more_is_better: ordered.judge.more_is_better(),
        tuned: ordered.tuned(),
        frozen: frozen.scores.mean(),
        retrained: Retraining {
            every,
            window,
            quality: best.scores.mean(),
            gain: gain(&best.scores),
            training: best.training,
            cpu_microseconds: 1e6 * best.cost.cpu_seconds / scored as f64,
        },
        intervals,
        delays,
        steps,
        shuffled_gain: online_shuffled.scores.gain_over(&frozen_shuffled.scores, ordered.judge),
        drift: drift_index(
            ordered.judge,
            [&frozen.scores, &frozen_shuffled.scores],
            [&fresh, &online_shuffled.scores],
            baselines.majority,
        ),
        baselines,
        label_delay: options.delay,
        rate,
        online_bytes,
        retrained_bytes: best.memory_bytes,
    })
}

/// The better one of the retrained models.
fn best_retrained(
    study: &Study<'_>,
    setting: &Setting<'_>,
    run: &mut impl FnMut(&Setting<'_>, Mode) -> Result<Outcome>,
) -> Result<(Outcome, Mode)> {
    let mut best: Option<(Outcome, Mode)> = None;
    for mode in study.modes().into_iter().filter(|m| matches!(m, Mode::Retrained { .. })) {
        let found = run(setting, mode)?;
        let better = best.as_ref().is_none_or(|(other, _)| {
            setting.judge.gain(found.scores.mean(), other.scores.mean()) > 0.0
        });
        if better {
            best = Some((found, mode));
        }
    }
    best.ok_or_else(|| Error::Run("no retrained model was measured; please report it".into()))
}

fn at_step(
    setting: &Setting<'_>,
    events: usize,
    found: &Outcome,
    frozen: &Outcome,
    best: &Outcome,
) -> AtStep {
    let scored = found.scores.each.len() as f64;
    AtStep {
        events,
        quality: found.scores.mean(),
        gain: found.scores.gain_over(&frozen.scores, setting.judge),
        over_retrained: found.scores.gain_over(&best.scores, setting.judge),
        events_per_second: scored / found.cost.free_seconds(),
        cpu_microseconds: 1e6 * found.cost.cpu_seconds / scored,
    }
}

impl<'a> Study<'a> {
    fn ordered(&self) -> View<'a> {
        View::ordered(self.events())
    }
}
