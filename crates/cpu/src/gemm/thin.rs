//! Products that are bound by memory, not by arithmetic: one row times a matrix, one row times a
//! transposed matrix, and the outer product of two vectors (the gradient of a batch of one).
//!
//! Inputs of a layer are often mostly zeros (images of digits, outputs of relu), and
//! with one row each zero saves reading a whole row of weights. A skipped row adds nothing, which
//! differs from adding `0 * w` only where `w` is infinite or not a number.

use super::tile::{Tile, TileFn};
use crate::isa::Isa;
use crate::optimizer::{
    Splat, Update, UpdateBlock, by_rule, slots_of, update_block, update_vector, zero_is_still,
};
use crate::simd::Simd;
use std::mem::MaybeUninit;

#[inline(always)]
unsafe fn load<S: Simd>(p: *const f32, len: usize) -> S::V {
    // SAFETY: the caller gives `len` values, at most a vector.
    unsafe { if len == S::LANES { S::load(p) } else { S::load_partial(p, len) } }
}

#[inline(always)]
unsafe fn store<S: Simd>(p: *mut f32, v: S::V, len: usize) {
    // SAFETY: as above.
    unsafe { if len == S::LANES { S::store(p, v) } else { S::store_partial(p, v, len) } }
}

/// Adds, activates, masks and stores the `len` sums from column `j` of a tile of one row.
#[inline(always)]
unsafe fn finish<S: Simd>(t: &Tile, j: usize, len: usize, sum: S::V) {
    // SAFETY: columns j..j + len exist in all operands that `finish` uses.
    unsafe {
        let mut sum = sum;
        let f = t.finish;
        if !t.from.is_null() {
            sum = S::add(sum, load::<S>(t.from.add(j), len));
        }
        if f.bias {
            sum = S::add(sum, load::<S>(t.bias.add(j), len));
        }
        if f.residual {
            sum = S::add(sum, load::<S>(t.residual.add(j), len));
        }
        if f.relu {
            sum = S::max(S::splat(0.0), sum);
        }
        if f.mask {
            let on = S::gt(load::<S>(t.mask.add(j), len), S::splat(0.0));
            sum = S::select(on, sum, S::splat(0.0));
        }
        store::<S>(t.to.add(j), sum, len);
    }
}

crate::kernel!(
    /// One row times a matrix whose rows are contiguous.
    pub(super) fn row_on(tile: &Tile) = row;
);

#[inline(always)]
unsafe fn row<S: Simd>(t: &Tile) {
    // SAFETY: strips cover 0..cols once.
    unsafe {
        let mut j = 0;
        while t.cols - j >= 8 * S::LANES {
            row_strip::<S, 8, 1>(t, j, S::LANES);
            j += 8 * S::LANES;
        }
        if t.cols - j >= 4 * S::LANES {
            row_strip::<S, 4, 2>(t, j, S::LANES);
            j += 4 * S::LANES;
        }
        while j < t.cols {
            let len = S::LANES.min(t.cols - j);
            row_strip::<S, 1, 8>(t, j, len);
            j += len;
        }
    }
}

/// `NV` vectors of columns from `j`, the last of `len` columns, with `SETS` sums of each in turn:
/// eight sums in flight hide the latency of a multiply-add.
#[inline(always)]
unsafe fn row_strip<S: Simd, const NV: usize, const SETS: usize>(t: &Tile, j: usize, len: usize) {
    // SAFETY: the strip's columns and rows 0..k of B exist, and k values of A.
    unsafe {
        let lanes = S::LANES;
        let b = t.b.add(j);
        let mut sums = [[S::splat(0.0); NV]; SETS];
        let add = |set: &mut [S::V; NV], p: usize| {
            let x = S::splat(*t.a.add(p));
            let row = b.add(p * t.b_stride);
            for (v, sum) in set.iter_mut().enumerate() {
                let w = if v + 1 == NV && NV == 1 {
                    load::<S>(row, len)
                } else {
                    S::load(row.add(v * lanes))
                };
                *sum = S::fma(x, w, *sum);
            }
        };
        let mut p = 0;
        while p < t.k {
            let count = lanes.min(t.k - p);
            let mut bits = S::nonzero(load::<S>(t.a.add(p), count));
            if count == lanes && bits.count_ones() as usize == lanes {
                for q in (0..lanes).step_by(SETS) {
                    for (i, set) in sums.iter_mut().enumerate() {
                        add(set, p + q + i);
                    }
                }
            } else {
                while bits != 0 {
                    add(&mut sums[0], p + bits.trailing_zeros() as usize);
                    bits &= bits - 1;
                }
            }
            p += count;
        }
        for v in 0..NV {
            let mut sum = sums[0][v];
            for set in &sums[1..] {
                sum = S::add(sum, set[v]);
            }
            finish::<S>(t, j + v * lanes, if NV == 1 { len } else { lanes }, sum);
        }
    }
}

