//! What a kernel call computes, with every shape and fusion decided.
//!
//! A call's buffers are given in one order: inputs, then outputs, then state updated in place, then
//! a workspace where the target asks for one. Each variant's comment names inputs `->` outputs.

use crate::eltwise::Program;
use tidemill_graph::{Conv2d, Pool2d, Reduction, Rule, WeightDecay};

/// What a kernel does to a tile of its output before it is stored:
/// `y = relu(acc + bias + residual) * (mask > 0)`, each part optional. The extra inputs follow the
/// kernel's own in this order: bias, residual, mask.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Epilogue {
    /// A value for each column (channel).
    pub bias: bool,
    /// A tensor of the output's shape.
    pub residual: bool,
    /// Clamp at zero.
    pub relu: bool,
    /// The output of a relu: the gradient passes where it is positive.
    pub mask: bool,
}

/// The optimizer rule that a kernel applies to a finished gradient. Hyper-parameters are the last
/// input; parameter and slots are the state updated in place; there is no output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FusedUpdate {
    /// The rule.
    pub rule: Rule,
    /// Weight decay.
    pub decay: WeightDecay,
    /// Clip each element to `[-v, v]`.
    pub clip_value: Option<f32>,
}

/// `c[batch, m, n] = a x b`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gemm {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// How many products.
    pub batch: usize,
    /// `a` is stored `[k, m]`.
    pub transpose_a: bool,
    /// `b` is stored `[n, k]`.
    pub transpose_b: bool,
    /// All batches share `a`.
    pub shared_a: bool,
    /// All batches share `b`.
    pub shared_b: bool,
}

/// Shapes of a convolution (of its forward direction).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv {
    /// Images.
    pub batch: usize,
    /// Input rows, columns, channels.
    pub input: [usize; 3],
    /// Output rows, columns, channels.
    pub output: [usize; 3],
    /// Kernel rows, columns.
    pub kernel: [usize; 2],
    /// Strides, dilation, padding, groups.
    pub geometry: Conv2d,
}

/// Shapes of a pooling (of its forward direction).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pool {
    /// Images.
    pub batch: usize,
    /// Input rows, columns.
    pub input: [usize; 2],
    /// Output rows, columns.
    pub output: [usize; 2],
    /// Channels.
    pub channels: usize,
    /// The window.
    pub geometry: Pool2d,
}

/// Elements of a partial sum of a squared norm: fixed, so that the sum's bits are.
pub const NORM_CHUNK: usize = 16 * 1024;

/// Which normalization over the last dim.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RowNorm {
    /// Layer norm.
    Layer,
    /// RMS norm.
    Rms,
}

