//! Autodiff, graph to graph: gradients are more ops in the same graph.
//!
//! One hand-written rule (VJP) per op, by family. A rule gets `dy`, the gradient of the op's
//! output, and adds to the gradients of the inputs that need one. Only what leads from the loss to
//! the wanted tensors is built: the first layer has no gradient for the images.

mod conv;
mod eltwise;
mod layout;
mod loss;
mod matmul;
mod norm;

#[cfg(test)]
mod tests;

use crate::error::GraphError;
use crate::graph::{DType, Graph, Role, TensorId};
use crate::op::{Binary, Op, Reduction};
use crate::shape::broadcast_axes;

/// Adds to the graph the gradients of the scalar `loss` with respect to each of `wrt`; nothing for
/// one that the loss does not depend on (or only where the slope is 0 everywhere, as for `sign`).
pub fn gradients(
    graph: &mut Graph,
    loss: TensorId,
    wrt: &[TensorId],
) -> Result<Vec<Option<TensorId>>, GraphError> {
    let tensor = graph.tensor(loss);
    if !tensor.shape.is_empty() || tensor.dtype != DType::F32 {
        let message = format!(
            "gradients: expected a scalar f32 loss, found {} of shape {:?}",
            tensor.name, tensor.shape
        );
        return Err(GraphError::new(message)
            .help("take the mean over the batch (weighted_mean or reduce) first"));
    }
    let forward = loss.index() + 1;
    let mut backward =
        Backward { needed: needed(graph, forward, wrt), gradients: vec![None; forward], graph };
    if !backward.needed[loss.index()] {
        return Ok(vec![None; wrt.len()]);
    }
    backward.gradients[loss.index()] = Some(backward.graph.constant(1.0));
    for index in (0..forward).rev() {
        if let (true, Some(dy)) = (backward.needed[index], backward.gradients[index]) {
            backward.visit(TensorId(index as u32), dy)?;
        }
    }
    let found = |id: &TensorId| backward.gradients.get(id.index()).copied().flatten();
    Ok(wrt.iter().map(found).collect())
}

/// Which tensors lie on a path from one of `wrt`.
fn needed(graph: &Graph, forward: usize, wrt: &[TensorId]) -> Vec<bool> {
    let mut needed = vec![false; forward];
    for index in 0..forward {
        let id = TensorId(index as u32);
        let tensor = graph.tensor(id);
        needed[index] = wrt.contains(&id)
            || (tensor.dtype == DType::F32
                && tensor.op != Op::StopGradient
                && tensor.inputs.iter().any(|input| needed[input.index()]));
    }
    needed
}

/// The state of one backward pass.
struct Backward<'g> {
    graph: &'g mut Graph,
    /// For each forward tensor: whether its gradient leads to a wanted one.
    needed: Vec<bool>,
    /// For each forward tensor: its gradient so far.
    gradients: Vec<Option<TensorId>>,
}

/// One forward op, as its rule sees it.
struct Node {
    op: Op,
    x: Vec<TensorId>,
    y: TensorId,
    dy: TensorId,
}

type Done = Result<(), GraphError>;

