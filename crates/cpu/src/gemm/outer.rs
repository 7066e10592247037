//! The outer product of two vectors, which is the gradient of a batch of one, and the update that it is for.
//!
//! Inputs are often mostly zeros, and with rules that leave what has no gradient as it is, each zero saves a row.

use super::thin::{load, store};
use super::tile::{Tile, TileFn};
use crate::isa::Isa;
use crate::optimizer::{
    Splat, Update, UpdateBlock, code, code_of, slots_of, update_vector, zero_is_still,
};
use crate::simd::Simd;
use std::mem::MaybeUninit;
use std::ops::Range;

/// The outer product of a column of `rows` and a row of `cols` values as the gradient of a
/// parameter, by a rule that streams have: in one pass, and not through memory.
#[inline(always)]
unsafe fn outer<S: Simd, const RULE: u8>(t: &Tile) {
    // SAFETY: a has `rows` values, b `cols`, parameter and slots `rows` by `cols`.
    unsafe {
        if is_narrow::<S>(t) || (t.coefficients.flush && slots_of(RULE) > 0) {
            return outer_by_blocks::<S>(t);
        }
        let k = Splat::<S>::new(t.coefficients);
        if !zero_is_still(RULE) {
            for i in 0..t.rows {
                outer_row::<S, RULE>(&k, t, i);
            }
            return;
        }
        match (t.cols == S::LANES, t.cols == 4 * S::LANES) {
            (true, _) => outer_still::<S, RULE, 1>(&k, t),
            (_, true) => outer_still::<S, RULE, 4>(&k, t),
            _ => outer_still::<S, RULE, 0>(&k, t),
        }
    }
}

/// Rows whose factor is zero stay as they are. Rows of `NV` whole vectors, if that is not 0, are taken
/// without a loop.
#[inline(always)]
unsafe fn outer_still<S: Simd, const RULE: u8, const NV: usize>(k: &Splat<S>, t: &Tile) {
    // SAFETY: a has `rows` values; rows below that exist, of NV vectors where that is not 0.
    unsafe {
        let mut i = 0;
        while i < t.rows {
            let count = S::LANES.min(t.rows - i);
            let mut bits = S::nonzero(load::<S>(t.a.add(i), count));
            while bits != 0 {
                let row = i + bits.trailing_zeros() as usize;
                if NV == 0 {
                    outer_row::<S, RULE>(k, t, row);
                } else {
                    let x = S::splat(*t.a.add(row));
                    for v in 0..NV {
                        let (at, j) = (row * t.stride, v * S::LANES);
                        outer_vector::<S, RULE>(k, t, x, at, j, S::LANES);
                    }
                }
                bits &= bits - 1;
            }
            i += count;
        }
    }
}

#[inline(always)]
unsafe fn outer_row<S: Simd, const RULE: u8>(k: &Splat<S>, t: &Tile, i: usize) {
    // SAFETY: row i exists; vectors end at or before `cols`.
    unsafe {
        let x = S::splat(*t.a.add(i));
        let row = i * t.stride;
        let mut j = 0;
        while t.cols - j >= S::LANES {
            outer_vector::<S, RULE>(k, t, x, row, j, S::LANES);
            j += S::LANES;
        }
        if j < t.cols {
            outer_vector::<S, RULE>(k, t, x, row, j, t.cols - j);
        }
    }
}

/// Columns `j..j + len` of the row that starts at `row`, at most a vector.
#[inline(always)]
unsafe fn outer_vector<S: Simd, const RULE: u8>(
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
        let (new, s) = update_vector::<S, RULE, false>(k, g, load::<S>(w, len), s);
        store::<S>(w, new, len);
        for (value, slot) in s.into_iter().zip(t.slots).take(slots_of(RULE)) {
            store::<S>(slot.add(row + j), value, len);
        }
    }
}

/// Columns below which rows that end within a vector are taken together.
const NARROW: usize = 64;

/// Values of the gradient that are written before they update the parameter.
const BLOCK: usize = 256;

/// A parameter of less than [`NARROW`] columns, without gaps, whose rows end within a vector: some of them at a time as one
/// long row, since masked rows that share a vector's bytes would wait for each other's stores.
#[inline(always)]
fn is_narrow<S: Simd>(t: &Tile) -> bool {
    t.cols < NARROW && !t.cols.is_multiple_of(S::LANES) && t.stride == t.cols
}

