//! Recurrent layers.

use crate::build::Start;
use crate::error::ModelError;
use crate::form::count;
use crate::initializers::{Fans, Initializer};
use crate::layers::{At, Builder};
use serde::{Deserialize, Serialize};
use tidemill_graph::{Binary, Cell, GraphError, Layout, Recurrent, Scan, TensorId};

/// Options of a GRU layer over a sequence `[batch, time, inputs]`: PyTorch's `nn.GRU`, and Keras's with `reset_after`. The state
/// starts at 0, and a sample's ends at its last position. Kernel `[inputs, 3 units]`, recurrent kernel
/// `[units, 3 units]`, bias and recurrent bias `[3 units]`, each with the gates reset, update, new side by side, as in PyTorch, whose
/// `weight_ih`, `weight_hh`, `bias_ih` and `bias_hh` they are, kernels transposed. Keras has the gates update, reset, new, and both
/// biases in one. The parameters of two directions are named `forward` and `backward`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GruSpec {
    /// Values of the state.
    #[serde(deserialize_with = "count", alias = "hidden_size")]
    pub units: usize,
    /// Whether the output has the state after each position; no by default: it is the state after the last one.
    #[serde(default)]
    pub return_sequences: bool,
    /// Whether the layer reads from a sample's last position to its first; no by default. Outputs keep their positions.
    #[serde(default)]
    pub reverse: bool,
    /// Whether there is a layer for each direction, with the outputs joined, `2 units`; no by default.
    #[serde(default)]
    pub bidirectional: bool,
    /// Whether biases are added; yes by default.
    #[serde(default = "yes", alias = "use_bias")]
    pub bias: bool,
    /// How the kernel is initialized; Glorot uniform by default.
    #[serde(default)]
    pub kernel_initializer: Initializer,
    /// How the recurrent kernel is initialized; orthogonal by default.
    #[serde(default = "orthogonal")]
    pub recurrent_initializer: Initializer,
    /// How the biases are initialized; zeros by default.
    #[serde(default = "zeros")]
    pub bias_initializer: Initializer,
}

impl GruSpec {
    /// So many values of the state, the rest by default.
    pub fn new(units: usize) -> GruSpec {
        GruSpec {
            units,
            return_sequences: false,
            reverse: false,
            bidirectional: false,
            bias: true,
            kernel_initializer: Initializer::default(),
            recurrent_initializer: orthogonal(),
            bias_initializer: zeros(),
        }
    }

    pub(crate) fn scanned(&self) -> Scanned {
        Scanned {
            cell: Cell::Gru { bias: self.bias },
            units: self.units,
            return_sequences: self.return_sequences,
            reverse: self.reverse,
            bidirectional: self.bidirectional,
            bias: self.bias,
            kernel: self.kernel_initializer,
            recurrent: self.recurrent_initializer,
            of_bias: self.bias_initializer,
            forget_ones: false,
        }
    }
}

/// Options of an LSTM layer over a sequence `[batch, time, inputs]`: PyTorch's `nn.LSTM`, and Keras's. State and cell start at 0, and
/// a sample's end at its last position. Kernel `[inputs, 4 units]`, recurrent kernel `[units, 4 units]`, bias
/// `[4 units]`, each with the gates input, forget, candidate (cell), output side by side, as in PyTorch and Keras. PyTorch's `weight_ih` and
/// `weight_hh` are the kernels transposed; the bias is the sum of its `bias_ih` and `bias_hh`. The parameters of two
/// directions are named `forward` and `backward`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LstmSpec {
    /// Values of the state, and of the cell.
    #[serde(deserialize_with = "count", alias = "hidden_size")]
    pub units: usize,
    /// Whether the output has the state after each position; no by default: it is the state after the last one.
    #[serde(default)]
    pub return_sequences: bool,
    /// Whether the layer reads from a sample's last position to its first; no by default. Outputs keep their positions.
    #[serde(default)]
    pub reverse: bool,
    /// Whether there is a layer for each direction, with the outputs joined, `2 units`; no by default.
    #[serde(default)]
    pub bidirectional: bool,
    /// Whether a bias is added; yes by default.
    #[serde(default = "yes", alias = "use_bias")]
    pub bias: bool,
    /// How the kernel is initialized; Glorot uniform by default.
    #[serde(default)]
    pub kernel_initializer: Initializer,
    /// How the recurrent kernel is initialized; orthogonal by default.
    #[serde(default = "orthogonal")]
    pub recurrent_initializer: Initializer,
    /// How the bias is initialized; zeros by default.
    #[serde(default = "zeros")]
    pub bias_initializer: Initializer,
    /// Whether the bias of the forget gate starts at 1, so that a new layer remembers (Jozefowicz et al. 2015); yes by
    /// default, as in Keras. PyTorch draws it like the others.
    #[serde(default = "yes")]
    pub unit_forget_bias: bool,
}

impl LstmSpec {
    /// So many values of the state, the rest by default.
    pub fn new(units: usize) -> LstmSpec {
        LstmSpec {
            units,
            return_sequences: false,
            reverse: false,
            bidirectional: false,
            bias: true,
            kernel_initializer: Initializer::default(),
            recurrent_initializer: orthogonal(),
            bias_initializer: zeros(),
            unit_forget_bias: true,
        }
    }

