#![allow(clippy::unwrap_used)]

use super::gradients;
use crate::graph::{DType, Graph, TensorId};
use crate::ops::{BatchNorm, Binary, Loss, MatMul, Reduce, Reduction, Softmax, Unary};

const DENSE: MatMul = MatMul { transpose_a: false, transpose_b: false, ragged: false };

/// 784-16(relu)-10 with sparse cross-entropy: the loss and the parameters.
fn mlp(graph: &mut Graph) -> (TensorId, Vec<TensorId>) {
    let mut x = graph.input("x", &[32, 784], DType::F32);
    let labels = graph.input("labels", &[32], DType::I32);
    let weight = graph.input("weight", &[32], DType::F32);
    let mut parameters = vec![];
    for (index, (inputs, units)) in [(784, 16), (16, 10)].into_iter().enumerate() {
        graph.enter(format!("layers.{index}.dense"));
        let kernel = graph.parameter("kernel", &[inputs, units]);
        let bias = graph.parameter("bias", &[units]);
        x = graph.apply(DENSE, &[x, kernel]).unwrap();
        x = graph.apply(Binary::Add, &[x, bias]).unwrap();
        if index == 0 {
            x = graph.apply(Unary::Relu, &[x]).unwrap();
        }
        graph.leave();
        parameters.extend([kernel, bias]);
    }
    let loss = Loss::SparseCrossEntropy { label_smoothing: 0.0 };
    let loss = graph.apply(loss, &[x, labels]).unwrap();
    let loss = graph.apply(Loss::WeightedMean, &[loss, weight]).unwrap();
    (loss, parameters)
}

#[test]
fn only_what_is_wanted_is_built() {
    let mut graph = Graph::new();
    let (loss, parameters) = mlp(&mut graph);
    let forward = graph.tensors.len();
    let found = gradients(&mut graph, loss, &parameters).unwrap();
    for (&parameter, gradient) in parameters.iter().zip(&found) {
        assert_eq!(graph.shape(gradient.unwrap()), graph.shape(parameter));
    }
    let ops: Vec<_> = graph.tensors[forward..].iter().map(|t| t.op.name()).collect();
    // No gradient for the images: two products for the second layer, one for the first.
    assert_eq!(
        ops,
        [
            "constant",
            "weighted_mean_grad",
            "sparse_categorical_crossentropy_grad",
            "reduce_sum",
            "matmul",
            "matmul",
            "relu",
            "reduce_sum",
            "matmul"
        ]
    );
    let names: Vec<_> = graph.tensors[forward..].iter().map(|t| t.name.as_str()).collect();
    assert!(names.iter().any(|n| n.starts_with("grad.layers.1.dense.matmul#")), "{names:?}");

    let mut graph = Graph::new();
    let (loss, parameters) = mlp(&mut graph);
    let forward = graph.tensors.len();
    gradients(&mut graph, loss, &parameters[3..]).unwrap();
    assert_eq!(graph.tensors.len() - forward, 4, "the last bias needs no product");
}

#[test]
fn contributions_are_summed() {
    let mut graph = Graph::new();
    let x = graph.parameter("x", &[3]);
    let unused = graph.parameter("unused", &[3]);
    let y = graph.apply(Binary::Mul, &[x, x]).unwrap();
    let sum = Reduce::Axes { reduction: Reduction::Sum, axes: vec![0], keep_dims: false };
    let loss = graph.apply(sum, &[y]).unwrap();
    let found = gradients(&mut graph, loss, &[x, unused]).unwrap();
    assert_eq!(graph.tensor(found[0].unwrap()).op, Binary::Add.into());
    assert_eq!(found[1], None);
}

#[test]
fn what_has_no_gradient_says_so() {
    let mut graph = Graph::new();
    let x = graph.parameter("x", &[2, 3]);
    let error = gradients(&mut graph, x, &[x]).unwrap_err().to_string();
    assert!(error.contains("expected a scalar f32 loss, found x of shape [2, 3]"), "{error}");

    let sum = Reduce::Axes { reduction: Reduction::Sum, axes: vec![0, 1], keep_dims: false };
    let moments = graph.apply(BatchNorm::Moments, &[x]).unwrap();
    let loss = graph.apply(sum.clone(), &[moments]).unwrap();
    let error = gradients(&mut graph, loss, &[x]).unwrap_err().to_string();
    assert!(error.contains("channel_moments: no gradient"), "{error}");

    let y = graph.apply(Softmax::Plain, &[x]).unwrap();
    let loss = graph.apply(sum.clone(), &[y]).unwrap();
    let slope = gradients(&mut graph, loss, &[x]).unwrap()[0].unwrap();
    let slope = graph.apply(sum, &[slope]).unwrap();
    let error = gradients(&mut graph, slope, &[x]).unwrap_err().to_string();
    assert!(error.contains("second derivatives"), "{error}");

    let target = Loss::DenseCrossEntropy { label_smoothing: 0.0 };
    let loss = graph.apply(target, &[x, y]).unwrap();
    let weight = graph.input("weight", &[2], DType::F32);
    let loss = graph.apply(Loss::WeightedMean, &[loss, weight]).unwrap();
    let error = gradients(&mut graph, loss, &[x]).unwrap_err().to_string();
    assert!(error.contains("the target takes no gradient"), "{error}");
    assert!(error.contains("stop_gradient"), "{error}");
}
