//! From layers to ops: the [`Builder`], which goes through a model's layers, and the layers of no larger family.

use std::cell::Cell;

use crate::activation::Activation;
use crate::build::{LayerSummary, Mode, Start};
use crate::custom::CustomLayer;
use crate::decode::Decode;
use crate::frozen;
use crate::hats::Place;
use crate::hedge::Heads;
use crate::initializers::{Fans, Initializer};
use crate::layer::{DenseSpec, LayerSpec};
use tidemill_graph::{
    Binary, Graph, GraphError, Layout, Normalization, Pool, Reduction, Role, RowNorm, TensorId,
    Unary, ops,
};

/// What a layer reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    /// `[batch, ...]`, or `[batch, time, ...]` where there is a mask.
    pub(crate) x: TensorId,
    /// f32 `[batch, time]`: 1 up to each sample's end, then 0. An input of the graph, or ones where all samples have all positions.
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
    pub(crate) watch: bool,
    pub(crate) dropouts: u32,
    /// Paths of the layers that do not learn.
    pub(crate) frozen: Vec<String>,
    /// The model's inputs by name.
    pub(crate) inputs: Vec<(String, At)>,
    /// Where hats are, while a layer may read them.
    pub(crate) hats: Option<Place>,
    /// How many tokens those have that are tokens.
    pub(crate) vocabularies: Vec<(String, usize)>,
    pub(crate) starts: Vec<(TensorId, Start)>,
    pub(crate) layers: Vec<LayerSummary>,
    /// Set where a text is written token by token.
    pub(crate) decode: Option<Decode>,
    /// Set where a sequence comes in chunks: how many layers keep what they read of earlier positions.
    pub(crate) contexts: Option<usize>,
    /// What outputs can read: the features, and what the model's own dense layers give.
    pub(crate) depths: Vec<TensorId>,
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
    pub(crate) fn layers_from(
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
    pub(crate) fn heads(
        &mut self,
        last: &DenseSpec,
        output: TensorId,
    ) -> Result<Heads, GraphError> {
        // The last two are what the last layer reads and gives.
        let before = self.depths.len().saturating_sub(2);
        let layers = vec![LayerSpec::Dense(last.clone())];
        let mut outputs = Vec::new();
        for (k, x) in self.depths.clone().into_iter().take(before).enumerate() {
            if self.graph.shape(x).len() == 2 {
                let at = At { x, mask: None };
                outputs.push(self.sequence(&layers, &format!("heads.{k}"), at)?.x);
            }
        }
        outputs.push(output);
        let weights = self.graph.state("hedge.weights", &[outputs.len()]);
        self.starts.push((weights, Start::Even));
        Ok(Heads { outputs, weights, transitions: None })
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
            Joiner(spec) => self.joiner(*spec, at),
            Positions(spec) => self.positions(spec, at),
            ImageToSequence { class_token } => self.image_to_sequence(at.x, *class_token),
            FirstPosition {} => self.first_position(at),
            Dense(spec) => Ok(at.with(self.dense(spec, at)?)),
            Custom(layer) => self.custom(layer.get(), at),
            GlobalAvgPool {} if at.mask.is_some() => self.mean_over_time(at),
            GlobalMaxPool {} if at.mask.is_some() => self.max_over_time(at),
            Flatten {} | Reshape { .. } | BatchNorm(_) if at.mask.is_some() => {
                let what = match at.mask.is_some_and(|mask| self.is_ragged(mask)) {
                    true => "does not go with sequences, whose samples have different lengths",
                    false => "does not go with the positions of a sequence",
                };
                Err(GraphError::new(what).help(match layer {
                    BatchNorm(_) => "use layer_norm",
                    _ => "insert { global_avg_pool = {} }, { global_max_pool = {} } or { first_position = {} } before it",
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
            | Joiner(_)
            | Positions(_)
            | ImageToSequence { .. }
            | FirstPosition {}
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
            Conv2d(spec) => self.conv2d(x, spec),
            DepthwiseConv2d(spec) => self.depthwise_conv2d(x, spec),
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

    pub(crate) fn scaled(&mut self, x: TensorId, by: f64) -> Result<TensorId, GraphError> {
        match by {
            1.0 => Ok(x),
            by => self.graph.apply(Unary::Affine { scale: by as f32, shift: 0.0 }, &[x]),
        }
    }

    pub(crate) fn last_dim(&self, x: TensorId) -> usize {
        self.graph.shape(x).last().copied().unwrap_or(1)
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
}
