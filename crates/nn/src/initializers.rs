//! Start values of parameters, by the names of Keras and PyTorch.
//!
//! A value is a pure function of (seed, parameter name, element), so that weights depend neither
//! on the order in which layers are built nor on the batch size.

use crate::error::{ModelError, require};
use crate::form::name_or_table;
use crate::orthogonal::orthogonal;
use crate::random::Stream;
use serde::{Deserialize, Serialize};

/// How a parameter is initialized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
pub enum Initializer {
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
    /// One value for all elements.
    Constant {
        /// The value.
        value: f64,
    },
    /// Uniform distribution between two bounds.
    #[serde(alias = "random_uniform")]
    Uniform {
        /// Lower bound; -0.05 by default, as in Keras.
        #[serde(default = "uniform_min", alias = "minval", alias = "a")]
        min: f64,
        /// Upper bound; 0.05 by default, as in Keras.
        #[serde(default = "small", alias = "maxval", alias = "b")]
        max: f64,
    },
    /// Normal distribution.
    #[serde(alias = "random_normal")]
    Normal {
        /// Mean; 0 by default.
        #[serde(default)]
        mean: f64,
        /// Standard deviation; 0.05 by default, as in Keras.
        #[serde(default = "small", alias = "std")]
        stddev: f64,
    },
    /// Normal distribution, cut off at two standard deviations.
    TruncatedNormal {
        /// Mean; 0 by default.
        #[serde(default)]
        mean: f64,
        /// Standard deviation before the cut; 0.05 by default, as in Keras.
        #[serde(default = "small", alias = "std")]
        stddev: f64,
    },
    /// Uniform within `sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio 2010).
    #[default]
    #[serde(alias = "xavier_uniform")]
    GlorotUniform,
    /// Truncated normal of variance `2 / (fan_in + fan_out)`, Keras's form.
    GlorotNormal,
    /// Normal of variance `2 / (fan_in + fan_out)`, PyTorch's form: not truncated.
    XavierNormal,
    /// Uniform within `sqrt(6 / fan_in)` (He et al. 2015); PyTorch's `kaiming_uniform` for relu.
    #[serde(alias = "kaiming_uniform")]
    HeUniform,
    /// Truncated normal of variance `2 / fan_in`, Keras's form.
    HeNormal,
    /// Normal of variance `2 / fan_in`, PyTorch's form for relu: not truncated.
    KaimingNormal,
    /// Uniform within `1 / sqrt(fan_in)`: what PyTorch's linear and convolution layers start with
    /// (`kaiming_uniform` with `a = sqrt(5)`), their biases too.
    KaimingUniformA5,
    /// Uniform within `sqrt(3 / fan_in)` (LeCun et al. 1998).
    LecunUniform,
    /// Truncated normal of variance `1 / fan_in`.
    LecunNormal,
    /// A distribution of variance `scale / fan`; the Glorot, He and LeCun initializers are special
    /// cases.
    VarianceScaling {
        /// Factor of the variance; 1 by default.
        #[serde(default = "one")]
        scale: f64,
        /// The fan; `fan_in` by default.
        #[serde(default)]
        mode: FanMode,
        /// The distribution; `truncated_normal` by default.
        #[serde(default)]
        distribution: Distribution,
    },
    /// Orthogonal matrix: all dimensions but the last form its rows (Saxe et al. 2014).
    Orthogonal {
        /// Factor; 1 by default.
        #[serde(default = "one")]
        gain: f64,
    },
    /// The identity matrix, for kernels with two dimensions.
    Identity {
        /// Factor; 1 by default.
        #[serde(default = "one")]
        gain: f64,
    },
}

name_or_table!(
    Initializer,
    "an initializer's name, or a table such as { normal = { stddev = 0.01 } }"
);

/// Which fan the variance is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FanMode {
    /// Number of inputs of an output.
    #[default]
    FanIn,
    /// Number of outputs of an input.
    FanOut,
    /// Their mean.
    FanAvg,
}

/// The distribution that values are drawn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Normal distribution, cut off at two standard deviations; the variance is that after the cut.
    #[default]
    #[serde(alias = "normal")]
    TruncatedNormal,
    /// Normal distribution.
    UntruncatedNormal,
    /// Uniform distribution.
    Uniform,
}

/// Number of inputs of each output of a layer, and of outputs of each input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fans {
    /// Number of inputs of an output.
    pub fan_in: usize,
    /// Number of outputs of an input.
    pub fan_out: usize,
}

impl Fans {
    /// Of a kernel `[..., in, out]`: dense `[in, out]`, convolution `[rows, columns, in, out]`
    /// where `in` is the channels of one group.
    pub fn of_kernel(shape: &[usize]) -> Fans {
        match shape {
            [] => Fans { fan_in: 1, fan_out: 1 },
            [n] => Fans { fan_in: *n, fan_out: *n },
            [window @ .., input, output] => {
                let window: usize = window.iter().product();
                Fans { fan_in: window * input, fan_out: window * output }
            }
        }
    }
}

/// Standard deviation of a standard normal distribution cut at -2 and 2.
const TRUNCATED_STDDEV: f64 = 0.879_625_661_034_239_8;

