//! Known models of images, layer by layer as in torchvision, whose numbers of parameters and settings they have.

use crate::activation::Activation;
use crate::attention::{AttentionSpec, PositionKind, PositionsSpec};
use crate::error::{ModelError, require};
use crate::form::count;
use crate::images::{BatchNormSpec, Conv2dSpec, DepthwiseConv2dSpec, PoolSpec};
use crate::initializers::{Distribution, FanMode, Initializer};
use crate::joins::ResidualSpec;
use crate::layer::{DenseSpec, LayerSpec};
use crate::model::InputSpec;
use crate::padding::Padding;
use serde::{Deserialize, Serialize};

/// A known model of images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisionSpec {
    /// Which one: `"resnet18"`, `"resnet50"`, `"mobilenet_v3_small"`, `"mobilenet_v3_large"`, `"efficientnet_b0"`, `"convnext_tiny"`,
    /// `"vit_small"` or `"vit_base"`.
    pub name: Vision,
    /// Number of classes; 1000 by default.
    #[serde(default = "thousand", deserialize_with = "count")]
    pub classes: usize,
    /// Dropout before the last layer; that of torchvision's model by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// Stochastic depth of the last block, which grows with the depth; that of torchvision's model by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_path: Option<f64>,
}

/// The models' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vision {
    /// He et al. 2015.
    #[serde(rename = "resnet18")]
    Resnet18,
    /// He et al. 2015, with the stride in the 3 x 3 convolutions.
    #[serde(rename = "resnet50")]
    Resnet50,
    /// Howard et al. 2019.
    MobilenetV3Small,
    /// Howard et al. 2019.
    MobilenetV3Large,
    /// Tan and Le 2019.
    EfficientnetB0,
    /// Liu et al. 2022.
    ConvnextTiny,
    /// Dosovitskiy et al. 2020 and Touvron et al. 2020: patches of 16 x 16 pixels, 12 blocks of 384 values and 6 heads.
    VitSmall,
    /// Dosovitskiy et al. 2020: patches of 16 x 16 pixels, 12 blocks of 768 values and 12 heads.
    VitBase,
}

fn thousand() -> usize {
    1000
}

impl VisionSpec {
    /// Of that name, with 1000 classes.
    pub fn new(name: Vision) -> VisionSpec {
        VisionSpec { name, classes: thousand(), dropout: None, drop_path: None }
    }

    /// The input and the layers.
    pub(crate) fn expand(
        &self,
        input: InputSpec,
    ) -> Result<(InputSpec, Vec<LayerSpec>), ModelError> {
        let input = match input {
            InputSpec::Features(0) => InputSpec::Image { height: 224, width: 224, channels: 3 },
            InputSpec::Image { .. } => input,
            _ => return Err(ModelError::new("input", "must be an image for a model of images")),
        };
        let (dropout, drop_path) = match self.name {
            Vision::Resnet18 | Vision::Resnet50 => (0.0, 0.0),
            Vision::MobilenetV3Small | Vision::MobilenetV3Large => (0.2, 0.0),
            Vision::EfficientnetB0 => (0.2, 0.2),
            Vision::ConvnextTiny => (0.0, 0.1),
            Vision::VitSmall | Vision::VitBase => (0.0, 0.0),
        };
        let [dropout, drop_path] =
            [self.dropout.unwrap_or(dropout), self.drop_path.unwrap_or(drop_path)];
        for (key, share) in [("dropout", dropout), ("drop_path", drop_path)] {
            let sound = (0.0..1.0).contains(&share);
            require(sound, || format!("vision.{key}"), "from 0 to below 1", share)?;
        }
        let mut head = vec![];
        if dropout > 0.0 {
            head.push(LayerSpec::Dropout { rate: dropout });
        }
        let (mut layers, init) = match self.name {
            Vision::Resnet18 => (resnet(RESNET18, false, drop_path), Initializer::KaimingUniformA5),
            Vision::Resnet50 => (resnet(RESNET50, true, drop_path), Initializer::KaimingUniformA5),
            Vision::MobilenetV3Small => (mobilenet(SMALL, 1024, drop_path), normal(0.01)),
            Vision::MobilenetV3Large => (mobilenet(LARGE, 1280, drop_path), normal(0.01)),
            Vision::EfficientnetB0 => (
                efficientnet(drop_path),
                Initializer::VarianceScaling {
                    scale: 1.0 / 3.0,
                    mode: FanMode::FanOut,
                    distribution: Distribution::Uniform,
                },
            ),
            Vision::ConvnextTiny => (convnext(drop_path), short()),
            Vision::VitSmall => (vision_transformer(input, 384, drop_path)?, Initializer::Zeros),
            Vision::VitBase => (vision_transformer(input, 768, drop_path)?, Initializer::Zeros),
        };
        layers.extend(head);
        layers.push(DenseSpec { kernel_initializer: init, ..DenseSpec::new(self.classes) }.into());
        Ok((input, layers))
    }
}

