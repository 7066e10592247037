#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;

#[derive(Deserialize)]
struct Fixture {
    window: usize,
    fading: f64,
    cases: Vec<Case>,
}

/// A stream with what River measured after some counts of events.
#[derive(Deserialize)]
struct Case {
    name: String,
    task: Task,
    classes: usize,
    outputs: Vec<f32>,
    #[serde(default)]
    labels: Vec<usize>,
    #[serde(default)]
    targets: Vec<f32>,
    want: BTreeMap<u64, Figures>,
}

impl Case {
    fn len(&self) -> usize {
        self.labels.len() + self.targets.len()
    }

    fn empty(&self, fixture: &Fixture) -> Prequential {
        let width = if self.task == Task::Classes { self.classes } else { 1 };
        let (window, fading) = (fixture.window, fixture.fading);
        Prequential::new(self.task, width, PrequentialSpec { window, fading, ..Default::default() })
    }

    fn feed(&self, into: &mut Prequential, i: usize) {
        let width = self.outputs.len() / self.len();
        let outputs = &self.outputs[i * width..(i + 1) * width];
        let loss = 1.0 / (i + 1) as f32;
        match self.task {
            Task::Values => into.add(outputs, Truth::Values(&self.targets[i..=i]), loss, 1.0),
            _ => into.add(outputs, Truth::Class(self.labels[i]), loss, 1.0),
        }
    }
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../../../../fixtures/prequential.json")).unwrap()
}

fn assert_close(case: &str, events: u64, got: &Figures, want: &Figures) {
    for (name, want) in want {
        let got = got.get(name).unwrap_or_else(|| panic!("{case}, {events} events: no {name}"));
        assert!(
            (got - want).abs() <= 1e-9 * want.abs().max(1.0),
            "{case}, {events} events, {name}: {got} is not {want}"
        );
    }
}

#[test]
fn equal_to_river() {
    let fixture = fixture();
    for case in &fixture.cases {
        let mut scores = case.empty(&fixture);
        let mut compared = 0;
        for i in 0..case.len() {
            case.feed(&mut scores, i);
            if let Some(want) = case.want.get(&scores.events()) {
                let got = scores.figures();
                assert_close(&case.name, scores.events(), &got, want);
                // What River does not define is not made up, except for the figures beyond it.
                for name in ["sliding.auc", "f1", "r2", "no_change.mae", "recall.1"] {
                    assert_eq!(got.contains_key(name), want.contains_key(name), "{name}");
                }
                compared += 1;
            }
        }
        assert!(
            compared > 5
                && compared == case.want.keys().filter(|&&n| n <= case.len() as u64).count()
        );
    }
}

#[test]
fn two_classes_are_a_binary_task() {
    let fixture = fixture();
    let case = fixture.cases.iter().find(|c| c.task == Task::Binary).unwrap();
    let spec = PrequentialSpec { window: 500, fading: 0.995, ..Default::default() };
    let mut scores = Prequential::new(Task::Classes, 2, spec);
    let mut last = Figures::new();
    for (&p, &label) in case.outputs.iter().zip(&case.labels) {
        scores.add(&[1.0 - p, p], Truth::Class(label), 0.0, 1.0);
        if let Some(want) = case.want.get(&scores.events()) {
            let mut want = want.clone();
            // 1 - p is not the same in f32, which shows where p is next to 0 or 1.
            want.retain(|name, _| !name.contains("auc") && !name.contains("log_loss"));
            assert_close(&case.name, scores.events(), &scores.figures(), &want);
            last = want;
        }
    }
    let mut binary = Prequential::new(Task::Binary, 1, PrequentialSpec::default());
    for (&p, &label) in case.outputs.iter().zip(&case.labels) {
        binary.add(&[p], Truth::Class(label), 0.0, 1.0);
    }
    assert_eq!(scores.figures()["auc"], binary.figures()["auc"]);
    assert!(last["kappa_t"] > 0.0);
}

