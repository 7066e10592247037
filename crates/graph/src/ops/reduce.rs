//! Sums, means and maxima over axes.

use super::{Family, Layout};
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::reference::indices::{each, position, reduced, reduced_shape};
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// How [`Reduce`] reduces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Sum.
    Sum,
    /// Mean.
    Mean,
    /// Maximum; ties share the gradient equally.
    Max,
}

/// Reductions, and the gradient of a maximum.
#[derive(Clone, Debug, PartialEq)]
pub enum Reduce {
    /// Reduces the axes (sorted, distinct); they stay as 1 if `keep_dims`.
    Axes {
        /// How.
        reduction: Reduction,
        /// Which axes.
        axes: Vec<usize>,
        /// Whether they stay as dims of 1.
        keep_dims: bool,
    },
    /// `(x, y, dy) -> dx` of a maximum over these axes; y and dy keep their dims.
    MaxGrad(Vec<usize>),
}

impl Family for Reduce {
    fn name(&self) -> &'static str {
        match self {
            Reduce::Axes { reduction: Reduction::Sum, .. } => "reduce_sum",
            Reduce::Axes { reduction: Reduction::Mean, .. } => "reduce_mean",
            Reduce::Axes { reduction: Reduction::Max, .. } => "reduce_max",
            Reduce::MaxGrad(_) => "reduce_max_grad",
        }
    }

    fn inputs(&self) -> Inputs {
        Inputs::Each(match self {
            Reduce::Axes { .. } => &[Input::FLOAT],
            Reduce::MaxGrad(_) => &[Input::FLOAT, Input::FLOAT, Input::FLOAT],
        })
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        let x = dims.of(0);
        let (Reduce::Axes { axes, .. } | Reduce::MaxGrad(axes)) = self;
        dims.check(axes.iter().all(|&axis| axis < x.len()), || {
            format!("axes {axes:?} are not all axes of shape {x:?}")
        })?;
        dims.check(axes.windows(2).all(|pair| pair[0] < pair[1]), || {
            format!("axes {axes:?} must be sorted and distinct")
        })?;
        match self {
            Reduce::Axes { keep_dims: true, .. } => Ok(reduced_shape(x, axes)),
            Reduce::Axes { keep_dims: false, .. } => {
                let stays = |axis: &usize| !axes.contains(axis);
                Ok((0..x.len()).filter(stays).map(|axis| x[axis]).collect())
            }
            Reduce::MaxGrad(_) => {
                let kept = reduced_shape(x, axes);
                dims.expect(1, "y", &kept)?;
                dims.expect(2, "dy", &kept)?;
                Ok(x.to_vec())
            }
        }
    }

    /// Sum over n values: dx = dy repeated; mean: dx = dy / n repeated. Neither saves anything.
    /// Max: dx = dy / k at the k places where x = y; saves x and y.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        let (reduction, axes) = match self {
            Reduce::Axes { reduction, axes, .. } => (*reduction, axes),
            Reduce::MaxGrad(_) => return back.no_second_derivative(node),
        };
        let shape = back.shape(node.x[0]);
        let kept = reduced_shape(&shape, axes);
        let mut dy = back.reshaped(node.dy, &kept)?;
        if reduction == Reduction::Max {
            let y = back.reshaped(node.y, &kept)?;
            let dx = back.apply(Reduce::MaxGrad(axes.clone()), &[node.x[0], y, dy])?;
            return back.give(node, 0, dx);
        }
        if reduction == Reduction::Mean {
            // Scaled before it is repeated: fewer values to multiply.
            let values: usize = axes.iter().map(|&axis| shape[axis]).product();
            if values != 1 {
                dy = back.affine(dy, (1.0 / values as f64) as f32, 0.0)?;
            }
        }
        if kept != shape {
            dy = back.apply(Layout::BroadcastTo(shape), &[dy])?;
        }
        back.give(node, 0, dy)
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let (x, shape) = (args.floats(0), args.dims(0));
        let (Reduce::Axes { axes, .. } | Reduce::MaxGrad(axes)) = self;
        let kept = reduced_shape(shape, axes);
        // Calls `f` with the positions of each x and of what it is reduced to.
        let pairs = |f: &mut dyn FnMut(usize, usize)| {
            each(shape, |flat, index| f(flat, position(&kept, &reduced(index, axes))));
        };
        let mut out = args.zeros();
        match self {
            Reduce::Axes { reduction: Reduction::Max, .. } => {
                let mut best: Vec<Option<T>> = vec![None; out.len()];
                pairs(&mut |flat, at| {
                    best[at] = Some(best[at].map_or(x[flat], |best| best.larger(x[flat])));
                });
                out = best.into_iter().map(|best| best.unwrap_or(T::ZERO)).collect();
            }
            Reduce::Axes { reduction, .. } => {
                let values: usize = axes.iter().map(|&axis| shape[axis]).product();
                let mean = *reduction == Reduction::Mean;
                let scale = if mean { T::ONE / T::count(values) } else { T::ONE };
                pairs(&mut |flat, at| out[at] += x[flat]);
                out = out.into_iter().map(|sum| sum * scale).collect();
            }
            // Each of the k values equal to the maximum gets dy / k.
            Reduce::MaxGrad(_) => {
                let (y, dy) = (args.floats(1), args.floats(2));
                let mut ties = vec![T::ZERO; y.len()];
                pairs(&mut |flat, at| {
                    if x[flat] == y[at] {
                        ties[at] += T::ONE;
                    }
                });
                pairs(&mut |flat, at| {
                    if x[flat] == y[at] {
                        out[flat] = dy[at] / ties[at];
                    }
                });
            }
        }
        Ok(out.into())
    }
}
