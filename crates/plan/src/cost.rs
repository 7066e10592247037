//! What a kernel call costs: bytes, and time by common rates; [`KernelSpec::flops`] has its operations.

use crate::eltwise::Step;
use crate::kernel::KernelSpec;
use crate::plan::{Call, Place, Plan};
use tidemill_graph::Unary;

/// Bytes that a call must move at least: each argument once, state that an update changes twice.
pub fn bytes(plan: &Plan, call: &Call) -> u64 {
    let size = |&b: &usize| {
        let buffer = &plan.buffers[b];
        let updated = matches!(buffer.place, Place::State(_)) && call.spec.update().is_some();
        let moved = if updated { 8 } else { 4 };
        // of a table, only the rows that occur are moved
        if let KernelSpec::Embedding(lookup) | KernelSpec::EmbeddingGrad(lookup, Some(_)) =
            call.spec
            && buffer.len == lookup.rows * lookup.cols
        {
            return (lookup.rows.min(lookup.len) * lookup.cols) as u64 * moved;
        }
        buffer.len as u64 * moved
    };
    call.args.iter().map(size).sum()
}

/// What a call costs beside its work, in microseconds.
const CALL: f64 = 0.5;

/// Microseconds of a kernel that computes and moves so much on one core of common speed. The planner chooses by this
/// and not by what a machine was measured to do, so that a plan is the same everywhere; only how kernels compare
/// matters.
pub fn microseconds(spec: &KernelSpec, flops: u64, bytes: u64) -> f64 {
    use KernelSpec::*;
    // operations and bytes of a microsecond
    let (arithmetic, memory) = match spec {
        Gemm(..) => (80e3, 20e3),
        // a kernel that needs fewer operations than the definition, such as Winograd's, has lower rates
        ConvForward(..) | ConvGradInput(..) | ConvGradWeight(..) if flops < spec.flops() => {
            (32e3, 20e3)
        }
        ConvForward(..) | ConvGradInput(..) | ConvGradWeight(..) => (55e3, 10e3),
        Attention(..) | AttentionGrad(..) | CachedAttention(..) => (48e3, 10e3),
        Recurrent(..) | RecurrentGrad(..) => (20e3, 10e3),
        Moments { .. } => (12e3, 12e3),
        RowNorm { .. } | RowNormGradInput { .. } | RowNormGradGamma { .. } => (30e3, 30e3),
        Eltwise(_) => (20e3, 20e3),
        _ => (10e3, 15e3),
    };
    let work = (flops as f64 / arithmetic).max(bytes as f64 / memory);
    CALL + work + transcendental(spec)
}

/// Microseconds of an elementwise program's exponentials and random numbers, which take a nanosecond each.
fn transcendental(spec: &KernelSpec) -> f64 {
    let KernelSpec::Eltwise(program) = spec else { return 0.0 };
    let costly = |step: &&Step| match step {
        Step::Unary(op, _) | Step::UnaryGrad(op, ..) => !matches!(
            op,
            Unary::Neg
                | Unary::Abs
                | Unary::Sign
                | Unary::Square
                | Unary::Reciprocal
                | Unary::Affine { .. }
                | Unary::Relu
                | Unary::LeakyRelu { .. }
                | Unary::HardSwish
        ),
        Step::PairLossGrad(..) | Step::Dropout { .. } => true,
        _ => false,
    };
    let count = program.steps.iter().filter(costly).count();
    (program.rows * program.cols * count) as f64 * 1e-3
}
