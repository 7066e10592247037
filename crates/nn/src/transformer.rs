//! Transformers by a few numbers: what they stand for as layers.
//!
//! Blocks are normalized before attention and before the dense layers, and once more at the end (Xiong et
//! al. 2020): such models learn without a careful warm-up.

use crate::activation::Activation;
use crate::attention::{AttentionSpec, EncodeSpec, PositionsSpec};
use crate::copying::CopySpec;
use crate::embedding::EmbeddingSpec;
use crate::error::ModelError;
use crate::form::count;
use crate::initializers::Initializer;
use crate::joins::{BranchSpec, ConcatSpec, ResidualSpec};
use crate::layer::{DenseSpec, LayerSpec};
use crate::model::{InputSpec, ModelSpec, TokensSpec};
use crate::positions::Positions;
use serde::{Deserialize, Serialize};

/// The vocabulary that a model is shown with before its tokenizer is known.
pub const UNKNOWN_VOCABULARY: usize = 256;

/// Added to the variance in layer normalization, as in GPT-2 and fairseq.
const EPSILON: f64 = 1e-5;

/// A model of what comes next in a text: GPT-2's layers (Radford et al. 2019).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderOnlySpec {
    /// Values of a position.
    #[serde(deserialize_with = "count")]
    pub units: usize,
    /// Heads of each attention.
    #[serde(deserialize_with = "count")]
    pub heads: usize,
    /// Number of blocks.
    #[serde(deserialize_with = "count")]
    pub layers: usize,
    /// Tokens that the model sees at most.
    #[serde(deserialize_with = "count")]
    pub context: usize,
    /// Units of the dense layers in the blocks; 4 times `units` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<usize>,
    /// Dropout after the embedding, in attention and at the end of each branch; 0 by default.
    #[serde(default)]
    pub dropout: f64,
    /// Activation of the hidden dense layers; `"gelu"` by default.
    #[serde(default = "gelu")]
    pub activation: Activation,
    /// Where positions come from; `"learned"` by default.
    #[serde(default)]
    pub positions: Positions,
    /// Whether the last layer has the table of the embedding as its kernel; yes by default.
    #[serde(default = "yes")]
    pub tied: bool,
    /// Whether attention and dense layers have biases; yes by default.
    #[serde(default = "yes")]
    pub bias: bool,
}

/// A model that reads one text and writes another (Vaswani et al. 2017).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderDecoderSpec {
    /// Values of a position.
    #[serde(deserialize_with = "count")]
    pub units: usize,
    /// Heads of each attention.
    #[serde(deserialize_with = "count")]
    pub heads: usize,
    /// Blocks that read.
    #[serde(deserialize_with = "count")]
    pub encoder: usize,
    /// Blocks that write.
    #[serde(deserialize_with = "count")]
    pub decoder: usize,
    /// Tokens of the longest text, of either side; 128 by default. Longer ones are cut off, and counted.
    #[serde(default = "longest", deserialize_with = "count")]
    pub length: usize,
    /// Units of the dense layers in the blocks; 4 times `units` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<usize>,
    /// Dropout after the embeddings, in attention, between dense layers and at the end of each branch; 0 by default.
    #[serde(default)]
    pub dropout: f64,
    /// Activation of the hidden dense layers; `"relu"` by default.
    #[serde(default = "relu")]
    pub activation: Activation,
    /// Where positions come from; `"sinusoidal"` by default.
    #[serde(default = "sinusoidal")]
    pub positions: Positions,
    /// Which tables are one: `"all"` (both embeddings and the kernel of the last layer, the default), `"target"` (the
    /// embedding of what is written and that kernel) or `"none"`.
    #[serde(default)]
    pub share: Share,
    /// Whether words may also be copied from the text that is read, as names and numbers that no vocabulary has whole (See,
    /// Liu and Manning 2017); no by default. Both texts then have one vocabulary, as they have by default.
    #[serde(default, skip_serializing_if = "is_no")]
    pub copy: bool,
}

/// Which of a translation model's tables are one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// Both embeddings and the kernel of the last layer.
    #[default]
    All,
    /// The embedding of what is written and the kernel of the last layer.
    Target,
    /// None.
    None,
}

fn yes() -> bool {
    true
}

fn is_no(flag: &bool) -> bool {
    !flag
}

fn longest() -> usize {
    128
}

fn gelu() -> Activation {
    Activation::Gelu
}

fn relu() -> Activation {
    Activation::Relu
}

fn sinusoidal() -> Positions {
    Positions::Sinusoidal
}

/// What the blocks of a transformer share.
struct Blocks {
    units: usize,
    heads: usize,
    hidden: usize,
    dropout: f64,
    /// Also between the dense layers.
    drops_hidden: bool,
    activation: Activation,
    bias: bool,
    positions: Positions,
    inner: Initializer,
    /// Of the last kernel of a branch.
    outer: Initializer,
}

