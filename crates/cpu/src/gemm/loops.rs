//! The loops around the register tiles: blocks of the reduction, packed operands, strips, and the
//! update of a parameter by finished strips.

use super::pack::{Block, PackFn};
use super::ragged::Depth;
use super::tile::{Finish, Tile};
use super::zeros::Strip;
use super::{Gemm, GemmDesc, LIST_SLACK, PACK_STEPS, args, part};
use crate::optimizer::{Coefficients, UpdateBlock, UpdateFn};
use std::ops::Range;

/// Floats of an operand that a core's own caches do not hold beside others: 256 KB.
const FAR: usize = 64 * 1024;

/// The operands of one product of a batch.
pub(super) struct Operands<'a> {
    pub a: *const f32,
    pub b: *const f32,
    pub c: *mut f32,
    bias: *const f32,
    residual: *const f32,
    mask: *const f32,
    pub lengths: *const i32,
    param: *mut f32,
    slots: [*mut f32; 3],
    coefficients: &'a Coefficients,
}

impl<'a> Operands<'a> {
    /// # Safety
    /// As for [`Gemm::run`]; `index < batch`.
    pub unsafe fn new(
        d: &GemmDesc,
        args: &[*mut f32],
        index: usize,
        coefficients: &'a Coefficients,
    ) -> Operands<'a> {
        let [a, b, c] = d.batch_strides.map(|stride| stride * index);
        // wrapping: absent arguments are null, and never read
        Operands {
            a: args[args::A].wrapping_add(a),
            b: args[args::B].wrapping_add(b),
            c: args[args::C].wrapping_add(c),
            bias: args[args::BIAS],
            residual: args[args::RESIDUAL].wrapping_add(c),
            mask: args[args::MASK].wrapping_add(c),
            lengths: args[args::LENGTHS].cast(),
            param: args[args::PARAM].wrapping_add(c),
            slots: [0, 1, 2].map(|i| args[args::SLOT0 + i].wrapping_add(c)),
            coefficients,
        }
    }
}

/// Where sums wait for the rest of the reduction: in C, or in scratch if they update a parameter.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    /// Of the chunk's first element.
    pub start: *mut f32,
    pub stride: usize,
}

impl Gemm {
    /// Rows and columns of one chunk; of the reduction all steps, or those that are listed in ascending order.
    ///
    /// # Safety
    /// As for [`Gemm::run`]; the rows and columns are inside C, the steps below `k`. Listed steps must be packed.
    pub(super) unsafe fn run_part(
        &self,
        o: &Operands,
        rows: Range<usize>,
        cols: Range<usize>,
        list: Option<&[u32]>,
        scratch: *mut f32,
    ) {
        let (d, b) = (&self.desc, &self.blocking);
        if let Some(thin) = self.thin {
            // SAFETY: the tile is the chunk; `thin` was chosen for these strides.
            unsafe {
                let start = (rows.start, cols.start);
                let sums =
                    Sums { start: o.c.wrapping_add(start.0 * d.ldc + start.1), stride: d.ldc };
                let level = Level { block: 0, blocks: 1, sums, origin: start };
                let a = o.a.add(rows.start);
                let b = o.b.add(if d.transpose_b { cols.start * d.ldb } else { cols.start });
                thin(&self.tile(o, &level, rows, cols, d.k, (a, d.lda), (b, d.ldb)));
            }
            return;
        }
        let [len_b, len_a, len_partial, _] = self.scratch();
        // SAFETY: the four areas are what `scratch_bytes` asked for.
        let (packed_b, packed_a, partial, steps) = unsafe {
            let partial = scratch.add(len_b + len_a);
            (scratch, scratch.add(len_b), partial, partial.add(len_partial).cast::<u32>())
        };
        let sums = if self.update.is_some() {
            Sums { start: partial, stride: cols.len() }
        } else {
            Sums { start: o.c.wrapping_add(rows.start * d.ldc + cols.start), stride: d.ldc }
        };
        let blocks = d.k.div_ceil(b.kc).max(1);
        for j in cols.clone().step_by(b.nc) {
            let wide = j..(j + b.nc).min(cols.end);
            for block in 0..blocks {
                let steps_here = part(d.k, blocks, block);
                let depth = match list {
                    None => Depth { range: steps_here, list: std::ptr::null() },
                    Some(list) => {
                        let at = |step: usize| list.partition_point(|&s| (s as usize) < step);
                        let range = at(steps_here.start)..at(steps_here.end);
                        Depth { range, list: list.as_ptr() }
                    }
                };
                // SAFETY: wide and depth are inside op(B), and packed B has room for nc columns in
                // whole panels of at most kc steps (parts of k are at most kc long).
                unsafe {
                    if let Some(pack) = self.pack_b {
                        self.pack_panels(pack, o.b, &depth, &wide, packed_b);
                    }
                }
                let step = if b.pack_a { b.mc } else { rows.len().max(1) };
                for i in rows.clone().step_by(step) {
                    let high = i..(i + step).min(rows.end);
                    // SAFETY: high, wide and depth are inside the operands, see above.
                    unsafe {
                        let level = Level { block, blocks, sums, origin: (rows.start, cols.start) };
                        let packed = (packed_a, packed_b);
                        self.run_block(o, high, &wide, &depth, packed, steps, &level);
                    }
                }
            }
        }
    }

