//! Attention, what it reads beside its own sequence, and positions.

use crate::build::Start;
use crate::form::count;
use crate::initializers::{Fans, Initializer};
use crate::layer::LayerSpec;
use crate::layers::{At, Builder};
use crate::positions::{RelativeSpec, RotarySpec};
use serde::{Deserialize, Serialize};
use tidemill_graph::{Attention, Binary, GraphError, Heads, MatMul, TensorId};

/// Options of an attention layer. Multi-head attention over a sequence `[batch, time, units]`, whose output has the same
/// units. Its parameters are the kernels and biases of `qkv` (queries, keys and values side by side, each head after the
/// other), or of `query` and `key_value` where it reads another sequence, and of `output`, and the table `relative.bias`
/// where distances have biases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionSpec {
    /// Number of heads.
    #[serde(deserialize_with = "count")]
    pub heads: usize,
    /// Number of heads of the keys and values, a divisor of `heads`; as many as `heads` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_heads: Option<usize>,
    /// Values of a head; the input's units divided by `heads` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_units: Option<usize>,
    /// Whether a position reads no later positions; no by default.
    #[serde(default)]
    pub causal: bool,
    /// The name of the sequence that is read, given by an `encode` layer. By default attention reads its
    /// own input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    /// Rotary positions of queries and keys, as `{}` or with options; none by default. For attention to its own input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotary: Option<RotarySpec>,
    /// Biases of distances, as `{}` or with options; none by default. For attention to its own input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative: Option<RelativeSpec>,
    /// Probability that a position leaves out another one during training; 0 by default.
    #[serde(default)]
    pub dropout: f64,
    /// Whether biases are added; yes by default.
    #[serde(default = "yes", alias = "use_bias")]
    pub bias: bool,
    /// How the kernels of queries, keys and values are initialized; Glorot uniform by default.
    #[serde(default)]
    pub kernel_initializer: Initializer,
    /// How the kernel of the output is initialized; Glorot uniform by default.
    #[serde(default)]
    pub output_initializer: Initializer,
}

impl AttentionSpec {
    /// This many heads, the rest by default.
    pub fn new(heads: usize) -> AttentionSpec {
        AttentionSpec {
            heads,
            key_heads: None,
            head_units: None,
            causal: false,
            over: None,
            rotary: None,
            relative: None,
            dropout: 0.0,
            bias: true,
            kernel_initializer: Initializer::default(),
            output_initializer: Initializer::default(),
        }
    }
}

/// Layers that read another input of the model, whose output attention can read by a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncodeSpec {
    /// The named input of the model that the layers read.
    pub input: String,
    /// What their output is called.
    pub name: String,
    /// The layers.
    pub layers: Vec<LayerSpec>,
}

/// Where positions come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionKind {
    /// A learned row for each position.
    #[default]
    Learned,
    /// Sines and cosines of wavelengths from 2 pi to 10000 * 2 pi, one after the other (Vaswani et al. 2017).
    Sinusoidal,
}

/// Options of a layer that adds a row of a table to each position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PositionsSpec {
    /// Rows of the table: the longest sequence.
    #[serde(deserialize_with = "count")]
    pub length: usize,
    /// Whether the table is learned: `"learned"` (the default) or `"sinusoidal"`.
    #[serde(default)]
    pub kind: PositionKind,
    /// What the input is multiplied by before; 1 by default.
    #[serde(default = "one")]
    pub scale: f64,
    /// How a learned table is initialized; uniform from -0.05 to 0.05 by default.
    #[serde(default = "uniform")]
    pub initializer: Initializer,
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

fn uniform() -> Initializer {
    Initializer::Uniform { min: -0.05, max: 0.05 }
}

/// One kernel with its bias.
pub(crate) struct Projection<'a> {
    pub name: &'a str,
    pub units: usize,
    /// Units of one of the matrices side by side in the kernel.
    pub part: usize,
    pub initializer: Initializer,
    pub bias: bool,
}

