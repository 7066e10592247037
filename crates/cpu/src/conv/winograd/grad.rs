//! The gradient of the filter.

use super::super::engine::group_range;
use super::super::grad_tile::{GradTileArgs, GradTileFn, grad_tile_fn, max_rows, sum_rows_on};
use super::super::{ConvShape, Panel, check, panels, split_even};
use super::filter::gather_on;
use super::transform::{Planes, gradient_on, source_on};
use super::{PLACES, Pass, Run, Tiling, plane_len};
use crate::isa::Isa;
use crate::kernel::Kernel;

/// Values of the planes of a block (L2).
const BLOCK_VALUES: usize = 48 * 1024;
/// Most values of the sums of the panels that go over the tiles together (L2), where it can be.
const SUM_VALUES: usize = 96 * 1024;
/// Tiles that a partial must sum over to be worth its transform, writing and reading.
const TILES_PER_PARTIAL: usize = 128;
/// Work of a chunk worth a thread, about 4 us.
const CHUNK_FLOPS: usize = 200_000;
/// Chunks aimed at.
const CHUNKS: usize = 16;

type SourceFn = unsafe fn(&Tiling, *const f32, *const f32, &Run, Planes);
type GradientFn = unsafe fn(&Tiling, *const f32, &Run, Planes);
type GatherFn = unsafe fn(*const f32, usize, usize, usize, *mut f32, (usize, usize));

/// Partial sums of the filter's gradient, one for each block of tiles: arguments and layout of
/// [`ConvGradWeight`](crate::conv::ConvGradWeight).
pub struct WinogradGradWeight {
    tiling: Tiling,
    bias: bool,
    partials: usize,
    /// Groups of panels, each a chunk for each partial.
    panel_groups: usize,
    /// Most tiles of a block.
    block: usize,
    panels: Vec<Panel>,
    /// Panels that go over the tiles together.
    panel_batch: usize,
    lanes: usize,
    tiles: [Vec<GradTileFn>; 2],
    source: SourceFn,
    gradient: GradientFn,
    gather: GatherFn,
    sum_rows: unsafe fn(*const f32, usize, usize, *mut f32, usize, bool),
}

impl WinogradGradWeight {
    /// The gradient of the filter of the convolution that `d` describes, with that of the bias if
    /// `bias`.
    pub fn new(isa: Isa, d: &ConvShape, bias: bool) -> WinogradGradWeight {
        check(d);
        let tiling = Tiling::new(d, Pass::Forward);
        let panels = panels(1, d.out_c, isa.lanes());
        let registers = panels.iter().map(|p| p.registers).max().unwrap_or(1);
        let width = registers * isa.lanes();
        let flops = 2 * tiling.tiles() * PLACES * d.in_c * d.out_c;
        let chunks = (flops / CHUNK_FLOPS).clamp(1, CHUNKS);
        let partials = chunks.min(tiling.tiles() / TILES_PER_PARTIAL).max(1);
        let panel_groups = chunks.div_ceil(partials).clamp(1, panels.len());
        let panel_batch =
            (SUM_VALUES / (PLACES * d.in_c * width)).clamp(1, panels.len().div_ceil(panel_groups));
        let block = BLOCK_VALUES / (PLACES * (d.in_c + width));
        let table = |registers| {
            let rows = 1..=max_rows(isa, registers);
            rows.map(|r| grad_tile_fn(isa, r, registers)).collect()
        };
        WinogradGradWeight {
            tiling,
            bias,
            partials,
            panel_groups,
            block: block.max(16),
            panels,
            panel_batch,
            lanes: isa.lanes(),
            tiles: [table(1), table(2)],
            source: source_on(isa),
            gradient: gradient_on(isa),
            gather: gather_on(isa),
            sum_rows: sum_rows_on(isa),
        }
    }

    /// How many partials there are.
    pub fn partials(&self) -> usize {
        self.partials
    }

    /// Values of one partial: the filter's gradient, then the bias's.
    pub fn partial_len(&self) -> usize {
        let [c, k] = self.channels();
        9 * c * k + if self.bias { k } else { 0 }
    }

    fn channels(&self) -> [usize; 2] {
        [self.tiling.source[2], self.tiling.output[2]]
    }

