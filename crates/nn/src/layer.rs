//! The layers of a model and their options, as a recipe writes them.
//!
//! Options are named as in Keras, with PyTorch's names accepted where they differ; defaults are
//! Keras's and stand beside each option.

use crate::activation::Activation;
use crate::attention::{AttentionSpec, EncodeSpec, PositionsSpec};
use crate::copying::CopySpec;
use crate::custom::{Custom, CustomLayer, write_layer};
use crate::form::{count, optional_pair, pair};
use crate::initializers::Initializer;
use crate::padding::Padding;
use crate::recurrent::{GruSpec, LstmSpec};
use serde::{Deserialize, Serialize};

/// One layer: `{ dense = { units = 10 } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerSpec {
    /// Flattens all dimensions but the batch into one.
    Flatten {},
    /// Changes the shape of each sample; the number of elements stays the same.
    Reshape {
        /// The new dimensions, without the batch.
        shape: Vec<usize>,
    },
    /// Fully connected layer over the last dimension.
    Dense(DenseSpec),
    /// 2-D convolution over images.
    Conv2d(Conv2dSpec),
    /// Convolution over the positions of a sequence.
    Conv1d(Conv1dSpec),
    /// 2-D convolution of each channel separately.
    DepthwiseConv2d(DepthwiseConv2dSpec),
    /// Maximum over each window.
    MaxPool2d(PoolSpec),
    /// Mean over each window; padding is not counted, as in Keras.
    AvgPool2d(PoolSpec),
    /// Mean over rows and columns, or over the positions of a sequence up to its end.
    GlobalAvgPool {},
    /// Maximum over rows and columns, or over the positions of a sequence up to its end.
    GlobalMaxPool {},
    /// Batch normalization over all dimensions but the last.
    BatchNorm(BatchNormSpec),
    /// Layer normalization over the last dimension.
    LayerNorm {
        /// Added to the variance; 1e-3 by default.
        #[serde(default = "keras_epsilon")]
        epsilon: f64,
    },
    /// Root-mean-square normalization over the last dimension.
    RmsNorm {
        /// Added to the mean square; 1e-6 by default.
        #[serde(default = "rms_epsilon")]
        epsilon: f64,
    },
    /// Sets random elements to zero during training.
    Dropout {
        /// Probability that an element is set to zero.
        rate: f64,
    },
    /// An activation as its own layer: `{ activation = "relu" }`.
    Activation(Activation),
    /// Softmax over the last dimension, as its own layer.
    Softmax {},
    /// Looks up a row of a table for each integer id.
    Embedding(EmbeddingSpec),
    /// The mean of a table's rows for the integer ids of a sequence, in any order; an id of 0 adds nothing.
    EmbeddingBag(EmbeddingBagSpec),
    /// Replaces the last features, which are ids, with rows of tables.
    EntityEmbedding(EntityEmbeddingSpec),
    /// Each position of a sequence reads all of its own or of another sequence.
    Attention(AttentionSpec),
    /// Gated recurrent unit: a state that is carried from position to position of a sequence.
    Gru(GruSpec),
    /// Long short-term memory: a state and a cell that are carried from position to position of a sequence.
    Lstm(LstmSpec),
    /// Layers over another input of the model, whose output attention can read; passes on what it reads itself.
    Encode(EncodeSpec),
    /// Mixes what its layers would write with tokens of a source.
    Copy(CopySpec),
    /// Adds a row of a table to each position of a sequence.
    Positions(PositionsSpec),
    /// `activation(layers(x) + shortcut(x))`
    Residual(ResidualSpec),
    /// The input, multiplied by what layers make of it, such as a squeeze-and-excite block.
    Multiply {
        /// The layers. Of images they may give a value for each channel.
        layers: Vec<LayerSpec>,
    },
    /// Multiplies each value of the last dimension by a learned number (layer scale).
    LayerScale {
        /// What the numbers start as; 1e-6 by default.
        #[serde(default = "layer_scale")]
        initial: f64,
    },
    /// The outputs of several branches, joined along the last dimension.
    Concat(ConcatSpec),
    /// Repeats a list of layers; each repetition has its own parameters.
    Repeat {
        /// Number of repetitions.
        #[serde(deserialize_with = "count")]
        times: usize,
        /// The layers to repeat.
        layers: Vec<LayerSpec>,
    },
    /// A layer of another crate, from Rust alone: no recipe has one.
    #[serde(skip_deserializing, serialize_with = "write_layer")]
    Custom(Custom<dyn CustomLayer>),
}

