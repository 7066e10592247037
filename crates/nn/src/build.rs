//! From a model's description to ops.

use crate::activation::Activation;
use crate::attention::sinusoids;
use crate::custom::CustomLayer;
use crate::decode::Decode;
use crate::error::ModelError;
use crate::frozen;
use crate::hats::{Expert, Place, between_zeros};
use crate::initializers::{Fans, Initializer};
use crate::layer::{
    BatchNormSpec, ConcatSpec, DenseSpec, EntityEmbeddingSpec, LayerSpec, PoolSpec, ResidualSpec,
};
use crate::model::{InputSpec, ModelSpec};
use crate::padding::Padding;
use crate::training::Extent;
use std::cell::Cell;
use std::rc::Rc;
use tidemill_graph::{
    BatchNorm, Binary, Conv2d, DType, Graph, GraphError, Layout, Normalization, Pool, Pool2d,
    Reduce, Reduction, Role, RowNorm, TensorId, Unary, ops,
};

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
    /// Of a model with several outputs: those, that of the whole model last, and their weights.
    pub(crate) heads: Option<(Vec<TensorId>, TensorId)>,
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
            Rows::Last => self.layers.iter().rposition(|l| !by_position(l)).map_or(0, |i| i + 1),
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
                Start::Moments => {
                    let half = shape[1];
                    (0..2 * half).map(|i| if i < half { 0.0 } else { 1.0 }).collect()
                }
            };
            InitialValue { name, shape, values }
        };
        Ok(built.starts.iter().map(value).collect())
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

/// Whether a layer does the same at each position, from that position alone.
fn by_position(layer: &LayerSpec) -> bool {
    use LayerSpec::*;
    matches!(
        layer,
        Dense(_)
            | LayerNorm { .. }
            | RmsNorm { .. }
            | Dropout { .. }
            | Activation(_)
            | Softmax {}
            | LayerScale { .. }
    )
}

fn graph_error(error: ModelError) -> GraphError {
    GraphError { path: error.path, message: error.message, help: None }
}

fn has_dropout(layers: &[LayerSpec]) -> bool {
    let drops = |layer: &LayerSpec| matches!(layer, LayerSpec::Dropout { rate } if *rate > 0.0);
    layers.iter().any(|layer| layer.any(&drops))
}

/// What a layer reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    /// `[batch, ...]`, or `[batch, time, ...]` where there is a mask.
    pub(crate) x: TensorId,
    /// f32 `[batch, time]`: 1 up to each sample's end, then 0.
    pub(crate) mask: Option<TensorId>,
}

impl At {
    /// Another tensor with the same positions.
    pub(crate) fn with(self, x: TensorId) -> At {
        At { x, ..self }
    }
}

/// Builds layers into a graph. A custom layer, loss or metric is given one, and adds its ops with it.
pub struct Builder<'g> {
    pub(crate) graph: &'g mut Graph,
    pub(crate) mode: Mode,
    /// Whether a custom layer has asked whether it is training.
    pub(crate) asked: Cell<bool>,
    /// Whether what is built is a layer, which may have parameters; a loss has none.
    pub(crate) in_layer: bool,
    /// The mask of what a custom part reads.
    pub(crate) mask: Option<TensorId>,
    pub(crate) key: Option<TensorId>,
    watch: bool,
    pub(crate) dropouts: u32,
    /// Paths of the layers that do not learn.
    frozen: Vec<String>,
    /// The model's inputs by name.
    pub(crate) inputs: Vec<(String, At)>,
    /// Where hats are, while a layer may read them.
    pub(crate) hats: Option<Place>,
    /// How many tokens those have that are tokens.
    pub(crate) vocabularies: Vec<(String, usize)>,
    pub(crate) starts: Vec<(TensorId, Start)>,
    layers: Vec<LayerSummary>,
    /// Set where a text is written token by token.
    pub(crate) decode: Option<Decode>,
    /// Set where a sequence comes in chunks: how many layers keep what they read of earlier positions.
    pub(crate) contexts: Option<usize>,
    /// What outputs can read: the features, and what the model's own dense layers give.
    depths: Vec<TensorId>,
}

