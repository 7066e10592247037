//! From a model's description to a graph, with names and start values.

use crate::attention::sinusoids;
use crate::decode::Decode;
use crate::error::ModelError;
use crate::frozen;
use crate::hats::{Expert, between_zeros};
use crate::hedge::Heads;
use crate::initializers::{Fans, Initializer};
use crate::layer::LayerSpec;
use crate::layers::{At, Builder};
use crate::linear;
use crate::model::{InputSpec, ModelSpec};
use crate::training::Extent;
use std::rc::Rc;
use tidemill_graph::{DType, Graph, GraphError, TensorId};

/// Whether a model learns or predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Dropout drops; batch norm uses the batch's moments and updates the running ones.
    Train,
    /// Dropout is off; batch norm uses the running moments.
    Eval,
}

/// What was built for one layer, in the order of building; blocks come after what they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSummary {
    /// Path in the graph, such as `layers.2.dense`.
    pub path: String,
    /// Its name in recipes, or that of a custom layer.
    pub kind: String,
    /// Dims of its output without the batch.
    pub output_shape: Vec<usize>,
    /// Number of learned values of its own, without those of the layers in it.
    pub num_parameters: usize,
}

/// The start of one tensor of the state.
#[derive(Clone, Debug, PartialEq)]
pub struct InitialValue {
    /// The tensor's name in the graph.
    pub name: String,
    /// Its dims.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f32>,
}

/// A model built into a graph.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) output: TensorId,
    /// The mask `[batch, time]` of the output's positions, where it has time.
    pub(crate) mask: Option<TensorId>,
    /// Those of a model with several outputs.
    pub(crate) heads: Option<Heads>,
    /// Further parts of the mixture, whose weights are the last.
    pub(crate) experts: Vec<Rc<dyn Expert>>,
    pub(crate) layers: Vec<LayerSummary>,
    starts: Vec<(TensorId, Start)>,
    /// Whether a custom layer may do other things in training than in evaluation.
    pub(crate) asks_mode: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    Drawn(Initializer, Fans),
    /// The same with so many rows of zeros from a row on.
    BetweenZeros(Initializer, Fans, usize, usize),
    /// The same for the four gates of an LSTM, but 1 for the forget gate, the second.
    ForgetOnes(Initializer, Fans),
    /// Means 0, variances 1.
    Moments,
    /// All the same, with the sum 1.
    Even,
    /// How weights move between parts of a mixture, of which those from one on are linear, and the others exchange a share.
    Transitions(usize, f32),
    /// Rows of sines and cosines.
    Sinusoidal,
}

impl ModelSpec {
    /// Adds the model to a graph: an input `x`, in training with dropout an input `key`, and the
    /// layers. Parameters are named `layers.<i>.<kind>.<kernel|bias|gamma|beta>`, the same in both
    /// modes and for every batch size. Returns the last layer's output.
    pub fn build(
        &self,
        graph: &mut Graph,
        batch: impl Into<Extent>,
        mode: Mode,
    ) -> Result<TensorId, GraphError> {
        self.build_all(graph, &batch.into(), mode).map(|built| built.output)
    }

    pub(crate) fn build_all(
        &self,
        graph: &mut Graph,
        extent: &Extent,
        mode: Mode,
    ) -> Result<Built, GraphError> {
        self.build_watched(graph, extent, mode, false)
    }

    /// With `watch`, what each dense layer but the first reads becomes an output of the graph, as
    /// `<path>.inputs`.
    pub(crate) fn build_watched(
        &self,
        graph: &mut Graph,
        extent: &Extent,
        mode: Mode,
        watch: bool,
    ) -> Result<Built, GraphError> {
        self.build_rows(graph, extent, mode, watch, Rows::All, None)
    }

    /// The output of each sample's last position alone, `[batch, ...]`.
    pub(crate) fn build_last(
        &self,
        graph: &mut Graph,
        extent: &Extent,
    ) -> Result<TensorId, GraphError> {
        let built = self.build_rows(graph, extent, Mode::Eval, false, Rows::Last, None)?;
        Ok(built.output)
    }

