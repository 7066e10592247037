//! Layers over the positions of sequences.
//!
//! A sequence is `[batch, time, ...]` with a mask `[batch, time]` that is 1 up to each sample's end.
//! What lies beyond the end never reaches a sample's output, nor the gradient.

use crate::activation::Activation;
use crate::form::count;
use crate::initializers::{Fans, Initializer};
use crate::layers::{At, Builder};
use crate::loss_ops::top_level_input;
use serde::{Deserialize, Serialize};
use tidemill_graph::{
    Binary, Conv2d, DType, Graph, GraphError, Layout, Reduce, Reduction, Role, Sequence, TensorId,
    Unary, Window, Windows,
};

/// Options of a convolution over a sequence `[batch, time, channels]`. Kernel `[size, channels,
/// filters]`, or `[size, channels / groups, filters]`. Padded so that the sequence keeps its length; positions beyond a sample's end
/// count as 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv1dSpec {
    /// Number of output channels.
    #[serde(deserialize_with = "count")]
    pub filters: usize,
    /// Number of positions of the window.
    #[serde(deserialize_with = "count", alias = "kernel_size")]
    pub kernel: usize,
    /// Distance between the window's positions; 1 by default.
    #[serde(default = "one", deserialize_with = "count", alias = "dilation_rate")]
    pub dilation: usize,
    /// Whether a window ends with its position, so that no later one is seen, as in WaveNet and Keras's `padding="causal"`; no by
    /// default: it lies around its position.
    #[serde(default, skip_serializing_if = "is_no")]
    pub causal: bool,
    /// Number of channel groups; 1 by default. As many as there are channels is a depthwise convolution.
    #[serde(default = "one", deserialize_with = "count", skip_serializing_if = "is_one")]
    pub groups: usize,
    /// Activation of the output; linear by default.
    #[serde(default)]
    pub activation: Activation,
    /// Whether a bias is added; yes by default.
    #[serde(default = "yes", alias = "use_bias")]
    pub bias: bool,
    /// How the kernel is initialized; Glorot uniform by default.
    #[serde(default)]
    pub kernel_initializer: Initializer,
    /// How the bias is initialized; zeros by default.
    #[serde(default = "zeros")]
    pub bias_initializer: Initializer,
}

impl Conv1dSpec {
    /// This many filters of `kernel` positions, the rest by default.
    pub fn new(filters: usize, kernel: usize) -> Conv1dSpec {
        Conv1dSpec {
            filters,
            kernel,
            dilation: 1,
            causal: false,
            groups: 1,
            activation: Activation::Linear,
            bias: true,
            kernel_initializer: Initializer::default(),
            bias_initializer: zeros(),
        }
    }
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

fn is_no(flag: &bool) -> bool {
    !flag
}

fn is_one(n: &usize) -> bool {
    *n == 1
}

fn zeros() -> Initializer {
    Initializer::Zeros
}

/// Far below any activation, and finite, so that 0 times it is 0.
const BELOW_ALL: f32 = -1e30;

/// `[batch, time, ...]` times its mask.
fn masked(graph: &mut Graph, x: TensorId, mask: TensorId) -> Result<TensorId, GraphError> {
    let mut shape = graph.shape(mask).to_vec();
    shape.resize(graph.shape(x).len(), 1);
    let mask = graph.apply(Layout::Reshape(shape), &[mask])?;
    graph.apply(Binary::Mul, &[x, mask])
}

impl Builder<'_> {
    pub(crate) fn sequence_dims(&self, at: At) -> Result<(TensorId, [usize; 3]), GraphError> {
        let shape = self.graph.shape(at.x);
        match (at.mask, <[usize; 3]>::try_from(shape)) {
            (Some(mask), Ok(dims)) => Ok((mask, dims)),
            (Some(_), _) => Err(GraphError::new(format!(
                "takes rows [batch, time, units], but its input is {shape:?}"
            ))
            .help("put { embedding = { vocabulary = ..., units = ... } } before it")),
            (None, _) => Err(GraphError::new(format!(
                "takes a sequence [batch, time, units], but its input is {shape:?}"
            ))
            .help(
                "give the model an input of tokens, or make a sequence of an image with { image_to_sequence = {} }, and let the layers before keep its positions (gru and lstm with \
                 return_sequences = true)",
            )),
        }
    }

    /// Each sample's last position, `[batch, units]`: an input `<field>.last`, f32 `[batch, time]`, is 1 there
    /// and 0 elsewhere.
    pub(crate) fn last_position(&mut self, at: At) -> Result<At, GraphError> {
        let (mask, [batch, time, units]) = self.sequence_dims(at)?;
        if !self.is_ragged(mask) {
            return self.position(at.x, time - 1, [batch, units]);
        }
        let field = self.graph.tensor(mask).name.trim_end_matches(".mask").to_owned();
        let last =
            top_level_input(self.graph, &format!("{field}.last"), &[batch, time], DType::F32);
        Ok(At { x: self.graph.apply(Sequence::WeightedMean, &[at.x, last])?, mask: None })
    }

    /// A sequence in which all samples have all positions, and so no input says how many.
    fn whole(&mut self, x: TensorId) -> Result<At, GraphError> {
        let shape = self.graph.shape(x)[..2].to_vec();
        let one = self.graph.constant(1.0);
        let mask = self.graph.apply(Layout::BroadcastTo(shape), &[one])?;
        Ok(At { x, mask: Some(mask) })
    }

