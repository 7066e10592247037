//! A model of the labels of a sequence as it comes, such as the words of a sound, by a few numbers.

use crate::activation::Activation;
use crate::error::{ModelError, require};
use crate::form::count;
use crate::joins::ResidualSpec;
use crate::layer::{DenseSpec, LayerSpec};
use crate::model::InputSpec;
use crate::time::Conv1dSpec;
use serde::{Deserialize, Serialize};

/// Added to the variance in layer normalization.
const EPSILON: f64 = 1e-5;

/// What a model is shown with before its sounds are known: 20 s at 25 rows a second, of four spectra of 40 values each.
const UNKNOWN_FRAMES: [usize; 2] = [500, 160];

/// A model of the labels of a sequence, for the loss `ctc`: blocks of a causal convolution and a dense layer with a shortcut around both, as in
/// Hannun et al. 2019. No position reads later ones, so that a sound can be transcribed while it comes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CtcEncoderSpec {
    /// Values of a position.
    #[serde(deserialize_with = "count")]
    pub units: usize,
    /// Number of blocks.
    #[serde(deserialize_with = "count")]
    pub layers: usize,
    /// Positions that each convolution reads, its own and those before; 5 by default.
    #[serde(default = "five", deserialize_with = "count")]
    pub kernel: usize,
    /// Activation after the convolutions; `"relu"` by default.
    #[serde(default = "relu")]
    pub activation: Activation,
    /// Dropout of the input and at the end of each block; 0.1 by default.
    #[serde(default = "tenth")]
    pub dropout: f64,
    /// The most rows of a sample, and the values of a row; from `[audio]`.
    #[serde(skip)]
    pub frames: Option<[usize; 2]>,
}

fn five() -> usize {
    5
}

fn tenth() -> f64 {
    0.1
}

fn relu() -> Activation {
    Activation::Relu
}

impl CtcEncoderSpec {
    /// The input and the layers that it stands for, with `labels` outputs, that of the blank included.
    pub(crate) fn expand(&self, labels: usize) -> Result<(InputSpec, Vec<LayerSpec>), ModelError> {
        let (input, mut layers) = self.blocks("ctc_encoder")?;
        layers.push(DenseSpec::new(labels).into());
        Ok((input, layers))
    }

    /// The same without the last layer; `key` is where the numbers are given.
    pub(crate) fn blocks(&self, key: &str) -> Result<(InputSpec, Vec<LayerSpec>), ModelError> {
        let is_rate = (0.0..1.0).contains(&self.dropout);
        require(is_rate, || format!("{key}.dropout"), "from 0 to below 1", self.dropout)?;
        let drop = |layers: &mut Vec<LayerSpec>| {
            if self.dropout > 0.0 {
                layers.push(LayerSpec::Dropout { rate: self.dropout });
            }
        };
        let mut layers = vec![LayerSpec::from(DenseSpec::new(self.units))];
        drop(&mut layers);
        let convolution = Conv1dSpec {
            activation: self.activation,
            causal: true,
            ..Conv1dSpec::new(self.units, self.kernel)
        };
        let mut branch = vec![
            LayerSpec::LayerNorm { epsilon: EPSILON },
            convolution.into(),
            DenseSpec::new(self.units).into(),
        ];
        drop(&mut branch);
        let block = ResidualSpec::new(branch);
        layers.push(LayerSpec::Repeat { times: self.layers, layers: vec![block.into()] });
        layers.push(LayerSpec::LayerNorm { epsilon: EPSILON });
        let [length, values] = self.frames.unwrap_or(UNKNOWN_FRAMES);
        Ok((InputSpec::Frames { length, values }, layers))
    }
}
