//! The last label again, as one part of a mixture: on many streams it is hard to do better for a while.
//!
//! ```text
//! logits = strength * last + bias     a class's own value is 1, or for one output 1 and -1
//! ```
//!
//! Strength and biases are learned from its own loss. The last label is a tensor of the state. As an input of a network it
//! often hurts, since it is right so often that nothing else is learned; as a part of a mixture it is safe.

use crate::build::Start;
use crate::hats::Expert;
use crate::initializers::{Fans, Initializer};
use crate::layers::Builder;
use crate::link::Link;
use crate::loss::LossSpec;
use crate::loss_ops::top_level_input;
use crate::memory::truth;
use tidemill_graph::{Binary, DType, Graph, GraphError, Layout, TensorId, Unary};

/// By how much faster than other parameters it is learned.
const FASTER: f32 = 5.0;
/// The strength at the start, of classes; 1 of values.
const STRENGTH: f32 = 2.0;

/// The last label in a graph.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastLabel {
    /// What was true last, `[1, outputs]`.
    last: TensorId,
    /// One row for each class: `[outputs, outputs]`.
    one_hot: TensorId,
    /// `[1, 1]`.
    strength: TensorId,
    /// `[1, outputs]`.
    bias: TensorId,
    batch: usize,
}

impl Builder<'_> {
    /// The last label as a part of a mixture.
    pub(crate) fn last_label(&mut self, batch: usize, outputs: usize) -> LastLabel {
        self.graph.enter("last");
        let mut kept = |name: &str, shape: [usize; 2], start: Initializer, learned: bool| {
            let id = match learned {
                true => self.graph.parameter(name, &shape),
                false => self.graph.state(name, &shape),
            };
            self.starts.push((id, Start::Drawn(start, Fans::of_kernel(&shape))));
            id
        };
        let last = kept("label", [1, outputs], Initializer::Zeros, false);
        let one_hot =
            kept("one_hot", [outputs, outputs], Initializer::Identity { gain: 1.0 }, false);
        let strength = kept("strength", [1, 1], Initializer::Zeros, true);
        let bias = kept("bias", [1, outputs], Initializer::Zeros, true);
        self.graph.leave();
        LastLabel { last, one_hot, strength, bias, batch }
    }
}

impl Expert for LastLabel {
    fn logits(&self, graph: &mut Graph, loss: &LossSpec) -> Result<TensorId, GraphError> {
        let (start, label) = match loss.link() {
            Link::Softmax => (STRENGTH, self.last),
            Link::Sigmoid => {
                let signs = Unary::Affine { scale: 2.0, shift: -1.0 };
                (STRENGTH, graph.apply(signs, &[self.last])?)
            }
            Link::Exponential => {
                let some = graph.apply(Unary::Clip { low: 0.5, high: f32::MAX }, &[self.last])?;
                (1.0, graph.apply(Unary::Log, &[some])?)
            }
            Link::Identity => (1.0, self.last),
        };
        let strength = Unary::Affine { scale: FASTER, shift: start };
        let strength = graph.apply(strength, &[self.strength])?;
        let label = graph.apply(Binary::Mul, &[label, strength])?;
        let one = graph.apply(Binary::Add, &[label, self.bias])?;
        if self.batch == 1 {
            return Ok(one);
        }
        let rows = vec![one; self.batch];
        graph.apply(Layout::Concat { axis: 0 }, &rows)
    }

    /// The last event of the step; one that weighs nothing has no label.
    fn learn(&self, graph: &mut Graph, loss: &LossSpec) -> Result<(), GraphError> {
        let (batch, outputs) = (self.batch, graph.shape(self.last)[1]);
        let all = truth(graph, loss, self.one_hot, [batch, outputs])?;
        let weights = top_level_input(graph, "weights", &[batch], DType::F32);
        let counts = graph.apply(Unary::Clip { low: 0.0, high: 1.0 }, &[weights])?;
        let counts = graph.apply(Layout::Reshape(vec![batch, 1]), &[counts])?;
        let mut row = |x: TensorId, width: usize| {
            graph.apply(Layout::Slice { start: vec![batch - 1, 0], size: vec![1, width] }, &[x])
        };
        let (new, counts) = (row(all, outputs)?, row(counts, 1)?);
        let change = graph.apply(Binary::Sub, &[new, self.last])?;
        let change = graph.apply(Binary::Mul, &[change, counts])?;
        let learned = graph.apply(Binary::Add, &[self.last, change])?;
        graph.assignments.push((self.last, learned));
        Ok(())
    }
}
