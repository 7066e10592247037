//! What a kernel call computes, with every shape and fusion decided.
//!
//! A call's buffers are given in one order: inputs, then outputs, then state updated in place, then
//! a workspace where the target asks for one. Each variant's comment names inputs `->` outputs.

use crate::eltwise::Program;
use tidemill_graph::{
    AttentionShape, Cell, ConvShape, CopyShape, CtcShape, Lookup, PoolShape, Product, Rotary,
    Sequences, Transducer, TransducerShape, WindowsShape,
};
use tidemill_graph::{Normalization, Reduction, Rule, ScanShape, SlotType, WeightDecay};

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
    /// Factor of the learning rate.
    pub rate: f32,
}

/// Values of a unit that the gradients of a recurrent layer need of each position: its gates, then of a GRU the recurrent
/// product of the new gate, of an LSTM the cell.
pub fn kept(cell: Cell) -> usize {
    match cell {
        Cell::Gru { .. } => 4,
        Cell::Lstm => 5,
    }
}

/// Whether the gradient of the recurrent product is another one than that of the inputs.
pub fn products_apart(cell: Cell) -> bool {
    match cell {
        Cell::Gru { .. } => true,
        Cell::Lstm => false,
    }
}

/// Elements of a partial sum of a squared norm: fixed, so that the sum's bits are.
pub const NORM_CHUNK: usize = 16 * 1024;

/// A kernel call.
#[derive(Clone, Debug, PartialEq)]
pub enum KernelSpec {
    /// `(a, b, lengths?, epilogue...) -> c`, or with an update `(a, b, lengths?, hyper) -> ` and state.
    Gemm(Product, Epilogue, Option<FusedUpdate>),
    /// `(x, w, epilogue...) -> y`
    ConvForward(ConvShape, Epilogue),
    /// `(dy, w, epilogue...) -> dx`
    ConvGradInput(ConvShape, Epilogue),
    /// `(x, dy) -> dw`, or with an update `(x, dy, hyper) -> ` and state; if the flag is set, the
    /// sum of dy over all pixels (the bias's gradient) is one more output.
    ConvGradWeight(ConvShape, bool, Option<FusedUpdate>),
    /// `(x) -> y`
    MaxPool(PoolShape),
    /// `(x, y, dy) -> dx`; with `mask`, dx is multiplied by `x > 0`.
    MaxPoolGrad(PoolShape, bool),
    /// `(x) -> y`
    AvgPool(PoolShape),
    /// `(dy) -> dx`
    AvgPoolGrad(PoolShape),
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
    /// `(samples[batch, rows], next[1]) -> ` and the ring `[rows, len]` as state; with `[batch, rows, len]`.
    RingPush([usize; 3]),
    /// `(next[1]) -> (next + batch) mod len`; with `batch` and `len`.
    RingNext(usize, usize),
    /// `(x, gamma, beta?) -> y`
    RowNorm {
        /// Which.
        kind: Normalization,
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
        kind: Normalization,
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
        kind: Normalization,
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
    Embedding(Lookup),
    /// `(ids, dy) -> dtable`, or with an update `(ids, dy, hyper) -> ` and state: of those rows of
    /// the table that occur; all others stay as they are.
    EmbeddingGrad(Lookup, Option<FusedUpdate>),
    /// `(x, weights) -> y`
    WeightedMeanOfSteps(Sequences),
    /// `(weights, dy) -> dx`
    WeightedMeanOfStepsGrad(Sequences),
    /// `(qkv, lengths, bias?, key?) -> y` of one sequence (the flag), or
    /// `(q, kv, lengths of q, lengths of kv, key?) -> y`
    Attention(AttentionShape, bool),
    /// `(qkv, lengths, bias?, y, dy, key?) -> (dqkv, dbias?)` of one sequence (the flag), or
    /// `(q, kv, lengths of q, lengths of kv, y, dy, key?) -> (dq, dkv)`
    AttentionGrad(AttentionShape, bool),
    /// `(qkv, cache, table, lengths, bias?) -> y`; the cache has so many rows of each position.
    CachedAttention(AttentionShape, usize),
    /// `(x, positions?) -> y`; y may be x's buffer.
    Rotate {
        /// How.
        rotary: Rotary,
        /// Positions of all samples.
        rows: usize,
        /// Of a sample.
        time: usize,
        /// Values of a position.
        width: usize,
    },
    /// `(logits, query, keys, tokens, lengths) -> y`
    CopyMixture(CopyShape),
    /// `(logits, query, keys, tokens, lengths, y, dy) -> (dlogits, dquery, dkeys)`
    CopyMixtureGrad(CopyShape),
    /// `(x, kernel, lengths, bias?) -> y`, or with the flag `-> (y, kept)`: [`kept`] values of each unit and position, which
    /// the gradients need.
    Recurrent(ScanShape, bool),
    /// `(kernel, lengths, y, dy, kept) -> (dx, dp)`, or `-> dx` where [`products_apart`] says that they are the same.
    RecurrentGrad(ScanShape),
    /// `(logits, labels, lengths, label lengths) -> loss`
    Ctc(CtcShape),
    /// `(logits, labels, lengths, label lengths, dloss) -> dlogits`
    CtcGrad(CtcShape),
    /// The op's inputs `-> y`; of [`Transducer::JointGrad`] `-> (dframes, dwritten, dkernel, dbias)`, whichever it names. The shape's `written` is the
    /// number of labels before where they are written; a loss has no units and classes.
    Transducer(Transducer, TransducerShape),
    /// `(x) -> y`
    Windows(WindowsShape),
    /// `(dy) -> dx`
    WindowsGrad(WindowsShape),
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
    /// The same with packed slots, whose words are the state after the parameter.
    OptimizePacked {
        /// Elements.
        len: usize,
        /// The rule.
        update: FusedUpdate,
        /// How the slots are kept.
        slots: SlotType,
        /// The number of the update, which its random numbers are keyed by.
        stream: u32,
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
            RingPush(_) => "ring push",
            RingNext(..) => "ring next",
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
            Embedding(_) => "embedding",
            EmbeddingGrad(_, None) => "embedding grad",
            EmbeddingGrad(_, Some(_)) => "embedding grad+update",
            WeightedMeanOfSteps(_) => "mean of steps",
            WeightedMeanOfStepsGrad(_) => "mean of steps grad",
            Attention(..) => "attention",
            AttentionGrad(..) => "attention grad",
            CachedAttention(..) => "cached attention",
            Rotate { .. } => "rotate",
            CopyMixture(_) => "copy mixture",
            CopyMixtureGrad(_) => "copy mixture grad",
            Recurrent(s, _) => match s.scan.cell {
                Cell::Gru { .. } => "gru",
                Cell::Lstm => "lstm",
            },
            RecurrentGrad(s) => match s.scan.cell {
                Cell::Gru { .. } => "gru grad",
                Cell::Lstm => "lstm grad",
            },
            Ctc(_) => "ctc",
            CtcGrad(_) => "ctc grad",
            Transducer(op, _) => op.kernel_name(),
            Windows(_) => "windows",
            WindowsGrad(_) => "windows grad",
            Reduce { .. } => "reduce",
            ReduceMaxGrad { .. } => "reduce max grad",
            BroadcastTo { .. } => "broadcast",
            Transpose { .. } => "transpose",
            Concat { .. } => "concat",
            Slice { .. } => "slice",
            Pad { .. } => "pad",
            Copy { .. } => "copy",
            Optimize { .. } => "update",
            OptimizePacked { .. } => "update, packed",
            SquaredNorm { .. } => "squared norm",
            ClipScale { .. } => "clip scale",
        }
    }

