//! Against the reference interpreter, on every instruction set.
#![allow(clippy::unwrap_used)]

use crate::testing::Case;
use tidemill_graph::{PerPosition, TensorId, Transducer};

/// Labels padded with ids that are none: those beyond the length are not read.
fn given(case: &mut Case, room: [usize; 2], samples: &[(i32, &[i32])]) -> [TensorId; 3] {
    let [batch, of_labels] = room;
    let mut labels = vec![-1; batch * of_labels];
    for (row, (_, own)) in labels.chunks_mut(of_labels).zip(samples) {
        row[..own.len()].copy_from_slice(own);
    }
    [
        case.ints(&[batch, of_labels], labels),
        case.ints(&[batch], samples.iter().map(|s| s.0).collect()),
        case.ints(&[batch], samples.iter().map(|s| s.1.len() as i32).collect()),
    ]
}

fn checked([time, room, units, classes]: [usize; 4], samples: &[(i32, &[i32])]) {
    let batch = samples.len();
    let what = format!("{time} {room} {units} {classes}: {samples:?}");
    for per_position in [PerPosition::Any, PerPosition::One] {
        let mut case = Case::new();
        let floats = [
            case.floats(&[batch, time, units]),
            case.floats(&[batch, room + 1, units]),
            case.floats(&[units, classes]),
            case.floats(&[classes]),
        ];
        let [labels, lengths, counts] = given(&mut case, [batch, room], samples);
        let inputs = [&floats[..], &[labels, lengths, counts]].concat();
        let log_p = case.apply(Transducer::Joint, &inputs);
        let losses = case.apply(Transducer::Loss(per_position), &[log_p, lengths, counts]);
        case.check(&format!("{per_position:?} {what}"), losses, &floats);
    }

    // The joint network alone: all nodes have gradients.
    let mut case = Case::new();
    let floats = [
        case.floats(&[batch, time, units]),
        case.floats(&[batch, room + 1, units]),
        case.floats(&[units, classes]),
        case.floats(&[classes]),
    ];
    let of_labels = given(&mut case, [batch, room], samples);
    let log_p = case.apply(Transducer::Joint, &[&floats[..], &of_labels].concat());
    case.check(&what, log_p, &floats);
}

#[test]
fn against_the_reference() {
    checked([1, 1, 1, 2], &[(1, &[1]), (1, &[]), (0, &[1])]);
    checked(
        [5, 3, 7, 4],
        &[(5, &[1, 1, 2]), (3, &[3]), (2, &[2, 2, 2]), (0, &[]), (1, &[1, 2, 3])],
    );
    let many: Vec<i32> = (0..40).map(|i| 1 + (i * 7) % 12).collect();
    checked([30, 40, 20, 13], &[(30, &many), (17, &many[..31]), (9, &[]), (1, &many)]);
    checked([9, 4, 70, 90], &[(9, &[89, 1, 89, 89]), (7, &[5])]);
}

/// A long sample: probabilities far below what floats hold.
#[test]
fn long_samples_stay_finite() {
    let labels: Vec<i32> = (0..120).map(|i| 1 + i % 7).collect();
    checked([400, 120, 4, 8], &[(400, &labels), (399, &labels[..3])]);
}

#[test]
fn what_is_written_is_that_of_the_reference() {
    for [batch, time, units, classes, known] in
        [[1, 1, 1, 2, 1], [3, 20, 33, 12, 2], [2, 50, 17, 40, 3]]
    {
        let mut case = Case::new();
        let frames = case.floats(&[batch, time, units]);
        let tables = case.floats(&[known, classes, units]);
        let kernel = case.floats(&[units, classes]);
        let bias = case.floats(&[classes]);
        let before = (0..batch * known).map(|i| (i % classes) as f32).collect();
        let before = case.given(&[batch, known], before);
        let logits = case.apply(Transducer::Greedy, &[frames, tables, kernel, bias, before]);
        let after = case.apply(Transducer::After, &[logits, before]);
        let flat = tidemill_graph::Layout::Reshape(vec![batch * time * classes]);
        let of_logits = case.apply(flat, &[logits]);
        let flat = tidemill_graph::Layout::Reshape(vec![batch * known]);
        let of_after = case.apply(flat, &[after]);
        let both = tidemill_graph::Layout::Concat { axis: 0 };
        let both = case.apply(both, &[of_logits, of_after]);
        case.check(&format!("{batch} {time} {units} {classes} {known}"), both, &[]);
    }
}

/// A label that is none of the classes is no place in memory; only its own sample has no loss.
#[test]
fn labels_that_are_not_there_give_nan() {
    use crate::runtime::{Input, Runtime};
    use tidemill_graph::{DType, Graph};
    let mut graph = Graph::new();
    let inputs = [
        graph.input("frames", &[4, 2, 3], DType::F32),
        graph.input("written", &[4, 2, 3], DType::F32),
        graph.input("kernel", &[3, 3], DType::F32),
        graph.input("bias", &[3], DType::F32),
        graph.input("labels", &[4, 1], DType::I32),
        graph.input("lengths", &[4], DType::I32),
        graph.input("label_lengths", &[4], DType::I32),
    ];
    let log_p = graph.apply(Transducer::Joint, &inputs).unwrap();
    let y =
        graph.apply(Transducer::Loss(PerPosition::Any), &[log_p, inputs[5], inputs[6]]).unwrap();
    graph.output("y", y);
    for isa in crate::isa::Isa::available() {
        let mut runtime = Runtime::new(isa, 1, &graph);
        let plan = runtime.add(&graph, Default::default()).unwrap();
        let inputs = [
            Input::F32(&[0.0; 24]),
            Input::F32(&[0.0; 24]),
            Input::F32(&[0.0; 9]),
            Input::F32(&[0.0; 3]),
            Input::I32(&[3, -1, 0, 2]),
            // A length beyond the room is the room.
            Input::I32(&[2, 2, 2, 9]),
            Input::I32(&[1, 1, 1, 9]),
        ];
        runtime.run(plan, &inputs).unwrap();
        let y = runtime.output(plan, "y").unwrap();
        assert!(y[..3].iter().all(|y| y.is_nan()), "{isa:?}: {y:?}");
        // Two ways of three steps, each of which has the probability 1/3.
        assert!((y[3] - 13.5f32.ln()).abs() < 1e-6, "{isa:?}: {y:?}");
    }
}
