//! Fused elementwise programs (see [`Program`]): one pass over memory for a chain of ops and the
//! sums at its end.
//!
//! A chunk (a range of rows) is run block by block; a block is some whole rows, or a part of one
//! long row, small enough that all its values stay in L1. Each step is one vectorised loop over
//! the block, picked when the kernel is made. Values of a column are repeated for each row of the
//! block beforehand, so that every loop runs over contiguous operands.

mod blocks;
mod compile;
mod fused;
mod philox;
mod steps;
mod sums;

#[cfg(test)]
mod tests;

pub use sums::CombineSums;
pub(crate) use sums::add_to as add_fn;

use crate::call::{Call, chunk_range};
use crate::isa::Isa;
use crate::kernel::Kernel;
use steps::StepKernel;
use sums::{AddFn, Partial, TOTAL_LANES};
use tidemill_plan::eltwise::Program;

/// Runs a fused program.
///
/// Arguments: the inputs, the key (`i32[4]`: seed low and high, step, 0) where the program has a
/// dropout, the outputs, and the workspace where `workspace_len` is not 0. A `Full` output may be
/// the same buffer as a `Full` input; outputs are not otherwise aliased.
pub struct Eltwise {
    /// Rows and columns as run, which may be the program's, regrouped.
    rows: usize,
    cols: usize,
    chunks: usize,
    /// Rows of a block; 1 where a block is a part of a row.
    block_rows: usize,
    /// Columns of a block.
    block_cols: usize,
    /// Filled at the start of a chunk.
    prepare: Vec<Fill>,
    body: Body,
    /// Sums over blocks, ended at the end of a chunk.
    finish: Vec<Finish>,
    /// Scratch memory in f32.
    scratch_len: usize,
    add: AddFn,
    /// f32 of a chunk's part of the workspace, 0 where there is one chunk only or no sums.
    partial_len: usize,
    workspace_arg: usize,
    /// Sums that [`CombineSums`] has to end.
    partials: Vec<Partial>,
}

/// How rows are run.
enum Body {
    /// Block by block, one loop for each step.
    Blocks {
        /// Where each value lies.
        places: Vec<Place>,
        instrs: Vec<Instr>,
    },
    /// One loop for the whole program.
    Fused(Fused),
}

/// A loop of the table and its arguments.
struct Fused {
    f: fused::FusedFn,
    full: Vec<usize>,
    row: Vec<Place>,
    out: Vec<usize>,
    /// Accumulators in scratch memory.
    sums: Vec<usize>,
}

/// A value's memory; the block starts at element `e` of the matrix and at column `c`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// Argument `n` at `e`.
    Full(usize),
    /// Argument `n` at `c`.
    Row(usize),
    /// Scratch memory from this f32 on.
    Scratch(usize),
}

/// Repeats a small argument over a block in scratch memory.
#[derive(Clone, Copy, Debug)]
enum Fill {
    Constant {
        value: f32,
        to: usize,
    },
    Scalar {
        arg: usize,
        to: usize,
    },
    /// A row of `cols` for each of the block's rows.
    Row {
        arg: usize,
        to: usize,
    },
    Zero {
        to: usize,
        len: usize,
    },
}

/// What is done for a block; numbers are places unless said otherwise.
#[derive(Clone, Copy)]
enum Instr {
    Step {
        k: StepKernel,
        a: usize,
        b: usize,
        c: usize,
        out: usize,
    },
    /// Repeats the rows' values of argument `arg` over their columns.
    Column {
        arg: usize,
        out: usize,
    },
    Dropout {
        f: philox::DropoutFn,
        drop: philox::Dropout,
        key_arg: usize,
        a: usize,
        out: usize,
        words: usize,
    },
    /// Adds the block to the accumulator at f32 `to` of the scratch memory.
    ColumnSums {
        f: AddFn,
        a: usize,
        to: usize,
    },
    Total {
        f: AddFn,
        a: usize,
        to: usize,
    },
    RowSums {
        f: unsafe fn(*const f32, *mut f32, usize, usize, bool),
        a: usize,
        arg: usize,
        factor: f32,
    },
}

/// What is done at a chunk's end with an accumulator in scratch memory.
#[derive(Clone, Copy, Debug)]
enum Finish {
    /// Adds the block's rows and stores `cols` values.
    ColumnSums { from: usize, arg: usize, at: usize, factor: f32 },
    /// Adds the lanes and stores one value.
    Total { from: usize, arg: usize, at: usize, factor: f32 },
}

