//! Matrix products with fused epilogues: `C[m,n] = op(A) op(B)`, row-major f32.
//!
//! # Layout
//! - here: the descriptor, and the kernel's choices at plan time.
//! - `loops`: the loops around the tiles.
//! - `tile`: the register tiles, where the time goes.
//! - `pack`: copies of operands into panels, for B transposed and for large operands.
//! - `thin`: products that are bound by memory: vectors times matrices.
//! - `outer`: products of two vectors, which update a parameter.
//! - `zeros`: steps that a tile can leave out because A is zero there.
//! - `split`: few samples times many weights, cut along the reduction.
//! - `ragged`: rows that are positions of samples with lengths: no time is spent on padding.
//! - `grid`: how the work is cut into chunks.
//! - `blocks`: products of blocks of any size, for other kernels.
//!
//! Legend: `m` rows and `n` columns of C, `k` steps of the reduction. An element of C is
//! summed by one chunk in ascending order of k, in blocks of a length that the shape alone gives.

pub(crate) mod blocks;
mod grid;
mod loops;
mod outer;
mod pack;
mod ragged;
pub mod split;
#[cfg(test)]
mod tests;
mod thin;
mod tile;
mod zeros;

use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::optimizer::{Coefficients, Update, code_of, update_fn, zero_is_still};
use grid::Grid;
use loops::Operands;
use pack::PackFn;
use std::ops::Range;
use tile::{Finish, MAX_VECTORS, TileFn, Tiles, Updates};
use zeros::{HalvesFn, ZerosFn};

/// Positions of a product's arguments. Those that the epilogue does not use may be null.
pub mod args {
    /// `op(A)` is `[m, k]`: stored `[m, k]`, or `[k, m]` if transposed.
    pub const A: usize = 0;
    /// `op(B)` is `[k, n]`: stored `[k, n]`, or `[n, k]` if transposed.
    pub const B: usize = 1;
    /// The output, `[m, n]`; read with `accumulate`, not touched with `update` otherwise.
    pub const C: usize = 2;
    /// `[n]`, the same for all of a batch.
    pub const BIAS: usize = 3;
    /// `[m, n]` with C's strides; may be C itself.
    pub const RESIDUAL: usize = 4;
    /// `[m, n]` with C's strides; may be C itself.
    pub const MASK: usize = 5;
    /// `[m, n]` with C's strides, updated in place.
    pub const PARAM: usize = 6;
    /// The first of three optimizer slots, `[m, n]` with C's strides, updated in place.
    pub const SLOT0: usize = 7;
    /// The step's hyper-parameters, see [`tidemill_graph::update::hyper`].
    pub const HYPER: usize = 10;
    /// i32, how many of each sample's `time` positions count.
    pub const LENGTHS: usize = 11;
    /// The number of arguments.
    pub const LEN: usize = 12;
}

/// A function that the epilogue applies to every element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Activation {
    /// `x`
    #[default]
    None,
    /// `max(x, 0)`
    Relu,
}

/// What happens to a sum before it is stored, in the order of the fields:
/// `C = mask(activation(sum + [C] + [bias] + [residual]))`.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Epilogue {
    /// Add what C holds.
    pub accumulate: bool,
    /// Add `bias[column]`.
    pub bias: bool,
    /// Add `residual[row, column]`.
    pub residual: bool,
    /// Apply a function.
    pub activation: Activation,
    /// Zero where `mask[row, column] > 0` does not hold: the gradient through a relu, from its
    /// output.
    pub mask: bool,
    /// The result is the whole gradient of `param[m, n]`: update that in place, store nothing in C.
    pub update: Option<Update>,
}

/// A matrix product. Strides are in elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GemmDesc {
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// Steps of the reduction.
    pub k: usize,
    /// Products with the same shape; 1 with an `update`.
    pub batch: usize,
    /// A is stored `[k, m]`.
    pub transpose_a: bool,
    /// B is stored `[n, k]`.
    pub transpose_b: bool,
    /// Between stored rows of A.
    pub lda: usize,
    /// Between stored rows of B.
    pub ldb: usize,
    /// Between rows of C, residual, mask, parameter and slots.
    pub ldc: usize,
    /// Between the A, B and C of a batch; residual and mask go with C. 0 for A or B: the same
    /// for all.
    pub batch_strides: [usize; 3],
    /// The bits of a row of C must not depend on how many rows there are: sums are then made in one order for all shapes.
    pub by_row: bool,
    /// Stored rows of A are positions of samples, this many of each, and those beyond a sample's length count as zeros; 0: there
    /// are no lengths. Only with one product.
    pub time: usize,
    /// What happens to the sums.
    pub epilogue: Epilogue,
}

