//! Matrix products.

use crate::common::{Check, Random};
use crate::pytorch::Case;
use crate::{config, dims, shape_of, typed_shape_of};
use proptest::prelude::*;
use tidemill_graph::{DType, Graph, Layout, MatMul, TensorId};

pub const DENSE: MatMul = MatMul { transpose_a: false, transpose_b: false, ragged: false };

pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let x = case.x.clone();
    Some(match op {
        "dense" => {
            let y = case.apply(DENSE, &x[..2]);
            case.bias(y, x.get(2).copied())
        }
        "matmul" => matmul_broadcast(case),
        _ => return None,
    })
}

/// Batch dims that differ are broadcast by an op of their own.
fn matmul_broadcast(case: &mut Case<'_>) -> TensorId {
    let (mut a, mut b) = (case.x[0], case.x[1]);
    let dims = |id: TensorId, graph: &Graph| graph.shape(id).to_vec();
    let (a_dims, b_dims) = (dims(a, &case.graph), dims(b, &case.graph));
    if a_dims.len() == b_dims.len() {
        let leading = a_dims.len() - 2;
        let batch: Vec<_> = (0..leading).map(|i| a_dims[i].max(b_dims[i])).collect();
        let whole = |matrix: &[usize]| [&batch, &matrix[leading..]].concat();
        if a_dims != whole(&a_dims) || b_dims != whole(&b_dims) {
            a = case.apply(Layout::BroadcastTo(whole(&a_dims)), &[a]);
            b = case.apply(Layout::BroadcastTo(whole(&b_dims)), &[b]);
        }
    }
    let (transpose_a, transpose_b) = (case.flag("transpose_a"), case.flag("transpose_b"));
    case.apply(MatMul { transpose_a, transpose_b, ragged: false }, &[a, b])
}

#[test]
fn matmul_shapes() {
    let flags = |transpose_a, transpose_b| MatMul { transpose_a, transpose_b, ragged: false };
    assert_eq!(shape_of(DENSE, &[&[32, 784], &[784, 128]]).unwrap(), [32, 128]);
    assert_eq!(shape_of(DENSE, &[&[2, 5, 7], &[7, 3]]).unwrap(), [2, 5, 3]);
    assert_eq!(shape_of(DENSE, &[&[5, 7], &[2, 7, 3]]).unwrap(), [2, 5, 3]);
    assert_eq!(shape_of(flags(true, true), &[&[9, 7, 5], &[9, 3, 7]]).unwrap(), [9, 5, 3]);
    assert!(
        shape_of(DENSE, &[&[2, 5, 7], &[3, 7, 3]]).unwrap_err().contains("batch dims [2] and [3]")
    );
    assert!(shape_of(DENSE, &[&[5], &[5, 3]]).unwrap_err().contains("reshape [5]"));
}

#[test]
fn lengths_fit_the_rows() {
    let ragged = |transpose_a| MatMul { transpose_a, transpose_b: false, ragged: true };
    let of = |op: MatMul, a: &[usize], b: &[usize], lengths: &[usize]| {
        let inputs = [(a, DType::F32), (b, DType::F32), (lengths, DType::I32)];
        typed_shape_of(op, &inputs)
    };
    assert_eq!(of(ragged(false), &[3, 5, 7], &[7, 2], &[3]).unwrap(), [3, 5, 2]);
    assert_eq!(of(ragged(false), &[15, 7], &[7, 2], &[3]).unwrap(), [15, 2]);
    assert_eq!(of(ragged(true), &[15, 7], &[15, 2], &[5]).unwrap(), [7, 2]);
    let error = |op, a: &[usize], b: &[usize]| of(op, a, b, &[4]).unwrap_err();
    assert!(error(ragged(false), &[3, 5, 7], &[7, 2]).contains("15 rows of [3, 5, 7]"));
    assert!(error(ragged(false), &[4, 5, 7], &[4, 7, 2]).contains("shares one matrix"));
    assert!(error(ragged(true), &[4, 5, 7], &[5, 2]).contains("shares one matrix"));
}

#[test]
fn a_missing_flatten_is_named() {
    let error = shape_of(DENSE, &[&[32, 28, 28, 1], &[784, 128]]).unwrap_err();
    assert_eq!(
        error,
        "layers.1: matmul: expected 784 features, found shape [32, 28, 28, 1] x [784, 128]; \
         help: flatten 28x28x1 gives 784"
    );
    let error = shape_of(DENSE, &[&[32, 3072], &[784, 128]]).unwrap_err();
    assert!(error.contains("the last dim has 3072 features; the weight is for 784"), "{error}");
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn matmul(
        seed: u64, m in 1..5usize, k in 1..5usize, n in 1..5usize, batch in dims(1..=2),
        a_batched: bool, b_batched: bool, transpose_a: bool, transpose_b: bool,
    ) {
        let mut check = Check::new(seed);
        let matrix = |batched: bool, transposed: bool, rows: usize, columns: usize| {
            let matrix = if transposed { [columns, rows] } else { [rows, columns] };
            [if batched { &batch[..] } else { &[] }, &matrix].concat()
        };
        let a = check.variable(&matrix(a_batched, transpose_a, m, k), Random::odd);
        let b = check.variable(&matrix(b_batched, transpose_b, k, n), Random::odd);
        let y = check.apply(MatMul { transpose_a, transpose_b, ragged: false }, &[a, b]);
        check.run(y);
    }

    /// Positions beyond a sample's length give zeros and get no gradient.
    #[test]
    fn ragged_matmul(
        seed: u64, lengths in prop::collection::vec(0..5i32, 1..4), k in 1..4usize, n in 1..4usize,
        transpose_b: bool,
    ) {
        let (mut check, samples, time) = (Check::new(seed), lengths.len(), 4);
        let a = check.variable(&[samples, time, k], Random::odd);
        let b = check.variable(&if transpose_b { [n, k] } else { [k, n] }, Random::odd);
        let of = check.graph.input("lengths", &[samples], DType::I32);
        check.feeds.set_ints(of, lengths);
        let y = check.apply(MatMul { transpose_a: false, transpose_b, ragged: true }, &[a, b, of]);
        check.run(y);
    }
}