    pub(crate) fn scanned(&self) -> Scanned {
        Scanned {
            cell: Cell::Lstm,
            units: self.units,
            return_sequences: self.return_sequences,
            reverse: self.reverse,
            bidirectional: self.bidirectional,
            bias: self.bias,
            kernel: self.kernel_initializer,
            recurrent: self.recurrent_initializer,
            of_bias: self.bias_initializer,
            forget_ones: self.unit_forget_bias,
        }
    }
}

/// What recurrent layers have in common.
pub(crate) struct Scanned {
    cell: Cell,
    units: usize,
    return_sequences: bool,
    reverse: bool,
    bidirectional: bool,
    bias: bool,
    kernel: Initializer,
    recurrent: Initializer,
    of_bias: Initializer,
    /// Whether the second of four gates has biases of 1 at the start.
    forget_ones: bool,
}

impl Scanned {
    /// Whether its numbers make sense; `at` gives the path of a key.
    pub(crate) fn validate(&self, at: &impl Fn(&str) -> String) -> Result<(), ModelError> {
        crate::error::require(self.units > 0, || at("units"), "a positive integer", self.units)?;
        if self.reverse && self.bidirectional {
            let what = "has no effect where bidirectional reads both ways; leave it out";
            return Err(ModelError::new(at("reverse"), what));
        }
        self.kernel.validate(&at("kernel_initializer"))?;
        self.recurrent.validate(&at("recurrent_initializer"))?;
        self.of_bias.validate(&at("bias_initializer"))
    }
}

impl Builder<'_> {
    /// A recurrent layer, of one direction or both.
    pub(crate) fn recurrent(&mut self, spec: &Scanned, at: At) -> Result<At, GraphError> {
        if !spec.bidirectional {
            return self.one_way(spec, "", spec.reverse, at);
        }
        let forward = self.one_way(spec, "forward.", false, at)?;
        let backward = self.one_way(spec, "backward.", true, at)?;
        let axis = self.graph.shape(forward.x).len() - 1;
        let joined = self.graph.apply(Layout::Concat { axis }, &[forward.x, backward.x])?;
        Ok(forward.with(joined))
    }

    fn one_way(
        &mut self,
        spec: &Scanned,
        prefix: &str,
        reverse: bool,
        at: At,
    ) -> Result<At, GraphError> {
        let (mask, [batch, _, _]) = self.sequence_dims(at)?;
        let (units, width) = (spec.units, spec.cell.gates() * spec.units);
        let inputs = self.project_gates(spec, prefix, at)?;
        let shape = [units, width];
        let kernel = self.graph.parameter(&format!("{prefix}recurrent_kernel"), &shape);
        self.starts.push((kernel, Start::Drawn(spec.recurrent, Fans::of_kernel(&shape))));
        let mut given = vec![inputs, kernel, self.lengths(mask)?];
        if spec.cell.has_bias() {
            let bias = self.graph.parameter(&format!("{prefix}recurrent_bias"), &[width]);
            self.starts.push((bias, Start::Drawn(spec.of_bias, Fans::of_kernel(&shape))));
            given.push(bias);
        }
        let scan = Scan { cell: spec.cell, reverse };
        let y = at.with(self.graph.apply(Recurrent::States(scan), &given)?);
        match (spec.return_sequences, reverse) {
            (true, _) => Ok(y),
            (false, false) => self.last_position(y),
            (false, true) => {
                let size = vec![batch, 1, units];
                let first = Layout::Slice { start: vec![0, 0, 0], size };
                let first = self.graph.apply(first, &[y.x])?;
                Ok(At { x: self.reshaped(first, vec![batch, units])?, mask: None })
            }
        }
    }

    /// What the gates of all positions read of the layer's input: one product.
    fn project_gates(
        &mut self,
        spec: &Scanned,
        prefix: &str,
        at: At,
    ) -> Result<TensorId, GraphError> {
        let width = spec.cell.gates() * spec.units;
        let shape = [self.last_dim(at.x), width];
        let kernel = self.graph.parameter(&format!("{prefix}kernel"), &shape);
        self.starts.push((kernel, Start::Drawn(spec.kernel, Fans::of_kernel(&shape))));
        let y = self.product(at, kernel, false)?;
        if !spec.bias {
            return Ok(y);
        }
        let bias = self.graph.parameter(&format!("{prefix}bias"), &[width]);
        let fans = Fans::of_kernel(&shape);
        self.starts.push((
            bias,
            match spec.forget_ones {
                true => Start::ForgetOnes(spec.of_bias, fans),
                false => Start::Drawn(spec.of_bias, fans),
            },
        ));
        self.graph.apply(Binary::Add, &[y, bias])
    }
}

fn yes() -> bool {
    true
}

fn zeros() -> Initializer {
    Initializer::Zeros
}

fn orthogonal() -> Initializer {
    Initializer::Orthogonal { gain: 1.0 }
}
