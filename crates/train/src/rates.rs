//! The learning-rate range test (Smith 2017): a run whose rate grows from step to step, and how the loss answers.

use tidemill_engine::data::Shards;
use tidemill_engine::error::Result;
use tidemill_engine::page::chart::{Chart, Line, Over};
use tidemill_engine::page::number::Scale;
use tidemill_engine::training::{Callback, Flow, Step, Training};
use tidemill_recipe::{DataPaths, RecipeFile};

use crate::batch::Event;
use crate::open::{Start, open};
use crate::reading::loader;
use crate::run::{RunOptions, empty_meter};

/// The rates that are tried.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// The first one.
    pub from: f64,
    /// The last one.
    pub to: f64,
    /// Steps, each with a rate that is by the same factor larger than the one before.
    pub steps: u64,
}

/// One step of the test.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Tried {
    /// Its learning rate.
    pub learning_rate: f64,
    /// The loss of its batch.
    pub loss: f64,
    /// The losses so far, averaged exponentially.
    pub smooth: f64,
}

/// What the test found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Rates {
    /// The steps, up to where the loss was several times the least one.
    pub tried: Vec<Tried>,
    /// The rate at which the smoothed loss fell the fastest; none where it did not fall by more than the batches differ.
    pub steepest: Option<f64>,
    /// The rate at which it was the least.
    pub least: Option<f64>,
    /// Whether the loss had risen to several times the least one, or was not a number, at the end.
    pub diverged: bool,
}

/// Share of the old average that each step keeps.
const KEPT: f64 = 0.9;
/// The test ends where the smoothed loss is so many times the least one.
const DIVERGED: f64 = 4.0;
/// The first steps, whose average is of few losses.
const FIRST: usize = 10;

struct Test {
    sweep: Sweep,
    average: f64,
    rates: Rates,
}

impl Callback for Test {
    fn before_step(&mut self, training: &mut Training<'_>) -> Result<Flow> {
        let Sweep { from, to, steps } = self.sweep;
        let made = self.rates.tried.len() as u64;
        if made >= steps || self.rates.diverged {
            return Ok(Flow::Stop);
        }
        training.learning_rate = from * (to / from).powf(made as f64 / (steps - 1).max(1) as f64);
        Ok(Flow::Continue)
    }

    fn after_step(&mut self, _: &mut Training<'_>, step: &Step) -> Result<Flow> {
        let loss = f64::from(step.loss);
        let rates = &mut self.rates;
        if !loss.is_finite() {
            rates.diverged = true;
            return Ok(Flow::Stop);
        }
        self.average = KEPT * self.average + (1.0 - KEPT) * loss;
        let smooth = self.average / (1.0 - KEPT.powi(rates.tried.len() as i32 + 1));
        rates.tried.push(Tried { learning_rate: step.learning_rate, loss, smooth });
        let least = rates.tried.iter().map(|t| t.smooth).fold(f64::INFINITY, f64::min);
        rates.diverged = rates.tried.len() > FIRST && smooth > DIVERGED * least;
        Ok(Flow::Continue)
    }
}

