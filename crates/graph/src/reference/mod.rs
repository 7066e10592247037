//! The reference interpreter: every op in plain loops, in f32 or f64, slow and obviously right. What
//! an op computes is said beside it, in [`crate::ops`].
//!
//! It is what the fast kernels and the passes are compared with, so nothing here is clever: no
//! blocking, no fusion, no in-place work.
//!
//! ```
//! use tidemill_graph::reference::{Values, evaluate};
//! use tidemill_graph::{Binary, DType, Graph};
//!
//! let mut graph = Graph::new();
//! let a = graph.input("a", &[2], DType::F32);
//! let b = graph.input("b", &[2], DType::F32);
//! let sum = graph.apply(Binary::Add, &[a, b])?;
//! let feeds = Values::new(&graph).with(a, vec![1.0, 2.0]).with(b, vec![10.0, 20.0]);
//! let values = evaluate::<f64>(&graph, feeds)?;
//! assert_eq!(values.get(sum), Some(&[11.0, 22.0][..]));
//! # Ok::<(), tidemill_graph::GraphError>(())
//! ```

pub(crate) mod indices;
mod optimizer;
mod real;

#[cfg(test)]
mod tests;

pub use crate::ops::binary::binary;
pub use crate::ops::pair_loss::{pair_loss, pair_loss_slope};
pub use crate::ops::unary::{unary, unary_slope};
pub use optimizer::{apply_updates, clip_scale, update_element};
pub use real::Real;

use crate::error::GraphError;
use crate::graph::{DType, Graph, Role, Tensor, TensorId};
use indices::{broadcast_position, each};

/// Elements of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<T> {
    Float(Vec<T>),
    Int(Vec<i32>),
}

impl<T> From<Vec<T>> for Value<T> {
    fn from(elements: Vec<T>) -> Value<T> {
        Value::Float(elements)
    }
}

/// Values of a graph's tensors: first those that are given, after [`evaluate`] all.
#[derive(Clone, Debug, PartialEq)]
pub struct Values<T> {
    by_tensor: Vec<Option<Value<T>>>,
}

impl<T: Real> Values<T> {
    /// No values yet.
    pub fn new(graph: &Graph) -> Values<T> {
        Values { by_tensor: vec![None; graph.tensors.len()] }
    }

    /// Gives the elements of an f32 tensor.
    pub fn set(&mut self, id: TensorId, elements: Vec<T>) {
        self.put(id, Value::Float(elements));
    }

    /// Gives the elements of an i32 tensor.
    pub fn set_ints(&mut self, id: TensorId, elements: Vec<i32>) {
        self.put(id, Value::Int(elements));
    }

    /// [`Values::set`] in a chain.
    pub fn with(mut self, id: TensorId, elements: Vec<T>) -> Values<T> {
        self.set(id, elements);
        self
    }

    /// [`Values::set_ints`] in a chain.
    pub fn with_ints(mut self, id: TensorId, elements: Vec<i32>) -> Values<T> {
        self.set_ints(id, elements);
        self
    }

    /// Elements of an f32 tensor, if it has a value.
    pub fn get(&self, id: TensorId) -> Option<&[T]> {
        match self.by_tensor.get(id.index()) {
            Some(Some(Value::Float(elements))) => Some(elements),
            _ => None,
        }
    }

    /// Elements of an i32 tensor, if it has a value.
    pub fn ints(&self, id: TensorId) -> Option<&[i32]> {
        match self.by_tensor.get(id.index()) {
            Some(Some(Value::Int(elements))) => Some(elements),
            _ => None,
        }
    }

    fn put(&mut self, id: TensorId, value: Value<T>) {
        if self.by_tensor.len() <= id.index() {
            self.by_tensor.resize(id.index() + 1, None);
        }
        self.by_tensor[id.index()] = Some(value);
    }

    /// Elements of an f32 tensor, checked against its description.
    fn expect(&self, graph: &Graph, id: TensorId) -> Result<&[T], GraphError> {
        let tensor = graph.tensor(id);
        let found = self.get(id).ok_or_else(|| missing(tensor))?;
        check_length(tensor, found.len())?;
        Ok(found)
    }
}

fn missing(tensor: &Tensor) -> GraphError {
    let message = format!("{} of shape {:?} has no value", tensor.name, tensor.shape);
    GraphError::new(message).help(match tensor.dtype {
        DType::F32 => "give it with set",
        DType::I32 => "give it with set_ints",
    })
}

