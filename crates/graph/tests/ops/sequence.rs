//! Sequences with lengths.

use crate::common::{Check, Random};
use crate::pytorch::Case;
use crate::{config, dims, shape_of};
use proptest::prelude::*;
use tidemill_graph::{Sequence, TensorId};

pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let x = case.x.clone();
    let sequence = match op {
        "weighted_mean_of_steps" => Sequence::WeightedMean,
        _ => return None,
    };
    Some(case.apply(sequence, &x))
}

#[test]
fn shapes() {
    let weighted = |inputs: &[&[usize]]| shape_of(Sequence::WeightedMean, inputs);
    assert_eq!(weighted(&[&[4, 7, 3, 2], &[4, 7]]).unwrap(), [4, 3, 2]);
    assert_eq!(weighted(&[&[4, 7], &[4, 7]]).unwrap(), [4]);
    let error = weighted(&[&[4, 7, 3], &[4, 3]]).unwrap_err();
    assert!(error.contains("expected weights of shape [4, 7], found shape [4, 3]"), "{error}");
    assert!(weighted(&[&[4], &[4]]).unwrap_err().contains("[batch, time, ...]"));
}

proptest! {
    #![proptest_config(config())]

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
