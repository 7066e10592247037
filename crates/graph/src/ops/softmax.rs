//! Softmax over the last dim.

use super::Family;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// Softmax, its logarithm and their gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Softmax {
    /// `(x) -> e^x / sum(e^x)`
    Plain,
    /// `(y, dy) -> dx`
    PlainGrad,
    /// `(x) -> x - log(sum(e^x))`
    Log,
    /// `(y, dy) -> dx`
    LogGrad,
}

impl Family for Softmax {
    fn name(&self) -> &'static str {
        match self {
            Softmax::Plain => "softmax",
            Softmax::PlainGrad => "softmax_grad",
            Softmax::Log => "log_softmax",
            Softmax::LogGrad => "log_softmax_grad",
        }
    }

    fn inputs(&self) -> Inputs {
        Inputs::Each(match self {
            Softmax::Plain | Softmax::Log => &[Input::FLOAT],
            Softmax::PlainGrad | Softmax::LogGrad => &[Input::FLOAT, Input::FLOAT],
        })
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        dims.channels(0)?;
        match self {
            Softmax::Plain | Softmax::Log => Ok(dims.of(0).to_vec()),
            Softmax::PlainGrad | Softmax::LogGrad => dims.same(&["y", "dy"]),
        }
    }

    /// Softmax: dx = y (dy - sum(y dy)). Log-softmax: dx = dy - e^y sum(dy). Both save y.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        let gradient = match self {
            Softmax::Plain => Softmax::PlainGrad,
            Softmax::Log => Softmax::LogGrad,
            Softmax::PlainGrad | Softmax::LogGrad => return back.no_second_derivative(node),
        };
        let dx = back.apply(gradient, &[node.y, node.dy])?;
        back.give(node, 0, dx)
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let mut out = Vec::with_capacity(args.y.len());
        match self {
            Softmax::Plain => {
                out.extend(args.rows(0).flat_map(log_softmax).map(T::exp));
            }
            Softmax::Log => out.extend(args.rows(0).flat_map(log_softmax)),
            Softmax::PlainGrad => {
                for (y, dy) in args.rows(0).zip(args.rows(1)) {
                    let sum: T = y.iter().zip(dy).map(|(&y, &dy)| y * dy).sum();
                    out.extend(y.iter().zip(dy).map(|(&y, &dy)| y * (dy - sum)));
                }
            }
            Softmax::LogGrad => {
                for (y, dy) in args.rows(0).zip(args.rows(1)) {
                    let sum: T = dy.iter().copied().sum();
                    out.extend(y.iter().zip(dy).map(|(&y, &dy)| dy - y.exp() * sum));
                }
            }
        }
        Ok(out.into())
    }
}

/// `x - log(sum(e^x))`, shifted by the maximum against overflow.
pub(super) fn log_softmax<T: Real>(row: &[T]) -> Vec<T> {
    let max = row.iter().copied().fold(row[0], T::larger);
    let sum: T = row.iter().map(|&x| (x - max).exp()).sum();
    row.iter().map(|&x| x - max - sum.ln()).collect()
}