/// A kernel call.
#[derive(Clone, Debug, PartialEq)]
pub enum KernelSpec {
    /// `(a, b, epilogue...) -> c`, or with an update `(a, b, hyper) -> ` and state.
    Gemm(Gemm, Epilogue, Option<FusedUpdate>),
    /// `(x, w, epilogue...) -> y`
    ConvForward(Conv, Epilogue),
    /// `(dy, w, epilogue...) -> dx`
    ConvGradInput(Conv, Epilogue),
    /// `(x, dy) -> dw`, or with an update `(x, dy, hyper) -> ` and state; if the flag is set, the
    /// sum of dy over all pixels (the bias's gradient) is one more output.
    ConvGradWeight(Conv, bool, Option<FusedUpdate>),
    /// `(x) -> y`
    MaxPool(Pool),
    /// `(x, y, dy) -> dx`; with `mask`, dx is multiplied by `x > 0`.
    MaxPoolGrad(Pool, bool),
    /// `(x) -> y`
    AvgPool(Pool),
    /// `(dy) -> dx`
    AvgPoolGrad(Pool),
    /// `(inputs..., key?) -> outputs`
    Eltwise(Program),
    /// `(x[rows, cols]) -> moments[2, cols]`
    Moments {
        /// Rows.
        rows: usize,
        /// Channels.
        cols: usize,
    },
    /// `(moments, gamma, beta) -> (a[cols], b[cols])` with `y = a x + b`.
    NormCoefficients {
        /// Channels.
        cols: usize,
        /// Added to the variance.
        epsilon: f32,
    },
    /// `(moments, gamma, sum dy, sum dy x) -> (dgamma, p, q, r)` with `dx = p dy + q x + r`.
    NormGradCoefficients {
        /// Values that each moment is over.
        rows: usize,
        /// Channels.
        cols: usize,
        /// Added to the variance.
        epsilon: f32,
    },
    /// `(running, moments) -> ` and the running moments as state.
    UpdateMoments {
        /// Channels.
        cols: usize,
        /// Share of the new moments.
        momentum: f32,
        /// Values that each moment is over.
        count: usize,
    },
    /// `(x, gamma, beta?) -> y`
    RowNorm {
        /// Which.
        kind: RowNorm,
        /// Rows.
        rows: usize,
        /// Channels.
        cols: usize,
        /// Added under the root.
        epsilon: f32,
    },
    /// `(x, gamma, dy) -> dx`
    RowNormGradInput {
        /// Which.
        kind: RowNorm,
        /// Rows.
        rows: usize,
        /// Channels.
        cols: usize,
        /// Added under the root.
        epsilon: f32,
    },
    /// `(x, dy) -> dgamma`
    RowNormGradGamma {
        /// Which.
        kind: RowNorm,
        /// Rows.
        rows: usize,
        /// Channels.
        cols: usize,
        /// Added under the root.
        epsilon: f32,
    },
    /// `(x) -> y`
    Softmax {
        /// Rows.
        rows: usize,
        /// Classes.
        cols: usize,
        /// Logarithm of it.
        log: bool,
    },
    /// `(y, dy) -> dx`
    SoftmaxGrad {
        /// Rows.
        rows: usize,
        /// Classes.
        cols: usize,
        /// Of the logarithm.
        log: bool,
    },
    /// `(logits, labels or targets) -> losses`
    CrossEntropy {
        /// Rows.
        rows: usize,
        /// Classes.
        cols: usize,
        /// Labels (i32) rather than targets (f32).
        sparse: bool,
        /// Smoothing share.
        label_smoothing: f32,
    },
    /// `(logits, labels or targets, dloss) -> dlogits`
    CrossEntropyGrad {
        /// Rows.
        rows: usize,
        /// Classes.
        cols: usize,
        /// Labels (i32) rather than targets (f32).
        sparse: bool,
        /// Smoothing share.
        label_smoothing: f32,
    },
    /// `(logits, labels or targets, weights) -> (losses, dlogits, mean)`: loss, its weighted mean
    /// and the gradient of that in one pass.
    CrossEntropyFused {
        /// Rows.
        rows: usize,
        /// Classes.
        cols: usize,
        /// Labels (i32) rather than targets (f32).
        sparse: bool,
        /// Smoothing share.
        label_smoothing: f32,
    },
    /// `(losses, weights) -> mean`
    WeightedMean {
        /// Samples.
        len: usize,
    },
    /// `(weights, dmean) -> dlosses`
    WeightedMeanGrad {
        /// Samples.
        len: usize,
    },
    /// `(table, ids) -> y`
    Embedding {
        /// Whether ids are f32 with whole values.
        float_ids: bool,
        /// Rows of the table.
        rows: usize,
        /// Columns of the table.
        cols: usize,
        /// Number of ids.
        len: usize,
        /// Ids of a bag, whose rows are summed, without those of id 0; 0 where each id has a row.
        bag: usize,
    },
    /// `(ids, dy) -> dtable`, or with an update `(ids, dy, hyper) -> ` and state.
    EmbeddingGrad {
        /// Whether ids are f32 with whole values.
        float_ids: bool,
        /// Updates those rows of the table that occur; all others stay as they are.
        update: Option<FusedUpdate>,
        /// Rows of the table.
        rows: usize,
        /// Columns of the table.
        cols: usize,
        /// Number of ids.
        len: usize,
        /// Ids of a bag, which have one row of `dy`; 0 where each id has its own.
        bag: usize,
    },
    /// `(x) -> y`, general reduction of axes.
    Reduce {
        /// How.
        reduction: Reduction,
        /// Input dims.
        shape: Vec<usize>,
        /// Which axes.
        axes: Vec<usize>,
    },
    /// `(x, y, dy) -> dx`
    ReduceMaxGrad {
        /// Input dims.
        shape: Vec<usize>,
        /// Which axes.
        axes: Vec<usize>,
    },
    /// `(x) -> y`
    BroadcastTo {
        /// Input dims.
        from: Vec<usize>,
        /// Output dims.
        to: Vec<usize>,
    },
    /// `(x) -> y`
    Transpose {
        /// Input dims.
        shape: Vec<usize>,
        /// Output dim `i` is input dim `perm[i]`.
        perm: Vec<usize>,
    },
    /// `(x...) -> y`
    Concat {
        /// Dims of each input.
        shapes: Vec<Vec<usize>>,
        /// The axis.
        axis: usize,
    },
    /// `(x) -> y`
    Slice {
        /// Input dims.
        shape: Vec<usize>,
        /// First index of each dim.
        start: Vec<usize>,
        /// Length of each dim.
        size: Vec<usize>,
    },
    /// `(x) -> y`
    Pad {
        /// Input dims.
        shape: Vec<usize>,
        /// Before, in each dim.
        before: Vec<usize>,
        /// After, in each dim.
        after: Vec<usize>,
        /// What is put there.
        value: f32,
    },
    /// `(x) -> y`
    Copy {
        /// Elements.
        len: usize,
    },
    /// `(gradient, hyper) -> ` and state: parameter, slots.
    Optimize {
        /// Elements.
        len: usize,
        /// The rule.
        update: FusedUpdate,
    },
    /// `(gradient) -> norm^2`, as one partial sum for each [`NORM_CHUNK`] elements.
    SquaredNorm {
        /// Elements.
        len: usize,
    },
    /// `(hyper, norms^2...) -> hyper'`: a copy of the hyper-parameters whose gradient scale clips
    /// the total norm to `limit`.
    ClipScale {
        /// Number of partial sums of each squared norm.
        counts: Vec<usize>,
        /// Largest norm.
        limit: f32,
    },
}

