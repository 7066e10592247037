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

/// The same for the two parts of a strip of few rows, of which the first has `split`: one look at A
/// for two lists. Always lists, also where nothing can be left out.
pub(super) type HalvesFn = unsafe fn(&Strip, usize, [*mut u32; 2]) -> [usize; 2];

crate::kernel!(
    /// For A whose rows are contiguous.
    pub(super) fn column_halves_on(strip: &Strip, split: usize, steps: [*mut u32; 2]) -> [usize; 2]
        = column_halves;
);

#[inline(always)]
unsafe fn column_halves<S: Simd>(s: &Strip, split: usize, steps: [*mut u32; 2]) -> [usize; 2] {
    debug_assert!(s.rows <= S::LANES && split <= s.rows);
    let low = (1u32 << split) - 1;
    let fields = [low as u16, !low as u16];
    let mut counts = [0; 2];
    for start in (0..s.k).step_by(32) {
        let mut masks = [0; 32];
        for (i, mask) in masks.iter_mut().enumerate().take(s.k - start) {
            // SAFETY: `rows` values of each of the k steps exist.
            *mask = unsafe {
                let a = s.a.add((start + i) * s.stride);
                S::nonzero(S::load_partial(a, s.rows)) as u16
            };
        }
        for half in 0..2 {
            // SAFETY: the instruction set is there.
            let bits = unsafe { S::any_bits(&masks, fields[half]) };
            for shift in (0..32).step_by(S::LANES) {
                let bits = bits >> shift & ((1u64 << S::LANES) - 1) as u32;
                // SAFETY: at most k steps are listed, each group's in a vector that starts at or
                // before the group.
                unsafe {
                    let to = steps[half].add(counts[half]);
                    counts[half] += S::list_bits(bits, (start + shift) as u32, to);
                }
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    /// What the lists must be.
    fn used(a: &[f32], stride: usize, rows: std::ops::Range<usize>, k: usize) -> Vec<u32> {
        let is_used = |p: &u32| rows.clone().any(|i| a[*p as usize * stride + i] != 0.0);
        (0..k as u32).filter(is_used).collect()
    }

    #[test]
    fn both_halves_are_listed() {
        for (rows, split, k, stride) in
            [(12, 6, 32, 784), (11, 5, 70, 13), (2, 1, 1, 2), (7, 3, 33, 7), (12, 6, 64, 12)]
        {
            let mut a = vec![0.0; (k - 1) * stride + rows]; // nothing past the last value
            for (i, v) in a.iter_mut().enumerate() {
                *v = [0.0, 0.0, 0.0, 1.0, f32::NAN, -0.0, 0.0][(i * i + i / 5) % 7];
            }
            for isa in Isa::available() {
                if isa.lanes() < rows {
                    continue;
                }
                let mut lists = vec![[u32::MAX; 128]; 2];
                let strip = Strip { a: a.as_ptr(), stride, rows, k };
                let (first, second) = lists.split_at_mut(1);
                let to = [first[0].as_mut_ptr(), second[0].as_mut_ptr()];
                // SAFETY: the strip's values exist and the lists have room for k and a vector.
                let counts = unsafe { column_halves_on(isa)(&strip, split, to) };
                assert_eq!(lists[0][..counts[0]], used(&a, stride, 0..split, k), "{isa:?}");
                assert_eq!(lists[1][..counts[1]], used(&a, stride, split..rows, k), "{isa:?}");
            }
        }
    }
}
