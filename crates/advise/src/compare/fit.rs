//! Batch training inside a comparison: epochs over a window of the past.

use std::ops::Range;

use tidemill_engine::data::{Batch, Order};

use super::events::View;
use tidemill_engine::engine::{Engine, State};
use tidemill_engine::error::{Error, Result};

/// The most epochs of a training.
const MOST_EPOCHS: u64 = 20;
/// Epochs without a gain that end the search for their number.
const PATIENCE: u64 = 2;
/// Factors on the recipe's learning rate that are tried: a rate that suits single events starves
/// batches, and the other way round.
const FACTORS: [f64; 3] = [1.0, 10.0, 0.1];

/// How a model is trained in batches.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Fit {
    /// Factor on the recipe's learning rate.
    pub factor: f64,
    /// Passes over the window.
    pub epochs: u64,
}

/// What a model is before it has learned anything.
pub(crate) struct Untrained {
    state: State,
}

impl Untrained {
    pub(crate) fn of(engine: &Engine) -> Untrained {
        Untrained { state: engine.state() }
    }

    fn put(&self, engine: &mut Engine) -> Result<()> {
        engine.set_state(self.state.tensors())?;
        engine.set_step(0);
        Ok(())
    }
}

/// Trains from the start on the events at `window`.
pub(crate) fn fit(
    engine: &mut Engine,
    untrained: &Untrained,
    view: &View<'_>,
    window: Range<usize>,
    how: Fit,
) -> Result<()> {
    untrained.put(engine)?;
    let mut batch = Batch::default();
    for epoch in 0..how.epochs {
        if !pass(engine, view, &window, how, epoch, &mut batch)? {
            return Err(Error::Run(format!(
                "batch training on {} events diverges at the recipe's learning rate: lower it, or set \
                 clip_norm in the optimizer",
                window.len()
            )));
        }
    }
    Ok(())
}

/// One pass in an order of its own; false if the loss is not finite any more.
fn pass(
    engine: &mut Engine,
    view: &View<'_>,
    window: &Range<usize>,
    how: Fit,
    epoch: u64,
    batch: &mut Batch,
) -> Result<bool> {
    let (size, n) = (engine.spec().batch_size, window.len());
    let steps = n.div_ceil(size) as u64;
    let schedule = engine.spec().optimizer.schedule().clone().over(steps * how.epochs);
    let order = Order::Shuffled { seed: engine.spec().seed }.epoch(epoch, n);
    for first in (0..n).step_by(size) {
        let places = first..(first + size).min(n);
        view.fill(places.map(|i| window.start + order.index(i)), batch);
        let rate = schedule.at(engine.step()) * how.factor;
        if !engine.train(batch, rate as f32)?.loss.is_finite() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Mean loss over the events at `window`; infinite if it is not finite.
pub(crate) fn mean_loss(engine: &mut Engine, view: &View<'_>, window: Range<usize>) -> Result<f64> {
    let mut batch = Batch::default();
    let (mut sum, mut n) = (0.0, 0);
    let mut first = window.start;
    while first < window.end {
        let end = (first + super::CHUNK).min(window.end);
        view.fill(first..end, &mut batch);
        let losses = engine.evaluate(&batch)?.losses;
        sum += losses.iter().take(end - first).map(|&l| f64::from(l)).sum::<f64>();
        (n, first) = (n + end - first, end);
    }
    let mean = sum / n.max(1) as f64;
    Ok(if mean.is_finite() { mean } else { f64::INFINITY })
}

/// Finds rate and epochs on the first events alone: trains on nine tenths of them and keeps what does
/// best on the last tenth; without `tune` the epochs only. Every training of the comparison then takes these, on all of its window, so
/// that the newest events are learned from too.
pub(crate) fn choose(
    engine: &mut Engine,
    untrained: &Untrained,
    view: &View<'_>,
    first: usize,
    tune: bool,
) -> Result<Fit> {
    let learned = first - first / 10;
    let mut best = (f64::INFINITY, Fit { factor: 1.0, epochs: 1 });
    let mut batch = Batch::default();
    for factor in if tune { &FACTORS[..] } else { &FACTORS[..1] } {
        untrained.put(engine)?;
        let mut since = 0;
        for epoch in 0..MOST_EPOCHS {
            let how = Fit { factor: *factor, epochs: MOST_EPOCHS };
            if !pass(engine, view, &(0..learned), how, epoch, &mut batch)? {
                break;
            }
            let loss = mean_loss(engine, view, learned..first)?;
            if loss < best.0 {
                best = (loss, Fit { factor: *factor, epochs: epoch + 1 });
                since = 0;
            } else {
                since += 1;
            }
            if since > PATIENCE {
                break;
            }
        }
    }
    match best.0.is_finite() {
        true => Ok(best.1),
        false => Err(Error::Run(
            "batch training on the first events diverges at each learning rate that was tried: lower \
             training.optimizer's learning_rate"
                .into(),
        )),
    }
}
