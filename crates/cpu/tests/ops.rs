//! Single ops and small compositions from graph to kernels: values and gradients on every
//! instruction set, fused and not, against the reference interpreter in f64.
#![allow(clippy::unwrap_used)]

use tidemill_cpu::isa::Isa;
use tidemill_cpu::runtime::{Input, Runtime};
use tidemill_graph::reference::{Values, evaluate};
use tidemill_graph::{
    Binary, DType, Graph, Layout, Loss, Op, Reduce, Reduction, Sequence, TensorId, gradients,
};
use tidemill_plan::Options;

/// A graph under test with the values of its inputs, in their order.
struct Case {
    graph: Graph,
    inputs: Vec<(TensorId, Feed)>,
    random: u64,
}

enum Feed {
    Floats(Vec<f32>),
    Ints(Vec<i32>),
}

impl Case {
    fn new() -> Case {
        Case { graph: Graph::new(), inputs: vec![], random: 7 }
    }

    fn below(&mut self, n: usize) -> usize {
        self.random =
            self.random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.random >> 33) as usize % n
    }

    /// Values in [-2, 2).
    fn floats(&mut self, shape: &[usize]) -> TensorId {
        let len = shape.iter().product();
        let values = (0..len).map(|_| self.below(4000) as f32 / 1000.0 - 2.0).collect();
        self.given(shape, values)
    }

    fn given(&mut self, shape: &[usize], values: Vec<f32>) -> TensorId {
        let id = self.graph.input(&format!("x{}", self.inputs.len()), shape, DType::F32);
        self.inputs.push((id, Feed::Floats(values)));
        id
    }

    fn ints(&mut self, shape: &[usize], values: Vec<i32>) -> TensorId {
        let id = self.graph.input(&format!("x{}", self.inputs.len()), shape, DType::I32);
        self.inputs.push((id, Feed::Ints(values)));
        id
    }

    fn apply(&mut self, op: impl Into<Op>, inputs: &[TensorId]) -> TensorId {
        self.graph.apply(op, inputs).unwrap()
    }

    fn sum(&mut self, x: TensorId, axes: Vec<usize>) -> TensorId {
        self.apply(Reduce::Axes { reduction: Reduction::Sum, axes, keep_dims: false }, &[x])
    }

    /// Compares y, and the gradients of `sum(y r)` for random r with respect to `wrt`.
    fn check(mut self, what: &str, y: TensorId, wrt: &[TensorId]) {
        let shape = self.graph.shape(y).to_vec();
        let r = self.floats(&shape);
        let product = self.apply(Binary::Mul, &[y, r]);
        let loss = self.sum(product, (0..shape.len()).collect());
        let found = gradients(&mut self.graph, loss, wrt).unwrap();
        let outputs: Vec<TensorId> =
            [y].into_iter().chain(found.into_iter().map(Option::unwrap)).collect();
        for (i, &id) in outputs.iter().enumerate() {
            self.graph.output(&format!("y{i}"), id);
        }

        let mut feeds = Values::<f64>::new(&self.graph);
        for (id, feed) in &self.inputs {
            match feed {
                Feed::Floats(x) => feeds.set(*id, x.iter().map(|&x| f64::from(x)).collect()),
                Feed::Ints(x) => feeds.set_ints(*id, x.clone()),
            }
        }
        let expected = evaluate(&self.graph, feeds).unwrap();
        let inputs: Vec<Input<'_>> = self.inputs.iter().map(|(_, feed)| feed.input()).collect();
        for isa in Isa::available() {
            for fuse in [true, false] {
                let mut runtime = Runtime::new(isa, 2, &self.graph);
                let options = Options { fuse, ..Options::default() };
                let plan = runtime.add(&self.graph, options).unwrap();
                runtime.run(plan, &inputs).unwrap();
                for (i, &id) in outputs.iter().enumerate() {
                    let found = runtime.output(plan, &format!("y{i}")).unwrap();
                    let expected = expected.get(id).unwrap();
                    let scale = expected.iter().fold(1.0, |m: f64, e| m.max(e.abs()));
                    assert_eq!(found.len(), expected.len());
                    for (&f, &e) in found.iter().zip(expected) {
                        let near = (f64::from(f) - e).abs() <= 1e-5 * scale;
                        assert!(near, "{what} {isa:?} fused {fuse} y{i}: {f}, not {e}");
                    }
                }
            }
        }
    }
}

impl Feed {
    fn input(&self) -> Input<'_> {
        match self {
            Feed::Floats(x) => Input::F32(x),
            Feed::Ints(x) => Input::I32(x),
        }
    }
}

/// Columns of several inputs side by side, and the parts of the gradient.
#[test]
fn concat_along_the_last_axis() {
    for leading in [&[5][..], &[3, 4], &[2, 3, 2]] {
        let mut case = Case::new();
        let part = |case: &mut Case, width: usize| case.floats(&[leading, &[width]].concat());
        let parts: Vec<TensorId> = [1, 7, 33].map(|width| part(&mut case, width)).to_vec();
        let y = case.apply(Layout::Concat { axis: leading.len() }, &parts);
        assert_eq!(case.graph.shape(y), [leading, &[41]].concat());
        case.check(&format!("concat {leading:?}"), y, &parts);
    }
}

/// A class for each position: cross-entropy over `[batch, time, classes]`, the weighted mean over
/// each sample's positions, 0 for a sample whose weights are all 0, then over the samples.
#[test]
fn position_weights() {
    let (batch, time, classes) = (5, 6, 11);
    let mut case = Case::new();
    let logits = case.floats(&[batch, time, classes]);
    let labels = (0..batch * time).map(|_| case.below(classes) as i32).collect();
    let labels = case.ints(&[batch, time], labels);
    let weights = (0..batch * time).map(|i| if i / time == 2 { 0.0 } else { (i % 3) as f32 });
    let weights = case.given(&[batch, time], weights.collect());
    let samples = case.given(&[batch], vec![1.0, 0.5, 1.0, 2.0, 0.0]);

    let losses = case.apply(Loss::SparseCrossEntropy { label_smoothing: 0.1 }, &[logits, labels]);
    assert_eq!(case.graph.shape(losses), [batch, time]);
    let weighted = case.apply(Binary::Mul, &[losses, weights]);
    let sum = case.sum(weighted, vec![1]);
    let total = case.sum(weights, vec![1]);
    // A sample without weights has a sum of 0, over any number.
    let least = case.graph.constant(f32::MIN_POSITIVE);
    let total = case.apply(Binary::Max, &[total, least]);
    let per_sample = case.apply(Binary::Div, &[sum, total]);
    let mean = case.apply(Loss::WeightedMean, &[per_sample, samples]);
    case.check("weighted positions", mean, &[logits]);
}

/// Lengths from 0 to all of the time.
#[test]
fn masked_mean() {
    for [batch, time, units] in [[1, 1, 1], [5, 4, 3], [6, 9, 70]] {
        let mut case = Case::new();
        let x = case.floats(&[batch, time, units]);
        let lengths = (0..batch).map(|i| ((i * 5 + 1) % (time + 1)) as i32).collect();
        let lengths = case.ints(&[batch], lengths);
        let y = case.apply(Sequence::MaskedMean, &[x, lengths]);
        case.check(&format!("masked mean {batch}x{time}x{units}"), y, &[x]);
    }
}
