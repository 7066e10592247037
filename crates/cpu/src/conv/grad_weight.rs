//! The gradient of a convolution's weight, and of its bias in the same pass.
//!
//! `dw[tap, ci, co] = sum over images and pixels p of x[p * stride + tap, ci] * dy[p, co]`.
//! A chunk is a block of images by a group of channel panels. For each image it pads a band of x,
//! packs the same band of dy panel by panel, and adds the band's sum to the chunk's sums, which
//! lie panel by panel in scratch: rows of 128 bytes at the weight's stride of a kilobyte and more
//! would map to few cache sets and many pages.

use super::engine::group_range;
use super::grad_tile::{GradTileArgs, GradTileFn, grad_tile_fn, max_rows, sum_rows_on};
use super::pack::{PackFn, Window, ask_for, copy_rows_on, copy_window, pack_rows_on};
use super::{ConvShape, Panel, check, flattened, panels, split_even};
use crate::isa::Isa;
use crate::kernel::Kernel;

/// A band's padded x and dy stay below this many values where they can (160 KB, for L2) ...
const BAND_VALUES: usize = 40 * 1024;
/// ... and below this (24 KB, for L1) if there are few multiply-adds for each load of dy.
const SMALL_BAND_VALUES: usize = 6 * 1024;
/// Sums of the panels that go through the images together stay below this many values where they
/// can (384 KB).
const SUM_VALUES: usize = 96 * 1024;
/// Rows of a tile that are few.
const FEW_ROWS: usize = 6;
/// Pixels that a partial must sum over to be worth its writing and reading (about 3 %).
const PIXELS_PER_PARTIAL: usize = 512;
/// Chunks aimed at.
const CHUNKS: usize = 16;
/// Work of a chunk worth a thread, about 4 us.
const CHUNK_FLOPS: usize = 400_000;

/// A tile's rows of the weight: contiguous in x and in the weight.
struct RowTile {
    /// Offset in the padded x.
    offset: usize,
    /// First row of the weight, seen as `[kh * kw * cin / groups, cout]`.
    row: usize,
    rows: usize,
}

/// Partial sums of the weight's gradient, one per image block.
///
/// Arguments: `[x, dy, partials]` with `partials` of [`workspace_len`](Self::workspace_len)
/// values: [`partials`](Self::partials) times [`partial_len`](Self::partial_len), each the
/// weight's gradient followed by the bias's (`[out_c]`) where asked for. Nothing needs to be
/// cleared before. [`ReduceUpdate`](super::ReduceUpdate) adds them up.
pub struct ConvGradWeight {
    desc: ConvShape,
    bias: bool,
    lanes: usize,
    panels: Vec<Panel>,
    image_blocks: usize,
    panel_groups: usize,
    origin: [isize; 2],
    /// Columns of the padded band; 0: x is read in place.
    band_columns: usize,
    band_rows: usize,
    reach: usize,
    /// By registers - 1.
    row_tiles: [Vec<RowTile>; 2],
    /// One full panel: dy is what packing would make.
    dy_in_place: bool,
    pack_rows: PackFn,
    copy_rows: PackFn,
    /// Panels that go through the images together.
    panel_batch: usize,
    tiles: [Vec<GradTileFn>; 2],
    sum_rows: unsafe fn(*const f32, usize, usize, *mut f32, usize, bool),
}

/// Small images of a 1x1 convolution become the rows of 16 or fewer larger ones, so that tiles sum
/// over more pixels before they go back to memory.
fn grouped(mut d: ConvShape) -> ConvShape {
    if d.kernel_h * d.kernel_w == 1 && (d.in_h, d.in_w) == (1, d.out_w) && d.stride == [1, 1] {
        let blocks = (1..=CHUNKS).rev().find(|n| d.batch.is_multiple_of(*n)).unwrap_or(1);
        (d.in_h, d.out_h) = (d.batch / blocks, d.batch / blocks);
        d.batch = blocks;
    }
    d
}