impl Eltwise {
    /// Compiles a program.
    pub fn new(isa: Isa, program: &Program) -> Eltwise {
        compile::compile(isa, program)
    }

    /// f32 of workspace that the chunks' partial sums need; 0 where there are none.
    pub fn workspace_len(&self) -> usize {
        self.partial_len * self.chunks
    }

    /// The kernel that ends the sums, to be run after this one with the same arguments.
    pub fn combine(&self) -> Option<CombineSums> {
        (self.partial_len > 0).then(|| CombineSums {
            partials: self.partials.clone(),
            chunks: self.chunks,
            stride: self.partial_len,
            workspace_arg: self.workspace_arg,
            add: self.add,
        })
    }

    /// The program as a call: this kernel and, where needed, [`CombineSums`].
    pub fn call(isa: Isa, program: &Program) -> Call {
        let main = Eltwise::new(isa, program);
        let workspace_len = main.workspace_len();
        let combine = main.combine();
        let mut phases: Vec<Box<dyn Kernel>> = vec![Box::new(main)];
        if let Some(combine) = combine {
            phases.push(Box::new(combine));
        }
        Call { phases, workspace_len }
    }

    /// # Safety
    /// As [`Kernel::run`]; the block lies inside the matrix.
    #[inline]
    #[allow(clippy::too_many_arguments)]
    unsafe fn run_block(
        &self,
        (places, instrs): (&[Place], &[Instr]),
        args: &[*mut f32],
        scratch: *mut f32,
        row: usize,
        rows: usize,
        col: usize,
        cols: usize,
    ) {
        let e = row * self.cols + col;
        let n = rows * cols;
        // SAFETY: a Full argument has rows x cols values and e + n is inside; a Row argument has
        // cols values and col + n is inside, since Row places exist for one-row blocks only; a
        // scratch place has room for a whole block.
        let at = |place: usize| unsafe {
            match places[place] {
                Place::Full(arg) => args[arg].add(e),
                Place::Row(arg) => args[arg].add(col),
                Place::Scratch(offset) => scratch.add(offset),
            }
        };
        for instr in instrs {
            // SAFETY: all pointers hold n values, see above; sums as said at each.
            unsafe {
                match *instr {
                    Instr::Step { k, a, b, c, out } => (k.f)(at(a), at(b), at(c), at(out), n, k.p),
                    Instr::Column { arg, out } => {
                        let (from, to) = (args[arg].add(row), at(out));
                        for r in 0..rows {
                            let value = *from.add(r);
                            std::slice::from_raw_parts_mut(to.add(r * cols), cols).fill(value);
                        }
                    }
                    Instr::Dropout { f, drop, key_arg, a, out, words } => {
                        let key = args[key_arg].cast::<u32>();
                        f(&drop, key, e, at(a), at(out), n, scratch.add(words).cast());
                    }
                    // the accumulator has block_rows x cols values, or the matrix's cols
                    Instr::ColumnSums { f, a, to } => f(at(a), scratch.add(to + col), n),
                    Instr::Total { f, a, to } => f(at(a), scratch.add(to), n),
                    // the argument has `rows` values of the matrix
                    Instr::RowSums { f, a, arg, factor } => {
                        let out = args[arg].add(row);
                        f(at(a), out, rows, cols, col == 0);
                        if factor != 1.0 && col + cols == self.cols {
                            for r in 0..rows {
                                *out.add(r) *= factor;
                            }
                        }
                    }
                }
            }
        }
    }

    /// # Safety
    /// As [`Kernel::run`]; rows `start .. end` lie inside the matrix.
    unsafe fn run_fused(
        &self,
        fused: &Fused,
        args: &[*mut f32],
        scratch: *mut f32,
        start: usize,
        end: usize,
    ) {
        let null = std::ptr::null_mut();
        let mut p = fused::Pointers {
            full: [null; fused::MANY],
            row: [null; fused::MANY],
            out: [null; fused::MANY],
            sums: [null; fused::MANY],
        };
        let (n, tiles) = (self.block_rows * self.cols, (end - start) / self.block_rows);
        let rest = (end - start) % self.block_rows;
        // SAFETY: Full arguments hold the whole matrix, rows a value for each place of a tile: one
        // row of the argument, or the array that `prepare` made; sums hold a tile.
        unsafe {
            for (to, &arg) in p.full.iter_mut().zip(&fused.full) {
                *to = args[arg].add(start * self.cols);
            }
            for (to, &place) in p.row.iter_mut().zip(&fused.row) {
                *to = match place {
                    Place::Full(arg) | Place::Row(arg) => args[arg],
                    Place::Scratch(at) => scratch.add(at),
                };
            }
            for (to, &arg) in p.out.iter_mut().zip(&fused.out) {
                *to = args[arg].add(start * self.cols);
            }
            for (to, &at) in p.sums.iter_mut().zip(&fused.sums) {
                *to = scratch.add(at);
            }
            (fused.f)(&p, n, tiles);
            if rest > 0 {
                for x in p.full.iter_mut().take(fused.full.len()) {
                    *x = x.add(tiles * n);
                }
                for y in p.out.iter_mut().take(fused.out.len()) {
                    *y = y.add(tiles * n);
                }
                (fused.f)(&p, rest * self.cols, 1);
            }
        }
    }