impl GemmDesc {
    /// One product of dense operands without epilogue.
    pub fn new(m: usize, n: usize, k: usize, transpose_a: bool, transpose_b: bool) -> GemmDesc {
        GemmDesc {
            m,
            n,
            k,
            batch: 1,
            transpose_a,
            transpose_b,
            lda: if transpose_a { m } else { k },
            ldb: if transpose_b { k } else { n },
            ldc: n,
            batch_strides: [m * k, k * n, m * n],
            by_row: false,
            time: 0,
            epilogue: Epilogue::default(),
        }
    }

    /// Multiplications and additions of all products.
    pub fn flops(&self) -> u64 {
        2 * (self.batch * self.m * self.n) as u64 * self.k as u64
    }
}

/// How the loops over a chunk are blocked; chosen from the shape by [`Gemm::new`], or given for
/// measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocking {
    /// Copy A into panels of a tile's rows, `mc` rows at once.
    pub pack_a: bool,
    /// Copy B into panels of a tile's columns; always so where B is transposed.
    pub pack_b: bool,
    /// Steps of the reduction that are done at once.
    pub kc: usize,
    /// Rows of A that are packed at once.
    pub mc: usize,
    /// Columns of B that are packed at once.
    pub nc: usize,
    /// Chunks along the rows.
    pub row_chunks: usize,
    /// Chunks along the columns.
    pub col_chunks: usize,
}

/// A matrix product, specialised for its shape, epilogue and instruction set. Arguments: see
/// [`args`].
#[derive(Clone)]
pub struct Gemm {
    desc: GemmDesc,
    blocking: Blocking,
    /// Products of a batch in one chunk.
    batch_group: usize,
    /// Does a whole chunk, where vectors are multiplied.
    thin: Option<TileFn>,
    tiles: Tiles,
    pack_a: Option<PackFn>,
    pack_b: Option<PackFn>,
    finish: Finish,
    /// Updates a parameter with a strip's sums.
    update: Option<Updates>,
    /// Lists the steps of a tile where A is not zero.
    zeros: ZerosFn,
    /// The same of the two halves of a strip, where that is one look.
    zeros_of_halves: Option<HalvesFn>,
}

impl Gemm {
    /// Chooses tiles, packing and chunks for a product.
    pub fn new(isa: Isa, desc: &GemmDesc) -> Gemm {
        let tiles = tile::tiles(isa, desc.transpose_a);
        let thin = Gemm::thin(isa, desc);
        let Grid { blocking, batch_group } = match thin {
            Some(_) => grid::choose_thin(desc),
            None => grid::choose(desc, tiles.max_rows, tiles.lanes),
        };
        let pack_b = if thin.is_some() { None } else { Gemm::packer(isa, desc, &blocking) };
        Gemm { batch_group, thin, pack_b, ..Gemm::with_blocking(isa, desc, blocking) }
    }

    /// The kernel for a product of vectors.
    fn thin(isa: Isa, d: &GemmDesc) -> Option<TileFn> {
        if d.time > 0 {
            return None;
        }
        let e = &d.epilogue;
        // the rows of A (the steps of the reduction) must be contiguous
        let columns = d.transpose_a || d.lda == 1;
        let steps = !d.transpose_a || d.lda == 1;
        match &e.update {
            Some(update) => {
                let alone = Epilogue { update: None, ..*e } == Epilogue::default();
                (d.k == 1 && columns && !d.transpose_b && alone)
                    .then(|| outer::outer_on(isa, update))
            }
            None if d.m == 1 && steps && !d.by_row => {
                Some(if d.transpose_b { thin::dots_on(isa) } else { thin::row_on(isa) })
            }
            None => None,
        }
    }

    /// What packs B, if the blocking says so.
    fn packer(isa: Isa, d: &GemmDesc, blocking: &Blocking) -> Option<PackFn> {
        match (d.transpose_b, blocking.pack_b) {
            (true, _) => Some(pack::transpose_on(isa)),
            (false, true) => Some(pack::copy_on(isa)),
            (false, false) => None,
        }
    }

    /// With a blocking of the caller's, for measurements and tests.
    pub fn with_blocking(isa: Isa, desc: &GemmDesc, blocking: Blocking) -> Gemm {
        let pack_a = if desc.transpose_a { pack::copy_on(isa) } else { pack::transpose_on(isa) };
        Gemm {
            desc: *desc,
            blocking,
            batch_group: 1,
            tiles: tile::tiles(isa, desc.transpose_a || blocking.pack_a),
            pack_a: blocking.pack_a.then_some(pack_a),
            pack_b: Gemm::packer(isa, desc, &blocking),
            thin: None,
            finish: Finish::new(&desc.epilogue),
            update: desc.epilogue.update.map(|update| Updates {
                run: update_fn(isa, &update),
                still: zero_is_still(code_of(&update)),
            }),
            zeros: if desc.transpose_a { zeros::columns_on(isa) } else { zeros::rows_on(isa) },
            zeros_of_halves: desc.transpose_a.then(|| zeros::column_halves_on(isa)),
        }
    }