impl ConvGradWeight {
    /// The gradient of the weight of the convolution that `desc` describes, with that of the bias
    /// if `bias`.
    pub fn new(isa: Isa, desc: ConvShape, bias: bool) -> ConvGradWeight {
        check(&desc);
        let d = grouped(flattened(desc));
        let groups = d.groups;
        let depth = d.in_c / groups;
        let panels = panels(groups, d.out_c / groups, isa.lanes());

        let span = |out: usize, stride: usize, kernel: usize, dilation: usize| {
            (out - 1) * stride + (kernel - 1) * dilation + 1
        };
        let rows = span(d.out_h, d.stride[0], d.kernel_h, d.dilation[0]);
        let columns = span(d.out_w, d.stride[1], d.kernel_w, d.dilation[1]);
        let in_place = d.pad_top == 0 && d.pad_left == 0 && rows <= d.in_h && columns <= d.in_w;
        let pitch = if in_place { d.in_w } else { columns } * d.in_c;
        let reach = (d.kernel_h - 1) * d.dilation[0];

        // runs of (offset, length): contiguous in x and in the weight
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for ky in 0..d.kernel_h {
            for kx in 0..d.kernel_w {
                let offset = ky * d.dilation[0] * pitch + kx * d.dilation[1] * d.in_c;
                match runs.last_mut() {
                    Some(last) if kx > 0 && d.dilation[1] == 1 && groups == 1 => {
                        last.1 += depth;
                    }
                    _ => runs.push((offset, depth)),
                }
            }
        }
        let tiles_of = |registers: usize| {
            let max = max_rows(isa, registers);
            let mut tiles = Vec::new();
            let mut row = 0;
            for &(offset, len) in &runs {
                for (start, rows) in split_even(len, max) {
                    tiles.push(RowTile { offset: offset + start, row: row + start, rows });
                }
                row += len;
            }
            tiles
        };

        let chunks = (d.flops() / CHUNK_FLOPS).clamp(1, CHUNKS);
        let worthwhile = (d.batch * d.out_h * d.out_w / PIXELS_PER_PARTIAL).max(1);
        let image_blocks = chunks.min(worthwhile).min(d.batch).max(1);
        let panel_groups = chunks.div_ceil(image_blocks).clamp(1, panels.len().max(1));

        let row_tiles = [tiles_of(1), tiles_of(2)];
        let registers = panels.iter().map(|p| p.registers).max().unwrap_or(1);
        let weight_rows: usize = runs.iter().map(|run| run.1).sum();
        let panel_batch = (SUM_VALUES / (weight_rows * registers * isa.lanes()))
            .clamp(1, panels.len().div_ceil(panel_groups));
        let most_rows = row_tiles[registers - 1].iter().map(|t| t.rows).max().unwrap_or(0);
        let budget = if most_rows <= FEW_ROWS { SMALL_BAND_VALUES } else { BAND_VALUES };
        let dy_in_place = panels.iter().all(|p| p.len == d.out_c && p.len % isa.lanes() == 0);
        let packed = if dy_in_place { 0 } else { registers * isa.lanes() };
        let row = d.stride[0] * pitch + d.out_w * (packed + d.out_c.div_ceil(panel_groups));
        let band_rows = (budget.saturating_sub(reach * pitch) / row.max(1)).clamp(1, d.out_h);
        // bands of equal size
        let band_rows = d.out_h.div_ceil(d.out_h.div_ceil(band_rows));
        let table = |registers| {
            let rows = 1..=max_rows(isa, registers);
            rows.map(|r| grad_tile_fn(isa, r, registers)).collect()
        };
        ConvGradWeight {
            desc: d,
            bias,
            lanes: isa.lanes(),
            image_blocks,
            panel_groups,
            origin: [-(d.pad_top as isize), -(d.pad_left as isize)],
            band_columns: if in_place { 0 } else { columns },
            band_rows,
            reach,
            row_tiles,
            dy_in_place,
            pack_rows: pack_rows_on(isa),
            copy_rows: copy_rows_on(isa),
            panel_batch,
            tiles: [table(1), table(2)],
            sum_rows: sum_rows_on(isa),
            panels,
        }
    }

    /// How many partials there are.
    pub fn partials(&self) -> usize {
        self.image_blocks
    }

    /// Values of one partial: the weight's gradient, then the bias's.
    pub fn partial_len(&self) -> usize {
        self.desc.w_len() + if self.bias { self.desc.out_c } else { 0 }
    }

    /// Values of the workspace.
    pub fn workspace_len(&self) -> usize {
        self.partials() * self.partial_len()
    }

    /// Values of the padded band of x.
    fn band_values(&self) -> usize {
        let rows = (self.band_rows - 1) * self.desc.stride[0] + self.reach + 1;
        (rows * self.band_columns * self.desc.in_c).next_multiple_of(16)
    }

    /// Values of one packed panel of a band of dy.
    fn packed_values(&self) -> usize {
        if self.dy_in_place { 0 } else { self.band_rows * self.desc.out_w * self.width() }
    }

    /// Width of the widest panel.
    fn width(&self) -> usize {
        self.panels.iter().map(|p| p.registers * self.lanes).max().unwrap_or(0)
    }

    /// Rows of the weight: values of the sum of one output channel.
    fn weight_rows(&self) -> usize {
        self.desc.w_len() / self.desc.out_c
    }

    /// The first output channel of a panel.
    fn first_channel(&self, panel: &Panel) -> usize {
        panel.group * (self.desc.out_c / self.desc.groups) + panel.start
    }