    /// Packs a block of B: one panel of all its steps after the other.
    ///
    /// # Safety
    /// The block is inside op(B); `out` has room for it in whole panels, and a vector.
    pub(super) unsafe fn pack_panels(
        &self,
        pack: PackFn,
        b: *const f32,
        depth: &Depth,
        wide: &Range<usize>,
        out: *mut f32,
    ) {
        let d = &self.desc;
        // few steps of all panels at a time: rows are read on, not down
        let steps = if d.transpose_b { depth.len().max(1) } else { PACK_STEPS };
        for start in (0..depth.len()).step_by(steps) {
            let steps = steps.min(depth.len() - start);
            let (step, list) = depth.from(start);
            for (panel, j) in wide.clone().step_by(self.panel()).enumerate() {
                let cols = self.panel().min(wide.end - j);
                let at = panel * depth.len() + start;
                // SAFETY: the panel is inside the block; each takes depth.len() * panel() floats, and
                // a copy of rows writes none past its panel.
                unsafe {
                    let block = if d.transpose_b {
                        let src = b.add(j * d.ldb + step);
                        let ahead = d.n * d.ldb >= FAR;
                        Block { src, stride: d.ldb, rows: cols, cols: steps, list, ahead }
                    } else {
                        let src = b.add(step * d.ldb + j);
                        Block { src, stride: d.ldb, rows: steps, cols, list, ahead: false }
                    };
                    pack(&block, out.add(at * self.panel()), self.panel());
                }
            }
        }
    }

