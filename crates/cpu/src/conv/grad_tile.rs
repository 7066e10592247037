//! The register tile of the weight's gradient: MR weight rows by NV registers of output channels,
//! summed over the pixels of a band. The MR source values of a pixel are contiguous, so that
//! broadcasts have constant displacements.

use crate::isa::Isa;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Baseline, Simd, load_n, store_n};

/// What a tile function works on.
#[derive(Clone, Copy)]
pub(super) struct GradTileArgs {
    /// Source values of the band's first pixel, with the steps between rows and pixels.
    pub a: *const f32,
    pub a_row: usize,
    pub a_step: usize,
    /// dy `[rows][columns][NV * LANES]`, padded with zeros.
    pub b: *const f32,
    pub rows: usize,
    pub columns: usize,
    /// Sums `[MR][NV * LANES]`.
    pub out: *mut f32,
    /// Start from zero instead of from `out`.
    pub first: bool,
}

pub(super) type GradTileFn = unsafe fn(&GradTileArgs);

/// Most weight rows of a tile.
pub(super) use super::tile::max_pixels as max_rows;

/// # Safety
/// `out` holds the tile.
#[inline(always)]
unsafe fn begin<S: Simd, const MR: usize, const NV: usize>(t: &GradTileArgs) -> [[S::V; NV]; MR] {
    // SAFETY: the tile is MR * NV registers.
    unsafe {
        let mut acc = [[S::splat(0.0); NV]; MR];
        if !t.first {
            unroll!(I < MR, {
                unroll!(V < NV of 2, {
                    acc[I][V] = S::load(t.out.add((I * NV + V) * S::LANES));
                });
            });
        }
        acc
    }
}

/// # Safety
/// As [`begin`].
#[inline(always)]
unsafe fn end<S: Simd, const MR: usize, const NV: usize>(t: &GradTileArgs, acc: &[[S::V; NV]; MR]) {
    // SAFETY: as in `begin`.
    unsafe {
        unroll!(I < MR, {
            unroll!(V < NV of 2, {
                S::store(t.out.add((I * NV + V) * S::LANES), acc[I][V]);
            });
        });
    }
}

/// `out[i, n] += sum over pixels p of a[p, i] * b[p, n]`.
///
/// # Safety
/// For row r and column c, MR values at `a + r * a_row + c * a_step` are readable; `b` and `out`
/// as documented.
#[inline(always)]
unsafe fn dense<S: Simd, const MR: usize, const NV: usize>(t: &GradTileArgs) {
    // SAFETY: by this function's contract.
    unsafe {
        let mut acc = begin::<S, MR, NV>(t);
        let mut b = t.b;
        for row in 0..t.rows {
            let mut a = t.a.add(row * t.a_row);
            for _ in 0..t.columns {
                let mut bv = [S::splat(0.0); NV];
                unroll!(V < NV of 2, { bv[V] = S::load(b.add(V * S::LANES)) });
                unroll!(I < MR, {
                    let x = S::splat(*a.add(I));
                    unroll!(V < NV of 2, { acc[I][V] = S::fma(x, bv[V], acc[I][V]) });
                });
                b = b.add(NV * S::LANES);
                a = a.wrapping_add(t.a_step);
            }
        }
        end::<S, MR, NV>(t, &acc);
    }
}

/// `out[n] (+)= sum over p of b[p, n]` for rows of `width` values.
///
/// # Safety
/// `b` has `pixels * width` values, `width` a multiple of LANES; `out` has `n <= width` values.
#[inline(always)]
unsafe fn sum_rows<S: Simd>(
    b: *const f32,
    pixels: usize,
    width: usize,
    out: *mut f32,
    n: usize,
    first: bool,
) {
    // SAFETY: by this function's contract.
    unsafe {
        let mut at = 0;
        while at < n {
            let mut acc = [S::splat(0.0); 4];
            let mut p = 0;
            while p + 4 <= pixels {
                for (i, sum) in acc.iter_mut().enumerate() {
                    *sum = S::add(*sum, S::load(b.add((p + i) * width + at)));
                }
                p += 4;
            }
            while p < pixels {
                acc[0] = S::add(acc[0], S::load(b.add(p * width + at)));
                p += 1;
            }
            let mut sum = S::add(S::add(acc[0], acc[1]), S::add(acc[2], acc[3]));
            if !first {
                sum = S::add(load_n::<S>(out.add(at), n - at), sum);
            }
            store_n::<S>(out.add(at), sum, n - at);
            at += S::LANES;
        }
    }
}
kernel!(pub(super) fn sum_rows_on(b: *const f32, pixels: usize, width: usize, out: *mut f32, n: usize, first: bool) = sum_rows;);

#[cfg(target_arch = "x86_64")]
tile_table!(Avx512, GradTileArgs, avx512_dense, dense);
#[cfg(target_arch = "x86_64")]
tile_table!(Avx2, GradTileArgs, avx2_dense, dense);
tile_table!(Baseline, GradTileArgs, portable_dense, dense);

/// The tile function for at most [`max_rows`] weight rows.
pub(super) fn grad_tile_fn(isa: Isa, rows: usize, registers: usize) -> GradTileFn {
    let table = match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => avx512_dense,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2_dense,
        _ => portable_dense,
    };
    table(rows, registers).expect("tiles are cut to the sizes of the table")
}
