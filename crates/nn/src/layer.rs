//! The layers of a model and their options, as a recipe writes them.
//!
//! Options are named as in Keras, with PyTorch's names accepted where they differ; defaults are
//! Keras's and stand beside each option.

use crate::activation::Activation;
use crate::form::{count, optional_pair, pair};
use crate::initializers::Initializer;
use crate::padding::Padding;
use serde::{Deserialize, Serialize};

/// One layer: `{ dense = { units = 10 } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerSpec {
    /// All dims but the batch become one.
    Flatten {},
    /// The dims of each sample, of the same number of elements.
    Reshape {
        /// Dims without the batch.
        shape: Vec<usize>,
    },
    /// Fully connected, over the last dim.
    Dense(DenseSpec),
    /// Convolution over images.
    Conv2d(Conv2dSpec),
    /// Convolution over the positions of a sequence.
    Conv1d(Conv1dSpec),
    /// Convolution of each channel by itself.
    DepthwiseConv2d(DepthwiseConv2dSpec),
    /// Maximum of each window.
    MaxPool2d(PoolSpec),
    /// Mean of each window; padding does not count, as in Keras.
    AvgPool2d(PoolSpec),
    /// Mean over rows and columns, or over the positions of a sequence up to its end.
    GlobalAvgPool {},
    /// Maximum over rows and columns, or over the positions of a sequence up to its end.
    GlobalMaxPool {},
    /// Batch normalization over all dims but the last.
    BatchNorm(BatchNormSpec),
    /// Layer normalization over the last dim.
    LayerNorm {
        /// Added to the variance; 1e-3 by default.
        #[serde(default = "keras_epsilon")]
        epsilon: f64,
    },
    /// Root-mean-square normalization over the last dim.
    RmsNorm {
        /// Added to the mean square; 1e-6 by default.
        #[serde(default = "rms_epsilon")]
        epsilon: f64,
    },
    /// Zeros elements in training.
    Dropout {
        /// Probability of a zero.
        rate: f64,
    },
    /// An activation as its own layer: `{ activation = "relu" }`.
    Activation(Activation),
    /// Softmax over the last dim, as its own layer.
    Softmax {},
    /// Rows of a table by integer ids.
    Embedding(EmbeddingSpec),
    /// Rows of tables in place of the last features, which are ids.
    EntityEmbedding(EntityEmbeddingSpec),
    /// `activation(layers(x) + shortcut(x))`
    Residual(ResidualSpec),
    /// The outputs of several branches, joined along the last dim.
    Concat(ConcatSpec),
    /// The layers several times over, each time with parameters of their own.
    Repeat {
        /// How often.
        #[serde(deserialize_with = "count")]
        times: usize,
        /// What is repeated.
        layers: Vec<LayerSpec>,
    },
}

impl LayerSpec {
    /// Its name in recipes and parameter paths.
    pub fn kind(&self) -> &'static str {
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
            EntityEmbedding(_) => "entity_embedding",
            Residual(_) => "residual",
            Concat(_) => "concat",
            Repeat { .. } => "repeat",
        }
    }
}

