//! What is computed: ops, shapes, autodiff and the reference interpreter.
//!
//! # Layout
//! - [`op`]: the ops; [`shape`]: their shape rules; [`graph`]: tensors and the graph.
//! - [`update`]: optimizer rules, the end of a training step.
//! - [`autodiff`]: graph to graph; [`mod@reference`]: every op in plain loops, in f32 and f64;
//!   [`random`]: its dropout's random numbers.
#![forbid(unsafe_code)]

pub mod autodiff;
pub mod error;
pub mod graph;
pub mod op;
pub mod random;
pub mod reference;
pub mod shape;
pub mod update;

pub use autodiff::gradients;
pub use error::GraphError;
pub use graph::{DType, Graph, Role, Tensor, TensorId, Update};
pub use op::{Binary, Conv2d, Op, PairLoss, Pool2d, Reduction, Saves, Unary};
pub use update::{Clip, Rule, WeightDecay, decimal, hyper};
