//! What the shape rules of [`crate::ops`] share: the inputs' dims, checks, broadcasting.
//!
//! No rule panics: sizes are multiplied with overflow checks, so absurd dims end as errors too.

use crate::error::GraphError;
use crate::graph::{DType, Tensor};
use crate::ops::Op;

/// Most elements that a tensor may have; keeps every byte offset of an f64 copy in range.
const MAX_ELEMENTS: usize = isize::MAX as usize / 16;

/// Shape or an error, as each rule returns it.
pub(crate) type Shape = Result<Vec<usize>, GraphError>;

/// How many inputs an op takes, of which element types.
pub(crate) enum Inputs {
    /// These; the output is f32.
    Each(&'static [Input]),
    /// So many (any number from one on, if none is said) of one type, which is the output's too:
    /// ops that move elements around.
    Alike(Option<usize>),
}

/// One input of an op.
pub(crate) struct Input {
    dtype: DType,
    /// What it is called in errors, of integers.
    what: &'static str,
    /// Integers may also be floats with whole values, which count exactly up to 2^24: columns of a
    /// table of floats.
    or_float: bool,
    /// What to do if it is of the other type.
    help: Option<&'static str>,
}

impl Input {
    /// What is computed with.
    pub const FLOAT: Input = Input { dtype: DType::F32, what: "", or_float: false, help: None };
    /// Rows of a table.
    pub const IDS: Input = Input { dtype: DType::I32, what: "ids", or_float: true, help: None };

    /// Whole numbers called `what`.
    pub const fn integer(what: &'static str) -> Input {
        Input { dtype: DType::I32, what, or_float: false, help: None }
    }

    /// Adds what to do if the other type is given.
    pub const fn help(self, help: &'static str) -> Input {
        Input { help: Some(help), ..self }
    }
}

/// The output's shape and element type.
pub fn infer(op: &Op, inputs: &[&Tensor]) -> Result<(Vec<usize>, DType), GraphError> {
    let dims = Dims { name: op.name(), inputs };
    let kinds = op.inputs();
    dims.check_arity(&kinds)?;
    for input in inputs {
        dims.check_size(&input.shape)?;
    }
    let dtype = dims.check_dtypes(&kinds)?;
    let shape = op.shape(&dims)?;
    dims.check_size(&shape)?;
    Ok((shape, dtype))
}

/// Number of elements, unless that is more than any memory holds.
pub fn count(shape: &[usize]) -> Option<usize> {
    let total = shape.iter().try_fold(1usize, |total, &dim| total.checked_mul(dim))?;
    (total <= MAX_ELEMENTS).then_some(total)
}

/// The shape that two shapes have together, as NumPy broadcasts: aligned at the last dim, a dim of
/// 1 (or none) repeats. Nothing if two other dims differ.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let dim = |shape: &[usize], axis: usize| {
        (axis + shape.len()).checked_sub(rank).map_or(1, |index| shape[index])
    };
    (0..rank)
        .map(|axis| match (dim(a, axis), dim(b, axis)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// The axes of `to` along which a value of shape `from` is repeated when it is broadcast to `to`.
pub fn broadcast_axes(from: &[usize], to: &[usize]) -> Vec<usize> {
    let missing = to.len().saturating_sub(from.len());
    (0..to.len())
        .filter(|&axis| axis < missing || (from[axis - missing] == 1 && to[axis] != 1))
        .collect()
}

/// An op's inputs, as its shape rule sees them.
pub(crate) struct Dims<'a> {
    /// The op's name.
    name: &'static str,
    inputs: &'a [&'a Tensor],
}

