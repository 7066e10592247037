//! The register tile of the forward engine: MR pixels of a row by NV registers of channels.
//!
//! The sum over k runs through a table of offsets from the pixel's base, each for a block of KU
//! contiguous source values. One flat loop: with a loop over taps around one over channels, the
//! compiler spills all accumulators between the two. AVX-512: up to 14 x 2 or 16 x 1; AVX2: up to
//! 6 x 2 or 12 x 1.

use crate::isa::Isa;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Baseline, Simd, load_n, prefetch, store_n};

/// What a tile function works on: one column of tiles over `rows` output rows.
#[derive(Clone, Copy)]
pub(super) struct TileArgs {
    /// Source base of the first row's first pixel.
    pub a: *const f32,
    /// Source step between rows and between pixels.
    pub a_row: usize,
    pub a_step: usize,
    /// Offsets of the blocks of KU source values.
    pub offsets: *const u32,
    pub num_offsets: usize,
    /// Weights `[num_offsets * KU][NV * LANES]`.
    pub b: *const f32,
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
        (Isa::Avx2, 1) => 8,
        (Isa::Avx2, _) => 6,
        (Isa::Portable, _) => 4,
    }
}

/// Repeats a block for constants `I` in `0..$n`, at most 16. Loops over accumulators must be
/// unrolled for certain: a single index that is not constant makes all of them live in memory
/// through the sum over k (97 -> 37 % of peak). `unroll!(I < n of 2, ..)` repeats at most twice,
/// which is kinder to the compiler.
macro_rules! unroll {
    ($i:ident < $n:ident of 2, $body:block) => {
        unroll!(@ $i, $n, $body, 0, 1)
    };
    ($i:ident < $n:ident of 4, $body:block) => {
        unroll!(@ $i, $n, $body, 0, 1, 2, 3)
    };
    ($i:ident < $n:ident, $body:block) => {
        unroll!(@ $i, $n, $body, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    };
    (@ $i:ident, $n:ident, $body:block, $($at:literal),*) => {
        $( if const { $at < $n } { #[allow(non_upper_case_globals)] const $i: usize = $at; $body } )*
    };
}

/// Asks for a tile of y, residual or mask: there is time until its sums are done, and the stride
/// between pixels is beyond what the hardware guesses.
#[inline(always)]
fn prefetch_tile<S: Simd, const MR: usize, const NV: usize>(p: *const f32, step: usize) {
    unroll!(I < MR, {
        let p = p.wrapping_add(I * step);
        prefetch(p);
        if NV * S::LANES > 16 {
            prefetch(p.wrapping_add(16));
        }
    });
}

/// Bias, residual, mask and relu of a finished tile, and its store.
///
/// # Safety
/// As [`tile`]; `row` is below `rows`.
#[inline(always)]
unsafe fn finish<S: Simd, const MR: usize, const NV: usize>(
    t: &TileArgs,
    mut acc: [[S::V; NV]; MR],
    row: usize,
) {
    // SAFETY: pixel i of the tile is at i * y_step, register v covers channels from v * LANES;
    // here all are valid.
    unsafe {
        if t.n == NV * S::LANES {
            let at = row * t.y_row;
            let zero = S::splat(0.0);
            if !t.bias.is_null() {
                unroll!(V < NV of 2, {
                    let bias = S::load(t.bias.add(V * S::LANES));
                    unroll!(I < MR, { acc[I][V] = S::add(acc[I][V], bias) });
                });
            }
            if !t.residual.is_null() {
                let from = t.residual.add(at);
                unroll!(I < MR, {
                    let from = from.add(I * t.y_step);
                    unroll!(V < NV of 2, {
                        acc[I][V] = S::add(acc[I][V], S::load(from.add(V * S::LANES)));
                    });
                });
            }
            if !t.mask.is_null() {
                let from = t.mask.add(at);
                unroll!(I < MR, {
                    let from = from.add(I * t.y_step);
                    unroll!(V < NV of 2, {
                        let keep = S::gt(S::load(from.add(V * S::LANES)), zero);
                        acc[I][V] = S::select(keep, acc[I][V], zero);
                    });
                });
            }
            if t.relu {
                unroll!(I < MR, {
                    unroll!(V < NV of 2, { acc[I][V] = S::max(zero, acc[I][V]) }); // NaN stays NaN
                });
            }
            let y = t.y.add(at);
            unroll!(I < MR, {
                let y = y.add(I * t.y_step);
                unroll!(V < NV of 2, { S::store(y.add(V * S::LANES), acc[I][V]) });
            });
            return;
        }
    }
    let mut sums = [[[0.0f32; MAX_LANES]; NV]; MR];
    // SAFETY: registers have at most MAX_LANES lanes.
    unsafe {
        unroll!(I < MR, {
            unroll!(V < NV of 2, { S::store(sums[I][V].as_mut_ptr(), acc[I][V]) });
        });
        finish_slowly::<S>(t, sums.as_flattened(), NV, row);
    }
}

/// Lanes of the widest register.
const MAX_LANES: usize = 16;

/// [`finish`] with invalid lanes, from sums in memory.
///
/// # Safety
/// As [`tile`]; `sums` has `registers` registers for each pixel.
#[inline(always)]
unsafe fn finish_slowly<S: Simd>(
    t: &TileArgs,
    sums: &[[f32; MAX_LANES]],
    registers: usize,
    row: usize,
) {
    // SAFETY: pixel i of the tile is at i * y_step, register v covers channels from v * LANES, of
    // which `lanes` (or LANES, if less) are inside `n`.
    unsafe {
        let zero = S::splat(0.0);
        for (i, pixel) in sums.chunks(registers).enumerate() {
            for (v, sum) in pixel.iter().enumerate() {
                let (lanes, at) = (t.n - v * S::LANES, row * t.y_row + i * t.y_step + v * S::LANES);
                let mut sum = S::load(sum.as_ptr());
                if !t.bias.is_null() {
                    sum = S::add(sum, load_n::<S>(t.bias.add(v * S::LANES), lanes));
                }
                if !t.residual.is_null() {
                    sum = S::add(sum, load_n::<S>(t.residual.add(at), lanes));
                }
                if !t.mask.is_null() {
                    let keep = S::gt(load_n::<S>(t.mask.add(at), lanes), zero);
                    sum = S::select(keep, sum, zero);
                }
                if t.relu {
                    sum = S::max(zero, sum);
                }
                store_n::<S>(t.y.add(at), sum, lanes);
            }
        }
    }
}

/// A dense tile column: `y[pixel, n] = sum over k of a[pixel, k] * b[k, n]`, then the epilogue.
///
/// # Safety
/// For row r and pixel i the KU values at `a + r * a_row + i * a_step + offset` are readable for
/// all offsets; `b` as documented; `y`, `residual` and `mask` hold `n` values at
/// `r * y_row + i * y_step`.
#[inline(always)]
unsafe fn tile<S: Simd, const MR: usize, const NV: usize, const KU: usize>(t: &TileArgs) {
    // SAFETY: by this function's contract; B rows have NV full registers.
    unsafe {
        for row in 0..t.rows {
            prefetch_tile::<S, MR, NV>(t.y.wrapping_add(row * t.y_row), t.y_step);
            for extra in [t.residual, t.mask] {
                if !extra.is_null() {
                    prefetch_tile::<S, MR, NV>(extra.wrapping_add(row * t.y_row), t.y_step);
                }
            }
            let mut acc = [[S::splat(0.0); NV]; MR];
            let a = t.a.add(row * t.a_row);
            let mut b = t.b;
            for block in 0..t.num_offsets {
                // every third pixel has a pointer, its neighbours are one and two steps away:
                // 14 pointers do not fit the registers
                let mut p = [a.add(*t.offsets.add(block) as usize); 6];
                for j in 1..6 {
                    p[j] = p[0].wrapping_add(3 * j * t.a_step);
                }
                unroll!(U < KU of 4, {
                    let mut bv = [S::splat(0.0); NV];
                    unroll!(V < NV of 2, { bv[V] = S::load(b.add((U * NV + V) * S::LANES)) });
                    unroll!(I < MR, {
                        let x = S::splat(*p[I / 3].add(I % 3 * t.a_step + U));
                        unroll!(V < NV of 2, { acc[I][V] = S::fma(x, bv[V], acc[I][V]) });
                    });
                });
                b = b.wrapping_add(KU * NV * S::LANES);
            }
            finish::<S, MR, NV>(t, acc, row);
        }
    }
}

/// Defines `name(pixels, registers)`: the tile function of an instruction set, or none so large.
/// Entry functions carry the target feature; each constant pair is one of them.
macro_rules! tile_table {
    ($set:ident, $args:ty, $name:ident, $generic:ident $(, $k:literal)?) => {
        tile_table!(@ $set, $args, $name, $generic, [$($k)?]);
    };
    (@ Avx512, $args:ty, $name:ident, $generic:ident, $k:tt) => {
        tile_table!(@@ Avx512, $args, $name, $generic, $k,
            [#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]],
            [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16], [1 2 3 4 5 6 7 8 9 10 11 12 13 14]);
    };
    (@ Avx2, $args:ty, $name:ident, $generic:ident, $k:tt) => {
        tile_table!(@@ Avx2, $args, $name, $generic, $k,
            [#[target_feature(enable = "avx2,fma")]], [1 2 3 4 5 6 7 8], [1 2 3 4 5 6]);
    };
    (@ Baseline, $args:ty, $name:ident, $generic:ident, $k:tt) => {
        tile_table!(@@ Baseline, $args, $name, $generic, $k, [], [1 2 3 4], [1 2 3 4]);
    };
    (@@ $set:ident, $args:ty, $name:ident, $generic:ident, [$($k:literal)?], [$($feature:tt)*],
     [$($one:literal)*], [$($two:literal)*]) => {
        fn $name(pixels: usize, registers: usize) -> Option<unsafe fn(&$args)> {
            $($feature)*
            unsafe fn entry<const MR: usize, const NV: usize>(t: &$args) {
                // SAFETY: the features are on here; the rest is the caller's contract.
                unsafe { $generic::<$set, MR, NV $(, $k)?>(t) }
            }
            match (pixels, registers) {
                $(($one, 1) => Some(entry::<$one, 1> as unsafe fn(&$args)),)*
                $(($two, 2) => Some(entry::<$two, 2>),)*
                _ => None,
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    tile_table!(Avx512, TileArgs, avx512_dense1, tile, 1);
    tile_table!(Avx512, TileArgs, avx512_dense3, tile, 3);
    tile_table!(Avx512, TileArgs, avx512_dense4, tile, 4);
    tile_table!(Avx2, TileArgs, avx2_dense1, tile, 1);
    tile_table!(Avx2, TileArgs, avx2_dense4, tile, 4);

    pub(super) fn table(isa: Isa, unit: usize) -> Table {
        match (isa, unit) {
            (Isa::Avx512, 4) => avx512_dense4,
            (Isa::Avx512, 3) => avx512_dense3,
            (Isa::Avx512, _) => avx512_dense1,
            (Isa::Avx2, 4) => avx2_dense4,
            (Isa::Avx2, _) => avx2_dense1,
            _ => super::portable_dense,
        }
    }
}
#[cfg(not(target_arch = "x86_64"))]
mod x86 {
    pub(super) fn table(_: super::Isa, _: usize) -> super::Table {
        super::portable_dense
    }
}

tile_table!(Baseline, TileArgs, portable_dense, tile, 1);

type Table = fn(usize, usize) -> Option<TileFn>;

/// Lengths of blocks that an instruction set has tiles for besides 1, longest first: compile time
/// is what limits them.
pub(super) fn block_lengths(isa: Isa) -> &'static [usize] {
    match isa {
        Isa::Avx512 => &[4, 3],
        Isa::Avx2 => &[4],
        Isa::Portable => &[],
    }
}

/// The tile function for at most [`max_pixels`] pixels that walks the source in blocks of `unit` contiguous values.
pub(super) fn tile_fn(isa: Isa, unit: usize, pixels: usize, registers: usize) -> TileFn {
    let tile = x86::table(isa, unit)(pixels, registers);
    tile.expect("tiles are cut to the sizes of the table")
}
