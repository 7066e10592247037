//! Products whose stored rows of A are the positions of samples with lengths. What lies beyond a length counts as
//! zeros, and no time is spent on it: batches of texts are a fifth padding.
//!
//! Where C has these rows, those that count are put together in tiles, wherever they are; the others get the epilogue of a
//! sum of 0. Where they are the steps of the reduction, those that count are packed one after the other. Sums are made in the
//! order of other products, without additions of 0, so that they have the same bits.

use super::loops::Operands;
use super::tile::{Finish, Tile};
use super::{Gemm, LIST_SLACK, part};
use std::ops::Range;

/// Most rows of a tile of any instruction set.
const MAX_ROWS: usize = 12;

/// The samples of a product.
struct Samples<'a> {
    lengths: &'a [i32],
    time: usize,
}

impl Samples<'_> {
    fn lengths(&self) -> impl Iterator<Item = usize> {
        self.lengths.iter().map(|&length| usize::try_from(length).unwrap_or(0).min(self.time))
    }

    /// How many rows count.
    fn real(&self) -> usize {
        self.lengths().sum()
    }

    /// The rows at these places among those that count, or among the others, in ascending order.
    fn list(&self, count: bool, places: Range<usize>, rows: &mut [u32]) {
        let (mut place, mut filled) = (0, 0);
        for (sample, length) in self.lengths().enumerate() {
            if filled == rows.len() {
                return;
            }
            let inside = if count { 0..length } else { length..self.time };
            let skipped = places.start.saturating_sub(place).min(inside.len());
            place += inside.len();
            for (row, at) in (inside.start + skipped..inside.end).zip(&mut rows[filled..]) {
                *at = (sample * self.time + row) as u32;
                filled += 1;
            }
        }
    }
}

/// Steps of the reduction that are done at once: a range of them, or of the places of a list of steps.
pub(super) struct Depth {
    pub range: Range<usize>,
    /// Null: the places are the steps.
    pub list: *const u32,
}

impl Depth {
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// The step at that place of these, or the first step of all and the list of those that are meant from there on.
    pub fn from(&self, place: usize) -> (usize, *const u32) {
        let at = self.range.start + place;
        if self.list.is_null() { (at, self.list) } else { (0, self.list.wrapping_add(at)) }
    }
}