impl LayerSpec {
    /// Its name in recipes and parameter paths.
    pub fn kind(&self) -> &str {
        use LayerSpec::*;
        match self {
            Flatten {} => "flatten",
            Reshape { .. } => "reshape",
            Dense(_) => "dense",
            Conv2d(_) => "conv2d",
            Conv1d(_) => "conv1d",
            DepthwiseConv2d(_) => "depthwise_conv2d",
            MaxPool2d(_) => "max_pool2d",
            AvgPool2d(_) => "avg_pool2d",
            GlobalAvgPool {} => "global_avg_pool",
            GlobalMaxPool {} => "global_max_pool",
            BatchNorm(_) => "batch_norm",
            LayerNorm { .. } => "layer_norm",
            RmsNorm { .. } => "rms_norm",
            Dropout { .. } => "dropout",
            Activation(_) => "activation",
            Softmax {} => "softmax",
            Embedding(_) => "embedding",
            EmbeddingBag(_) => "embedding_bag",
            EntityEmbedding(_) => "entity_embedding",
            Attention(_) => "attention",
            Gru(_) => "gru",
            Lstm(_) => "lstm",
            Encode(_) => "encode",
            Copy(_) => "copy",
            Positions(_) => "positions",
            Residual(_) => "residual",
            Multiply { .. } => "multiply",
            LayerScale { .. } => "layer_scale",
            Concat(_) => "concat",
            Repeat { .. } => "repeat",
            Custom(layer) => layer.get().name(),
        }
    }
}