    /// A block of C that fits the packed operands.
    ///
    /// # Safety
    /// As for `run_part`; `packed_b` holds the block's part of B if that is packed.
    #[allow(clippy::too_many_arguments)] // ranges of three dimensions and two buffers
    unsafe fn run_block(
        &self,
        o: &Operands,
        high: Range<usize>,
        wide: &Range<usize>,
        depth: &Depth,
        (packed_a, packed_b): (*mut f32, *mut f32),
        steps: *mut u32,
        level: &Level,
    ) {
        let d = &self.desc;
        let count = high.len().div_ceil(self.tiles.max_rows);
        // nearly equal tiles: a tail of one or two rows would run at a fraction of the speed
        let tile_rows = |index: usize| {
            let part = part(high.len(), count, index);
            high.start + part.start..high.start + part.end
        };
        let looks = self.looks_for_zeros();
        // SAFETY: tiles lie inside high x wide, which is inside C; packed A has room for mc rows
        // of kc steps and a vector.
        unsafe {
            let a_from = |row: usize, step: usize| {
                if d.transpose_a {
                    o.a.add(step * d.lda + row)
                } else {
                    o.a.add(row * d.lda + step)
                }
            };
            if let Some(pack) = self.pack_a {
                // few steps at a time: the lines of one strip hold parts of the next ones
                for start in (0..depth.len()).step_by(PACK_STEPS) {
                    let steps = PACK_STEPS.min(depth.len() - start);
                    let (step, list) = depth.from(start);
                    for index in 0..count {
                        let rows = tile_rows(index);
                        let (src, stride) = (a_from(rows.start, step), d.lda);
                        let [high, wide] = match d.transpose_a {
                            true => [steps, rows.len()],
                            false => [rows.len(), steps],
                        };
                        let block =
                            Block { src, stride, rows: high, cols: wide, list, ahead: false };
                        let at = index * self.packed_strip(depth.len()) + start * rows.len();
                        pack(&block, packed_a.add(at), rows.len());
                    }
                }
            }
            // strips that go unlooked after one with too few zeros
            let mut dense = 0;
            let mut sparse = false;
            for index in 0..count {
                let rows = tile_rows(index);
                let a = if self.pack_a.is_some() {
                    let at = index * self.packed_strip(depth.len());
                    (packed_a.add(at).cast_const(), rows.len())
                } else {
                    (a_from(rows.start, depth.from(0).0), d.lda)
                };
                let mut level = *level;
                if self.update.is_some() && level.blocks == 1 {
                    // nothing waits longer than the strip takes
                    level.origin.0 = rows.start;
                }
                let shift = std::ptr::null();
                let part = StripPart { rows: rows.clone(), wide, depth, a, packed_b, steps, shift };
                if sparse && self.goes_flat(wide) {
                    sparse = self.run_flat(o, &part, &level);
                } else {
                    let mut num_steps = depth.len();
                    if looks && dense == 0 {
                        let strip = Strip { a: a.0, stride: a.1, rows: rows.len(), k: depth.len() };
                        num_steps = (self.zeros)(&strip, steps);
                    }
                    sparse = num_steps < depth.len();
                    dense = if sparse { 0 } else { (dense + 1) % 4 };
                    self.run_strip(o, &part, num_steps, &level);
                }
                if let (Some(update), true) = (self.update, level.block + 1 == level.blocks) {
                    self.update_strip(update.run, o, rows, wide, &level);
                }
            }
        }
    }

    /// Whether strips with many zeros are done in tiles of half the rows and two panels.
    fn goes_flat(&self, wide: &Range<usize>) -> bool {
        self.tiles.flat_rows() > 0 && wide.len().is_multiple_of(2 * self.panel())
    }

    /// B of the panel that starts at column `j`, with its stride.
    fn panel_of_b(&self, o: &Operands, part: &StripPart, j: usize) -> (*const f32, usize) {
        if self.pack_b.is_some() {
            let at = (j - part.wide.start) * part.depth.len();
            (part.packed_b.wrapping_add(at).cast_const(), self.panel())
        } else {
            (o.b.wrapping_add(part.depth.from(0).0 * self.desc.ldb + j), self.desc.ldb)
        }
    }

    /// The tiles of a strip, each of one panel.
    ///
    /// # Safety
    /// As for `run_block`; `num_steps` steps are listed if they are fewer than all.
    pub(super) unsafe fn run_strip(
        &self,
        o: &Operands,
        part: &StripPart,
        num_steps: usize,
        level: &Level,
    ) {
        let (rows, depth, steps) = (&part.rows, part.depth.len(), part.steps);
        for j in part.wide.clone().step_by(self.panel()) {
            let cols = j..(j + self.panel()).min(part.wide.end);
            let b = self.panel_of_b(o, part, j);
            let run = self.tiles.get(rows.len(), cols.len(), num_steps < depth);
            let tile = self.tile(o, level, rows.clone(), cols, depth, part.a, b);
            // SAFETY: rows and columns are inside C.
            unsafe { run(&Tile { steps, num_steps, shift: part.shift, ..tile }) };
        }
    }

