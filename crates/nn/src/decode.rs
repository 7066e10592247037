//! Texts that are written token by token: what has been computed of earlier positions is kept.
//!
//! Two graphs: the start computes whole texts, and gives beside what comes next the keys and values of their positions, and
//! those of what other inputs say (an encoder's output). A step computes one new position of each row from those. Both are
//! there for models whose layers compute a position from itself and, by causal attention, from earlier ones.

use crate::build::{Mode, Rows};
use crate::layer::LayerSpec;
use crate::layers::{At, Builder};
use crate::loss_ops::top_level_input;
use crate::model::ModelSpec;
use crate::training::Extent;
use tidemill_graph::{
    Attention, DType, Embedding, Graph, GraphError, Heads, Layout, Softmax, TensorId,
};

/// What a builder does where the text is that is written.
#[derive(Clone, Debug)]
pub(crate) struct Decode {
    /// The input field that is written.
    field: String,
    /// For a step: the room for earlier positions. None at the start.
    capacity: Option<usize>,
    /// Attention layers so far, within what is written and to other inputs.
    caches: usize,
    memories: usize,
}

/// The start of texts: as [`crate::next_graph`], with outputs `keys.<i>` `[batch, time, ...]` for each attention layer
/// within what is written (a row ends with the keys and values of the position), and `memory.<i>` `[batch, time, ...]` for each
/// one to another sequence: its keys and values.
///
/// # Errors
/// If the model has layers that cannot be computed position by position.
pub fn start_graph(model: &ModelSpec, extent: &Extent) -> Result<Graph, GraphError> {
    let mut graph = Graph::new();
    let logits = model.build_decoded(&mut graph, extent, decode(model, None)?)?;
    let log = graph.apply(Softmax::Log, &[logits])?;
    graph.output("log_probabilities", log);
    Ok(graph)
}

/// One more position of each row: `extent` has the time of what is written as the number of rows of a sample, which read what
/// other inputs say of that sample alike; `capacity` is the room for earlier positions.
///
/// Inputs, for the written field `<f>`, with `rows` = batch x time: the new tokens `<f>` i32 `[batch, time]`;
/// `<f>.positions` i32 `[batch, time]`, where they are in their texts; `cached.<i>` `[capacity, rows, ...]`, `<f>.table` i32
/// `[batch, time, capacity]` and `<f>.cached` i32 `[batch, time]` as [`Attention::Cached`] takes them; `memory.<i>`;
/// `<field>.lengths`. Others are not read. Outputs: `log_probabilities` `[batch, time, tokens]`, and `keys.<i>`
/// `[batch, time, ...]` as at the start.
///
/// # Errors
/// If the model has layers that cannot be computed position by position.
pub fn step_graph(
    model: &ModelSpec,
    extent: &Extent,
    capacity: usize,
) -> Result<Graph, GraphError> {
    let mut graph = Graph::new();
    let logits = model.build_decoded(&mut graph, extent, decode(model, Some(capacity))?)?;
    let log = graph.apply(Softmax::Log, &[logits])?;
    graph.output("log_probabilities", log);
    Ok(graph)
}

/// The input field that a model of tokens writes: that whose positions its outputs are of.
///
/// # Errors
/// If its outputs are of no positions.
pub fn written_field(model: &ModelSpec) -> Result<String, GraphError> {
    let mut graph = Graph::new();
    let built = model.build_all(&mut graph, &Extent::from(1), crate::Mode::Eval)?;
    let mask = built.mask.ok_or_else(|| GraphError::new("the model writes no sequence"))?;
    Ok(graph.tensor(mask).name.trim_end_matches(".mask").to_owned())
}

fn decode(model: &ModelSpec, capacity: Option<usize>) -> Result<Decode, GraphError> {
    if model.mixes_outputs() {
        return Err(GraphError::new("outputs of all depths are not computed by position"));
    }
    Ok(Decode { field: written_field(model)?, capacity, caches: 0, memories: 0 })
}

impl Decode {
    pub(crate) fn is_start(&self) -> bool {
        self.capacity.is_none()
    }
}

/// Whether a layer computes a position from itself alone, or is made of such layers and attention.
fn goes_by_position(layer: &LayerSpec) -> bool {
    use LayerSpec::*;
    let joins = matches!(layer, Residual(_) | Concat(_) | Repeat { .. } | Copy(_) | Encode(_));
    let reads = matches!(layer, Embedding(_) | Positions(_) | Attention(_));
    layer.is_by_position() || joins || reads
}

impl ModelSpec {
    /// What comes next where a text is written token by token.
    fn build_decoded(
        &self,
        graph: &mut Graph,
        extent: &Extent,
        decode: Decode,
    ) -> Result<TensorId, GraphError> {
        let rows = if decode.is_start() { Rows::Last } else { Rows::All };
        let built = self.build_rows(graph, extent, Mode::Eval, false, rows, Some(decode))?;
        Ok(built.output)
    }
}