impl<'g> Builder<'g> {
    /// One that builds no layers.
    pub(crate) fn bare(graph: &'g mut Graph, mode: Mode) -> Builder<'g> {
        Builder {
            graph,
            mode,
            asked: Cell::new(false),
            in_layer: false,
            mask: None,
            key: None,
            watch: false,
            dropouts: 0,
            frozen: vec![],
            inputs: vec![],
            hats: None,
            vocabularies: vec![],
            starts: vec![],
            layers: vec![],
            decode: None,
            contexts: None,
            depths: vec![],
        }
    }

    /// The same for what reads sequences.
    pub(crate) fn masked(self, mask: Option<TensorId>) -> Builder<'g> {
        Builder { mask, ..self }
    }
}

impl Builder<'_> {
    /// Whether the graph learns, and the layer that is being built.
    pub(crate) fn learns(&self) -> bool {
        self.mode == Mode::Train && !self.is_frozen()
    }

    /// Whether the layer that is being built does not learn.
    pub(crate) fn is_frozen(&self) -> bool {
        frozen::contains(&self.frozen, &self.graph.path())
    }

    pub(crate) fn sequence(
        &mut self,
        layers: &[LayerSpec],
        prefix: &str,
        at: At,
    ) -> Result<At, GraphError> {
        self.layers_from(layers, prefix, 0, at)
    }

    /// The same, of layers whose first has the number `first`.
    fn layers_from(
        &mut self,
        layers: &[LayerSpec],
        prefix: &str,
        first: usize,
        mut at: At,
    ) -> Result<At, GraphError> {
        for (i, layer) in layers.iter().enumerate().map(|(i, layer)| (first + i, layer)) {
            self.graph.enter(format!("{prefix}.{i}.{}", layer.kind()));
            let own = self.starts.len();
            let built = self.layer(layer, at);
            let path = self.graph.path();
            self.graph.leave();
            at = built.map_err(|error| error.at(&path))?;
            let x = at.x;
            let is_hidden = matches!(layer, LayerSpec::Dense(_) | LayerSpec::EntityEmbedding(_));
            if prefix == "layers" && is_hidden {
                self.depths.push(x);
            }
            // A layer that holds no others has all that is below its path.
            let alone = layer.nested().is_empty() && !matches!(layer, LayerSpec::Custom(_));
            let is_own = |&&(id, _): &&(TensorId, Start)| {
                let tensor = self.graph.tensor(id);
                let name = tensor.name.strip_prefix(&path);
                tensor.role == Role::Parameter
                    && name.is_some_and(|n| alone || !n[1..].contains('.'))
            };
            self.layers.push(LayerSummary {
                kind: layer.kind().to_owned(),
                output_shape: self.graph.shape(x)[1..].to_vec(),
                num_parameters: self.starts[own..]
                    .iter()
                    .filter(is_own)
                    .map(|&(id, _)| self.graph.tensor(id).len())
                    .sum(),
                path,
            });
        }
        Ok(at)
    }

    /// A dense layer like the last one for each depth before it.
    fn heads(
        &mut self,
        last: &DenseSpec,
        output: TensorId,
    ) -> Result<(Vec<TensorId>, TensorId), GraphError> {
        // The last two are what the last layer reads and gives.
        let before = self.depths.len().saturating_sub(2);
        let layers = vec![LayerSpec::Dense(last.clone())];
        let mut heads = Vec::new();
        for (k, x) in self.depths.clone().into_iter().take(before).enumerate() {
            if self.graph.shape(x).len() == 2 {
                let at = At { x, mask: None };
                heads.push(self.sequence(&layers, &format!("heads.{k}"), at)?.x);
            }
        }
        heads.push(output);
        let weights = self.graph.state("hedge.weights", &[heads.len()]);
        self.starts.push((weights, Start::Even));
        Ok((heads, weights))
    }

    fn layer(&mut self, layer: &LayerSpec, at: At) -> Result<At, GraphError> {
        use LayerSpec::*;
        self.check_decoded(layer, at)?;
        match layer {
            // What joins or repeats layers, and what ends or reads the positions of a sequence.
            Residual(spec) => self.residual(spec, at),
            Multiply { layers } => self.multiplied(layers, at),
            Concat(spec) => self.branches(spec, at),
            Repeat { times, layers } => {
                (0..*times).try_fold(at, |at, time| self.sequence(layers, &time.to_string(), at))
            }
            Conv1d(spec) => self.conv1d(spec, at),
            EmbeddingBag(spec) => self.embedding_bag(spec, at),
            Attention(spec) => self.attention(spec, at),
            Gru(spec) => self.recurrent(&spec.scanned(), at),
            Lstm(spec) => self.recurrent(&spec.scanned(), at),
            Encode(spec) => self.encode(spec, at),
            Copy(spec) => self.copying(spec, at),
            Positions(spec) => self.positions(spec, at),
            Dense(spec) => Ok(at.with(self.dense(spec, at)?)),
            Custom(layer) => self.custom(layer.get(), at),
            GlobalAvgPool {} if at.mask.is_some() => self.mean_over_time(at),
            GlobalMaxPool {} if at.mask.is_some() => self.max_over_time(at),
            Flatten {} | Reshape { .. } | BatchNorm(_) if at.mask.is_some() => {
                let what = "does not go with sequences, whose samples have different lengths";
                Err(GraphError::new(what).help(match layer {
                    BatchNorm(_) => "use layer_norm",
                    _ => "insert { global_avg_pool = {} } or { global_max_pool = {} } before it",
                }))
            }
            other => Ok(at.with(self.plain(other, at.x)?)),
        }
    }

    /// A layer that does the same at each position, or knows no positions.
    fn plain(&mut self, layer: &LayerSpec, x: TensorId) -> Result<TensorId, GraphError> {
        use LayerSpec::*;
        match layer {
            Residual(_)
            | Multiply { .. }
            | Concat(_)
            | Repeat { .. }
            | Conv1d(_)
            | EmbeddingBag(_)
            | Attention(_)
            | Gru(_)
            | Lstm(_)
            | Encode(_)
            | Copy(_)
            | Positions(_)
            | Dense(_)
            | Custom(_) => Err(GraphError::new("is built as a block; please report it")),
            Flatten {} => {
                let shape = self.graph.shape(x);
                let flat = vec![shape[0], shape[1..].iter().product()];
                self.reshaped(x, flat)
            }
            Reshape { shape } => {
                let mut full = vec![self.graph.shape(x)[0]];
                full.extend(shape);
                self.reshaped(x, full)
            }
            Conv2d(spec) => {
                let [_, _, _, channels] = self.image(x)?;
                let inputs = channels / spec.groups.max(1);
                let shape = [spec.kernel[0], spec.kernel[1], inputs, spec.filters];
                let kernel = self.parameter("kernel", &shape, spec.kernel_initializer)?;
                let window =
                    Window { size: spec.kernel, stride: spec.stride, padding: spec.padding };
                let y = self.convolve(x, kernel, window, spec.dilation, spec.groups)?;
                let fans = Fans::of_kernel(&shape);
                self.finish(y, spec.bias.then_some((spec.bias_initializer, fans)), spec.activation)
            }
            DepthwiseConv2d(spec) => {
                let [_, _, _, channels] = self.image(x)?;
                let outputs = channels * spec.depth_multiplier;
                let shape = [spec.kernel[0], spec.kernel[1], 1, outputs];
                let kernel = self.parameter("kernel", &shape, spec.kernel_initializer)?;
                let window =
                    Window { size: spec.kernel, stride: spec.stride, padding: spec.padding };
                let y = self.convolve(x, kernel, window, spec.dilation, channels)?;
                let fans = Fans::of_kernel(&shape);
                self.finish(y, spec.bias.then_some((spec.bias_initializer, fans)), spec.activation)
            }
            MaxPool2d(spec) => {
                let pool = self.pool(x, spec)?;
                self.graph.apply(Pool::Max(pool), &[x])
            }
            AvgPool2d(spec) => {
                let pool = self.pool(x, spec)?;
                self.graph.apply(Pool::Average(pool), &[x])
            }
            GlobalAvgPool {} => self.global_pool(x, Reduction::Mean),
            GlobalMaxPool {} => self.global_pool(x, Reduction::Max),
            BatchNorm(spec) => self.batch_norm(x, spec),
            LayerNorm { epsilon } => {
                let channels = [self.last_dim(x)];
                let gamma = self.parameter("gamma", &channels, Initializer::Ones)?;
                let beta = self.parameter("beta", &channels, Initializer::Zeros)?;
                self.graph.apply(
                    RowNorm::Forward { kind: Normalization::Layer, epsilon: *epsilon as f32 },
                    &[x, gamma, beta],
                )
            }
            RmsNorm { epsilon } => {
                let channels = [self.last_dim(x)];
                let gamma = self.parameter("gamma", &channels, Initializer::Ones)?;
                self.graph.apply(
                    RowNorm::Forward { kind: Normalization::Rms, epsilon: *epsilon as f32 },
                    &[x, gamma],
                )
            }
            Dropout { rate } => self.dropout(x, *rate),
            Activation(activation) => activation.build(self.graph, x),
            Softmax {} => self.graph.apply(ops::Softmax::Plain, &[x]),
            Embedding(spec) => {
                let shape = [spec.vocabulary, spec.units];
                let table = match &spec.tied {
                    Some(path) => self.tied(path, &shape)?,
                    None => self.parameter("table", &shape, spec.initializer)?,
                };
                let rows = self.graph.apply(ops::Embedding::Rows, &[table, x])?;
                self.scaled(rows, spec.scale)
            }
            EntityEmbedding(spec) => self.entity_embedding(x, spec),
            LayerScale { initial } => {
                let start = Initializer::Constant { value: *initial };
                let gamma = self.parameter("gamma", &[self.last_dim(x)], start)?;
                self.graph.apply(Binary::Mul, &[x, gamma])
            }
        }
    }

    fn dense(&mut self, spec: &DenseSpec, at: At) -> Result<TensorId, GraphError> {
        let x = at.x;
        if self.watch && self.graph.tensor(x).role != Role::Input {
            let name = format!("{}.inputs", self.graph.path());
            self.graph.output(&name, x);
        }
        let inputs = self.last_dim(x);
        let shape = [inputs, spec.units];
        let (kernel, transpose_b) = match &spec.tied {
            Some(path) => (self.tied(path, &[spec.units, inputs])?, true),
            None => {
                let kernel = self.parameter("kernel", &shape, spec.kernel_initializer)?;
                let start = self.kernel_start(x, &shape, spec.kernel_initializer);
                if let Some((_, drawn)) = self.starts.last_mut() {
                    *drawn = start;
                }
                (kernel, false)
            }
        };
        let y = self.product(at, kernel, transpose_b)?;
        let fans = Fans::of_kernel(&shape);
        self.finish(y, spec.bias.then_some((spec.bias_initializer, fans)), spec.activation)
    }

    fn custom(&mut self, layer: &dyn CustomLayer, at: At) -> Result<At, GraphError> {
        let outer = std::mem::replace(&mut self.mask, at.mask);
        let built = layer.build(self, at.x);
        self.mask = outer;
        let x = built?;
        let (read, given) = (self.graph.shape(at.x), self.graph.shape(x));
        if given.first() != read.first() {
            return Err(GraphError::new(format!(
                "gives {given:?} for an input of {read:?}: the first dim must stay the batch"
            )));
        }
        match at.mask {
            Some(mask) if layer.keeps_time() => {
                if given.get(..2) != Some(self.graph.shape(mask)) {
                    return Err(GraphError::new(format!(
                        "gives {given:?} for a sequence {read:?}, without its positions"
                    ))
                    .help("let keeps_time say no where a layer sums over the positions"));
                }
                Ok(at.with(x))
            }
            _ => Ok(At { x, mask: None }),
        }
    }

    fn residual(&mut self, spec: &ResidualSpec, at: At) -> Result<At, GraphError> {
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
    fn dropped_path(&mut self, x: TensorId, rate: f64) -> Result<TensorId, GraphError> {
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
    fn multiplied(&mut self, layers: &[LayerSpec], at: At) -> Result<At, GraphError> {
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
    fn branches(&mut self, spec: &ConcatSpec, at: At) -> Result<At, GraphError> {
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

    /// The table of the embedding at that path, for another layer that learns it too.
    fn tied(&self, path: &str, shape: &[usize]) -> Result<TensorId, GraphError> {
        let table = self.graph.find(&format!("{path}.table")).ok_or_else(|| {
            GraphError::new(format!("is tied to {path}, which is no embedding before it"))
                .help("name an embedding by its path, such as layers.0.embedding")
        })?;
        match self.graph.shape(table) == shape {
            true => Ok(table),
            false => Err(GraphError::new(format!(
                "is tied to {path}, whose table is {:?} and not {shape:?}",
                self.graph.shape(table)
            ))),
        }
    }

    /// Gives a name to what an `encode` layer has made.
    pub(crate) fn name_input(&mut self, name: &str, at: At) -> Result<(), GraphError> {
        if self.inputs.iter().any(|(own, _)| own == name) {
            return Err(GraphError::new(format!("the name \"{name}\" is taken"))
                .help("give it another name, also not that of an input"));
        }
        self.inputs.push((name.to_owned(), at));
        Ok(())
    }

    pub(crate) fn input(&self, name: &str) -> Result<At, GraphError> {
        let found = self.inputs.iter().find(|(own, _)| own == name);
        found.map(|&(_, at)| at).ok_or_else(|| {
            let known: Vec<&str> = self.inputs.iter().map(|(name, _)| name.as_str()).collect();
            GraphError::new(format!("the model has no input \"{name}\""))
                .help(format!("its inputs are {}", known.join(", ")))
        })
    }

    /// The features that are no ids, then a row of a table for each that is one.
    fn entity_embedding(
        &mut self,
        x: TensorId,
        spec: &EntityEmbeddingSpec,
    ) -> Result<TensorId, GraphError> {
        let shape = self.graph.shape(x).to_vec();
        let ids = spec.num_ids();
        let &[batch, features] = shape.as_slice() else {
            let found = format!("takes features [batch, features], but its input is {shape:?}");
            return Err(GraphError::new(found).help("put flatten before it"));
        };
        if features < ids {
            let found = format!("has tables for {ids} ids, but its input has {features} features");
            return Err(GraphError::new(found).help(
                "give vocabulary one number for each feature that is an id; they come last",
            ));
        }
        let numbers = features - ids;
        let mut parts = Vec::new();
        if numbers > 0 {
            let op = Layout::Slice { start: vec![0, 0], size: vec![batch, numbers] };
            parts.push(self.graph.apply(op, &[x])?);
        }
        let mut start = numbers;
        for (i, (rows, tokens)) in spec.tables().enumerate() {
            let op = Layout::Slice { start: vec![0, start], size: vec![batch, tokens] };
            start += tokens;
            let ids = self.graph.apply(op, &[x])?;
            let table =
                self.parameter(&format!("table{i}"), &[rows, spec.units], spec.initializer)?;
            parts.push(if tokens > 1 {
                self.graph.apply(ops::Embedding::Bag, &[table, ids])?
            } else {
                let flat = self.reshaped(ids, vec![batch])?;
                self.graph.apply(ops::Embedding::Rows, &[table, flat])?
            });
        }
        let y = match parts.as_slice() {
            [one] => *one,
            parts => self.graph.apply(Layout::Concat { axis: 1 }, parts)?,
        };
        // What is no id stays where it is.
        self.follow_hats(x, y, 0);
        Ok(y)
    }

    pub(crate) fn scaled(&mut self, x: TensorId, by: f64) -> Result<TensorId, GraphError> {
        match by {
            1.0 => Ok(x),
            by => self.graph.apply(Unary::Affine { scale: by as f32, shift: 0.0 }, &[x]),
        }
    }

    pub(crate) fn last_dim(&self, x: TensorId) -> usize {
        self.graph.shape(x).last().copied().unwrap_or(1)
    }

    /// Batch, rows, columns, channels, if it is a batch of images.
    fn image(&self, x: TensorId) -> Result<[usize; 4], GraphError> {
        let shape = self.graph.shape(x);
        <[usize; 4]>::try_from(shape).map_err(|_| {
            GraphError::new(format!(
                "takes images [batch, height, width, channels], but its input is {shape:?}"
            ))
            .help("put it before flatten, or insert { reshape = { shape = [h, w, c] } } before it")
        })
    }

    pub(crate) fn reshaped(
        &mut self,
        x: TensorId,
        shape: Vec<usize>,
    ) -> Result<TensorId, GraphError> {
        if self.graph.shape(x) == shape {
            return Ok(x);
        }
        self.graph.apply(Layout::Reshape(shape), &[x])
    }

    /// Bias and activation, where there are any.
    pub(crate) fn finish(
        &mut self,
        mut y: TensorId,
        bias: Option<(Initializer, Fans)>,
        activation: Activation,
    ) -> Result<TensorId, GraphError> {
        if let Some((initializer, fans)) = bias {
            let bias = self.graph.parameter("bias", &[self.last_dim(y)]);
            self.starts.push((bias, Start::Drawn(initializer, fans)));
            y = self.graph.apply(Binary::Add, &[y, bias])?;
        }
        activation.build(self.graph, y)
    }

    fn convolve(
        &mut self,
        x: TensorId,
        kernel: TensorId,
        window: Window,
        dilation: [usize; 2],
        groups: usize,
    ) -> Result<TensorId, GraphError> {
        let [_, height, width, channels] = self.image(x)?;
        let filters = self.last_dim(kernel);
        if !channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
            return Err(GraphError::new(format!(
                "{groups} groups divide neither or only one of {channels} channels and {filters} filters"
            ))
            .help("choose groups, channels and filters so that groups divides both"));
        }
        let Window { size, stride, padding } = window;
        let padding = padding.resolve([height, width], size, stride, dilation);
        self.graph.apply(Conv2d { stride, dilation, padding, groups }, &[x, kernel])
    }

    fn pool(&self, x: TensorId, spec: &PoolSpec) -> Result<Pool2d, GraphError> {
        let [_, height, width, _] = self.image(x)?;
        let stride = spec.stride.unwrap_or(spec.size);
        let padding = spec.padding.resolve([height, width], spec.size, stride, [1, 1]);
        Ok(Pool2d { size: spec.size, stride, padding, count_padding: false })
    }

    fn global_pool(&mut self, x: TensorId, reduction: Reduction) -> Result<TensorId, GraphError> {
        self.image(x)?;
        self.graph.apply(Reduce::Axes { reduction, axes: vec![1, 2], keep_dims: false }, &[x])
    }

    fn batch_norm(&mut self, x: TensorId, spec: &BatchNormSpec) -> Result<TensorId, GraphError> {
        let channels = self.last_dim(x);
        let gamma = self.parameter("gamma", &[channels], spec.gamma_initializer)?;
        let beta = self.parameter("beta", &[channels], Initializer::Zeros)?;
        let running = self.graph.state("moments", &[2, channels]);
        self.starts.push((running, Start::Moments));
        let epsilon = spec.epsilon as f32;
        if !self.learns() {
            return self.graph.apply(BatchNorm::Eval { epsilon }, &[x, running, gamma, beta]);
        }
        let count = self.graph.tensor(x).len() / channels.max(1);
        if count < 2 {
            return Err(GraphError::new("one value for each channel has no variance to train on")
                .help("use a batch size of at least 2, also for the last batch, or layer_norm"));
        }
        let moments = self.graph.apply(BatchNorm::Moments, &[x])?;
        let momentum = (1.0 - spec.momentum) as f32;
        let update = BatchNorm::UpdateMoments { momentum, count };
        let updated = self.graph.apply(update, &[running, moments])?;
        self.graph.assignments.push((running, updated));
        self.graph.apply(BatchNorm::Train { epsilon }, &[x, moments, gamma, beta])
    }
}

struct Window {
    size: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
}
