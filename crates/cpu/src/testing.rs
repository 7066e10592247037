//! What the kernels' tests share.
#![allow(clippy::unwrap_used)]

use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::runtime::{Input, Runtime};
use tidemill_graph::reference::{Values, evaluate};
use tidemill_graph::{Binary, DType, Graph, Op, Reduce, Reduction, TensorId, gradients};
use tidemill_plan::Options;

/// A small generator of test data.
pub(crate) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }

    /// In [-2, 2).
    pub fn value(&mut self) -> f32 {
        (self.next() % (1 << 22)) as f32 / (1 << 20) as f32 - 2.0
    }

    pub fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.value()).collect()
    }
}

/// Runs the kernels one after another over the arguments, once with chunks in order and once
/// backwards (on fresh copies); asserts equal bits and nothing written past an argument's end.
pub(crate) fn run_all(kernels: &[&dyn Kernel], args: &mut [Vec<f32>]) {
    let mut results = Vec::new();
    for backwards in [false, true] {
        let mut buffers: Vec<Vec<f32>> = args.to_vec();
        for b in &mut buffers {
            b.extend([f32::from_bits(0x7fc0_1234); 16]);
        }
        let pointers: Vec<*mut f32> = buffers.iter_mut().map(|b| b.as_mut_ptr()).collect();
        for kernel in kernels {
            let mut order: Vec<usize> = (0..kernel.chunks()).collect();
            if backwards {
                order.reverse();
            }
            for chunk in order {
                let mut scratch = vec![f32::NAN; kernel.scratch_bytes() / 4 + 1];
                // SAFETY: the test gives buffers as the kernel documents them.
                unsafe { kernel.run(&pointers, chunk, scratch.as_mut_ptr()) };
            }
        }
        for (b, a) in buffers.iter_mut().zip(args.iter()) {
            assert!(
                b[a.len()..].iter().all(|x| x.to_bits() == 0x7fc0_1234),
                "written past the end"
            );
            b.truncate(a.len());
        }
        results.push(buffers);
    }
    let bits = |r: &[Vec<f32>]| -> Vec<Vec<u32>> {
        r.iter().map(|b| b.iter().map(|x| x.to_bits()).collect()).collect()
    };
    assert_eq!(bits(&results[0]), bits(&results[1]), "the order of chunks changed bits");
    args.clone_from_slice(&results[0]);
}

/// Relative to the largest magnitude of the expected values, or 1e-3 if that is smaller.
pub(crate) fn close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size =
        expected.iter().fold(1e-3, |m: f64, e| if e.is_finite() { m.max(e.abs()) } else { m });
    for (i, (&f, &e)) in found.iter().zip(expected).enumerate() {
        let same = f64::from(f) == e || (f.is_nan() && e.is_nan());
        assert!(same || (f64::from(f) - e).abs() <= tolerance * size, "{what} [{i}]: {f}, not {e}");
    }
}

/// An op or a small composition from graph to kernels: a graph with the values of its inputs, in their
/// order.
pub(crate) struct Case {
    pub graph: Graph,
    inputs: Vec<(TensorId, Feed)>,
    random: u64,
}

enum Feed {
    Floats(Vec<f32>),
    Ints(Vec<i32>),
}

impl Case {
    pub fn new() -> Case {
        Case { graph: Graph::new(), inputs: vec![], random: 7 }
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.random =
            self.random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.random >> 33) as usize % n
    }

    /// Values in [-2, 2).
    pub fn floats(&mut self, shape: &[usize]) -> TensorId {
        let len = shape.iter().product();
        let values = (0..len).map(|_| self.below(4000) as f32 / 1000.0 - 2.0).collect();
        self.given(shape, values)
    }

    pub fn given(&mut self, shape: &[usize], values: Vec<f32>) -> TensorId {
        let id = self.graph.input(&format!("x{}", self.inputs.len()), shape, DType::F32);
        self.inputs.push((id, Feed::Floats(values)));
        id
    }

    pub fn ints(&mut self, shape: &[usize], values: Vec<i32>) -> TensorId {
        let id = self.graph.input(&format!("x{}", self.inputs.len()), shape, DType::I32);
        self.inputs.push((id, Feed::Ints(values)));
        id
    }

    pub fn apply(&mut self, op: impl Into<Op>, inputs: &[TensorId]) -> TensorId {
        self.graph.apply(op, inputs).unwrap()
    }

    pub fn sum(&mut self, x: TensorId, axes: Vec<usize>) -> TensorId {
        self.apply(Reduce::Axes { reduction: Reduction::Sum, axes, keep_dims: false }, &[x])
    }

    /// Compares y, and the gradients of `sum(y r)` for random r with respect to `wrt`, on every
    /// instruction set, fused and not, with the reference interpreter in f64.
    pub fn check(mut self, what: &str, y: TensorId, wrt: &[TensorId]) {
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
