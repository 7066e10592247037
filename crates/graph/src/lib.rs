//! What is computed: ops, shapes, autodiff and the reference interpreter.
//!
//! # Layout
//! - [`ops`]: the ops by family, each with its shape rule, its gradient and its reference.
//! - [`graph`]: tensors and the graph; [`shape`]: what shape rules share.
//! - [`autodiff`]: from a graph to one with gradients, by the ops' rules.
//! - [`mod@reference`]: evaluates a graph in plain loops, in f32 and f64; [`random`]: dropout's random
//!   numbers.
//! - [`update`]: optimizer rules, the end of a training step; [`packed`]: slots of fewer bits.
#![forbid(unsafe_code)]

pub mod autodiff;
pub mod error;
pub mod graph;
pub mod ops;
pub mod packed;
pub mod random;
pub mod reference;
pub mod shape;
pub mod update;

pub use autodiff::gradients;
pub use error::GraphError;
pub use graph::{DType, Graph, Role, Tensor, TensorId, Update};
pub use ops::*;
pub use packed::SlotType;
pub use update::{Clip, Rule, WeightDecay, decimal, hyper};