#[test]
fn a_resumed_stream_has_the_same_bits() {
    let fixture = fixture();
    for case in &fixture.cases {
        let mut whole = case.empty(&fixture);
        let mut parts = case.empty(&fixture);
        for i in 0..case.len() {
            case.feed(&mut whole, i);
            if [0, 1, 7, 499, 500, 777, 1400].contains(&i) {
                parts = serde_json::from_str(&serde_json::to_string(&parts).unwrap()).unwrap();
            }
            case.feed(&mut parts, i);
        }
        assert_eq!(whole, parts);
        assert_eq!(serde_json::to_string(&whole).unwrap(), serde_json::to_string(&parts).unwrap());
        assert_eq!(whole.figures(), parts.figures());
        assert!(serde_json::to_string(&whole).unwrap().len() < 90_000);
    }
}

/// Targets far from zero: in f32 they would all be the same.
#[test]
fn values_are_measured_in_full_precision() {
    let (mut far, mut near) = (
        Prequential::new(Task::Values, 1, PrequentialSpec::default()),
        Prequential::new(Task::Values, 1, PrequentialSpec::default()),
    );
    for i in 0..200 {
        let target = f64::from(i % 7) + 0.25 * f64::from(i % 3);
        let guess = target + 0.125;
        for (scores, offset) in [(&mut far, 1_700_000_000.0), (&mut near, 0.0)] {
            let output = (i > 0).then_some([guess + offset]);
            let output = output.as_ref().map(<[f64; 1]>::as_slice);
            scores.add_values(output, &[target + offset], 0.5, 1.0);
        }
    }
    let (far, near) = (far.figures(), near.figures());
    for (name, value) in &near {
        assert!((far[name] - value).abs() < 1e-9, "{name}: {} {value}", far[name]);
    }
    // The first event had no guess.
    assert_eq!((near["mae"], near["sliding.mae"], near["events"]), (0.125, 0.125, 200.0));
    assert!(near["no_change.mae"] > 1.0 && near["r2"] > 0.9);
}

#[test]
fn narrow_scores_have_an_area_over_the_whole_stream() {
    let mut scores = Prequential::new(Task::Binary, 1, PrequentialSpec::default());
    for i in 0..3000u32 {
        // In order of the score, 500 below and 500 above the middle; within 0.1 % of each other.
        let rank = i * 7 % 1000;
        scores.add(&[0.5 + 5e-7 * rank as f32], Truth::Class(usize::from(rank >= 500)), 0.0, 1.0);
    }
    assert_eq!(scores.figures()["auc"], 1.0);
}

#[test]
fn tied_scores_count_half() {
    let mut scores = Prequential::new(Task::Binary, 1, PrequentialSpec::default());
    for (p, truth) in [(0.5, 0), (0.5, 1), (0.2, 0), (0.5, 1), (0.9, 0), (0.9, 1)] {
        scores.add(&[p], Truth::Class(truth), 0.0, 1.0);
    }
    // scikit-learn's roc_auc_score; of 9 pairs 4 are won, 3 are tied.
    assert_eq!(scores.figures()["sliding.auc"], 5.5 / 9.0);
    assert_eq!(scores.figures()["auc"], 5.5 / 9.0);
}

#[test]
fn the_first_events() {
    let spec = PrequentialSpec::default();
    for task in [Task::Classes, Task::Binary, Task::Values] {
        let empty = Prequential::new(task, 1, spec.clone());
        assert!(empty.figures().is_empty() && empty.headline().is_none());
    }
    let mut scores = Prequential::new(Task::Classes, 2, spec.clone());
    for n in 1..5 {
        scores.add(&[0.9, 0.1], Truth::Class(0), 0.5, 1.0);
        let figures = scores.figures();
        assert!(figures.values().all(|v| v.is_finite()));
        // The baselines have no guess at the first event, and are right ever after.
        assert_eq!(figures["no_change.accuracy"], (n - 1) as f64 / n as f64);
        assert_eq!(figures["kappa"], 0.0);
        assert_eq!(figures["kappa_t"], 1.0);
    }
    let mut scores = Prequential::new(Task::Values, 2, spec);
    scores.add(&[1.0, 2.0], Truth::Values(&[2.0, 4.0]), 0.5, 1.0);
    let figures = scores.figures();
    assert_eq!(figures["mae"], 1.5);
    assert!(!figures.contains_key("r2") && !figures.contains_key("no_change.mae"));
    scores.add(&[1.0, 2.0], Truth::Values(&[3.0, 4.0]), 0.5, 1.0);
    let figures = scores.figures();
    assert_eq!((figures["no_change.mae"], figures["mean.mae"]), (0.5, 0.5));
    assert_eq!(figures["sliding.no_change.mae"], 0.5);
}

