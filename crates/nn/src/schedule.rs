//! Learning-rate schedules: the rate that step 0, 1, 2, ... uses.

use crate::error::{ModelError, require};
use crate::form::name_or_table;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// The learning rate over the steps of a run: a number, or a schedule such as `{ cosine = { start =
/// 1e-3, warmup_steps = 100 } }`.
///
/// After the last step of a schedule the rate keeps its last value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
pub enum ScheduleSpec {
    /// A constant rate.
    Constant {
        /// The rate.
        #[serde(alias = "learning_rate")]
        start: f64,
    },
    /// Multiplied by `gamma` every `step_size` steps.
    Step {
        /// Initial rate.
        #[serde(alias = "learning_rate")]
        start: f64,
        /// Number of steps with one rate.
        step_size: u64,
        /// Factor; 0.1 by default.
        #[serde(default = "tenth")]
        gamma: f64,
    },
    /// Multiplied by `gamma` at each milestone.
    MultiStep {
        /// Initial rate.
        #[serde(alias = "learning_rate")]
        start: f64,
        /// Steps at which the rate is multiplied, in order.
        milestones: Vec<u64>,
        /// Factor; 0.1 by default.
        #[serde(default = "tenth")]
        gamma: f64,
    },
    /// `start * decay_rate ^ (step / decay_steps)`
    Exponential {
        /// Initial rate.
        #[serde(alias = "learning_rate")]
        start: f64,
        /// Factor over `decay_steps`.
        #[serde(alias = "gamma")]
        decay_rate: f64,
        /// Steps over which the rate falls by `decay_rate`; 1 by default.
        #[serde(default = "one_step")]
        decay_steps: u64,
        /// Whether the exponent is rounded down; no by default.
        #[serde(default)]
        staircase: bool,
    },
    /// Half a cosine wave from `start` to `end`, after a linear warm-up (Loshchilov and Hutter
    /// 2017).
    Cosine {
        /// Rate at the end of the warm-up.
        #[serde(alias = "learning_rate")]
        start: f64,
        /// Final rate; 0 by default.
        #[serde(default, alias = "min_learning_rate")]
        end: f64,
        /// Number of warm-up steps; 0 by default.
        #[serde(default, alias = "warm_up_steps")]
        warmup_steps: u64,
        /// Rate at the start of the warm-up; 0 by default.
        #[serde(default, alias = "warm_up_from")]
        warmup_from: f64,
        /// Number of steps, warm-up included; the whole run by default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total_steps: Option<u64>,
    },
    /// Several half cosine waves one after the other.
    CosineRestarts {
        /// Rate at the end of the warm-up.
        #[serde(alias = "learning_rate")]
        start: f64,
        /// Rate at the end of each wave; 0 by default.
        #[serde(default, alias = "min_learning_rate")]
        end: f64,
        /// Number of warm-up steps; 0 by default.
        #[serde(default, alias = "warm_up_steps")]
        warmup_steps: u64,
        /// Rate at the start of the warm-up; 0 by default.
        #[serde(default, alias = "warm_up_from")]
        warmup_from: f64,
        /// Number of steps of the first wave.
        first_period: u64,
        /// Factor by which each wave is longer than the one before; 1 by default.
        #[serde(default = "one")]
        period_factor: f64,
        /// Factor by which each wave starts higher than the one before; 1 by default.
        #[serde(default = "one")]
        restart_factor: f64,
    },
    /// A straight line from `start * start_factor` to `start * end_factor`.
    Linear {
        /// The rate that the factors are applied to.
        #[serde(alias = "learning_rate")]
        start: f64,
        /// Initial factor; 1 by default.
        #[serde(default = "one")]
        start_factor: f64,
        /// Final factor; 0 by default.
        #[serde(default)]
        end_factor: f64,
        /// Number of steps; the whole run by default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total_steps: Option<u64>,
    },
    /// `(start - end) * (1 - step / total_steps) ^ power + end`
    Polynomial {
        /// Initial rate.
        #[serde(alias = "learning_rate")]
        start: f64,
        /// Final rate; 1e-4 by default, as in Keras.
        #[serde(default = "keras_end", alias = "end_learning_rate")]
        end: f64,
        /// Exponent; 1 by default.
        #[serde(default = "one")]
        power: f64,
        /// Number of steps; the whole run by default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total_steps: Option<u64>,
    },
    /// One cycle, up to a maximum and down to nearly zero (Smith and Topin 2018), in PyTorch's
    /// form.
    OneCycle {
        /// Maximum rate.
        #[serde(alias = "max_learning_rate")]
        max: f64,
        /// Number of steps; the whole run by default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total_steps: Option<u64>,
        /// Share of the steps in which the rate rises; 0.3 by default.
        #[serde(default = "pct_start")]
        pct_start: f64,
        /// The initial rate is `max / div_factor`; 25 by default.
        #[serde(default = "div_factor")]
        div_factor: f64,
        /// The final rate is the initial rate divided by this; 1e4 by default.
        #[serde(default = "final_div_factor")]
        final_div_factor: f64,
        /// Shape of the curve; `cos` by default.
        #[serde(default)]
        anneal: Anneal,
        /// Whether the fall below the initial rate is a phase of its own; no by default.
        #[serde(default)]
        three_phase: bool,
    },
    /// `start * min(t / warmup_steps, sqrt(warmup_steps / t))` with `t` from 1 (Vaswani et al.
    /// 2017).
    InverseSqrt {
        /// Maximum rate, reached at the end of the warm-up.
        #[serde(alias = "learning_rate")]
        start: f64,
        /// Number of warm-up steps; 1 by default.
        #[serde(default = "one_step", alias = "warm_up_steps")]
        warmup_steps: u64,
    },
}

