//! Convolutions.

use crate::common::{Check, Random};
use crate::pytorch::Case;
use crate::{config, shape_of};
use proptest::prelude::*;
use tidemill_graph::{Conv, Conv2d, TensorId};

pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    if op != "conv2d" {
        return None;
    }
    let x = case.x.clone();
    let (stride, dilation) = (case.pair("strides"), case.pair("dilation"));
    let weight = case.graph.shape(x[1]);
    let padding = case.padding([weight[0], weight[1]], stride, dilation);
    let groups = case.attributes["groups"].as_u64().unwrap() as usize;
    let y = case.apply(Conv2d { stride, dilation, padding, groups }, &x[..2]);
    Some(case.bias(y, x.get(2).copied()))
}

fn conv(stride: usize, dilation: usize, padding: usize, groups: usize) -> Conv {
    Conv::Forward(Conv2d {
        stride: [stride; 2],
        dilation: [dilation; 2],
        padding: [padding; 4],
        groups,
    })
}

#[test]
fn shapes() {
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
}

#[test]
fn gradient_ops_check_dy() {
    let Conv::Forward(c) = conv(1, 1, 0, 1) else { unreachable!() };
    let input = vec![2, 5, 5, 3];
    let op = Conv::GradInput(c, input.clone());
    assert_eq!(shape_of(op.clone(), &[&[2, 3, 3, 6], &[3, 3, 3, 6]]).unwrap(), input);
    let error = shape_of(op, &[&[2, 4, 4, 6], &[3, 3, 3, 6]]).unwrap_err();
    assert!(
        error.contains("expected dy of shape [2, 3, 3, 6], found shape [2, 4, 4, 6]"),
        "{error}"
    );
    let op = Conv::GradWeight(c, vec![3, 3, 3, 6]);
    assert_eq!(shape_of(op, &[&[2, 5, 5, 3], &[2, 3, 3, 6]]).unwrap(), [3, 3, 3, 6]);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn conv2d(
        seed: u64, batch in 1..3usize, image in prop::array::uniform2(1..7usize),
        kernel in prop::array::uniform2(1..4usize), stride in prop::array::uniform2(1..4usize),
        dilation in prop::array::uniform2(1..3usize), padding in prop::array::uniform4(0..3usize),
        groups in 1..4usize, group_channels in 1..3usize, group_filters in 1..3usize,
    ) {
        let conv = Conv2d { stride, dilation, padding, groups };
        let mut check = Check::new(seed);
        let x = [batch, image[0], image[1], groups * group_channels];
        let weight = [kernel[0], kernel[1], group_channels, groups * group_filters];
        let x = check.variable(&x, Random::odd);
        let weight = check.variable(&weight, Random::odd);
        let y = check.graph.apply(Conv::Forward(conv), &[x, weight]);
        prop_assume!(y.is_ok(), "the kernel does not fit");
        check.run(y.unwrap());
    }
}