impl LayerSpec {
    /// The sequences of layers inside this one, with their names in paths.
    pub fn nested(&self) -> Vec<(String, &[LayerSpec])> {
        match self {
            LayerSpec::Repeat { layers, .. } => vec![("layers".into(), layers)],
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
    /// Linear by default.
    #[serde(default)]
    pub activation: Activation,
    /// Whether a bias is added; yes by default.
    #[serde(default = "yes", alias = "use_bias")]
    pub bias: bool,
    /// Glorot uniform by default.
    #[serde(default)]
    pub kernel_initializer: Initializer,
    /// Zeros by default.
    #[serde(default = "zeros")]
    pub bias_initializer: Initializer,
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
    /// Window's rows and columns, or one number for both.
    #[serde(deserialize_with = "pair", alias = "kernel_size")]
    pub kernel: [usize; 2],
    /// Steps of the window; 1 by default.
    #[serde(default = "ones", deserialize_with = "pair", alias = "strides")]
    pub stride: [usize; 2],
    /// Distance of the window's elements; 1 by default.
    #[serde(default = "ones", deserialize_with = "pair", alias = "dilation_rate")]
    pub dilation: [usize; 2],
    /// `"valid"` by default.
    #[serde(default)]
    pub padding: Padding,
    /// Channel groups; 1 by default.
    #[serde(default = "one", deserialize_with = "count")]
    pub groups: usize,
    /// Linear by default.
    #[serde(default)]
    pub activation: Activation,
    /// Whether a bias is added; yes by default.
    #[serde(default = "yes", alias = "use_bias")]
    pub bias: bool,
    /// Glorot uniform by default.
    #[serde(default)]
    pub kernel_initializer: Initializer,
    /// Zeros by default.
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

/// Options of a convolution over a sequence `[batch, time, channels]`. Kernel
/// `[size, channels, filters]`. Padded so that the sequence stays as long as it is; what is beyond a
/// sample's end counts as 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv1dSpec {
    /// Number of output channels.
    #[serde(deserialize_with = "count")]
    pub filters: usize,
    /// Positions of the window.
    #[serde(deserialize_with = "count", alias = "kernel_size")]
    pub kernel: usize,
    /// Distance of the window's positions; 1 by default.
    #[serde(default = "one", deserialize_with = "count", alias = "dilation_rate")]
    pub dilation: usize,
    /// Linear by default.
    #[serde(default)]
    pub activation: Activation,
    /// Whether a bias is added; yes by default.
    #[serde(default = "yes", alias = "use_bias")]
    pub bias: bool,
    /// Glorot uniform by default.
    #[serde(default)]
    pub kernel_initializer: Initializer,
    /// Zeros by default.
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
    /// Window's rows and columns, or one number for both.
    #[serde(deserialize_with = "pair", alias = "kernel_size")]
    pub kernel: [usize; 2],
    /// Steps of the window; 1 by default.
    #[serde(default = "ones", deserialize_with = "pair", alias = "strides")]
    pub stride: [usize; 2],
    /// Distance of the window's elements; 1 by default.
    #[serde(default = "ones", deserialize_with = "pair", alias = "dilation_rate")]
    pub dilation: [usize; 2],
    /// `"valid"` by default.
    #[serde(default)]
    pub padding: Padding,
    /// Outputs for each input channel; 1 by default.
    #[serde(default = "one", deserialize_with = "count")]
    pub depth_multiplier: usize,
    /// Linear by default.
    #[serde(default)]
    pub activation: Activation,
    /// Whether a bias is added; yes by default.
    #[serde(default = "yes", alias = "use_bias")]
    pub bias: bool,
    /// Glorot uniform by default.
    #[serde(default, alias = "depthwise_initializer")]
    pub kernel_initializer: Initializer,
    /// Zeros by default.
    #[serde(default = "zeros")]
    pub bias_initializer: Initializer,
}

/// Options of a pooling layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolSpec {
    /// Window's rows and columns, or one number for both; 2 by default.
    #[serde(default = "twos", deserialize_with = "pair", alias = "pool_size")]
    pub size: [usize; 2],
    /// Steps of the window; its size by default.
    #[serde(
        default,
        deserialize_with = "optional_pair",
        alias = "strides",
        skip_serializing_if = "Option::is_none"
    )]
    pub stride: Option<[usize; 2]>,
    /// `"valid"` by default.
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
    /// Share of the old running statistics, 0.99 by default, as in Keras (PyTorch's momentum is
    /// one minus this).
    #[serde(default = "moments_momentum")]
    pub momentum: f64,
    /// Added to the variance; 1e-3 by default.
    #[serde(default = "keras_epsilon")]
    pub epsilon: f64,
    /// Ones by default. Zeros in a block's last norm make a residual block start as the identity.
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
    /// Rows of the table: ids are `0 .. vocabulary`.
    #[serde(deserialize_with = "count", alias = "input_dim", alias = "num_embeddings")]
    pub vocabulary: usize,
    /// Length of each row.
    #[serde(deserialize_with = "count", alias = "output_dim", alias = "embedding_dim")]
    pub units: usize,
    /// Uniform in -0.05 to 0.05 by default.
    #[serde(default = "uniform")]
    pub initializer: Initializer,
}

impl EmbeddingSpec {
    /// A table of this many rows and columns.
    pub fn new(vocabulary: usize, units: usize) -> EmbeddingSpec {
        EmbeddingSpec { vocabulary, units, initializer: uniform() }
    }
}

/// Options of entity embeddings (Guo and Berkhahn 2016): of `[batch, features]` the last features
/// are ids, whole numbers from 0, one for each table; `units` numbers of a table's row take the
/// place of each. The features before them stay as they are. Table `i` is `[vocabulary[i], units]`.
/// A table of several tokens, such as the words of a text, gives the sum of their rows; there row 0
/// is for places without a token, and gives nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntityEmbeddingSpec {
    /// Rows of each table: the ids of its feature are below it.
    pub vocabulary: Vec<usize>,
    /// Features of each table; 1 for all by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<usize>,
    /// Length of each row.
    #[serde(deserialize_with = "count")]
    pub units: usize,
    /// Uniform in -0.05 to 0.05 by default.
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
    /// The main path.
    pub layers: Vec<LayerSpec>,
    /// The other path; empty, the default, for the input itself.
    #[serde(default)]
    pub shortcut: Vec<LayerSpec>,
    /// Applied to the sum; linear by default.
    #[serde(default)]
    pub activation: Activation,
}

/// Several branches side by side, whose outputs are joined along the last dim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConcatSpec {
    /// The branches, in the order in which their outputs are joined.
    pub branches: Vec<BranchSpec>,
}

/// One branch of a [`ConcatSpec`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BranchSpec {
    /// The named input of the model that the branch reads; by default what the layer itself reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// What is done to it; nothing by default.
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
    EntityEmbedding(EntityEmbeddingSpec), Residual(ResidualSpec), Conv1d(Conv1dSpec),
    Concat(ConcatSpec),
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
