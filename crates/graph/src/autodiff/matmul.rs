//! Matrix products.

use super::{Backward, Done, Node};
use crate::op::Op;

impl Backward<'_> {
    /// C = A B: dA = dC B^T, dB = A^T dC. Saves A and B. Transposes are flags, never copies; where
    /// an operand is used transposed, the product's factors swap: for C = A B^T, dB = dC^T A.
    /// An operand of rank 2 that served all batches gets the sum over them.
    pub(super) fn matmul(&mut self, node: &Node, transpose_a: bool, transpose_b: bool) -> Done {
        let (a, b, dc) = (node.x[0], node.x[1], node.dy);
        let product = |transpose_a, transpose_b| Op::MatMul { transpose_a, transpose_b };
        if self.needs(node, 0) {
            let da = if transpose_a {
                self.apply(product(transpose_b, true), &[b, dc])?
            } else {
                self.apply(product(false, !transpose_b), &[dc, b])?
            };
            self.give(node, 0, da)?;
        }
        if self.needs(node, 1) {
            let (mut a, mut dc) = (a, dc);
            let shared = self.graph.shape(b).len() == 2 && self.graph.shape(a).len() > 2;
            if shared && !transpose_a {
                // One long product instead of one a batch and a sum: rows of all batches in a line.
                a = self.rows(a)?;
                dc = self.rows(dc)?;
            }
            let db = if transpose_b {
                self.apply(product(true, transpose_a), &[dc, a])?
            } else {
                self.apply(product(!transpose_a, false), &[a, dc])?
            };
            self.give(node, 1, db)?;
        }
        Ok(())
    }

    /// `[..., m, k] -> [rows, k]`
    fn rows(&mut self, x: crate::TensorId) -> Result<crate::TensorId, crate::GraphError> {
        let shape = self.shape(x);
        let (columns, leading) = shape.split_last().map_or((1, &[][..]), |(&c, rest)| (c, rest));
        self.reshaped(x, &[leading.iter().product(), columns])
    }
}
