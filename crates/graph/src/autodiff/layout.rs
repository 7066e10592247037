//! Reductions and ops that move elements.

use super::{Backward, Done, Node};
use crate::op::{Op, Reduction};

impl Backward<'_> {
    /// Sum over n values: dx = dy repeated; mean: dx = dy / n repeated. Neither saves anything.
    /// Max: dx = dy / k at the k places where x = y; saves x and y.
    pub(super) fn reduce(&mut self, node: &Node, reduction: Reduction, axes: &[usize]) -> Done {
        let shape = self.shape(node.x[0]);
        let mut kept = shape.clone();
        for &axis in axes {
            kept[axis] = 1;
        }
        let mut dy = self.reshaped(node.dy, &kept)?;
        if reduction == Reduction::Max {
            let y = self.reshaped(node.y, &kept)?;
            let dx = self.apply(Op::ReduceMaxGrad(axes.to_vec()), &[node.x[0], y, dy])?;
            return self.give(node, 0, dx);
        }
        if reduction == Reduction::Mean {
            // Scaled before it is repeated: fewer values to multiply.
            let values: usize = axes.iter().map(|&axis| shape[axis]).product();
            if values != 1 {
                dy = self.affine(dy, (1.0 / values as f64) as f32, 0.0)?;
            }
        }
        if kept != shape {
            dy = self.apply(Op::BroadcastTo(shape), &[dy])?;
        }
        self.give(node, 0, dy)
    }

    /// y repeats x: dx = sum of dy over the repeats. Saves nothing.
    pub(super) fn broadcast_to(&mut self, node: &Node) -> Done {
        self.give(node, 0, node.dy)
    }

    /// Same elements, other dims: dx = dy in x's shape. Saves nothing.
    pub(super) fn reshape(&mut self, node: &Node) -> Done {
        let dx = self.reshaped(node.dy, &self.shape(node.x[0]))?;
        self.give(node, 0, dx)
    }

    /// y's dim i is x's dim p[i]: dx's dim p[i] is dy's dim i, the inverse permutation.
    pub(super) fn transpose(&mut self, node: &Node, permutation: &[usize]) -> Done {
        let mut inverse = vec![0; permutation.len()];
        for (to, &from) in permutation.iter().enumerate() {
            inverse[from] = to;
        }
        let dx = self.apply(Op::Transpose(inverse), &[node.dy])?;
        self.give(node, 0, dx)
    }

    /// y lines up its inputs along an axis: each gets its own part of dy. Saves nothing.
    pub(super) fn concat(&mut self, node: &Node, axis: usize) -> Done {
        let mut start = vec![0; self.shape(node.y).len()];
        for index in 0..node.x.len() {
            let size = self.shape(node.x[index]);
            let length = size[axis];
            if self.needs(node, index) {
                let dx = self.apply(Op::Slice { start: start.clone(), size }, &[node.dy])?;
                self.give(node, index, dx)?;
            }
            start[axis] += length;
        }
        Ok(())
    }

    /// y is a part of x: dx is dy there and 0 elsewhere. Saves nothing.
    pub(super) fn slice(&mut self, node: &Node, start: &[usize], size: &[usize]) -> Done {
        let shape = self.shape(node.x[0]);
        let after = (0..shape.len()).map(|axis| shape[axis] - start[axis] - size[axis]).collect();
        let op = Op::Pad { before: start.to_vec(), after, value: 0.0 };
        let dx = self.apply(op, &[node.dy])?;
        self.give(node, 0, dx)
    }

    /// y is x with a frame of constants: dx is the inner part of dy. Saves nothing.
    pub(super) fn pad(&mut self, node: &Node, before: &[usize]) -> Done {
        let op = Op::Slice { start: before.to_vec(), size: self.shape(node.x[0]) };
        let dx = self.apply(op, &[node.dy])?;
        self.give(node, 0, dx)
    }
}
