//! Pooling.

use crate::common::{Check, Random};
use crate::pytorch::Case;
use crate::{config, shape_of};
use proptest::prelude::*;
use tidemill_graph::reference::{Values, evaluate};
use tidemill_graph::{DType, Graph, Pool, Pool2d, Reduce, Reduction, TensorId};

pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    let x = case.x.clone();
    Some(match op {
        "max_pool2d" | "avg_pool2d" => {
            let (size, stride) = (case.pair("pool_size"), case.pair("strides"));
            let padding = case.padding(size, stride, [1, 1]);
            let pool = Pool2d { size, stride, padding, count_padding: false };
            let maximum = op == "max_pool2d";
            case.apply(if maximum { Pool::Max(pool) } else { Pool::Average(pool) }, &x)
        }
        "global_avg_pool2d" => case.reduce(x[0], Reduction::Mean, vec![1, 2]),
        "global_max_pool2d" => case.reduce(x[0], Reduction::Max, vec![1, 2]),
        _ => return None,
    })
}

#[test]
fn shapes() {
    let image: &[usize] = &[8, 28, 28, 4];
    let pool = |padding| Pool2d { size: [2; 2], stride: [2; 2], padding, count_padding: false };
    assert_eq!(shape_of(Pool::Max(pool([0; 4])), &[image]).unwrap(), [8, 14, 14, 4]);
    assert_eq!(
        shape_of(Pool::Average(pool([0, 1, 0, 1])), &[&[1, 5, 5, 1]]).unwrap(),
        [1, 3, 3, 1]
    );
    assert!(shape_of(Pool::Max(pool([2; 4])), &[image]).unwrap_err().contains("not smaller"));
    let error = shape_of(Pool::Max(pool([0; 4])), &[&[8, 1, 1, 4]]).unwrap_err();
    assert!(error.contains("2x2 window"), "{error}");
}

#[test]
fn ties_of_maxima() {
    let mut graph = Graph::new();
    let x = graph.input("x", &[1, 2, 2, 1], DType::F32);
    let one = graph.input("one", &[1, 1, 1, 1], DType::F32);
    let pool = Pool2d { size: [2, 2], stride: [2, 2], padding: [0; 4], count_padding: false };
    let y = graph.apply(Pool::Max(pool), &[x]).unwrap();
    let first = graph.apply(Pool::MaxGrad(pool), &[x, y, one]).unwrap();
    let reduce = Reduce::Axes { reduction: Reduction::Max, axes: vec![1, 2], keep_dims: true };
    let y = graph.apply(reduce, &[x]).unwrap();
    let shared = graph.apply(Reduce::MaxGrad(vec![1, 2]), &[x, y, one]).unwrap();
    let feeds = Values::<f32>::new(&graph).with(x, vec![1.0, 5.0, 5.0, 2.0]).with(one, vec![1.0]);
    let values = evaluate(&graph, feeds).unwrap();
    assert_eq!(values.get(first), Some(&[0.0, 1.0, 0.0, 0.0][..]));
    assert_eq!(values.get(shared), Some(&[0.0, 0.5, 0.5, 0.0][..]));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn pools(
        seed: u64, batch in 1..3usize, image in prop::array::uniform2(1..7usize), channels in 1..3usize,
        size in prop::array::uniform2(1..4usize), stride in prop::array::uniform2(1..4usize),
        padding in prop::array::uniform4(0..3usize), count_padding: bool, maximum: bool,
    ) {
        let most = [size[0], size[0], size[1], size[1]];
        let padding = std::array::from_fn(|side| padding[side].min(most[side] - 1));
        let pool = Pool2d { size, stride, padding, count_padding };
        let mut check = Check::new(seed);
        let x = check.variable(&[batch, image[0], image[1], channels], Random::distinct);
        let op = if maximum { Pool::Max(pool) } else { Pool::Average(pool) };
        let y = check.graph.apply(op, &[x]);
        prop_assume!(y.is_ok(), "the window does not fit");
        check.run(y.unwrap());
    }
}