impl LayerSpec {
    /// The sequences of layers inside this one, with their names in paths.
    pub fn nested(&self) -> Vec<(String, &[LayerSpec])> {
        match self {
            LayerSpec::Repeat { layers, .. }
            | LayerSpec::Multiply { layers }
            | LayerSpec::Encode(EncodeSpec { layers, .. })
            | LayerSpec::Copy(CopySpec { layers, .. }) => vec![("layers".into(), layers)],
            LayerSpec::Residual(block) => {
                vec![("layers".into(), &block.layers), ("shortcut".into(), &block.shortcut)]
            }
            LayerSpec::Concat(concat) => {
                let branches = concat.branches.iter().enumerate();
                branches.map(|(i, b)| (format!("branches[{i}].layers"), &b.layers[..])).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether it, or a layer inside it, is one of those.
    pub fn any(&self, is: &dyn Fn(&LayerSpec) -> bool) -> bool {
        is(self) || self.nested().iter().any(|(_, layers)| layers.iter().any(|l| l.any(is)))
    }
}

/// Options of a dense layer. Kernel `[in, units]`, bias `[units]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenseSpec {
    /// Number of outputs.
    #[serde(deserialize_with = "count")]
    pub units: usize,
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
    /// The path of an embedding, such as `layers.0.embedding`, whose table (transposed) is the kernel: both
    /// learn the same weights. The layer has a kernel of its own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tied: Option<String>,
}

impl DenseSpec {
    /// This many linear units, the rest by default.
    pub fn new(units: usize) -> DenseSpec {
        DenseSpec {
            units,
            activation: Activation::Linear,
            bias: true,
            kernel_initializer: Initializer::default(),
            bias_initializer: zeros(),
            tied: None,
        }
    }
}

/// Options of a convolution. Kernel `[rows, columns, channels / groups, filters]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2dSpec {
    /// Number of output channels.
    #[serde(deserialize_with = "count")]
    pub filters: usize,
    /// Rows and columns of the window, or one number for both.
    #[serde(deserialize_with = "pair", alias = "kernel_size")]
    pub kernel: [usize; 2],
    /// Stride of the window; 1 by default.
    #[serde(default = "ones", deserialize_with = "pair", alias = "strides")]
    pub stride: [usize; 2],
    /// Distance between the window's elements; 1 by default.
    #[serde(default = "ones", deserialize_with = "pair", alias = "dilation_rate")]
    pub dilation: [usize; 2],
    /// Padding around the image; `"valid"` by default.
    #[serde(default)]
    pub padding: Padding,
    /// Number of channel groups; 1 by default.
    #[serde(default = "one", deserialize_with = "count")]
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

impl Conv2dSpec {
    /// This many filters of `kernel` x `kernel`, the rest by default.
    pub fn new(filters: usize, kernel: usize) -> Conv2dSpec {
        Conv2dSpec {
            filters,
            kernel: [kernel, kernel],
            stride: ones(),
            dilation: ones(),
            padding: Padding::Valid,
            groups: 1,
            activation: Activation::Linear,
            bias: true,
            kernel_initializer: Initializer::default(),
            bias_initializer: zeros(),
        }
    }
}

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

/// Options of a depthwise convolution. Kernel `[rows, columns, 1, channels * depth_multiplier]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepthwiseConv2dSpec {
    /// Rows and columns of the window, or one number for both.
    #[serde(deserialize_with = "pair", alias = "kernel_size")]
    pub kernel: [usize; 2],
    /// Stride of the window; 1 by default.
    #[serde(default = "ones", deserialize_with = "pair", alias = "strides")]
    pub stride: [usize; 2],
    /// Distance between the window's elements; 1 by default.
    #[serde(default = "ones", deserialize_with = "pair", alias = "dilation_rate")]
    pub dilation: [usize; 2],
    /// Padding around the image; `"valid"` by default.
    #[serde(default)]
    pub padding: Padding,
    /// Number of outputs per input channel; 1 by default.
    #[serde(default = "one", deserialize_with = "count")]
    pub depth_multiplier: usize,
    /// Activation of the output; linear by default.
    #[serde(default)]
    pub activation: Activation,
    /// Whether a bias is added; yes by default.
    #[serde(default = "yes", alias = "use_bias")]
    pub bias: bool,
    /// How the kernel is initialized; Glorot uniform by default.
    #[serde(default, alias = "depthwise_initializer")]
    pub kernel_initializer: Initializer,
    /// How the bias is initialized; zeros by default.
    #[serde(default = "zeros")]
    pub bias_initializer: Initializer,
}

/// Options of a pooling layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolSpec {
    /// Rows and columns of the window, or one number for both; 2 by default.
    #[serde(default = "twos", deserialize_with = "pair", alias = "pool_size")]
    pub size: [usize; 2],
    /// Stride of the window; its size by default.
    #[serde(
        default,
        deserialize_with = "optional_pair",
        alias = "strides",
        skip_serializing_if = "Option::is_none"
    )]
    pub stride: Option<[usize; 2]>,
    /// Padding around the image; `"valid"` by default.
    #[serde(default)]
    pub padding: Padding,
}

impl PoolSpec {
    /// Windows of `size` x `size` side by side.
    pub fn new(size: usize) -> PoolSpec {
        PoolSpec { size: [size, size], stride: None, padding: Padding::Valid }
    }
}

/// Options of batch normalization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchNormSpec {
    /// Share of the old running statistics that is kept at each step; 0.99 by default, as in Keras
    /// (PyTorch's momentum is one minus this).
    #[serde(default = "moments_momentum")]
    pub momentum: f64,
    /// Added to the variance; 1e-3 by default.
    #[serde(default = "keras_epsilon")]
    pub epsilon: f64,
    /// How the scale is initialized; ones by default. Zeros in the last normalization of a residual
    /// block make the block start as the identity.
    #[serde(default = "unit")]
    pub gamma_initializer: Initializer,
}

impl Default for BatchNormSpec {
    fn default() -> BatchNormSpec {
        BatchNormSpec {
            momentum: moments_momentum(),
            epsilon: keras_epsilon(),
            gamma_initializer: unit(),
        }
    }
}

