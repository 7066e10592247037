//! A kernel call: one or several kernels over the same arguments.

use crate::kernel::Kernel;

/// Kernels that run one after another, each over all of the call's arguments.
///
/// Sums over many rows are cut into chunks with a partial result each, which lie in a workspace; a
/// later phase adds them in a fixed order. The workspace is the last argument; where
/// `workspace_len` is 0 it is not read and may be any pointer, or be left out.
pub struct Call {
    /// The kernels, in order; each must have ended before the next starts.
    pub phases: Vec<Box<dyn Kernel>>,
    /// f32 of workspace, 64-byte aligned; its content need not outlive the call.
    pub workspace_len: usize,
}

impl Call {
    /// A call of one kernel.
    pub fn single(kernel: impl Kernel + 'static) -> Call {
        Call { phases: vec![Box::new(kernel)], workspace_len: 0 }
    }
}

/// Work of one chunk that is worth a thread, in nanoseconds.
const CHUNK_NS: f64 = 4000.0;
/// More chunks than this balance no better.
const MAX_CHUNKS: usize = 32;

/// Into how many chunks to cut `units` of `unit_ns` each: a function of shapes alone.
pub(crate) fn chunks_for(units: usize, unit_ns: f64) -> usize {
    let total = units as f64 * unit_ns;
    if total < 2.0 * CHUNK_NS {
        1
    } else {
        ((total / CHUNK_NS) as usize).clamp(1, MAX_CHUNKS.min(units))
    }
}

/// The units of one chunk: balanced, in multiples of `step`; chunks past the end are empty.
pub(crate) fn chunk_range(
    units: usize,
    chunks: usize,
    step: usize,
    chunk: usize,
) -> (usize, usize) {
    let size = units.div_ceil(chunks).next_multiple_of(step);
    ((chunk * size).min(units), ((chunk + 1) * size).min(units))
}

/// Parts of the scratch memory, each of so many floats, aligned.
pub(crate) fn parts<const N: usize>(scratch: *mut f32, lens: [usize; N]) -> [*mut f32; N] {
    let mut at = scratch;
    lens.map(|len| {
        let part = at;
        at = at.wrapping_add(len.next_multiple_of(16));
        part
    })
}

/// Bytes of scratch memory with these parts.
pub(crate) fn bytes(lens: &[usize]) -> usize {
    4 * lens.iter().map(|len| len.next_multiple_of(16)).sum::<usize>()
}
