//! Recurrent layers.

use crate::common::{Check, Random};
use crate::config;
use crate::pytorch::Case;
use crate::typed_shape_of;
use proptest::prelude::*;
use tidemill_graph::{Cell, DType, MatMul, Recurrent, Scan, TensorId};

/// `x`, lengths and the weights as [`fixtures/sequence_cases.py`] has them.
pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let cell = match op {
        "gru" => Cell::Gru { bias: true },
        "lstm" => Cell::Lstm,
        _ => return None,
    };
    let scan = Scan { cell, reverse: case.flag("reverse") };
    let [x, lengths, kernel, recurrent, bias] = [0, 1, 2, 3, 4].map(|i| case.x[i]);
    let product = MatMul::default();
    let inputs = case.apply(product, &[x, kernel]);
    let inputs = case.bias(inputs, Some(bias));
    let given = [inputs, recurrent, lengths].into_iter().chain(case.x.get(5).copied());
    let given: Vec<TensorId> = given.collect();
    Some(case.apply(Recurrent::States(scan), &given))
}

#[test]
fn shapes() {
    let of = |x: &[usize], kernel: &[usize], lengths: &[usize], bias: &[usize]| {
        let (f, i) = (DType::F32, DType::I32);
        let scan = Scan { cell: Cell::Gru { bias: true }, reverse: false };
        typed_shape_of(Recurrent::States(scan), &[(x, f), (kernel, f), (lengths, i), (bias, f)])
    };
    assert_eq!(of(&[4, 5, 6], &[2, 6], &[4], &[6]).unwrap(), [4, 5, 2]);
    let error = |x, kernel, lengths, bias| of(x, kernel, lengths, bias).unwrap_err();
    assert!(error(&[4, 5, 7], &[2, 6], &[4], &[6]).contains("each of 3 gates"));
    assert!(error(&[4, 5, 6], &[3, 6], &[4], &[6]).contains("kernel of shape [2, 6]"));
    assert!(error(&[4, 5, 6], &[2, 6], &[5], &[6]).contains("lengths of shape [4]"));
    assert!(error(&[4, 5, 6], &[2, 6], &[4], &[2]).contains("bias of shape [6]"));
    assert!(error(&[4, 6], &[2, 6], &[4], &[6]).contains("[batch, time, gates x units]"));
}

proptest! {
    #![proptest_config(config())]

    /// Lengths from 0 to the room for positions, both directions, with and without a bias.
    #[test]
    fn gated_units(seed: u64, batch in 1..4usize, time in 1..5usize, units in 1..4usize, reverse: bool,
                   bias: bool) {
        let mut check = Check::new(seed);
        let cell = Cell::Gru { bias };
        let y = scanned(&mut check, Scan { cell, reverse }, [batch, time, units]);
        check.run(y);
    }

    #[test]
    fn long_short_term_memory(seed: u64, batch in 1..4usize, time in 1..5usize, units in 1..4usize, reverse: bool) {
        let mut check = Check::new(seed);
        let y = scanned(&mut check, Scan { cell: Cell::Lstm, reverse }, [batch, time, units]);
        check.run(y);
    }
}

/// The states of a scan of random inputs and weights.
fn scanned(check: &mut Check, scan: Scan, [batch, time, units]: [usize; 3]) -> TensorId {
    let width = scan.cell.gates() * units;
    let x = check.variable(&[batch, time, width], Random::odd);
    let kernel = check.variable(&[units, width], Random::odd);
    let mut inputs = vec![x, kernel, check.ints(&[batch], time + 1)];
    if scan.cell.has_bias() {
        inputs.push(check.variable(&[width], Random::odd));
    }
    check.apply(Recurrent::States(scan), &inputs)
}