impl Backward<'_> {
    fn visit(&mut self, y: TensorId, dy: TensorId) -> Done {
        let tensor = self.graph.tensor(y);
        if tensor.role != Role::Computed {
            return Ok(());
        }
        let node = Node { op: tensor.op.clone(), x: tensor.inputs.clone(), y, dy };
        // Gradients are named after the layer that they belong to: `grad.layers.1.dense.matmul#99`.
        let layer = tensor.name.rsplit_once('.').map_or("", |(layer, _)| layer).to_owned();
        self.graph.enter("grad");
        if !layer.is_empty() {
            self.graph.enter(layer.as_str());
        }
        let done = self.rule(&node).map_err(|error| error.at(&layer));
        if !layer.is_empty() {
            self.graph.leave();
        }
        self.graph.leave();
        done
    }

    fn rule(&mut self, node: &Node) -> Done {
        use Op::*;
        match &node.op {
            Source | Constant(_) | StopGradient => Ok(()),
            MatMul { transpose_a, transpose_b } => self.matmul(node, *transpose_a, *transpose_b),
            Conv2d(conv) => self.conv(node, *conv),
            MaxPool2d(pool) => self.max_pool(node, *pool),
            AvgPool2d(pool) => self.avg_pool(node, *pool),

            BatchNormTrain { epsilon } => self.batch_norm_train(node, *epsilon),
            BatchNormEval { epsilon } => self.batch_norm_eval(node, *epsilon),
            LayerNorm { epsilon } => self.layer_norm(node, *epsilon),
            RmsNorm { epsilon } => self.rms_norm(node, *epsilon),
            Dropout { .. } => self.dropout(node),
            Embedding | EmbeddingBag => self.embedding(node),

            Unary(unary) => self.unary(node, *unary),
            Binary(binary) => self.binary(node, *binary),
            Softmax => self.softmax(node, SoftmaxGrad),
            LogSoftmax => self.softmax(node, LogSoftmaxGrad),
            SparseCrossEntropy { label_smoothing } => self
                .cross_entropy(node, SparseCrossEntropyGrad { label_smoothing: *label_smoothing }),
            DenseCrossEntropy { label_smoothing } => self
                .cross_entropy(node, DenseCrossEntropyGrad { label_smoothing: *label_smoothing }),
            WeightedMean => self.weighted_mean(node),

            Reduce { reduction, axes, .. } => self.reduce(node, *reduction, axes),
            BroadcastTo(_) => self.broadcast_to(node),
            Reshape(_) => self.reshape(node),
            Transpose(permutation) => self.transpose(node, permutation),
            Concat { axis } => self.concat(node, *axis),
            Slice { start, size } => self.slice(node, start, size),
            Pad { before, .. } => self.pad(node, before),

            ChannelMoments | UpdateMoments { .. } => Err(self.no_gradient(
                node,
                "moments are used by batch_norm alone; stop_gradient cuts any other use",
            )),
            Conv2dGradInput(..)
            | Conv2dGradWeight(..)
            | MaxPool2dGrad(_)
            | AvgPool2dGrad(..)
            | BatchNormTrainGradInput { .. }
            | BatchNormGradGamma { .. }
            | LayerNormGradInput { .. }
            | LayerNormGradGamma { .. }
            | RmsNormGradInput { .. }
            | RmsNormGradGamma { .. }
            | EmbeddingGrad { .. }
            | EmbeddingBagGrad { .. }
            | UnaryGrad(_)
            | PairLossGrad(_)
            | SoftmaxGrad
            | LogSoftmaxGrad
            | SparseCrossEntropyGrad { .. }
            | DenseCrossEntropyGrad { .. }
            | WeightedMeanGrad
            | ReduceMaxGrad(_) => {
                Err(self.no_gradient(node, "second derivatives are not supported"))
            }
        }
    }

    fn no_gradient(&self, node: &Node, help: &str) -> GraphError {
        let y = self.graph.tensor(node.y);
        GraphError::new(format!(
            "{}: no gradient through {} of shape {:?}",
            node.op.name(),
            y.name,
            y.shape
        ))
        .help(help)
    }

    /// Errors if a gradient would have to flow into an input that takes none.
    fn constant_input(&self, node: &Node, index: usize, what: &str) -> Done {
        if !self.needs(node, index) {
            return Ok(());
        }
        let input = self.graph.tensor(node.x[index]);
        Err(GraphError::new(format!(
            "{}: {what} takes no gradient, but {} depends on what is learned",
            node.op.name(),
            input.name
        ))
        .help("pass it through stop_gradient"))
    }

    fn needs(&self, node: &Node, index: usize) -> bool {
        self.needed[node.x[index].index()]
    }

    fn apply(&mut self, op: Op, inputs: &[TensorId]) -> Result<TensorId, GraphError> {
        self.graph.apply(op, inputs)
    }

    fn shape(&self, id: TensorId) -> Vec<usize> {
        self.graph.shape(id).to_vec()
    }

    /// Adds `dx` to the gradient of input `index`; where the forward op broadcast that input, sums
    /// over the repeats: y = f(broadcast(x)), dx = sum over repeats.
    fn give(&mut self, node: &Node, index: usize, dx: TensorId) -> Done {
        let x = node.x[index];
        let dx = self.sum_to(dx, &self.shape(x))?;
        let total = match self.gradients[x.index()] {
            None => dx,
            Some(before) => self.apply(Op::Binary(Binary::Add), &[before, dx])?,
        };
        self.gradients[x.index()] = Some(total);
        Ok(())
    }

    /// Reverses broadcasting from `shape`.
    fn sum_to(&mut self, dx: TensorId, shape: &[usize]) -> Result<TensorId, GraphError> {
        let from = self.shape(dx);
        if from == shape {
            return Ok(dx);
        }
        let axes = broadcast_axes(shape, &from);
        let sum = self.sum(dx, axes)?;
        self.reshaped(sum, shape)
    }

    fn sum(&mut self, x: TensorId, axes: Vec<usize>) -> Result<TensorId, GraphError> {
        if axes.is_empty() {
            return Ok(x);
        }
        self.apply(Op::Reduce { reduction: Reduction::Sum, axes, keep_dims: false }, &[x])
    }

    fn reshaped(&mut self, x: TensorId, shape: &[usize]) -> Result<TensorId, GraphError> {
        if self.graph.shape(x) == shape {
            return Ok(x);
        }
        self.apply(Op::Reshape(shape.to_vec()), &[x])
    }
}
