//! Work of each op: floating point operations and bytes, for `explain` and the cost model.
//!
//! A multiply-add is two operations, as in peak rates. A function such as `e^x` counts as the
//! [`TRANSCENDENTAL`] operations of its polynomial. What padding or a sparse input saves is not
//! subtracted, so that a rate in FLOP/s compares between kernels.

use crate::graph::{Graph, TensorId};
use crate::op::{Binary, Op, PairLoss, Unary};

/// Operations of one `e^x`, `ln x`, `tanh x` or `erf x` in a vectorised kernel.
pub const TRANSCENDENTAL: u64 = 10;

/// Floating point operations of the op that makes this tensor; 0 for values that are given and for
/// ops that only move elements.
pub fn flops(graph: &Graph, id: TensorId) -> u64 {
    use Op::*;
    let tensor = graph.tensor(id);
    let input = |index: usize| elements(graph, tensor.inputs[index]);
    let output = elements(graph, id);
    let per_element = |cost: u64, count: u64| cost.saturating_mul(count);
    match &tensor.op {
        Source
        | Constant(_)
        | BroadcastTo(_)
        | Reshape(_)
        | Transpose(_)
        | Concat { .. }
        | Slice { .. }
        | Pad { .. }
        | StopGradient
        | Embedding => 0,

        MatMul { transpose_a, .. } => {
            let a = graph.shape(tensor.inputs[0]);
            let k = if *transpose_a { a[a.len() - 2] } else { a[a.len() - 1] };
            per_element(2 * k as u64, output)
        }
        Conv2d(_) => {
            let weight = graph.shape(tensor.inputs[1]);
            convolution(graph.shape(id), weight)
        }
        Conv2dGradInput(..) => {
            let dy = graph.shape(tensor.inputs[0]);
            convolution(dy, graph.shape(tensor.inputs[1]))
        }
        Conv2dGradWeight(..) => convolution(graph.shape(tensor.inputs[1]), graph.shape(id)),
        MaxPool2d(pool) | AvgPool2d(pool) => per_element(window(pool.size), output),
        MaxPool2dGrad(pool) => per_element(window(pool.size), input(1)),
        AvgPool2dGrad(pool, _) => per_element(window(pool.size), input(0)),

        // Sum, then squared differences.
        ChannelMoments => per_element(4, input(0)),
        BatchNormTrain { .. } | BatchNormEval { .. } => per_element(2, output),
        // Two sums and their use.
        BatchNormTrainGradInput { .. } => per_element(9, output),
        BatchNormGradGamma { .. } => per_element(4, input(0)),
        UpdateMoments { .. } => per_element(4, output),
        LayerNorm { .. } => per_element(8, output),
        LayerNormGradInput { .. } => per_element(16, output),
        LayerNormGradGamma { .. } => per_element(8, input(0)),
        RmsNorm { .. } => per_element(4, output),
        RmsNormGradInput { .. } => per_element(10, output),
        RmsNormGradGamma { .. } => per_element(5, input(0)),

        // A quarter of Philox's ten rounds, in integer operations, and the product.
        Dropout { .. } => per_element(26, output),
        EmbeddingGrad { .. } => input(1),

        Unary(unary) => per_element(unary_cost(*unary), output),
        UnaryGrad(unary) => per_element(unary_grad_cost(*unary), output),
        Binary(binary) => per_element(binary_cost(*binary), output),
        PairLossGrad(loss) => per_element(loss_cost(*loss) + 1, output),

        Softmax | LogSoftmax => per_element(TRANSCENDENTAL + 4, output),
        SoftmaxGrad => per_element(4, output),
        LogSoftmaxGrad => per_element(TRANSCENDENTAL + 3, output),
        SparseCrossEntropy { .. } => per_element(TRANSCENDENTAL + 3, input(0)),
        DenseCrossEntropy { .. } => per_element(TRANSCENDENTAL + 5, input(0)),
        SparseCrossEntropyGrad { .. } | DenseCrossEntropyGrad { .. } => {
            per_element(TRANSCENDENTAL + 6, output)
        }
        WeightedMean => per_element(3, input(0)),
        WeightedMeanGrad => per_element(2, output),
        Reduce { .. } => input(0),
        ReduceMaxGrad(_) => per_element(3, output),
    }
}

/// Bytes that the op must read and write once each if nothing is fused: its inputs and its output,
/// of 4 bytes an element. 0 for given values and for ops that are another view of their input.
pub fn bytes(graph: &Graph, id: TensorId) -> u64 {
    let tensor = graph.tensor(id);
    let output = elements(graph, id);
    let total = match tensor.op {
        Op::Source | Op::Constant(_) | Op::Reshape(_) | Op::StopGradient => 0,
        // Only the rows that the ids name, and the part that is kept.
        Op::Embedding => output.saturating_mul(2).saturating_add(elements(graph, tensor.inputs[1])),
        Op::Slice { .. } => output.saturating_mul(2),
        _ => tensor
            .inputs
            .iter()
            .fold(output, |total, &input| total.saturating_add(elements(graph, input))),
    };
    total.saturating_mul(4)
}

