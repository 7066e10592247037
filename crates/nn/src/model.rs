//! A model: its input and its layers.

use crate::activation::Activation;
use crate::form::count;
use crate::hedge::HedgedDepth;
use crate::layer::{
    BatchNormSpec, Conv2dSpec, DenseSpec, EmbeddingSpec, EntityEmbeddingSpec, LayerSpec, PoolSpec,
};
use serde::{Deserialize, Serialize};

/// What one sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum InputSpec {
    /// An image. `x` is f32 `[batch, height, width, channels]`.
    Image {
        /// Height in pixels.
        #[serde(deserialize_with = "count")]
        height: usize,
        /// Width in pixels.
        #[serde(deserialize_with = "count")]
        width: usize,
        /// 1 for grey, 3 for colour.
        #[serde(deserialize_with = "count")]
        channels: usize,
    },
    /// A vector of this many numbers. `x` is f32 `[batch, features]`.
    Features(#[serde(deserialize_with = "count")] usize),
    /// A sequence of integer ids. `x` is i32 `[batch, length]`.
    Ids {
        /// Number of ids in a sample.
        #[serde(deserialize_with = "count")]
        length: usize,
        /// Number of different ids: they are 0 to `vocabulary` - 1.
        #[serde(deserialize_with = "count")]
        vocabulary: usize,
    },
}

impl InputSpec {
    /// Dims of one sample.
    pub fn shape(self) -> Vec<usize> {
        match self {
            InputSpec::Image { height, width, channels } => vec![height, width, channels],
            InputSpec::Features(features) => vec![features],
            InputSpec::Ids { length, .. } => vec![length],
        }
    }
}

/// A model as a recipe's `[model]` or the builder methods describe it.
///
/// ```
/// use tidemill_nn::{Activation, Model};
/// let model = Model::image(28, 28, 1).flatten().dense(128, Activation::Relu).dense(10, Activation::Linear);
/// assert_eq!(model.layers.len(), 3);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// The input: the shape and type of one sample.
    pub input: InputSpec,
    /// The layers, in order.
    pub layers: Vec<LayerSpec>,
    /// Hedged depth: an output at every hidden layer, weighted by how well each predicts; off by
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedged_depth: Option<HedgedDepth>,
}

impl ModelSpec {
    /// A model of images.
    pub fn image(height: usize, width: usize, channels: usize) -> ModelSpec {
        ModelSpec::of(InputSpec::Image { height, width, channels })
    }

    /// A model of feature vectors.
    pub fn features(features: usize) -> ModelSpec {
        ModelSpec::of(InputSpec::Features(features))
    }

    /// A model of id sequences.
    pub fn ids(length: usize, vocabulary: usize) -> ModelSpec {
        ModelSpec::of(InputSpec::Ids { length, vocabulary })
    }

    fn of(input: InputSpec) -> ModelSpec {
        ModelSpec { input, layers: vec![], hedged_depth: None }
    }

    /// Gives every hidden layer an output of its own, see [`crate::hedge`].
    pub fn hedged_depth(self, options: HedgedDepth) -> ModelSpec {
        ModelSpec { hedged_depth: Some(options), ..self }
    }

    /// Adds any layer, with all its options.
    pub fn layer(mut self, layer: impl Into<LayerSpec>) -> ModelSpec {
        self.layers.push(layer.into());
        self
    }

    /// Adds a flatten layer.
    pub fn flatten(self) -> ModelSpec {
        self.layer(LayerSpec::Flatten {})
    }

    /// Adds a dense layer.
    pub fn dense(self, units: usize, activation: Activation) -> ModelSpec {
        self.layer(DenseSpec { activation, ..DenseSpec::new(units) })
    }

    /// Adds a convolution of `kernel` x `kernel` with stride 1 and no padding.
    pub fn conv2d(self, filters: usize, kernel: usize, activation: Activation) -> ModelSpec {
        self.layer(Conv2dSpec { activation, ..Conv2dSpec::new(filters, kernel) })
    }

    /// Adds max pooling of windows side by side.
    pub fn max_pool2d(self, size: usize) -> ModelSpec {
        self.layer(LayerSpec::MaxPool2d(PoolSpec::new(size)))
    }

    /// Adds average pooling of windows side by side.
    pub fn avg_pool2d(self, size: usize) -> ModelSpec {
        self.layer(LayerSpec::AvgPool2d(PoolSpec::new(size)))
    }

    /// Adds the mean over rows and columns.
    pub fn global_avg_pool(self) -> ModelSpec {
        self.layer(LayerSpec::GlobalAvgPool {})
    }

    /// Adds batch normalization with Keras's defaults.
    pub fn batch_norm(self) -> ModelSpec {
        self.layer(BatchNormSpec::default())
    }

    /// Adds dropout.
    pub fn dropout(self, rate: f64) -> ModelSpec {
        self.layer(LayerSpec::Dropout { rate })
    }

    /// Adds an activation.
    pub fn activation(self, activation: Activation) -> ModelSpec {
        self.layer(activation)
    }

    /// The model's entity embeddings, if it has some.
    pub fn entity_embedding(&self) -> Option<&EntityEmbeddingSpec> {
        self.layers.iter().find_map(|layer| match layer {
            LayerSpec::EntityEmbedding(spec) => Some(spec),
            _ => None,
        })
    }

    /// Adds an embedding of the input's vocabulary.
    pub fn embedding(self, units: usize) -> ModelSpec {
        let vocabulary = match self.input {
            InputSpec::Ids { vocabulary, .. } => vocabulary,
            _ => 1,
        };
        self.layer(EmbeddingSpec::new(vocabulary, units))
    }
}