    /// The blocking in use.
    pub fn blocking(&self) -> Blocking {
        self.blocking
    }

    /// Columns of a full tile.
    #[inline]
    fn panel(&self) -> usize {
        MAX_VECTORS * self.tiles.lanes
    }

    /// Floats of scratch for packed B, packed A, partial sums and two lists of steps.
    fn scratch(&self) -> [usize; 4] {
        let (d, b) = (&self.desc, &self.blocking);
        let kc = b.kc.min(d.k);
        let align = |x: usize| x.next_multiple_of(16);
        let slack = LIST_SLACK; // packing writes whole vectors, too
        let cols = b.nc.min(d.n).next_multiple_of(self.panel());
        let packed_b = if self.pack_b.is_some() { align(kc * cols + slack) } else { 0 };
        let strips = b.mc.min(d.m).div_ceil(self.tiles.max_rows);
        let packed_a = if self.pack_a.is_some() { strips * self.packed_strip(kc) } else { 0 };
        let partial = if self.update.is_some() && self.thin.is_none() {
            let chunk_rows = d.m.div_ceil(b.row_chunks);
            let rows = if b.kc < d.k { chunk_rows } else { chunk_rows.min(self.tiles.max_rows) };
            align(rows * self.chunk_panels() * self.panel())
        } else {
            0
        };
        let steps = if self.looks_for_zeros() { 2 * align(kc + slack) } else { 0 };
        [packed_b, packed_a, partial, steps]
    }

    /// Floats of a packed strip of A, with room for the vector that ends past it.
    fn packed_strip(&self, steps: usize) -> usize {
        (steps * self.tiles.max_rows + LIST_SLACK).next_multiple_of(16)
    }

    /// Whether steps are left out where A is zero: there must be full tiles, and enough work in
    /// each to be worth the look.
    fn looks_for_zeros(&self) -> bool {
        self.thin.is_none()
            && self.desc.time == 0
            && (self.pack_a.is_none() || self.desc.transpose_a)
            && self.desc.n >= self.panel()
            && self.blocking.kc >= 16
            && self.desc.k >= 16
    }

    /// Panels of the widest chunk.
    fn chunk_panels(&self) -> usize {
        self.desc.n.div_ceil(self.panel()).div_ceil(self.blocking.col_chunks)
    }
}

/// Steps of A that are packed at once, for all strips.
const PACK_STEPS: usize = 16;

/// Entries past the end of a list of steps that writing it may touch: a vector.
const LIST_SLACK: usize = 16;

/// Part `index` of `0..len` cut into `parts` nearly equal parts.
#[inline]
fn part(len: usize, parts: usize, index: usize) -> Range<usize> {
    len * index / parts..len * (index + 1) / parts
}

impl Kernel for Gemm {
    fn chunks(&self) -> usize {
        let b = &self.blocking;
        self.desc.batch.div_ceil(self.batch_group).max(1) * b.row_chunks * b.col_chunks
    }

    fn scratch_bytes(&self) -> usize {
        4 * (self.scratch().iter().sum::<usize>() + self.ragged_scratch().iter().sum::<usize>())
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let (d, b) = (&self.desc, &self.blocking);
        let cells = b.row_chunks * b.col_chunks;
        debug_assert!(d.time == 0 || d.batch == 1);
        let coefficients = match &d.epilogue.update {
            // SAFETY: with an update the caller passes the step's hyper vector.
            Some(update) => unsafe { Coefficients::new(update, args[args::HYPER]) },
            None => Coefficients::default(),
        };
        if let (Some(thin), 1, 1) = (self.thin, cells, d.batch) {
            // SAFETY: the caller's arguments have the sizes of the descriptor.
            unsafe { thin(&self.whole(args, &coefficients)) };
            return;
        }
        let (group, cell) = (chunk / cells, chunk % cells);
        let row_part = cell / b.col_chunks;
        let rows = part(d.m, b.row_chunks, row_part);
        let panels = part(d.n.div_ceil(self.panel()), b.col_chunks, cell % b.col_chunks);
        let cols = panels.start * self.panel()..(panels.end * self.panel()).min(d.n);
        let last = ((group + 1) * self.batch_group).min(d.batch);
        for index in group * self.batch_group..last {
            // SAFETY: rows and cols lie in 0..m and 0..n, index in 0..batch, and the caller's
            // arguments have the sizes of the descriptor.
            unsafe {
                let operands = Operands::new(d, args, index, &coefficients);
                match (d.time > 0, d.transpose_a) {
                    (false, _) => {
                        self.run_part(&operands, rows.clone(), cols.clone(), None, scratch)
                    }
                    (true, true) => {
                        self.run_ragged_steps(&operands, rows.clone(), cols.clone(), scratch);
                    }
                    (true, false) => {
                        self.run_ragged_rows(&operands, row_part, cols.clone(), scratch);
                    }
                }
            }
        }
    }
}