/// Trains the recipe's model for some steps at rates that grow, and throws it away.
///
/// # Errors
/// Those of a run of the recipe.
pub fn find_rate(
    mut file: RecipeFile,
    options: &RunOptions,
    sweep: Sweep,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Rates> {
    file.only_network()?;
    let paths = DataPaths::new(&file.path);
    let Start { data, mut engine, reading, .. } = open(&mut file, &paths, None, options, watch)?;
    let shards = Shards::all(engine.shards());
    let loader = loader(&file, &data, 0, &reading, shards)?;
    let meter = empty_meter(&file, &engine, &data);
    let rates = Rates { tried: Vec::new(), steepest: None, least: None, diverged: false };
    let mut test = Test { sweep, average: 0.0, rates };
    Training::new(&mut engine, loader, vec![meter]).run(&mut [&mut test])?;
    let mut rates = test.rates;
    rates.conclude();
    Ok(rates)
}

impl Rates {
    fn conclude(&mut self) {
        let judged = self.tried.get(FIRST..).unwrap_or_default();
        let least = judged.iter().min_by(|a, b| a.smooth.total_cmp(&b.smooth));
        self.least = least.map(|t| t.learning_rate);
        // Over two steps, against the noise; only before the least loss.
        let before = judged.iter().position(|t| Some(t.learning_rate) == self.least).unwrap_or(0);
        let falls = judged[..judged.len().min(before + 1)].windows(3);
        let steepest = falls
            .map(|w| (w[1].learning_rate, w[2].smooth - w[0].smooth))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        let fall = match (judged.first(), least) {
            (Some(first), Some(least)) => first.smooth - least.smooth,
            _ => 0.0,
        };
        // How much batches differ before any rate matters.
        let start = &self.tried[..self.tried.len().min(FIRST)];
        let n = start.len().max(1) as f64;
        let mean = start.iter().map(|t| t.loss).sum::<f64>() / n;
        let spread = (start.iter().map(|t| (t.loss - mean).powi(2)).sum::<f64>() / n).sqrt();
        self.steepest = steepest.filter(|s| s.1 < 0.0 && fall > spread).map(|s| s.0);
    }

    /// The loss by the rate as an SVG picture.
    pub fn picture(&self) -> String {
        let Some(first) = self.tried.first() else { return String::new() };
        let at = |t: &Tried| (t.learning_rate / first.learning_rate).log10();
        let decades = self.tried.last().map_or(0.0, at).floor() as i32;
        let names = (0..=decades).map(|d| format!("{:.0e}", first.learning_rate * 10f64.powi(d)));
        // Losses after the model is lost would leave no room for the others.
        let most = 1.5 * self.tried.iter().take(FIRST).map(|t| t.smooth).fold(0.0, f64::max);
        let shown = || self.tried.iter().filter(|t| t.smooth <= most.max(f64::MIN_POSITIVE));
        let lines = [
            Line::new("train", "a batch", shown().map(|t| (at(t), t.loss.min(most))).collect()),
            Line::new("valid", "average", shown().map(|t| (at(t), t.smooth)).collect()),
        ];
        let title = "Loss by learning rate".to_owned();
        let over = Over::Named { what: "learning rate", names: names.collect() };
        Chart { title, scale: Scale::Plain, over, lines: &lines }.picture()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A loss that falls around 1e-3 and rises after 1e-1.
    #[test]
    fn the_steepest_fall_is_found() {
        let loss = |rate: f64| {
            let fall = 1.0 / (1.0 + (-4.0 * (rate.log10() + 3.0)).exp());
            2.3 - 2.0 * fall + (10.0 * rate).powi(4)
        };
        let sweep: Vec<f64> = (0..100).map(|i| 1e-6 * 1e6f64.powf(f64::from(i) / 99.0)).collect();
        let tried = sweep.iter().map(|&learning_rate| {
            let loss = loss(learning_rate);
            Tried { learning_rate, loss, smooth: loss }
        });
        let mut rates =
            Rates { tried: tried.collect(), steepest: None, least: None, diverged: false };
        rates.conclude();
        let (steepest, least) = (rates.steepest.unwrap(), rates.least.unwrap());
        assert!((5e-4..2e-3).contains(&steepest), "{steepest}");
        assert!(least > 5.0 * steepest && least < 0.1, "{least}");
        let picture = rates.picture();
        assert!(picture.contains("Loss by learning rate") && picture.contains("1e-3"), "{picture}");
    }

    #[test]
    fn a_loss_that_only_rises_has_no_steepest_fall() {
        let tried = (0..40).map(|i| {
            let loss = 1.0 + f64::from(i);
            Tried { learning_rate: f64::from(i + 1), loss, smooth: loss }
        });
        let mut rates =
            Rates { tried: tried.collect(), steepest: None, least: None, diverged: false };
        rates.conclude();
        assert_eq!((rates.steepest, rates.least), (None, Some(11.0)));
    }
}
