//! What a run concludes from its epochs: the best one, when to give up, when to learn slower.
//!
//! All of it is worked out from the history, so that a resumed run concludes the same with nothing
//! more to save.

use tidemill_engine::checkpoint::{Best, EpochFigures};
use tidemill_engine::metrics::{Figures, Metric};
use tidemill_recipe::{Patience, Plateau, Target};

/// Looks up `validation.loss` or `train.accuracy`.
fn figure(epoch: &EpochFigures, name: &str) -> Option<f64> {
    match name.split_once('.') {
        Some(("validation", metric)) => epoch.validation.get(metric).copied(),
        Some(("train", metric)) => epoch.train.get(metric).copied(),
        _ => None,
    }
}

fn greater_is_better(name: &str) -> bool {
    Metric::greater_is_better(name.rsplit('.').next().unwrap_or(name))
}

/// Whether `value` is better than `best` by more than `delta`.
fn better(name: &str, value: f64, best: f64, delta: f64) -> bool {
    if greater_is_better(name) { value > best + delta } else { value < best - delta }
}

/// The best epoch by a metric; the first of equals.
pub(crate) fn best(history: &[EpochFigures], metric: &str) -> Option<Best> {
    let mut best: Option<Best> = None;
    for epoch in history {
        let Some(value) = figure(epoch, metric) else { continue };
        if best.as_ref().is_none_or(|b| better(metric, value, b.value, 0.0)) {
            let (step, epoch) = (epoch.step, epoch.epoch);
            best = Some(Best { metric: metric.to_string(), value, step, epoch });
        }
    }
    best
}

/// The steps of the best epochs by a metric, so many at most; of equals the first ones.
pub(crate) fn best_steps(history: &[EpochFigures], metric: &str, most: usize) -> Vec<u64> {
    let mut all: Vec<(f64, u64)> =
        history.iter().filter_map(|e| Some((figure(e, metric)?, e.step))).collect();
    // Stable: the first of equals stays the first.
    match greater_is_better(metric) {
        true => all.sort_by(|a, b| b.0.total_cmp(&a.0)),
        false => all.sort_by(|a, b| a.0.total_cmp(&b.0)),
    }
    all.into_iter().take(most).map(|(_, step)| step).collect()
}

/// Whether the last epoch reached the target.
pub(crate) fn reached(history: &[EpochFigures], target: &Target) -> bool {
    let value = history.last().and_then(|e| figure(e, &target.metric));
    value.is_some_and(|v| {
        if greater_is_better(&target.metric) { v >= target.value } else { v <= target.value }
    })
}

/// Whether patience has run out at the last epoch. Epochs without a measurement count as well: a best
/// epoch that lies back as many epochs as patience has is too long ago.
pub(crate) fn out_of_patience(history: &[EpochFigures], patience: &Patience) -> bool {
    let mut best: Option<(f64, u64)> = None;
    let mut waited = 0;
    for epoch in history {
        let Some(value) = figure(epoch, &patience.metric) else { continue };
        match best {
            Some((b, at)) if !better(&patience.metric, value, b, patience.min_delta) => {
                waited = epoch.epoch.saturating_sub(at);
            }
            _ => (best, waited) = (Some((value, epoch.epoch)), 0),
        }
    }
    waited >= patience.epochs.max(1)
}

/// The rate that a factor of [`plateau_factor`] makes of one that a schedule gives.
pub(crate) fn lowered(scheduled: f64, factor: f64, plateau: &Plateau) -> f64 {
    let rate = scheduled * factor;
    // A bound on the rate itself: a schedule that warms up from 0 is below it by its own will.
    if rate < plateau.min_learning_rate { plateau.min_learning_rate.min(scheduled) } else { rate }
}

/// The factor that plateaus so far put on the learning rate.
pub(crate) fn plateau_factor(history: &[EpochFigures], plateau: &Plateau) -> f64 {
    let mut factor = 1.0;
    // The best value, and the epoch from which the wait for a better one counts.
    let mut best: Option<(f64, u64)> = None;
    for epoch in history {
        let Some(value) = figure(epoch, &plateau.metric) else { continue };
        match &mut best {
            Some((b, since)) if !better(&plateau.metric, value, *b, plateau.min_delta) => {
                if epoch.epoch.saturating_sub(*since) >= plateau.epochs.max(1) {
                    *since = epoch.epoch;
                    factor *= plateau.factor;
                }
            }
            _ => best = Some((value, epoch.epoch)),
        }
    }
    factor
}

