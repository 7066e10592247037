//! Sequences that are computed as they come, a chunk of positions at a time: what layers need of earlier positions is kept.
//!
//! For models whose layers compute a position from itself and, by causal convolutions, from earlier ones. A chunk gives the values that the
//! whole sequence would have, up to the rounding of sums that are computed in another order.

use crate::build::{Mode, Rows};
use crate::layer::LayerSpec;
use crate::layers::Builder;
use crate::loss_ops::top_level_input;
use crate::model::ModelSpec;
use crate::training::Extent;
use tidemill_graph::{DType, Graph, GraphError, Layout, Softmax, TensorId};

/// What the names of what is kept start with: an input and an output of each causal layer, which is the next chunk's input.
pub const CONTEXT: &str = "context.";

/// One chunk of `time` positions of `batch` sequences. Inputs as in [`crate::inference_graph`], and `context.<i>` `[batch, before, values]`
/// for each causal layer: what it read of the last `before` positions, 0 at the start of a sequence; for a joiner `[batch, before]`, the last
/// labels. Outputs: `log_probabilities`
/// `[batch, time, labels]`, and `context.<i>` for the next chunk. Positions after the end of a sequence may follow in its last chunk alone.
///
/// # Errors
/// If the model has layers that read positions which have not come.
pub fn chunk_graph(model: &ModelSpec, extent: &Extent) -> Result<Graph, GraphError> {
    let mut graph = Graph::new();
    let built = model.build_chunk(&mut graph, extent)?;
    let log = graph.apply(Softmax::Log, &[built])?;
    graph.output("log_probabilities", log);
    Ok(graph)
}

/// Whether a layer computes a position from itself alone, or is made of such layers and causal convolutions.
fn goes_by_chunks(layer: &LayerSpec) -> bool {
    use LayerSpec::*;
    match layer {
        Residual(_) | Repeat { .. } | Joiner(_) => true,
        Conv1d(spec) => spec.causal || spec.kernel == 1,
        other => other.is_by_position(),
    }
}

impl ModelSpec {
    fn build_chunk(&self, graph: &mut Graph, extent: &Extent) -> Result<TensorId, GraphError> {
        if self.hedged_depth.is_some() || self.named_inputs().len() > 1 {
            return Err(GraphError::new("only one input and one output are computed by chunks"));
        }
        let wrong = |layer: &LayerSpec| layer.nested().is_empty() && !goes_by_chunks(layer);
        if let Some(layer) = self.layers.iter().find(|layer| layer.any(&wrong)) {
            let kind = layer.kind();
            return Err(GraphError::new(format!(
                "{kind} reads positions that have not come yet where a sequence is computed as it comes"
            ))
            .help("take conv1d with causal = true, and layers that look at single positions"));
        }
        let built = self.build_rows(graph, extent, Mode::Eval, false, Rows::Chunk, None)?;
        match built.mask {
            Some(_) => Ok(built.output),
            None => Err(GraphError::new("the model has no output for each position")),
        }
    }
}

impl Builder<'_> {
    /// What a causal layer reads where a sequence comes by chunks: the `before` positions before, then its input `x` `[batch, time, values]`.
    pub(crate) fn chunk_context(
        &mut self,
        x: TensorId,
        causal: bool,
        before: usize,
    ) -> Result<Option<TensorId>, GraphError> {
        let (Some(index), true) = (self.contexts, before > 0) else { return Ok(None) };
        if !causal {
            return Err(GraphError::new("reads positions that have not come yet"));
        }
        self.contexts = Some(index + 1);
        let name = format!("{CONTEXT}{index}");
        let &[batch, time, values] = self.graph.shape(x) else {
            return Err(GraphError::new("a chunk without positions; please report it"));
        };
        let size = vec![batch, before, values];
        let earlier = top_level_input(self.graph, &name, &size, DType::F32);
        let joined = self.graph.apply(Layout::Concat { axis: 1 }, &[earlier, x])?;
        let last = Layout::Slice { start: vec![0, time, 0], size };
        let kept = self.graph.apply(last, &[joined])?;
        self.graph.output(&name, kept);
        Ok(Some(joined))
    }
}