impl Blocks {
    fn drop(&self, layers: &mut Vec<LayerSpec>) {
        if self.dropout > 0.0 {
            layers.push(LayerSpec::Dropout { rate: self.dropout });
        }
    }

    /// `x + branch(norm(x))`
    fn residual(&self, branch: Vec<LayerSpec>) -> LayerSpec {
        let mut layers = vec![LayerSpec::LayerNorm { epsilon: EPSILON }];
        layers.extend(branch);
        self.drop(&mut layers);
        ResidualSpec::new(layers).into()
    }

    fn attention(&self, causal: bool, over: Option<&str>) -> LayerSpec {
        let attention = AttentionSpec {
            causal,
            over: over.map(str::to_owned),
            rotary: self.positions.rotary().filter(|_| over.is_none()),
            relative: self.positions.relative().filter(|_| over.is_none()),
            dropout: self.dropout,
            bias: self.bias,
            kernel_initializer: self.inner,
            output_initializer: self.outer,
            ..AttentionSpec::new(self.heads)
        };
        self.residual(vec![attention.into()])
    }

    fn dense(&self) -> LayerSpec {
        let dense = |units, kernel_initializer| DenseSpec {
            bias: self.bias,
            kernel_initializer,
            ..DenseSpec::new(units)
        };
        let activation = self.activation;
        let hidden = DenseSpec { activation, ..dense(self.hidden, self.inner) };
        let mut layers = vec![LayerSpec::from(hidden)];
        if self.drops_hidden {
            self.drop(&mut layers);
        }
        layers.push(dense(self.units, self.outer).into());
        self.residual(layers)
    }

    /// What a text goes through first.
    fn embed(&self, embedding: EmbeddingSpec, length: usize, scale: f64) -> Vec<LayerSpec> {
        let initializer = embedding.initializer;
        let mut layers = match self.positions.table() {
            Some(kind) => {
                let positions = PositionsSpec { length, kind, scale, initializer };
                vec![embedding.into(), positions.into()]
            }
            None => vec![EmbeddingSpec { scale, ..embedding }.into()],
        };
        self.drop(&mut layers);
        layers
    }
}

/// The last layers: a norm, and logits of all tokens.
fn logits(
    vocabulary: usize,
    tied: Option<String>,
    kernel_initializer: Initializer,
) -> [LayerSpec; 2] {
    let kernel_initializer =
        if tied.is_some() { Initializer::default() } else { kernel_initializer };
    let dense = DenseSpec { bias: false, kernel_initializer, tied, ..DenseSpec::new(vocabulary) };
    [LayerSpec::LayerNorm { epsilon: EPSILON }, dense.into()]
}

/// Heads must divide units, dropout be a probability, and positions fit the heads.
fn check(
    key: &str,
    [units, heads]: [usize; 2],
    dropout: f64,
    positions: Positions,
    all_causal: bool,
) -> Result<(), ModelError> {
    if !units.is_multiple_of(heads) {
        let what = format!("must divide units, and {units} is no multiple of {heads}");
        return Err(ModelError::new(format!("{key}.heads"), what));
    }
    positions.validate(key, units / heads, all_causal)?;
    let is_rate = (0.0..1.0).contains(&dropout);
    crate::error::require(is_rate, || format!("{key}.dropout"), "from 0 to below 1", dropout)
}

impl DecoderOnlySpec {
    /// The input and the layers that it stands for.
    fn expand(&self, vocabulary: usize) -> Result<(InputSpec, Vec<LayerSpec>), ModelError> {
        check("decoder_only", [self.units, self.heads], self.dropout, self.positions, true)?;
        // As GPT-2: the branches of all blocks together add the variance of one.
        let normal = |stddev: f64| Initializer::Normal { mean: 0.0, stddev };
        let blocks = Blocks {
            units: self.units,
            heads: self.heads,
            hidden: self.hidden.unwrap_or(4 * self.units),
            dropout: self.dropout,
            drops_hidden: false,
            activation: self.activation,
            bias: self.bias,
            positions: self.positions,
            inner: normal(0.02),
            outer: normal(0.02 / (2.0 * self.layers as f64).sqrt()),
        };
        let embedding = EmbeddingSpec {
            initializer: normal(0.02),
            ..EmbeddingSpec::new(vocabulary, self.units)
        };
        let mut layers = blocks.embed(embedding, self.context, 1.0);
        let block = vec![blocks.attention(true, None), blocks.dense()];
        layers.push(LayerSpec::Repeat { times: self.layers, layers: block });
        let tied = self.tied.then(|| "layers.0.embedding".to_owned());
        layers.extend(logits(vocabulary, tied, normal(0.02)));
        Ok((InputSpec::Tokens(TokensSpec::new(self.context, vocabulary)), layers))
    }
}

