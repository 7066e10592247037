//! Reductions.

use crate::common::{Check, Random};
use crate::pytorch::Case;
use crate::{config, dims, shape_of};
use proptest::prelude::*;
use tidemill_graph::{Reduce, Reduction, TensorId};

pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let reduction = match op {
        "reduce_sum" => Reduction::Sum,
        "reduce_mean" => Reduction::Mean,
        "reduce_max" => Reduction::Max,
        _ => return None,
    };
    let (axes, keep_dims) = (case.list("axes"), case.flag("keep_dims"));
    let x = case.x.clone();
    Some(case.apply(Reduce::Axes { reduction, axes, keep_dims }, &x))
}

#[test]
fn shapes() {
    let x: &[usize] = &[2, 3, 4];
    let reduce = |axes: &[usize], keep_dims| Reduce::Axes {
        reduction: Reduction::Mean,
        axes: axes.to_vec(),
        keep_dims,
    };
    assert_eq!(shape_of(reduce(&[0, 2], false), &[x]).unwrap(), [3]);
    assert_eq!(shape_of(reduce(&[0, 2], true), &[x]).unwrap(), [1, 3, 1]);
    assert!(shape_of(reduce(&[2, 0], true), &[x]).is_err());
    assert!(shape_of(reduce(&[3], true), &[x]).is_err());
}

/// A random set of axes, in order.
fn some_axes(rank: usize, random: &mut Random) -> Vec<usize> {
    (0..rank).filter(|_| random.below(2) == 0).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn reductions(seed: u64, shape in dims(0..=4), which in 0..3usize, keep_dims: bool) {
        let reduction = [Reduction::Sum, Reduction::Mean, Reduction::Max][which];
        let mut check = Check::new(seed);
        let x = check.variable(&shape, Random::distinct);
        let axes = some_axes(shape.len(), &mut check.random);
        let y = check.apply(Reduce::Axes { reduction, axes, keep_dims }, &[x]);
        check.run(y);
    }
}