#[test]
fn new_classes_appear() {
    let mut scores = Prequential::new(Task::Classes, 2, PrequentialSpec::default());
    scores.add(&[0.8, 0.2], Truth::Class(0), 0.2, 1.0);
    scores.add(&[0.8, 0.2], Truth::Class(4), 0.2, 1.0);
    scores.add(&[0.1, 0.1, 0.1, 0.1, 0.6], Truth::Class(4), 0.2, 1.0);
    let figures = scores.figures();
    assert_eq!(figures["accuracy"], 2.0 / 3.0);
    assert_eq!((figures["recall.0"], figures["recall.4"]), (1.0, 0.5));
    assert!(!figures.contains_key("recall.1") && !figures.contains_key("f1"));
    // A label from a broken source takes no memory.
    scores.add(&[0.5, 0.5], Truth::Class(usize::MAX), 0.2, 1.0);
    assert_eq!(scores.figures()["accuracy"], 0.5);
    assert_eq!(scores.recalls().len(), 2);
}

#[test]
fn what_is_not_finite_is_counted_apart() {
    let mut scores = Prequential::new(Task::Binary, 1, PrequentialSpec::default());
    scores.add(&[0.75], Truth::Class(1), 0.25, 1.0);
    scores.add(&[f32::NAN], Truth::Class(1), f32::NAN, 1.0);
    scores.add(&[0.75], Truth::Values(&[1.0]), 0.75, 3.0);
    scores.add(&[0.1], Truth::Class(1), 100.0, 0.0);
    let figures = scores.figures();
    assert!(figures.values().all(|v| v.is_finite()));
    assert_eq!((figures["events"], figures["non_finite"]), (3.0, 1.0));
    assert_eq!(figures["loss"], (0.25 + 3.0 * 0.75) / 4.0);
    assert_eq!(figures["accuracy"], 2.0 / 3.0);
    let back: Prequential = serde_json::from_str(&serde_json::to_string(&scores).unwrap()).unwrap();
    assert_eq!(back, scores);

    let mut scores = Prequential::new(Task::Values, 1, PrequentialSpec::default());
    scores.add(&[f32::INFINITY], Truth::Values(&[1.0]), 1.0, 1.0);
    assert_eq!(scores.figures()["non_finite"], 1.0);
    scores.add(&[2.0], Truth::Values(&[1.0]), 1.0, 1.0);
    assert_eq!(scores.figures()["mae"], 1.0);
}

#[test]
fn a_curve_stays_small_and_even() {
    let spec = PrequentialSpec { curve_points: 16, ..Default::default() };
    let mut scores = Prequential::new(Task::Binary, 1, spec);
    for i in 0..10_000usize {
        scores.add(&[0.9], Truth::Class(usize::from(i % 4 != 0)), 0.1, 1.0);
        assert!(scores.curve().len() <= 16);
    }
    let line = scores.curve().line("accuracy");
    assert_eq!(line.len(), 15);
    for (i, &(events, accuracy)) in line.iter().enumerate() {
        assert_eq!(events, 640.0 * (i + 1) as f64);
        assert_eq!(accuracy, 0.75);
    }
    assert!(scores.curve().line("mae").is_empty());
}

#[test]
fn a_smaller_window_is_taken_at_once() {
    let fixture = fixture();
    for case in &fixture.cases {
        let mut changed = case.empty(&fixture);
        let spec = PrequentialSpec { window: 50, ..changed.spec().clone() };
        let mut small = Prequential::new(
            case.task,
            if case.task == Task::Classes { case.classes } else { 1 },
            spec.clone(),
        );
        for i in 0..800 {
            case.feed(&mut changed, i);
            case.feed(&mut small, i);
            if i == 700 {
                changed.set_spec(spec.clone());
            }
        }
        assert_eq!(changed.figures(), small.figures(), "{}", case.name);
    }
}

