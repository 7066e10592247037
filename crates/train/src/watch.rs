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

/// Whether the last epoch reached the target.
pub(crate) fn reached(history: &[EpochFigures], target: &Target) -> bool {
    let value = history.last().and_then(|e| figure(e, &target.metric));
    value.is_some_and(|v| {
        if greater_is_better(&target.metric) { v >= target.value } else { v <= target.value }
    })
}

/// Whether patience has run out at the last epoch.
pub(crate) fn out_of_patience(history: &[EpochFigures], patience: &Patience) -> bool {
    let mut waiting = 0;
    let mut best: Option<f64> = None;
    for epoch in history {
        let Some(value) = figure(epoch, &patience.metric) else { continue };
        match best {
            Some(b) if !better(&patience.metric, value, b, patience.min_delta) => waiting += 1,
            _ => (best, waiting) = (Some(value), 0),
        }
    }
    waiting >= patience.epochs.max(1)
}

/// The factor that plateaus so far put on a learning rate that starts at `rate`.
pub(crate) fn plateau_factor(history: &[EpochFigures], plateau: &Plateau, rate: f64) -> f64 {
    let (mut factor, mut waiting) = (1.0, 0);
    let mut best: Option<f64> = None;
    for epoch in history {
        let Some(value) = figure(epoch, &plateau.metric) else { continue };
        match best {
            Some(b) if !better(&plateau.metric, value, b, plateau.min_delta) => {
                waiting += 1;
                if waiting >= plateau.epochs.max(1) {
                    waiting = 0;
                    factor = (factor * plateau.factor)
                        .max(plateau.min_learning_rate / rate.max(f64::MIN_POSITIVE));
                }
            }
            _ => (best, waiting) = (Some(value), 0),
        }
    }
    f64::min(factor, 1.0)
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

    fn history(values: &[f64]) -> Vec<EpochFigures> {
        let one = |(i, &v): (usize, &f64)| EpochFigures {
            epoch: i as u64 + 1,
            step: 10 * (i as u64 + 1),
            samples: 0,
            learning_rate: 0.1,
            wall_seconds: 0.0,
            train: Figures::from([("accuracy".to_string(), v)]),
            validation: Figures::from([("loss".to_string(), v)]),
        };
        values.iter().enumerate().map(one).collect()
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
        let at = |values: &[f64]| plateau_factor(&history(values), &plateau, 0.1);
        assert_eq!(at(&[0.5, 0.5]), 1.0);
        assert_eq!(at(&[0.5, 0.5, 0.5]), 0.5);
        assert_eq!(at(&[0.5, 0.5, 0.5, 0.4, 0.4, 0.4]), 0.3);
    }

    #[test]
    fn targets_know_their_direction() {
        let target = |metric: &str, value| Target { metric: metric.into(), value };
        assert!(reached(&history(&[0.5, 0.2]), &target("validation.loss", 0.2)));
        assert!(!reached(&history(&[0.2, 0.5]), &target("validation.loss", 0.2)));
        assert!(reached(&history(&[0.2, 0.5]), &target("train.accuracy", 0.5)));
    }
}