impl<'a> Dims<'a> {
    /// Number of inputs.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Dims of input `index`.
    pub fn of(&self, index: usize) -> &'a [usize] {
        &self.inputs[index].shape
    }

    /// An error that starts with the op's name.
    pub fn error(&self, message: impl std::fmt::Display) -> GraphError {
        GraphError::new(format!("{}: {message}", self.name))
    }

    /// Fails with the message unless the setting is `valid`.
    pub fn check(&self, valid: bool, message: impl Fn() -> String) -> Result<(), GraphError> {
        if valid { Ok(()) } else { Err(self.error(message())) }
    }

    /// The only dims that an input may have.
    pub fn expect(&self, index: usize, what: &str, want: &[usize]) -> Result<(), GraphError> {
        let found = self.of(index);
        if found == want {
            return Ok(());
        }
        Err(self.error(format!("expected {what} of shape {want:?}, found shape {found:?}")))
    }

    /// Dims of an input of fixed rank.
    pub fn rank<const N: usize>(
        &self,
        index: usize,
        what: &str,
        legend: &str,
    ) -> Result<[usize; N], GraphError> {
        let found = self.of(index);
        found.try_into().map_err(|_| {
            self.error(format!("expected {what} of shape [{legend}], found shape {found:?}"))
        })
    }

    /// The last dim, which must exist.
    pub fn channels(&self, index: usize) -> Result<usize, GraphError> {
        self.of(index).last().copied().ok_or_else(|| {
            self.error("expected at least one dim, found a scalar, shape []")
                .help("reshape it to [1] first")
        })
    }

    /// Inputs that all have one shape, which is the output's.
    pub fn same(&self, names: &[&str]) -> Shape {
        let first = self.of(0);
        for (index, name) in names.iter().enumerate().skip(1) {
            let found = self.of(index);
            if found != first {
                let message = format!(
                    "expected {} and {name} of one shape, found shapes {first:?} and {found:?}",
                    names[0]
                );
                return Err(self.error(message));
            }
        }
        Ok(first.to_vec())
    }

    /// The error of two shapes that have none together.
    pub fn cannot_broadcast(&self, a: &[usize], b: &[usize]) -> GraphError {
        self.error(format!("shapes {a:?} and {b:?} do not broadcast to a common shape"))
    }

    /// Settings that count something.
    pub fn at_least_one(&self, what: &str, values: &[usize]) -> Result<(), GraphError> {
        self.check(!values.contains(&0), || format!("{what} must be at least 1, found {values:?}"))
    }

    /// What is added under a root.
    pub fn check_epsilon(&self, epsilon: f32) -> Result<(), GraphError> {
        self.check(epsilon >= 0.0 && epsilon.is_finite(), || {
            format!("epsilon must be at least 0, found {epsilon}")
        })
    }

    /// A share of the targets that is spread over all classes.
    pub fn check_smoothing(&self, share: f32) -> Result<(), GraphError> {
        self.check((0.0..=1.0).contains(&share), || {
            format!("label_smoothing must be from 0 to 1, found {share}")
        })
    }

    /// That a shape has elements, and not more than memory holds.
    pub fn check_size(&self, shape: &[usize]) -> Result<(), GraphError> {
        if shape.contains(&0) {
            return Err(self
                .error(format!("shape {shape:?} has no elements"))
                .help("every dim must be at least 1; look for a size that was rounded down to 0"));
        }
        match count(shape) {
            Some(_) => Ok(()),
            None => Err(self.error(format!("shape {shape:?} has more elements than memory holds"))),
        }
    }

    fn check_arity(&self, kinds: &Inputs) -> Result<(), GraphError> {
        let found = self.inputs.len();
        let want = match kinds {
            Inputs::Each(inputs) => inputs.len(),
            Inputs::Alike(Some(want)) => *want,
            Inputs::Alike(None) => {
                return self.check(found > 0, || "expected inputs, found none".into());
            }
        };
        let shapes = || self.inputs.iter().map(|t| &t.shape).collect::<Vec<_>>();
        self.check(found == want, || {
            format!("expected {want} inputs, found {found} of shapes {:?}", shapes())
        })
    }

    /// The output's element type.
    fn check_dtypes(&self, kinds: &Inputs) -> Result<DType, GraphError> {
        let wanted = match kinds {
            Inputs::Each(wanted) => wanted,
            Inputs::Alike(_) => {
                let first = self.inputs[0].dtype;
                let one = self.inputs.iter().all(|t| t.dtype == first);
                return self.check(one, || "inputs mix f32 and i32".into()).map(|()| first);
            }
        };
        for (index, (input, want)) in self.inputs.iter().zip(*wanted).enumerate() {
            if input.dtype == want.dtype || want.or_float {
                continue;
            }
            let (what, shape) = (want.what, &input.shape);
            let error = self.error(match want.dtype {
                DType::I32 => format!("expected {what} of type i32, found f32 of shape {shape:?}"),
                DType::F32 => {
                    format!("expected input {index} of type f32, found i32 of shape {shape:?}")
                }
            });
            return Err(match want.help {
                Some(help) => error.help(help),
                None => error,
            });
        }
        Ok(DType::F32)
    }
}
