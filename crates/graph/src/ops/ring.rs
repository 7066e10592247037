//! Rings: columns of a tensor of the state, of which each step replaces the oldest.

use super::Family;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// A step's samples put into a ring of `len` columns. The place of the next column is a tensor `[1]` of the state, a whole
/// number below `len`; both have no gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// `(kept[rows, len], samples[batch, rows], next[1]) -> kept` with sample `i` in column `(next + i) mod len`. To be assigned
    /// to what it keeps, of which it then changes those columns alone.
    Push,
    /// `(next[1]) -> (next + batch) mod len`.
    Next {
        /// Samples of a step.
        batch: usize,
        /// Columns of the ring.
        len: usize,
    },
}

impl Ring {
    /// The most columns: beyond, places would not be whole numbers of an f32.
    pub const MOST: usize = 1 << 24;
}

impl Family for Ring {
    fn name(&self) -> &'static str {
        match self {
            Ring::Push => "ring_push",
            Ring::Next { .. } => "ring_next",
        }
    }

    fn inputs(&self) -> Inputs {
        Inputs::Each(match self {
            Ring::Push => &[Input::FLOAT, Input::FLOAT, Input::FLOAT],
            Ring::Next { .. } => &[Input::FLOAT],
        })
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        let fits = |len: usize| {
            dims.check((1..=Ring::MOST).contains(&len), || {
                format!("a ring has 1 to {} columns, found {len}", Ring::MOST)
            })
        };
        match *self {
            Ring::Push => {
                let (kept, samples) = (dims.of(0), dims.of(1));
                dims.check(kept.len() == 2 && samples.len() == 2, || {
                    format!("a ring and samples have two dims, found {kept:?} and {samples:?}")
                })?;
                fits(kept[1])?;
                dims.expect(1, "samples", &[samples[0], kept[0]])?;
                dims.expect(2, "next", &[1])?;
                Ok(kept.to_vec())
            }
            Ring::Next { len, .. } => {
                fits(len)?;
                dims.expect(0, "next", &[1])?;
                Ok(vec![1])
            }
        }
    }

    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        Err(back.no_gradient(node, "what a ring keeps is assigned to the state alone"))
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        match *self {
            Ring::Push => {
                let mut kept = args.floats(0).to_vec();
                let (rows, len) = (args.dims(0)[0], args.dims(0)[1]);
                let next = place(args.floats(2)[0], len);
                for (i, sample) in args.floats(1).chunks_exact(rows.max(1)).enumerate() {
                    for (row, &value) in sample.iter().enumerate() {
                        kept[row * len + (next + i) % len] = value;
                    }
                }
                Ok(kept.into())
            }
            Ring::Next { batch, len } => {
                let next = (place(args.floats(0)[0], len) + batch) % len;
                Ok(vec![T::count(next)].into())
            }
        }
    }
}

/// A place in a ring; 0 for what is none.
fn place<T: Real>(next: T, len: usize) -> usize {
    (0..len).find(|&i| T::count(i) == next).unwrap_or(0)
}
