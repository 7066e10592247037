//! The sum of partial gradients.

use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::simd::Simd;

/// Values of one chunk.
const BLOCK: usize = 4096;

/// Adds partial gradients in a fixed order: `out[i] = sum over p of partials[p * stride + i]`.
///
/// Arguments: `[partials, out]`, where the caller may offset `partials` (the bias gradient's
/// partials follow the weight's).
pub struct ReduceUpdate {
    len: usize,
    count: usize,
    stride: usize,
    reduce: ReduceFn,
}

type ReduceFn = unsafe fn(*const f32, usize, usize, *mut f32, usize);

/// # Safety
/// `out` has `len` values, `partials` has as many at each of `count` multiples of `stride`.
#[inline(always)]
unsafe fn reduce<S: Simd>(
    partials: *const f32,
    count: usize,
    stride: usize,
    out: *mut f32,
    len: usize,
) {
    // SAFETY: i + LANES <= len in the first loop, i < len in the second.
    unsafe {
        let mut i = 0;
        while i + S::LANES <= len {
            let mut sum = S::load(partials.add(i));
            for p in 1..count {
                sum = S::add(sum, S::load(partials.add(p * stride + i)));
            }
            S::store(out.add(i), sum);
            i += S::LANES;
        }
        while i < len {
            let mut sum = *partials.add(i);
            for p in 1..count {
                sum += *partials.add(p * stride + i);
            }
            *out.add(i) = sum;
            i += 1;
        }
    }
}
kernel!(fn reduce_on(partials: *const f32, count: usize, stride: usize, out: *mut f32, len: usize) = reduce;);

impl ReduceUpdate {
    /// The sum of `count` partials of `len` values, `stride` apart.
    pub fn new(isa: Isa, len: usize, count: usize, stride: usize) -> ReduceUpdate {
        assert!(count > 0 && len <= stride);
        ReduceUpdate { len, count, stride, reduce: reduce_on(isa) }
    }
}

impl Kernel for ReduceUpdate {
    fn chunks(&self) -> usize {
        // small sums are not worth the threads
        if self.len * self.count < 64 * 1024 { 1 } else { self.len.div_ceil(BLOCK) }
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let (start, end) = match self.chunks() {
            1 => (0, self.len),
            _ => (chunk * BLOCK, self.len.min((chunk + 1) * BLOCK)),
        };
        // SAFETY: start..end is inside the buffers.
        unsafe {
            let (partials, out) = (args[0].add(start), args[1].add(start));
            (self.reduce)(partials, self.count, self.stride, out, end - start);
        }
    }
}
