//! What several losses are built of.

use crate::loss::BuiltLoss;
use tidemill_graph::{
    Binary, Ctc, DType, Graph, GraphError, Layout, Loss, Op, PairLoss, Reduce, Reduction, Sequence,
    TensorId, Unary,
};

/// The mean over all tokens of a batch, each by the weights of its sample and position.
pub(crate) fn by_token(
    graph: &mut Graph,
    logits: TensorId,
    is_sequence: bool,
    label_smoothing: f32,
) -> Result<BuiltLoss, GraphError> {
    let shape = graph.shape(logits).to_vec();
    let &[batch, time, classes] = shape.as_slice() else {
        return Err(GraphError::new(format!(
            "takes logits [batch, time, tokens] of sequences, but the model gives {shape:?}"
        )));
    };
    if !is_sequence {
        return Err(GraphError::new("takes sequences with lengths")
            .help("give the model an input of tokens"));
    }
    // Before the losses, so that one kernel can make losses, mean and gradient.
    let counts = top_level_input(graph, "labels.mask", &shape[..2], DType::F32);
    let weights = top_level_input(graph, "weights", &[batch], DType::F32);
    let column = graph.apply(Layout::Reshape(vec![batch, 1]), &[weights])?;
    let each = graph.apply(Binary::Mul, &[counts, column])?;
    let each = graph.apply(Layout::Reshape(vec![batch * time]), &[each])?;
    let labels = top_level_input(graph, "labels", &shape[..2], DType::I32);
    let labels = graph.apply(Layout::Reshape(vec![batch * time]), &[labels])?;
    let rows = graph.apply(Layout::Reshape(vec![batch * time, classes]), &[logits])?;
    let losses = graph.apply(Loss::SparseCrossEntropy { label_smoothing }, &[rows, labels])?;
    let mean = graph.apply(Loss::WeightedMean, &[losses, each])?;
    let losses = graph.apply(Layout::Reshape(vec![batch, time]), &[losses])?;
    let per_sample = graph.apply(Sequence::WeightedMean, &[losses, counts])?;
    Ok(BuiltLoss { per_sample, mean })
}

/// The loss of labels without places: `-ln p` of each sample, divided by the number of its labels.
pub(crate) fn without_places(
    graph: &mut Graph,
    logits: TensorId,
    mask: Option<TensorId>,
    labels: Option<usize>,
) -> Result<BuiltLoss, GraphError> {
    let shape = graph.shape(logits).to_vec();
    let (Some(mask), [_, _, _]) = (mask, shape.as_slice()) else {
        return Err(GraphError::new(format!(
            "takes logits [batch, time, labels] of sequences, but the model gives {shape:?}"
        ))
        .help("keep the positions of a sequence: no pooling, and gru and lstm with return_sequences = true"));
    };
    let labels = of_labels(graph, mask, labels);
    let inputs = [logits, labels.ids, labels.lengths, labels.counts];
    let losses = graph.apply(Ctc::Loss, &inputs)?;
    by_label(graph, losses, &labels)
}

/// The inputs of a loss whose labels are a sequence of their own.
pub(crate) struct OwnLabels {
    /// i32 `[batch, labels]`
    pub(crate) ids: TensorId,
    /// Positions of each sample, i32 `[batch]`.
    pub(crate) lengths: TensorId,
    /// Its labels, i32 `[batch]`.
    pub(crate) counts: TensorId,
}

/// Those of a model whose positions have this mask, with room for so many labels; for as many as there are positions where none is said.
pub(crate) fn of_labels(graph: &mut Graph, mask: TensorId, room: Option<usize>) -> OwnLabels {
    let (batch, time) = (graph.shape(mask)[0], graph.shape(mask)[1]);
    let field = graph.tensor(mask).name.trim_end_matches(".mask").to_owned();
    let lengths = top_level_input(graph, &format!("{field}.lengths"), &[batch], DType::I32);
    let room = [batch, room.unwrap_or(time)];
    let ids = top_level_input(graph, "labels", &room, DType::I32);
    let counts = top_level_input(graph, "labels.lengths", &[batch], DType::I32);
    OwnLabels { ids, lengths, counts }
}