impl KernelSpec {
    /// A short name for `explain`.
    pub fn name(&self) -> &'static str {
        use KernelSpec::*;
        match self {
            Gemm(_, _, None) => "gemm",
            Gemm(_, _, Some(_)) => "gemm+update",
            ConvForward(..) => "conv",
            ConvGradInput(..) => "conv dx",
            ConvGradWeight(_, _, None) => "conv dw",
            ConvGradWeight(_, _, Some(_)) => "conv dw+update",
            MaxPool(_) => "max pool",
            MaxPoolGrad(..) => "max pool grad",
            AvgPool(_) => "avg pool",
            AvgPoolGrad(_) => "avg pool grad",
            Eltwise(_) => "eltwise",
            Moments { .. } => "moments",
            NormCoefficients { .. } => "norm coefficients",
            NormGradCoefficients { .. } => "norm grad coefficients",
            UpdateMoments { .. } => "update moments",
            RowNorm { .. } => "row norm",
            RowNormGradInput { .. } => "row norm dx",
            RowNormGradGamma { .. } => "row norm dgamma",
            Softmax { .. } => "softmax",
            SoftmaxGrad { .. } => "softmax grad",
            CrossEntropy { .. } => "cross-entropy",
            CrossEntropyGrad { .. } => "cross-entropy grad",
            CrossEntropyFused { .. } => "cross-entropy+grad",
            WeightedMean { .. } => "weighted mean",
            WeightedMeanGrad { .. } => "weighted mean grad",
            Embedding { .. } => "embedding",
            EmbeddingGrad { update: None, .. } => "embedding grad",
            EmbeddingGrad { .. } => "embedding grad+update",
            Reduce { .. } => "reduce",
            ReduceMaxGrad { .. } => "reduce max grad",
            BroadcastTo { .. } => "broadcast",
            Transpose { .. } => "transpose",
            Concat { .. } => "concat",
            Slice { .. } => "slice",
            Pad { .. } => "pad",
            Copy { .. } => "copy",
            Optimize { .. } => "update",
            SquaredNorm { .. } => "squared norm",
            ClipScale { .. } => "clip scale",
        }
    }
}
