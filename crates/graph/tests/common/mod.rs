//! What several tests need: the fixtures, random values, finite differences.
#![allow(dead_code, clippy::unwrap_used)]

pub mod fixtures;

use tidemill_graph::random::philox4x32;
use tidemill_graph::reference::{Values, evaluate};
use tidemill_graph::{Binary, DType, Graph, Op, Reduce, Reduction, TensorId, gradients};

/// Random values for tests.
pub struct Random {
    seed: u64,
    next: u32,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random { seed, next: 0 }
    }

    fn word(&mut self) -> u32 {
        self.next += 1;
        philox4x32([self.next, 0, 0, 0], [self.seed as u32, (self.seed >> 32) as u32])[0]
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.word() as usize % limit
    }

    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * f64::from(self.word()) / f64::from(u32::MAX)
    }

    /// From -2 to 2, at least 0.03 from every multiple of 0.1: away from the kinks of ops whose
    /// settings are such multiples.
    pub fn odd(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.near(0.05)).collect()
    }

    /// From -2 to 2, at least 0.01 from every value of `odd`.
    pub fn even(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.near(0.0)).collect()
    }

    fn near(&mut self, shift: f64) -> f64 {
        self.below(40) as f64 * 0.1 - 2.0 + shift + self.uniform(-0.02, 0.02)
    }

    pub fn positive(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.uniform(0.3, 2.3)).collect()
    }

    /// All clearly different, in random order: no maximum is a close call.
    pub fn distinct(&mut self, n: usize) -> Vec<f64> {
        let mut values: Vec<_> = (0..n).map(|i| (i as f64 + 0.5) * 4.0 / n as f64 - 2.0).collect();
        for i in (1..n).rev() {
            values.swap(i, self.below(i + 1));
        }
        values
    }
}

/// A graph under test: inputs with values, of which some are differentiated.
pub struct Check {
    pub graph: Graph,
    pub feeds: Values<f64>,
    pub random: Random,
    wrt: Vec<TensorId>,
}

impl Check {
    pub fn new(seed: u64) -> Check {
        let graph = Graph::new();
        Check { feeds: Values::new(&graph), graph, random: Random::new(seed), wrt: vec![] }
    }

    /// An input that is differentiated.
    pub fn variable(
        &mut self,
        shape: &[usize],
        values: fn(&mut Random, usize) -> Vec<f64>,
    ) -> TensorId {
        let id = self.constant(shape, values);
        self.wrt.push(id);
        id
    }

    /// An input that is not.
    pub fn constant(
        &mut self,
        shape: &[usize],
        values: fn(&mut Random, usize) -> Vec<f64>,
    ) -> TensorId {
        let values = values(&mut self.random, shape.iter().product());
        self.given(shape, values)
    }

    /// An input with these values, not differentiated.
    pub fn given(&mut self, shape: &[usize], values: Vec<f64>) -> TensorId {
        let name = format!("input{}", self.graph.tensors.len());
        let id = self.graph.input(&name, shape, DType::F32);
        self.feeds.set(id, values);
        id
    }

    pub fn ints(&mut self, shape: &[usize], limit: usize) -> TensorId {
        let id = self.graph.input("ints", shape, DType::I32);
        let n = shape.iter().product();
        self.feeds.set_ints(id, (0..n).map(|_| self.random.below(limit) as i32).collect());
        id
    }

    pub fn apply(&mut self, op: impl Into<Op>, inputs: &[TensorId]) -> TensorId {
        self.graph.apply(op, inputs).unwrap()
    }

    /// Compares the gradients of a random weighted sum of y with central differences.
    pub fn run(mut self, y: TensorId) {
        let shape = self.graph.shape(y).to_vec();
        let weight = self.constant(&shape, Random::odd);
        let weighted = self.apply(Binary::Mul, &[y, weight]);
        let axes = (0..shape.len()).collect();
        let sum = Reduce::Axes { reduction: Reduction::Sum, axes, keep_dims: false };
        let loss = self.apply(sum, &[weighted]);
        let forward = self.graph.clone();
        let found = gradients(&mut self.graph, loss, &self.wrt).unwrap();
        let values = evaluate(&self.graph, self.feeds.clone()).unwrap();
        let loss_at = |feeds: Values<f64>| evaluate(&forward, feeds).unwrap().get(loss).unwrap()[0];

        for (&x, gradient) in self.wrt.iter().zip(found) {
            let gradient = values.get(gradient.expect("it has a gradient")).unwrap();
            let start = self.feeds.get(x).unwrap().to_vec();
            assert_eq!(gradient.len(), start.len());
            for index in 0..start.len() {
                let step = 1e-5;
                let moved = |by: f64| {
                    let mut x_moved = start.clone();
                    x_moved[index] += by;
                    let mut feeds = self.feeds.clone();
                    feeds.set(x, x_moved);
                    loss_at(feeds)
                };
                let want = (moved(step) - moved(-step)) / (2.0 * step);
                let found = gradient[index];
                let ops: Vec<_> = forward.tensors.iter().map(|t| t.op.name()).collect();
                assert!(
                    (found - want).abs() <= 1e-6 * (1.0 + want.abs()),
                    "element {index} of {}: found {found}, differences say {want}; {ops:?}",
                    forward.tensor(x).name
                );
            }
        }
    }
}
