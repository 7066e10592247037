//! A memory of the last events, beside networks: what was true of those that are like this one.
//!
//! Where classes follow from recent neighbours, a network of gradients forgets or never learns what the last few
//! hundred events say at once. The memory weighs them by a softmax of their distance, which is attention to all of
//! them, and predicts the weighted mean of what was true of them:
//!
//! ```text
//! a_i = -sum_j s_j (x_j - m_ij)^2 + c      c is the same for all i, so that it is left out
//!     = (s * 2 m_i) . x - s . m_i^2
//! p   = sum_i softmax(a)_i y_i
//! ```
//!
//! The scales `s_j = exp(5 theta_j) 10 / columns` are learned from the memory's own loss, one for each input: which
//! inputs tell events apart is found, as the nearest neighbours of all inputs alike are often those of noise. `m`, `m^2`
//! and `y` are tensors of the state with a column for each event, in which each step replaces the oldest
//! ([`Ring`]), so that checkpoints, readers and a return to a good state need nothing of their own.

use crate::build::Start;
use crate::error::{ModelError, require};
use crate::form::count;
use crate::hats::Expert;
use crate::initializers::{Fans, Initializer};
use crate::layers::Builder;
use crate::link::Link;
use crate::loss::{LossSpec, Targets};
use crate::loss_ops::top_level_input;
use serde::{Deserialize, Serialize};
use tidemill_graph::{
    Binary, DType, Embedding, Graph, GraphError, Layout, MatMul, Ring, Softmax, TensorId, Unary,
};

/// A memory of the last events, whose prediction is mixed with those of the networks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemorySpec {
    /// Number of events; 300 by default. A step's time grows with it, and with the number of inputs.
    #[serde(default = "some", deserialize_with = "count")]
    pub events: usize,
}

impl Default for MemorySpec {
    fn default() -> MemorySpec {
        MemorySpec { events: some() }
    }
}

fn some() -> usize {
    300
}

/// The most events: a step looks at all of them.
const MOST: usize = 1 << 16;

/// By how much faster than other parameters the logarithms of scales are learned.
const FASTER: f32 = 5.0;
/// The scales of all columns together at the start.
const SCALE: f32 = 10.0;
/// The share of probabilities that is spread evenly: what never came is not impossible.
const SPREAD: f32 = 0.01;

impl MemorySpec {
    pub(crate) fn validate(&self) -> Result<(), ModelError> {
        let fits = (1..=MOST).contains(&self.events);
        require(fits, || "memory.events".into(), "from 1 to 65536", self.events)
    }
}

/// A memory in a graph.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// The events of the step, `[batch, inputs]`.
    x: TensorId,
    /// `2 m`, `[inputs, events]`.
    twice: TensorId,
    /// `-m^2`, `[inputs, events]`.
    squares: TensorId,
    /// What was true, `[outputs, events]`.
    truths: TensorId,
    /// The column of the next event, `[1]`.
    next: TensorId,
    /// One row for each class, of which its own is 1: `[outputs, outputs]`.
    one_hot: TensorId,
    /// The weighted mean of what was true, `[batch, outputs]`.
    mean: TensorId,
}

