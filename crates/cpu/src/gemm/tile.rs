//! Register tiles: `MR` rows by one or two vectors of C, with the whole or a part of the
//! reduction, and the epilogue on the registers.
//!
//! AVX-512: up to 12 rows by 2 x 16 columns, 24 accumulators of 32 registers; AVX2: 6 by 2 x 8,
//! 12 of 16.

use super::{Activation, Epilogue};
use crate::isa::Isa;
use crate::optimizer::{Coefficients, UpdateFn};
use crate::simd::Simd;

/// What happens to finished sums.
#[derive(Clone, Copy)]
pub(super) struct Finish {
    pub bias: bool,
    pub residual: bool,
    pub relu: bool,
    pub mask: bool,
}

impl Finish {
    /// Nothing: sums of a part of the reduction.
    pub const NONE: Finish = Finish { bias: false, residual: false, relu: false, mask: false };

    pub fn new(epilogue: &Epilogue) -> Finish {
        Finish {
            bias: epilogue.bias,
            residual: epilogue.residual,
            relu: epilogue.activation == Activation::Relu,
            mask: epilogue.mask,
        }
    }
}

/// One tile's operands. All pointers are to the tile's first element.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    pub rows: usize,
    pub k: usize,
    pub a: *const f32,
    /// The stride of A that is not 1: between rows where the reduction is contiguous, between
    /// steps of the reduction where rows are.
    pub a_stride: usize,
    pub b: *const f32,
    /// B of the third and fourth vector, for tiles that have them.
    pub b_far: *const f32,
    /// Between steps of the reduction.
    pub b_stride: usize,
    /// Steps of the reduction to do, for tiles with a list.
    pub steps: *const u32,
    pub num_steps: usize,
    /// Sums start from here; null: from zero.
    pub from: *const f32,
    pub from_stride: usize,
    pub to: *mut f32,
    pub to_stride: usize,
    /// Where each row is in `from`, `to`, residual and mask, if rows are not a stride apart.
    pub shift: *const usize,
    /// Columns that exist, at most NV vectors.
    pub cols: usize,
    pub finish: &'a Finish,
    pub bias: *const f32,
    pub residual: *const f32,
    pub mask: *const f32,
    /// Of residual, mask, parameter and slots.
    pub stride: usize,
    /// Of products of vectors, which update as they go.
    pub param: *mut f32,
    pub slots: [*mut f32; 3],
    pub coefficients: &'a Coefficients,
    /// The rule as a function.
    pub update: Option<Updates>,
}

/// An optimizer's rule.
#[derive(Clone, Copy)]
pub(super) struct Updates {
    /// Updates a block by its gradient.
    pub run: UpdateFn,
    /// Whether a gradient of exactly zero leaves the parameter and its slots as they are.
    pub still: bool,
}

pub(super) type TileFn = unsafe fn(&Tile);