    /// Width of the widest panel.
    fn width(&self) -> usize {
        self.panels.iter().map(|p| p.registers * self.lanes).max().unwrap_or(0)
    }

    /// Values of a row of zeros, of the source's planes, of one panel of the gradient's, and of the
    /// sums of one panel.
    fn areas(&self) -> [usize; 4] {
        let ([c, _], width) = (self.channels(), self.width());
        let planes = |width: usize| PLACES * plane_len(self.block * width);
        [
            (self.tiling.source[1] * c).next_multiple_of(16),
            planes(c),
            planes(width),
            PLACES * c * width,
        ]
    }
}

impl WinogradGradWeight {
    /// Adds the products of a block of tiles to the sums of one panel.
    ///
    /// # Safety
    /// The planes have `count` tiles, `sums` sixteen matrices `[c, width]`.
    unsafe fn multiply(
        &self,
        panel: &Panel,
        count: usize,
        from: Planes,
        dy: Planes,
        (sums, first): (*mut f32, bool),
    ) {
        let ([c, _], width) = (self.channels(), panel.registers * self.lanes);
        let tiles = &self.tiles[panel.registers - 1];
        for place in 0..PLACES {
            for (row, rows) in split_even(c, tiles.len()) {
                // SAFETY: place and rows are inside the planes and the sums.
                unsafe {
                    let tile = GradTileArgs {
                        a: from.at.add(place * from.plane + row),
                        a_row: 0,
                        a_step: c,
                        b: dy.at.add(place * dy.plane),
                        rows: 1,
                        columns: count,
                        out: sums.add((place * c + row) * width),
                        first,
                    };
                    tiles[rows - 1](&tile);
                }
            }
        }
    }
}

impl Kernel for WinogradGradWeight {
    fn chunks(&self) -> usize {
        self.partials * self.panel_groups
    }

    fn scratch_bytes(&self) -> usize {
        let [zeros, source, gradient, sums] = self.areas();
        (zeros + source + gradient + self.panel_batch * sums) * size_of::<f32>()
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let t = &self.tiling;
        let [c, k] = self.channels();
        let (part, group) = (chunk / self.panel_groups, chunk % self.panel_groups);
        let panels = &self.panels[group_range(self.panels.len(), self.panel_groups, group)];
        let tiles = group_range(t.tiles(), self.partials, part);
        let [zeros_len, source_len, gradient_len, sums_len] = self.areas();
        // SAFETY: scratch holds the four areas; blocks are runs of the tiling's tiles; panels are
        // channels of dy and of the part's partial.
        unsafe {
            std::ptr::write_bytes(scratch, 0, zeros_len);
            let at = scratch.add(zeros_len);
            let from = Planes { at, plane: plane_len(self.block * c), width: c };
            let gradient_at = at.add(source_len);
            let sums = gradient_at.add(gradient_len);
            let partial = args[2].add(part * self.partial_len());
            for panels in panels.chunks(self.panel_batch) {
                for (start, count) in split_even(tiles.len(), self.block) {
                    for run in t.runs(tiles.start + start, count) {
                        (self.source)(t, args[0], scratch, &run, from);
                    }
                    for (i, panel) in panels.iter().enumerate() {
                        let width = panel.registers * self.lanes;
                        let plane = plane_len(self.block * width);
                        let dy = Planes { at: gradient_at, plane, width };
                        for run in t.runs(tiles.start + start, count) {
                            (self.gradient)(t, args[1].add(panel.start), &run, dy);
                        }
                        if self.bias {
                            // place (1, 1) holds the sums of the tiles
                            let from = dy.at.add(5 * plane);
                            let to = partial.add(9 * c * k + panel.start);
                            (self.sum_rows)(from, count, width, to, width, start == 0);
                        }
                        self.multiply(panel, count, from, dy, (sums.add(i * sums_len), start == 0));
                    }
                }
                for (i, panel) in panels.iter().enumerate() {
                    let width = panel.registers * self.lanes;
                    let from = sums.add(i * sums_len);
                    let to = partial.add(panel.start);
                    (self.gather)(from, c * width, c, width, to, (c * k, k));
                }
            }
        }
    }
}