/// Options of an embedding. Table `[vocabulary, units]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingSpec {
    /// Rows of the table; ids are 0 to `vocabulary` - 1.
    #[serde(deserialize_with = "count", alias = "input_dim", alias = "num_embeddings")]
    pub vocabulary: usize,
    /// Length of a row.
    #[serde(deserialize_with = "count", alias = "output_dim", alias = "embedding_dim")]
    pub units: usize,
    /// How the table is initialized; uniform from -0.05 to 0.05 by default.
    #[serde(default = "uniform")]
    pub initializer: Initializer,
    /// The path of another embedding, such as `layers.0.embedding`, whose table is used. The layer has a table of its own
    /// by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tied: Option<String>,
    /// What the rows are multiplied by; 1 by default.
    #[serde(default = "unscaled", skip_serializing_if = "is_unscaled")]
    pub scale: f64,
}

fn unscaled() -> f64 {
    1.0
}

fn is_unscaled(scale: &f64) -> bool {
    *scale == 1.0
}

impl EmbeddingSpec {
    /// A table of this many rows and columns.
    pub fn new(vocabulary: usize, units: usize) -> EmbeddingSpec {
        EmbeddingSpec { vocabulary, units, initializer: uniform(), tied: None, scale: unscaled() }
    }
}

/// Options of an embedding of bags. Table `[vocabulary, units]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingBagSpec {
    /// Rows of the table; ids are 0 to `vocabulary` - 1.
    #[serde(deserialize_with = "count", alias = "num_embeddings")]
    pub vocabulary: usize,
    /// Length of a row.
    #[serde(deserialize_with = "count", alias = "embedding_dim")]
    pub units: usize,
    /// How the table is initialized; uniform from -0.05 to 0.05 by default.
    #[serde(default = "uniform")]
    pub initializer: Initializer,
}

impl EmbeddingBagSpec {
    /// A table of this many rows and columns.
    pub fn new(vocabulary: usize, units: usize) -> EmbeddingBagSpec {
        EmbeddingBagSpec { vocabulary, units, initializer: uniform() }
    }
}

/// Entity embeddings (Guo and Berkhahn 2016). The last features of `[batch, features]` are ids,
/// whole numbers from 0, one for each table; each is replaced by a row of `units` numbers of its
/// table. The features before them stay as they are. Table `i` has the shape `[vocabulary[i],
/// units]`. A table with several tokens, such as the words of a text, contributes the sum of their
/// rows; its row 0 stands for an empty place and contributes zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntityEmbeddingSpec {
    /// Number of rows of each table; ids are smaller than that.
    pub vocabulary: Vec<usize>,
    /// Number of features (tokens) of each table; 1 for all by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<usize>,
    /// Length of a row.
    #[serde(deserialize_with = "count")]
    pub units: usize,
    /// How the table is initialized; uniform from -0.05 to 0.05 by default.
    #[serde(default = "uniform")]
    pub initializer: Initializer,
}

impl EntityEmbeddingSpec {
    /// A table of so many rows for each of the last features.
    pub fn new(vocabulary: &[usize], units: usize) -> EntityEmbeddingSpec {
        let (vocabulary, tokens) = (vocabulary.to_vec(), Vec::new());
        EntityEmbeddingSpec { vocabulary, tokens, units, initializer: uniform() }
    }

    /// Rows and features of each table.
    pub fn tables(&self) -> impl Iterator<Item = (usize, usize)> {
        let tokens = self.tokens.iter().copied().chain(std::iter::repeat(1));
        self.vocabulary.iter().copied().zip(tokens)
    }

    /// How many of the last features are ids.
    pub fn num_ids(&self) -> usize {
        self.tables().map(|(_, tokens)| tokens).sum()
    }
}

/// A residual block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidualSpec {
    /// The layers of the main path.
    pub layers: Vec<LayerSpec>,
    /// The layers of the shortcut. Empty by default, which is the input itself.
    #[serde(default)]
    pub shortcut: Vec<LayerSpec>,
    /// Activation of the sum; linear by default.
    #[serde(default)]
    pub activation: Activation,
    /// Probability that a sample goes through the shortcut alone during training (stochastic depth, Huang et al. 2016); 0 by
    /// default.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drop_path: f64,
}

