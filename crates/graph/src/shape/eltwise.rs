//! Elementwise ops with broadcasting.

use super::{Call, Shape};
use crate::op::{Binary, Op};

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

impl Call<'_> {
    pub(super) fn binary(&self) -> Shape {
        let (a, b) = (self.dims(0), self.dims(1));
        broadcast(a, b).ok_or_else(|| self.cannot_broadcast(a, b))
    }

    /// `(x, t, dy)`: dy has at most the shape of x and t together.
    pub(super) fn pair_loss_grad(&self) -> Shape {
        let (x, t, dy) = (self.dims(0), self.dims(1), self.dims(2));
        let both = broadcast(x, t).ok_or_else(|| self.cannot_broadcast(x, t))?;
        broadcast(&both, dy).ok_or_else(|| self.cannot_broadcast(&both, dy))
    }

    fn cannot_broadcast(&self, a: &[usize], b: &[usize]) -> crate::error::GraphError {
        let error =
            self.error(format!("shapes {a:?} and {b:?} do not broadcast to a common shape"));
        let is_loss = matches!(self.op, Op::Binary(Binary::Loss(_)) | Op::PairLossGrad(_));
        // A bias or scale along a dim that is not the last one.
        let along = match (a, b) {
            (long, [n]) | ([n], long) => {
                long.iter().position(|d| d == n).map(|axis| (long, axis, n))
            }
            _ => None,
        };
        match along {
            Some((long, axis, n)) if !is_loss => {
                let mut shape = vec![1; long.len() - axis];
                shape[0] = *n;
                error.help(format!("to go along dim {axis} reshape [{n}] to {shape:?}"))
            }
            _ if is_loss => error.help("the predictions and the targets must have one shape"),
            _ => error.help("dims are aligned at the end; they must be equal or 1"),
        }
    }
}
