//! Sequences with lengths.

use crate::common::{Check, Random};
use crate::pytorch::Case;
use crate::{config, dims, shape_of, typed_shape_of};
use proptest::prelude::*;
use tidemill_graph::reference::{Values, evaluate};
use tidemill_graph::{DType, Graph, Sequence, TensorId};

pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let x = case.x.clone();
    let sequence = match op {
        "masked_mean" => Sequence::MaskedMean,
        "weighted_mean_of_steps" => Sequence::WeightedMean,
        _ => return None,
    };
    Some(case.apply(sequence, &x))
}

#[test]
fn shapes() {
    let x: (&[usize], _) = (&[4, 7, 3], DType::F32);
    let shape = |inputs: &[(&[usize], DType)]| typed_shape_of(Sequence::MaskedMean, inputs);
    assert_eq!(shape(&[x, (&[4], DType::I32)]).unwrap(), [4, 3]);
    let error = shape(&[x, (&[4], DType::F32)]).unwrap_err();
    assert!(error.contains("expected lengths of type i32, found f32"), "{error}");
    let error = shape(&[x, (&[7], DType::I32)]).unwrap_err();
    assert!(error.contains("expected lengths of shape [4], found shape [7]"), "{error}");
    let error = shape(&[(&[4, 7], DType::F32), (&[4], DType::I32)]).unwrap_err();
    assert!(error.contains("expected sequences of shape [batch, time, units]"), "{error}");

    let weighted = |inputs: &[&[usize]]| shape_of(Sequence::WeightedMean, inputs);
    assert_eq!(weighted(&[&[4, 7, 3, 2], &[4, 7]]).unwrap(), [4, 3, 2]);
    assert_eq!(weighted(&[&[4, 7], &[4, 7]]).unwrap(), [4]);
    let error = weighted(&[&[4, 7, 3], &[4, 3]]).unwrap_err();
    assert!(error.contains("expected weights of shape [4, 7], found shape [4, 3]"), "{error}");
    assert!(weighted(&[&[4], &[4]]).unwrap_err().contains("[batch, time, ...]"));
}

#[test]
fn lengths_outside_the_time_are_errors() {
    let mut graph = Graph::new();
    let x = graph.input("x", &[2, 3, 1], DType::F32);
    let lengths = graph.input("lengths", &[2], DType::I32);
    graph.apply(Sequence::MaskedMean, &[x, lengths]).unwrap();
    for (given, message) in [([0, 4], "length 4 of sample 1 is outside 0 to 3"), ([-1, 3], "-1")] {
        let feeds = Values::<f32>::new(&graph).with(x, vec![0.0; 6]);
        let error = evaluate(&graph, feeds.with_ints(lengths, given.to_vec())).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}

proptest! {
    #![proptest_config(config())]

    /// Lengths from 0 to all of the time.
    #[test]
    fn masked_mean(seed: u64, batch in 1..5usize, time in 1..6usize, units in 1..4usize) {
        let mut check = Check::new(seed);
        let x = check.variable(&[batch, time, units], Random::odd);
        let lengths = check.ints(&[batch], time + 1);
        let y = check.apply(Sequence::MaskedMean, &[x, lengths]);
        check.run(y);
    }

    /// Weights of steps, some of them 0, all of them in one sample.
    #[test]
    fn weighted_mean(seed: u64, batch in 1..5usize, time in 1..6usize, rest in dims(0..=2)) {
        let mut check = Check::new(seed);
        let x = check.variable(&[vec![batch, time], rest].concat(), Random::odd);
        let mut weights = check.random.positive(batch * time);
        for (i, weight) in weights.iter_mut().enumerate() {
            if i < time || check.random.below(3) == 0 {
                *weight = 0.0;
            }
        }
        let weights = check.given(&[batch, time], weights);
        let y = check.apply(Sequence::WeightedMean, &[x, weights]);
        check.run(y);
    }
}