fn normal(stddev: f64) -> Initializer {
    Initializer::Normal { mean: 0.0, stddev }
}

/// The truncated normal of ConvNeXt.
fn short() -> Initializer {
    Initializer::TruncatedNormal { mean: 0.0, stddev: 0.02 }
}

/// Normal of variance `2 / fan_out`.
fn fan_out() -> Initializer {
    Initializer::VarianceScaling {
        scale: 2.0,
        mode: FanMode::FanOut,
        distribution: Distribution::UntruncatedNormal,
    }
}

/// The share of a block of so many that goes another way, which grows from the first to the last.
fn share(of_last: f64, block: usize, blocks: usize) -> f64 {
    of_last * block as f64 / blocks as f64
}

/// A convolution without a bias, whose output has the size of its input but for the stride.
fn conv(filters: usize, kernel: usize, stride: usize) -> LayerSpec {
    Conv2dSpec {
        stride: [stride, stride],
        padding: Padding::Symmetric([kernel / 2, kernel / 2]),
        bias: false,
        kernel_initializer: fan_out(),
        ..Conv2dSpec::new(filters, kernel)
    }
    .into()
}

fn depthwise(kernel: usize, stride: usize) -> LayerSpec {
    DepthwiseConv2dSpec {
        kernel: [kernel, kernel],
        stride: [stride, stride],
        dilation: [1, 1],
        padding: Padding::Symmetric([kernel / 2, kernel / 2]),
        depth_multiplier: 1,
        activation: Activation::Linear,
        bias: false,
        kernel_initializer: fan_out(),
        bias_initializer: Initializer::Zeros,
    }
    .into()
}

fn norm(momentum: f64, epsilon: f64) -> LayerSpec {
    BatchNormSpec { momentum, epsilon, ..BatchNormSpec::default() }.into()
}

fn resnet(blocks: [usize; 4], bottleneck: bool, drop_path: f64) -> Vec<LayerSpec> {
    let norm = || norm(0.9, 1e-5);
    let relu = || LayerSpec::from(Activation::Relu);
    let pool =
        PoolSpec { stride: Some([2, 2]), padding: Padding::Symmetric([1, 1]), ..PoolSpec::new(3) };
    let mut layers = vec![conv(64, 7, 2), norm(), relu(), LayerSpec::MaxPool2d(pool)];
    let (mut before, total, mut at) = (64, blocks.iter().sum(), 0);
    for (stage, &times) in blocks.iter().enumerate() {
        let width = 64 << stage;
        let filters = if bottleneck { 4 * width } else { width };
        for block in 0..times {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let own = match bottleneck {
                true => vec![
                    conv(width, 1, 1),
                    norm(),
                    relu(),
                    conv(width, 3, stride),
                    norm(),
                    relu(),
                    conv(filters, 1, 1),
                    norm(),
                ],
                false => {
                    vec![conv(width, 3, stride), norm(), relu(), conv(width, 3, 1), norm()]
                }
            };
            let shortcut = match stride != 1 || before != filters {
                true => vec![conv(filters, 1, stride), norm()],
                false => vec![],
            };
            at += 1;
            let drop_path = share(drop_path, at, total);
            let activation = Activation::Relu;
            layers.push(ResidualSpec { layers: own, shortcut, activation, drop_path }.into());
            before = filters;
        }
    }
    layers.push(LayerSpec::GlobalAvgPool {});
    layers
}

/// Channels are a multiple of 8, and not more than a tenth below what is asked for.
fn of_eight(channels: usize) -> usize {
    let rounded = ((channels + 4) / 8 * 8).max(8);
    if 10 * rounded < 9 * channels { rounded + 8 } else { rounded }
}

/// Squeeze and excite: each channel times a share that follows from the means of all.
fn squeeze(channels: usize, inner: usize, activation: Activation, gate: Activation) -> LayerSpec {
    let dense = |units, activation| {
        DenseSpec { activation, kernel_initializer: fan_out(), ..DenseSpec::new(units) }.into()
    };
    let layers = vec![LayerSpec::GlobalAvgPool {}, dense(inner, activation), dense(channels, gate)];
    LayerSpec::Multiply { layers }
}

/// Blocks of each stage.
pub(crate) const RESNET18: [usize; 4] = [2, 2, 2, 2];
pub(crate) const RESNET50: [usize; 4] = [3, 4, 6, 3];

/// Kernel, expanded channels, output channels, squeeze and excite, hard swish, stride.
pub(crate) type Inverted = (usize, usize, usize, bool, bool, usize);

