//! Attention within and across sequences.

use crate::common::{Check, Random};
use crate::config;
use crate::pytorch::Case;
use crate::typed_shape_of;
use proptest::prelude::*;
use tidemill_graph::{Attention, DType, Heads, TensorId};

pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let x = case.x.clone();
    let heads = |case: &Case<'_>| Heads {
        queries: case.number("heads") as usize,
        keys: case.number("key_heads") as usize,
        causal: case.flag("causal"),
        dropout: 0.0,
        stream: 0,
    };
    let op = match op {
        "attention" => Attention::Within(heads(case)),
        "cross_attention" => Attention::Across(heads(case)),
        _ => return None,
    };
    Some(case.apply(op, &x))
}

const HEADS: Heads = Heads { queries: 2, keys: 1, causal: true, dropout: 0.0, stream: 0 };

#[test]
fn shapes() {
    let of = |x: &[usize], lengths: &[usize]| {
        typed_shape_of(Attention::Within(HEADS), &[(x, DType::F32), (lengths, DType::I32)])
    };
    assert_eq!(of(&[3, 5, 12], &[3]).unwrap(), [3, 5, 6]);
    let error = of(&[3, 5, 10], &[3]).unwrap_err();
    assert!(error.contains("10 values of a position are no whole number for each of 4"), "{error}");
    assert!(of(&[3, 5, 12], &[5]).unwrap_err().contains("expected lengths of shape [3]"));
    assert!(of(&[3, 12], &[3]).unwrap_err().contains("batch, time"));
    let across = |kv: &[usize]| {
        let (f, i) = (DType::F32, DType::I32);
        let inputs = [(&[3, 5, 6][..], f), (kv, f), (&[3][..], i), (&[3][..], i)];
        typed_shape_of(Attention::Across(HEADS), &inputs)
    };
    assert_eq!(across(&[3, 9, 6]).unwrap(), [3, 5, 6]);
    assert!(across(&[3, 9, 8]).unwrap_err().contains("keys and values of shape [3, 9, 6]"));
    let odd = Heads { keys: 3, ..HEADS };
    let error =
        typed_shape_of(Attention::Within(odd), &[(&[1, 1, 8], DType::F32), (&[1], DType::I32)]);
    assert!(error.unwrap_err().contains("3 heads of keys do not divide 2"));
}

proptest! {
    #![proptest_config(config())]

    /// Lengths from 0 to the room for positions.
    #[test]
    fn within(seed: u64, batch in 1..3usize, time in 1..5usize, dim in 1..4usize,
              keys in 1..3usize, group in 1..3usize, causal: bool, dropped: bool) {
        let dropout = if dropped { 0.4 } else { 0.0 };
        let heads = Heads { queries: keys * group, keys, causal, dropout, stream: 5 };
        let mut check = Check::new(seed);
        let x = check.variable(&[batch, time, (heads.queries + 2 * keys) * dim], Random::odd);
        let mut inputs = vec![x, check.ints(&[batch], time + 1)];
        if dropped {
            inputs.push(check.ints(&[4], 1 << 30));
        }
        let y = check.apply(Attention::Within(heads), &inputs);
        check.run(y);
    }

    #[test]
    fn across(seed: u64, batch in 1..3usize, queries in 1..4usize, keys in 1..5usize, dim in 1..4usize,
              causal: bool, dropped: bool) {
        let dropout = if dropped { 0.4 } else { 0.0 };
        let heads = Heads { queries: 2, keys: 1, causal, dropout, stream: 5 };
        let mut check = Check::new(seed);
        let q = check.variable(&[batch, queries, 2 * dim], Random::odd);
        let kv = check.variable(&[batch, keys, 2 * dim], Random::odd);
        let mut inputs =
            vec![q, kv, check.ints(&[batch], queries + 1), check.ints(&[batch], keys + 1)];
        if dropped {
            inputs.push(check.ints(&[4], 1 << 30));
        }
        let y = check.apply(Attention::Across(heads), &inputs);
        check.run(y);
    }
}