#[test]
fn settings_are_checked() {
    let key = |text: &str| {
        let spec: PrequentialSpec = serde_json::from_str(text).unwrap();
        spec.check().map_err(|(key, _)| key)
    };
    assert_eq!(key("{}"), Ok(()));
    assert_eq!(key("{\"window\":0}"), Err("window"));
    assert_eq!(key("{\"fading\":1.5}"), Err("fading"));
    assert_eq!(key("{\"curve_points\":1}"), Err("curve_points"));
    assert!(serde_json::from_str::<PrequentialSpec>("{\"windw\":5}").is_err());
}

#[test]
fn the_headline_is_of_the_figures() {
    let fixture = fixture();
    for case in &fixture.cases {
        let mut scores = case.empty(&fixture);
        (0..case.len()).for_each(|i| case.feed(&mut scores, i));
        let (line, figures) = (scores.headline().unwrap(), scores.figures());
        assert_eq!(line.value, figures[line.name]);
        assert_eq!(line.sliding, figures[&format!("sliding.{}", line.name)]);
        assert_eq!(line.no_change, figures[&format!("no_change.{}", line.name)]);
        assert_eq!(line.kappa_t, figures.get("kappa_t").copied());
        assert_eq!(line.loss, figures["loss"]);
    }
}

/// The cases of sets whose figures scikit-learn gave.
#[test]
fn sets_of_classes_have_the_figures_of_scikit_learn() {
    #[derive(Deserialize)]
    struct Sets {
        task: Task,
        outputs: usize,
        logits: Vec<f32>,
        #[serde(default)]
        values: Vec<f32>,
        want: Figures,
    }
    let all: Vec<Sets> = serde_json::from_str(include_str!("../../fixtures/metrics.json")).unwrap();
    let sets: Vec<Sets> =
        all.into_iter().filter(|case| case.task == Task::Binary && case.outputs > 1).collect();
    assert_eq!(sets.len(), 3);
    for case in sets {
        let samples = case.logits.chunks(case.outputs).zip(case.values.chunks(case.outputs));
        let samples: Vec<_> = samples.collect();
        let spec = PrequentialSpec { window: 10, ..PrequentialSpec::default() };
        let mut scores = Prequential::new(Task::Binary, case.outputs, spec.clone());
        let mut last = Prequential::new(Task::Binary, case.outputs, spec);
        let feed = |scores: &mut Prequential, range: std::ops::Range<usize>| {
            for (logits, truth) in &samples[range] {
                let p: Vec<f32> = logits.iter().map(|&x| 1.0 / (1.0 + (-x).exp())).collect();
                scores.add(&p, Truth::Values(truth), 0.5, 1.0);
            }
        };
        feed(&mut scores, 0..20);
        let mut back: Prequential =
            serde_json::from_str(&serde_json::to_string(&scores).unwrap()).unwrap();
        feed(&mut scores, 20..samples.len());
        feed(&mut back, 20..samples.len());
        let figures = scores.figures();
        assert_eq!(figures, back.figures());
        let names = [
            ("accuracy", "accuracy"),
            ("subset_accuracy", "subset_accuracy"),
            ("micro_f1", "f1_micro"),
            ("macro_f1", "f1_macro"),
        ];
        for (name, theirs) in names {
            assert!((figures[name] - case.want[theirs]).abs() < 1e-12, "{name}: {figures:?}");
        }
        assert!((figures["auc"] - case.want["auc"]).abs() < 2e-3, "{figures:?}");
        // The window has the figures of its events.
        feed(&mut last, samples.len() - 10..samples.len());
        let window = last.figures();
        for name in ["accuracy", "subset_accuracy", "micro_f1", "macro_f1"] {
            assert_eq!(figures[&format!("sliding.{name}")], window[name], "{name}");
        }
        let headline = scores.headline().unwrap();
        assert_eq!((headline.name, headline.value), ("accuracy", figures["accuracy"]));
        assert_eq!(headline.no_change, figures["no_change.accuracy"]);
    }
}
