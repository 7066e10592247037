//! Elementwise ops. Broadcasting is reversed in `give`.

use super::{Backward, Done, Node};
use crate::error::GraphError;
use crate::graph::TensorId;
use crate::op::{Binary, Op, Saves, Unary};

impl Backward<'_> {
    /// y = f(x): dx = dy f'(x), with f' from x or from y as `Unary::saves` says.
    /// Linear ones save nothing: dx = dy times the slope.
    pub(super) fn unary(&mut self, node: &Node, unary: Unary) -> Done {
        let dx = match (unary, unary.saves()) {
            (Unary::Sign, _) => return Ok(()),
            (Unary::Affine { scale: 1.0, .. }, _) => node.dy,
            (Unary::Affine { scale, .. }, _) => self.affine(node.dy, scale, 0.0)?,
            (Unary::Neg, _) => self.apply(Op::Unary(Unary::Neg), &[node.dy])?,
            (_, Saves::Input) => self.apply(Op::UnaryGrad(unary), &[node.x[0], node.dy])?,
            (_, Saves::Output) => self.apply(Op::UnaryGrad(unary), &[node.y, node.dy])?,
            (_, Saves::Nothing) => self.apply(Op::UnaryGrad(unary), &[node.dy, node.dy])?,
        };
        self.give(node, 0, dx)
    }

    pub(super) fn binary(&mut self, node: &Node, binary: Binary) -> Done {
        let (a, b, dy) = (node.x[0], node.x[1], node.dy);
        let (needs_a, needs_b) = (self.needs(node, 0), self.needs(node, 1));
        match binary {
            // da = dy, db = dy
            Binary::Add => {
                if needs_a {
                    self.give(node, 0, dy)?;
                }
                if needs_b {
                    self.give(node, 1, dy)?;
                }
            }
            // da = dy, db = -dy
            Binary::Sub => {
                if needs_a {
                    self.give(node, 0, dy)?;
                }
                if needs_b {
                    let db = self.apply(Op::Unary(Unary::Neg), &[dy])?;
                    self.give(node, 1, db)?;
                }
            }
            // da = dy b, db = dy a; saves both.
            Binary::Mul => {
                if needs_a {
                    let da = self.mul(dy, b)?;
                    self.give(node, 0, da)?;
                }
                if needs_b {
                    let db = self.mul(dy, a)?;
                    self.give(node, 1, db)?;
                }
            }
            // da = dy / b, db = -dy y / b; saves b and y.
            Binary::Div => {
                let da = self.apply(Op::Binary(Binary::Div), &[dy, b])?;
                if needs_a {
                    self.give(node, 0, da)?;
                }
                if needs_b {
                    let product = self.mul(da, node.y)?;
                    let db = self.apply(Op::Unary(Unary::Neg), &[product])?;
                    self.give(node, 1, db)?;
                }
            }
            // dy goes to the winner, on ties to a: m = (a >= b), da = m dy, db = (1 - m) dy.
            Binary::Max => self.winner(node, a, b)?,
            Binary::Min => self.winner(node, b, a)?,
            Binary::GreaterEqual => {}
            // Per loss in the reference's `pair_loss_slope`; saves x and t.
            Binary::Loss(loss) => {
                self.constant_input(node, 1, "the target")?;
                if needs_a {
                    let dx = self.apply(Op::PairLossGrad(loss), &[a, b, dy])?;
                    self.give(node, 0, dx)?;
                }
            }
        }
        Ok(())
    }

    /// `a` wins where `large >= small`.
    fn winner(&mut self, node: &Node, large: TensorId, small: TensorId) -> Done {
        let mask = self.apply(Op::Binary(Binary::GreaterEqual), &[large, small])?;
        if self.needs(node, 0) {
            let da = self.mul(node.dy, mask)?;
            self.give(node, 0, da)?;
        }
        if self.needs(node, 1) {
            let other = self.affine(mask, -1.0, 1.0)?;
            let db = self.mul(node.dy, other)?;
            self.give(node, 1, db)?;
        }
        Ok(())
    }

    fn mul(&mut self, a: TensorId, b: TensorId) -> Result<TensorId, GraphError> {
        self.apply(Op::Binary(Binary::Mul), &[a, b])
    }

    pub(super) fn affine(
        &mut self,
        x: TensorId,
        scale: f32,
        shift: f32,
    ) -> Result<TensorId, GraphError> {
        self.apply(Op::Unary(Unary::Affine { scale, shift }), &[x])
    }
}
