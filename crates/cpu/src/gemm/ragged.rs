//! Products whose stored rows of A are the positions of samples with lengths. What lies beyond a length counts as
//! zeros, and no time is spent on it: batches of texts are a fifth padding.
//!
//! Where C has these rows, those that count are put together in tiles, wherever they are; the others get the epilogue of a
//! sum of 0. Where they are the steps of the reduction, those that count are packed one after the other. Sums are made in the
//! order of other products, without additions of 0, so that they have the same bits.

use super::loops::{Level, Operands, StripPart, Sums};
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
        debug_assert!(self.pack_a.is_some() && self.pack_b.is_some());
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
        let sums = Sums { start: o.c, stride: d.ldc };
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
                    let level = Level { block, blocks, sums, origin: (0, 0) };
                    self.run_listed(o, list, &wide, &depth, &level, scratch);
                }
            }
            let others = part(d.m - real, b.row_chunks, index);
            let list = self.list(scratch, others.len());
            samples.list(false, others, list);
            let nothing = Depth { range: 0..0, list: std::ptr::null() };
            let level = Level { block: 0, blocks: 1, sums, origin: (0, 0) };
            self.run_listed(o, list, &cols, &nothing, &level, scratch);
        }
    }

    /// The tiles of listed rows.
    ///
    /// # Safety
    /// As for `run_part`; `scratch` starts with B, where that is packed.
    unsafe fn run_listed(
        &self,
        o: &Operands,
        list: &[u32],
        wide: &Range<usize>,
        depth: &Depth,
        level: &Level,
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
                let a = if in_a_row || k == 0 {
                    (in_place(start), d.lda)
                } else {
                    let copies = scratch.add(self.scratch().iter().sum::<usize>() + len_list);
                    for (i, &row) in rows.iter().enumerate() {
                        let from = in_place(row as usize);
                        std::ptr::copy_nonoverlapping(from, copies.add(i * k), k);
                    }
                    (copies.cast_const(), k)
                };
                let rows = start..start + rows.len();
                let packed_b = scratch;
                let shift = shift.as_ptr();
                let steps = std::ptr::null_mut();
                let strip = StripPart { rows, wide, depth, a, packed_b, steps, shift };
                self.run_strip(o, &strip, k, level);
            }
        }
    }
}
