//! Ops that move, repeat or leave out elements and compute nothing.

use super::Family;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::graph::DType;
use crate::reference::indices::{broadcast_position, each, position};
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape, broadcast, count};

/// Where elements go. All but `Pad` take f32 or i32.
#[derive(Clone, Debug, PartialEq)]
pub enum Layout {
    /// To the given shape, as NumPy broadcasts.
    BroadcastTo(Vec<usize>),
    /// To the given shape; same elements in the same order.
    Reshape(Vec<usize>),
    /// Output dim `i` is input dim `perm[i]`.
    Transpose(Vec<usize>),
    /// Any number of inputs along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// `start[i] .. start[i] + size[i]` of each dim.
    Slice {
        /// First index of each dim.
        start: Vec<usize>,
        /// Length of each dim.
        size: Vec<usize>,
    },
    /// Puts `value` around.
    Pad {
        /// Elements before, in each dim.
        before: Vec<usize>,
        /// Elements after, in each dim.
        after: Vec<usize>,
        /// What is put there.
        value: f32,
    },
    /// The same; cuts the gradient.
    StopGradient,
}

impl Family for Layout {
    fn name(&self) -> &'static str {
        match self {
            Layout::BroadcastTo(_) => "broadcast_to",
            Layout::Reshape(_) => "reshape",
            Layout::Transpose(_) => "transpose",
            Layout::Concat { .. } => "concat",
            Layout::Slice { .. } => "slice",
            Layout::Pad { .. } => "pad",
            Layout::StopGradient => "stop_gradient",
        }
    }

    fn inputs(&self) -> Inputs {
        match self {
            Layout::Concat { .. } => Inputs::Alike(None),
            Layout::Pad { .. } => Inputs::Each(&[Input::FLOAT]),
            Layout::BroadcastTo(_)
            | Layout::Reshape(_)
            | Layout::Transpose(_)
            | Layout::Slice { .. }
            | Layout::StopGradient => Inputs::Alike(Some(1)),
        }
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        let x = dims.of(0);
        match self {
            Layout::BroadcastTo(shape) => {
                if broadcast(x, shape).as_ref() == Some(shape) {
                    return Ok(shape.clone());
                }
                let help =
                    "dims are aligned at the end; they must be equal, or 1 on the input's side";
                Err(dims.error(format!("shape {x:?} does not broadcast to {shape:?}")).help(help))
            }
            Layout::Reshape(shape) => reshape(dims, shape),
            Layout::Transpose(permutation) => {
                let mut sorted = permutation.clone();
                sorted.sort_unstable();
                dims.check(sorted.into_iter().eq(0..x.len()), || {
                    let rank = x.len();
                    format!(
                        "{permutation:?} is not a permutation of the {rank} dims of shape {x:?}"
                    )
                })?;
                Ok(permutation.iter().map(|&axis| x[axis]).collect())
            }
            Layout::Concat { axis } => concat(dims, *axis),
            Layout::Slice { start, size } => {
                let ends = |axis: usize| start[axis].checked_add(size[axis]);
                let inside = start.len() == x.len()
                    && size.len() == x.len()
                    && (0..x.len()).all(|axis| ends(axis).is_some_and(|end| end <= x[axis]));
                dims.check(inside, || {
                    format!("start {start:?} and size {size:?} are not inside shape {x:?}")
                })?;
                Ok(size.clone())
            }
            Layout::Pad { before, after, .. } => {
                dims.check(before.len() == x.len() && after.len() == x.len(), || {
                    format!(
                        "expected {} numbers before and after for shape {x:?}, found {before:?} \
                         and {after:?}",
                        x.len()
                    )
                })?;
                let padded =
                    |axis: usize| before[axis].saturating_add(x[axis]).saturating_add(after[axis]);
                Ok((0..x.len()).map(padded).collect())
            }
            Layout::StopGradient => Ok(x.to_vec()),
        }
    }

    /// None of them saves anything.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        let dx = match self {
            // y repeats x: dx = sum of dy over the repeats, which `give` takes.
            Layout::BroadcastTo(_) => node.dy,
            // Same elements, other dims: dx = dy in x's shape.
            Layout::Reshape(_) => back.reshaped(node.dy, &back.shape(node.x[0]))?,
            // y's dim i is x's dim p[i]: dx's dim p[i] is dy's dim i, the inverse permutation.
            Layout::Transpose(permutation) => {
                let mut inverse = vec![0; permutation.len()];
                for (to, &from) in permutation.iter().enumerate() {
                    inverse[from] = to;
                }
                back.apply(Layout::Transpose(inverse), &[node.dy])?
            }
            Layout::Concat { axis } => return concat_gradient(back, node, *axis),
            // y is a part of x: dx is dy there and 0 elsewhere.
            Layout::Slice { start, size } => {
                let shape = back.shape(node.x[0]);
                let after =
                    (0..shape.len()).map(|axis| shape[axis] - start[axis] - size[axis]).collect();
                let op = Layout::Pad { before: start.clone(), after, value: 0.0 };
                back.apply(op, &[node.dy])?
            }
            // y is x with a frame of constants: dx is the inner part of dy.
            Layout::Pad { before, .. } => {
                let op = Layout::Slice { start: before.clone(), size: back.shape(node.x[0]) };
                back.apply(op, &[node.dy])?
            }
            Layout::StopGradient => return Ok(()),
        };
        back.give(node, 0, dx)
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let mut sources = Vec::with_capacity(args.y.len());
        each(&args.y.shape, |flat, index| sources.push(self.source(args, flat, index)));
        let fill = if let Layout::Pad { value, .. } = self { T::of(*value) } else { T::ZERO };
        Ok(match args.y.dtype {
            DType::F32 => {
                let element = |(input, at): (usize, usize)| args.floats(input)[at];
                Value::Float(sources.into_iter().map(|s| s.map_or(fill, element)).collect())
            }
            DType::I32 => {
                let element = |(input, at): (usize, usize)| args.ints(input)[at];
                Value::Int(sources.into_iter().map(|s| s.map_or(0, element)).collect())
            }
        })
    }
}