    /// The tiles of a strip in halves, each of two panels; whether many steps were left out.
    ///
    /// # Safety
    /// As for `run_block`.
    unsafe fn run_flat(&self, o: &Operands, strip: &StripPart, level: &Level) -> bool {
        let depth = strip.depth.len();
        let halves = strip.rows.len().div_ceil(self.tiles.flat_rows());
        // two lists, as far apart as `scratch` has made them
        let far = (self.blocking.kc.min(self.desc.k) + LIST_SLACK).next_multiple_of(16);
        // SAFETY: both are inside the scratch, and the strip is inside op(A).
        let lists = [strip.steps, unsafe { strip.steps.add(far) }];
        let counts = match self.zeros_of_halves {
            Some(list) if halves == 2 => {
                let (a, stride) = strip.a;
                let whole = Strip { a, stride, rows: strip.rows.len(), k: depth };
                // SAFETY: as above.
                Some(unsafe { list(&whole, part(strip.rows.len(), 2, 0).end, lists) })
            }
            _ => None,
        };
        let mut taken = 0;
        for half in 0..halves {
            let rows = part(strip.rows.len(), halves, half);
            let shift = if self.desc.transpose_a { rows.start } else { rows.start * strip.a.1 };
            // SAFETY: the rows are inside the strip; the lists have room for all steps.
            unsafe {
                let a = strip.a.0.add(shift);
                let (steps, num_steps) = match counts {
                    Some(counts) => (lists[half], counts[half]),
                    None => {
                        let places = Strip { a, stride: strip.a.1, rows: rows.len(), k: depth };
                        let num_steps = (self.zeros)(&places, lists[0]);
                        if num_steps == depth {
                            (0..depth).for_each(|step| *lists[0].add(step) = step as u32);
                        }
                        (lists[0], num_steps)
                    }
                };
                taken += num_steps;
                let rows = strip.rows.start + rows.start..strip.rows.start + rows.end;
                for j in strip.wide.clone().step_by(2 * self.panel()) {
                    let b = self.panel_of_b(o, strip, j);
                    let b_far = self.panel_of_b(o, strip, j + self.panel()).0;
                    let cols = j..j + 2 * self.panel();
                    let tile = self.tile(o, level, rows.clone(), cols, depth, (a, strip.a.1), b);
                    self.tiles.flat(rows.len())(&Tile { steps, num_steps, b_far, ..tile });
                }
            }
        }
        taken * 8 < halves * depth * 7
    }

    /// Updates a strip of a parameter with its sums: all panels at once, so that the parameter and
    /// its slots are read and written in long runs. (By tiles, Adam took twice the time.)
    ///
    /// # Safety
    /// The strip is inside the parameter; its sums are where `level` says.
    unsafe fn update_strip(
        &self,
        update: UpdateFn,
        o: &Operands,
        rows: Range<usize>,
        cols: &Range<usize>,
        level: &Level,
    ) {
        let (ldc, stride) = (self.desc.ldc, level.sums.stride);
        let at = rows.start * ldc + cols.start;
        let sum = (rows.start - level.origin.0) * stride + cols.start - level.origin.1;
        // rows without gaps are one long row: few columns would leave vectors half empty
        let long = cols.len() == ldc && stride == ldc;
        let (rows, cols) = if long { (1, rows.len() * ldc) } else { (rows.len(), cols.len()) };
        let block = UpdateBlock {
            rows,
            cols,
            gradient: level.sums.start.wrapping_add(sum),
            gradient_stride: stride,
            param: o.param.wrapping_add(at),
            slots: o.slots.map(|slot| slot.wrapping_add(at)),
            stride: ldc,
        };
        // SAFETY: by this function's contract.
        unsafe { update(o.coefficients, &block) };
    }

