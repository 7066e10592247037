//! Elements that move.

use crate::common::{Check, Random};
use crate::pytorch::Case;
use crate::{config, dims, narrowed, shape_of};
use proptest::prelude::*;
use tidemill_graph::{Layout, TensorId};

pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let x = case.x.clone();
    let layout = match op {
        "reshape" => Layout::Reshape(case.list("shape")),
        "transpose" => Layout::Transpose(case.list("permutation")),
        "concat" => Layout::Concat { axis: case.axis(x[0]) },
        "slice" => {
            let (start, end) = (case.list("begin"), case.list("end"));
            let size = start.iter().zip(&end).map(|(start, end)| end - start).collect();
            Layout::Slice { start, size }
        }
        "pad" => {
            let pairs = case.attributes["padding"].as_array().unwrap();
            let side = |side: usize| {
                pairs.iter().map(|pair| pair[side].as_u64().unwrap() as usize).collect()
            };
            let (before, after) = (side(0), side(1));
            Layout::Pad { before, after, value: case.number("value") }
        }
        _ => return None,
    };
    Some(case.apply(layout, &x))
}

#[test]
fn shapes() {
    let x: &[usize] = &[2, 3, 4];
    assert_eq!(shape_of(Layout::Transpose(vec![2, 0, 1]), &[x]).unwrap(), [4, 2, 3]);
    assert!(shape_of(Layout::Transpose(vec![0, 0, 1]), &[x]).is_err());
    assert_eq!(shape_of(Layout::Reshape(vec![6, 4]), &[x]).unwrap(), [6, 4]);
    let error = shape_of(Layout::Reshape(vec![5, 5]), &[x]).unwrap_err();
    assert!(error.contains("has 24 elements, [5, 5] has 25"), "{error}");
    assert_eq!(shape_of(Layout::Concat { axis: 1 }, &[x, &[2, 5, 4]]).unwrap(), [2, 8, 4]);
    assert!(shape_of(Layout::Concat { axis: 1 }, &[x, &[2, 5, 5]]).is_err());
    let slice = Layout::Slice { start: vec![0, 1, 2], size: vec![2, 2, 2] };
    assert_eq!(shape_of(slice, &[x]).unwrap(), [2, 2, 2]);
    let pad = Layout::Pad { before: vec![0, 1, 0], after: vec![0, 0, 2], value: 0.0 };
    assert_eq!(shape_of(pad, &[x]).unwrap(), [2, 4, 6]);
    assert!(shape_of(Layout::BroadcastTo(vec![3, 4]), &[x]).is_err());
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn broadcast_to(seed: u64, shape in dims(0..=4)) {
        let mut check = Check::new(seed);
        let from = narrowed(&shape, &mut check.random);
        let x = check.variable(&from, Random::odd);
        let y = check.apply(Layout::BroadcastTo(shape), &[x]);
        check.run(y);
    }

    #[test]
    fn reshape_and_transpose(seed: u64, shape in dims(0..=4)) {
        let mut check = Check::new(seed);
        let x = check.variable(&shape, Random::odd);
        let mut permutation: Vec<_> = (0..shape.len()).collect();
        for i in (1..shape.len()).rev() {
            permutation.swap(i, check.random.below(i + 1));
        }
        let y = check.apply(Layout::Transpose(permutation), &[x]);
        let y = check.apply(Layout::Reshape(vec![shape.iter().product(), 1]), &[y]);
        check.run(y);
    }

    #[test]
    fn concat(seed: u64, shape in dims(1..=3), axis in 0..3usize, parts in 1..4usize) {
        let axis = axis % shape.len();
        let mut check = Check::new(seed);
        let mut inputs = vec![];
        for _ in 0..parts {
            let mut part = shape.clone();
            part[axis] = 1 + check.random.below(3);
            inputs.push(check.variable(&part, Random::odd));
        }
        // The same input twice: both parts of the gradient count.
        inputs.push(inputs[0]);
        let y = check.apply(Layout::Concat { axis }, &inputs);
        check.run(y);
    }

    #[test]
    fn slice_and_pad(seed: u64, shape in dims(1..=4)) {
        let mut check = Check::new(seed);
        let x = check.variable(&shape, Random::odd);
        let start: Vec<_> = shape.iter().map(|&dim| check.random.below(dim)).collect();
        let size: Vec<_> = shape
            .iter()
            .zip(&start)
            .map(|(&dim, &start)| 1 + check.random.below(dim - start))
            .collect();
        let y = check.apply(Layout::Slice { start, size }, &[x]);
        let before = shape.iter().map(|_| check.random.below(3)).collect();
        let after = shape.iter().map(|_| check.random.below(3)).collect();
        let y = check.apply(Layout::Pad { before, after, value: 0.5 }, &[y]);
        check.run(y);
    }
}
