//! Mixtures with a source's tokens.

use crate::common::{Check, Random};
use crate::config;
use crate::pytorch::Case;
use crate::typed_shape_of;
use proptest::prelude::*;
use tidemill_graph::{Copying, DType, TensorId};

pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let x = case.x.clone();
    (op == "copy").then(|| case.apply(Copying::Mix, &x))
}

#[test]
fn shapes() {
    let of = |query: &[usize], keys: &[usize], tokens: &[usize], lengths: &[usize]| {
        let (f, i) = (DType::F32, DType::I32);
        let inputs = [(&[3, 5, 20][..], f), (query, f), (keys, f), (tokens, i), (lengths, i)];
        typed_shape_of(Copying::Mix, &inputs)
    };
    assert_eq!(of(&[3, 5, 7], &[3, 9, 6], &[3, 9], &[3]).unwrap(), [3, 5, 20]);
    let error = |query, keys, tokens, lengths| of(query, keys, tokens, lengths).unwrap_err();
    assert!(error(&[3, 5, 6], &[3, 9, 6], &[3, 9], &[3]).contains("queries of shape [3, 5, 7]"));
    assert!(error(&[3, 5, 7], &[2, 9, 6], &[3, 9], &[3]).contains("keys of shape [3, 9, 6]"));
    assert!(error(&[3, 5, 7], &[3, 9, 6], &[3, 8], &[3]).contains("tokens of shape [3, 9]"));
    assert!(error(&[3, 5, 7], &[3, 9, 6], &[3, 9], &[9]).contains("lengths of shape [3]"));
}

proptest! {
    #![proptest_config(config())]

    /// Lengths from 0 to the room for positions, tokens that occur several times.
    #[test]
    fn mixtures(seed: u64, batch in 1..3usize, time in 1..4usize, source in 1..6usize, tokens in 1..6usize,
                dim in 1..4usize) {
        let mut check = Check::new(seed);
        let logits = check.variable(&[batch, time, tokens], Random::odd);
        let query = check.variable(&[batch, time, dim + 1], Random::odd);
        let keys = check.variable(&[batch, source, dim], Random::odd);
        let inputs = [logits, query, keys, check.ints(&[batch, source], tokens),
                      check.ints(&[batch], source + 1)];
        let y = check.apply(Copying::Mix, &inputs);
        check.run(y);
    }
}
