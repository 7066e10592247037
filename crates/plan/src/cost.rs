//! What a kernel call costs in bytes; [`KernelSpec::flops`] has its operations.

use crate::kernel::KernelSpec;
use crate::plan::{Call, Place, Plan};

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
