//! Layers over the positions of sequences.
//!
//! A sequence is `[batch, time, ...]` with a mask `[batch, time]` that is 1 up to each sample's end.
//! What lies beyond the end never reaches a sample's output, nor the gradient.

use crate::build::{At, Builder};
use crate::initializers::Fans;
use crate::layer::{Conv1dSpec, EmbeddingBagSpec};
use crate::loss_ops::top_level_input;
use tidemill_graph::{
    Binary, Conv2d, DType, Embedding, Graph, GraphError, Layout, Reduce, Reduction, Sequence,
    TensorId, Unary, Window, Windows,
};

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
                "give the model an input of tokens, and let the layers before keep its positions (gru and lstm with \
                 return_sequences = true)",
            )),
        }
    }

    /// Each sample's last position, `[batch, units]`: an input `<field>.last`, f32 `[batch, time]`, is 1 there
    /// and 0 elsewhere.
    pub(crate) fn last_position(&mut self, at: At) -> Result<At, GraphError> {
        let (mask, [batch, time, _]) = self.sequence_dims(at)?;
        let field = self.graph.tensor(mask).name.trim_end_matches(".mask").to_owned();
        let last =
            top_level_input(self.graph, &format!("{field}.last"), &[batch, time], DType::F32);
        Ok(At { x: self.graph.apply(Sequence::WeightedMean, &[at.x, last])?, mask: None })
    }

    /// The mean of the positions up to each sample's end.
    pub(crate) fn mean_over_time(&mut self, at: At) -> Result<At, GraphError> {
        let (mask, _) = self.sequence_dims(at)?;
        Ok(At { x: self.graph.apply(Sequence::WeightedMean, &[at.x, mask])?, mask: None })
    }

    /// The mean of a table's rows for a sample's ids: their sum in one pass, then one division, so that there is no
    /// tensor with a row for each position.
    pub(crate) fn embedding_bag(
        &mut self,
        spec: &EmbeddingBagSpec,
        at: At,
    ) -> Result<At, GraphError> {
        let shape = self.graph.shape(at.x);
        let (Some(mask), &[batch, _]) = (at.mask, shape) else {
            return Err(GraphError::new(format!(
                "takes ids [batch, time], but its input is {shape:?}"
            ))
            .help("put it first, and give the model an input of tokens"));
        };
        let table = self.parameter("table", &[spec.vocabulary, spec.units], spec.initializer)?;
        let sum = self.graph.apply(Embedding::Bag, &[table, at.x])?;
        let axes = Reduce::Axes { reduction: Reduction::Sum, axes: vec![1], keep_dims: false };
        let ids = self.graph.apply(axes, &[mask])?;
        // A row that fills up a batch has no ids: its mean is 0.
        let ids = self.graph.apply(Unary::Clip { low: 1.0, high: f32::MAX }, &[ids])?;
        let ids = self.graph.apply(Layout::Reshape(vec![batch, 1]), &[ids])?;
        Ok(At { x: self.graph.apply(Binary::Div, &[sum, ids])?, mask: None })
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