    /// Floating point operations by definition; transcendental functions count as ten.
    pub fn flops(&self) -> u64 {
        use KernelSpec::*;
        let count = match self {
            Gemm(g, ..) => 2 * g.batch * g.m * g.n * g.k,
            ConvForward(c, _) | ConvGradInput(c, _) | ConvGradWeight(c, ..) => c.flops(),
            MaxPool(p) | MaxPoolGrad(p, _) | AvgPool(p) | AvgPoolGrad(p) => {
                p.y_len() * p.size[0] * p.size[1]
            }
            Eltwise(p) => p.rows * p.cols * p.steps.len(),
            Moments { rows, cols } => 4 * rows * cols,
            NormCoefficients { cols, .. }
            | NormGradCoefficients { cols, .. }
            | UpdateMoments { cols, .. } => 10 * cols,
            RowNorm { rows, cols, .. }
            | RowNormGradInput { rows, cols, .. }
            | RowNormGradGamma { rows, cols, .. } => 8 * rows * cols,
            Softmax { rows, cols, .. }
            | SoftmaxGrad { rows, cols, .. }
            | CrossEntropy { rows, cols, .. }
            | CrossEntropyGrad { rows, cols, .. }
            | CrossEntropyFused { rows, cols, .. } => 15 * rows * cols,
            WeightedMean { len } | WeightedMeanGrad { len } => 3 * len,
            EmbeddingGrad(l, _) => l.cols * l.len,
            WeightedMeanOfSteps(s) | WeightedMeanOfStepsGrad(s) => 2 * s.batch * s.time * s.units,
            Attention(a, _) => 2 * a.products(),
            AttentionGrad(a, _) => 5 * a.products(),
            CachedAttention(a, _) => 4 * a.batch * a.queries * a.heads.queries * a.dim * a.keys,
            Rotate { rotary, rows, .. } => 3 * rows * rotary.heads * rotary.dim,
            CopyMixture(c) => c.batch * c.time * (15 * c.tokens + 2 * c.source * c.dim),
            CopyMixtureGrad(c) => c.batch * c.time * (30 * c.tokens + 6 * c.source * c.dim),
            Recurrent(s, _) | RecurrentGrad(s) => s.products() + 12 * s.batch * s.time * s.width(),
            Ctc(c) => c.batch * c.time * (15 * c.classes + 45 * c.states()),
            CtcGrad(c) => c.batch * c.time * (30 * c.classes + 110 * c.states()),
            Transducer(op, t) => t.flops(*op),
            Reduce { shape, .. } | ReduceMaxGrad { shape, .. } => shape.iter().product(),
            Optimize { len, .. } => 10 * len,
            OptimizePacked { len, .. } => 60 * len,
            SquaredNorm { len } => 2 * len,
            WindowsGrad(w) => w.batch * w.time[1] * w.window.size * w.width,
            Embedding(_)
            | Windows(_)
            | RingPush(_)
            | RingNext(..)
            | BroadcastTo { .. }
            | Transpose { .. }
            | Concat { .. }
            | Slice { .. }
            | Pad { .. }
            | Copy { .. }
            | ClipScale { .. } => 0,
        };
        count as u64
    }

    /// The update at the kernel's end, which reads and writes its state.
    pub fn update(&self) -> Option<&FusedUpdate> {
        use KernelSpec::*;
        match self {
            Gemm(_, _, update) | ConvGradWeight(_, _, update) | EmbeddingGrad(_, update) => {
                update.as_ref()
            }
            Optimize { update, .. } | OptimizePacked { update, .. } => Some(update),
            _ => None,
        }
    }
}
