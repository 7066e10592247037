//! A model: its input and its layers.

use crate::activation::Activation;
use crate::bag::BagSpec;
use crate::ctc_encoder::CtcEncoderSpec;
use crate::embedding::{EmbeddingSpec, EntityEmbeddingSpec};
use crate::form::count;
use crate::from::FromSpec;
use crate::hats::HatsSpec;
use crate::hedge::HedgedDepth;
use crate::images::{BatchNormSpec, Conv2dSpec, PoolSpec};
use crate::layer::{DenseSpec, LayerSpec};
use crate::memory::MemorySpec;
use crate::transducer::TransducerSpec;
use crate::transformer::{DecoderOnlySpec, EncoderDecoderSpec};
use crate::vision::VisionSpec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidemill_fields::{DType, Dim, Field, Signature};

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
    /// A sequence of at most `length` integer ids, such as the words of a text. `x` is i32 `[batch,
    /// time]`, and layers know how long each sample is.
    Tokens(TokensSpec),
    /// A sequence of at most `length` rows of so many numbers, such as the spectra of a sound. `x` is f32 `[batch, time,
    /// values]`, and layers know how long each sample is.
    Frames {
        /// Maximum number of rows of a sample.
        #[serde(deserialize_with = "count")]
        length: usize,
        /// Numbers of a row.
        #[serde(deserialize_with = "count")]
        values: usize,
    },
}

/// A sequence of at most `length` integer ids, and which ids the words of a text become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokensSpec {
    /// Maximum number of ids of a sample; longer ones are cut off and counted.
    #[serde(deserialize_with = "count")]
    pub length: usize,
    /// Number of different ids: they are 0 to `vocabulary` - 1; 0 fills up shorter samples.
    #[serde(deserialize_with = "count")]
    pub vocabulary: usize,
    /// Words in a row that have an id together, beside those of each word and of fewer in a row; 1 by default, which is
    /// words alone. Only for a model that does not ask for the order of ids, such as `bag`.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub ngrams: usize,
    /// Characters of the shortest part of a word that has an id of its own; 0 by default, for no parts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub minn: usize,
    /// Characters of the longest part of a word that has an id of its own; 0 by default, for no parts. The start and the
    /// end of a word count as one character each, as in fastText.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub maxn: usize,
}

impl TokensSpec {
    /// An id for each word, and for nothing else.
    pub fn new(length: usize, vocabulary: usize) -> TokensSpec {
        TokensSpec { length, vocabulary, ngrams: 1, minn: 0, maxn: 0 }
    }

    /// Whether a text has ids beside those of its words.
    pub fn has_more_than_words(&self) -> bool {
        self.ngrams > 1 || self.maxn > 0
    }
}

fn one() -> usize {
    1
}

fn is_false(given: &bool) -> bool {
    !given
}

