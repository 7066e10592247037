//! Activation functions by name.

use crate::form::name_or_table;
use serde::{Deserialize, Serialize};
use tidemill_graph::{Graph, GraphError, Softmax, TensorId, Unary};

/// A function applied to the output of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
pub enum Activation {
    /// `x`
    #[default]
    Linear,
    /// `max(x, 0)`
    Relu,
    /// `x > 0 ? x : slope * x`
    LeakyRelu {
        /// Slope of the negative side; 0.3 by default, as in Keras (PyTorch: 0.01).
        #[serde(default = "leaky_slope", alias = "negative_slope")]
        slope: f64,
    },
    /// `x > 0 ? x : alpha * (e^x - 1)`
    Elu {
        /// Scale of the negative side; 1 by default.
        #[serde(default = "one")]
        alpha: f64,
    },
    /// Gaussian error linear unit, the exact one by `erf` (PyTorch's default).
    Gelu,
    /// Gaussian error linear unit, the approximation by `tanh`.
    GeluTanh,
    /// `x sigmoid(x)`, also called swish.
    #[serde(alias = "swish")]
    Silu,
    /// `min(max(x / 6 + 1/2, 0), 1)`, which resembles a sigmoid (PyTorch's form).
    HardSigmoid,
    /// `x` times its hard sigmoid (Howard et al. 2019).
    #[serde(alias = "hard_silu")]
    HardSwish,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `ln(1 + e^x)`
    Softplus,
    /// `e^x / sum e^x` over the last dimension. For hidden layers only: the losses take logits.
    Softmax,
}

name_or_table!(
    Activation,
    "an activation's name, or a table such as { leaky_relu = { slope = 0.1 } }"
);

fn leaky_slope() -> f64 {
    0.3
}

fn one() -> f64 {
    1.0
}

impl Activation {
    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Linear => "linear",
            Activation::Relu => "relu",
            Activation::LeakyRelu { .. } => "leaky_relu",
            Activation::Elu { .. } => "elu",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
            Activation::Silu => "silu",
            Activation::HardSigmoid => "hard_sigmoid",
            Activation::HardSwish => "hard_swish",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Softplus => "softplus",
            Activation::Softmax => "softmax",
        }
    }

    /// Applies it to a value; linear adds no op.
    pub fn build(self, graph: &mut Graph, x: TensorId) -> Result<TensorId, GraphError> {
        let unary = match self {
            Activation::Linear => return Ok(x),
            Activation::Softmax => return graph.apply(Softmax::Plain, &[x]),
            Activation::HardSigmoid => return hard_sigmoid(graph, x),
            Activation::Relu => Unary::Relu,
            Activation::LeakyRelu { slope } => Unary::LeakyRelu { slope: slope as f32 },
            Activation::Elu { alpha } => Unary::Elu { alpha: alpha as f32 },
            Activation::Gelu => Unary::GeluErf,
            Activation::GeluTanh => Unary::GeluTanh,
            Activation::Silu => Unary::Silu,
            Activation::HardSwish => Unary::HardSwish,
            Activation::Sigmoid => Unary::Sigmoid,
            Activation::Tanh => Unary::Tanh,
            Activation::Softplus => Unary::Softplus,
        };
        graph.apply(unary, &[x])
    }
}

fn hard_sigmoid(graph: &mut Graph, x: TensorId) -> Result<TensorId, GraphError> {
    let line = graph.apply(Unary::Affine { scale: 1.0 / 6.0, shift: 0.5 }, &[x])?;
    graph.apply(Unary::Clip { low: 0.0, high: 1.0 }, &[line])
}