crate::kernel!(
    /// One row times a transposed matrix: dot products of the row with the rows of B.
    pub(super) fn dots_on(tile: &Tile) = dots;
);

#[inline(always)]
unsafe fn dots<S: Simd>(t: &Tile) {
    // SAFETY: k is the length that each of them is for.
    unsafe {
        match (t.k == S::LANES, t.k == 4 * S::LANES) {
            (true, _) => dots_of::<S, 1>(t),
            (_, true) => dots_of::<S, 4>(t),
            _ => dots_of::<S, 0>(t),
        }
    }
}

/// Dot products of `NV` whole vectors, which are held in registers; of any length if that is 0.
#[inline(always)]
unsafe fn dots_of<S: Simd, const NV: usize>(t: &Tile) {
    // SAFETY: rows 0..cols of B have k values, as has A.
    unsafe {
        let mut a = [S::splat(0.0); NV];
        for (v, x) in a.iter_mut().enumerate() {
            *x = S::load(t.a.add(v * S::LANES));
        }
        let mut j = 0;
        while j < t.cols {
            // a vector of results at a time, four rows of B at once
            let len = S::LANES.min(t.cols - j);
            let results = if len == S::LANES {
                let (third, fourth) = if S::LANES > 8 {
                    (dot_rows::<S, 4, NV>(t, &a, j + 8), dot_rows::<S, 4, NV>(t, &a, j + 12))
                } else {
                    ([S::splat(0.0); 4], [S::splat(0.0); 4])
                };
                let (first, second) =
                    (dot_rows::<S, 4, NV>(t, &a, j), dot_rows::<S, 4, NV>(t, &a, j + 4));
                S::sums([first, second, third, fourth])
            } else {
                let mut results = [0.0f32; 16];
                const { assert!(S::LANES <= 16) };
                for (i, result) in results.iter_mut().take(len).enumerate() {
                    let [sum] = dot_rows::<S, 1, NV>(t, &a, j + i);
                    *result = S::sum(sum);
                }
                S::load(results.as_ptr())
            };
            finish::<S>(t, j, len, results);
            j += len;
        }
    }
}

#[inline(always)]
unsafe fn dot_rows<S: Simd, const R: usize, const NV: usize>(
    t: &Tile,
    a: &[S::V; NV],
    j: usize,
) -> [S::V; R] {
    // SAFETY: rows j..j + R exist in B; vectors end at or before k.
    unsafe {
        let mut even = [S::splat(0.0); R];
        let mut odd = [S::splat(0.0); R];
        let b = t.b.add(j * t.b_stride);
        for (v, x) in a.iter().enumerate() {
            let sums = if v % 2 == 0 { &mut even } else { &mut odd };
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = S::fma(*x, S::load(b.add(r * t.b_stride + v * S::LANES)), *sum);
            }
        }
        let mut p = NV * S::LANES;
        while NV == 0 && p + 2 * S::LANES <= t.k {
            let (x, y) = (S::load(t.a.add(p)), S::load(t.a.add(p + S::LANES)));
            for (r, (even, odd)) in even.iter_mut().zip(&mut odd).enumerate() {
                let row = b.add(r * t.b_stride + p);
                *even = S::fma(x, S::load(row), *even);
                *odd = S::fma(y, S::load(row.add(S::LANES)), *odd);
            }
            p += 2 * S::LANES;
        }
        while NV == 0 && p < t.k {
            let len = S::LANES.min(t.k - p);
            let x = load::<S>(t.a.add(p), len);
            for (r, sum) in even.iter_mut().enumerate() {
                *sum = S::fma(x, load::<S>(b.add(r * t.b_stride + p), len), *sum);
            }
            p += len;
        }
        std::array::from_fn(|r| S::add(even[r], odd[r]))
    }
}

