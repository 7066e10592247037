//! Functions of two values.

use crate::common::{Check, Random};
use crate::pytorch::Case;
use crate::{config, dims, narrowed, shape_of};
use proptest::prelude::*;
use tidemill_graph::shape::broadcast_axes;
use tidemill_graph::{Binary, TensorId};

pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let binary = match op {
        "add" => Binary::Add,
        "sub" => Binary::Sub,
        "mul" => Binary::Mul,
        "div" => Binary::Div,
        "maximum" => Binary::Max,
        "minimum" => Binary::Min,
        _ => return None,
    };
    let x = case.x.clone();
    Some(case.apply(binary, &x))
}

#[test]
fn broadcasting() {
    let add = Binary::Add;
    assert_eq!(shape_of(add, &[&[4, 1, 3], &[5, 1]]).unwrap(), [4, 5, 3]);
    assert_eq!(shape_of(add, &[&[], &[2, 2]]).unwrap(), [2, 2]);
    let error = shape_of(add, &[&[8, 5, 3], &[5]]).unwrap_err();
    assert!(error.contains("shapes [8, 5, 3] and [5]"), "{error}");
    assert!(error.contains("to go along dim 1 reshape [5] to [5, 1]"), "{error}");
    assert_eq!(broadcast_axes(&[1, 3], &[2, 4, 3]), [0, 1]);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn binary(seed: u64, shape in dims(0..=4), which in 0..6usize) {
        let op = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min][which];
        let mut check = Check::new(seed);
        let a_shape = narrowed(&shape, &mut check.random);
        let b_shape = narrowed(&shape, &mut check.random);
        let a = check.variable(&a_shape, Random::odd);
        let divisor = op == Binary::Div;
        let b = check.variable(&b_shape, if divisor { Random::positive } else { Random::even });
        let y = check.apply(op, &[a, b]);
        check.run(y);
    }
}
