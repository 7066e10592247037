//! Which steps of a tile's reduction meet only zeros in A, so that the tile can leave them out.
//!
//! In a batch of MNIST digits half of the steps of a tile of 12 rows are such (images as A, or
//! images transposed for the gradient). Leaving out `0 * b` changes no bit of a sum, unless `b` is
//! infinite or not a number. A look at eight places tells in passing whether a closer look pays: on
//! dense data all this costs less than 1 %.

use crate::simd::Simd;

/// A tile's part of A: `rows` rows and `k` steps, `stride` apart where they are not contiguous.
#[derive(Clone, Copy)]
pub(super) struct Strip {
    pub a: *const f32,
    pub stride: usize,
    pub rows: usize,
    pub k: usize,
}

/// Writes the steps that have a value other than zero and gives their number; or gives `k`, with
/// nothing written that counts, where too few would be left out. The list needs a vector's room
/// past `k` entries.
pub(super) type ZerosFn = unsafe fn(&Strip, *mut u32) -> usize;

/// Places that are looked at first.
const PROBES: usize = 8;

crate::kernel!(
    /// For A whose steps are contiguous.
    pub(super) fn rows_on(strip: &Strip, steps: *mut u32) -> usize = rows;
);

/// Bit `i` is set where step `p + i` has a value other than zero.
#[inline(always)]
unsafe fn used<S: Simd>(s: &Strip, p: usize, len: usize) -> u32 {
    let all = ((1u64 << len) - 1) as u32;
    let mut bits = 0;
    for i in 0..s.rows {
        // SAFETY: steps p..p + len of row i exist.
        unsafe {
            let a = s.a.add(i * s.stride + p);
            let v = if len == S::LANES { S::load(a) } else { S::load_partial(a, len) };
            bits |= S::nonzero(v);
        }
        if bits == all {
            break;
        }
    }
    bits
}

#[inline(always)]
unsafe fn rows<S: Simd>(s: &Strip, steps: *mut u32) -> usize {
    let groups = s.k / S::LANES;
    // SAFETY: groups of steps lie in 0..k; at most k steps are listed, each group's in a vector
    // that starts at or before the group.
    unsafe {
        if groups >= PROBES {
            let mut used_steps = 0;
            for probe in 0..PROBES {
                let group = probe * groups / PROBES;
                used_steps += used::<S>(s, group * S::LANES, S::LANES).count_ones() as usize;
            }
            if used_steps * 8 > PROBES * S::LANES * 7 {
                return s.k;
            }
        }
        let mut count = 0;
        for p in (0..s.k).step_by(S::LANES) {
            let bits = used::<S>(s, p, S::LANES.min(s.k - p));
            count += S::list_bits(bits, p as u32, steps.add(count));
        }
        count
    }
}

crate::kernel!(
    /// For A whose rows are contiguous.
    pub(super) fn columns_on(strip: &Strip, steps: *mut u32) -> usize = columns;
);

#[inline(always)]
unsafe fn columns<S: Simd>(s: &Strip, steps: *mut u32) -> usize {
    debug_assert!(s.rows <= S::LANES);
    // SAFETY: `rows` values of each of the k steps exist; at most k steps are listed.
    unsafe {
        let is_used = |p: usize| S::nonzero(S::load_partial(s.a.add(p * s.stride), s.rows)) != 0;
        if s.k >= 2 * PROBES {
            let mut used_steps = 0;
            for probe in 0..PROBES {
                used_steps += usize::from(is_used(probe * s.k / PROBES));
            }
            if used_steps == PROBES {
                return s.k;
            }
        }
        let mut count = 0;
        for p in 0..s.k {
            *steps.add(count) = p as u32;
            count += usize::from(is_used(p));
        }
        count
    }
}
