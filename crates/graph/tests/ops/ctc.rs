//! Connectionist temporal classification.

use crate::common::{Check, Random};
use crate::config;
use crate::pytorch::Case;
use crate::typed_shape_of;
use proptest::prelude::*;
use tidemill_graph::reference::{Values, evaluate};
use tidemill_graph::{Ctc, DType, Graph, TensorId};

pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let x = case.x.clone();
    (op == "ctc").then(|| case.apply(Ctc::Loss, &x))
}

#[test]
fn shapes() {
    let of = |logits: &[usize], labels: &[usize], lengths: &[usize], counts: &[usize]| {
        let (f, i) = (DType::F32, DType::I32);
        typed_shape_of(Ctc::Loss, &[(logits, f), (labels, i), (lengths, i), (counts, i)])
    };
    assert_eq!(of(&[3, 5, 4], &[3, 2], &[3], &[3]).unwrap(), [3]);
    let error = |logits, labels, lengths, counts| of(logits, labels, lengths, counts).unwrap_err();
    assert!(error(&[3, 5, 1], &[3, 2], &[3], &[3]).contains("beside the blank"));
    assert!(error(&[3, 5, 4], &[2, 2], &[3], &[3]).contains("labels of 2"));
    assert!(error(&[3, 5, 4], &[3, 2], &[2], &[3]).contains("lengths of shape [3]"));
    assert!(error(&[3, 5, 4], &[3, 2], &[3], &[4]).contains("lengths of labels of shape [3]"));
}

/// The loss of one sample.
fn loss(logits: &[f64], classes: usize, labels: &[i32]) -> f64 {
    let time = logits.len() / classes;
    let mut graph = Graph::new();
    let inputs = [
        graph.input("logits", &[1, time, classes], DType::F32),
        graph.input("labels", &[1, labels.len().max(1)], DType::I32),
        graph.input("lengths", &[1], DType::I32),
        graph.input("label_lengths", &[1], DType::I32),
    ];
    let y = graph.apply(Ctc::Loss, &inputs).unwrap();
    let feeds = Values::<f64>::new(&graph)
        .with(inputs[0], logits.to_vec())
        .with_ints(inputs[1], if labels.is_empty() { vec![0] } else { labels.to_vec() })
        .with_ints(inputs[2], vec![time as i32])
        .with_ints(inputs[3], vec![labels.len() as i32]);
    evaluate(&graph, feeds).unwrap().get(y).unwrap()[0]
}

proptest! {
    #![proptest_config(config())]

    /// All ways to write labels, one after another: those that become the labels once repeats and blanks are left out.
    #[test]
    fn by_brute_force(seed: u64, time in 1..6usize, classes in 2..4usize, count in 0..4usize) {
        let mut random = Random::new(seed);
        let logits = random.odd(time * classes);
        let labels: Vec<i32> = (0..count).map(|_| 1 + random.below(classes - 1) as i32).collect();
        let p: Vec<f64> = logits
            .chunks(classes)
            .flat_map(|row| {
                let sum: f64 = row.iter().map(|x| x.exp()).sum();
                row.iter().map(move |x| x.exp() / sum).collect::<Vec<_>>()
            })
            .collect();
        let mut total = 0.0;
        for way in 0..classes.pow(time as u32) {
            let path: Vec<usize> = (0..time).map(|t| way / classes.pow(t as u32) % classes).collect();
            let mut written = path.clone();
            written.dedup();
            written.retain(|&class| class != Ctc::BLANK);
            if written.iter().map(|&class| class as i32).eq(labels.iter().copied()) {
                total += path.iter().enumerate().map(|(t, &c)| p[t * classes + c]).product::<f64>();
            }
        }
        let want = if total == 0.0 { 0.0 } else { -total.ln() };
        prop_assert_eq!(total == 0.0, Ctc::positions(&labels) > time);
        prop_assert!((loss(&logits, classes, &labels) - want).abs() < 1e-9);
    }

    /// Lengths from 0 to the room for positions and labels.
    #[test]
    fn gradients(seed: u64, batch in 1..4usize, time in 1..6usize, classes in 2..5usize, room in 1..4usize) {
        let mut check = Check::new(seed);
        let logits = check.variable(&[batch, time, classes], Random::odd);
        let of_labels = check.ints(&[batch, room], 1);
        let labels = (0..batch * room).map(|_| 1 + check.random.below(classes - 1) as i32).collect();
        check.feeds.set_ints(of_labels, labels);
        let inputs = [logits, of_labels, check.ints(&[batch], time + 1),
                      check.ints(&[batch], room + 1)];
        let y = check.apply(Ctc::Loss, &inputs);
        check.run(y);
    }
}