impl ResidualSpec {
    /// The sum of layers and what they read.
    pub fn new(layers: Vec<LayerSpec>) -> ResidualSpec {
        ResidualSpec { layers, shortcut: vec![], activation: Activation::Linear, drop_path: 0.0 }
    }
}

/// Several branches side by side, whose outputs are joined along the last dim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConcatSpec {
    /// The branches, in the order in which their outputs are joined.
    pub branches: Vec<BranchSpec>,
}

impl ConcatSpec {
    /// No branches yet.
    pub fn new() -> ConcatSpec {
        ConcatSpec { branches: Vec::new() }
    }

    /// Adds a branch of layers that reads what the concat layer reads.
    #[must_use]
    pub fn branch(mut self, layers: Vec<LayerSpec>) -> ConcatSpec {
        self.branches.push(BranchSpec { input: None, layers });
        self
    }

    /// Adds a branch that reads an input of the model by its name, and the layers that it goes through;
    /// none pass the input on.
    ///
    /// ```
    /// use tidemill_nn::{Activation, ConcatSpec, InputSpec, Model, TokensSpec};
    /// let text = InputSpec::Tokens(TokensSpec::new(8, 100));
    /// let inputs = ConcatSpec::new()
    ///     .read("age", vec![])
    ///     .read("text", Model::of(text).embedding(4).global_avg_pool().layers);
    /// let model = Model::inputs([("age", InputSpec::Features(1)), ("text", text)])
    ///     .layer(inputs)
    ///     .dense(2, Activation::Linear);
    /// assert_eq!(model.output_shape()?, [2]);
    /// # Ok::<(), tidemill_graph::GraphError>(())
    /// ```
    #[must_use]
    pub fn read(mut self, input: impl Into<String>, layers: Vec<LayerSpec>) -> ConcatSpec {
        self.branches.push(BranchSpec { input: Some(input.into()), layers });
        self
    }
}

impl Default for ConcatSpec {
    fn default() -> ConcatSpec {
        ConcatSpec::new()
    }
}

/// One branch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BranchSpec {
    /// The named input of the model that the branch reads. By default the branch reads what the
    /// layer reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The layers of the branch; none by default, which passes the input on.
    #[serde(default)]
    pub layers: Vec<LayerSpec>,
}

macro_rules! layer_from {
    ($($variant:ident($spec:ty)),* $(,)?) => {$(
        impl From<$spec> for LayerSpec {
            fn from(spec: $spec) -> LayerSpec {
                LayerSpec::$variant(spec)
            }
        }
    )*};
}
layer_from! {
    Dense(DenseSpec), Conv2d(Conv2dSpec), DepthwiseConv2d(DepthwiseConv2dSpec),
    BatchNorm(BatchNormSpec), Activation(Activation), Embedding(EmbeddingSpec),
    EmbeddingBag(EmbeddingBagSpec), EntityEmbedding(EntityEmbeddingSpec), Residual(ResidualSpec), Conv1d(Conv1dSpec),
    Concat(ConcatSpec), Attention(AttentionSpec), Encode(EncodeSpec), Positions(PositionsSpec), Copy(CopySpec),
    Gru(GruSpec), Lstm(LstmSpec),
}

fn is_no(flag: &bool) -> bool {
    !flag
}

fn is_one(n: &usize) -> bool {
    *n == 1
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

fn layer_scale() -> f64 {
    1e-6
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

fn ones() -> [usize; 2] {
    [1, 1]
}

fn twos() -> [usize; 2] {
    [2, 2]
}

fn keras_epsilon() -> f64 {
    1e-3
}

fn rms_epsilon() -> f64 {
    1e-6
}

fn moments_momentum() -> f64 {
    0.99
}

fn zeros() -> Initializer {
    Initializer::Zeros
}

fn unit() -> Initializer {
    Initializer::Ones
}

fn uniform() -> Initializer {
    Initializer::Uniform { min: -0.05, max: 0.05 }
}