/// The outer product of a column of `rows` and a row of `cols` values as the gradient of a
/// parameter.
#[inline(always)]
unsafe fn outer<S: Simd, const RULE: u8>(t: &Tile) {
    // SAFETY: a has `rows` values, b `cols`, parameter and slots `rows` by `cols`.
    unsafe {
        let k = Splat::<S>::new(t.coefficients);
        if t.cols < NARROW && !t.cols.is_multiple_of(S::LANES) && t.stride == t.cols {
            return outer_narrow::<S, RULE>(t);
        }
        if !zero_is_still(RULE) {
            for i in 0..t.rows {
                if t.coefficients.flush {
                    outer_row::<S, RULE, true>(&k, t, i);
                } else {
                    outer_row::<S, RULE, false>(&k, t, i);
                }
            }
            return;
        }
        let flush = t.coefficients.flush && slots_of(RULE) > 0;
        match (flush, t.cols == S::LANES, t.cols == 4 * S::LANES) {
            (false, true, _) => outer_still::<S, RULE, false, 1>(&k, t),
            (false, _, true) => outer_still::<S, RULE, false, 4>(&k, t),
            (false, ..) => outer_still::<S, RULE, false, 0>(&k, t),
            (true, ..) => outer_still::<S, RULE, true, 0>(&k, t),
        }
    }
}

/// Rows whose factor is zero stay as they are. Rows of `NV` whole vectors, if that is not 0, are taken
/// without a loop.
#[inline(always)]
unsafe fn outer_still<S: Simd, const RULE: u8, const FLUSH: bool, const NV: usize>(
    k: &Splat<S>,
    t: &Tile,
) {
    // SAFETY: a has `rows` values; rows below that exist, of NV vectors where that is not 0.
    unsafe {
        let mut i = 0;
        while i < t.rows {
            let count = S::LANES.min(t.rows - i);
            let mut bits = S::nonzero(load::<S>(t.a.add(i), count));
            while bits != 0 {
                let row = i + bits.trailing_zeros() as usize;
                if NV == 0 {
                    outer_row::<S, RULE, FLUSH>(k, t, row);
                } else {
                    let x = S::splat(*t.a.add(row));
                    for v in 0..NV {
                        let (at, j) = (row * t.stride, v * S::LANES);
                        outer_vector::<S, RULE, FLUSH>(k, t, x, at, j, S::LANES);
                    }
                }
                bits &= bits - 1;
            }
            i += count;
        }
    }
}

/// Columns below which rows that end within a vector are taken together.
const NARROW: usize = 64;

/// A parameter of less than [`NARROW`] columns, without gaps: some rows at a time as one long
/// row, since masked rows that share a vector's bytes would wait for each other's stores.
#[inline(always)]
unsafe fn outer_narrow<S: Simd, const RULE: u8>(t: &Tile) {
    const LEN: usize = 256;
    let mut gradient = [MaybeUninit::<f32>::uninit(); LEN + 16];
    let gradient = gradient.as_mut_ptr().cast::<f32>();
    // Where all fit at once, looking for rows of zeros takes longer than they do.
    let runs = zero_is_still(RULE) && t.rows * t.cols > LEN;
    let most = if runs { (LEN / t.cols).min(16) } else { LEN / t.cols };
    let mut i = 0;
    while i < t.rows {
        // SAFETY: a has `rows` values.
        let run = unsafe {
            if runs {
                i += leading::<S>(t.a.add(i), t.rows - i, t.rows, true);
                leading::<S>(t.a.add(i), t.rows - i, most, false)
            } else {
                t.rows - i
            }
        };
        if run == 0 {
            break;
        }
        let rows = most.min(run);
        // SAFETY: rows i..i + rows exist, of `LEN` values at most, which are all written before they are read.
        unsafe {
            outer_values::<S>(t, i, rows, gradient);
            let block = UpdateBlock {
                rows: 1,
                cols: rows * t.cols,
                gradient,
                gradient_stride: 0,
                param: t.param.add(i * t.cols),
                slots: t.slots.map(|slot| slot.wrapping_add(i * t.cols)),
                stride: 0,
            };
            update_block::<S, RULE>(t.coefficients, &block);
        }
        i += rows;
    }
}

