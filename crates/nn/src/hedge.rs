//! Hedged depth: every hidden layer has an output of its own, and those that were right count more.
//!
//! After Sahoo et al. 2018, "Online Deep Learning": how deep a network should be is not known before a
//! stream has come, and the right depth grows with it. There a layer learns from each output in
//! proportion to that output's weight; here from all outputs alike, so that a depth that is of little
//! use now goes on learning.

use crate::error::{ModelError, require};
use crate::loss::LossSpec;
use serde::{Deserialize, Serialize};
use tidemill_graph::{Binary, Graph, GraphError, Layout, Reduce, Reduction, TensorId, Unary};

/// Options of hedged depth (Sahoo et al. 2018).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HedgedDepth {
    /// Rate `eta` of the output weights: a step multiplies the weight of an output by `exp(-eta *
    /// loss)`; 0.3 by default.
    pub rate: f64,
    /// Share of the total weight that is spread evenly over the outputs after each step, so that no
    /// depth is lost for good; 0.01 by default.
    pub share: f64,
}

impl Default for HedgedDepth {
    fn default() -> HedgedDepth {
        HedgedDepth { rate: 0.3, share: 0.01 }
    }
}

/// Losses are taken as this at most, so that one event decides nothing for ever.
const MAX_LOSS: f32 = 10.0;

impl HedgedDepth {
    pub(crate) fn validate(&self) -> Result<(), ModelError> {
        let at = |option: &str| format!("hedged_depth.{option}");
        require(self.rate > 0.0, || at("rate"), "above 0", self.rate)?;
        let share = self.share;
        require((0.0..=1.0).contains(&share), || at("share"), "from 0 to 1", share)
    }

    /// The new weights: `w_k exp(-eta l_k)`, their sum made 1, and the share dealt out.
    pub(crate) fn learned(
        &self,
        graph: &mut Graph,
        weights: TensorId,
        losses: &[TensorId],
    ) -> Result<TensorId, GraphError> {
        let parts: Vec<TensorId> = losses
            .iter()
            .map(|&loss| graph.apply(Layout::Reshape(vec![1]), &[loss]))
            .collect::<Result<_, _>>()?;
        let mut x = graph.apply(Layout::Concat { axis: 0 }, &parts)?;
        for op in [
            Unary::Clip { low: 0.0, high: MAX_LOSS },
            Unary::Affine { scale: -self.rate as f32, shift: 0.0 },
            Unary::Exp,
        ] {
            x = graph.apply(op, &[x])?;
        }
        x = graph.apply(Binary::Mul, &[x, weights])?;
        let sum = Reduce::Axes { reduction: Reduction::Sum, axes: vec![0], keep_dims: true };
        let sum = graph.apply(sum, &[x])?;
        x = graph.apply(Binary::Div, &[x, sum])?;
        let (kept, dealt) = (1.0 - self.share, self.share / losses.len() as f64);
        let deal = Unary::Affine { scale: kept as f32, shift: dealt as f32 };
        graph.apply(deal, &[x])
    }
}

/// The outputs' weighted mean, of probabilities where the loss has some, as logits again.
pub(crate) fn mixture(
    graph: &mut Graph,
    loss: &LossSpec,
    weights: TensorId,
    logits: &[TensorId],
) -> Result<TensorId, GraphError> {
    let mut mixed: Option<TensorId> = None;
    for (k, &head) in logits.iter().enumerate() {
        let p = loss.probabilities(graph, head)?;
        let weight = graph.apply(Layout::Slice { start: vec![k], size: vec![1] }, &[weights])?;
        let part = graph.apply(Binary::Mul, &[p, weight])?;
        mixed = Some(match mixed {
            None => part,
            Some(sum) => graph.apply(Binary::Add, &[sum, part])?,
        });
    }
    let Some(p) = mixed else {
        return Err(GraphError::new("hedged depth has no outputs"));
    };
    loss.logits(graph, p)
}
