#![allow(clippy::unwrap_used)]

use tidemill_recipe::stream::Feature;

use super::*;
use crate::GuardSpec;
use crate::guard::Verdict;
use tidemill_engine::prequential::{PrequentialSpec, Truth};

/// Events of six features out of 500, with a weight and a label that depends on them.
fn events() -> Vec<(Vec<Feature>, f32, f32)> {
    let mut state = 1_u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    let mut event = |_| {
        let mut feature = |_| {
            let hash = random() % 500;
            Feature { hash, value: (random() % 64) as f32 / 16.0 }
        };
        let mut features: Vec<Feature> = (0..6).map(&mut feature).collect();
        let part = |f: &Feature| if f.hash.is_multiple_of(3) { f.value } else { -f.value / 2.0 };
        let y = if features.iter().map(part).sum::<f32>() > 0.5 { 1.0 } else { -1.0 };
        // As the decoder of VW text does, and VW itself.
        features.retain(|f| f.value != 0.0);
        (features, y, (1 + random() % 3) as f32)
    };
    (0..2000).map(&mut event).collect()
}

fn mean_loss(model: &mut HashedLinear) -> f64 {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (features, y, weight) in events() {
        sum += f64::from(model.learn(&features, y, weight).loss * weight);
        weights += f64::from(weight);
    }
    sum / weights
}

fn weight(model: &HashedLinear, hash: u32) -> f32 {
    let weights = &model.tensors()[0];
    weights.elements().unwrap()[hash as usize & ((1 << model.spec().bits) - 1)]
}

/// Progressive loss and two weights (of a feature and the constant) of Vowpal Wabbit 9.11.9 on the
/// same events as text, with `--loss_function logistic -b 18` and the options said. (Its hinge and
/// squared losses are others by design: it cuts predictions at the labels seen.)
#[test]
fn normalized_rules_are_those_of_vowpal_wabbit() {
    for (rule, learning_rate, expect) in [
        // no option
        (UpdateRule::NormalizedAdaptive, 0.5, [0.552_167_835_1, 0.385_163_873_4, -0.195_142_552_3]),
        // -l 4
        (UpdateRule::NormalizedAdaptive, 4.0, [0.636_913_564_8, 1.048_256_278_0, -0.231_842_041_0]),
        // --power_t 0
        (UpdateRule::Normalized, 0.5, [0.588_455_575_9, 0.242_413_312_2, -1.023_801_088_3]),
        // --power_t 0 -l 0.1
        (UpdateRule::Normalized, 0.1, [0.648_213_306_8, 0.057_653_211_1, -0.573_891_580_1]),
    ] {
        let spec = LinearSpec { rule, learning_rate, ..LinearSpec::default() };
        let mut model = HashedLinear::new(&spec, LinearLoss::Logistic);
        let found = mean_loss(&mut model);
        let found = [found, f64::from(weight(&model, 3)), f64::from(weight(&model, 11_650_396))];
        for (found, expect) in found.iter().zip(expect) {
            assert!(
                (found - expect).abs() < 1e-4,
                "{rule:?} {learning_rate}: {found}, not {expect}"
            );
        }
    }
}

#[test]
fn every_rule_learns() {
    for (rule, learning_rate) in [
        (UpdateRule::Sgd, 0.05),
        (UpdateRule::Adaptive, 0.3),
        (UpdateRule::NormalizedAdaptive, 0.5),
        (UpdateRule::Ftrl, 0.3),
    ] {
        let spec = LinearSpec { rule, learning_rate, ..LinearSpec::default() };
        let found = mean_loss(&mut HashedLinear::new(&spec, LinearLoss::Logistic));
        assert!(found < 0.62, "{rule:?}: {found}; knowing nothing costs 0.693");
    }
}

#[test]
fn a_restored_model_goes_on_with_the_same_bits() {
    let events = events();
    for rule in [
        UpdateRule::Sgd,
        UpdateRule::Adaptive,
        UpdateRule::NormalizedAdaptive,
        UpdateRule::Normalized,
        UpdateRule::Ftrl,
    ] {
        let spec = LinearSpec { bits: 9, rule, l1: 1e-4, l2: 1e-4, ..LinearSpec::default() };
        let mut whole = HashedLinear::new(&spec, LinearLoss::Logistic);
        events.iter().for_each(|(x, y, w)| {
            whole.learn(x, *y, *w);
        });
        let mut first = HashedLinear::new(&spec, LinearLoss::Logistic);
        events[..777].iter().for_each(|(x, y, w)| {
            first.learn(x, *y, *w);
        });
        let mut second = HashedLinear::new(&spec, LinearLoss::Logistic);
        assert_eq!(second.restore(&first.tensors(), first.sums()), Ok(()));
        events[777..].iter().for_each(|(x, y, w)| {
            second.learn(x, *y, *w);
        });
        assert_eq!((second.tensors(), second.sums()), (whole.tensors(), whole.sums()));
        let other = LinearSpec { bits: 10, ..spec };
        let what =
            HashedLinear::new(&other, LinearLoss::Logistic).restore(&first.tensors(), first.sums());
        assert!(what.is_err_and(|what| what.contains("has 512 rows, and the recipe's model 1024")));
    }
}

