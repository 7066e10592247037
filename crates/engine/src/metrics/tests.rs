#![allow(clippy::unwrap_used)]

use super::*;

#[derive(Deserialize)]
struct Case {
    task: Task,
    outputs: usize,
    logits: Vec<f32>,
    #[serde(default)]
    classes: Vec<i32>,
    #[serde(default)]
    values: Vec<f32>,
    want: Figures,
    #[serde(default)]
    confusion: Vec<u64>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../../fixtures/metrics.json")).unwrap()
}

/// Feeds a case in batches of `size`.
fn feed(meter: &mut Meter, case: &Case, size: usize) {
    let n = case.logits.len() / case.outputs;
    for start in (0..n).step_by(size) {
        let end = (start + size).min(n);
        let classes = if case.classes.is_empty() { &[] } else { &case.classes[start..end] };
        let values = if case.values.is_empty() {
            &[][..]
        } else {
            &case.values[start * case.outputs..end * case.outputs]
        };
        let logits = &case.logits[start * case.outputs..end * case.outputs];
        let batch = Batch::of_x(vec![0.0; end - start], &[1]);
        let batch = match classes.is_empty() {
            true => batch.with_targets(values.to_vec(), case.outputs),
            false => batch.with_classes(classes.to_vec()),
        };
        meter.add(&vec![0.5; end - start], logits, &batch);
    }
}

#[test]
fn equal_to_scikit_learn() {
    for (number, case) in cases().iter().enumerate() {
        let metrics: Vec<Metric> = case.want.keys().map(|k| Metric::parse(k).unwrap()).collect();
        for size in [1, 7, 1000] {
            let mut meter = Meter::new(case.task, case.outputs, &metrics).with_confusion();
            feed(&mut meter, case, size);
            let got = meter.figures();
            for (name, &want) in &case.want {
                let curve = ["auc", "average_precision"].contains(&name.as_str());
                let tolerance = if curve { 1e-4 } else { 1e-12 };
                assert!(
                    (got[name] - want).abs() <= tolerance * want.abs().max(1.0),
                    "case {number}, {name}: {} is not {want}",
                    got[name]
                );
            }
            if let Some(confusion) = meter.confusion() {
                let c = confusion.num_classes();
                let got: Vec<u64> = (0..c * c).map(|i| confusion.count(i / c, i % c)).collect();
                assert_eq!(got, case.confusion, "case {number}");
            }
        }
    }
}

#[test]
fn a_meter_survives_json_to_the_bit() {
    for case in cases() {
        let metrics: Vec<Metric> = case.want.keys().map(|k| Metric::parse(k).unwrap()).collect();
        let mut meter = Meter::new(case.task, case.outputs, &metrics);
        feed(&mut meter, &case, 3);
        let mut back: Meter =
            serde_json::from_str(&serde_json::to_string(&meter).unwrap()).unwrap();
        feed(&mut meter, &case, 5);
        feed(&mut back, &case, 5);
        assert_eq!(meter.figures(), back.figures());
    }
}

#[test]
fn loss_is_the_weighted_mean_and_skipped_samples_count_for_nothing() {
    let mut meter = Meter::new(Task::Classes, 2, &[Metric::Accuracy]);
    let mut batch = Batch::of_x(vec![0.0; 3], &[1]).with_classes(vec![0, 1, 1]);
    batch.weights = vec![1.0, 3.0, 0.0];
    meter.add(&[2.0, 4.0, 100.0], &[1.0, 0.0, 1.0, 0.0, 1.0, 0.0], &batch);
    let figures = meter.figures();
    assert_eq!(figures["loss"], (2.0 + 12.0) / 4.0);
    assert_eq!(figures["accuracy"], 0.5);
    assert_eq!(meter.samples(), 2);
    meter.reset();
    assert!(meter.figures().is_empty());
}

#[test]
fn names_come_back() {
    for name in Metric::NAMES {
        assert_eq!(Metric::parse(name).unwrap().name(), name);
    }
    assert_eq!(Metric::parse("top_12"), Some(Metric::TopK(12)));
    assert_eq!(Metric::parse("top_0"), None);
    assert_eq!(Metric::parse("acuracy"), None);
}

#[test]
fn one_hot_rows_are_classes() {
    let mut meter = Meter::new(Task::Classes, 3, &[Metric::Accuracy, Metric::TopK(2)]);
    let values = [0.0, 0.0, 1.0, 1.0, 0.0, 0.0];
    let logits = [0.0, 1.0, 2.0, 1.0, 2.0, 0.0];
    let batch = Batch::of_x(vec![0.0; 2], &[1]).with_targets(values.to_vec(), 3);
    meter.add(&[0.0, 0.0], &logits, &batch);
    assert_eq!(meter.figures()["accuracy"], 0.5);
    assert_eq!(meter.figures()["top_2"], 1.0);
}

#[test]
fn meters_of_parts_have_the_figures_of_the_whole() {
    for (number, case) in cases().iter().enumerate() {
        let metrics: Vec<Metric> = case.want.keys().map(|k| Metric::parse(k).unwrap()).collect();
        let empty = Meter::new(case.task, case.outputs, &metrics).with_confusion();
        let mut whole = empty.clone();
        feed(&mut whole, case, 7);
        // The same samples twice, in two meters.
        let mut meters = [whole.clone(), empty.clone(), whole.clone()];
        let merged = Meter::merged(&meters).unwrap();
        feed(&mut meters[0], case, 7);
        let (got, want) = (merged.figures(), meters[0].figures());
        assert_eq!(merged.samples(), meters[0].samples());
        for (name, value) in &want {
            let curve = ["auc", "average_precision"].contains(&name.as_str());
            let tolerance = if curve { 1e-4 } else { 1e-9 };
            let close = (got[name] - value).abs() <= tolerance * value.abs().max(1.0);
            assert!(close, "case {number}, {name}: {} is not {value}", got[name]);
        }
        assert_eq!(merged.confusion(), meters[0].confusion());
    }
}

#[test]
fn what_is_drawn_has_the_values_of_the_metrics() {
    let metrics = [Metric::Ece, Metric::Auc];
    for (task, outputs) in [(Task::Classes, 3), (Task::Binary, 1)] {
        let mut plain = Meter::new(task, outputs, &metrics);
        let mut drawn = Meter::new(task, outputs, &[]).with_curves();
        let mut state = 7u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        for _ in 0..50 {
            let logits: Vec<f32> = (0..20 * outputs).map(|_| 4.0 * random() - 2.0).collect();
            let classes = if outputs == 1 { 2.0 } else { 3.0 };
            let labels = (0..20).map(|_| (classes * random()) as i32).collect();
            let batch = Batch::of_x(vec![0.0; 20], &[1]).with_classes(labels);
            plain.add(&[0.0; 20], &logits, &batch);
            drawn.add(&[0.0; 20], &logits, &batch);
        }
        let calibration = drawn.calibration().unwrap();
        assert_eq!(calibration.error, plain.figures()["ece"]);
        let bins = calibration.bins.iter();
        let error: f64 =
            bins.map(|b| b.count as f64 * (b.probability - b.right).abs() / 1000.0).sum();
        assert!((error - calibration.error).abs() < 1e-12);
        let curves = drawn.roc_curves();
        let mean = curves.iter().map(|c| c.area).sum::<f64>() / curves.len() as f64;
        assert!((mean - plain.figures()["auc"]).abs() < 1e-3, "{mean}");
        assert_eq!(curves.len(), outputs);
        assert!(drawn.figures().keys().eq(["loss"]));
    }
    assert!(Meter::new(Task::Values, 1, &[]).with_curves().calibration().is_none());
}
