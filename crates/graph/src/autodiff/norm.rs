//! Normalisation, dropout, embedding.

use super::{Backward, Done, Node};
use crate::error::GraphError;
use crate::graph::TensorId;
use crate::op::{Binary, Op, Unary};

impl Backward<'_> {
    /// y = gamma h + beta with h = (x - mean) r, r = 1 / sqrt(var + eps), over the batch.
    /// dx = gamma r (dy - mean(dy) - h mean(dy h)), which covers the path through the moments, so
    /// the moments' input gets none; dgamma = sum dy h; dbeta = sum dy. Saves x and the moments.
    pub(super) fn batch_norm_train(&mut self, node: &Node, epsilon: f32) -> Done {
        let [x, moments, gamma] = [node.x[0], node.x[1], node.x[2]];
        if self.needs(node, 0) {
            let source = self.graph.tensor(moments);
            if source.op != Op::ChannelMoments || source.inputs != [x] {
                let error = format!(
                    "batch_norm: its gradient needs the moments of its own input, found {}",
                    source.name
                );
                return Err(GraphError::new(error)
                    .help("use channel_moments of x, or batch_norm_eval for constant moments"));
            }
            let op = Op::BatchNormTrainGradInput { epsilon };
            let dx = self.apply(op, &[x, moments, gamma, node.dy])?;
            self.give(node, 0, dx)?;
        }
        self.scale_and_shift(node, 2, Op::BatchNormGradGamma { epsilon }, &[x, moments, node.dy])
    }

    /// y = gamma h + beta with constant moments: dx = dy gamma r; dgamma = sum dy h; dbeta = sum dy.
    /// Saves x (for dgamma alone) and the moments.
    pub(super) fn batch_norm_eval(&mut self, node: &Node, epsilon: f32) -> Done {
        let [x, moments, gamma] = [node.x[0], node.x[1], node.x[2]];
        self.constant_input(node, 1, "the running moments")?;
        if self.needs(node, 0) {
            let c = self.shape(gamma)[0];
            let variance = Op::Slice { start: vec![1, 0], size: vec![1, c] };
            let variance = self.apply(variance, &[moments])?;
            let variance = self.reshaped(variance, &[c])?;
            let shifted = Unary::Affine { scale: 1.0, shift: epsilon };
            let shifted = self.apply(Op::Unary(shifted), &[variance])?;
            let r = self.apply(Op::Unary(Unary::Pow { exponent: -0.5 }), &[shifted])?;
            let factor = self.apply(Op::Binary(Binary::Mul), &[gamma, r])?;
            let dx = self.apply(Op::Binary(Binary::Mul), &[node.dy, factor])?;
            self.give(node, 0, dx)?;
        }
        self.scale_and_shift(node, 2, Op::BatchNormGradGamma { epsilon }, &[x, moments, node.dy])
    }

    /// y = gamma h + beta with h = (x - mean) r over the last dim of each row, g = gamma dy:
    /// dx = r (g - mean(g) - h mean(g h)); dgamma = sum dy h; dbeta = sum dy. Saves x.
    pub(super) fn layer_norm(&mut self, node: &Node, epsilon: f32) -> Done {
        let [x, gamma] = [node.x[0], node.x[1]];
        if self.needs(node, 0) {
            let dx = self.apply(Op::LayerNormGradInput { epsilon }, &[x, gamma, node.dy])?;
            self.give(node, 0, dx)?;
        }
        self.scale_and_shift(node, 1, Op::LayerNormGradGamma { epsilon }, &[x, node.dy])
    }

    /// y = gamma h with h = x r, r = 1 / sqrt(mean(x^2) + eps), g = gamma dy:
    /// dx = r (g - h mean(g h)); dgamma = sum dy h. Saves x.
    pub(super) fn rms_norm(&mut self, node: &Node, epsilon: f32) -> Done {
        let [x, gamma] = [node.x[0], node.x[1]];
        if self.needs(node, 0) {
            let dx = self.apply(Op::RmsNormGradInput { epsilon }, &[x, gamma, node.dy])?;
            self.give(node, 0, dx)?;
        }
        if self.needs(node, 1) {
            let dgamma = self.apply(Op::RmsNormGradGamma { epsilon }, &[x, node.dy])?;
            self.give(node, 1, dgamma)?;
        }
        Ok(())
    }

    /// gamma is input `index`, beta the next one.
    fn scale_and_shift(&mut self, node: &Node, index: usize, op: Op, inputs: &[TensorId]) -> Done {
        if self.needs(node, index) {
            let dgamma = self.apply(op, inputs)?;
            self.give(node, index, dgamma)?;
        }
        if self.needs(node, index + 1) {
            let leading = self.shape(node.dy).len() - 1;
            let dbeta = self.sum(node.dy, (0..leading).collect())?;
            self.give(node, index + 1, dbeta)?;
        }
        Ok(())
    }

    /// y = m x with the mask m a function of the key: dx = m dy, the same op. Saves nothing.
    pub(super) fn dropout(&mut self, node: &Node) -> Done {
        let dx = self.apply(node.op.clone(), &[node.dy, node.x[1]])?;
        self.give(node, 0, dx)
    }

    /// y[i] = table[ids[i]]; dtable[r] = sum of dy[i] over all i with ids[i] = r. Of bags,
    /// y[b] = sum of table[ids[b, t]] over all t with ids[b, t] > 0, and the like. Saves the ids.
    pub(super) fn embedding(&mut self, node: &Node) -> Done {
        let rows = self.shape(node.x[0])[0];
        let grad = match node.op {
            Op::EmbeddingBag => Op::EmbeddingBagGrad { rows },
            _ => Op::EmbeddingGrad { rows },
        };
        let dtable = self.apply(grad, &[node.x[1], node.dy])?;
        self.give(node, 0, dtable)
    }
}
