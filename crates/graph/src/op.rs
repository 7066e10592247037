//! The ops. Each has one output; its shape rule is in `shape`, its gradient in `autodiff`, its
//! meaning in `reference`.
//!
//! Legend of shapes: b batch, h w height and width, c channels, m n k matrix dims, `...` any dims.
//! Images are NHWC, convolution weights HWIO, dense weights [in, out].

/// A function of one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `-x`
    Neg,
    /// `|x|`
    Abs,
    /// `-1, 0, 1`; gradient 0
    Sign,
    /// `x^2`
    Square,
    /// `1 / x`
    Reciprocal,
    /// `scale * x + shift`
    Affine {
        /// Factor.
        scale: f32,
        /// Summand.
        shift: f32,
    },
    /// `max(x, 0)`
    Relu,
    /// `x > 0 ? x : slope * x`
    LeakyRelu {
        /// Slope of the negative side.
        slope: f32,
    },
    /// `x > 0 ? x : alpha * (e^x - 1)`
    Elu {
        /// Scale of the negative side.
        alpha: f32,
    },
    /// `x/2 (1 + erf(x / sqrt 2))` (Hendrycks and Gimpel 2016)
    GeluErf,
    /// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`
    GeluTanh,
    /// `x sigmoid(x)`
    Silu,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `ln(1 + e^x)`
    Softplus,
    /// `e^x`
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// `x^exponent`
    Pow {
        /// The exponent.
        exponent: f32,
    },
    /// `min(max(x, low), high)`; gradient 0 outside
    Clip {
        /// Lower bound.
        low: f32,
        /// Upper bound.
        high: f32,
    },
}

/// What a unary op's gradient reads beside the upstream gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saves {
    /// Nothing.
    Nothing,
    /// Its input.
    Input,
    /// Its output, which lets the op run in place.
    Output,
}

impl Unary {
    /// What [`Op::UnaryGrad`] reads.
    pub fn saves(self) -> Saves {
        use Unary::*;
        match self {
            Neg | Affine { .. } | Sign => Saves::Nothing,
            Relu | LeakyRelu { .. } | Elu { .. } | Sigmoid | Tanh | Exp | Sqrt | Reciprocal => {
                Saves::Output
            }
            Softplus => Saves::Output,
            Abs | Square | GeluErf | GeluTanh | Silu | Log | Pow { .. } | Clip { .. } => {
                Saves::Input
            }
        }
    }
}

/// A function of two values, broadcast as NumPy does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
    /// `max(a, b)`; on ties the gradient goes to `a`
    Max,
    /// `min(a, b)`; on ties the gradient goes to `a`
    Min,
    /// `1` where `a >= b`, else `0`; no gradient
    GreaterEqual,
    /// A loss of prediction `a` against target `b`; gradient to `a` only.
    Loss(PairLoss),
}

/// Elementwise losses of prediction (or logit) `x` against target `t`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PairLoss {
    /// `(x - t)^2`
    SquaredError,
    /// `|x - t|`
    AbsoluteError,
    /// Huber (1964): quadratic within `delta`, linear outside.
    Huber {
        /// Where it turns linear.
        delta: f32,
    },
    /// Binary cross-entropy on the logit: `max(x,0) - x t + ln(1 + e^-|x|)`.
    BinaryCrossEntropy {
        /// Targets are pulled to 1/2 by this share.
        label_smoothing: f32,
    },
    /// Focal loss on the logit (Lin et al. 2017): `-alpha_t (1 - p_t)^gamma ln p_t` with
    /// `alpha_t = alpha t + (1-alpha)(1-t)`; `alpha < 0` means no weighting.
    Focal {
        /// Focusing exponent.
        gamma: f32,
        /// Weight of the positive class.
        alpha: f32,
    },
    /// `max(0, 1 - t x)` with targets -1 and 1 (0 is read as -1).
    Hinge,
}

/// A 2-D convolution; also names its two gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Rows, columns.
    pub stride: [usize; 2],
    /// Rows, columns.
    pub dilation: [usize; 2],
    /// Zeros around the image: top, bottom, left, right.
    pub padding: [usize; 4],
    /// Channel groups; `in_channels` for a depthwise convolution.
    pub groups: usize,
}