    /// One band of one image for some panels: adds to `sums[panel][weight row][width]` and to the
    /// partial's bias.
    ///
    /// # Safety
    /// As [`Kernel::run`]; `partial` is the block's.
    #[allow(clippy::too_many_arguments)]
    unsafe fn band(
        &self,
        x: *const f32,
        dy: *const f32,
        partial: *mut f32,
        sums: *mut f32,
        panels: &[Panel],
        rows: std::ops::Range<usize>,
        first: bool,
        scratch: *mut f32,
    ) {
        let d = &self.desc;
        let mut sums = sums;
        let top = (rows.start * d.stride[0]) as isize + self.origin[0];
        // SAFETY: scratch holds the largest band, then one packed panel of dy; in place, all that
        // tiles read is inside the image, as `new` checked.
        let (a, pitch, packed) = unsafe {
            let packed = scratch.add(self.band_values());
            if self.band_columns == 0 {
                let a = x.add(top as usize * d.in_w * d.in_c);
                let seen = (rows.len() - 1) * d.stride[0] + self.reach + 1;
                ask_for(a, d.in_w * d.in_c, seen, d.in_w * d.in_c);
                (a, d.in_w * d.in_c, packed)
            } else {
                let window = Window {
                    top,
                    left: self.origin[1],
                    rows: (rows.len() - 1) * d.stride[0] + self.reach + 1,
                    columns: self.band_columns,
                };
                copy_window(x, [d.in_h, d.in_w, d.in_c], window, scratch);
                (scratch.cast_const(), self.band_columns * d.in_c, packed)
            }
        };
        if let ([first, _, ..], [.., last]) = (panels, panels) {
            let (start, end) = (self.first_channel(first), self.first_channel(last) + last.len);
            let at = rows.start * d.out_w * d.out_c + start;
            ask_for(dy.wrapping_add(at), d.out_c, rows.len() * d.out_w, end - start);
        }
        for panel in panels {
            let width = panel.registers * self.lanes;
            let channel = self.first_channel(panel);
            let pixels = rows.len() * d.out_w;
            // SAFETY: channel + panel.len <= out_c, rows are inside the image.
            let b = unsafe {
                let from = dy.add(rows.start * d.out_w * d.out_c + channel);
                let b = if self.dy_in_place {
                    from
                } else {
                    (self.pack_rows)(from, d.out_c, pixels, panel.len, packed, width);
                    packed
                };
                if self.bias {
                    let out = partial.add(d.w_len() + channel);
                    (self.sum_rows)(b, pixels, width, out, panel.len, first);
                }
                b
            };
            let source_channel = panel.group * (d.in_c / d.groups);
            for tile in &self.row_tiles[panel.registers - 1] {
                let args = GradTileArgs {
                    a: a.wrapping_add(source_channel + tile.offset),
                    a_row: d.stride[0] * pitch,
                    a_step: d.stride[1] * d.in_c,
                    b,
                    rows: rows.len(),
                    columns: d.out_w,
                    out: sums.wrapping_add(tile.row * width),
                    first,
                };
                // SAFETY: the tile's rows are rows of the weight, its sources inside the band.
                unsafe { self.tiles[panel.registers - 1][tile.rows - 1](&args) };
            }
            sums = sums.wrapping_add(self.weight_rows() * width);
        }
    }
}

impl Kernel for ConvGradWeight {
    fn chunks(&self) -> usize {
        self.image_blocks * self.panel_groups
    }

    fn scratch_bytes(&self) -> usize {
        let sums = self.panel_batch * self.weight_rows() * self.width();
        (self.band_values() + self.packed_values() + sums) * size_of::<f32>()
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let d = &self.desc;
        let (block, group) = (chunk / self.panel_groups, chunk % self.panel_groups);
        let panels = &self.panels[group_range(self.panels.len(), self.panel_groups, group)];
        // SAFETY: the block's partial and the images are inside the buffers of the contract;
        // scratch holds a band, a packed panel of dy and the sums of a batch of panels, of which
        // each panel's rows go to its channels of the partial.
        unsafe {
            let partial = args[2].add(block * self.partial_len());
            let sums = scratch.add(self.band_values() + self.packed_values());
            for panels in panels.chunks(self.panel_batch) {
                let mut first = true;
                for image in group_range(d.batch, self.image_blocks, block) {
                    let x = args[0].add(image * d.in_h * d.in_w * d.in_c);
                    let dy = args[1].add(image * d.out_h * d.out_w * d.out_c);
                    let mut start = 0;
                    while start < d.out_h {
                        let end = d.out_h.min(start + self.band_rows);
                        self.band(x, dy, partial, sums, panels, start..end, first, scratch);
                        first = false;
                        start = end;
                    }
                }
                let mut from = sums.cast_const();
                for panel in panels {
                    let (rows, width) = (self.weight_rows(), panel.registers * self.lanes);
                    let to = partial.add(self.first_channel(panel));
                    (self.copy_rows)(from, width, rows, panel.len, to, d.out_c);
                    from = from.add(rows * width);
                }
            }
        }
    }
}