    pub(crate) fn build_rows(
        &self,
        graph: &mut Graph,
        extent: &Extent,
        mode: Mode,
        watch: bool,
        rows: Rows,
        decode: Option<Decode>,
    ) -> Result<Built, GraphError> {
        self.validate().map_err(graph_error)?;
        let signature = self.signature();
        let mut inputs = Vec::new();
        for (i, field) in signature.inputs().iter().enumerate() {
            let mut shape = vec![extent.batch];
            shape.extend(field.shape(extent.time(i).or(field.time()).unwrap_or(0)));
            let x = graph.input(&field.name, &shape, field.dtype);
            let mask = field
                .time()
                .map(|_| graph.input(&format!("{}.mask", field.name), &shape[..2], DType::F32));
            inputs.push((field.name.clone(), At { x, mask }));
        }
        let at = inputs[0].1;
        let x = at.x;
        let key = (mode == Mode::Train && has_dropout(&self.layers))
            .then(|| graph.input("key", &[4], DType::I32));
        let of_tokens =
            |(name, input): (&str, InputSpec)| Some((name.to_owned(), input.vocabulary()?));
        let vocabularies = self.named_inputs().into_iter().filter_map(of_tokens).collect();
        let mut builder = Builder {
            key,
            watch,
            in_layer: true,
            frozen: self.frozen.clone(),
            inputs,
            vocabularies,
            decode,
            contexts: (rows == Rows::Chunk).then_some(0),
            ..Builder::bare(graph, mode)
        };
        // Ids are no numbers that an output could read.
        let plain = self.inputs.is_empty() && matches!(self.input, InputSpec::Features(_));
        if plain && self.entity_embedding().is_none() {
            builder.depths.push(x);
        }
        // The last layers that see positions one by one need see only those that are wanted.
        let split = match rows {
            Rows::All | Rows::Chunk => self.layers.len(),
            Rows::Last => {
                self.layers.iter().rposition(|l| !l.is_by_position()).map_or(0, |i| i + 1)
            }
        };
        let mut experts = vec![];
        let (At { x: output, mask }, mut heads) = match &self.hats {
            Some(hats) => {
                let with = builder.with_hats(self, hats)?;
                experts = with.experts;
                (with.output, with.heads)
            }
            None => {
                let mut at = builder.layers_from(&self.layers[..split], "layers", 0, at)?;
                if rows == Rows::Last {
                    at = builder.last_position(at)?;
                }
                (builder.layers_from(&self.layers[split..], "layers", split, at)?, None)
            }
        };
        if let (Some(_), Some(LayerSpec::Dense(last))) = (self.hedged_depth, self.layers.last()) {
            heads = Some(builder.heads(last, output)?);
        }
        let Builder { starts, layers, asked, .. } = builder;
        let parameters = starts.iter().map(|&(id, _)| graph.tensor(id).name.as_str());
        frozen::check(&self.frozen, &layers, parameters)?;
        Ok(Built { output, mask, heads, experts, layers, starts, asks_mode: asked.get() })
    }

    /// The layers with their output shapes and parameter counts.
    pub fn summary(&self) -> Result<Vec<LayerSummary>, GraphError> {
        let mut graph = Graph::new();
        self.build_all(&mut graph, &Extent::from(1), Mode::Eval).map(|built| built.layers)
    }

    /// Number of learned values.
    pub fn num_parameters(&self) -> Result<usize, GraphError> {
        Ok(self.summary()?.iter().map(|layer| layer.num_parameters).sum())
    }

    /// Dims of the model's output without the batch.
    pub fn output_shape(&self) -> Result<Vec<usize>, GraphError> {
        let mut graph = Graph::new();
        let output = self.build(&mut graph, 1, Mode::Eval)?;
        Ok(graph.shape(output)[1..].to_vec())
    }

    /// The longest time of the model's output, where that has a row for each position of a sequence.
    pub fn longest_output(&self) -> Result<Option<usize>, GraphError> {
        let mut graph = Graph::new();
        let built = self.build_all(&mut graph, &Extent::from(1), Mode::Eval)?;
        Ok(built.mask.map(|mask| graph.shape(mask)[1]))
    }

    /// Start values of all parameters and running statistics under a seed.
    pub fn initial_values(&self, seed: u64) -> Result<Vec<InitialValue>, GraphError> {
        let mut all = Vec::new();
        self.each_initial_value(seed, &mut |value| {
            all.push(value);
            Ok(())
        })?;
        Ok(all)
    }

    /// The same one after the other, so that they need not be in memory together.
    pub fn each_initial_value(
        &self,
        seed: u64,
        take: &mut dyn FnMut(InitialValue) -> Result<(), GraphError>,
    ) -> Result<(), GraphError> {
        let mut graph = Graph::new();
        let built = self.build_all(&mut graph, &Extent::from(1), Mode::Eval)?;
        let value = |&(id, start): &(TensorId, Start)| {
            let tensor = graph.tensor(id);
            let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
            let values = match start {
                Start::Drawn(initializer, fans) => initializer.values(seed, &name, &shape, fans),
                Start::BetweenZeros(initializer, fans, start, len) => {
                    between_zeros(&shape, start, len, |shape| {
                        initializer.values(seed, &name, shape, fans)
                    })
                }
                Start::ForgetOnes(initializer, fans) => {
                    let mut values = initializer.values(seed, &name, &shape, fans);
                    let gate = values.len() / 4;
                    values[gate..2 * gate].fill(1.0);
                    values
                }
                Start::Sinusoidal => sinusoids(shape[0], shape[1]),
                Start::Even => vec![1.0 / shape[0] as f32; shape[0]],
                Start::Transitions(first, share) => linear::transitions(shape[0], first, share),
                Start::Moments => {
                    let half = shape[1];
                    (0..2 * half).map(|i| if i < half { 0.0 } else { 1.0 }).collect()
                }
            };
            InitialValue { name, shape, values }
        };
        built.starts.iter().map(value).try_for_each(take)
    }
}

/// Which positions of a sequence a model's output is of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// All.
    All,
    /// The last one of each sample.
    Last,
    /// All of a chunk of a sequence that comes in chunks.
    Chunk,
}

fn graph_error(error: ModelError) -> GraphError {
    GraphError { path: error.path, message: error.message, help: None }
}

fn has_dropout(layers: &[LayerSpec]) -> bool {
    let drops = |layer: &LayerSpec| matches!(layer, LayerSpec::Dropout { rate } if *rate > 0.0);
    layers.iter().any(|layer| layer.any(&drops))
}
