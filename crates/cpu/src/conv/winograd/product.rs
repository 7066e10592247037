//! The forward pass and the gradient of the input.

use super::super::engine::group_range;
use super::super::tile::{TileArgs, TileFn, block_lengths, max_pixels, tile_fn};
use super::super::{ConvShape, Panel, check, panels, split_even};
use super::transform::{Finish, Planes, product_on, source_on};
use super::{PLACES, Pass, Run, Tiling, plane_len};
use crate::isa::Isa;
use crate::kernel::Kernel;

/// Values of the planes of a block: 128 KB of the L2 cache, for 24 to 160 were measured.
const BLOCK_VALUES: usize = 32 * 1024;
/// Work of a chunk worth a thread, about 4 us.
const CHUNK_FLOPS: usize = 200_000;
/// Chunks aimed at.
const CHUNKS: usize = 16;

/// A convolution by transformed filters: `relu(conv(x, w) + bias + residual)`, or
/// `(conv_transpose(dy, w) + residual) * (mask > 0)`, as
/// [`ConvForward`](crate::conv::ConvForward) and [`ConvGradInput`](crate::conv::ConvGradInput).
///
/// Arguments: `[source, transformed w, bias | null, mask | null, residual | null, output]`, with
/// what [`WinogradFilter`](super::WinogradFilter) makes for the same pass. `output` may be the
/// residual's buffer.
pub struct WinogradConv {
    tiling: Tiling,
    relu: bool,
    chunks: usize,
    /// Most tiles of a block.
    block: usize,
    panels: Vec<Panel>,
    lanes: usize,
    /// By registers - 1 and tiles - 1.
    tiles: [Vec<TileFn>; 2],
    offsets: Vec<u32>,
    source: unsafe fn(&Tiling, *const f32, *const f32, &Run, Planes),
    product: unsafe fn(&Tiling, Planes, &Run, *mut f32, &Finish),
}

impl WinogradConv {
    /// One pass of the convolution that `d` describes; `relu` applies relu last.
    pub fn new(isa: Isa, d: &ConvShape, pass: Pass, relu: bool) -> WinogradConv {
        check(d);
        let tiling = Tiling::new(d, pass);
        let [depth, width] = [tiling.source[2], tiling.output[2]];
        let panels = panels(1, width, isa.lanes());
        let registers = panels.iter().map(|p| p.registers).max().unwrap_or(1);
        let rows = max_pixels(isa, registers);
        let block = (BLOCK_VALUES / (PLACES * (depth + width)) / rows).max(1) * rows;
        let flops = 2 * tiling.tiles() * PLACES * depth * width;
        let chunks = (flops / CHUNK_FLOPS).clamp(1, CHUNKS).min(tiling.tiles().div_ceil(rows));
        let unit = block_lengths(isa).iter().copied().find(|n| depth.is_multiple_of(*n));
        let unit = unit.unwrap_or(1);
        let table = |registers| {
            let tiles = 1..=max_pixels(isa, registers);
            tiles.map(|n| tile_fn(isa, unit, n, registers)).collect()
        };
        WinogradConv {
            tiling,
            relu,
            chunks,
            block,
            panels,
            lanes: isa.lanes(),
            tiles: [table(1), table(2)],
            offsets: (0..depth as u32).step_by(unit).collect(),
            source: source_on(isa),
            product: product_on(isa),
        }
    }

    fn depth(&self) -> usize {
        self.tiling.source[2]
    }

    fn width(&self) -> usize {
        self.tiling.output[2]
    }

    /// Values of a row of zeros, of the source's planes and of the product's.
    fn scratch(&self) -> [usize; 3] {
        let planes = |width: usize| PLACES * plane_len(self.block * width);
        [self.tiling.source[1] * self.depth(), planes(self.depth()), planes(self.width())]
    }

    /// The sixteen products of a block of `count` tiles.
    ///
    /// # Safety
    /// The planes have `count` tiles; `filter` is the transformed filter.
    unsafe fn multiply(&self, count: usize, from: Planes, filter: *const f32, to: Planes) {
        let depth = self.depth();
        for place in 0..PLACES {
            for panel in &self.panels {
                let width = panel.registers * self.lanes;
                let tiles = &self.tiles[panel.registers - 1];
                // SAFETY: place and panel are inside the filter and the planes, tiles below count.
                unsafe {
                    let b = filter.add((panel.start * PLACES + place * width) * depth);
                    for (start, len) in split_even(count, tiles.len()) {
                        let tile = TileArgs {
                            a: from.at.add(place * from.plane + start * depth),
                            a_row: 0,
                            a_step: depth,
                            offsets: self.offsets.as_ptr(),
                            num_offsets: self.offsets.len(),
                            b,
                            rows: 1,
                            y: to.at.add(place * to.plane + start * to.width + panel.start),
                            y_row: 0,
                            y_step: to.width,
                            n: panel.len,
                            bias: std::ptr::null(),
                            residual: std::ptr::null(),
                            mask: std::ptr::null(),
                            relu: false,
                        };
                        tiles[len - 1](&tile);
                    }
                }
            }
        }
    }
}

impl Kernel for WinogradConv {
    fn chunks(&self) -> usize {
        self.chunks
    }

    fn scratch_bytes(&self) -> usize {
        self.scratch().iter().map(|len| len.next_multiple_of(16)).sum::<usize>() * size_of::<f32>()
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let [zeros_len, source_len, _] = self.scratch();
        let t = &self.tiling;
        let finish = Finish { bias: args[2], mask: args[3], residual: args[4], relu: self.relu };
        let tiles = group_range(t.tiles(), self.chunks, chunk);
        // SAFETY: scratch holds the three areas; blocks are runs of the tiling's tiles.
        unsafe {
            std::ptr::write_bytes(scratch, 0, zeros_len);
            let at = scratch.add(zeros_len.next_multiple_of(16));
            let (depth, width) = (self.depth(), self.width());
            let from = Planes { at, plane: plane_len(self.block * depth), width: depth };
            let at = at.add(source_len.next_multiple_of(16));
            let to = Planes { at, plane: plane_len(self.block * width), width };
            for (start, count) in split_even(tiles.len(), self.block) {
                for run in t.runs(tiles.start + start, count) {
                    (self.source)(t, args[0], scratch, &run, from);
                }
                self.multiply(count, from, args[1], to);
                for run in t.runs(tiles.start + start, count) {
                    (self.product)(t, to, &run, args[5], &finish);
                }
            }
        }
    }
}
