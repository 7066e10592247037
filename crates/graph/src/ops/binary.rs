//! Functions of two values, element by element, broadcast as NumPy does. Broadcasting is reversed in
//! [`Backward::give`].

use super::pair_loss::{PairLoss, PairLossGrad, pair_loss};
use super::{Family, Unary};
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::graph::TensorId;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape, broadcast};

/// A function of two values, broadcast as NumPy does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
    /// `max(a, b)`; on ties the gradient goes to `a`
    Max,
    /// `min(a, b)`; on ties the gradient goes to `a`
    Min,
    /// `1` where `a >= b`, else `0`; no gradient
    GreaterEqual,
    /// A loss of prediction `a` against target `b`; gradient to `a` only.
    Loss(PairLoss),
}

impl Binary {
    /// Name for messages.
    pub fn name(self) -> &'static str {
        use Binary::*;
        match self {
            Add => "add",
            Sub => "sub",
            Mul => "mul",
            Div => "div",
            Max => "max",
            Min => "min",
            GreaterEqual => "greater_equal",
            Loss(l) => l.name(),
        }
    }
}

impl Family for Binary {
    fn name(&self) -> &'static str {
        Binary::name(*self)
    }

    fn inputs(&self) -> Inputs {
        Inputs::Each(&[Input::FLOAT, Input::FLOAT])
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        let (a, b) = (dims.of(0), dims.of(1));
        if let Binary::Loss(loss) = self {
            return loss.shape(dims, a, b);
        }
        broadcast(a, b).ok_or_else(|| {
            let error = dims.cannot_broadcast(a, b);
            // A bias or scale along a dim that is not the last one.
            let along = match (a, b) {
                (long, [n]) | ([n], long) => {
                    long.iter().position(|d| d == n).map(|axis| (long, axis, n))
                }
                _ => None,
            };
            match along {
                Some((long, axis, n)) => {
                    let mut shape = vec![1; long.len() - axis];
                    shape[0] = *n;
                    error.help(format!("to go along dim {axis} reshape [{n}] to {shape:?}"))
                }
                None => error.help("dims are aligned at the end; they must be equal or 1"),
            }
        })
    }

    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        let (a, b, dy) = (node.x[0], node.x[1], node.dy);
        let (needs_a, needs_b) = (back.needs(node, 0), back.needs(node, 1));
        match *self {
            // da = dy, db = dy
            Binary::Add => {
                if needs_a {
                    back.give(node, 0, dy)?;
                }
                if needs_b {
                    back.give(node, 1, dy)?;
                }
            }
            // da = dy, db = -dy
            Binary::Sub => {
                if needs_a {
                    back.give(node, 0, dy)?;
                }
                if needs_b {
                    let db = back.apply(Unary::Neg, &[dy])?;
                    back.give(node, 1, db)?;
                }
            }
            // da = dy b, db = dy a; saves both.
            Binary::Mul => {
                if needs_a {
                    let da = back.mul(dy, b)?;
                    back.give(node, 0, da)?;
                }
                if needs_b {
                    let db = back.mul(dy, a)?;
                    back.give(node, 1, db)?;
                }
            }
            // da = dy / b, db = -dy y / b; saves b and y.
            Binary::Div => {
                let da = back.apply(Binary::Div, &[dy, b])?;
                if needs_a {
                    back.give(node, 0, da)?;
                }
                if needs_b {
                    let product = back.mul(da, node.y)?;
                    let db = back.apply(Unary::Neg, &[product])?;
                    back.give(node, 1, db)?;
                }
            }
            // dy goes to the winner, on ties to a: m = (a >= b), da = m dy, db = (1 - m) dy.
            Binary::Max => winner(back, node, a, b)?,
            Binary::Min => winner(back, node, b, a)?,
            Binary::GreaterEqual => {}
            // Per loss in `pair_loss_slope`; saves x and t.
            Binary::Loss(loss) => {
                back.constant_input(node, 1, "the target")?;
                if needs_a {
                    let dx = back.apply(PairLossGrad(loss), &[a, b, dy])?;
                    back.give(node, 0, dx)?;
                }
            }
        }
        Ok(())
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        Ok(args.broadcast(|[a, b]| binary(*self, a, b)).into())
    }
}

/// `a` wins where `large >= small`.
fn winner(back: &mut Backward<'_>, node: &Node, large: TensorId, small: TensorId) -> Done {
    let mask = back.apply(Binary::GreaterEqual, &[large, small])?;
    if back.needs(node, 0) {
        let da = back.mul(node.dy, mask)?;
        back.give(node, 0, da)?;
    }
    if back.needs(node, 1) {
        let other = back.affine(mask, -1.0, 1.0)?;
        let db = back.mul(node.dy, other)?;
        back.give(node, 1, db)?;
    }
    Ok(())
}

/// `f(a, b)`
pub fn binary<T: Real>(op: Binary, a: T, b: T) -> T {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Max => a.larger(b),
        Binary::Min if b < a => b,
        Binary::Min => a,
        Binary::GreaterEqual if a >= b => T::ONE,
        Binary::GreaterEqual => T::ZERO,
        Binary::Loss(loss) => pair_loss(loss, a, b),
    }
}
