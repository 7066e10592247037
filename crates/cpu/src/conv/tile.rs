//! The register tile of the forward engine: MR pixels of a row by NV registers of channels.
//!
//! The sum over k runs through segments of contiguous source values (a kernel row over all
//! channels where the taps are adjacent). AVX-512: up to 14 x 2 or 16 x 1, broadcasts folded into
//! the multiply-adds; AVX2: up to 6 x 2 or 12 x 1.

use crate::isa::Isa;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Portable, Simd};

/// A run of contiguous source values, relative to the pixel's base.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub offset: usize,
    pub len: usize,
}

/// What a tile function works on: one column of tiles over `rows` output rows.
#[derive(Clone, Copy)]
pub(super) struct TileArgs {
    /// Source base of the first row's first pixel.
    pub a: *const f32,
    /// Source step between rows and between pixels.
    pub a_row: usize,
    pub a_step: usize,
    pub segments: *const Segment,
    pub num_segments: usize,
    /// Weights `[sum of segment lengths][ldb]`, NV registers readable in each row.
    pub b: *const f32,
    pub ldb: usize,
    pub rows: usize,
    /// Output of the first row's first pixel, with its steps.
    pub y: *mut f32,
    pub y_row: usize,
    pub y_step: usize,
    /// Valid channels, in `(NV - 1) * LANES + 1 ..= NV * LANES`.
    pub n: usize,
    /// `[n]` or null.
    pub bias: *const f32,
    /// As y (may be y itself), or null.
    pub residual: *const f32,
    /// As y or null: the output is zero where this is not positive.
    pub mask: *const f32,
    pub relu: bool,
}

pub(super) type TileFn = unsafe fn(&TileArgs);

/// Most pixels of a tile with `registers` registers of channels.
pub(super) fn max_pixels(isa: Isa, registers: usize) -> usize {
    match (isa, registers) {
        (Isa::Avx512, 1) => 16,
        (Isa::Avx512, _) => 14,
        (_, 1) => 12,
        _ => 6,
    }
}

/// # Safety
/// `p` has LANES readable values if `n >= LANES`, else `n`.
#[inline(always)]
pub(super) unsafe fn load_n<S: Simd>(p: *const f32, n: usize) -> S::V {
    // SAFETY: by this function's contract.
    unsafe { if n >= S::LANES { S::load(p) } else { S::load_partial(p, n) } }
}

/// # Safety
/// As [`load_n`], writable.
#[inline(always)]
pub(super) unsafe fn store_n<S: Simd>(p: *mut f32, v: S::V, n: usize) {
    // SAFETY: by this function's contract.
    unsafe { if n >= S::LANES { S::store(p, v) } else { S::store_partial(p, v, n) } }
}

/// Bias, residual, mask and relu of a finished tile, and its store. With `FULL` all lanes are
/// valid.
///
/// # Safety
/// As [`tile`]; `y`, `residual`, `mask` are at the tile's first pixel.
#[inline(always)]
unsafe fn finish<S: Simd, const MR: usize, const NV: usize, const FULL: bool>(
    t: &TileArgs,
    acc: &[[S::V; NV]; MR],
    y: *mut f32,
    residual: *const f32,
    mask: *const f32,
) {
    // SAFETY: pixel i of the tile is at i * y_step, and register v covers channels from v * LANES,
    // of which `lanes` are inside `n`.
    unsafe {
        for v in 0..NV {
            let at = v * S::LANES;
            let lanes = if FULL { S::LANES } else { (t.n - at).min(S::LANES) };
            let zero = S::splat(0.0);
            let bias = if t.bias.is_null() { zero } else { load_n::<S>(t.bias.add(at), lanes) };
            for i in 0..MR {
                let p = i * t.y_step + at;
                let mut sum = S::add(acc[i][v], bias);
                if !residual.is_null() {
                    sum = S::add(sum, load_n::<S>(residual.add(p), lanes));
                }
                if !mask.is_null() {
                    let keep = S::gt(load_n::<S>(mask.add(p), lanes), zero);
                    sum = S::select(keep, sum, zero);
                }
                if t.relu {
                    sum = S::max(zero, sum); // NaN stays NaN
                }
                store_n::<S>(y.add(p), sum, lanes);
            }
        }
    }
}

/// A dense tile column: `y[pixel, n] = sum over k of a[pixel, k] * b[k, n]`, then the epilogue.
///
/// # Safety
/// For row r and pixel i the values `a[r * a_row + i * a_step + offset ..][..len]` of all segments
/// are readable; `b` as documented; `y`, `residual` and `mask` hold `n` values at
/// `r * y_row + i * y_step`.
#[inline(always)]
unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(t: &TileArgs) {
    // SAFETY: by this function's contract; B rows have NV full registers.
    unsafe {
        let segments = std::slice::from_raw_parts(t.segments, t.num_segments);
        for row in 0..t.rows {
            let mut acc = [[S::splat(0.0); NV]; MR];
            let a = t.a.add(row * t.a_row);
            let mut b = t.b;
            for segment in segments {
                let a = a.add(segment.offset);
                for k in 0..segment.len {
                    let mut bv = [S::splat(0.0); NV];
                    for v in 0..NV {
                        bv[v] = S::load(b.add(v * S::LANES));
                    }
                    for i in 0..MR {
                        let x = S::splat(*a.add(i * t.a_step + k));
                        for v in 0..NV {
                            acc[i][v] = S::fma(x, bv[v], acc[i][v]);
                        }
                    }
                    b = b.add(t.ldb);
                }
            }
            write::<S, MR, NV>(t, &acc, row);
        }
    }
}

