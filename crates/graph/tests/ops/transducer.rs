//! The recurrent neural network transducer.

use crate::common::{Check, Random};
use crate::config;
use crate::pytorch::Case;
use crate::typed_shape_of;
use proptest::prelude::*;
use tidemill_graph::reference::{Values, evaluate};
use tidemill_graph::{DType, Graph, PerPosition, TensorId, Transducer};

pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let x = case.x.clone();
    (op == "transducer").then(|| {
        let log_p = case.apply(Transducer::Joint, &x);
        case.apply(Transducer::Loss(PerPosition::Any), &[log_p, x[5], x[6]])
    })
}

#[test]
fn shapes() {
    let (f, i) = (DType::F32, DType::I32);
    let joint = |frames: &[usize], written: &[usize], kernel: &[usize], labels: &[usize]| {
        let inputs = [(frames, f), (written, f), (kernel, f), (&kernel[1..], f), (labels, i)];
        typed_shape_of(Transducer::Joint, &[&inputs[..], &[(&[3], i), (&[3], i)]].concat())
    };
    assert_eq!(joint(&[3, 5, 4], &[3, 3, 4], &[4, 6], &[3, 2]).unwrap(), [3, 5, 3, 2]);
    let error = |written, kernel, labels| joint(&[3, 5, 4], written, kernel, labels).unwrap_err();
    assert!(error(&[3, 3, 5], &[4, 6], &[3, 2]).contains("written of shape [3, 3, 4]"));
    assert!(error(&[3, 3, 4], &[5, 6], &[3, 2]).contains("kernel of shape [4, 6]"));
    assert!(error(&[3, 3, 4], &[4, 1], &[3, 2]).contains("beside the blank"));
    assert!(error(&[3, 3, 4], &[4, 6], &[3, 3]).contains("labels of shape [3, 2]"));
    let greedy = |tables: &[usize], before: &[usize]| {
        let kernel: [&[usize]; 2] = [&[4, 6], &[6]];
        let inputs = [&[3, 5, 4], tables, kernel[0], kernel[1], before].map(|shape| (shape, f));
        typed_shape_of(Transducer::Greedy, &inputs)
    };
    assert_eq!(greedy(&[2, 6, 4], &[3, 2]).unwrap(), [3, 5, 6]);
    assert!(greedy(&[2, 5, 4], &[3, 2]).unwrap_err().contains("tables of shape [2, 6, 4]"));
    assert!(greedy(&[2, 6, 4], &[3, 1]).unwrap_err().contains("labels before of shape [3, 2]"));
}

/// The loss of one sample of so many positions and labels, by the logarithms `[time, labels + 1, 2]`.
fn loss(per_position: PerPosition, log_p: &[f64], time: usize, labels: usize) -> f64 {
    let mut graph = Graph::new();
    let inputs = [
        graph.input("log_p", &[1, time, labels + 1, 2], DType::F32),
        graph.input("lengths", &[1], DType::I32),
        graph.input("label_lengths", &[1], DType::I32),
    ];
    let y = graph.apply(Transducer::Loss(per_position), &inputs).unwrap();
    let feeds = Values::<f64>::new(&graph)
        .with(inputs[0], log_p.to_vec())
        .with_ints(inputs[1], vec![time as i32])
        .with_ints(inputs[2], vec![labels as i32]);
    evaluate(&graph, feeds).unwrap().get(y).unwrap()[0]
}

/// The probability of all ways from a node, one after another.
fn ways(one: bool, log_p: &[f64], [time, labels]: [usize; 2], [t, u]: [usize; 2]) -> f64 {
    if t == time {
        return f64::from(u8::from(u == labels));
    }
    let at = 2 * (t * (labels + 1) + u);
    let blank = log_p[at].exp() * ways(one, log_p, [time, labels], [t + 1, u]);
    match u < labels {
        true => {
            let to = [t + usize::from(one), u + 1];
            blank + log_p[at + 1].exp() * ways(one, log_p, [time, labels], to)
        }
        false => blank,
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn by_brute_force(seed: u64, time in 1..7usize, labels in 0..5usize) {
        let mut random = Random::new(seed);
        let log_p: Vec<f64> = random.positive(2 * time * (labels + 1)).iter().map(|x| -x).collect();
        for per_position in [PerPosition::Any, PerPosition::One] {
            let one = per_position == PerPosition::One;
            let want = match one && labels > time {
                true => 0.0,
                false => -ways(one, &log_p, [time, labels], [0, 0]).ln(),
            };
            prop_assert!((loss(per_position, &log_p, time, labels) - want).abs() < 1e-9);
        }
    }

    /// Lengths from 0 to the room for positions and labels.
    #[test]
    fn gradients(seed: u64, one: bool, batch in 1..4usize, time in 1..5usize, room in 1..4usize, classes in 2..5usize) {
        let mut check = Check::new(seed);
        let per_position = if one { PerPosition::One } else { PerPosition::Any };
        let units = 3;
        let floats = [
            check.variable(&[batch, time, units], Random::odd),
            check.variable(&[batch, room + 1, units], Random::odd),
            check.variable(&[units, classes], Random::odd),
            check.variable(&[classes], Random::odd),
        ];
        let of_labels = check.ints(&[batch, room], 1);
        let labels = (0..batch * room).map(|_| 1 + check.random.below(classes - 1) as i32).collect();
        check.feeds.set_ints(of_labels, labels);
        let lengths = [check.ints(&[batch], time + 1), check.ints(&[batch], room + 1)];
        let inputs = [&floats[..], &[of_labels], &lengths].concat();
        let log_p = check.apply(Transducer::Joint, &inputs);
        let y = check.apply(Transducer::Loss(per_position), &[log_p, lengths[0], lengths[1]]);
        check.run(y);
    }

    /// At each position the logits are those of the joint network at the node that the labels so far lead to; the labels that they give
    /// cost no more than that way.
    #[test]
    fn what_is_written_is_what_the_joint_network_says(seed: u64, time in 1..6usize, classes in 2..5usize) {
        let mut check = Check::new(seed);
        let (units, known) = (3, 2);
        let frames = check.constant(&[1, time, units], Random::odd);
        let tables = check.constant(&[known, classes, units], Random::odd);
        let kernel = check.constant(&[units, classes], Random::odd);
        let bias = check.constant(&[classes], Random::odd);
        let before = check.given(&[1, known], vec![1.0, 0.0]);
        let logits = check.apply(Transducer::Greedy, &[frames, tables, kernel, bias, before]);
        let after = check.apply(Transducer::After, &[logits, before]);
        let values = evaluate(&check.graph, check.feeds.clone()).unwrap();
        let of = |id: TensorId| values.get(id).unwrap().to_vec();
        let (frames, tables, kernel, bias) = (of(frames), of(tables), of(kernel), of(bias));
        let mut state = [1, 0];
        for (t, row) in of(logits).chunks(classes).enumerate() {
            let mut best = (f64::NEG_INFINITY, 0);
            for c in 0..classes {
                let hidden = |i: usize| {
                    let written = tables[state[0] * units + i] + tables[(classes + state[1]) * units + i];
                    (frames[t * units + i] + written).tanh()
                };
                let logit = bias[c] + (0..units).map(|i| hidden(i) * kernel[i * classes + c]).sum::<f64>();
                prop_assert!((logit - row[c]).abs() < 1e-12);
                if logit > best.0 {
                    best = (logit, c);
                }
            }
            if best.1 != Transducer::BLANK {
                state = [best.1, state[0]];
            }
        }
        prop_assert_eq!(of(after), state.map(|label| label as f64));
    }
}