/// Rows `i..i + rows` of the outer product, one after the other, to `out`, with up to a vector after them.
#[inline(always)]
unsafe fn outer_values<S: Simd>(t: &Tile, i: usize, rows: usize, out: *mut f32) {
    // SAFETY: a has `rows` values from `i`, b `cols`; each row's last vector begins inside it.
    unsafe {
        let mut out = out;
        if t.cols <= S::LANES {
            let b = load::<S>(t.b, t.cols);
            for r in i..i + rows {
                S::store(out, S::mul(S::splat(*t.a.add(r)), b));
                out = out.add(t.cols);
            }
            return;
        }
        for r in i..i + rows {
            let x = S::splat(*t.a.add(r));
            for j in (0..t.cols).step_by(S::LANES) {
                let g = load::<S>(t.b.add(j), S::LANES.min(t.cols - j));
                S::store(out.add(j), S::mul(x, g));
            }
            out = out.add(t.cols);
        }
    }
}

/// How many of the first of `len` values are zero, or are not; counting ends at or soon after `most`.
#[inline(always)]
unsafe fn leading<S: Simd>(p: *const f32, len: usize, most: usize, zero: bool) -> usize {
    let mut n = 0;
    while n < len.min(most) {
        let count = S::LANES.min(len - n);
        // SAFETY: n + count is at most len.
        let nonzero = unsafe { S::nonzero(load::<S>(p.add(n), count)) };
        let others = if zero { nonzero } else { !nonzero };
        let found = (others.trailing_zeros() as usize).min(count);
        n += found;
        if found < count {
            break;
        }
    }
    n
}

#[inline(always)]
unsafe fn outer_row<S: Simd, const RULE: u8, const FLUSH: bool>(k: &Splat<S>, t: &Tile, i: usize) {
    // SAFETY: row i exists; vectors end at or before `cols`.
    unsafe {
        let x = S::splat(*t.a.add(i));
        let row = i * t.stride;
        let mut j = 0;
        while t.cols - j >= S::LANES {
            outer_vector::<S, RULE, FLUSH>(k, t, x, row, j, S::LANES);
            j += S::LANES;
        }
        if j < t.cols {
            outer_vector::<S, RULE, FLUSH>(k, t, x, row, j, t.cols - j);
        }
    }
}

/// Columns `j..j + len` of the row that starts at `row`, at most a vector.
#[inline(always)]
unsafe fn outer_vector<S: Simd, const RULE: u8, const FLUSH: bool>(
    k: &Splat<S>,
    t: &Tile,
    x: S::V,
    row: usize,
    j: usize,
    len: usize,
) {
    // SAFETY: the columns exist in B, the parameter and the rule's slots.
    unsafe {
        let w = t.param.add(row + j);
        let g = S::mul(x, load::<S>(t.b.add(j), len));
        let mut s = [S::splat(0.0); 3];
        for (value, slot) in s.iter_mut().zip(t.slots).take(slots_of(RULE)) {
            *value = load::<S>(slot.add(row + j), len);
        }
        let (new, s) = update_vector::<S, RULE, FLUSH>(k, g, load::<S>(w, len), s);
        store::<S>(w, new, len);
        for (value, slot) in s.into_iter().zip(t.slots).take(slots_of(RULE)) {
            store::<S>(slot.add(row + j), value, len);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn outer_avx512<const RULE: u8>(t: &Tile) {
    // SAFETY: the caller's; the features are on here.
    unsafe { outer::<crate::simd::Avx512, RULE>(t) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn outer_avx2<const RULE: u8>(t: &Tile) {
    // SAFETY: as above.
    unsafe { outer::<crate::simd::Avx2, RULE>(t) }
}

unsafe fn outer_portable<const RULE: u8>(t: &Tile) {
    // SAFETY: as above; the portable set needs no features.
    unsafe { outer::<crate::simd::Baseline, RULE>(t) }
}

/// The function that updates a parameter from the outer product of two vectors.
pub(super) fn outer_on(isa: Isa, update: &Update) -> TileFn {
    macro_rules! entry {
        ($code:literal) => {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => outer_avx512::<$code>,
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => outer_avx2::<$code>,
                _ => outer_portable::<$code>,
            }
        };
    }
    by_rule!(update, entry)
}
