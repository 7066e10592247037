//! Products of blocks whose sizes are known only when they run, for kernels that are made of products.

use super::pack::{self, Block, PackFn};
use super::tile::{self, Finish, MAX_VECTORS, Tile, Tiles};
use crate::isa::Isa;
use crate::optimizer::Coefficients;

/// B as tiles read it: panels of [`Blocks::panel`] columns.
#[derive(Clone, Copy)]
pub(crate) struct Panels {
    /// The first element.
    pub at: *const f32,
    /// Between steps of the reduction.
    pub step: usize,
    /// Between panels.
    pub panel: usize,
}

/// The tiles and packers of an instruction set.
#[derive(Clone)]
pub(crate) struct Blocks {
    rows: Tiles,
    columns: Tiles,
    copy: PackFn,
    transpose: PackFn,
}

/// Floats past the end of packed panels that packing may write.
pub(crate) const SLACK: usize = 16;

impl Blocks {
    /// Those of an instruction set.
    pub fn new(isa: Isa) -> Blocks {
        Blocks {
            rows: tile::tiles(isa, false),
            columns: tile::tiles(isa, true),
            copy: pack::copy_on(isa),
            transpose: pack::transpose_on(isa),
        }
    }

    /// Columns of a panel.
    pub fn panel(&self) -> usize {
        MAX_VECTORS * self.rows.lanes
    }

    /// Most rows of a strip.
    pub fn strip(&self) -> usize {
        self.rows.max_rows
    }

    /// Floats that `steps x cols` values take as panels.
    pub fn panels_len(&self, steps: usize, cols: usize) -> usize {
        steps * cols.next_multiple_of(self.panel()) + SLACK
    }

    /// Copies `[steps, cols]`, rows `stride` apart, to panels.
    ///
    /// # Safety
    /// The source has these values; `out` has room for [`Blocks::panels_len`].
    pub unsafe fn pack(
        &self,
        src: *const f32,
        stride: usize,
        (steps, cols): (usize, usize),
        out: *mut f32,
    ) -> Panels {
        let width = self.panel();
        for j in (0..cols).step_by(width) {
            let block = Block {
                src: src.wrapping_add(j),
                stride,
                rows: steps,
                cols: width.min(cols - j),
                list: std::ptr::null(),
                ahead: false,
            };
            // SAFETY: columns j.. are inside; a panel takes steps x width values.
            unsafe { (self.copy)(&block, out.add(j * steps), width) };
        }
        Panels { at: out, step: width, panel: steps * width }
    }

    /// The same of the transpose: `[cols, steps]` is stored, rows `stride` apart. Columns that fill up the
    /// last panel are 0.
    ///
    /// # Safety
    /// As for [`Blocks::pack`].
    pub unsafe fn pack_transposed(
        &self,
        src: *const f32,
        stride: usize,
        (steps, cols): (usize, usize),
        out: *mut f32,
    ) -> Panels {
        let width = self.panel();
        for j in (0..cols).step_by(width) {
            let here = width.min(cols - j);
            let block = Block {
                src: src.wrapping_add(j * stride),
                stride,
                rows: here,
                cols: steps,
                list: std::ptr::null(),
                ahead: false,
            };
            // SAFETY: rows j.. are inside; a panel takes steps x width values.
            unsafe {
                let out = out.add(j * steps);
                if here < width {
                    std::slice::from_raw_parts_mut(out, steps * width).fill(0.0);
                }
                (self.transpose)(&block, out, width);
            }
        }
        Panels { at: out, step: width, panel: steps * width }
    }

    /// `C = A B`, or `C += A B`, of a strip of at most [`Blocks::strip`] rows, `k` steps and `n` columns.
    /// `a` is A's first element and the stride between its rows, or with `columns` between its steps.
    ///
    /// # Safety
    /// The operands have these elements; whole panels of C's width if `n` is rounded up to them.
    #[allow(clippy::too_many_arguments)] // three sizes and three operands
    #[inline]
    pub unsafe fn strip_product(
        &self,
        columns: bool,
        [m, n, k]: [usize; 3],
        (a, a_stride): (*const f32, usize),
        b: Panels,
        (c, c_stride): (*mut f32, usize),
        accumulate: bool,
        coefficients: &Coefficients,
    ) {
        let tiles = if columns { &self.columns } else { &self.rows };
        let width = self.panel();
        let mut tile = Tile {
            rows: m,
            k,
            a,
            a_stride,
            b: b.at,
            b_far: std::ptr::null(),
            b_stride: b.step,
            steps: std::ptr::null(),
            num_steps: 0,
            from: std::ptr::null(),
            from_stride: c_stride,
            to: c,
            to_stride: c_stride,
            shift: std::ptr::null(),
            cols: 0,
            finish: &Finish::NONE,
            bias: std::ptr::null(),
            residual: std::ptr::null(),
            mask: std::ptr::null(),
            stride: c_stride,
            param: std::ptr::null_mut(),
            slots: [std::ptr::null_mut(); 3],
            coefficients,
            update: None,
        };
        for j in (0..n).step_by(width) {
            tile.cols = width.min(n - j);
            tile.b = b.at.wrapping_add(j / width * b.panel);
            tile.to = c.wrapping_add(j);
            if accumulate {
                tile.from = tile.to;
            }
            // SAFETY: rows 0..m and columns j.. of C exist, as do the operands' by the contract.
            unsafe { tiles.get(m, tile.cols, false)(&tile) };
        }
    }

    /// `C = A B`, or `C += A B`, of `rows` rows, with whole rows of `sizes = [n, k]` columns and steps.
    ///
    /// # Safety
    /// A is `[rows, k]`, C `[rows, n]`, B has panels of `[k, n]`.
    pub unsafe fn product(
        &self,
        rows: usize,
        [n, k]: [usize; 2],
        a: *const f32,
        b: Panels,
        c: *mut f32,
        accumulate: bool,
    ) {
        let none = Coefficients::default();
        let width = self.panel();
        let strips = rows.div_ceil(self.strip());
        // A panel stays in the cache while all rows pass.
        for j in (0..n).step_by(width) {
            let panel = Panels { at: b.at.wrapping_add(j / width * b.panel), ..b };
            for strip in 0..strips {
                let [from, to] = [strip, strip + 1].map(|i| rows * i / strips);
                let sizes = [to - from, width.min(n - j), k];
                // SAFETY: by this function's contract.
                unsafe {
                    let (a, c) = (a.add(from * k), c.add(from * n + j));
                    self.strip_product(false, sizes, (a, k), panel, (c, n), accumulate, &none);
                }
            }
        }
    }
}
