//! Optimizer kernels: the update of parameters from finished gradients, and clipping by norm.
//!
//! The rules themselves are in `rule`; the matrix kernels apply them to gradient tiles that are
//! still in registers or cache, with the same code. Order of a gradient's treatment: times the
//! hyper vector's gradient scale, clipped by value, plus L2 decay, then the rule (PyTorch's order:
//! decay is part of the optimizer, clipping comes before it).

mod norm;
mod packed;
mod rule;
#[cfg(test)]
mod tests;

pub use norm::{ClipScale, SquaredNorm};
pub use packed::OptimizePacked;
pub(crate) use rule::{Coefficients, Splat, code, code_of, slots_of, update_vector, zero_is_still};
pub use rule::{bias_corrections, reference_update};
pub use tidemill_plan::kernel::FusedUpdate as Update;

use crate::{isa::Isa, kernel::Kernel, simd::Simd};

/// A block of `rows` by `cols` gradient elements and the parameters and slots that it updates.
#[derive(Clone, Copy)]
pub(crate) struct UpdateBlock {
    pub rows: usize,
    pub cols: usize,
    pub gradient: *const f32,
    pub gradient_stride: usize,
    pub param: *mut f32,
    /// As many as the rule has; the others are never touched.
    pub slots: [*mut f32; 3],
    /// Of the parameter and its slots.
    pub stride: usize,
}

pub(crate) type UpdateFn = unsafe fn(&Coefficients, &UpdateBlock);

/// Updates a block.
///
/// # Safety
/// All arrays have `rows` rows of `cols` elements at their strides.
#[inline(always)]
unsafe fn update_block<S: Simd, const RULE: u8>(c: &Coefficients, b: &UpdateBlock) {
    // SAFETY: the caller's.
    unsafe {
        if c.flush && slots_of(RULE) > 0 {
            update_rows::<S, RULE, true>(c, b);
        } else {
            update_rows::<S, RULE, false>(c, b);
        }
    }
}

#[inline(always)]
unsafe fn update_rows<S: Simd, const RULE: u8, const FLUSH: bool>(
    c: &Coefficients,
    b: &UpdateBlock,
) {
    // SAFETY: row i of all arrays has `cols` elements, by the block's contract; full vectors end
    // at `full <= cols`, the partial one has the cols - full elements that are left.
    unsafe {
        let k = Splat::<S>::new(c);
        let full = b.cols - b.cols % S::LANES;
        let zero = S::splat(0.0);
        for i in 0..b.rows {
            let g = b.gradient.add(i * b.gradient_stride);
            let w = b.param.add(i * b.stride);
            let mut slots = b.slots;
            for slot in slots.iter_mut().take(slots_of(RULE)) {
                *slot = slot.add(i * b.stride);
            }
            for j in (0..full).step_by(S::LANES) {
                let mut s = [zero; 3];
                for (value, slot) in s.iter_mut().zip(slots).take(slots_of(RULE)) {
                    *value = S::load(slot.add(j));
                }
                let (new, s) =
                    update_vector::<S, RULE, FLUSH>(&k, S::load(g.add(j)), S::load(w.add(j)), s);
                S::store(w.add(j), new);
                for (value, slot) in s.into_iter().zip(slots).take(slots_of(RULE)) {
                    S::store(slot.add(j), value);
                }
            }
            let tail = b.cols - full;
            if tail > 0 {
                let mut s = [zero; 3];
                for (value, slot) in s.iter_mut().zip(slots).take(slots_of(RULE)) {
                    *value = S::load_partial(slot.add(full), tail);
                }
                let g = S::load_partial(g.add(full), tail);
                let (new, s) =
                    update_vector::<S, RULE, FLUSH>(&k, g, S::load_partial(w.add(full), tail), s);
                S::store_partial(w.add(full), new, tail);
                for (value, slot) in s.into_iter().zip(slots).take(slots_of(RULE)) {
                    S::store_partial(slot.add(full), value, tail);
                }
            }
        }
    }
}

/// `$entry!(CODE)` with an update's code as a constant.
macro_rules! by_rule {
    ($update:expr, $entry:ident) => {
        by_rule!(@ $update, $entry; 0 1 2 3 4 5 6 7 8 9 10 11 12 16 17 18 19 20 21 22 23 24 25 26 27 28)
    };
    (@ $update:expr, $entry:ident; $($code:literal)*) => {
        match code_of($update) {
            $($code => $entry!($code),)*
            code => unreachable!("no rule has code {code}"),
        }
    };
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn update_avx512<const RULE: u8>(c: &Coefficients, b: &UpdateBlock) {
    // SAFETY: the caller's; the features are on here.
    unsafe { update_block::<crate::simd::Avx512, RULE>(c, b) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn update_avx2<const RULE: u8>(c: &Coefficients, b: &UpdateBlock) {
    // SAFETY: as above.
    unsafe { update_block::<crate::simd::Avx2, RULE>(c, b) }
}

unsafe fn update_portable<const RULE: u8>(c: &Coefficients, b: &UpdateBlock) {
    // SAFETY: as above; the portable set needs no features.
    unsafe { update_block::<crate::simd::Baseline, RULE>(c, b) }
}

/// The function that updates blocks.
pub(crate) fn update_fn(isa: Isa, update: &Update) -> UpdateFn {
    macro_rules! entry {
        ($code:literal) => {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => update_avx512::<$code>,
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => update_avx2::<$code>,
                _ => update_portable::<$code>,
            }
        };
    }
    by_rule!(update, entry)
}

/// Elements of an update's chunk: about 10 us of Adam.
const CHUNK: usize = 16 * 1024;

/// Updates a parameter from its whole gradient.
///
/// Arguments: `[gradient, param, slot0, slot1, slot2, hyper]`; slots that the rule lacks are never
/// touched. The parameter and its slots are changed in place.
#[derive(Clone, Debug)]
pub struct Optimize {
    len: usize,
    update: Update,
    run: UpdateFn,
}

impl Optimize {
    /// For parameters of `len` elements.
    pub fn new(isa: Isa, update: Update, len: usize) -> Optimize {
        Optimize { len, update, run: update_fn(isa, &update) }
    }
}

impl Kernel for Optimize {
    fn chunks(&self) -> usize {
        self.len.div_ceil(CHUNK).max(1)
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let start = chunk * CHUNK;
        let len = CHUNK.min(self.len - start);
        // SAFETY: start + len <= self.len, the size of all arrays; slots beyond the rule's number
        // may be null and are passed on untouched.
        unsafe {
            let slot = |i: usize| args[2 + i].wrapping_add(start);
            let block = UpdateBlock {
                rows: 1,
                cols: len,
                gradient: args[0].add(start),
                gradient_stride: 0,
                param: args[1].add(start),
                slots: [slot(0), slot(1), slot(2)],
                stride: 0,
            };
            (self.run)(&Coefficients::new(&self.update, args[5]), &block);
        }
    }
}