fn elements(graph: &Graph, id: TensorId) -> u64 {
    graph.tensor(id).len() as u64
}

/// Each output reads a window of `kernel rows x kernel columns x channels a group`.
fn convolution(output: &[usize], weight: &[usize]) -> u64 {
    let product =
        |dims: &[usize]| dims.iter().fold(1u64, |total, &dim| total.saturating_mul(dim as u64));
    product(output).saturating_mul(product(&weight[..3])).saturating_mul(2)
}

fn window(size: [usize; 2]) -> u64 {
    (size[0] as u64).saturating_mul(size[1] as u64)
}

fn unary_cost(unary: Unary) -> u64 {
    match unary {
        Unary::Neg | Unary::Abs | Unary::Sign | Unary::Square | Unary::Reciprocal => 1,
        Unary::Relu | Unary::Sqrt => 1,
        Unary::Affine { .. } | Unary::LeakyRelu { .. } | Unary::Clip { .. } => 2,
        Unary::Exp | Unary::Log | Unary::Tanh => TRANSCENDENTAL,
        Unary::Elu { .. } | Unary::Sigmoid => TRANSCENDENTAL + 2,
        Unary::Silu | Unary::GeluErf => TRANSCENDENTAL + 3,
        Unary::GeluTanh => TRANSCENDENTAL + 7,
        Unary::Softplus | Unary::Pow { .. } => 2 * TRANSCENDENTAL + 2,
    }
}

fn unary_grad_cost(unary: Unary) -> u64 {
    match unary {
        Unary::Sign => 0,
        Unary::Neg | Unary::Affine { .. } | Unary::Exp => 1,
        Unary::Abs | Unary::Square | Unary::Relu | Unary::LeakyRelu { .. } | Unary::Log => 2,
        Unary::Sigmoid | Unary::Tanh | Unary::Sqrt | Unary::Reciprocal | Unary::Elu { .. } => 3,
        Unary::Clip { .. } => 3,
        Unary::Softplus => TRANSCENDENTAL + 2,
        Unary::Silu => TRANSCENDENTAL + 7,
        Unary::GeluErf => 2 * TRANSCENDENTAL + 6,
        Unary::GeluTanh => TRANSCENDENTAL + 15,
        Unary::Pow { .. } => 2 * TRANSCENDENTAL + 2,
    }
}

fn binary_cost(binary: Binary) -> u64 {
    match binary {
        Binary::Loss(loss) => loss_cost(loss),
        _ => 1,
    }
}

fn loss_cost(loss: PairLoss) -> u64 {
    match loss {
        PairLoss::SquaredError | PairLoss::AbsoluteError => 2,
        PairLoss::Huber { .. } | PairLoss::Hinge => 4,
        PairLoss::BinaryCrossEntropy { .. } => 2 * TRANSCENDENTAL + 5,
        PairLoss::Focal { .. } => 5 * TRANSCENDENTAL + 10,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::graph::DType;
    use crate::op::Conv2d;

    #[test]
    fn products_and_convolutions() {
        let mut graph = Graph::new();
        let x = graph.input("x", &[32, 784], DType::F32);
        let weight = graph.parameter("weight", &[784, 128]);
        let dense = Op::MatMul { transpose_a: false, transpose_b: false };
        let y = graph.apply(dense, &[x, weight]).unwrap();
        assert_eq!(flops(&graph, y), 2 * 32 * 784 * 128);
        assert_eq!(bytes(&graph, y), 4 * (32 * 784 + 784 * 128 + 32 * 128));
        let dweight = Op::MatMul { transpose_a: true, transpose_b: false };
        let dweight = graph.apply(dweight, &[x, y]).unwrap();
        assert_eq!(flops(&graph, dweight), 2 * 32 * 784 * 128);
        assert_eq!(flops(&graph, x), 0);

        let image = graph.input("image", &[8, 14, 14, 32], DType::F32);
        let weight = graph.parameter("kernel", &[3, 3, 16, 64]);
        let conv = Conv2d { stride: [1, 1], dilation: [1, 1], padding: [1; 4], groups: 2 };
        let y = graph.apply(Op::Conv2d(conv), &[image, weight]).unwrap();
        let want = 2 * 8 * 14 * 14 * 64 * 9 * 16;
        assert_eq!(flops(&graph, y), want);
        let dx = Op::Conv2dGradInput(conv, vec![8, 14, 14, 32]);
        let dx = graph.apply(dx, &[y, weight]).unwrap();
        let dweight = Op::Conv2dGradWeight(conv, vec![3, 3, 16, 64]);
        let dweight = graph.apply(dweight, &[image, y]).unwrap();
        assert_eq!((flops(&graph, dx), flops(&graph, dweight)), (want, want));
    }
}
