//! Softmax.

use crate::common::{Check, Random};
use crate::pytorch::Case;
use crate::{config, dims};
use proptest::prelude::*;
use tidemill_graph::{Layout, Softmax, TensorId};

/// Another axis than the last is moved there and back.
pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let softmax = match op {
        "softmax" => Softmax::Plain,
        "log_softmax" => Softmax::Log,
        _ => return None,
    };
    let x = case.x[0];
    let (axis, rank) = (case.axis(x), case.graph.shape(x).len());
    if axis == rank - 1 {
        return Some(case.apply(softmax, &[x]));
    }
    let mut swap: Vec<_> = (0..rank).collect();
    swap.swap(axis, rank - 1);
    let moved = case.apply(Layout::Transpose(swap.clone()), &[x]);
    let y = case.apply(softmax, &[moved]);
    Some(case.apply(Layout::Transpose(swap), &[y]))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn softmaxes(seed: u64, leading in dims(0..=2), c in 1..6usize, log: bool) {
        let mut check = Check::new(seed);
        let x = check.variable(&[leading, vec![c]].concat(), Random::odd);
        let y = check.apply(if log { Softmax::Log } else { Softmax::Plain }, &[x]);
        check.run(y);
    }
}