impl Gemm {
    fn samples(&self, o: &Operands) -> Samples<'_> {
        let d = &self.desc;
        let rows = if d.transpose_a { d.k } else { d.m };
        // SAFETY: by the contract of `run`, each sample has a length.
        let lengths = unsafe { std::slice::from_raw_parts(o.lengths, rows / d.time) };
        Samples { lengths, time: d.time }
    }

    /// Floats of scratch, after those of other products: a list of rows, and the rows of a tile.
    pub(super) fn ragged_scratch(&self) -> [usize; 2] {
        let (d, b) = (&self.desc, &self.blocking);
        let align = |floats: usize| (floats + LIST_SLACK).next_multiple_of(16);
        match (d.time > 0, d.transpose_a) {
            (false, _) => [0, 0],
            (true, true) => [align(d.k), 0],
            (true, false) => {
                [align(d.m.div_ceil(b.row_chunks)), align(self.tiles.max_rows * b.kc.min(d.k))]
            }
        }
    }

    /// # Safety
    /// As for `run_part`; the list has `len` places.
    unsafe fn list<'a>(&self, scratch: *mut f32, len: usize) -> &'a mut [u32] {
        // SAFETY: the area is there by `ragged_scratch`, behind the others; any bits are numbers.
        unsafe {
            let list = scratch.add(self.scratch().iter().sum()).cast::<u32>();
            std::ptr::write_bytes(list, 0, len);
            std::slice::from_raw_parts_mut(list, len)
        }
    }

    /// A chunk of a product whose steps are positions.
    ///
    /// # Safety
    /// As for `run_part`.
    pub(super) unsafe fn run_ragged_steps(
        &self,
        o: &Operands,
        rows: Range<usize>,
        cols: Range<usize>,
        scratch: *mut f32,
    ) {
        let samples = self.samples(o);
        let real = samples.real();
        // SAFETY: the list has room for all steps, and what is in it is a step; both operands are packed (`grid`).
        unsafe {
            let list = self.list(scratch, real);
            samples.list(true, 0..real, list);
            self.run_part(o, rows, cols, Some(list), scratch);
        }
    }

    /// Chunk `index` of those along the rows of a product whose rows are positions.
    ///
    /// # Safety
    /// As for `run_part`.
    pub(super) unsafe fn run_ragged_rows(
        &self,
        o: &Operands,
        index: usize,
        cols: Range<usize>,
        scratch: *mut f32,
    ) {
        let (d, b) = (&self.desc, &self.blocking);
        let samples = self.samples(o);
        let real = samples.real();
        let blocks = d.k.div_ceil(b.kc).max(1);
        let mine = part(real, b.row_chunks, index);
        // SAFETY: a part of the rows fits the list; the rows and columns are inside C, the steps inside the reduction.
        unsafe {
            let list = self.list(scratch, mine.len());
            samples.list(true, mine, list);
            for j in cols.clone().step_by(b.nc) {
                let wide = j..(j + b.nc).min(cols.end);
                for block in 0..blocks {
                    let depth = Depth { range: part(d.k, blocks, block), list: std::ptr::null() };
                    if let Some(pack) = self.pack_b {
                        self.pack_panels(pack, o.b, &depth, &wide, scratch);
                    }
                    let last = block + 1 == blocks;
                    self.run_listed(o, list, &wide, &depth, (block == 0, last), scratch);
                }
            }
            let others = part(d.m - real, b.row_chunks, index);
            let list = self.list(scratch, others.len());
            samples.list(false, others, list);
            let nothing = Depth { range: 0..0, list: std::ptr::null() };
            self.run_listed(o, list, &cols, &nothing, (true, true), scratch);
        }
    }

    /// The tiles of listed rows; whether it is the first and the last block of the reduction.
    ///
    /// # Safety
    /// As for `run_part`; B is packed as `pack_panels` does where it is packed.
    unsafe fn run_listed(
        &self,
        o: &Operands,
        list: &[u32],
        wide: &Range<usize>,
        depth: &Depth,
        (first, last): (bool, bool),
        scratch: *mut f32,
    ) {
        let (d, k) = (&self.desc, depth.len());
        let [len_list, _] = self.ragged_scratch();
        let count = list.len().div_ceil(self.tiles.max_rows);
        for index in 0..count {
            let rows = &list[part(list.len(), count, index)];
            let start = rows[0] as usize;
            // SAFETY: all rows are inside A and C; the copies have room by `ragged_scratch`.
            unsafe {
                let in_place = |row: usize| o.a.add(row * d.lda + depth.range.start);
                let mut shift = [0; MAX_ROWS];
                for (shift, &row) in shift.iter_mut().zip(rows) {
                    *shift = (row as usize - start) * d.ldc;
                }
                let in_a_row = (rows[rows.len() - 1] as usize - start) + 1 == rows.len();
                let (a, a_stride) = if in_a_row || k == 0 {
                    (in_place(start), d.lda)
                } else {
                    let copies = scratch.add(self.scratch().iter().sum::<usize>() + len_list);
                    for (i, &row) in rows.iter().enumerate() {
                        let from = in_place(row as usize);
                        std::ptr::copy_nonoverlapping(from, copies.add(i * k), k);
                    }
                    (copies.cast_const(), k)
                };
                for j in wide.clone().step_by(self.panel()) {
                    let cols = self.panel().min(wide.end - j);
                    let (b, b_stride) = self.listed_b(o, wide, depth, j, scratch);
                    let at = start * d.ldc + j;
                    let to = o.c.wrapping_add(at);
                    let adds = !first || d.epilogue.accumulate;
                    self.tiles.get(rows.len(), cols, false)(&Tile {
                        rows: rows.len(),
                        cols,
                        k,
                        a,
                        a_stride,
                        b,
                        b_far: b,
                        b_stride,
                        steps: std::ptr::null(),
                        num_steps: 0,
                        from: if adds { to.cast_const() } else { std::ptr::null() },
                        from_stride: d.ldc,
                        to,
                        to_stride: d.ldc,
                        shift: shift.as_ptr(),
                        finish: if last { &self.finish } else { &Finish::NONE },
                        bias: o.bias.wrapping_add(j),
                        residual: o.residual.wrapping_add(at),
                        mask: o.mask.wrapping_add(at),
                        stride: d.ldc,
                        param: std::ptr::null_mut(),
                        slots: [std::ptr::null_mut(); 3],
                        coefficients: o.coefficients,
                    });
                }
            }
        }
    }

    /// B of the panel that starts at column `j`, with its stride; `scratch` starts with packed B.
    fn listed_b(
        &self,
        o: &Operands,
        wide: &Range<usize>,
        depth: &Depth,
        j: usize,
        scratch: *mut f32,
    ) -> (*const f32, usize) {
        if self.pack_b.is_some() {
            (scratch.wrapping_add((j - wide.start) * depth.len()).cast_const(), self.panel())
        } else {
            (o.b.wrapping_add(depth.range.start * self.desc.ldb + j), self.desc.ldb)
        }
    }
}
