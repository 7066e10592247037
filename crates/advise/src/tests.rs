//! The decision, case by case.

use super::*;
use crate::compare::{Baselines, Cost, Tuned};
use crate::measure::{AtDelay, AtInterval, Retraining};

fn estimate(mean: f64, within: f64) -> Estimate {
    Estimate { mean, within }
}

/// What was measured where learning on line is `online` better than trained once, and retraining
/// `retrained`.
fn evidence(online: f64, retrained: f64, drift: f64) -> Evidence {
    let within = 0.003;
    let frozen = 0.7;
    let at = |events: usize, part: f64| AtInterval {
        events,
        quality: frozen + part * online,
        gain: estimate(part * online, within),
    };
    let late = |events: usize, part: f64| AtDelay {
        events,
        quality: frozen + part * online,
        gain: estimate(part * online, within),
    };
    let step = |events: usize, part: f64, speed: f64| AtStep {
        events,
        quality: frozen + part * online,
        gain: estimate(part * online, within),
        over_retrained: estimate(part * online - retrained, within),
        events_per_second: speed,
        cpu_microseconds: 1e6 / speed,
    };
    Evidence {
        recipe: "recipe.toml".into(),
        source: "events.csv".into(),
        first: 10_000,
        scored: 20_000,
        cut: false,
        quality: "accuracy",
        more_is_better: true,
        tuned: Tuned { batch_rate: 0.1, batch_epochs: 5, online_rate: 0.1, step_rate: 0.1 },
        frozen,
        retrained: Retraining {
            every: 2000,
            window: None,
            quality: frozen + retrained,
            gain: estimate(retrained, within),
            training: Cost { wall_seconds: 0.5, cpu_seconds: 0.9 },
            cpu_microseconds: 300.0,
        },
        intervals: vec![at(1, 1.0), at(10, 0.99), at(100, 0.97), at(1000, 0.5)],
        delays: vec![late(0, 1.0), late(10, 0.98), late(100, 0.9), late(1000, 0.2)],
        steps: vec![step(1, 1.0, 1e5), step(8, 0.95, 3e5), step(32, 0.9, 6e5)],
        shuffled_gain: estimate(0.001, within),
        drift: estimate(drift, 0.01),
        baselines: Baselines { no_change: 0.6, majority: 0.5 },
        label_delay: 0,
        rate: None,
        online_bytes: 30_000,
        retrained_bytes: 2_000_000,
    }
}

#[test]
fn drift_asks_for_learning_on_line() {
    let advice = decide(&evidence(0.18, 0.01, 0.3));
    assert_eq!(advice.choice, Choice::Online);
    // At 100 events 97 % of the gain are left, at 1000 half of it.
    assert_eq!((advice.interval, advice.step), (Some(100), Some(1)));
    assert_eq!(advice.headline, "online, new weights every 100 events");
    assert!((advice.gain.mean - (0.97 * 0.18 - 0.01)).abs() < 1e-9);
    let says = advice.would_change.join("\n");
    assert!(
        says.contains("1,000 events late") && says.contains("70,000 events a second"),
        "{says}"
    );
}

#[test]
fn a_steady_stream_asks_for_batches() {
    let mut e = evidence(0.006, 0.009, 0.0);
    let advice = decide(&e);
    assert_eq!((advice.choice, advice.interval), (Choice::Retrain, Some(2000)));
    assert!(advice.sentence.contains("trained once (70.00 %)"), "{}", advice.sentence);
    assert!(advice.why[0].contains("order does not matter"), "{:?}", advice.why);
    // Where more data gives nothing either, one training is enough.
    e.retrained.gain = estimate(0.001, 0.003);
    assert_eq!(decide(&e).choice, Choice::TrainOnce);
}

/// More data or more steps would do the same for batches.
#[test]
fn a_gain_that_time_has_no_part_in_is_none_for_learning_on_line() {
    assert_eq!(decide(&evidence(0.02, 0.01, 0.015)).choice, Choice::Retrain);
    assert_eq!(decide(&evidence(0.02, 0.01, 0.06)).choice, Choice::Online);
}

#[test]
fn a_sure_gain_that_is_too_small_to_matter_changes_nothing() {
    let mut e = evidence(0.004, 0.0, 0.01);
    e.steps[0].over_retrained = estimate(0.004, 0.001);
    assert_eq!(decide(&e).choice, Choice::TrainOnce);
}

#[test]
fn a_rate_above_capacity_asks_for_steps_and_then_for_batches() {
    let at = |rate| decide(&Evidence { rate: Some(rate), ..evidence(0.18, 0.01, 0.3) });
    assert_eq!(at(1e4).step, Some(1));
    // 100,000 a second are the machine's limit: no room for a burst.
    assert_eq!((at(9e4).step, at(9e4).interval), (Some(8), Some(8)));
    assert_eq!(at(4e5).step, Some(32));
    let beyond = at(1e6);
    assert_eq!(beyond.choice, Choice::Retrain);
    // A training takes half a second, in which half a million events come.
    assert!(beyond.interval > Some(500_000), "{:?}", beyond.interval);
}

#[test]
fn labels_that_come_too_late_leave_nothing_to_gain() {
    let mut e = evidence(0.18, 0.05, 0.3);
    e.label_delay = 1000;
    for step in &mut e.steps {
        step.over_retrained = estimate(0.036 - 0.05, 0.003);
    }
    assert_eq!(decide(&e).choice, Choice::Retrain);
}

#[test]
fn an_answer_worse_than_the_last_label_says_so_first() {
    let mut e = evidence(0.006, 0.009, 0.0);
    assert!(!decide(&e).sentence.contains("Repeating"));
    e.baselines.no_change = 0.9;
    let sentence = decide(&e).sentence;
    assert!(sentence.starts_with("Repeating the last label is better"), "{sentence}");
    assert!(sentence.contains("accuracy 90.00 %"), "{sentence}");
}

#[test]
fn too_little_data_is_told() {
    let few = Evidence { scored: 300, ..evidence(0.18, 0.01, 0.3) };
    assert_eq!(decide(&few).choice, Choice::Undecided);
    let mut noisy = evidence(0.02, 0.0, 0.1);
    noisy.steps[0].over_retrained = estimate(0.02, 0.05);
    let advice = decide(&noisy);
    assert_eq!(advice.choice, Choice::Undecided);
    assert!(advice.would_change[0].contains("scored events"), "{:?}", advice.would_change);
}

#[test]
fn an_error_is_better_when_it_is_smaller() {
    let mut e = evidence(0.18, 0.01, 0.3);
    (e.more_is_better, e.quality) = (false, "mean absolute error");
    let advice = decide(&e);
    assert_eq!(advice.choice, Choice::Online);
    assert!(!advice.sentence.contains('%'), "{}", advice.sentence);
}
