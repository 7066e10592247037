//! Depthwise convolutions, where each channel sees itself alone, and their gradients.
//!
//! There are a few multiplications for each value that is read or written, so that these kernels are bound by memory, and by
//! how it is walked: in its order, all channels of a few neighbouring pixels at a time, with those taps that are inside the
//! image. Nothing is padded or copied.
//!
//! - `pixels`: the forward pass and the gradient of the input; `grad`: the gradient of the weight.

mod grad;
mod pixels;
#[cfg(test)]
mod tests;

pub use grad::DepthwiseGradWeight;
pub use pixels::DepthwiseConv;

use super::ConvShape;
use crate::simd::Simd;

/// Work of a chunk worth a thread, about 4 us.
const CHUNK_FLOPS: usize = 80_000;
/// Chunks aimed at.
const CHUNKS: usize = 16;

/// Whether every output channel sees one input channel, its own.
pub fn applies(d: &ConvShape) -> bool {
    d.groups > 1 && d.groups == d.in_c && d.in_c == d.out_c
}

/// A register, of which only `n` lanes are read with `TAIL`.
///
/// # Safety
/// `p` has these values.
#[inline(always)]
unsafe fn load<S: Simd, const TAIL: bool>(p: *const f32, n: usize) -> S::V {
    // SAFETY: by this function's contract.
    unsafe { if TAIL { S::load_partial(p, n) } else { S::load(p) } }
}

/// As [`load`].
///
/// # Safety
/// `p` has room for these values.
#[inline(always)]
unsafe fn store<S: Simd, const TAIL: bool>(p: *mut f32, v: S::V, n: usize) {
    // SAFETY: by this function's contract.
    unsafe { if TAIL { S::store_partial(p, v, n) } else { S::store(p, v) } }
}