#[test]
fn l1_keeps_weights_at_zero() {
    let count = |l1: f64| {
        let spec = LinearSpec { rule: UpdateRule::Ftrl, l1, ..LinearSpec::default() };
        let mut model = HashedLinear::new(&spec, LinearLoss::Logistic);
        mean_loss(&mut model);
        let weights = &model.tensors()[0];
        weights.elements::<f32>().unwrap().iter().filter(|w| **w != 0.0).count()
    };
    let (none, some, all) = (count(0.0), count(2.0), count(1e6));
    assert!(none > 480 && some < none && some > 0 && all == 0, "{none} {some} {all}");
}

#[test]
fn what_is_not_finite_is_refused_and_changes_nothing() {
    let spec = LinearSpec::default();
    let (metrics, guard) = (PrequentialSpec::default(), GuardSpec::default());
    let mut learner = LinearLearner::new(&spec, LinearLoss::Logistic, metrics, guard);
    let good = [Feature { hash: 1, value: 1.0 }];
    learner.learn(&good, Truth::Class(1), 1.0, None);
    let before = (learner.model().tensors(), learner.model().sums());
    for value in [f32::NAN, f32::INFINITY] {
        let bad = [Feature { hash: 1, value }, Feature { hash: 2, value: 1.0 }];
        let learned = learner.learn(&bad, Truth::Class(0), 1.0, None);
        assert_eq!(learned.verdict, Verdict::NotFinite);
    }
    assert_eq!(before, (learner.model().tensors(), learner.model().sums()));
    assert!(learner.predict(&good)[0] > 0.5);
}

/// Three classes, by which third of the features has the most weight.
fn classes() -> impl Iterator<Item = (Vec<Feature>, usize)> {
    events().into_iter().map(|(features, ..)| {
        let mut sums = [0.0; 3];
        features.iter().for_each(|f| sums[f.hash as usize % 3] += f.value);
        let best = (0..3).max_by(|&a: &usize, &b: &usize| sums[a].total_cmp(&sums[b]));
        (features, best.unwrap_or(0))
    })
}

fn of_classes(rule: UpdateRule, learning_rate: f64) -> LinearLearner {
    let spec =
        LinearSpec { bits: 10, rule, learning_rate, classes: Some(3), ..LinearSpec::default() };
    LinearLearner::new(&spec, LinearLoss::Softmax, PrequentialSpec::default(), GuardSpec::default())
}

#[test]
fn every_rule_learns_classes() {
    for (rule, learning_rate) in [
        (UpdateRule::Sgd, 0.05),
        (UpdateRule::Adaptive, 0.3),
        (UpdateRule::Normalized, 0.5),
        (UpdateRule::NormalizedAdaptive, 0.5),
        (UpdateRule::Ftrl, 0.3),
    ] {
        let mut learner = of_classes(rule, learning_rate);
        for (features, class) in classes() {
            learner.learn(&features, Truth::Class(class), 1.0, None);
        }
        let figures = learner.figures();
        let (accuracy, loss) = (figures["accuracy"], figures["loss"]);
        assert!(accuracy > 0.6 && loss < 0.95, "{rule:?}: {accuracy} {loss}; no skill is 1.0986");
        let sum: f32 = learner.predict(&[Feature { hash: 3, value: 1.0 }]).iter().sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }
}

#[test]
fn the_step_of_a_class_is_that_of_the_softmax() {
    let mut model = of_classes(UpdateRule::Sgd, 1e-3);
    let event = [Feature { hash: 3, value: 2.0 }];
    for class in [0, 1, 1, 2, 1] {
        let before: Vec<f32> = model.predict(&event).to_vec();
        let mut old = [0.0; 3];
        model.model().margins(&event, &mut old);
        model.learn(&event, Truth::Class(class), 1.0, None);
        let mut new = [0.0; 3];
        model.model().margins(&event, &mut new);
        for (k, p) in before.into_iter().enumerate() {
            // The rate, times the squares of the value and of the constant.
            let want = 1e-3 * 5.0 * (f32::from(u8::from(k == class)) - p);
            assert!((new[k] - old[k] - want).abs() < 3e-5, "{k}: {} {want}", new[k] - old[k]);
        }
    }
}

#[test]
fn a_restored_model_of_classes_has_the_same_bits() {
    let events: Vec<_> = classes().collect();
    for rule in [UpdateRule::NormalizedAdaptive, UpdateRule::Ftrl] {
        let learn = |learner: &mut LinearLearner, events: &[(Vec<Feature>, usize)]| {
            for (features, class) in events {
                learner.learn(features, Truth::Class(*class), 1.0, None);
            }
        };
        let (mut whole, mut first, mut second) =
            (of_classes(rule, 0.5), of_classes(rule, 0.5), of_classes(rule, 0.5));
        learn(&mut whole, &events);
        learn(&mut first, &events[..777]);
        let (tensors, sums) = (first.model().tensors(), first.model().sums());
        assert_eq!(tensors[0].shape, [1 << 10, 3]);
        assert_eq!(second.model_mut().restore(&tensors, sums), Ok(()));
        learn(&mut second, &events[777..]);
        assert_eq!(second.model().tensors(), whole.model().tensors());
        assert_eq!(second.model().sums(), whole.model().sums());
    }
}