/// A pooling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool2d {
    /// Rows, columns.
    pub size: [usize; 2],
    /// Rows, columns.
    pub stride: [usize; 2],
    /// Around the image: top, bottom, left, right. Padding never wins a maximum.
    pub padding: [usize; 4],
    /// Whether an average counts padding (PyTorch's default) or not (Keras).
    pub count_padding: bool,
}

/// How [`Op::Reduce`] reduces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Sum.
    Sum,
    /// Mean.
    Mean,
    /// Maximum; ties share the gradient equally.
    Max,
}

/// An op. Inputs are in the order that the comment shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// No inputs: the value is given (input, parameter, state).
    Source,
    /// No inputs: a scalar (shape `[]`).
    Constant(f32),

    /// `(a[..., m, k], b[..., k, n]) -> [..., m, n]`; flags swap the last two dims of an operand.
    /// Either operand may have rank 2 and is then shared by all batches.
    MatMul {
        /// `a` is `[..., k, m]`.
        transpose_a: bool,
        /// `b` is `[..., n, k]`.
        transpose_b: bool,
    },
    /// `(x[b,h,w,c], weight[kh,kw,c/groups,o]) -> [b,h',w',o]`
    Conv2d(Conv2d),
    /// `(dy, weight) -> dx`; the shape of x is `input_shape`.
    Conv2dGradInput(Conv2d, Vec<usize>),
    /// `(x, dy) -> dweight`; the shape of the weight is `weight_shape`.
    Conv2dGradWeight(Conv2d, Vec<usize>),
    /// `(x[b,h,w,c]) -> [b,h',w',c]`
    MaxPool2d(Pool2d),
    /// `(x, y, dy) -> dx`; the first maximum in row order gets the gradient.
    MaxPool2dGrad(Pool2d),
    /// `(x[b,h,w,c]) -> [b,h',w',c]`
    AvgPool2d(Pool2d),
    /// `(dy) -> dx` of the given shape.
    AvgPool2dGrad(Pool2d, Vec<usize>),

    /// `(x[..., c]) -> [2, c]`: mean and biased variance over all dims but the last. Its gradient
    /// is part of [`Op::BatchNormTrain`]'s; it has none of its own.
    ChannelMoments,
    /// `(x[..., c], moments[2, c], gamma[c], beta[c]) -> [..., c]` with the batch's own moments
    /// (Ioffe and Szegedy 2015).
    BatchNormTrain {
        /// Added to the variance.
        epsilon: f32,
    },
    /// `(x, moments, gamma, dy) -> dx`, through the moments too.
    BatchNormTrainGradInput {
        /// Added to the variance.
        epsilon: f32,
    },
    /// `(x, moments, dy) -> dgamma[c]`
    BatchNormGradGamma {
        /// Added to the variance.
        epsilon: f32,
    },
    /// As `BatchNormTrain`, but the moments are constants (running statistics).
    BatchNormEval {
        /// Added to the variance.
        epsilon: f32,
    },
    /// `(running[2,c], moments[2,c]) -> [2,c]`: `(1 - momentum) running + momentum moments`, the
    /// variance first made unbiased by `count / (count - 1)`.
    UpdateMoments {
        /// Share of the new moments (PyTorch's momentum, 1 - Keras's).
        momentum: f32,
        /// Number of values that each moment is over; 0 or 1 leaves the variance biased (Keras).
        count: usize,
    },
    /// `(x[..., c], gamma[c], beta[c]) -> [..., c]` (Ba et al. 2016)
    LayerNorm {
        /// Added to the variance.
        epsilon: f32,
    },
    /// `(x, gamma, dy) -> dx`
    LayerNormGradInput {
        /// Added to the variance.
        epsilon: f32,
    },
    /// `(x, dy) -> dgamma[c]`
    LayerNormGradGamma {
        /// Added to the variance.
        epsilon: f32,
    },
    /// `(x[..., c], gamma[c]) -> [..., c]`: `x / sqrt(mean(x^2) + eps) * gamma` (Zhang and Sennrich 2019)
    RmsNorm {
        /// Added to the mean square.
        epsilon: f32,
    },
    /// `(x, gamma, dy) -> dx`
    RmsNormGradInput {
        /// Added to the mean square.
        epsilon: f32,
    },
    /// `(x, dy) -> dgamma[c]`
    RmsNormGradGamma {
        /// Added to the mean square.
        epsilon: f32,
    },

    /// `(x, key[4] i32) -> x`'s shape: keeps each element with probability `1 - rate` and scales it
    /// by `1 / (1 - rate)`. The mask is a function of (key, stream, element index) by Philox 4x32-10
    /// (Salmon et al. 2011), so nothing is stored and the gradient is the same op on dy.
    Dropout {
        /// Probability of a zero.
        rate: f32,
        /// Number of the dropout within the model; separates their random streams.
        stream: u32,
    },
    /// `(table[v, d], ids[...]) -> [..., d]`; the ids are i32, or f32 with whole values, to which no
    /// gradient flows.
    Embedding,
    /// `(ids, dy[..., d]) -> dtable[rows, d]`
    EmbeddingGrad {
        /// Rows of the table.
        rows: usize,
    },
    /// `(table[v, d], ids[n, tokens]) -> [n, d]`: the sum of the rows of each bag of ids; an id of 0
    /// is no token. Ids as in `Embedding`.
    EmbeddingBag,
    /// `(ids[n, tokens], dy[n, d]) -> dtable[rows, d]`
    EmbeddingBagGrad {
        /// Rows of the table.
        rows: usize,
    },

    /// `(x) -> x`'s shape
    Unary(Unary),
    /// `(saved, dy) -> dx`; `saved` is the input or the output as [`Unary::saves`] says (dy again
    /// where it saves nothing).
    UnaryGrad(Unary),
    /// `(a, b) -> broadcast shape`
    Binary(Binary),
    /// `(x, t, dy) -> dx`, all of one shape after broadcasting.
    PairLossGrad(PairLoss),

    /// Over the last dim.
    Softmax,
    /// `(y, dy) -> dx`
    SoftmaxGrad,
    /// Over the last dim.
    LogSoftmax,
    /// `(y, dy) -> dx`
    LogSoftmaxGrad,
    /// `(logits[..., c], labels[...] i32) -> loss[...]`; targets are `(1 - s) onehot + s / c`.
    SparseCrossEntropy {
        /// `s`
        label_smoothing: f32,
    },
    /// `(logits, labels, dloss[...]) -> dlogits`
    SparseCrossEntropyGrad {
        /// `s`
        label_smoothing: f32,
    },
    /// `(logits[..., c], targets[..., c]) -> loss[...]`; targets are smoothed as above.
    DenseCrossEntropy {
        /// `s`
        label_smoothing: f32,
    },
    /// `(logits, targets, dloss[...]) -> dlogits`
    DenseCrossEntropyGrad {
        /// `s`
        label_smoothing: f32,
    },
    /// `(loss[b], weight[b]) -> []`: `sum(w l) / sum(w)`; 0 where the weights sum to 0. No
    /// gradient to the weights.
    WeightedMean,
    /// `(weight[b], dmean[]) -> [b]`: `w dmean / sum(w)`
    WeightedMeanGrad,

    /// Reduces the axes (sorted, distinct); they stay as 1 if `keep_dims`.
    Reduce {
        /// How.
        reduction: Reduction,
        /// Which axes.
        axes: Vec<usize>,
        /// Whether they stay as dims of 1.
        keep_dims: bool,
    },
    /// `(x, y, dy) -> dx` of a maximum over `axes`; y and dy keep their dims.
    ReduceMaxGrad(Vec<usize>),
    /// To the given shape, as NumPy broadcasts.
    BroadcastTo(Vec<usize>),
    /// To the given shape; same elements in the same order.
    Reshape(Vec<usize>),
    /// Output dim `i` is input dim `perm[i]`.
    Transpose(Vec<usize>),
    /// Any number of inputs along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// `start[i] .. start[i] + size[i]` of each dim.
    Slice {
        /// First index of each dim.
        start: Vec<usize>,
        /// Length of each dim.
        size: Vec<usize>,
    },
    /// Puts `value` around.
    Pad {
        /// Elements before, in each dim.
        before: Vec<usize>,
        /// Elements after, in each dim.
        after: Vec<usize>,
        /// What is put there.
        value: f32,
    },
    /// Cuts the gradient.
    StopGradient,
}