/// What a random initializer comes down to.
enum Draw {
    Constant(f64),
    Uniform(f64, f64),
    Normal(f64, f64),
    Truncated(f64, f64),
}

impl Initializer {
    /// The start values of a parameter; `fans` are those of its layer's kernel, for the bias too.
    pub fn values(self, seed: u64, name: &str, shape: &[usize], fans: Fans) -> Vec<f32> {
        let len = shape.iter().product();
        let stream = Stream::new(seed, name);
        match self {
            Initializer::Orthogonal { gain } => orthogonal(&stream, shape, gain),
            Initializer::Identity { gain } => {
                let columns = shape.last().copied().unwrap_or(1).max(1);
                let on_diagonal = |i: usize| i / columns == i % columns;
                (0..len).map(|i| if on_diagonal(i) { gain as f32 } else { 0.0 }).collect()
            }
            other => draw(&other.distribution(fans), &stream, len),
        }
    }

    fn distribution(self, fans: Fans) -> Draw {
        use Initializer::*;
        let scaled = |scale: f64, mode: FanMode, distribution: Distribution| {
            let fan = match mode {
                FanMode::FanIn => fans.fan_in as f64,
                FanMode::FanOut => fans.fan_out as f64,
                FanMode::FanAvg => (fans.fan_in + fans.fan_out) as f64 / 2.0,
            };
            let variance = scale / fan.max(1.0);
            match distribution {
                Distribution::Uniform => {
                    let bound = (3.0 * variance).sqrt();
                    Draw::Uniform(-bound, bound)
                }
                Distribution::UntruncatedNormal => Draw::Normal(0.0, variance.sqrt()),
                Distribution::TruncatedNormal => {
                    Draw::Truncated(0.0, variance.sqrt() / TRUNCATED_STDDEV)
                }
            }
        };
        use Distribution::{TruncatedNormal as Cut, Uniform as Flat, UntruncatedNormal as Bell};
        use FanMode::{FanAvg, FanIn};
        match self {
            Zeros => Draw::Constant(0.0),
            Ones => Draw::Constant(1.0),
            Constant { value } => Draw::Constant(value),
            Uniform { min, max } => Draw::Uniform(min, max),
            Normal { mean, stddev } => Draw::Normal(mean, stddev),
            TruncatedNormal { mean, stddev } => Draw::Truncated(mean, stddev),
            GlorotUniform => scaled(1.0, FanAvg, Flat),
            GlorotNormal => scaled(1.0, FanAvg, Cut),
            XavierNormal => scaled(1.0, FanAvg, Bell),
            HeUniform => scaled(2.0, FanIn, Flat),
            HeNormal => scaled(2.0, FanIn, Cut),
            KaimingNormal => scaled(2.0, FanIn, Bell),
            KaimingUniformA5 => scaled(1.0 / 3.0, FanIn, Flat),
            LecunUniform => scaled(1.0, FanIn, Flat),
            LecunNormal => scaled(1.0, FanIn, Cut),
            VarianceScaling { scale, mode, distribution } => scaled(scale, mode, distribution),
            Orthogonal { gain } | Identity { gain } => Draw::Constant(gain),
        }
    }

    /// Whether its numbers make sense; `path` is the key in the recipe.
    pub fn validate(self, path: &str) -> Result<(), ModelError> {
        match self {
            Initializer::Uniform { min, max } => require(
                min <= max,
                || format!("{path}.uniform.max"),
                "at least min",
                format!("{max} with min {min}"),
            ),
            Initializer::Normal { stddev, .. } | Initializer::TruncatedNormal { stddev, .. } => {
                require(stddev >= 0.0, || format!("{path}.stddev"), "at least 0", stddev)
            }
            Initializer::VarianceScaling { scale, .. } => {
                require(scale > 0.0, || format!("{path}.scale"), "above 0", scale)
            }
            _ => Ok(()),
        }
    }
}

fn draw(distribution: &Draw, stream: &Stream, len: usize) -> Vec<f32> {
    let blocks = |four: &dyn Fn(u32) -> [f64; 4]| -> Vec<f32> {
        let blocks = 0..len.div_ceil(4) as u32;
        let mut values: Vec<f32> = blocks.flat_map(four).map(|value| value as f32).collect();
        values.truncate(len);
        values
    };
    match *distribution {
        Draw::Constant(value) => vec![value as f32; len],
        Draw::Uniform(min, max) => {
            blocks(&|block| stream.uniforms(block, 0).map(|u| min + (max - min) * u))
        }
        Draw::Normal(mean, stddev) => {
            blocks(&|block| stream.normals(block, 0).map(|n| mean + stddev * n))
        }
        Draw::Truncated(mean, stddev) => (0..len as u32)
            .map(|element| {
                let mut attempts = 0..;
                let kept = attempts.find_map(|attempt| {
                    stream.normals(element, attempt).into_iter().find(|n| n.abs() <= 2.0)
                });
                (mean + stddev * kept.unwrap_or(0.0)) as f32
            })
            .collect(),
    }
}

fn uniform_min() -> f64 {
    -0.05
}

fn small() -> f64 {
    0.05
}

fn one() -> f64 {
    1.0
}

#[cfg(test)]
#[path = "initializers_tests.rs"]
mod tests;
