//! Products that are bound by memory, not by arithmetic: one row times a matrix, one row times a
//! transposed matrix.
//!
//! Inputs of a layer are often mostly zeros (images of digits, outputs of relu), and
//! with one row each zero saves reading a whole row of weights. A skipped row adds nothing, which
//! differs from adding `0 * w` only where `w` is infinite or not a number.

use super::tile::Tile;
use crate::simd::Simd;

#[inline(always)]
pub(super) unsafe fn load<S: Simd>(p: *const f32, len: usize) -> S::V {
    // SAFETY: the caller gives `len` values, at most a vector.
    unsafe { if len == S::LANES { S::load(p) } else { S::load_partial(p, len) } }
}

#[inline(always)]
pub(super) unsafe fn store<S: Simd>(p: *mut f32, v: S::V, len: usize) {
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
