//! How logits become what a user wants to read, in a graph and without one.

use crate::loss::LossSpec;
use tidemill_graph::{Binary, Graph, GraphError, Op, Softmax, TensorId, Unary};

/// How logits become what a user wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Softmax over classes.
    Softmax,
    /// Sigmoid of each output.
    Sigmoid,
    /// The exponential function of each output.
    Exponential,
    /// The outputs are read as they are.
    Identity,
}

impl LossSpec {
    /// Link function applied to logits: probabilities, or the logits themselves.
    pub fn probabilities(
        &self,
        graph: &mut Graph,
        logits: TensorId,
    ) -> Result<TensorId, GraphError> {
        match self.link() {
            Link::Softmax => graph.apply(Softmax::Plain, &[logits]),
            Link::Sigmoid => graph.apply(Op::Unary(Unary::Sigmoid), &[logits]),
            Link::Exponential => graph.apply(Unary::Exp, &[logits]),
            Link::Identity => Ok(logits),
        }
    }

    /// The inverse: what gives these probabilities.
    pub(crate) fn logits(&self, graph: &mut Graph, p: TensorId) -> Result<TensorId, GraphError> {
        let log = |graph: &mut Graph, x: TensorId| graph.apply(Unary::Log, &[x]);
        match self.link() {
            Link::Identity => Ok(p),
            Link::Exponential => log(graph, p),
            Link::Softmax => {
                let p = graph.apply(Unary::Clip { low: 1e-30, high: 1.0 }, &[p])?;
                log(graph, p)
            }
            Link::Sigmoid => {
                // the greatest f32 below 1
                let clip = Unary::Clip { low: 1e-30, high: 1.0 - f32::EPSILON / 2.0 };
                let p = graph.apply(clip, &[p])?;
                let rest = graph.apply(Unary::Affine { scale: -1.0, shift: 1.0 }, &[p])?;
                let (yes, no) = (log(graph, p)?, log(graph, rest)?);
                graph.apply(Binary::Sub, &[yes, no])
            }
        }
    }
}

impl Link {
    /// Logits of one sample as a user reads them: probabilities, or the logits themselves.
    pub fn probabilities(self, logits: &[f32], out: &mut [f32]) {
        match self {
            Link::Softmax => {
                let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let mut sum = 0.0;
                for (out, &v) in out.iter_mut().zip(logits) {
                    *out = (v - most).exp();
                    sum += *out;
                }
                out.iter_mut().for_each(|v| *v /= sum);
            }
            Link::Sigmoid => {
                for (out, &v) in out.iter_mut().zip(logits) {
                    *out = 1.0 / (1.0 + (-v).exp());
                }
            }
            Link::Exponential => {
                for (out, &v) in out.iter_mut().zip(logits) {
                    *out = v.exp();
                }
            }
            Link::Identity => out.copy_from_slice(logits),
        }
    }
}
