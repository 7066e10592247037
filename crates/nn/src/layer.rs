//! The layers of a model and their options, as a recipe writes them.
//!
//! Options are named as in Keras, with PyTorch's names accepted where they differ; defaults are
//! Keras's and stand beside each option.

use crate::activation::Activation;
use crate::attention::{AttentionSpec, EncodeSpec, PositionsSpec};
use crate::copying::CopySpec;
use crate::custom::{Custom, CustomLayer, write_layer};
use crate::embedding::{EmbeddingBagSpec, EmbeddingSpec, EntityEmbeddingSpec};
use crate::form::count;
use crate::images::{BatchNormSpec, Conv2dSpec, DepthwiseConv2dSpec, PoolSpec};
use crate::initializers::Initializer;
use crate::joins::{ConcatSpec, ResidualSpec};
use crate::recurrent::{GruSpec, LstmSpec};
use crate::time::Conv1dSpec;
use crate::transducer::JoinerSpec;
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
    /// Writes a label or none at each position, by what it reads and by the labels before. For the loss `transducer`.
    Joiner(JoinerSpec),
    /// Adds a row of a table to each position of a sequence.
    Positions(PositionsSpec),
    /// The pixels of an image, row by row, as the positions of a sequence: what attention reads in a vision transformer.
    ImageToSequence {
        /// Whether a learned position comes before them, whose output the classes are read from (Dosovitskiy et al. 2020); no by
        /// default.
        #[serde(default)]
        class_token: bool,
    },
    /// The first position of a sequence alone.
    FirstPosition {},
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
            Joiner(_) => "joiner",
            Positions(_) => "positions",
            ImageToSequence { .. } => "image_to_sequence",
            FirstPosition {} => "first_position",
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

    /// Whether it computes each position of a sequence in the same way, from that position alone.
    pub(crate) fn is_by_position(&self) -> bool {
        use LayerSpec::*;
        matches!(
            self,
            Dense(_)
                | LayerNorm { .. }
                | RmsNorm { .. }
                | Dropout { .. }
                | Activation(_)
                | Softmax {}
                | LayerScale { .. }
        )
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
    Gru(GruSpec), Lstm(LstmSpec), Joiner(JoinerSpec),
}

fn layer_scale() -> f64 {
    1e-6
}

fn yes() -> bool {
    true
}

fn keras_epsilon() -> f64 {
    1e-3
}

fn rms_epsilon() -> f64 {
    1e-6
}

fn zeros() -> Initializer {
    Initializer::Zeros
}
