//! Batch and online learning side by side: the same events, each predicted before it may be learned
//! from, by a model that is trained once, one that is retrained, and ones that learn as events come.
//!
//! # Layout
//!
//! - [`events`]: the stream in memory, in order or shuffled
//! - [`fit`]: training in batches on a part of it
//! - [`modes`]: how each mode goes through the rest
//! - [`score`]: what the predictions were worth, with what certainty
//! - [`cost`]: what they took
//! - [`study`]: rates and first weights, found on the first events alone
//!
//! All modes start from one model, trained in batches on the first events, which are not scored. What
//! is shuffled are the same events in random order: there order does not matter, so what a mode gains in
//! order and not when shuffled, it gains from following a change.

pub mod cost;
pub mod events;
pub mod fit;
pub mod modes;
pub mod score;
pub mod study;

use std::path::PathBuf;

use serde::Serialize;

pub use cost::Cost;
pub use events::Events;
pub use fit::Fit;
pub use modes::Mode;
pub use score::{Baselines, Estimate};
pub use study::{Study, Tuned};

use events::View;
use modes::{Outcome, Setting};
use score::Scores;
use tidemill_engine::error::{Error, Result};
use tidemill_recipe::RecipeFile;

/// Events that are predicted at a time where the weights do not change between them.
const CHUNK: usize = 256;

/// What is compared, and on what.
#[derive(Clone, Debug)]
pub struct Options {
    /// The stream: an address as `tidemill learn` takes it, a folder of images, or `data:` for the
    /// recipe's training data in its stored order.
    pub from: String,
    /// The folder of the page and the figures.
    pub out: PathBuf,
    /// Events read at most.
    pub events: usize,
    /// Bytes of rows at most.
    pub bytes: u64,
    /// Events that only train; a third of all by default.
    pub first: Option<usize>,
    /// Events between trainings of the retrained model; about an eighth of those scored by default.
    pub every: Option<usize>,
    /// Labels come so many events late.
    pub delay: usize,
    /// Threads of a step; all cores by default.
    pub threads: Option<usize>,
    /// Whether learning rates are chosen on the first events; else the recipe's are taken.
    pub tune: bool,
}

impl Options {
    /// Where the events come from, in words.
    pub(crate) fn source(&self) -> String {
        match self.from.as_str() {
            "data:" => "the recipe's data".into(),
            from => from.rsplit('/').next().unwrap_or(from).into(),
        }
    }
}

/// One mode in one order.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Accuracy, or mean absolute error.
    pub quality: f64,
    /// Gain over chance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kappa: Option<f64>,
    /// Gain over the guess that repeats the last label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kappa_t: Option<f64>,
    /// How much better than the model trained once.
    pub gain: Estimate,
    /// Without the first training.
    pub cost: Cost,
    /// Predicted and learned from in a second.
    pub events_per_second: f64,
    /// Planned: arena, weights twice, rows that are kept.
    pub memory_bytes: u64,
    /// Mean age, in events, of the newest event that the predicting weights have seen.
    pub mean_age: f64,
    /// Steps, or trainings.
    pub updates: u64,
    /// Updates that the guard refused.
    pub refused: u64,
    /// Of each twentieth of the scored events: the quality.
    pub course: Vec<f64>,
}

/// One mode in both orders.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The mode.
    pub mode: Mode,
    /// In words.
    pub name: String,
    /// As the events came.
    pub ordered: Measured,
    /// In random order.
    pub shuffled: Measured,
}

/// What a comparison found.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The recipe's file.
    pub recipe: String,
    /// Where the events came from.
    pub source: String,
    /// Events read.
    pub events: usize,
    /// Whether there are more than were read.
    pub cut: bool,
    /// Records that could not be read.
    pub bad: u64,
    /// Events without labels.
    pub unlabelled: u64,
    /// The first ones, which train all modes.
    pub first: usize,
    /// The others, which are scored.
    pub scored: usize,
    /// What quality is: `accuracy` or `mean absolute error`.
    pub quality: &'static str,
    /// Whether more of it is better.
    pub more_is_better: bool,
    /// Labels come so many events late.
    pub label_delay: usize,
    /// What was chosen on the first events.
    pub tuned: Tuned,
    /// The modes.
    pub rows: Vec<Row>,
    /// Guesses without a model, in order.
    pub baselines: Baselines,
    /// The same in random order.
    pub shuffled_baselines: Baselines,
    /// Share of its skill that a model trained once misses because of time.
    pub drift: Estimate,
}

