//! Values that no op computes.

use super::Family;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Inputs, Shape};

/// What a tensor without inputs is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Given {
    /// An input, a parameter or state: its value comes from outside the graph.
    Source,
    /// A scalar (shape `[]`).
    Constant(f32),
    /// A scalar i32.
    Integer(i32),
}

impl Family for Given {
    fn name(&self) -> &'static str {
        match self {
            Given::Source => "source",
            Given::Constant(_) => "constant",
            Given::Integer(_) => "integer",
        }
    }

    fn inputs(&self) -> Inputs {
        Inputs::Each(&[])
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        match self {
            Given::Source => {
                Err(dims.error("has no shape rule").help("make it with input, parameter or state"))
            }
            Given::Constant(_) | Given::Integer(_) => Ok(vec![]),
        }
    }

    fn gradient(&self, _back: &mut Backward<'_>, _node: &Node) -> Done {
        Ok(())
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        match self {
            Given::Source => Err(args.missing()),
            Given::Constant(value) => Ok(vec![T::of(*value)].into()),
            Given::Integer(value) => Ok(Value::Int(vec![*value])),
        }
    }
}