    /// The only product of a kernel, in one chunk, as a tile. With products of small vectors, to find out
    /// where a chunk lies took longer than the arithmetic.
    #[inline]
    pub(super) fn whole<'a>(
        &'a self,
        args: &[*mut f32],
        coefficients: &'a Coefficients,
    ) -> Tile<'a> {
        let d = &self.desc;
        let args: &[*mut f32; args::LEN] = args.try_into().expect("a product's arguments");
        let from = if d.epilogue.accumulate { args[args::C] } else { std::ptr::null_mut() };
        Tile {
            rows: d.m,
            cols: d.n,
            k: d.k,
            a: args[args::A],
            a_stride: d.lda,
            b: args[args::B],
            b_far: args[args::B],
            b_stride: d.ldb,
            steps: std::ptr::null(),
            num_steps: 0,
            from,
            from_stride: d.ldc,
            to: args[args::C],
            to_stride: d.ldc,
            shift: std::ptr::null(),
            finish: &self.finish,
            bias: args[args::BIAS],
            residual: args[args::RESIDUAL],
            mask: args[args::MASK],
            stride: d.ldc,
            param: args[args::PARAM],
            slots: [args[args::SLOT0], args[args::SLOT0 + 1], args[args::SLOT0 + 2]],
            coefficients,
            update: self.update,
        }
    }

    /// A tile's operands; A and B with their strides.
    #[inline]
    #[allow(clippy::too_many_arguments)] // two ranges and the operands
    fn tile<'a>(
        &'a self,
        o: &'a Operands,
        level: &Level,
        rows: Range<usize>,
        cols: Range<usize>,
        k: usize,
        a: (*const f32, usize),
        b: (*const f32, usize),
    ) -> Tile<'a> {
        let d = &self.desc;
        let at = rows.start * d.ldc + cols.start;
        let sums = level.sums.start.wrapping_add(
            (rows.start - level.origin.0) * level.sums.stride + cols.start - level.origin.1,
        );
        let (from, from_stride) = match level.block {
            0 if d.epilogue.accumulate => (o.c.wrapping_add(at).cast_const(), d.ldc),
            0 => (std::ptr::null(), 0),
            _ => (sums.cast_const(), level.sums.stride),
        };
        let last = level.block + 1 == level.blocks;
        Tile {
            rows: rows.len(),
            cols: cols.len(),
            k,
            a: a.0,
            a_stride: a.1,
            b: b.0,
            b_far: b.0,
            b_stride: b.1,
            steps: std::ptr::null(),
            num_steps: 0,
            from,
            from_stride,
            to: sums,
            to_stride: level.sums.stride,
            shift: std::ptr::null(),
            finish: if last { &self.finish } else { &Finish::NONE },
            bias: o.bias.wrapping_add(cols.start),
            residual: o.residual.wrapping_add(at),
            mask: o.mask.wrapping_add(at),
            stride: d.ldc,
            param: o.param.wrapping_add(at),
            slots: o.slots.map(|slot| slot.wrapping_add(at)),
            coefficients: o.coefficients,
            update: self.update,
        }
    }
}

/// Rows of a tile's height, all columns of a block and a part of the reduction.
pub(super) struct StripPart<'a> {
    pub rows: Range<usize>,
    pub wide: &'a Range<usize>,
    pub depth: &'a Depth,
    /// A's first value, and its stride.
    pub a: (*const f32, usize),
    pub packed_b: *mut f32,
    /// Room for a list of steps.
    pub steps: *mut u32,
    /// Where the rows are behind the first one in C, if they are not one after the other.
    pub shift: *const usize,
}

/// Where a block is in the reduction, and where the chunk's sums wait meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Level {
    pub block: usize,
    pub blocks: usize,
    pub sums: Sums,
    /// The first row and column of the sums.
    pub origin: (usize, usize),
}