/// Compares the modes on a recipe's model and a stream.
///
/// # Errors
/// If the recipe does not fit the stream, or there are too few events.
pub fn compare(
    file: &RecipeFile,
    options: &Options,
    watch: &mut dyn FnMut(&str),
) -> Result<Comparison> {
    let events = Study::read(file, options, watch)?;
    let study = Study::new(file, &events, options)?;
    let modes = study.modes();
    let mut found: Vec<Vec<(Mode, Outcome)>> = Vec::new();
    let mut settings = Vec::new();
    for view in [View::ordered(&events), study.shuffled()] {
        let order = if view.is_ordered() { "in order" } else { "shuffled" };
        watch(&format!("{order}: training on the first {} events", study.first));
        let setting = study.setting(view)?;
        let mut outcomes = Vec::new();
        for mode in modes {
            watch(&format!("{order}: {}", mode.words()));
            outcomes.push((mode, setting.run(mode)?));
        }
        found.push(outcomes);
        settings.push(setting);
    }
    let [ordered, shuffled] = &settings[..] else {
        return Err(Error::Run("an order was lost; please report it".into()));
    };
    let baselines = [ordered, shuffled].map(|s| Baselines::of(s.judge, &s.view, s.first, s.delay));
    let judge = study.judge;
    // Drift is a matter of the data, however late the labels come.
    let last = modes.len() - 1;
    let fresh = match options.delay {
        0 => found[0][last].1.clone(),
        _ => Setting { delay: 0, ..ordered.clone() }.run(modes[last])?,
    };
    let rows = found[0].iter().zip(&found[1]);
    let frozen = [&found[0][0].1.scores, &found[1][0].1.scores];
    let rows = rows.map(|((mode, a), (_, b))| Row {
        mode: *mode,
        name: mode.words(),
        ordered: measured(ordered, a, frozen[0], baselines[0]),
        shuffled: measured(shuffled, b, frozen[1], baselines[1]),
    });
    let comparison = Comparison {
        recipe: file.path.display().to_string(),
        source: options.source(),
        events: events.len(),
        cut: events.cut,
        bad: events.bad,
        unlabelled: events.unlabelled,
        first: study.first,
        scored: events.len() - study.first,
        quality: judge.quality(),
        more_is_better: judge.more_is_better(),
        label_delay: options.delay,
        tuned: ordered.tuned(),
        rows: rows.collect(),
        baselines: baselines[0],
        shuffled_baselines: baselines[1],
        drift: drift_index(
            judge,
            frozen,
            [&fresh.scores, &found[1][last].1.scores],
            baselines[0].majority,
        ),
    };
    crate::page::write_comparison(&options.out, &comparison)?;
    Ok(comparison)
}

fn measured(s: &Setting<'_>, o: &Outcome, frozen: &Scores, baselines: Baselines) -> Measured {
    let (quality, scored) = (o.scores.mean(), o.scores.each.len());
    let no_change = baselines.no_change;
    let classes = s.judge.more_is_better() && no_change < 1.0;
    Measured {
        quality,
        kappa: o.scores.kappa(),
        kappa_t: classes.then(|| (quality - no_change) / (1.0 - no_change)),
        gain: o.scores.gain_over(frozen, s.judge),
        cost: o.cost,
        events_per_second: scored as f64 / o.cost.free_seconds(),
        memory_bytes: o.memory_bytes,
        mean_age: o.age,
        updates: o.updates,
        refused: o.refused,
        course: o.scores.course(),
    }
}

/// The share of the skill of a model that keeps learning which one that is trained once misses because
/// events come in the order of time: `(gain in order - gain shuffled) / (online - floor)`, where a gain
/// is that of learning event by event over trained once, and the floor is the majority guess. 0: time
/// does not matter, whatever more data gives. 1: what was learned from the past is worth no more than a guess.
/// `frozen` and `online` are the scores in order and shuffled; differences of twenty blocks give the
/// interval.
pub(crate) fn drift_index(
    judge: score::Judge,
    frozen: [&Scores; 2],
    online: [&Scores; 2],
    floor: f64,
) -> Estimate {
    let skill = judge.gain(online[0].mean(), floor);
    if skill <= 0.0 {
        // What is no skill cannot be lost.
        return Estimate { mean: 0.0, within: 1.0 };
    }
    let gains = [0, 1].map(|order| {
        let pairs = online[order].each.iter().zip(&frozen[order].each);
        pairs.map(|(&a, &b)| judge.gain(f64::from(a), f64::from(b))).collect::<Vec<_>>()
    });
    let index = Estimate::of(gains[0].iter().zip(&gains[1]).map(|(a, b)| (a - b) / skill));
    Estimate { mean: index.mean.clamp(0.0, 1.0), ..index }
}
