//! Convolution and pooling.

use super::{Backward, Done, Node};
use crate::op::{Conv2d, Op, Pool2d};

impl Backward<'_> {
    /// y[p, o] = sum over taps t and channels c of x[p s + t, c] w[t, c, o].
    /// dx scatters dy w^T back to the pixels that a window saw; dw sums x dy over all windows.
    /// Saves x and w.
    pub(super) fn conv(&mut self, node: &Node, conv: Conv2d) -> Done {
        let (x, weight) = (node.x[0], node.x[1]);
        if self.needs(node, 0) {
            let op = Op::Conv2dGradInput(conv, self.shape(x));
            let dx = self.apply(op, &[node.dy, weight])?;
            self.give(node, 0, dx)?;
        }
        if self.needs(node, 1) {
            let op = Op::Conv2dGradWeight(conv, self.shape(weight));
            let dweight = self.apply(op, &[x, node.dy])?;
            self.give(node, 1, dweight)?;
        }
        Ok(())
    }

    /// y = max of a window; dx: dy goes to the window's first maximum. Saves x and y.
    pub(super) fn max_pool(&mut self, node: &Node, pool: Pool2d) -> Done {
        let dx = self.apply(Op::MaxPool2dGrad(pool), &[node.x[0], node.y, node.dy])?;
        self.give(node, 0, dx)
    }

    /// y = mean of a window of n values; dx: dy / n to each of them. Saves nothing.
    pub(super) fn avg_pool(&mut self, node: &Node, pool: Pool2d) -> Done {
        let op = Op::AvgPool2dGrad(pool, self.shape(node.x[0]));
        let dx = self.apply(op, &[node.dy])?;
        self.give(node, 0, dx)
    }
}