    /// # Safety
    /// As [`Kernel::run`].
    unsafe fn finish(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        // SAFETY: accumulators as sized by `compile`; outputs hold the sums' lengths; the workspace
        // holds `chunks` parts.
        let target = |arg: usize, at: usize, factor: f32| unsafe {
            if self.partial_len > 0 {
                (args[self.workspace_arg].add(chunk * self.partial_len + at), 1.0)
            } else {
                (args[arg], factor)
            }
        };
        for &finish in &self.finish {
            match finish {
                Finish::ColumnSums { from, arg, at, factor } => {
                    let (to, factor) = target(arg, at, factor);
                    // SAFETY: see above.
                    unsafe {
                        let sums = scratch.add(from);
                        // halves onto each other, then the odd row
                        let mut rows = self.block_rows;
                        while rows > 1 {
                            let half = rows / 2;
                            (self.add)(sums.add((rows - half) * self.cols), sums, half * self.cols);
                            rows -= half;
                        }
                        for c in 0..self.cols {
                            *to.add(c) = *sums.add(c) * factor;
                        }
                    }
                }
                Finish::Total { from, arg, at, factor } => {
                    let (to, factor) = target(arg, at, factor);
                    // SAFETY: see above.
                    unsafe {
                        let lanes = std::slice::from_raw_parts_mut(scratch.add(from), TOTAL_LANES);
                        let mut width = TOTAL_LANES / 2;
                        while width > 0 {
                            for i in 0..width {
                                lanes[i] += lanes[i + width];
                            }
                            width /= 2;
                        }
                        *to = lanes[0] * factor;
                    }
                }
            }
        }
    }
}

impl Kernel for Eltwise {
    fn chunks(&self) -> usize {
        self.chunks
    }

    fn scratch_bytes(&self) -> usize {
        self.scratch_len * 4
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let (start, end) = chunk_range(self.rows, self.chunks, self.block_rows, chunk);
        let rows = self.block_rows.min(end - start);
        let block = rows * self.block_cols;
        for &fill in &self.prepare {
            // SAFETY: scratch places have room for a block; a Scalar argument has one value, a Row
            // argument cols values, which are block_cols where Fill::Row is used.
            unsafe {
                match fill {
                    Fill::Constant { value, to } => {
                        std::slice::from_raw_parts_mut(scratch.add(to), block).fill(value);
                    }
                    Fill::Scalar { arg, to } => {
                        let value = *args[arg];
                        std::slice::from_raw_parts_mut(scratch.add(to), block).fill(value);
                    }
                    Fill::Row { arg, to } => {
                        for r in 0..rows {
                            let to = scratch.add(to + r * self.cols);
                            std::ptr::copy_nonoverlapping(args[arg], to, self.cols);
                        }
                    }
                    Fill::Zero { to, len } => {
                        std::slice::from_raw_parts_mut(scratch.add(to), len).fill(0.0);
                    }
                }
            }
        }
        match &self.body {
            Body::Blocks { places, instrs } => {
                let mut row = start;
                while row < end {
                    let rows = self.block_rows.min(end - row);
                    let mut col = 0;
                    while col < self.cols {
                        let cols = self.block_cols.min(self.cols - col);
                        let code = (&places[..], &instrs[..]);
                        // SAFETY: the caller's contract; the block lies inside the chunk.
                        unsafe { self.run_block(code, args, scratch, row, rows, col, cols) };
                        col += cols;
                    }
                    row += rows;
                }
            }
            // SAFETY: the caller's contract; the rows lie inside the matrix.
            Body::Fused(fused) => unsafe { self.run_fused(fused, args, scratch, start, end) },
        }
        // SAFETY: the caller's contract.
        unsafe { self.finish(args, chunk, scratch) };
    }
}