/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn write<S: Simd, const MR: usize, const NV: usize>(
    t: &TileArgs,
    acc: &[[S::V; NV]; MR],
    row: usize,
) {
    let at = row * t.y_row;
    let shift = |p: *const f32| if p.is_null() { p } else { p.wrapping_add(at) };
    // SAFETY: by the callers' contract.
    unsafe {
        let (y, residual, mask) = (t.y.add(at), shift(t.residual), shift(t.mask));
        if t.n == NV * S::LANES {
            finish::<S, MR, NV, true>(t, acc, y, residual, mask);
        } else {
            finish::<S, MR, NV, false>(t, acc, y, residual, mask);
        }
    }
}

/// A depthwise tile column: every segment is one tap of `n` channels, `b` one row per tap.
///
/// # Safety
/// As [`tile`], with `n` readable source values at each segment's offset.
#[inline(always)]
unsafe fn depthwise<S: Simd, const MR: usize, const NV: usize>(t: &TileArgs) {
    // SAFETY: by this function's contract.
    unsafe {
        let segments = std::slice::from_raw_parts(t.segments, t.num_segments);
        for row in 0..t.rows {
            let mut acc = [[S::splat(0.0); NV]; MR];
            let a = t.a.add(row * t.a_row);
            let mut b = t.b;
            for segment in segments {
                let a = a.add(segment.offset);
                for v in 0..NV {
                    let at = v * S::LANES;
                    let bv = S::load(b.add(at));
                    for i in 0..MR {
                        let x = load_n::<S>(a.add(i * t.a_step + at), t.n - at);
                        acc[i][v] = S::fma(x, bv, acc[i][v]);
                    }
                }
                b = b.add(t.ldb);
            }
            write::<S, MR, NV>(t, &acc, row);
        }
    }
}

/// One table of tile functions per instruction set: generic entry functions that carry the
/// target feature, picked by the number of pixels.
macro_rules! tile_tables {
    ($args:ty, $name:ident, $generic:ident) => {
        tile_tables!($args, $name, $generic, [1 2 3 4 5 6 7 8 9 10 11 12], [1 2 3 4 5 6]);
    };
    ($args:ty, $name:ident, $generic:ident, [$($one:literal)*], [$($two:literal)*]) => {
        /// The tile function for `pixels` rows and `registers` registers, or none so large.
        fn $name(isa: Isa, pixels: usize, registers: usize) -> Option<unsafe fn(&$args)> {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            unsafe fn avx512<const MR: usize, const NV: usize>(t: &$args) {
                // SAFETY: the features are on here; the rest is the caller's contract.
                unsafe { $generic::<Avx512, MR, NV>(t) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2<const MR: usize, const NV: usize>(t: &$args) {
                // SAFETY: as above.
                unsafe { $generic::<Avx2, MR, NV>(t) }
            }
            unsafe fn portable<const MR: usize, const NV: usize>(t: &$args) {
                // SAFETY: as above.
                unsafe { $generic::<Portable, MR, NV>(t) }
            }
            #[cfg(target_arch = "x86_64")]
            if isa == Isa::Avx512 {
                return match (pixels, registers) {
                    $(($one, 1) => Some(avx512::<$one, 1> as unsafe fn(&$args)),)*
                    (13, 1) => Some(avx512::<13, 1>),
                    (14, 1) => Some(avx512::<14, 1>),
                    (15, 1) => Some(avx512::<15, 1>),
                    (16, 1) => Some(avx512::<16, 1>),
                    $(($two, 2) => Some(avx512::<$two, 2>),)*
                    (7, 2) => Some(avx512::<7, 2>),
                    (8, 2) => Some(avx512::<8, 2>),
                    (9, 2) => Some(avx512::<9, 2>),
                    (10, 2) => Some(avx512::<10, 2>),
                    (11, 2) => Some(avx512::<11, 2>),
                    (12, 2) => Some(avx512::<12, 2>),
                    (13, 2) => Some(avx512::<13, 2>),
                    (14, 2) => Some(avx512::<14, 2>),
                    _ => None,
                };
            }
            #[cfg(target_arch = "x86_64")]
            if isa == Isa::Avx2 {
                return match (pixels, registers) {
                    $(($one, 1) => Some(avx2::<$one, 1> as unsafe fn(&$args)),)*
                    $(($two, 2) => Some(avx2::<$two, 2>),)*
                    _ => None,
                };
            }
            match (pixels, registers) {
                $(($one, 1) => Some(portable::<$one, 1> as unsafe fn(&$args)),)*
                $(($two, 2) => Some(portable::<$two, 2>),)*
                _ => None,
            }
        }
    };
}

tile_tables!(TileArgs, dense_table, tile);
tile_tables!(TileArgs, depthwise_table, depthwise);

/// The tile function for at most [`max_pixels`] pixels.
pub(super) fn tile_fn(isa: Isa, depthwise: bool, pixels: usize, registers: usize) -> TileFn {
    let table = if depthwise { depthwise_table } else { dense_table };
    table(isa, pixels, registers).expect("tiles are cut to the sizes of the table")
}