pub(crate) const LARGE: &[Inverted] = &[
    (3, 16, 16, false, false, 1),
    (3, 64, 24, false, false, 2),
    (3, 72, 24, false, false, 1),
    (5, 72, 40, true, false, 2),
    (5, 120, 40, true, false, 1),
    (5, 120, 40, true, false, 1),
    (3, 240, 80, false, true, 2),
    (3, 200, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 480, 112, true, true, 1),
    (3, 672, 112, true, true, 1),
    (5, 672, 160, true, true, 2),
    (5, 960, 160, true, true, 1),
    (5, 960, 160, true, true, 1),
];

pub(crate) const SMALL: &[Inverted] = &[
    (3, 16, 16, true, false, 2),
    (3, 72, 24, false, false, 2),
    (3, 88, 24, false, false, 1),
    (5, 96, 40, true, true, 2),
    (5, 240, 40, true, true, 1),
    (5, 240, 40, true, true, 1),
    (5, 120, 48, true, true, 1),
    (5, 144, 48, true, true, 1),
    (5, 288, 96, true, true, 2),
    (5, 576, 96, true, true, 1),
    (5, 576, 96, true, true, 1),
];

fn mobilenet(blocks: &[Inverted], last: usize, drop_path: f64) -> Vec<LayerSpec> {
    let norm = || norm(0.99, 1e-3);
    let swish = || LayerSpec::from(Activation::HardSwish);
    let mut layers = vec![conv(16, 3, 2), norm(), swish()];
    let mut before = 16;
    for (i, &(kernel, expanded, filters, squeezed, swishes, stride)) in blocks.iter().enumerate() {
        let function = if swishes { Activation::HardSwish } else { Activation::Relu };
        let mut own = vec![];
        if expanded != before {
            own.extend([conv(expanded, 1, 1), norm(), function.into()]);
        }
        own.extend([depthwise(kernel, stride), norm(), function.into()]);
        if squeezed {
            let inner = of_eight(expanded / 4);
            own.push(squeeze(expanded, inner, Activation::Relu, Activation::HardSigmoid));
        }
        own.extend([conv(filters, 1, 1), norm()]);
        match stride == 1 && before == filters {
            true => {
                let drop_path = share(drop_path, i + 1, blocks.len());
                layers.push(ResidualSpec { drop_path, ..ResidualSpec::new(own) }.into());
            }
            false => layers.extend(own),
        }
        before = filters;
    }
    layers.extend([conv(6 * before, 1, 1), norm(), swish(), LayerSpec::GlobalAvgPool {}]);
    let wide = DenseSpec {
        activation: Activation::HardSwish,
        kernel_initializer: normal(0.01),
        ..DenseSpec::new(last)
    };
    layers.push(wide.into());
    layers
}

/// Of EfficientNet-B0's stages: expansion, kernel, stride of the first block, output channels, blocks.
pub(crate) const EFFICIENTNET: [[usize; 5]; 7] = [
    [1, 3, 1, 16, 1],
    [6, 3, 2, 24, 2],
    [6, 5, 2, 40, 2],
    [6, 3, 2, 80, 3],
    [6, 5, 1, 112, 3],
    [6, 5, 2, 192, 4],
    [6, 3, 1, 320, 1],
];

fn efficientnet(drop_path: f64) -> Vec<LayerSpec> {
    let norm = || norm(0.9, 1e-5);
    let silu = || LayerSpec::from(Activation::Silu);
    let mut layers = vec![conv(32, 3, 2), norm(), silu()];
    let total: usize = EFFICIENTNET.iter().map(|stage| stage[4]).sum();
    let (mut before, mut at) = (32, 0);
    for [expansion, kernel, first, filters, times] in EFFICIENTNET {
        for block in 0..times {
            let stride = if block == 0 { first } else { 1 };
            let expanded = expansion * before;
            let mut own = vec![];
            if expansion > 1 {
                own.extend([conv(expanded, 1, 1), norm(), silu()]);
            }
            own.extend([depthwise(kernel, stride), norm(), silu()]);
            own.push(squeeze(expanded, before / 4, Activation::Silu, Activation::Sigmoid));
            own.extend([conv(filters, 1, 1), norm()]);
            match stride == 1 && before == filters {
                true => {
                    let drop_path = share(drop_path, at, total);
                    layers.push(ResidualSpec { drop_path, ..ResidualSpec::new(own) }.into());
                }
                false => layers.extend(own),
            }
            (before, at) = (filters, at + 1);
        }
    }
    layers.extend([conv(4 * before, 1, 1), norm(), silu(), LayerSpec::GlobalAvgPool {}]);
    layers
}