impl Builder<'_> {
    /// Whether this is the text that is written.
    fn is_written(&self, at: At) -> bool {
        let Some(decode) = &self.decode else { return false };
        let name = at.mask.map(|mask| self.graph.tensor(mask).name.as_str());
        name.and_then(|name| name.strip_suffix(".mask")) == Some(&decode.field)
    }

    /// Refuses layers that cannot go position by position.
    pub(crate) fn check_decoded(&self, layer: &LayerSpec, at: At) -> Result<(), GraphError> {
        if self.is_written(at) && !goes_by_position(layer) {
            return Err(GraphError::new("looks at more than one position at a time"));
        }
        Ok(())
    }

    /// What attention within the written text does with queries, keys and values, and biases of distances; None elsewhere.
    pub(crate) fn decoded_within(
        &mut self,
        qkv: TensorId,
        bias: Option<TensorId>,
        heads: Heads,
        at: At,
    ) -> Result<Option<TensorId>, GraphError> {
        if !self.is_written(at) {
            return Ok(None);
        }
        if !heads.causal {
            return Err(GraphError::new("reads later positions"));
        }
        let Some(Decode { field, capacity, caches, .. }) = &mut self.decode else {
            return Ok(None);
        };
        let index = *caches;
        *caches += 1;
        self.graph.output(&format!("keys.{index}"), qkv);
        let Some(capacity) = *capacity else { return Ok(None) };
        let &[batch, time, width] = self.graph.shape(qkv) else {
            return Err(GraphError::new("attention without positions; please report it"));
        };
        let parts = heads.queries + 2 * heads.keys;
        let cache = [capacity, batch * time, width / parts * 2 * heads.keys];
        let cache = top_level_input(self.graph, &format!("cached.{index}"), &cache, DType::F32);
        let table = [batch, time, capacity];
        let table = top_level_input(self.graph, &format!("{field}.table"), &table, DType::I32);
        let lengths =
            top_level_input(self.graph, &format!("{field}.cached"), &[batch, time], DType::I32);
        let inputs: Vec<TensorId> = [qkv, cache, table, lengths].into_iter().chain(bias).collect();
        Ok(Some(self.graph.apply(Attention::Cached(heads), &inputs)?))
    }

    /// The keys and values of another sequence where they are known, at a step.
    pub(crate) fn known_memory(
        &mut self,
        other: At,
        width: usize,
        at: At,
    ) -> Result<Option<TensorId>, GraphError> {
        if !self.is_written(at) {
            return Ok(None);
        }
        if self.is_written(other) {
            return Err(GraphError::new("reads what depends on what is written"));
        }
        let &[batch, time, ..] = self.graph.shape(other.x) else { return Ok(None) };
        match &self.decode {
            Some(decode) if !decode.is_start() => {
                let name = format!("memory.{}", decode.memories);
                let memory = top_level_input(self.graph, &name, &[batch, time, width], DType::F32);
                self.count_memory();
                Ok(Some(memory))
            }
            _ => Ok(None),
        }
    }

    /// The start gives the keys and values of another sequence.
    pub(crate) fn keep_memory(&mut self, kv: TensorId, at: At) {
        if self.is_written(at)
            && let Some(decode) = &self.decode
        {
            self.graph.output(&format!("memory.{}", decode.memories), kv);
            self.count_memory();
        }
    }

    fn count_memory(&mut self) {
        if let Some(decode) = &mut self.decode {
            decode.memories += 1;
        }
    }

    /// Rows of a table of positions: the first ones, or at a step those where the new tokens are.
    pub(crate) fn rows_of_positions(
        &mut self,
        table: TensorId,
        at: At,
    ) -> Result<TensorId, GraphError> {
        let shape = self.graph.shape(at.x);
        let size = vec![shape[1], shape[2]];
        match self.step_positions(at)? {
            Some((positions, _)) => self.graph.apply(Embedding::Rows, &[table, positions]),
            None => self.graph.apply(Layout::Slice { start: vec![0, 0], size }, &[table]),
        }
    }

    /// At a step: where the new tokens are in their texts, i32 `[batch, time]`, and below which number that is.
    pub(crate) fn step_positions(
        &mut self,
        at: At,
    ) -> Result<Option<(TensorId, usize)>, GraphError> {
        if !self.is_written(at) {
            return Ok(None);
        }
        let Some(Decode { field, capacity: Some(capacity), .. }) = &self.decode else {
            return Ok(None);
        };
        let &[batch, time, ..] = self.graph.shape(at.x) else {
            return Err(GraphError::new("a step without positions; please report it"));
        };
        let name = format!("{field}.positions");
        let positions = top_level_input(self.graph, &name, &[batch, time], DType::I32);
        Ok(Some((positions, capacity + 1)))
    }

    /// Whether each row of what is written has one position.
    pub(crate) fn is_step(&self, at: At) -> bool {
        self.is_written(at) && self.decode.as_ref().is_some_and(|decode| !decode.is_start())
    }
}
