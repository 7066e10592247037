//! Hedged depth: every hidden layer has an output of its own, and those that were right count more.
//!
//! After Sahoo et al. 2018, "Online Deep Learning": how deep a network should be is not known before a
//! stream has come, and the right depth grows with it. There a layer learns from each output in
//! proportion to that output's weight; here from all outputs alike, so that a depth that is of little
//! use now goes on learning.

use crate::error::{ModelError, require};
use crate::loss::LossSpec;
use serde::{Deserialize, Serialize};
use tidemill_graph::{
    Binary, Graph, GraphError, Layout, MatMul, Reduce, Reduction, TensorId, Unary,
};

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

/// Several outputs of a model.
#[derive(Clone, Debug)]
pub(crate) struct Heads {
    /// Each, that of the whole model last but for the parts that [`crate::hats::Expert`] adds.
    pub(crate) outputs: Vec<TensorId>,
    /// Their weights, whose sum is 1.
    pub(crate) weights: TensorId,
    /// How weights move between them after a step, `[outputs, outputs]`, if not by an even share.
    pub(crate) transitions: Option<TensorId>,
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

    /// The new weights: `w_k exp(-eta l_k)`, their sum made 1, and the share dealt out, or the transitions made.
    pub(crate) fn learned(
        &self,
        graph: &mut Graph,
        heads: &Heads,
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
        x = graph.apply(Binary::Mul, &[x, heads.weights])?;
        let sum = Reduce::Axes { reduction: Reduction::Sum, axes: vec![0], keep_dims: true };
        let sum = graph.apply(sum, &[x])?;
        x = graph.apply(Binary::Div, &[x, sum])?;
        if let Some(transitions) = heads.transitions {
            let row = graph.apply(Layout::Reshape(vec![1, losses.len()]), &[x])?;
            let row = graph.apply(MatMul::default(), &[row, transitions])?;
            return graph.apply(Layout::Reshape(vec![losses.len()]), &[row]);
        }
        let (kept, dealt) = (1.0 - self.share, self.share / losses.len() as f64);
        let deal = Unary::Affine { scale: kept as f32, shift: dealt as f32 };
        graph.apply(deal, &[x])
    }
}

/// The outputs' weighted mean, of probabilities where the loss has some, as logits again.
pub(crate) fn mixture(
    graph: &mut Graph,
    loss: &LossSpec,
    heads: &Heads,
) -> Result<TensorId, GraphError> {
    let count = heads.outputs.len();
    let Some(&first) = heads.outputs.first() else {
        return Err(GraphError::new("hedged depth has no outputs"));
    };
    let shape = graph.shape(first).to_vec();
    // All of them below each other, so that each kernel is there once.
    let all = graph.apply(Layout::Concat { axis: 0 }, &heads.outputs)?;
    let all = loss.probabilities(graph, all)?;
    let rows = Layout::Reshape(vec![count, shape.iter().product()]);
    let rows = graph.apply(rows, &[all])?;
    let weights = graph.apply(Layout::Reshape(vec![1, count]), &[heads.weights])?;
    let mixed = graph.apply(MatMul::default(), &[weights, rows])?;
    let mixed = graph.apply(Layout::Reshape(shape), &[mixed])?;
    loss.logits(graph, mixed)
}