fn is_one(n: &usize) -> bool {
    *n == 1
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl InputSpec {
    /// Dims of one sample; of the longest one where samples differ.
    pub fn shape(self) -> Vec<usize> {
        match self {
            InputSpec::Image { height, width, channels } => vec![height, width, channels],
            InputSpec::Features(features) => vec![features],
            InputSpec::Ids { length, .. } | InputSpec::Tokens(TokensSpec { length, .. }) => {
                vec![length]
            }
            InputSpec::Frames { length, values } => vec![length, values],
        }
    }

    /// The number of different ids, where inputs are ids.
    pub fn vocabulary(self) -> Option<usize> {
        match self {
            InputSpec::Ids { vocabulary, .. }
            | InputSpec::Tokens(TokensSpec { vocabulary, .. }) => Some(vocabulary),
            InputSpec::Image { .. } | InputSpec::Features(_) | InputSpec::Frames { .. } => None,
        }
    }

    /// The field of that name that a sample has for it.
    pub fn field(self, name: &str) -> Field {
        match self {
            InputSpec::Tokens(tokens) => Field::ids(name, tokens.length),
            InputSpec::Ids { length, .. } => {
                Field { name: name.to_owned(), dtype: DType::I32, dims: vec![Dim::Fixed(length)] }
            }
            InputSpec::Frames { length, values } => Field {
                name: name.to_owned(),
                dtype: DType::F32,
                dims: vec![Dim::Time(length), Dim::Fixed(values)],
            },
            InputSpec::Image { .. } | InputSpec::Features(_) => Field::numbers(name, &self.shape()),
        }
    }

    /// No input of its own: the model names its inputs.
    pub(crate) fn none() -> InputSpec {
        InputSpec::Features(0)
    }

    fn is_none(&self) -> bool {
        *self == InputSpec::none()
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
    /// The input of a model with one input: the shape and type of one sample. Left out with
    /// `inputs`.
    #[serde(default = "InputSpec::none", skip_serializing_if = "InputSpec::is_none")]
    pub input: InputSpec,
    /// The inputs of a model with several, by name. The first layer is then a `concat` whose
    /// branches name them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, InputSpec>,
    /// The layers, in order. Left out where one of the next three keys stands for them.
    #[serde(default)]
    pub layers: Vec<LayerSpec>,
    /// Stands for the input and layers of a model of what comes next in a text. Off by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoder_only: Option<DecoderOnlySpec>,
    /// Stands for the inputs and layers of a model that reads one text and writes another. Off by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder_decoder: Option<EncoderDecoderSpec>,
    /// Stands for the input and layers of a model that classifies texts by which words they have. Off by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bag: Option<BagSpec>,
    /// A model of the labels of a sequence as it comes, such as the words of a sound, which stands for input and layers; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctc_encoder: Option<CtcEncoderSpec>,
    /// The same, where each label also depends on the labels before it; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transducer: Option<TransducerSpec>,
    /// A known model of images, such as `{ name = "resnet50", classes = 1000 }`, which stands for the layers, and for the input where that is
    /// left out; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision: Option<VisionSpec>,
    /// Where the initial weights come from, as far as names and shapes match: another run or a file. Random by
    /// default. For training on stored data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<FromSpec>,
    /// Layers that do not learn, by path, such as `layers.0` or `layers.2.residual`, with all layers
    /// inside them; `*` stands for any part of a path: their weights stay as they are, and batch norm uses its running statistics. None by
    /// default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<String>,
    /// Frozen layers that learn later, which rates may name; a recipe has them in `training.unfreeze`.
    #[serde(skip)]
    pub later: Vec<String>,
    /// Hedged depth: an output at every hidden layer, weighted by how well each predicts; off by
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedged_depth: Option<HedgedDepth>,
    /// Local codes of columns of numbers (hats), for tables and streams; off by default. `init` writes it for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hats: Option<HatsSpec>,
    /// Whether two linear models are mixed in with `hats`, one of the numbers and an additive one of their hats: for streams,
    /// where they help in the first thousand events, and wherever the truth is nearly linear. `init` writes it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub linear: bool,
    /// A memory of the last events, whose prediction is mixed with those of the networks with and without hats;
    /// off by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemorySpec>,
    /// Whether the last label is mixed in as a further prediction, with `hats`. For streams whose labels come with their
    /// events; off by default.
    #[serde(default, skip_serializing_if = "is_false")]
    pub last_label: bool,
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

    /// A model of sequences of at most `length` ids below `vocabulary`, such as words of texts.
    pub fn tokens(length: usize, vocabulary: usize) -> ModelSpec {
        ModelSpec::of(InputSpec::Tokens(TokensSpec::new(length, vocabulary)))
    }

    /// A model of several named inputs.
    pub fn inputs<'a>(inputs: impl IntoIterator<Item = (&'a str, InputSpec)>) -> ModelSpec {
        let inputs = inputs.into_iter().map(|(name, input)| (name.to_owned(), input)).collect();
        ModelSpec { inputs, ..ModelSpec::of(InputSpec::none()) }
    }

    /// The inputs with their names; a single one is called `x`.
    pub fn named_inputs(&self) -> Vec<(&str, InputSpec)> {
        match self.inputs.is_empty() {
            true => vec![("x", self.input)],
            false => self.inputs.iter().map(|(name, &input)| (name.as_str(), input)).collect(),
        }
    }

    /// The fields that the model reads, without a truth.
    pub fn signature(&self) -> Signature {
        let fields = self.named_inputs().into_iter().map(|(name, input)| input.field(name));
        Signature::new(fields.collect(), None)
    }

    /// A model of that input, without layers yet.
    pub fn of(input: InputSpec) -> ModelSpec {
        ModelSpec {
            input,
            inputs: BTreeMap::new(),
            layers: vec![],
            decoder_only: None,
            encoder_decoder: None,
            bag: None,
            ctc_encoder: None,
            transducer: None,
            vision: None,
            from: None,
            frozen: vec![],
            later: vec![],
            hedged_depth: None,
            hats: None,
            linear: false,
            memory: None,
            last_label: false,
        }
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

    /// The layers that read an input right away, each with the place of that input among
    /// [`ModelSpec::named_inputs`].
    pub fn first_layers(&self) -> Vec<(usize, &LayerSpec)> {
        fn walk<'m>(
            layers: &'m [LayerSpec],
            input: usize,
            names: &[(&str, InputSpec)],
            found: &mut Vec<(usize, &'m LayerSpec)>,
        ) {
            let of = |name: &str| names.iter().position(|(own, _)| *own == name);
            match layers.first() {
                Some(LayerSpec::Encode(encode)) => {
                    walk(&encode.layers, of(&encode.input).unwrap_or(input), names, found);
                    walk(&layers[1..], input, names, found);
                }
                Some(LayerSpec::Concat(concat)) => concat.branches.iter().for_each(|branch| {
                    let own = branch.input.as_deref().and_then(of);
                    walk(&branch.layers, own.unwrap_or(input), names, found);
                }),
                Some(LayerSpec::Residual(block)) => {
                    walk(&block.layers, input, names, found);
                    walk(&block.shortcut, input, names, found);
                }
                Some(LayerSpec::Repeat { layers, .. } | LayerSpec::Multiply { layers }) => {
                    walk(layers, input, names, found);
                }
                Some(layer) => found.push((input, layer)),
                None => {}
            }
        }
        let mut found = Vec::new();
        walk(&self.layers, 0, &self.named_inputs(), &mut found);
        found
    }

    /// Adds an embedding of the input's vocabulary.
    pub fn embedding(self, units: usize) -> ModelSpec {
        let vocabulary = self.input.vocabulary().unwrap_or(1);
        self.layer(EmbeddingSpec::new(vocabulary, units))
    }
}
