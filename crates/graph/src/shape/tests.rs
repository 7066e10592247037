#![allow(clippy::unwrap_used)]

use crate::graph::{DType, Graph};
use crate::op::{Binary, Conv2d, Op, PairLoss, Pool2d, Reduction, Unary};

const DENSE: Op = Op::MatMul { transpose_a: false, transpose_b: false };

fn shape_of(op: Op, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
    let typed: Vec<_> = inputs.iter().map(|&s| (s, DType::F32)).collect();
    typed_shape_of(op, &typed)
}

fn typed_shape_of(op: Op, inputs: &[(&[usize], DType)]) -> Result<Vec<usize>, String> {
    let mut graph = Graph::new();
    graph.enter("layers.1");
    let ids: Vec<_> = inputs.iter().map(|(shape, dtype)| graph.input("x", shape, *dtype)).collect();
    graph.apply(op, &ids).map(|id| graph.shape(id).to_vec()).map_err(|error| error.to_string())
}

fn conv(stride: usize, dilation: usize, padding: usize, groups: usize) -> Op {
    Op::Conv2d(Conv2d {
        stride: [stride; 2],
        dilation: [dilation; 2],
        padding: [padding; 4],
        groups,
    })
}

#[test]
fn matmul_shapes() {
    let flags = |transpose_a, transpose_b| Op::MatMul { transpose_a, transpose_b };
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

#[test]
fn conv_and_pool_shapes() {
    let image: &[usize] = &[8, 28, 28, 4];
    assert_eq!(shape_of(conv(1, 1, 0, 1), &[image, &[3, 3, 4, 32]]).unwrap(), [8, 26, 26, 32]);
    assert_eq!(shape_of(conv(2, 1, 1, 1), &[image, &[3, 3, 4, 32]]).unwrap(), [8, 14, 14, 32]);
    assert_eq!(shape_of(conv(1, 2, 2, 4), &[image, &[3, 3, 1, 8]]).unwrap(), [8, 28, 28, 8]);
    let error = shape_of(conv(1, 1, 0, 3), &[image, &[3, 3, 1, 3]]).unwrap_err();
    assert!(error.contains("3 groups do not divide the 4 channels"), "{error}");
    assert!(error.contains("use one of [1, 2, 4]"), "{error}");
    let error = shape_of(conv(1, 3, 1, 1), &[&[8, 4, 4, 4], &[3, 3, 4, 2]]).unwrap_err();
    assert!(error.contains("a 3x3 kernel with dilation 3x3 does not fit"), "{error}");
    assert!(error.contains("padded image of 6x6"), "{error}");
    let error = shape_of(conv(1, 1, 0, 1), &[&[8, 28, 28], &[3, 3, 1, 2]]).unwrap_err();
    assert!(error.contains("add a channel dim"), "{error}");

    let pool = |padding| Pool2d { size: [2; 2], stride: [2; 2], padding, count_padding: false };
    assert_eq!(shape_of(Op::MaxPool2d(pool([0; 4])), &[image]).unwrap(), [8, 14, 14, 4]);
    assert_eq!(
        shape_of(Op::AvgPool2d(pool([0, 1, 0, 1])), &[&[1, 5, 5, 1]]).unwrap(),
        [1, 3, 3, 1]
    );
    assert!(shape_of(Op::MaxPool2d(pool([2; 4])), &[image]).unwrap_err().contains("not smaller"));
    let error = shape_of(Op::MaxPool2d(pool([0; 4])), &[&[8, 1, 1, 4]]).unwrap_err();
    assert!(error.contains("2x2 window"), "{error}");
}

#[test]
fn gradient_ops_check_dy() {
    let Op::Conv2d(c) = conv(1, 1, 0, 1) else { unreachable!() };
    let input = vec![2, 5, 5, 3];
    let op = Op::Conv2dGradInput(c, input.clone());
    assert_eq!(shape_of(op.clone(), &[&[2, 3, 3, 6], &[3, 3, 3, 6]]).unwrap(), input);
    let error = shape_of(op, &[&[2, 4, 4, 6], &[3, 3, 3, 6]]).unwrap_err();
    assert!(
        error.contains("expected dy of shape [2, 3, 3, 6], found shape [2, 4, 4, 6]"),
        "{error}"
    );
    let op = Op::Conv2dGradWeight(c, vec![3, 3, 3, 6]);
    assert_eq!(shape_of(op, &[&[2, 5, 5, 3], &[2, 3, 3, 6]]).unwrap(), [3, 3, 3, 6]);
}

#[test]
fn broadcasting() {
    let add = Op::Binary(Binary::Add);
    assert_eq!(shape_of(add.clone(), &[&[4, 1, 3], &[5, 1]]).unwrap(), [4, 5, 3]);
    assert_eq!(shape_of(add.clone(), &[&[], &[2, 2]]).unwrap(), [2, 2]);
    let error = shape_of(add, &[&[8, 5, 3], &[5]]).unwrap_err();
    assert!(error.contains("shapes [8, 5, 3] and [5]"), "{error}");
    assert!(error.contains("to go along dim 1 reshape [5] to [5, 1]"), "{error}");
    let loss = Op::Binary(Binary::Loss(PairLoss::SquaredError));
    assert!(
        shape_of(loss, &[&[8, 2], &[8, 3]]).unwrap_err().contains("predictions and the targets")
    );
    assert_eq!(super::broadcast_axes(&[1, 3], &[2, 4, 3]), [0, 1]);
}

#[test]
fn loss_errors_name_the_other_loss() {
    let sparse = Op::SparseCrossEntropy { label_smoothing: 0.0 };
    let dense = Op::DenseCrossEntropy { label_smoothing: 0.0 };
    let logits: (&[usize], _) = (&[32, 10], DType::F32);
    assert_eq!(typed_shape_of(sparse.clone(), &[logits, (&[32], DType::I32)]).unwrap(), [32]);
    let error = typed_shape_of(sparse.clone(), &[logits, (&[32, 10], DType::F32)]).unwrap_err();
    assert!(error.contains("expected labels of type i32, found f32"), "{error}");
    let error = typed_shape_of(sparse.clone(), &[logits, (&[32, 1], DType::I32)]).unwrap_err();
    assert!(error.contains("reshape the labels to [32]"), "{error}");
    let image: (&[usize], _) = (&[32, 28, 28, 10], DType::F32);
    let error = typed_shape_of(sparse, &[image, (&[32], DType::I32)]).unwrap_err();
    assert!(error.contains("flatten"), "{error}");
    let error = typed_shape_of(dense, &[logits, (&[32], DType::I32)]).unwrap_err();
    assert!(error.contains("sparse_categorical_crossentropy"), "{error}");
}

#[test]
fn layout_shapes() {
    let x: &[usize] = &[2, 3, 4];
    let reduce = |axes: &[usize], keep_dims| Op::Reduce {
        reduction: Reduction::Mean,
        axes: axes.to_vec(),
        keep_dims,
    };
    assert_eq!(shape_of(reduce(&[0, 2], false), &[x]).unwrap(), [3]);
    assert_eq!(shape_of(reduce(&[0, 2], true), &[x]).unwrap(), [1, 3, 1]);
    assert!(shape_of(reduce(&[2, 0], true), &[x]).is_err());
    assert!(shape_of(reduce(&[3], true), &[x]).is_err());
    assert_eq!(shape_of(Op::Transpose(vec![2, 0, 1]), &[x]).unwrap(), [4, 2, 3]);
    assert!(shape_of(Op::Transpose(vec![0, 0, 1]), &[x]).is_err());
    assert_eq!(shape_of(Op::Reshape(vec![6, 4]), &[x]).unwrap(), [6, 4]);
    let error = shape_of(Op::Reshape(vec![5, 5]), &[x]).unwrap_err();
    assert!(error.contains("has 24 elements, [5, 5] has 25"), "{error}");
    assert_eq!(shape_of(Op::Concat { axis: 1 }, &[x, &[2, 5, 4]]).unwrap(), [2, 8, 4]);
    assert!(shape_of(Op::Concat { axis: 1 }, &[x, &[2, 5, 5]]).is_err());
    let slice = Op::Slice { start: vec![0, 1, 2], size: vec![2, 2, 2] };
    assert_eq!(shape_of(slice, &[x]).unwrap(), [2, 2, 2]);
    let pad = Op::Pad { before: vec![0, 1, 0], after: vec![0, 0, 2], value: 0.0 };
    assert_eq!(shape_of(pad, &[x]).unwrap(), [2, 4, 6]);
    assert!(shape_of(Op::BroadcastTo(vec![3, 4]), &[x]).is_err());
}

#[test]
fn absurd_sizes_are_errors() {
    const HUGE: usize = usize::MAX;
    let x: &[usize] = &[2, 3];
    let pad = Op::Pad { before: vec![HUGE, HUGE], after: vec![HUGE, 1], value: 0.0 };
    let slice = Op::Slice { start: vec![HUGE, HUGE], size: vec![HUGE, 2] };
    for op in [
        Op::BroadcastTo(vec![HUGE, 2, 3]),
        Op::Reshape(vec![HUGE, HUGE]),
        Op::EmbeddingGrad { rows: HUGE },
        pad,
        slice,
        Op::Unary(Unary::Clip { low: 1.0, high: f32::NAN }),
        Op::Dropout { rate: 1.0, stream: 0 },
    ] {
        assert!(shape_of(op.clone(), &[x]).is_err(), "{op:?}");
        assert!(shape_of(op.clone(), &[&[HUGE, HUGE]]).is_err(), "{op:?}");
        assert!(shape_of(op, &[]).is_err());
    }
    let huge = Conv2d { stride: [HUGE; 2], dilation: [HUGE; 2], padding: [HUGE; 4], groups: HUGE };
    assert!(shape_of(Op::Conv2d(huge), &[&[1, 2, 2, 1], &[3, 3, 1, 1]]).is_err());
    let zero = Conv2d { stride: [0; 2], dilation: [1; 2], padding: [0; 4], groups: 0 };
    assert!(shape_of(Op::Conv2d(zero), &[&[1, 2, 2, 1], &[1, 1, 1, 1]]).is_err());
    assert!(shape_of(DENSE, &[&[HUGE, 3], &[3, HUGE]]).unwrap_err().contains("more elements"));
    assert!(shape_of(DENSE, &[&[0, 3], &[3, 2]]).unwrap_err().contains("no elements"));
}