/// Each sample's loss divided by the number of its labels.
pub(crate) fn by_label(
    graph: &mut Graph,
    losses: TensorId,
    labels: &OwnLabels,
) -> Result<BuiltLoss, GraphError> {
    let room = graph.shape(labels.ids).to_vec();
    let counted = top_level_input(graph, "labels.mask", &room, DType::F32);
    let axes = Reduce::Axes { reduction: Reduction::Sum, axes: vec![1], keep_dims: false };
    let count = graph.apply(axes, &[counted])?;
    let count = graph.apply(Unary::Clip { low: 1.0, high: f32::MAX }, &[count])?;
    let per_sample = graph.apply(Binary::Div, &[losses, count])?;
    let weights = top_level_input(graph, "weights", &room[..1], DType::F32);
    let mean = graph.apply(Loss::WeightedMean, &[per_sample, weights])?;
    Ok(BuiltLoss { per_sample, mean })
}

pub(crate) fn pair(loss: PairLoss) -> Op {
    Op::Binary(Binary::Loss(loss))
}

pub(crate) fn sparse(
    graph: &mut Graph,
    logits: TensorId,
    shape: &[usize],
    label_smoothing: f32,
) -> Result<TensorId, GraphError> {
    if shape.len() == 4 {
        // Not flattened: labels for every pixel is not what anyone means by an image's class.
        return Err(GraphError::new(format!(
            "takes one row of logits [batch, classes] for each sample, but the model gives {shape:?}"
        ))
        .help("insert { flatten = {} } before the first dense layer"));
    }
    let labels = top_level_input(graph, "labels", &shape[..shape.len() - 1], DType::I32);
    graph.apply(Loss::SparseCrossEntropy { label_smoothing }, &[logits, labels])
}

/// `l -> (1 - e^-l)^gamma l`: the cross-entropy `l = -ln p` weighted by how wrong `p` is.
pub(crate) fn focus(
    graph: &mut Graph,
    losses: TensorId,
    gamma: f32,
) -> Result<TensorId, GraphError> {
    let negative = graph.apply(Op::Unary(Unary::Neg), &[losses])?;
    let p = graph.apply(Op::Unary(Unary::Exp), &[negative])?;
    let rest = graph.apply(Op::Unary(Unary::Affine { scale: -1.0, shift: 1.0 }), &[p])?;
    // A sample that is surely right has 1 - p = 0, where the power's gradient would not be finite
    // for gamma below 1.
    let rest = graph.apply(Op::Unary(Unary::Clip { low: 1e-12, high: 1.0 }), &[rest])?;
    let weight = graph.apply(Op::Unary(Unary::Pow { exponent: gamma }), &[rest])?;
    graph.apply(Op::Binary(Binary::Mul), &[weight, losses])
}

/// `[batch, ...] -> [batch]`
pub(crate) fn mean_but_first(graph: &mut Graph, losses: TensorId) -> Result<TensorId, GraphError> {
    let shape = graph.shape(losses).to_vec();
    match shape.len() {
        1 => Ok(losses),
        2 if shape[1] == 1 => graph.apply(Layout::Reshape(vec![shape[0]]), &[losses]),
        rank => {
            let axes = (1..rank).collect();
            let mean = Reduce::Axes { reduction: Reduction::Mean, axes, keep_dims: false };
            graph.apply(mean, &[losses])
        }
    }
}

/// An input whose name has no scope before it; the one that is there where another loss has it too.
pub(crate) fn top_level_input(
    graph: &mut Graph,
    name: &str,
    shape: &[usize],
    dtype: DType,
) -> TensorId {
    if let Some(id) = graph.find(name) {
        return id;
    }
    let id = graph.input(name, shape, dtype);
    graph.tensors[id.index()].name = name.to_owned();
    id
}
