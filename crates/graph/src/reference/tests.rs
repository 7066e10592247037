#![allow(clippy::unwrap_used)]

use super::{Values, apply_updates, evaluate};
use crate::graph::{DType, Graph, Update};
use crate::op::{Binary, Op, Pool2d, Reduction, Unary};
use crate::random::DropoutMask;
use crate::update::{Clip, Rule, WeightDecay, hyper};

#[test]
fn a_training_step() {
    let mut graph = Graph::new();
    let a = graph.parameter("a", &[2]);
    let b = graph.parameter("b", &[1]);
    let running = graph.state("running", &[2]);
    let (da, db) = (graph.input("da", &[2], DType::F32), graph.input("db", &[1], DType::F32));
    let hyper = graph.input("hyper", &[hyper::LEN], DType::F32);
    let twice = graph.apply(Op::Binary(Binary::Add), &[a, a]).unwrap();
    graph.assignments.push((running, twice));
    graph.hyper = Some(hyper);
    for (parameter, gradient) in [(a, da), (b, db)] {
        let (rule, decay) = (Rule::Sgd, WeightDecay::None);
        graph.updates.push(Update { parameter, gradient, slots: vec![], rule, decay });
    }
    let feeds = Values::<f64>::new(&graph)
        .with(a, vec![1.0, 2.0])
        .with(b, vec![3.0])
        .with(running, vec![0.0; 2])
        .with(da, vec![3.0, 0.0])
        .with(db, vec![4.0])
        .with(hyper, vec![0.1, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    for (clip, want_a, want_b) in [
        (Clip::None, 0.7, 2.6),
        (Clip::Value(1.0), 0.9, 2.9),
        // The norms are 3 and 4, and that of both is 5; PyTorch adds 1e-6 to them.
        (Clip::Norm(1.0), 1.0 - 0.3 / 3.000001, 3.0 - 0.4 / 4.000001),
        (Clip::Norm(3.0), 1.0 - 0.9 / 3.000001, 3.0 - 1.2 / 4.000001),
        (Clip::GlobalNorm(1.0), 1.0 - 0.3 / 5.000001, 3.0 - 0.4 / 5.000001),
        (Clip::GlobalNorm(10.0), 0.7, 2.6),
    ] {
        graph.clip = Some(clip);
        let mut values = evaluate(&graph, feeds.clone()).unwrap();
        apply_updates(&graph, &mut values).unwrap();
        let found = [values.get(a).unwrap()[0], values.get(b).unwrap()[0]];
        assert!((found[0] - want_a).abs() < 1e-12, "{clip:?}: {found:?}");
        assert!((found[1] - want_b).abs() < 1e-12, "{clip:?}: {found:?}");
        assert_eq!(values.get(running).unwrap(), [2.0, 4.0], "from before the update");
    }
}

#[test]
fn bad_values_are_errors() {
    let mut graph = Graph::new();
    graph.enter("loss");
    let logits = graph.input("logits", &[2, 3], DType::F32);
    let labels = graph.input("labels", &[2], DType::I32);
    let op = Op::SparseCrossEntropy { label_smoothing: 0.0 };
    graph.apply(op, &[logits, labels]).unwrap();

    let error = |feeds: Values<f32>| evaluate(&graph, feeds).unwrap_err().to_string();
    let feeds = Values::new(&graph).with(logits, vec![0.0; 6]);
    assert!(error(feeds.clone()).contains("loss.labels of shape [2] has no value"));
    let outside = error(feeds.clone().with_ints(labels, vec![0, 3]));
    assert!(outside.contains("label 3 of row 1 is outside 0 to 2"), "{outside}");
    assert!(error(feeds.clone().with_ints(labels, vec![0, -1])).contains("label -1"));
    assert!(error(feeds.with_ints(labels, vec![0])).contains("has 2 elements, found 1"));
}

#[test]
fn weights_that_sum_to_zero_give_zero() {
    let mut graph = Graph::new();
    let loss = graph.input("loss", &[2], DType::F32);
    let weight = graph.input("weight", &[2], DType::F32);
    let mean = graph.apply(Op::WeightedMean, &[loss, weight]).unwrap();
    let slope = graph.apply(Op::WeightedMeanGrad, &[weight, mean]).unwrap();
    let feeds = Values::<f32>::new(&graph).with(loss, vec![1.0, 2.0]).with(weight, vec![0.0; 2]);
    let values = evaluate(&graph, feeds).unwrap();
    assert_eq!(values.get(mean), Some(&[0.0][..]));
    assert_eq!(values.get(slope), Some(&[0.0, 0.0][..]));
}

#[test]
fn ties_of_maxima() {
    let mut graph = Graph::new();
    let x = graph.input("x", &[1, 2, 2, 1], DType::F32);
    let one = graph.input("one", &[1, 1, 1, 1], DType::F32);
    let pool = Pool2d { size: [2, 2], stride: [2, 2], padding: [0; 4], count_padding: false };
    let y = graph.apply(Op::MaxPool2d(pool), &[x]).unwrap();
    let first = graph.apply(Op::MaxPool2dGrad(pool), &[x, y, one]).unwrap();
    let reduce = Op::Reduce { reduction: Reduction::Max, axes: vec![1, 2], keep_dims: true };
    let y = graph.apply(reduce, &[x]).unwrap();
    let shared = graph.apply(Op::ReduceMaxGrad(vec![1, 2]), &[x, y, one]).unwrap();
    let feeds = Values::<f32>::new(&graph).with(x, vec![1.0, 5.0, 5.0, 2.0]).with(one, vec![1.0]);
    let values = evaluate(&graph, feeds).unwrap();
    assert_eq!(values.get(first), Some(&[0.0, 1.0, 0.0, 0.0][..]));
    assert_eq!(values.get(shared), Some(&[0.0, 0.5, 0.5, 0.0][..]));
}

#[test]
fn dropout_is_the_mask_and_integers_move() {
    let mut graph = Graph::new();
    let x = graph.input("x", &[3, 5], DType::F32);
    let key = graph.input("key", &[4], DType::I32);
    let y = graph.apply(Op::Dropout { rate: 0.4, stream: 2 }, &[x, key]).unwrap();
    let square = graph.apply(Op::Reshape(vec![2, 2]), &[key]).unwrap();
    let turned = graph.apply(Op::Transpose(vec![1, 0]), &[square]).unwrap();
    let feeds = Values::<f32>::new(&graph).with(x, vec![2.0; 15]).with_ints(key, vec![7, 8, 9, 0]);
    let values = evaluate(&graph, feeds).unwrap();
    let mask = DropoutMask::new(0.4, 2, [7, 8, 9, 0]);
    let want: Vec<_> = (0..15).map(|index| 2.0 * mask.factor(index)).collect();
    assert_eq!(values.get(y), Some(&want[..]));
    assert_eq!(values.ints(turned), Some(&[7, 9, 8, 0][..]));
}

#[test]
fn not_a_number_stays() {
    for op in [Unary::Relu, Unary::LeakyRelu { slope: 0.1 }, Unary::Clip { low: 0.0, high: 6.0 }] {
        assert!(super::unary(op, f32::NAN).is_nan(), "{op:?}");
    }
}