impl EncoderDecoderSpec {
    /// The input of each side, and the layers that it stands for.
    fn expand(&self, vocabulary: usize) -> Result<(InputSpec, Vec<LayerSpec>), ModelError> {
        check("encoder_decoder", [self.units, self.heads], self.dropout, self.positions, false)?;
        let blocks = Blocks {
            units: self.units,
            heads: self.heads,
            hidden: self.hidden.unwrap_or(4 * self.units),
            dropout: self.dropout,
            drops_hidden: true,
            activation: self.activation,
            bias: true,
            positions: self.positions,
            inner: Initializer::GlorotUniform,
            outer: Initializer::GlorotUniform,
        };
        // Scaled to a variance of 1 where they are read.
        let scale = (self.units as f64).sqrt();
        let initializer = Initializer::Normal { mean: 0.0, stddev: 1.0 / scale };
        let own = || EmbeddingSpec { initializer, ..EmbeddingSpec::new(vocabulary, self.units) };
        let tied = |path: &str| EmbeddingSpec {
            tied: Some(path.to_owned()),
            initializer,
            ..EmbeddingSpec::new(vocabulary, self.units)
        };
        let (source, target) =
            ("layers.0.encode.layers.0.embedding", "layers.1.concat.branches.0.0.embedding");
        let embed = |embedding| blocks.embed(embedding, self.length, scale);
        let mut encoder = embed(own());
        let read = vec![blocks.attention(false, None), blocks.dense()];
        encoder.push(LayerSpec::Repeat { times: self.encoder, layers: read });
        encoder.push(LayerSpec::LayerNorm { epsilon: EPSILON });
        let (table, last) = match self.share {
            Share::All => (tied(source), Some(source)),
            Share::Target => (own(), Some(target)),
            Share::None => (own(), None),
        };
        let branch = BranchSpec { input: Some("target".into()), layers: embed(table) };
        let write = vec![
            blocks.attention(true, None),
            blocks.attention(false, Some("memory")),
            blocks.dense(),
        ];
        let (input, name) = ("source".to_owned(), "memory".to_owned());
        let [norm, logits] = logits(vocabulary, last.map(str::to_owned), initializer);
        let logits = match self.copy {
            true => {
                let (input, over) = (input.clone(), name.clone());
                CopySpec { input, over, units: None, layers: vec![logits] }.into()
            }
            false => logits,
        };
        let layers = vec![
            EncodeSpec { input, name, layers: encoder }.into(),
            ConcatSpec { branches: vec![branch] }.into(),
            LayerSpec::Repeat { times: self.decoder, layers: write },
            norm,
            logits,
        ];
        Ok((InputSpec::Tokens(TokensSpec::new(self.length, vocabulary)), layers))
    }
}

impl ModelSpec {
    /// The keys that stand for input and layers, and whether each is given.
    pub fn short_forms(&self) -> [(&'static str, bool); 6] {
        [
            ("decoder_only", self.decoder_only.is_some()),
            ("encoder_decoder", self.encoder_decoder.is_some()),
            ("bag", self.bag.is_some()),
            ("ctc_encoder", self.ctc_encoder.is_some()),
            ("transducer", self.transducer.is_some()),
            ("vision", self.vision.is_some()),
        ]
    }

    /// Whether the model is given by a few numbers, and its layers depend on the vocabulary.
    pub fn is_short(&self) -> bool {
        self.short_forms().iter().any(|(_, given)| *given)
    }

    /// Fills in inputs and layers of a model that is given by a few numbers, for so many tokens; does nothing to
    /// others. Without a vocabulary, as it is before a tokenizer is known, one stands in to show the model.
    ///
    /// # Errors
    /// If a number is invalid, or layers are given too.
    pub fn expand(&mut self, vocabulary: Option<usize>) -> Result<(), ModelError> {
        let vocabulary = vocabulary.unwrap_or(UNKNOWN_VOCABULARY);
        let mut given = self.short_forms().into_iter().filter(|(_, given)| *given);
        if let (Some((first, _)), Some((second, _))) = (given.next(), given.next()) {
            let what = format!("has no place beside {first}; leave one of them out");
            return Err(ModelError::new(second, what));
        }
        if let Some(spec) = &self.vision {
            (self.input, self.layers) = spec.expand(self.input)?;
            return Ok(());
        }
        if let Some(spec) = &self.bag {
            (self.input, self.inputs, self.layers) = spec.expand()?;
            return Ok(());
        }
        if let Some(spec) = &self.ctc_encoder {
            (self.input, self.layers) = spec.expand(vocabulary)?;
            return Ok(());
        }
        if let Some(spec) = &self.transducer {
            (self.input, self.layers) = spec.expand(vocabulary)?;
            return Ok(());
        }
        match (&self.decoder_only, &self.encoder_decoder) {
            (None, None) => Ok(()),
            (Some(spec), _) => {
                (self.input, self.layers) = spec.expand(vocabulary)?;
                Ok(())
            }
            (None, Some(spec)) => {
                let (side, layers) = spec.expand(vocabulary)?;
                self.layers = layers;
                self.inputs = ["source", "target"].map(|name| (name.to_owned(), side)).into();
                Ok(())
            }
        }
    }
}