fn convnext(drop_path: f64) -> Vec<LayerSpec> {
    const STAGES: [[usize; 2]; 4] = [[96, 3], [192, 3], [384, 9], [768, 3]];
    let norm = || LayerSpec::LayerNorm { epsilon: 1e-6 };
    let patches = |filters: usize, size: usize| {
        LayerSpec::from(Conv2dSpec {
            stride: [size, size],
            kernel_initializer: short(),
            ..Conv2dSpec::new(filters, size)
        })
    };
    let dense = |units, activation| {
        LayerSpec::from(DenseSpec {
            activation,
            kernel_initializer: short(),
            ..DenseSpec::new(units)
        })
    };
    let total: usize = STAGES.iter().map(|stage| stage[1]).sum();
    let (mut layers, mut at) = (vec![patches(96, 4), norm()], 0);
    for (stage, [width, times]) in STAGES.into_iter().enumerate() {
        if stage > 0 {
            layers.extend([norm(), patches(width, 2)]);
        }
        for _ in 0..times {
            let window = DepthwiseConv2dSpec {
                kernel: [7, 7],
                stride: [1, 1],
                dilation: [1, 1],
                padding: Padding::Symmetric([3, 3]),
                depth_multiplier: 1,
                activation: Activation::Linear,
                bias: true,
                kernel_initializer: short(),
                bias_initializer: Initializer::Zeros,
            };
            let own = vec![
                window.into(),
                norm(),
                dense(4 * width, Activation::Gelu),
                dense(width, Activation::Linear),
                LayerSpec::LayerScale { initial: 1e-6 },
            ];
            let drop_path = share(drop_path, at, total - 1);
            layers.push(ResidualSpec { drop_path, ..ResidualSpec::new(own) }.into());
            at += 1;
        }
    }
    layers.extend([LayerSpec::GlobalAvgPool {}, norm()]);
    layers
}

/// Rows and columns of a patch.
const PATCH: usize = 16;

/// Blocks of a vision transformer.
pub(crate) const VIT_BLOCKS: usize = 12;

/// Heads of 64 values, and four times as many hidden units as values.
fn vision_transformer(
    input: InputSpec,
    units: usize,
    drop_path: f64,
) -> Result<Vec<LayerSpec>, ModelError> {
    let InputSpec::Image { height, width, channels } = input else { return Ok(vec![]) };
    if height < PATCH || width < PATCH {
        let what = format!("has {height} x {width} pixels, less than a patch of {PATCH} x {PATCH}");
        return Err(ModelError::new("input", what));
    }
    let norm = || LayerSpec::LayerNorm { epsilon: 1e-6 };
    let inputs = (PATCH * PATCH * channels) as f64;
    let patches = Conv2dSpec {
        stride: [PATCH, PATCH],
        kernel_initializer: Initializer::TruncatedNormal {
            mean: 0.0,
            stddev: inputs.sqrt().recip(),
        },
        ..Conv2dSpec::new(units, PATCH)
    };
    let positions = PositionsSpec {
        length: (height / PATCH) * (width / PATCH) + 1,
        kind: PositionKind::Learned,
        scale: 1.0,
        initializer: normal(0.02),
    };
    let tiny = Initializer::Normal { mean: 0.0, stddev: 1e-6 };
    let dense = |units, activation| {
        LayerSpec::from(DenseSpec { activation, bias_initializer: tiny, ..DenseSpec::new(units) })
    };
    let mut layers = vec![
        patches.into(),
        LayerSpec::ImageToSequence { class_token: true },
        LayerSpec::Positions(positions),
    ];
    for block in 0..VIT_BLOCKS {
        let drop_path = share(drop_path, block, VIT_BLOCKS - 1);
        let residual = |own| LayerSpec::from(ResidualSpec { drop_path, ..ResidualSpec::new(own) });
        layers.push(residual(vec![norm(), AttentionSpec::new(units / 64).into()]));
        let hidden = dense(4 * units, Activation::Gelu);
        layers.push(residual(vec![norm(), hidden, dense(units, Activation::Linear)]));
    }
    layers.extend([norm(), LayerSpec::FirstPosition {}]);
    Ok(layers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::ModelSpec;

    /// torchvision's counts.
    #[test]
    fn models_have_the_numbers_of_parameters_of_torchvision() {
        let counts = [
            (Vision::Resnet18, 11_689_512),
            (Vision::Resnet50, 25_557_032),
            (Vision::MobilenetV3Small, 2_542_856),
            (Vision::MobilenetV3Large, 5_483_032),
            (Vision::EfficientnetB0, 5_288_548),
            (Vision::ConvnextTiny, 28_589_128),
            // timm's count.
            (Vision::VitSmall, 22_050_664),
            (Vision::VitBase, 86_567_656),
        ];
        for (name, parameters) in counts {
            let mut model = ModelSpec::of(InputSpec::none());
            model.vision = Some(VisionSpec::new(name));
            model.expand(None).unwrap();
            assert_eq!(model.num_parameters().unwrap(), parameters, "{name:?}");
            assert_eq!(model.output_shape().unwrap(), [1000], "{name:?}");
        }
    }
}