crate::kernel!(
    /// The same by any rule, block by block.
    fn outer_by_blocks_on(tile: &Tile) = outer_by_blocks;
);

#[inline(always)]
unsafe fn outer_by_blocks<S: Simd>(t: &Tile) {
    let mut gradient = [MaybeUninit::<f32>::uninit(); BLOCK + 16];
    let gradient = gradient.as_mut_ptr().cast::<f32>();
    let still = t.update.is_some_and(|update| update.still);
    // SAFETY: the rows exist, of `BLOCK` values at most at a time, which are all written before they are read.
    unsafe {
        if is_narrow::<S>(t) {
            return outer_narrow::<S>(t, still, gradient);
        }
        for i in (0..t.rows).filter(|&i| !still || *t.a.add(i) != 0.0) {
            for j in (0..t.cols).step_by(BLOCK) {
                let len = BLOCK.min(t.cols - j);
                outer_values::<S>(t, i..i + 1, j..j + len, gradient);
                update_values(t, i * t.stride + j, len, gradient);
            }
        }
    }
}

#[inline(always)]
unsafe fn outer_narrow<S: Simd>(t: &Tile, still: bool, gradient: *mut f32) {
    // Where all fit at once, looking for rows of zeros takes longer than they do.
    let runs = still && t.rows * t.cols > BLOCK;
    let most = if runs { (BLOCK / t.cols).min(16) } else { BLOCK / t.cols };
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
        // SAFETY: rows i..i + rows exist, of `BLOCK` values at most.
        unsafe {
            outer_values::<S>(t, i..i + rows, 0..t.cols, gradient);
            update_values(t, i * t.cols, rows * t.cols, gradient);
        }
        i += rows;
    }
}

/// Some columns of some rows of the outer product, one row after the other, to `out`, with up to a vector after them.
#[inline(always)]
unsafe fn outer_values<S: Simd>(t: &Tile, rows: Range<usize>, cols: Range<usize>, out: *mut f32) {
    // SAFETY: a has the rows, b the columns; each row's last vector begins inside it.
    unsafe {
        let (b, len) = (t.b.add(cols.start), cols.len());
        let mut out = out;
        if len <= S::LANES {
            let b = load::<S>(b, len);
            for r in rows {
                S::store(out, S::mul(S::splat(*t.a.add(r)), b));
                out = out.add(len);
            }
            return;
        }
        for r in rows {
            let x = S::splat(*t.a.add(r));
            for j in (0..len).step_by(S::LANES) {
                let g = load::<S>(b.add(j), S::LANES.min(len - j));
                S::store(out.add(j), S::mul(x, g));
            }
            out = out.add(len);
        }
    }
}

/// Updates `len` values of the parameter from `at` on, which have no gaps.
#[inline(always)]
unsafe fn update_values(t: &Tile, at: usize, len: usize, gradient: *const f32) {
    let block = UpdateBlock {
        rows: 1,
        cols: len,
        gradient,
        gradient_stride: 0,
        param: t.param.wrapping_add(at),
        slots: t.slots.map(|slot| slot.wrapping_add(at)),
        stride: 0,
    };
    if let Some(update) = t.update {
        // SAFETY: the caller's; slots that the rule lacks are never touched.
        unsafe { (update.run)(t.coefficients, &block) };
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

/// The function that updates a parameter from the outer product of two vectors. Rules that single samples are often learned by
/// have one of their own: for all rules and sets of instructions they would be a tenth of the crate.
pub(super) fn outer_on(isa: Isa, update: &Update) -> TileFn {
    macro_rules! own {
        ($outer:ident: $($rule:ident)*) => {
            match code_of(update) {
                $(rule if rule == code::$rule + code::PLAIN => $outer::<{ code::$rule + code::PLAIN }>,)*
                _ => outer_by_blocks_on(isa),
            }
        };
    }
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => own!(outer_avx512: SGD MOMENTUM ADAM ADAGRAD FTRL RMSPROP_LAZY),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => own!(outer_avx2: SGD MOMENTUM ADAM ADAGRAD FTRL RMSPROP_LAZY),
        _ => outer_by_blocks_on(isa),
    }
}