impl Builder<'_> {
    /// The memory of the inputs `x` before hats, which so many columns have.
    pub(crate) fn memory(
        &mut self,
        spec: &MemorySpec,
        x: TensorId,
        columns: usize,
        outputs: usize,
    ) -> Result<Memory, GraphError> {
        self.graph.enter("memory");
        let built = self.recall(spec, x, columns, outputs);
        self.graph.leave();
        built
    }

    fn recall(
        &mut self,
        spec: &MemorySpec,
        x: TensorId,
        columns: usize,
        outputs: usize,
    ) -> Result<Memory, GraphError> {
        let (inputs, events) = (self.last_dim(x), spec.events);
        let mut kept = |name: &str, shape: &[usize], start: Initializer| {
            let id = self.graph.state(name, shape);
            self.starts.push((id, Start::Drawn(start, Fans::of_kernel(shape))));
            id
        };
        let twice = kept("twice", &[inputs, events], Initializer::Zeros);
        let squares = kept("squares", &[inputs, events], Initializer::Zeros);
        let truths = kept("truths", &[outputs, events], Initializer::Zeros);
        let next = kept("next", &[1], Initializer::Zeros);
        let one_hot = kept("one_hot", &[outputs, outputs], Initializer::Identity { gain: 1.0 });
        let scale = self.graph.parameter("scale", &[1, inputs]);
        self.starts.push((scale, Start::Drawn(Initializer::Zeros, Fans::of_kernel(&[1, inputs]))));
        let graph = &mut *self.graph;
        let shift = (SCALE / columns as f32).ln();
        let scale = graph.apply(Unary::Affine { scale: FASTER, shift }, &[scale])?;
        let scale = graph.apply(Unary::Exp, &[scale])?;
        let scaled = graph.apply(Binary::Mul, &[x, scale])?;
        let near = graph.apply(MatMul::default(), &[scaled, twice])?;
        let far = graph.apply(MatMul::default(), &[scale, squares])?;
        let near = graph.apply(Binary::Add, &[near, far])?;
        let weights = graph.apply(Softmax::Plain, &[near])?;
        let transposed = MatMul { transpose_b: true, ..MatMul::default() };
        let mean = graph.apply(transposed, &[weights, truths])?;
        Ok(Memory { x, twice, squares, truths, next, one_hot, mean })
    }
}

impl Expert for Memory {
    fn logits(&self, graph: &mut Graph, loss: &LossSpec) -> Result<TensorId, GraphError> {
        let outputs = graph.shape(self.mean)[1];
        let spread = |even: f32| Unary::Affine { scale: 1.0 - SPREAD, shift: SPREAD * even };
        let bounded = match loss.link() {
            Link::Softmax => spread(1.0 / outputs as f32),
            Link::Sigmoid => spread(0.5),
            Link::Exponential => Unary::Clip { low: 1e-6, high: f32::MAX },
            Link::Identity => return Ok(self.mean),
        };
        let p = graph.apply(bounded, &[self.mean])?;
        loss.logits(graph, p)
    }

    /// Puts the events of a step into it. One that weighs nothing has no truth.
    fn learn(&self, graph: &mut Graph, loss: &LossSpec) -> Result<(), GraphError> {
        let [batch, outputs] = [graph.shape(self.mean)[0], graph.shape(self.mean)[1]];
        let truth = truth(graph, loss, self.one_hot, [batch, outputs])?;
        let weights = top_level_input(graph, "weights", &[batch], DType::F32);
        let counts = graph.apply(Unary::Clip { low: 0.0, high: 1.0 }, &[weights])?;
        let counts = graph.apply(Layout::Reshape(vec![batch, 1]), &[counts])?;
        let truth = graph.apply(Binary::Mul, &[truth, counts])?;
        let twice = graph.apply(Unary::Affine { scale: 2.0, shift: 0.0 }, &[self.x])?;
        let squares = graph.apply(Unary::Square, &[self.x])?;
        let squares = graph.apply(Unary::Neg, &[squares])?;
        for (kept, new) in [(self.twice, twice), (self.squares, squares), (self.truths, truth)] {
            let pushed = graph.apply(Ring::Push, &[kept, new, self.next])?;
            graph.assignments.push((kept, pushed));
        }
        let len = graph.shape(self.twice)[1];
        let next = graph.apply(Ring::Next { batch, len }, &[self.next])?;
        graph.assignments.push((self.next, next));
        Ok(())
    }
}

/// What is true of the samples, `[batch, outputs]`; of a class a row of `one_hot`.
pub(crate) fn truth(
    graph: &mut Graph,
    loss: &LossSpec,
    one_hot: TensorId,
    [batch, outputs]: [usize; 2],
) -> Result<TensorId, GraphError> {
    match loss.targets() {
        Targets::ClassIds => {
            let labels = top_level_input(graph, "labels", &[batch], DType::I32);
            graph.apply(Embedding::Rows, &[one_hot, labels])
        }
        _ => Ok(top_level_input(graph, "targets", &[batch, outputs], DType::F32)),
    }
}