/// Repeats a block for the constants `0..MR` (rows, at most 12) or `0..NV` (vectors, at most 4): loops over
/// accumulator arrays must be unrolled for certain, or the accumulators land in memory. Each level
/// repeats no more than it needs: blocks that are left out are compiled too, most of a minute of the build.
macro_rules! unroll {
    ($i:ident < MR, $body:block) => {
        unroll!(@ $i, MR, $body, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
    };
    ($i:ident < NV, $body:block) => {
        unroll!(@ $i, NV, $body, 0, 1, 2, 3)
    };
    (@ $i:ident, $n:ident, $body:block, $($at:literal),*) => {
        $( if const { $at < $n } { #[allow(non_upper_case_globals)] const $i: usize = $at; $body } )*
    };
}

/// Most vectors of a row of a tile.
pub(super) const MAX_VECTORS: usize = 2;

#[inline(always)]
unsafe fn load<S: Simd, const TAIL: bool>(p: *const f32, last: bool, cols: usize) -> S::V {
    // SAFETY: the caller's; a partial vector has `cols` elements.
    unsafe { if TAIL && last { S::load_partial(p, cols) } else { S::load(p) } }
}

#[inline(always)]
unsafe fn store<S: Simd, const TAIL: bool>(p: *mut f32, v: S::V, last: bool, cols: usize) {
    // SAFETY: the caller's; a partial vector has `cols` elements.
    unsafe { if TAIL && last { S::store_partial(p, v, cols) } else { S::store(p, v) } }
}

/// One step of the reduction.
#[inline(always)]
unsafe fn multiply_add<S: Simd, const MR: usize, const NV: usize, const TAIL: bool>(
    acc: &mut [[S::V; NV]; MR],
    a: *const f32,
    a_row: usize,
    [b, b_far]: [*const f32; 2],
    tail: usize,
) {
    // SAFETY: the caller's: MR values of A, `a_row` apart, and the columns of B exist.
    unsafe {
        let mut row = [S::splat(0.0); NV];
        unroll!(J < NV, {
            let b = if J < MAX_VECTORS { b } else { b_far };
            row[J] = load::<S, TAIL>(b.add(J % MAX_VECTORS * S::LANES), J == NV - 1, tail);
        });
        unroll!(I < MR, {
            let x = S::splat(*a.add(I * a_row));
            unroll!(J < NV, {
                acc[I][J] = S::fma(x, row[J], acc[I][J]);
            });
        });
    }
}

/// `COLUMNS`: rows of A are contiguous at each step of the reduction (A transposed or packed), not
/// the reduction. `TAIL`: the last vector has only `cols - (NV - 1) LANES` columns.
#[inline(always)]
unsafe fn tile<
    S: Simd,
    const COLUMNS: bool,
    const MR: usize,
    const NV: usize,
    const TAIL: bool,
    const LIST: bool,
>(
    t: &Tile,
) {
    // SAFETY: the tile's rows 0..MR and columns 0..cols exist in all operands that its `finish`
    // uses, and k steps of the reduction in A and B; no access goes past them.
    unsafe {
        let lanes = S::LANES;
        let tail = if TAIL { t.cols - (NV - 1) * lanes } else { 0 };
        let mut acc = [[S::splat(0.0); NV]; MR];
        let (a_row, a_step) = if COLUMNS { (1, t.a_stride) } else { (t.a_stride, 1) };
        if LIST {
            for at in 0..t.num_steps {
                let step = *t.steps.add(at) as usize;
                let b = [t.b, t.b_far].map(|b| b.wrapping_add(step * t.b_stride));
                multiply_add::<S, MR, NV, TAIL>(&mut acc, t.a.add(step * a_step), a_row, b, tail);
            }
        } else {
            let (mut a, mut b) = (t.a, t.b);
            for _ in 0..t.k {
                multiply_add::<S, MR, NV, TAIL>(&mut acc, a, a_row, [b, b], tail);
                a = a.add(a_step);
                b = b.add(t.b_stride);
            }
        }
        // of a row in an operand with that stride
        let place = |row: usize, stride: usize| {
            if t.shift.is_null() { row * stride } else { *t.shift.add(row) }
        };
        if !t.from.is_null() {
            unroll!(I < MR, {
                unroll!(J < NV, {
                    let p = t.from.add(place(I, t.from_stride) + J * lanes);
                    acc[I][J] = S::add(acc[I][J], load::<S, TAIL>(p, J == NV - 1, tail));
                });
            });
        }
        let f = t.finish;
        if f.bias {
            unroll!(J < NV, {
                let bias = load::<S, TAIL>(t.bias.add(J * lanes), J == NV - 1, tail);
                unroll!(I < MR, {
                    acc[I][J] = S::add(acc[I][J], bias);
                });
            });
        }
        if f.residual {
            unroll!(I < MR, {
                unroll!(J < NV, {
                    let p = t.residual.add(place(I, t.stride) + J * lanes);
                    acc[I][J] = S::add(acc[I][J], load::<S, TAIL>(p, J == NV - 1, tail));
                });
            });
        }
        if f.relu {
            // max gives its second operand where either is NaN: NaN stays
            unroll!(I < MR, {
                unroll!(J < NV, {
                    acc[I][J] = S::max(S::splat(0.0), acc[I][J]);
                });
            });
        }
        if f.mask {
            unroll!(I < MR, {
                unroll!(J < NV, {
                    let p = t.mask.add(place(I, t.stride) + J * lanes);
                    let on = S::gt(load::<S, TAIL>(p, J == NV - 1, tail), S::splat(0.0));
                    acc[I][J] = S::select(on, acc[I][J], S::splat(0.0));
                });
            });
        }
        unroll!(I < MR, {
            unroll!(J < NV, {
                let p = t.to.add(place(I, t.to_stride) + J * lanes);
                store::<S, TAIL>(p, acc[I][J], J == NV - 1, tail);
            });
        });
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn avx512<const C: bool, const MR: usize, const NV: usize, const T: bool, const L: bool>(
    t: &Tile,
) {
    // SAFETY: the caller's; the features are on here.
    unsafe { tile::<crate::simd::Avx512, C, MR, NV, T, L>(t) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const C: bool, const MR: usize, const NV: usize, const T: bool, const L: bool>(
    t: &Tile,
) {
    // SAFETY: as above.
    unsafe { tile::<crate::simd::Avx2, C, MR, NV, T, L>(t) }
}

unsafe fn portable<
    const C: bool,
    const MR: usize,
    const NV: usize,
    const T: bool,
    const L: bool,
>(
    t: &Tile,
) {
    // SAFETY: as above; the portable set needs no features.
    unsafe { tile::<crate::simd::Baseline, C, MR, NV, T, L>(t) }
}

/// The tiles of one instruction set for one form of A: `shape[width][rows - 1]` with widths two
/// full vectors, one and a part, a part of one (or all of it); and two with a list of steps.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    pub max_rows: usize,
    pub lanes: usize,
    shapes: [&'static [TileFn]; 4],
    /// Tiles of half the rows and four vectors, with a list: fewer rows have more zeros in common.
    flat: &'static [TileFn],
}

impl Tiles {
    /// The tile of `rows` rows and `cols` columns, `1..=max_rows` and `1..=2 lanes`; with a list
    /// of steps if that exists for this width.
    pub fn get(&self, rows: usize, cols: usize, list: bool) -> TileFn {
        let width = if cols == 2 * self.lanes {
            if list { 3 } else { 0 }
        } else if cols > self.lanes {
            1
        } else {
            2
        };
        self.shapes[width][rows - 1]
    }

    /// Most rows of a tile of four vectors; 0: there are none.
    pub fn flat_rows(&self) -> usize {
        self.flat.len()
    }

    /// The tile of `rows` rows and two panels, with a list of steps.
    pub fn flat(&self, rows: usize) -> TileFn {
        self.flat[rows - 1]
    }
}

macro_rules! table {
    ($f:ident, $c:literal, $nv:literal, $t:literal, $l:literal; $($rows:literal),*) => {{
        const TABLE: &[TileFn] = &[$($f::<$c, $rows, $nv, $t, $l>),*];
        TABLE
    }};
}

macro_rules! tables {
    ($f:ident, $columns:expr, $lanes:literal; $($rows:literal),*; $($flat:literal),*) => {{
        let flat = if $columns {
            table!($f, true, 4, false, true; $($flat),*)
        } else {
            table!($f, false, 4, false, true; $($flat),*)
        };
        let shapes = if $columns {
            [
                table!($f, true, 2, false, false; $($rows),*),
                table!($f, true, 2, true, false; $($rows),*),
                table!($f, true, 1, true, false; $($rows),*),
                table!($f, true, 2, false, true; $($rows),*),
            ]
        } else {
            [
                table!($f, false, 2, false, false; $($rows),*),
                table!($f, false, 2, true, false; $($rows),*),
                table!($f, false, 1, true, false; $($rows),*),
                table!($f, false, 2, false, true; $($rows),*),
            ]
        };
        Tiles { max_rows: shapes[0].len(), lanes: $lanes, shapes, flat }
    }};
}

/// The tiles of an instruction set; `columns`: A's rows are contiguous, not the reduction.
pub(super) fn tiles(isa: Isa, columns: bool) -> Tiles {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => {
            tables!(avx512, columns, 16; 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12; 1, 2, 3, 4, 5, 6)
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => tables!(avx2, columns, 8; 1, 2, 3, 4, 5, 6;),
        _ => tables!(portable, columns, 8; 1, 2, 3, 4;),
    }
}