/// `loss 0.1234, accuracy 97.31 %`
pub fn in_words(figures: &Figures) -> String {
    let one = |(name, &value): (&String, &f64)| format!("{name} {}", Metric::text(name, value));
    // The loss first, then the rest by name.
    let loss = figures.get_key_value("loss").into_iter();
    let rest = figures.iter().filter(|(name, _)| *name != "loss");
    loss.chain(rest).map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::place::Position;

    fn history(values: &[f64]) -> Vec<EpochFigures> {
        let one = |(i, &v): (usize, &f64)| EpochFigures {
            epoch: i as u64 + 1,
            step: 10 * (i as u64 + 1),
            online_steps: 0,
            samples: 0,
            learning_rate: 0.1,
            wall_seconds: 0.0,
            train: Figures::from([("accuracy".to_string(), v)]),
            validation: Figures::from([("loss".to_string(), v)]),
        };
        values.iter().enumerate().map(one).collect()
    }

    #[test]
    fn a_stream_begins_a_new_search_for_the_best_epoch() {
        let (step, samples, data, wall_seconds) = (0, 0, 0, 0.0);
        let at = |history: &[EpochFigures], online_steps| {
            let history = history.to_vec();
            Position { step, online_steps, samples, data, history, wall_seconds }
        };
        let mut h = history(&[0.5, 0.3, 0.9, 0.8]);
        assert_eq!(at(&h, 0).epochs(), &h[..]);
        for epoch in &mut h[2..] {
            epoch.online_steps = 7;
        }
        let after = at(&h, 7);
        assert_eq!(best(after.epochs(), "validation.loss").unwrap().epoch, 4);
        let metric = "validation.loss".into();
        let patience = Patience { metric, epochs: 2, min_delta: 0.0, restore_best: false };
        assert!(out_of_patience(&h, &patience) && !out_of_patience(after.epochs(), &patience));
        // Another stream, and no epoch since.
        assert_eq!(best(at(&h, 9).epochs(), "validation.loss"), None);
    }

    #[test]
    fn losses_fall_and_accuracies_rise() {
        let h = history(&[0.5, 0.3, 0.3, 0.4]);
        let low = best(&h, "validation.loss").unwrap();
        assert_eq!((low.epoch, low.step, low.value), (2, 20, 0.3));
        assert_eq!(best(&h, "train.accuracy").unwrap().epoch, 1);
        assert_eq!(best(&h, "validation.accuracy"), None);
    }

    #[test]
    fn patience_counts_epochs_without_gain() {
        let patience = |epochs, min_delta| Patience {
            metric: "validation.loss".into(),
            epochs,
            min_delta,
            restore_best: false,
        };
        assert!(!out_of_patience(&history(&[0.5, 0.4, 0.45]), &patience(2, 0.0)));
        assert!(out_of_patience(&history(&[0.5, 0.4, 0.45, 0.41]), &patience(2, 0.0)));
        assert!(out_of_patience(&history(&[0.5, 0.49, 0.48]), &patience(2, 0.1)));
    }

    #[test]
    fn plateaus_lower_the_rate() {
        let plateau = Plateau {
            metric: "validation.loss".into(),
            factor: 0.5,
            epochs: 2,
            min_delta: 0.0,
            min_learning_rate: 0.03,
        };
        let at =
            |values: &[f64]| lowered(0.1, plateau_factor(&history(values), &plateau), &plateau);
        assert_eq!(at(&[0.5, 0.5]), 0.1);
        assert_eq!(at(&[0.5, 0.5, 0.5]), 0.05);
        assert_eq!(at(&[0.5, 0.5, 0.5, 0.4, 0.4, 0.4]), 0.03);
        // While a schedule warms up the rate may be below the bound, and lowered all the same later.
        let factor = plateau_factor(&history(&[0.5; 7]), &plateau);
        let after = |scheduled| lowered(scheduled, factor, &plateau);
        assert_eq!((after(0.0), after(0.02), after(1.0)), (0.0, 0.02, 0.125));
    }

    #[test]
    fn epochs_that_are_not_measured_count() {
        let every_fourth = |values: &[f64]| {
            let mut h = history(values);
            for epoch in &mut h {
                epoch.epoch *= 4;
            }
            h
        };
        let patience = Patience {
            metric: "validation.loss".into(),
            epochs: 4,
            min_delta: 0.0,
            restore_best: false,
        };
        assert!(!out_of_patience(&every_fourth(&[0.5, 0.4]), &patience));
        assert!(out_of_patience(&every_fourth(&[0.5, 0.4, 0.4]), &patience));
        let patience = Patience { epochs: 5, ..patience };
        assert!(!out_of_patience(&every_fourth(&[0.5, 0.4, 0.4]), &patience));
        assert!(out_of_patience(&every_fourth(&[0.5, 0.4, 0.4, 0.4]), &patience));
        let plateau = Plateau {
            metric: "validation.loss".into(),
            factor: 0.5,
            epochs: 8,
            min_delta: 0.0,
            min_learning_rate: 0.0,
        };
        let at = |values: &[f64]| plateau_factor(&every_fourth(values), &plateau);
        assert_eq!(
            (at(&[0.5; 2]), at(&[0.5; 3]), at(&[0.5; 4]), at(&[0.5; 5])),
            (1.0, 0.5, 0.5, 0.25)
        );
    }

    #[test]
    fn targets_know_their_direction() {
        let target = |metric: &str, value| Target { metric: metric.into(), value };
        assert!(reached(&history(&[0.5, 0.2]), &target("validation.loss", 0.2)));
        assert!(!reached(&history(&[0.2, 0.5]), &target("validation.loss", 0.2)));
        assert!(reached(&history(&[0.2, 0.5]), &target("train.accuracy", 0.5)));
    }
}
