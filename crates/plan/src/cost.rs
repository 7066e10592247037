//! What a kernel call costs: floating point operations and bytes.

use crate::kernel::{Conv, KernelSpec};
use crate::plan::{Call, Place, Plan};

/// Floating point operations of a call; transcendental functions count as ten.
pub fn flops(spec: &KernelSpec) -> u64 {
    use KernelSpec::*;
    let count = match spec {
        Gemm(g, ..) => 2 * g.batch * g.m * g.n * g.k,
        ConvForward(c, _) | ConvGradInput(c, _) | ConvGradWeight(c, ..) => conv_flops(c),
        MaxPool(p) | MaxPoolGrad(p, _) | AvgPool(p) | AvgPoolGrad(p) => {
            p.batch
                * p.output[0]
                * p.output[1]
                * p.channels
                * p.geometry.size[0]
                * p.geometry.size[1]
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
        EmbeddingGrad { cols, len, .. } => cols * len,
        Reduce { shape, .. } | ReduceMaxGrad { shape, .. } => shape.iter().product(),
        Optimize { len, .. } => 10 * len,
        SquaredNorm { len } => 2 * len,
        Embedding { .. }
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

fn conv_flops(c: &Conv) -> usize {
    let per_output = c.kernel[0] * c.kernel[1] * c.input[2] / c.geometry.groups.max(1);
    2 * c.batch * c.output.iter().product::<usize>() * per_output
}

/// Bytes that a call must move at least: each argument once, state twice.
pub fn bytes(plan: &Plan, call: &Call) -> u64 {
    let size = |&b: &usize| {
        let buffer = &plan.buffers[b];
        let written_back = matches!(buffer.place, Place::State(_))
            && matches!(
                call.spec,
                KernelSpec::Gemm(_, _, Some(_))
                    | KernelSpec::ConvGradWeight(_, _, Some(_))
                    | KernelSpec::Optimize { .. }
            );
        // of a table, only the rows that occur are moved
        if let KernelSpec::Embedding { rows, cols, len, .. }
        | KernelSpec::EmbeddingGrad { rows, cols, len, update: Some(_), .. } = call.spec
            && buffer.len == rows * cols
        {
            let moved = if call.spec.name() == "embedding" { 4 } else { 8 };
            return (rows.min(len) * cols) as u64 * moved;
        }
        buffer.len as u64 * if written_back { 8 } else { 4 }
    };
    call.args.iter().map(size).sum()
}