fn check_length(tensor: &Tensor, found: usize) -> Result<(), GraphError> {
    if found == tensor.len() {
        return Ok(());
    }
    let message = format!(
        "{} of shape {:?} has {} elements, found {found}",
        tensor.name,
        tensor.shape,
        tensor.len()
    );
    Err(GraphError::new(message))
}

/// Computes every tensor from the given values of inputs, parameters and state. Values of computed
/// tensors from an earlier step are replaced.
pub fn evaluate<T: Real>(graph: &Graph, feeds: Values<T>) -> Result<Values<T>, GraphError> {
    let mut values = feeds;
    values.by_tensor.resize(graph.tensors.len(), None);
    for (index, tensor) in graph.tensors.iter().enumerate() {
        if tensor.role != Role::Computed {
            continue;
        }
        let args = Args::new(graph, &values, tensor)?;
        let value = tensor.op.evaluate(&args).map_err(|error| error.at(&tensor.name))?;
        values.by_tensor[index] = Some(value);
    }
    Ok(values)
}

/// The values of an op's inputs, as its reference sees them.
pub(crate) struct Args<'a, T> {
    /// The output's description.
    pub y: &'a Tensor,
    x: Vec<Arg<'a, T>>,
}

/// An input's description and elements; the kind that it is not is empty.
struct Arg<'a, T> {
    tensor: &'a Tensor,
    floats: &'a [T],
    ints: &'a [i32],
}

impl<'a, T: Real> Args<'a, T> {
    fn new(
        graph: &'a Graph,
        values: &'a Values<T>,
        y: &'a Tensor,
    ) -> Result<Args<'a, T>, GraphError> {
        let arg = |&id: &TensorId| {
            let tensor = graph.tensor(id);
            let (floats, ints): (&[T], &[i32]) = match tensor.dtype {
                DType::F32 => (values.get(id).ok_or_else(|| missing(tensor))?, &[]),
                DType::I32 => (&[], values.ints(id).ok_or_else(|| missing(tensor))?),
            };
            check_length(tensor, floats.len().max(ints.len()))?;
            Ok(Arg { tensor, floats, ints })
        };
        Ok(Args { y, x: y.inputs.iter().map(arg).collect::<Result<_, GraphError>>()? })
    }

    /// Elements of float input `index`.
    pub fn floats(&self, index: usize) -> &'a [T] {
        self.x[index].floats
    }

    /// Elements of integer input `index`.
    pub fn ints(&self, index: usize) -> &'a [i32] {
        self.x[index].ints
    }

    /// Element type of input `index`.
    pub fn dtype(&self, index: usize) -> DType {
        self.x[index].tensor.dtype
    }

    /// Dims of input `index`.
    pub fn dims(&self, index: usize) -> &'a [usize] {
        &self.x[index].tensor.shape
    }

    /// The last dim of input 0; 1 of a scalar.
    pub fn channels(&self) -> usize {
        self.dims(0).last().copied().unwrap_or(1)
    }

    /// Rows of [`Args::channels`] values of float input `index`.
    pub fn rows(&self, index: usize) -> impl Iterator<Item = &'a [T]> + use<'a, T> {
        self.floats(index).chunks(self.channels())
    }

    /// An output of zeros.
    pub fn zeros(&self) -> Vec<T> {
        vec![T::ZERO; self.y.len()]
    }

    /// The error of an output without a value.
    pub fn missing(&self) -> GraphError {
        missing(self.y)
    }

    /// Two inputs of one shape, element by element.
    pub fn zipped(&self, f: impl Fn(T, T) -> T) -> Vec<T> {
        self.floats(0).iter().zip(self.floats(1)).map(|(&a, &b)| f(a, b)).collect()
    }

    /// The first `N` inputs, broadcast to the output's shape.
    pub fn broadcast<const N: usize>(&self, f: impl Fn([T; N]) -> T) -> Vec<T> {
        let mut y = Vec::with_capacity(self.y.len());
        each(&self.y.shape, |_, index| {
            let value = |i: usize| self.floats(i)[broadcast_position(self.dims(i), index)];
            y.push(f(std::array::from_fn(value)));
        });
        y
    }
}