impl Op {
    /// Name for messages and `explain`.
    pub fn name(&self) -> &'static str {
        use Op::*;
        match self {
            Source => "source",
            Constant(_) => "constant",
            MatMul { .. } => "matmul",
            Conv2d(_) => "conv2d",
            Conv2dGradInput(..) => "conv2d_grad_input",
            Conv2dGradWeight(..) => "conv2d_grad_weight",
            MaxPool2d(_) => "max_pool2d",
            MaxPool2dGrad(_) => "max_pool2d_grad",
            AvgPool2d(_) => "avg_pool2d",
            AvgPool2dGrad(..) => "avg_pool2d_grad",
            ChannelMoments => "channel_moments",
            BatchNormTrain { .. } => "batch_norm",
            BatchNormTrainGradInput { .. } => "batch_norm_grad_input",
            BatchNormGradGamma { .. } => "batch_norm_grad_gamma",
            BatchNormEval { .. } => "batch_norm_eval",
            UpdateMoments { .. } => "update_moments",
            LayerNorm { .. } => "layer_norm",
            LayerNormGradInput { .. } => "layer_norm_grad_input",
            LayerNormGradGamma { .. } => "layer_norm_grad_gamma",
            RmsNorm { .. } => "rms_norm",
            RmsNormGradInput { .. } => "rms_norm_grad_input",
            RmsNormGradGamma { .. } => "rms_norm_grad_gamma",
            Dropout { .. } => "dropout",
            Embedding => "embedding",
            EmbeddingGrad { .. } => "embedding_grad",
            EmbeddingBag => "embedding_bag",
            EmbeddingBagGrad { .. } => "embedding_bag_grad",
            Unary(u) | UnaryGrad(u) => u.name(),
            Binary(b) => b.name(),
            PairLossGrad(l) => l.name(),
            Softmax => "softmax",
            SoftmaxGrad => "softmax_grad",
            LogSoftmax => "log_softmax",
            LogSoftmaxGrad => "log_softmax_grad",
            SparseCrossEntropy { .. } => "sparse_categorical_crossentropy",
            SparseCrossEntropyGrad { .. } => "sparse_categorical_crossentropy_grad",
            DenseCrossEntropy { .. } => "categorical_crossentropy",
            DenseCrossEntropyGrad { .. } => "categorical_crossentropy_grad",
            WeightedMean => "weighted_mean",
            WeightedMeanGrad => "weighted_mean_grad",
            Reduce { reduction: Reduction::Sum, .. } => "reduce_sum",
            Reduce { reduction: Reduction::Mean, .. } => "reduce_mean",
            Reduce { reduction: Reduction::Max, .. } => "reduce_max",
            ReduceMaxGrad(_) => "reduce_max_grad",
            BroadcastTo(_) => "broadcast_to",
            Reshape(_) => "reshape",
            Transpose(_) => "transpose",
            Concat { .. } => "concat",
            Slice { .. } => "slice",
            Pad { .. } => "pad",
            StopGradient => "stop_gradient",
        }
    }
}

