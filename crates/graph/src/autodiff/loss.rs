//! Softmax and losses.

use super::{Backward, Done, Node};
use crate::op::Op;

impl Backward<'_> {
    /// Softmax: dx = y (dy - sum(y dy)). Log-softmax: dx = dy - e^y sum(dy). Both save y.
    pub(super) fn softmax(&mut self, node: &Node, gradient: Op) -> Done {
        let dx = self.apply(gradient, &[node.y, node.dy])?;
        self.give(node, 0, dx)
    }

    /// l = -sum t log softmax(x): dx = dl (softmax(x) sum(t) - t), t the smoothed target, whose sum
    /// is 1 for class numbers. Saves x and the labels.
    pub(super) fn cross_entropy(&mut self, node: &Node, gradient: Op) -> Done {
        self.constant_input(node, 1, "the target")?;
        if self.needs(node, 0) {
            let dx = self.apply(gradient, &[node.x[0], node.x[1], node.dy])?;
            self.give(node, 0, dx)?;
        }
        Ok(())
    }

    /// m = sum(w l) / sum(w): dl = dm w / sum(w). Saves w.
    pub(super) fn weighted_mean(&mut self, node: &Node) -> Done {
        self.constant_input(node, 1, "the weight")?;
        if self.needs(node, 0) {
            let dloss = self.apply(Op::WeightedMeanGrad, &[node.x[1], node.dy])?;
            self.give(node, 0, dloss)?;
        }
        Ok(())
    }
}
