//! Blocks whose parts are added, multiplied or joined.

use crate::activation::Activation;
use crate::build::Mode;
use crate::layer::LayerSpec;
use crate::layers::{At, Builder};
use serde::{Deserialize, Serialize};
use tidemill_graph::{Binary, DType, GraphError, Layout, TensorId};

/// A residual block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidualSpec {
    /// The layers of the main path.
    pub layers: Vec<LayerSpec>,
    /// The layers of the shortcut. Empty by default, which is the input itself.
    #[serde(default)]
    pub shortcut: Vec<LayerSpec>,
    /// Activation of the sum; linear by default.
    #[serde(default)]
    pub activation: Activation,
    /// Probability that a sample goes through the shortcut alone during training (stochastic depth, Huang et al. 2016); 0 by
    /// default.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drop_path: f64,
}

impl ResidualSpec {
    /// The sum of layers and what they read.
    pub fn new(layers: Vec<LayerSpec>) -> ResidualSpec {
        ResidualSpec { layers, shortcut: vec![], activation: Activation::Linear, drop_path: 0.0 }
    }
}

/// Several branches side by side, whose outputs are joined along the last dim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConcatSpec {
    /// The branches, in the order in which their outputs are joined.
    pub branches: Vec<BranchSpec>,
}

impl ConcatSpec {
    /// No branches yet.
    pub fn new() -> ConcatSpec {
        ConcatSpec { branches: Vec::new() }
    }

    /// Adds a branch of layers that reads what the concat layer reads.
    #[must_use]
    pub fn branch(mut self, layers: Vec<LayerSpec>) -> ConcatSpec {
        self.branches.push(BranchSpec { input: None, layers });
        self
    }

    /// Adds a branch that reads an input of the model by its name, and the layers that it goes through;
    /// none pass the input on.
    ///
    /// ```
    /// use tidemill_nn::{Activation, ConcatSpec, InputSpec, Model, TokensSpec};
    /// let text = InputSpec::Tokens(TokensSpec::new(8, 100));
    /// let inputs = ConcatSpec::new()
    ///     .read("age", vec![])
    ///     .read("text", Model::of(text).embedding(4).global_avg_pool().layers);
    /// let model = Model::inputs([("age", InputSpec::Features(1)), ("text", text)])
    ///     .layer(inputs)
    ///     .dense(2, Activation::Linear);
    /// assert_eq!(model.output_shape()?, [2]);
    /// # Ok::<(), tidemill_graph::GraphError>(())
    /// ```
    #[must_use]
    pub fn read(mut self, input: impl Into<String>, layers: Vec<LayerSpec>) -> ConcatSpec {
        self.branches.push(BranchSpec { input: Some(input.into()), layers });
        self
    }
}

impl Default for ConcatSpec {
    fn default() -> ConcatSpec {
        ConcatSpec::new()
    }
}

/// One branch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BranchSpec {
    /// The named input of the model that the branch reads. By default the branch reads what the
    /// layer reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The layers of the branch; none by default, which passes the input on.
    #[serde(default)]
    pub layers: Vec<LayerSpec>,
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl Builder<'_> {
    pub(crate) fn residual(&mut self, spec: &ResidualSpec, at: At) -> Result<At, GraphError> {
        let main = self.sequence(&spec.layers, "layers", at)?;
        let other = self.sequence(&spec.shortcut, "shortcut", at)?;
        let (a, b) = (self.graph.shape(main.x), self.graph.shape(other.x));
        if a != b {
            return Err(GraphError::new(format!("the layers give {a:?}, the shortcut {b:?}"))
                .help("give the shortcut a conv2d of kernel 1 with the same filters and stride"));
        }
        let own = self.dropped_path(main.x, spec.drop_path)?;
        let sum = self.graph.apply(Binary::Add, &[own, other.x])?;
        Ok(main.with(spec.activation.build(self.graph, sum)?))
    }

    /// A value that is left out for whole samples, and scaled up for the others.
    pub(crate) fn dropped_path(&mut self, x: TensorId, rate: f64) -> Result<TensorId, GraphError> {
        if rate == 0.0 || self.mode == Mode::Eval {
            return Ok(x);
        }
        let mut shape = vec![1; self.graph.shape(x).len()];
        shape[0] = self.graph.shape(x)[0];
        let one = self.graph.constant(1.0);
        let ones = self.graph.apply(Layout::BroadcastTo(shape), &[one])?;
        let kept = self.dropout(ones, rate)?;
        self.graph.apply(Binary::Mul, &[x, kept])
    }

    /// `x` times what layers make of it.
    pub(crate) fn multiplied(&mut self, layers: &[LayerSpec], at: At) -> Result<At, GraphError> {
        let factor = self.sequence(layers, "layers", at)?;
        let (x, by) = (self.graph.shape(at.x).to_vec(), self.graph.shape(factor.x).to_vec());
        // A row of a sample goes along all its pixels.
        let mut wide = vec![1; x.len()];
        wide[0] = by[0];
        if by.len() == 2 && x.len() > 2 {
            wide[x.len() - 1] = by[1];
        } else {
            wide = by.clone();
        }
        let fits =
            wide.len() == x.len() && wide.iter().zip(&x).all(|(by, of)| by == of || *by == 1);
        if !fits {
            return Err(GraphError::new(format!("the layers give {by:?} for an input of {x:?}"))
                .help("end them with as many values as the input has channels"));
        }
        let factor = self.reshaped(factor.x, wide)?;
        Ok(at.with(self.graph.apply(Binary::Mul, &[at.x, factor])?))
    }

    /// The branches' outputs, joined along the last dim.
    pub(crate) fn branches(&mut self, spec: &ConcatSpec, at: At) -> Result<At, GraphError> {
        let mut parts = Vec::new();
        for (i, branch) in spec.branches.iter().enumerate() {
            let from = match &branch.input {
                None => at,
                Some(name) => self.input(name)?,
            };
            parts.push(self.sequence(&branch.layers, &format!("branches.{i}"), from)?);
        }
        let first = parts[0];
        let shape = self.graph.shape(first.x).to_vec();
        for part in &parts[1..] {
            let other = self.graph.shape(part.x);
            let joined =
                other.len() == shape.len() && other[..other.len() - 1] == shape[..shape.len() - 1];
            if !joined || part.mask != first.mask {
                return Err(GraphError::new(format!(
                    "branches give {shape:?} and {other:?}, which differ in more than the last dim"
                ))
                .help("end a branch of a sequence with { global_avg_pool = {} }, one of images with { flatten = {} }"));
            }
        }
        if self.graph.tensor(first.x).dtype != DType::F32 {
            return Err(GraphError::new("joins numbers, and a branch gives ids")
                .help("give the branch an embedding"));
        }
        let xs: Vec<TensorId> = parts.iter().map(|part| part.x).collect();
        match xs.as_slice() {
            [_] => Ok(first),
            xs => {
                let joined = self.graph.apply(Layout::Concat { axis: shape.len() - 1 }, xs)?;
                let mut start = 0;
                for &x in xs {
                    self.follow_hats(x, joined, start);
                    start += self.last_dim(x);
                }
                Ok(first.with(joined))
            }
        }
    }
}