name_or_table!(
    ScheduleSpec,
    "a learning rate, or a table such as { cosine = { start = 1e-3 } }",
    number => |start| ScheduleSpec::Constant { start }
);

/// Shape of the one-cycle curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anneal {
    /// Half a cosine wave.
    #[default]
    #[serde(alias = "cosine")]
    Cos,
    /// A straight line.
    Linear,
}

impl From<f64> for ScheduleSpec {
    fn from(start: f64) -> ScheduleSpec {
        ScheduleSpec::Constant { start }
    }
}

impl ScheduleSpec {
    /// The schedule with `total_steps` set, where it was left out, to those of the run.
    pub fn over(mut self, run_steps: u64) -> ScheduleSpec {
        use ScheduleSpec::*;
        if let Cosine { total_steps, .. }
        | Linear { total_steps, .. }
        | Polynomial { total_steps, .. }
        | OneCycle { total_steps, .. } = &mut self
        {
            total_steps.get_or_insert(run_steps);
        }
        self
    }

    /// The highest rate of the first 2,000 steps, which a warm-up may raise.
    pub fn highest(&self) -> f64 {
        (0..2000).map(|step| self.at(step)).fold(0.0, f64::max)
    }

    /// The rate that step `step`, counted from 0, uses. A schedule whose `total_steps` is not
    /// known ([`ScheduleSpec::over`]) stays where it starts.
    pub fn at(&self, step: u64) -> f64 {
        use ScheduleSpec::*;
        let known = |total: &Option<u64>| total.unwrap_or(u64::MAX).max(1);
        match self {
            Constant { start } => *start,
            Step { start, step_size, gamma } => {
                start * gamma.powf((step / (*step_size).max(1)) as f64)
            }
            MultiStep { start, milestones, gamma } => {
                start * gamma.powi(milestones.iter().filter(|&&m| m <= step).count() as i32)
            }
            Exponential { start, decay_rate, decay_steps, staircase } => {
                let exponent = step as f64 / (*decay_steps).max(1) as f64;
                start * decay_rate.powf(if *staircase { exponent.floor() } else { exponent })
            }
            Cosine { start, end, warmup_steps, warmup_from, total_steps } => {
                if step < *warmup_steps {
                    return line(*warmup_from, *start, share(step, *warmup_steps));
                }
                let length = known(total_steps).saturating_sub(*warmup_steps);
                cosine(*start, *end, share(step - warmup_steps, length))
            }
            CosineRestarts {
                start,
                end,
                warmup_steps,
                warmup_from,
                first_period,
                period_factor,
                restart_factor,
            } => {
                if step < *warmup_steps {
                    return line(*warmup_from, *start, share(step, *warmup_steps));
                }
                let since = (step - warmup_steps) as f64;
                let (wave, done) = wave(since, (*first_period).max(1) as f64, *period_factor);
                cosine(end + (start - end) * restart_factor.powf(wave), *end, done)
            }
            Linear { start, start_factor, end_factor, total_steps } => {
                start * line(*start_factor, *end_factor, share(step, known(total_steps)))
            }
            Polynomial { start, end, power, total_steps } => {
                (start - end) * (1.0 - share(step, known(total_steps))).powf(*power) + end
            }
            OneCycle {
                max, pct_start, div_factor, final_div_factor, anneal, three_phase, ..
            } => {
                let OneCycle { total_steps, .. } = self else { return *max };
                let first = max / div_factor;
                let last = first / final_div_factor;
                let total = known(total_steps) as f64;
                let top = pct_start * total - 1.0;
                let mut corners = vec![(0.0, first), (top, *max)];
                if *three_phase {
                    corners.push((2.0 * pct_start * total - 2.0, first));
                }
                corners.push((total - 1.0, last));
                along(&corners, *anneal, step as f64)
            }
            InverseSqrt { start, warmup_steps } => {
                let (t, top) = ((step + 1) as f64, (*warmup_steps).max(1) as f64);
                start * (t / top).min((top / t).sqrt())
            }
        }
    }