impl Layout {
    /// Where the output element at `index`, the `flat`th, comes from: (input, position).
    fn source<T: Real>(
        &self,
        args: &Args<'_, T>,
        flat: usize,
        index: &[usize],
    ) -> Option<(usize, usize)> {
        let shape = args.dims(0);
        match self {
            Layout::Reshape(_) | Layout::StopGradient => Some((0, flat)),
            Layout::BroadcastTo(_) => Some((0, broadcast_position(shape, index))),
            Layout::Transpose(permutation) => {
                let mut from = vec![0; index.len()];
                for (to, &axis) in permutation.iter().enumerate() {
                    from[axis] = index[to];
                }
                Some((0, position(shape, &from)))
            }
            Layout::Concat { axis } => {
                let mut from = index.to_vec();
                let mut input = 0;
                while from[*axis] >= args.dims(input)[*axis] {
                    from[*axis] -= args.dims(input)[*axis];
                    input += 1;
                }
                Some((input, position(args.dims(input), &from)))
            }
            Layout::Slice { start, .. } => {
                let from: Vec<_> = index.iter().zip(start).map(|(i, start)| i + start).collect();
                Some((0, position(shape, &from)))
            }
            Layout::Pad { before, .. } => {
                let inside = |axis: usize| {
                    index[axis].checked_sub(before[axis]).filter(|&i| i < shape[axis])
                };
                let from: Option<Vec<_>> = (0..index.len()).map(inside).collect();
                from.map(|from| (0, position(shape, &from)))
            }
        }
    }
}

fn reshape(dims: &Dims<'_>, shape: &[usize]) -> Shape {
    let x = dims.of(0);
    dims.check(count(shape).is_some() && count(shape) == count(x), || {
        let total = |shape| count(shape).map_or("too many".to_owned(), |n| n.to_string());
        format!("shape {x:?} has {} elements, {shape:?} has {}", total(x), total(shape))
    })?;
    Ok(shape.to_vec())
}

fn concat(dims: &Dims<'_>, axis: usize) -> Shape {
    let first = dims.of(0);
    dims.check(axis < first.len(), || format!("axis {axis} is not an axis of shape {first:?}"))?;
    let mut shape = first.to_vec();
    for index in 1..dims.len() {
        let other = dims.of(index);
        let fits = other.len() == shape.len()
            && (0..shape.len()).all(|dim| dim == axis || other[dim] == shape[dim]);
        dims.check(fits, || {
            format!("shapes {first:?} and {other:?} differ in other dims than axis {axis}")
        })?;
        shape[axis] = shape[axis].saturating_add(other[axis]);
    }
    Ok(shape)
}

/// y lines up its inputs along an axis: each gets its own part of dy.
fn concat_gradient(back: &mut Backward<'_>, node: &Node, axis: usize) -> Done {
    let mut start = vec![0; back.shape(node.y).len()];
    for index in 0..node.x.len() {
        let size = back.shape(node.x[index]);
        let length = size[axis];
        if back.needs(node, index) {
            let dx = back.apply(Layout::Slice { start: start.clone(), size }, &[node.dy])?;
            back.give(node, index, dx)?;
        }
        start[axis] += length;
    }
    Ok(())
}
