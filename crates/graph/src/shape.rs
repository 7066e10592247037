//! The shape rule of each op.

use crate::error::GraphError;
use crate::graph::{DType, Tensor};
use crate::op::Op;

/// The output's shape and element type.
pub fn infer(op: &Op, _inputs: &[&Tensor]) -> Result<(Vec<usize>, DType), GraphError> {
    Err(GraphError::new(format!("{} has no shape rule yet", op.name())))
}
