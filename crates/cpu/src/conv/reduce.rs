//! The sum of partial gradients.

use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::optimizer::{Coefficients, Update, UpdateBlock, UpdateFn, update_fn};
use crate::simd::Simd;

/// Values of one chunk.
const BLOCK: usize = 4096;

/// Adds partial gradients in a fixed order, `g[i] = sum over p of partials[p * stride + i]`, and
/// writes the sums or updates a parameter with them.
///
/// Arguments: `[partials, out]`, where `out` may be the first partial, or with an update
/// `[partials, param, slot0, slot1, slot2, hyper]`; slots that the rule lacks are never touched.
/// The caller may offset `partials` (the bias gradient's partials follow the weight's).
pub struct ReduceUpdate {
    len: usize,
    count: usize,
    stride: usize,
    reduce: ReduceFn,
    update: Option<(Update, UpdateFn)>,
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
        ReduceUpdate { len, count, stride, reduce: reduce_on(isa), update: None }
    }

    /// The same sum, then the update of a parameter of `len` values.
    pub fn with_update(
        isa: Isa,
        len: usize,
        count: usize,
        stride: usize,
        update: Update,
    ) -> ReduceUpdate {
        let update = Some((update, update_fn(isa, &update)));
        ReduceUpdate { update, ..ReduceUpdate::new(isa, len, count, stride) }
    }
}

impl Kernel for ReduceUpdate {
    fn chunks(&self) -> usize {
        // small sums are not worth the threads
        if self.len * self.count < 64 * 1024 { 1 } else { self.len.div_ceil(BLOCK) }
    }

    fn scratch_bytes(&self) -> usize {
        if self.update.is_some() { BLOCK * size_of::<f32>() } else { 0 }
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let (start, end) = match self.chunks() {
            1 => (0, self.len),
            _ => (chunk * BLOCK, self.len.min((chunk + 1) * BLOCK)),
        };
        for start in (start..end).step_by(BLOCK) {
            let len = BLOCK.min(end - start);
            // SAFETY: start..start + len is inside the buffers; slots beyond the rule's number may
            // be null and are passed on untouched.
            unsafe {
                let partials = args[0].add(start);
                let Some((update, apply)) = &self.update else {
                    (self.reduce)(partials, self.count, self.stride, args[1].add(start), len);
                    continue;
                };
                (self.reduce)(partials, self.count, self.stride, scratch, len);
                let slot = |i: usize| args[2 + i].wrapping_add(start);
                let block = UpdateBlock {
                    rows: 1,
                    cols: len,
                    gradient: scratch,
                    gradient_stride: 0,
                    param: args[1].add(start),
                    slots: [slot(0), slot(1), slot(2)],
                    stride: 0,
                };
                apply(&Coefficients::new(update, args[5]), &block);
            }
        }
    }
}