impl Builder<'_> {
    /// A matrix times each row; of a sequence those up to its sample's end, so that no time is spent on padding.
    pub(crate) fn product(
        &mut self,
        at: At,
        kernel: TensorId,
        transpose_b: bool,
    ) -> Result<TensorId, GraphError> {
        let mut product = MatMul { transpose_b, ..MatMul::default() };
        let rows = |shape: &[usize]| shape.iter().rev().skip(1).product::<usize>();
        match at.mask {
            Some(mask) if self.is_ragged(mask) && !self.is_step(at) => {
                product.ragged = rows(self.graph.shape(at.x)) == self.graph.tensor(mask).len();
            }
            _ => {}
        }
        let ragged = at.mask.filter(|_| product.ragged);
        let lengths = ragged.map(|mask| self.lengths(mask)).transpose()?;
        let inputs: Vec<TensorId> = [at.x, kernel].into_iter().chain(lengths).collect();
        self.graph.apply(product, &inputs)
    }

    pub(crate) fn project(&mut self, at: At, p: &Projection<'_>) -> Result<TensorId, GraphError> {
        let inputs = self.last_dim(at.x);
        let kernel = self.graph.parameter(&format!("{}.kernel", p.name), &[inputs, p.units]);
        self.starts.push((kernel, Start::Drawn(p.initializer, Fans::of_kernel(&[inputs, p.part]))));
        let y = self.product(at, kernel, false)?;
        if !p.bias {
            return Ok(y);
        }
        let bias = self.graph.parameter(&format!("{}.bias", p.name), &[p.units]);
        self.starts.push((bias, Start::Drawn(Initializer::Zeros, Fans::of_kernel(&[p.units]))));
        self.graph.apply(Binary::Add, &[y, bias])
    }

    pub(crate) fn attention(&mut self, spec: &AttentionSpec, at: At) -> Result<At, GraphError> {
        let (mask, [_, _, units]) = self.sequence_dims(at)?;
        let keys = spec.key_heads.unwrap_or(spec.heads);
        let dim = match spec.head_units {
            Some(dim) => dim,
            None if units.is_multiple_of(spec.heads) => units / spec.heads,
            None => {
                let (heads, what) =
                    (spec.heads, "values of a position are no whole number for each");
                return Err(GraphError::new(format!("{units} {what} of {heads} heads"))
                    .help("choose units that heads divides, or say head_units"));
            }
        };
        let (stream, key) = self.dropout_stream(spec.dropout);
        let dropout = if key.is_some() { spec.dropout as f32 } else { 0.0 };
        let relative = spec.relative.map(|spec| spec.ranges());
        let heads =
            Heads { queries: spec.heads, keys, causal: spec.causal, dropout, stream, relative };
        let projection = |name, heads: usize| Projection {
            name,
            units: heads * dim,
            part: spec.heads * dim,
            initializer: spec.kernel_initializer,
            bias: spec.bias,
        };
        let lengths = self.lengths(mask)?;
        let y = match &spec.over {
            None => {
                let mut qkv = self.project(at, &projection("qkv", spec.heads + 2 * keys))?;
                if let Some(rotary) = &spec.rotary {
                    qkv = self.turned(qkv, rotary, [spec.heads + keys, dim], at)?;
                }
                let bias = spec.relative.map(|relative| self.biases(&relative, spec.heads));
                match self.decoded_within(qkv, bias, heads, at)? {
                    Some(y) => y,
                    None => {
                        let inputs = [qkv, lengths].into_iter().chain(bias).chain(key);
                        let inputs: Vec<TensorId> = inputs.collect();
                        self.graph.apply(Attention::Within(heads), &inputs)?
                    }
                }
            }
            Some(name) => {
                let other = self.input(name)?;
                let (mask, _) = self.sequence_dims(other)?;
                let q = self.project(at, &projection("query", spec.heads))?;
                let kv = match self.known_memory(other, 2 * keys * dim, at)? {
                    Some(kv) => kv,
                    None => {
                        let kv = self.project(other, &projection("key_value", 2 * keys))?;
                        self.keep_memory(kv, at);
                        kv
                    }
                };
                let of_keys = self.lengths(mask)?;
                let inputs = [q, kv, lengths, of_keys];
                let inputs: Vec<TensorId> = inputs.into_iter().chain(key).collect();
                self.graph.apply(Attention::Across(heads), &inputs)?
            }
        };
        let output = Projection {
            name: "output",
            units,
            part: units,
            initializer: spec.output_initializer,
            bias: spec.bias,
        };
        Ok(at.with(self.project(at.with(y), &output)?))
    }

    /// The layers over another input, whose output then has a name; what is read passes on.
    pub(crate) fn encode(&mut self, spec: &EncodeSpec, at: At) -> Result<At, GraphError> {
        let from = self.input(&spec.input)?;
        let encoded = self.sequence(&spec.layers, "layers", from)?;
        self.name_input(&spec.name, encoded)?;
        Ok(at)
    }

    pub(crate) fn positions(&mut self, spec: &PositionsSpec, at: At) -> Result<At, GraphError> {
        let (_, [_, time, units]) = self.sequence_dims(at)?;
        if time > spec.length && !self.is_step(at) {
            let length = spec.length;
            return Err(GraphError::new(format!(
                "has {length} positions, and its input has up to {time}"
            ))
            .help("give positions the length of the input"));
        }
        let shape = [spec.length, units];
        let (table, start) = match spec.kind {
            PositionKind::Learned => {
                let drawn = Start::Drawn(spec.initializer, Fans::of_kernel(&shape));
                (self.graph.parameter("table", &shape), drawn)
            }
            PositionKind::Sinusoidal => (self.graph.state("table", &shape), Start::Sinusoidal),
        };
        self.starts.push((table, start));
        let rows = self.rows_of_positions(table, at)?;
        let x = self.scaled(at.x, spec.scale)?;
        Ok(at.with(self.graph.apply(Binary::Add, &[x, rows])?))
    }
}

/// Rows of sines and cosines, see [`PositionKind::Sinusoidal`].
pub(crate) fn sinusoids(length: usize, units: usize) -> Vec<f32> {
    let value = |position: usize, unit: usize| {
        let exponent = (unit / 2 * 2) as f64 / units as f64;
        let angle = position as f64 / 10_000_f64.powf(exponent);
        (if unit.is_multiple_of(2) { angle.sin() } else { angle.cos() }) as f32
    };
    (0..length).flat_map(|p| (0..units).map(move |u| value(p, u))).collect()
}
