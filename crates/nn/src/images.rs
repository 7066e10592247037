//! Layers of images `[batch, height, width, channels]`.

use crate::activation::Activation;
use crate::build::Start;
use crate::form::{count, optional_pair, pair};
use crate::initializers::{Fans, Initializer};
use crate::layers::Builder;
use crate::padding::Padding;
use serde::{Deserialize, Serialize};
use tidemill_graph::{BatchNorm, Conv2d, GraphError, Pool2d, Reduce, Reduction, TensorId};

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

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

fn twos() -> [usize; 2] {
    [2, 2]
}

fn ones() -> [usize; 2] {
    [1, 1]
}

fn moments_momentum() -> f64 {
    0.99
}

fn unit() -> Initializer {
    Initializer::Ones
}

fn keras_epsilon() -> f64 {
    1e-3
}

fn zeros() -> Initializer {
    Initializer::Zeros
}

struct Window {
    size: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
}

impl Builder<'_> {
    pub(crate) fn conv2d(
        &mut self,
        x: TensorId,
        spec: &Conv2dSpec,
    ) -> Result<TensorId, GraphError> {
        let [_, _, _, channels] = self.image(x)?;
        let inputs = channels / spec.groups.max(1);
        let shape = [spec.kernel[0], spec.kernel[1], inputs, spec.filters];
        let kernel = self.parameter("kernel", &shape, spec.kernel_initializer)?;
        let window = Window { size: spec.kernel, stride: spec.stride, padding: spec.padding };
        let y = self.convolve(x, kernel, window, spec.dilation, spec.groups)?;
        let bias = spec.bias.then_some((spec.bias_initializer, Fans::of_kernel(&shape)));
        self.finish(y, bias, spec.activation)
    }

    pub(crate) fn depthwise_conv2d(
        &mut self,
        x: TensorId,
        spec: &DepthwiseConv2dSpec,
    ) -> Result<TensorId, GraphError> {
        let [_, _, _, channels] = self.image(x)?;
        let outputs = channels * spec.depth_multiplier;
        let shape = [spec.kernel[0], spec.kernel[1], 1, outputs];
        let kernel = self.parameter("kernel", &shape, spec.kernel_initializer)?;
        let window = Window { size: spec.kernel, stride: spec.stride, padding: spec.padding };
        let y = self.convolve(x, kernel, window, spec.dilation, channels)?;
        let bias = spec.bias.then_some((spec.bias_initializer, Fans::of_kernel(&shape)));
        self.finish(y, bias, spec.activation)
    }

    /// Batch, rows, columns, channels, if it is a batch of images.
    pub(crate) fn image(&self, x: TensorId) -> Result<[usize; 4], GraphError> {
        let shape = self.graph.shape(x);
        <[usize; 4]>::try_from(shape).map_err(|_| {
            GraphError::new(format!(
                "takes images [batch, height, width, channels], but its input is {shape:?}"
            ))
            .help("put it before flatten, or insert { reshape = { shape = [h, w, c] } } before it")
        })
    }

    fn convolve(
        &mut self,
        x: TensorId,
        kernel: TensorId,
        window: Window,
        dilation: [usize; 2],
        groups: usize,
    ) -> Result<TensorId, GraphError> {
        let [_, height, width, channels] = self.image(x)?;
        let filters = self.last_dim(kernel);
        if !channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
            return Err(GraphError::new(format!(
                "{groups} groups divide neither or only one of {channels} channels and {filters} filters"
            ))
            .help("choose groups, channels and filters so that groups divides both"));
        }
        let Window { size, stride, padding } = window;
        let padding = padding.resolve([height, width], size, stride, dilation);
        self.graph.apply(Conv2d { stride, dilation, padding, groups }, &[x, kernel])
    }

    pub(crate) fn pool(&self, x: TensorId, spec: &PoolSpec) -> Result<Pool2d, GraphError> {
        let [_, height, width, _] = self.image(x)?;
        let stride = spec.stride.unwrap_or(spec.size);
        let padding = spec.padding.resolve([height, width], spec.size, stride, [1, 1]);
        Ok(Pool2d { size: spec.size, stride, padding, count_padding: false })
    }

    pub(crate) fn global_pool(
        &mut self,
        x: TensorId,
        reduction: Reduction,
    ) -> Result<TensorId, GraphError> {
        self.image(x)?;
        self.graph.apply(Reduce::Axes { reduction, axes: vec![1, 2], keep_dims: false }, &[x])
    }

    pub(crate) fn batch_norm(
        &mut self,
        x: TensorId,
        spec: &BatchNormSpec,
    ) -> Result<TensorId, GraphError> {
        let channels = self.last_dim(x);
        let gamma = self.parameter("gamma", &[channels], spec.gamma_initializer)?;
        let beta = self.parameter("beta", &[channels], Initializer::Zeros)?;
        let running = self.graph.state("moments", &[2, channels]);
        self.starts.push((running, Start::Moments));
        let epsilon = spec.epsilon as f32;
        if !self.learns() {
            return self.graph.apply(BatchNorm::Eval { epsilon }, &[x, running, gamma, beta]);
        }
        let count = self.graph.tensor(x).len() / channels.max(1);
        if count < 2 {
            return Err(GraphError::new("one value for each channel has no variance to train on")
                .help("use a batch size of at least 2, also for the last batch, or layer_norm"));
        }
        let moments = self.graph.apply(BatchNorm::Moments, &[x])?;
        let momentum = (1.0 - spec.momentum) as f32;
        let update = BatchNorm::UpdateMoments { momentum, count };
        let updated = self.graph.apply(update, &[running, moments])?;
        self.graph.assignments.push((running, updated));
        self.graph.apply(BatchNorm::Train { epsilon }, &[x, moments, gamma, beta])
    }
}