    /// Whether its numbers make sense; `path` is its key in the recipe.
    pub fn validate(&self, path: &str) -> Result<(), ModelError> {
        use ScheduleSpec::*;
        let (Constant { start }
        | Step { start, .. }
        | MultiStep { start, .. }
        | Exponential { start, .. }
        | Cosine { start, .. }
        | CosineRestarts { start, .. }
        | Linear { start, .. }
        | Polynomial { start, .. }
        | OneCycle { max: start, .. }
        | InverseSqrt { start, .. }) = self;
        let sound = start.is_finite() && *start >= 0.0;
        require(sound, || path.to_owned(), "a learning rate of at least 0", start)?;
        match self {
            Step { step_size: 0, .. } => Err(ModelError::new(
                format!("{path}.step.step_size"),
                "must be at least 1, found 0",
            )),
            MultiStep { milestones, .. } => require(
                milestones.is_sorted(),
                || format!("{path}.multi_step.milestones"),
                "in rising order",
                format!("{milestones:?}"),
            ),
            CosineRestarts { first_period, period_factor, .. } => {
                let at = |key: &str| format!("{path}.cosine_restarts.{key}");
                require(*first_period > 0, || at("first_period"), "at least 1", first_period)?;
                require(*period_factor >= 1.0, || at("period_factor"), "at least 1", period_factor)
            }
            OneCycle { pct_start, .. } => require(
                (0.0..=1.0).contains(pct_start),
                || format!("{path}.one_cycle.pct_start"),
                "from 0 to 1",
                pct_start,
            ),
            Cosine { warmup_steps, total_steps: Some(total), .. } => require(
                warmup_steps <= total,
                || format!("{path}.cosine.warmup_steps"),
                &format!("at most total_steps ({total})"),
                warmup_steps,
            ),
            _ => Ok(()),
        }
    }
}

/// How much of `length` steps is done, at most 1.
fn share(step: u64, length: u64) -> f64 {
    if step >= length { 1.0 } else { step as f64 / length as f64 }
}

fn line(from: f64, to: f64, done: f64) -> f64 {
    from + (to - from) * done
}

fn cosine(from: f64, to: f64, done: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * done).cos()) / 2.0
}

/// Number of the wave and how much of it is done, where wave `i` has `first * factor^i` steps.
fn wave(since: f64, first: f64, factor: f64) -> (f64, f64) {
    if factor == 1.0 {
        let waves = since / first;
        return (waves.floor(), waves.fract());
    }
    // The waves before wave i take first * (factor^i - 1) / (factor - 1) steps.
    let begin = |i: f64| first * (factor.powf(i) - 1.0) / (factor - 1.0);
    let mut i = (1.0 + since * (factor - 1.0) / first).log(factor).floor();
    // The logarithm may be off by a rounding at a wave's first step.
    if begin(i + 1.0) <= since {
        i += 1.0;
    }
    (i, (since - begin(i)) / (first * factor.powf(i)))
}

/// A curve through corners (step, rate), constant after the last.
fn along(corners: &[(f64, f64)], anneal: Anneal, step: f64) -> f64 {
    let mut rate = corners[0].1;
    for pair in corners.windows(2) {
        let ((from, before), (to, after)) = (pair[0], pair[1]);
        rate = after;
        if step <= to {
            let done = ((step - from) / (to - from).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
            return match anneal {
                Anneal::Cos => cosine(before, after, done),
                Anneal::Linear => line(before, after, done),
            };
        }
    }
    rate
}

fn tenth() -> f64 {
    0.1
}

fn one() -> f64 {
    1.0
}

fn one_step() -> u64 {
    1
}

fn keras_end() -> f64 {
    1e-4
}

fn pct_start() -> f64 {
    0.3
}

fn div_factor() -> f64 {
    25.0
}

fn final_div_factor() -> f64 {
    1e4
}
