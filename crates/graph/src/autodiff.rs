//! Autodiff, graph to graph: gradients are more ops in the same graph.
//!
//! One hand-written rule (VJP) per op, beside the op in [`crate::ops`]. A rule gets `dy`, the gradient
//! of the op's output, and adds to the gradients of the inputs that need one. Only what leads from the
//! loss to the wanted tensors is built: the first layer has no gradient for the images.

use crate::error::GraphError;
use crate::graph::{DType, Graph, Role, TensorId};
use crate::ops::{Binary, Layout, Op, Reduce, Reduction, Unary};
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
                && tensor.op != Op::Layout(Layout::StopGradient)
                && tensor.inputs.iter().any(|input| needed[input.index()]));
    }
    needed
}

/// The state of one backward pass.
pub(crate) struct Backward<'g> {
    pub graph: &'g mut Graph,
    /// For each forward tensor: whether its gradient leads to a wanted one.
    needed: Vec<bool>,
    /// For each forward tensor: its gradient so far.
    gradients: Vec<Option<TensorId>>,
}

/// One forward op's tensors, as its rule sees them.
pub(crate) struct Node {
    /// The op's name.
    name: &'static str,
    /// Its inputs.
    pub x: Vec<TensorId>,
    /// Its output.
    pub y: TensorId,
    /// The output's gradient.
    pub dy: TensorId,
}

pub(crate) type Done = Result<(), GraphError>;

impl Backward<'_> {
    fn visit(&mut self, y: TensorId, dy: TensorId) -> Done {
        let tensor = self.graph.tensor(y);
        if tensor.role != Role::Computed {
            return Ok(());
        }
        let op = tensor.op.clone();
        let node = Node { name: op.name(), x: tensor.inputs.clone(), y, dy };
        // Gradients are named after the layer that they belong to: `grad.layers.1.dense.matmul#99`.
        let layer = tensor.name.rsplit_once('.').map_or("", |(layer, _)| layer).to_owned();
        self.graph.enter("grad");
        if !layer.is_empty() {
            self.graph.enter(layer.as_str());
        }
        let done = op.gradient(self, &node).map_err(|error| error.at(&layer));
        if !layer.is_empty() {
            self.graph.leave();
        }
        self.graph.leave();
        done
    }

    /// The error of an op that no gradient goes through.
    pub fn no_gradient(&self, node: &Node, help: &str) -> GraphError {
        let y = self.graph.tensor(node.y);
        GraphError::new(format!(
            "{}: no gradient through {} of shape {:?}",
            node.name, y.name, y.shape
        ))
        .help(help)
    }

    /// What a gradient's own rule gives.
    pub fn no_second_derivative(&self, node: &Node) -> Done {
        Err(self.no_gradient(node, "second derivatives are not supported"))
    }

    /// Errors if a gradient would have to flow into an input that takes none.
    pub fn constant_input(&self, node: &Node, index: usize, what: &str) -> Done {
        if !self.needs(node, index) {
            return Ok(());
        }
        let input = self.graph.tensor(node.x[index]);
        Err(GraphError::new(format!(
            "{}: {what} takes no gradient, but {} depends on what is learned",
            node.name, input.name
        ))
        .help("pass it through stop_gradient"))
    }

    /// Whether the gradient of input `index` leads to a wanted one.
    pub fn needs(&self, node: &Node, index: usize) -> bool {
        self.needed[node.x[index].index()]
    }

    /// A new op in the backward graph.
    pub fn apply(
        &mut self,
        op: impl Into<Op>,
        inputs: &[TensorId],
    ) -> Result<TensorId, GraphError> {
        self.graph.apply(op, inputs)
    }

    /// A tensor's dims.
    pub fn shape(&self, id: TensorId) -> Vec<usize> {
        self.graph.shape(id).to_vec()
    }

    /// Adds `dx` to the gradient of input `index`; where the forward op broadcast that input, sums
    /// over the repeats: y = f(broadcast(x)), dx = sum over repeats.
    pub fn give(&mut self, node: &Node, index: usize, dx: TensorId) -> Done {
        let x = node.x[index];
        let dx = self.sum_to(dx, &self.shape(x))?;
        let total = match self.gradients[x.index()] {
            None => dx,
            Some(before) => self.apply(Binary::Add, &[before, dx])?,
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

    /// Sum over axes, which go away.
    pub fn sum(&mut self, x: TensorId, axes: Vec<usize>) -> Result<TensorId, GraphError> {
        if axes.is_empty() {
            return Ok(x);
        }
        self.apply(Reduce::Axes { reduction: Reduction::Sum, axes, keep_dims: false }, &[x])
    }

    /// The same elements in other dims.
    pub fn reshaped(&mut self, x: TensorId, shape: &[usize]) -> Result<TensorId, GraphError> {
        if self.graph.shape(x) == shape {
            return Ok(x);
        }
        self.apply(Layout::Reshape(shape.to_vec()), &[x])
    }

    /// `a * b`
    pub fn mul(&mut self, a: TensorId, b: TensorId) -> Result<TensorId, GraphError> {
        self.apply(Binary::Mul, &[a, b])
    }

    /// `scale * x + shift`
    pub fn affine(&mut self, x: TensorId, scale: f32, shift: f32) -> Result<TensorId, GraphError> {
        self.apply(Unary::Affine { scale, shift }, &[x])
    }
}

#[cfg(test)]
mod tests;