    /// Whether samples may be of different lengths, which the input of this mask says.
    pub(crate) fn is_ragged(&self, mask: TensorId) -> bool {
        self.graph.tensor(mask).role == Role::Input
    }

    /// The lengths of the sequences with this mask, i32 `[batch]`.
    pub(crate) fn lengths(&mut self, mask: TensorId) -> Result<TensorId, GraphError> {
        let (name, shape) = (self.graph.tensor(mask).name.clone(), self.graph.shape(mask).to_vec());
        if !self.is_ragged(mask) {
            let time = self.graph.integer(shape[1] as i32);
            return self.graph.apply(Layout::BroadcastTo(vec![shape[0]]), &[time]);
        }
        let field = name.strip_suffix(".mask").unwrap_or(&name);
        Ok(top_level_input(self.graph, &format!("{field}.lengths"), &shape[..1], DType::I32))
    }

    pub(crate) fn image_to_sequence(
        &mut self,
        x: TensorId,
        class_token: bool,
    ) -> Result<At, GraphError> {
        let [batch, height, width, channels] = self.image(x)?;
        let pixels = self.reshaped(x, vec![batch, height * width, channels])?;
        if !class_token {
            return self.whole(pixels);
        }
        let token = self.parameter("class_token", &[1, 1, channels], Initializer::Zeros)?;
        let row = Layout::BroadcastTo(vec![batch, 1, channels]);
        let row = self.graph.apply(row, &[token])?;
        let all = self.graph.apply(Layout::Concat { axis: 1 }, &[row, pixels])?;
        self.whole(all)
    }

    pub(crate) fn first_position(&mut self, at: At) -> Result<At, GraphError> {
        let (_, [batch, _, units]) = self.sequence_dims(at)?;
        self.position(at.x, 0, [batch, units])
    }

    /// One position of each sample.
    fn position(
        &mut self,
        x: TensorId,
        index: usize,
        [batch, units]: [usize; 2],
    ) -> Result<At, GraphError> {
        let one = Layout::Slice { start: vec![0, index, 0], size: vec![batch, 1, units] };
        let one = self.graph.apply(one, &[x])?;
        Ok(At { x: self.reshaped(one, vec![batch, units])?, mask: None })
    }

    /// The mean of the positions up to each sample's end.
    pub(crate) fn mean_over_time(&mut self, at: At) -> Result<At, GraphError> {
        let (mask, _) = self.sequence_dims(at)?;
        Ok(At { x: self.graph.apply(Sequence::WeightedMean, &[at.x, mask])?, mask: None })
    }

    /// The maximum of the positions up to each sample's end.
    pub(crate) fn max_over_time(&mut self, at: At) -> Result<At, GraphError> {
        let (mask, [batch, time, _]) = self.sequence_dims(at)?;
        let inside = masked(self.graph, at.x, mask)?;
        let shift = Unary::Affine { scale: -BELOW_ALL, shift: BELOW_ALL };
        let outside = self.graph.apply(shift, &[mask])?;
        let outside = self.graph.apply(Layout::Reshape(vec![batch, time, 1]), &[outside])?;
        let x = self.graph.apply(Binary::Add, &[inside, outside])?;
        let max = Reduce::Axes { reduction: Reduction::Max, axes: vec![1], keep_dims: false };
        Ok(At { x: self.graph.apply(max, &[x])?, mask: None })
    }

    /// A convolution over the positions: the product of their windows and the kernel, or, of channels in groups, a convolution of images of
    /// a single row.
    pub(crate) fn conv1d(&mut self, spec: &Conv1dSpec, at: At) -> Result<At, GraphError> {
        let (mask, [batch, time, channels]) = self.sequence_dims(at)?;
        let x = masked(self.graph, at.x, mask)?;
        let shape = [spec.kernel, channels / spec.groups, spec.filters];
        let kernel = self.parameter("kernel", &shape, spec.kernel_initializer)?;
        let around = spec.dilation * (spec.kernel - 1);
        let before = if spec.causal { around } else { around / 2 };
        // What a stream has given before takes the place of the padding.
        let (x, padding) = match self.chunk_context(x, spec.causal, around)? {
            Some(x) => (x, [0; 2]),
            None => (x, [before, around - before]),
        };
        let y = if spec.groups == 1 {
            let window = Window { size: spec.kernel, dilation: spec.dilation, padding };
            let x = match (spec.kernel, padding) {
                (1, [0, 0]) => x,
                _ => self.graph.apply(Windows::Gather(window), &[x])?,
            };
            let flat = vec![spec.kernel * channels, spec.filters];
            let kernel = self.graph.apply(Layout::Reshape(flat), &[kernel])?;
            self.product(at.with(x), kernel, false)?
        } else {
            let row = vec![batch, 1, self.graph.shape(x)[1], channels];
            let row = self.reshaped(x, row)?;
            let image = [&[1], &shape[..]].concat();
            let kernel = self.graph.apply(Layout::Reshape(image), &[kernel])?;
            let (stride, dilation) = ([1, 1], [1, spec.dilation]);
            let padding = [0, 0, padding[0], padding[1]];
            let geometry = Conv2d { stride, dilation, padding, groups: spec.groups };
            let y = self.graph.apply(geometry, &[row, kernel])?;
            self.reshaped(y, vec![batch, time, spec.filters])?
        };
        let bias = spec.bias.then_some((spec.bias_initializer, Fans::of_kernel(&shape)));
        Ok(at.with(self.finish(y, bias, spec.activation)?))
    }
}