impl Unary {
    /// Name for messages and recipes.
    pub fn name(self) -> &'static str {
        use Unary::*;
        match self {
            Neg => "neg",
            Abs => "abs",
            Sign => "sign",
            Square => "square",
            Reciprocal => "reciprocal",
            Affine { .. } => "affine",
            Relu => "relu",
            LeakyRelu { .. } => "leaky_relu",
            Elu { .. } => "elu",
            GeluErf => "gelu",
            GeluTanh => "gelu_tanh",
            Silu => "silu",
            Sigmoid => "sigmoid",
            Tanh => "tanh",
            Softplus => "softplus",
            Exp => "exp",
            Log => "log",
            Sqrt => "sqrt",
            Pow { .. } => "pow",
            Clip { .. } => "clip",
        }
    }
}

impl Binary {
    /// Name for messages.
    pub fn name(self) -> &'static str {
        use Binary::*;
        match self {
            Add => "add",
            Sub => "sub",
            Mul => "mul",
            Div => "div",
            Max => "max",
            Min => "min",
            GreaterEqual => "greater_equal",
            Loss(l) => l.name(),
        }
    }
}

impl PairLoss {
    /// Name for messages and recipes.
    pub fn name(self) -> &'static str {
        use PairLoss::*;
        match self {
            SquaredError => "mean_squared_error",
            AbsoluteError => "mean_absolute_error",
            Huber { .. } => "huber",
            BinaryCrossEntropy { .. } => "binary_crossentropy",
            Focal { .. } => "focal",
            Hinge => "hinge",
        }
    }
}
