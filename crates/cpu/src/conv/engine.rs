//! The convolution engine behind the forward pass and the gradient of the input.
//!
//! Both read a source image at `t * in_step + offset(tap)` and write output pixel
//! `first + t * out_step`, for one or more phases: the forward pass is one phase, the gradient of
//! a convolution of stride s has s * s phases, each with the taps that reach it.
//!
//! A chunk is a block of images (or of rows, when images are few) by a group of channel panels.
//! It packs the group's weights once, then goes through its images band by band: copy the band
//! with zeros around it unless the image needs none, then for each panel sweep columns of tiles.

use super::pack::{PackFn, Window, copy_window, pack_rows_on, pack_transposed_on};
use super::tile::{TileArgs, TileFn, block_lengths, max_pixels, tile_fn};
use super::{ConvShape, Panel, panels, split_even};
use crate::isa::Isa;

/// Packed weights of a panel group stay below this many values, so that they share L2 (256 KB).
const GROUP_VALUES: usize = 64 * 1024;
/// A padded band stays below this many values where it can (192 KB).
const BAND_VALUES: usize = 48 * 1024;
/// Work of a chunk worth a thread, about 4 us.
const CHUNK_FLOPS: usize = 400_000;
/// Chunks aimed at.
const CHUNKS: usize = 16;
/// Pixels of a chunk that make packing the weights for it cheap (about 3 %).
const PIXELS_PER_PACK: usize = 256;

/// The output positions along one axis that share a list of taps.
struct AxisPhase {
    first: usize,
    count: usize,
    /// (tap, source offset), ascending by offset.
    taps: Vec<(usize, isize)>,
}

/// A phase in two dimensions.
struct Phase {
    first: [usize; 2],
    count: [usize; 2],
    /// Source offsets of the blocks that the tiles walk.
    offsets: Vec<u32>,
    /// Kernel position of each tap in packing order.
    taps: Vec<usize>,
}

/// One convolution, ready to run.
pub(super) struct Engine {
    batch: usize,
    source: [usize; 3],
    output: [usize; 3],
    transposed: bool,
    /// Source channels per group, and the weight's `cin / groups` and `cout`.
    depth: usize,
    weight_in: usize,
    weight_out: usize,
    in_step: [usize; 2],
    out_step: [usize; 2],
    phases: Vec<Phase>,
    /// Tile functions by registers - 1 and pixels - 1.
    tiles: [Vec<TileFn>; 2],
    pack_rows: PackFn,
    pack_transposed: PackFn,
    panels: Vec<Panel>,
    lanes: usize,
    /// Output channels per group.
    group_channels: usize,
    /// Taps of all phases.
    num_taps: usize,
    /// Source coordinates of the first value that output row 0 and column 0 need.
    origin: [isize; 2],
    /// Rows that one phase row needs beyond its first.
    reach: usize,
    /// Columns of the padded band; 0: the image is read in place.
    band_columns: usize,
    band_rows: usize,
    /// Weights are read in place.
    weight_in_place: bool,
    pack_values: usize,
    panel_groups: usize,
    image_blocks: usize,
    row_blocks: usize,
    max_rows: usize,
}

/// The buffers of a run.
pub(super) struct EngineArgs {
    pub source: *const f32,
    pub weight: *const f32,
    pub bias: *const f32,
    pub residual: *const f32,
    pub mask: *const f32,
    pub output: *mut f32,
    pub relu: bool,
}

fn forward_axis(out: usize, kernel: usize, dilation: usize, pad: usize) -> Vec<AxisPhase> {
    let taps = (0..kernel).map(|k| (k, (k * dilation) as isize - pad as isize)).collect();
    vec![AxisPhase { first: 0, count: out, taps }]
}

/// dx at `i` sees dy at `(i + pad - k * dilation) / stride` for the taps k that divide.
fn gradient_axis(
    input: usize,
    kernel: usize,
    dilation: usize,
    pad: usize,
    stride: usize,
) -> Vec<AxisPhase> {
    let phase = |first: usize| {
        let mut taps: Vec<(usize, isize)> = (0..kernel)
            .map(|k| (k, first as isize + pad as isize - (k * dilation) as isize))
            .filter(|tap| tap.1 % stride as isize == 0)
            .map(|(k, at)| (k, at / stride as isize))
            .collect();
        taps.sort_by_key(|tap| tap.1);
        AxisPhase { first, count: (input - first).div_ceil(stride), taps }
    };
    (0..stride.min(input)).map(phase).collect()
}

/// Smallest and largest source coordinate over all phases, largest at position 0 and at the end.
fn extent(phases: &[AxisPhase], step: usize) -> (isize, isize, isize) {
    let offsets = || phases.iter().flat_map(|p| p.taps.iter().map(move |t| (p.count, t.1)));
    let low = offsets().map(|(_, at)| at).min().unwrap_or(0);
    let high = offsets().map(|(_, at)| at).max().unwrap_or(low);
    let end = offsets().map(|(count, at)| ((count - 1) * step) as isize + at).max();
    (low, high, end.unwrap_or(low))
}

impl Engine {
    /// `y = conv(x, w)`.
    pub fn forward(isa: Isa, d: &ConvShape) -> Engine {
        let ys = forward_axis(d.out_h, d.kernel_h, d.dilation[0], d.pad_top);
        let xs = forward_axis(d.out_w, d.kernel_w, d.dilation[1], d.pad_left);
        let source = [d.in_h, d.in_w, d.in_c];
        let output = [d.out_h, d.out_w, d.out_c];
        Engine::build(isa, d, false, source, output, [d.stride, [1, 1]], ys, xs)
    }

    /// `dx = conv_transpose(dy, w)`.
    pub fn gradient(isa: Isa, d: &ConvShape) -> Engine {
        let ys = gradient_axis(d.in_h, d.kernel_h, d.dilation[0], d.pad_top, d.stride[0]);
        let xs = gradient_axis(d.in_w, d.kernel_w, d.dilation[1], d.pad_left, d.stride[1]);
        let source = [d.out_h, d.out_w, d.out_c];
        let output = [d.in_h, d.in_w, d.in_c];
        Engine::build(isa, d, true, source, output, [[1, 1], d.stride], ys, xs)
    }

    #[allow(clippy::too_many_arguments)]
    fn build(
        isa: Isa,
        d: &ConvShape,
        transposed: bool,
        source: [usize; 3],
        output: [usize; 3],
        [in_step, out_step]: [[usize; 2]; 2],
        ys: Vec<AxisPhase>,
        xs: Vec<AxisPhase>,
    ) -> Engine {
        let groups = d.groups;
        let depth = source[2] / groups;
        let panels = panels(groups, output[2] / groups, isa.lanes());

        let (low_y, high_y, end_y) = extent(&ys, in_step[0]);
        let (low_x, _, end_x) = extent(&xs, in_step[1]);
        let in_place =
            low_y >= 0 && low_x >= 0 && end_y < source[0] as isize && end_x < source[1] as isize;
        let reach = (high_y - low_y) as usize;
        let band_columns = if in_place { 0 } else { (end_x - low_x) as usize + 1 };
        let pitch = if in_place { source[1] } else { band_columns } * source[2];

        let mut phases = Vec::new();
        let mut runs = Vec::new();
        for y in &ys {
            for x in &xs {
                let mut taps = Vec::new();
                // runs of (offset, length): contiguous in the source and in the packed weights
                let mut phase_runs: Vec<(usize, usize)> = Vec::new();
                for &(ky, ty) in &y.taps {
                    for (i, &(kx, tx)) in x.taps.iter().enumerate() {
                        let offset =
                            (ty - low_y) as usize * pitch + (tx - low_x) as usize * source[2];
                        let adjacent = i > 0 && x.taps[i - 1].1 + 1 == tx;
                        match phase_runs.last_mut() {
                            Some(last) if adjacent && groups == 1 => last.1 += depth,
                            _ => phase_runs.push((offset, depth)),
                        }
                        taps.push(ky * d.kernel_w + kx);
                    }
                }
                let (first, count) = ([y.first, x.first], [y.count, x.count]);
                phases.push(Phase { first, count, offsets: Vec::new(), taps });
                runs.push(phase_runs);
            }
        }
        let unit = block_lengths(isa)
            .iter()
            .copied()
            .find(|unit| runs.iter().flatten().all(|run| run.1.is_multiple_of(*unit)))
            .unwrap_or(1);
        for (phase, runs) in phases.iter_mut().zip(&runs) {
            let blocks = runs.iter().flat_map(|run| (0..run.1).step_by(unit).map(|k| run.0 + k));
            phase.offsets = blocks.map(|offset| offset as u32).collect();
        }
        let num_taps = phases.iter().map(|phase| phase.taps.len()).sum();
        let max_rows = ys.iter().map(|y| y.count).max().unwrap_or(0);
        let k_total = d.kernel_h * d.kernel_w * depth;
        let width = |p: &Panel| p.registers * isa.lanes();
        let all_values: usize = panels.iter().map(|p| k_total * width(p)).sum();
        let natural = !transposed && d.groups == 1 && panels.len() == 1;
        let weight_in_place = natural && panels.iter().all(|p| p.len == width(p));

        // Pixels are cut first, then panels if that does not give enough chunks: each block of
        // pixels packs its panels' weights anew.
        let chunks = (d.flops() / CHUNK_FLOPS).clamp(1, CHUNKS);
        let pixels = d.batch * phases.iter().map(|p| p.count[0] * p.count[1]).max().unwrap_or(0);
        let worthwhile =
            if weight_in_place { chunks } else { (pixels / PIXELS_PER_PACK).clamp(1, chunks) };
        let panel_groups = all_values
            .div_ceil(GROUP_VALUES)
            .max(chunks.div_ceil(worthwhile))
            .clamp(1, panels.len().max(1));
        let group_values = (0..panel_groups)
            .map(|g| group_range(panels.len(), panel_groups, g))
            .map(|range| panels[range].iter().map(|p| k_total * width(p)).sum())
            .max()
            .unwrap_or(0);
        let wanted = worthwhile.min(chunks.div_ceil(panel_groups)).max(1);
        let image_blocks = wanted.min(d.batch).max(1);
        let row_blocks = wanted.div_ceil(image_blocks).clamp(1, max_rows.max(1));
        let row_values = in_step[0] * pitch;
        let band_rows = if in_place {
            max_rows
        } else {
            (BAND_VALUES.saturating_sub(reach * pitch) / row_values.max(1))
                .clamp(1, max_rows.max(1))
        };
        let table = |registers| {
            let pixels = 1..=max_pixels(isa, registers);
            pixels.map(|p| tile_fn(isa, unit, p, registers)).collect()
        };
        Engine {
            batch: d.batch,
            source,
            output,
            transposed,
            depth,
            weight_in: d.in_c / d.groups,
            weight_out: d.out_c,
            in_step,
            out_step,
            phases,
            tiles: [table(1), table(2)],
            pack_rows: pack_rows_on(isa),
            pack_transposed: pack_transposed_on(isa),
            panels,
            lanes: isa.lanes(),
            group_channels: output[2] / groups,
            num_taps,
            origin: [low_y, low_x],
            reach,
            band_columns,
            band_rows,
            weight_in_place,
            pack_values: if weight_in_place { 0 } else { group_values.next_multiple_of(16) },
            panel_groups,
            image_blocks,
            row_blocks,
            max_rows,
        }
    }

    pub fn chunks(&self) -> usize {
        self.panel_groups * self.image_blocks * self.row_blocks
    }

    pub fn scratch_bytes(&self) -> usize {
        let rows = (self.band_rows.max(1) - 1) * self.in_step[0] + self.reach + 1;
        let band = rows * self.band_columns * self.source[2];
        (self.pack_values + band) * size_of::<f32>()
    }

    /// # Safety
    /// The buffers have the sizes of the description; no other thread runs the chunk; `scratch`
    /// has `scratch_bytes` bytes; the instruction set is available.
    pub unsafe fn run(&self, args: &EngineArgs, chunk: usize, scratch: *mut f32) {
        let group = chunk % self.panel_groups;
        let block = chunk / self.panel_groups;
        let (images, rows) = (block / self.row_blocks, block % self.row_blocks);
        let images = group_range(self.batch, self.image_blocks, images);
        let rows = group_range(self.max_rows, self.row_blocks, rows);
        let panels = &self.panels[group_range(self.panels.len(), self.panel_groups, group)];

        // SAFETY: scratch holds the packed weights of the largest group, then one band.
        unsafe {
            if !self.weight_in_place {
                self.pack(args.weight, panels, scratch);
            }
            let band = scratch.add(self.pack_values);
            for image in images {
                let mut start = rows.start;
                while start < rows.end {
                    let end = rows.end.min(start + self.band_rows);
                    self.band(args, panels, image, start..end, scratch, band);
                    start = end;
                }
            }
        }
    }

    /// Packs the weights of some panels, phase by phase.
    ///
    /// # Safety
    /// `weight` is the whole weight; `to` has `pack_values` values.
    unsafe fn pack(&self, weight: *const f32, panels: &[Panel], to: *mut f32) {
        let mut to = to;
        for panel in panels {
            let width = panel.registers * self.lanes;
            for tap in self.phases.iter().flat_map(|phase| &phase.taps) {
                // SAFETY: the panel's channels of the tap are inside the weight: forward, depth
                // is weight_in and group * len channels are below weight_out; transposed, rows
                // are the weight_in input channels and depth counts output channels.
                unsafe {
                    if self.transposed {
                        let row = tap * self.weight_in + panel.start;
                        let from = weight.add(row * self.weight_out + panel.group * self.depth);
                        let pack = self.pack_transposed;
                        pack(from, self.weight_out, self.depth, panel.len, to, width);
                    } else {
                        let column = self.first_channel(panel);
                        let from = weight.add(tap * self.depth * self.weight_out + column);
                        let pack = self.pack_rows;
                        pack(from, self.weight_out, self.depth, panel.len, to, width);
                    }
                    to = to.add(self.depth * width);
                }
            }
        }
    }

    /// The first output channel of a panel.
    fn first_channel(&self, panel: &Panel) -> usize {
        panel.group * self.group_channels + panel.start
    }

    /// Output rows `rows` (in phase rows) of one image for some panels.
    ///
    /// # Safety
    /// As [`Engine::run`]; `packed` holds the panels' weights.
    unsafe fn band(
        &self,
        args: &EngineArgs,
        panels: &[Panel],
        image: usize,
        rows: std::ops::Range<usize>,
        packed: *const f32,
        band: *mut f32,
    ) {
        let [_, w, c] = self.source;
        let first = rows.start;
        let top = (rows.start * self.in_step[0]) as isize + self.origin[0];
        // SAFETY: image < batch. In place, all coordinates that tiles read are inside the image,
        // as `build` checked; else the window has every row and column that the band reads.
        let (a, pitch) = unsafe {
            let from = args.source.add(image * self.source.iter().product::<usize>());
            if self.band_columns == 0 {
                let at = (top as usize * w + self.origin[1] as usize) * c;
                (from.wrapping_add(at), w * c)
            } else {
                let window = Window {
                    top,
                    left: self.origin[1],
                    rows: (rows.len() - 1) * self.in_step[0] + self.reach + 1,
                    columns: self.band_columns,
                };
                copy_window(from, self.source, window, band);
                (band.cast_const(), self.band_columns * c)
            }
        };
        // All channels of a few pixels, then the next pixels: memory is then written in its order. Channel by channel
        // of a whole band, each line of the output waited for memory by itself.
        let step = if panels.len() == 1 { rows.len() } else { 1 };
        for start in rows.clone().step_by(step) {
            let mut first_tap = 0;
            for phase in &self.phases {
                let rows = start..(start + step).min(rows.end).min(phase.count[0]);
                if !rows.is_empty() {
                    let a = a.wrapping_add((rows.start - first) * self.in_step[0] * pitch);
                    let b = if self.weight_in_place { args.weight } else { packed };
                    // SAFETY: rows are inside the phase and their sources inside the band.
                    unsafe {
                        self.sweep(args, panels, phase, image, rows, (a, pitch), (b, first_tap));
                    }
                }
                first_tap += phase.taps.len();
            }
        }
    }

    /// All tiles of some panels, a phase and some rows.
    ///
    /// # Safety
    /// As [`Engine::run`]; `a` is the source of the first row, `b` the panels' weights, of which the phase's start
    /// after so many taps.
    #[allow(clippy::too_many_arguments)]
    unsafe fn sweep(
        &self,
        args: &EngineArgs,
        panels: &[Panel],
        phase: &Phase,
        image: usize,
        rows: std::ops::Range<usize>,
        (a, pitch): (*const f32, usize),
        (b, first_tap): (*const f32, usize),
    ) {
        let [h, w, c] = self.output;
        let y = phase.first[0] + rows.start * self.out_step[0];
        let base = ((image * h + y) * w + phase.first[1]) * c;
        let shift = |p: *const f32, by: usize| if p.is_null() { p } else { p.wrapping_add(by) };
        // a phase that no tap reaches: nothing to mask
        let zero = phase.offsets.is_empty() && args.residual.is_null();
        let widest = panels.iter().map(|panel| self.tiles[panel.registers - 1].len()).min();
        for (start, pixels) in split_even(phase.count[1], widest.unwrap_or(1)) {
            let mut b = b;
            for panel in panels {
                let width = panel.registers * self.lanes;
                let channel = self.first_channel(panel);
                let source_channel = panel.group * self.depth;
                let at = base + start * self.out_step[1] * c + channel;
                let tile = TileArgs {
                    a: a.wrapping_add(source_channel + start * self.in_step[1] * self.source[2]),
                    a_row: self.in_step[0] * pitch,
                    a_step: self.in_step[1] * self.source[2],
                    offsets: phase.offsets.as_ptr(),
                    num_offsets: phase.offsets.len(),
                    b: b.wrapping_add(first_tap * self.depth * width),
                    rows: rows.len(),
                    y: args.output.wrapping_add(at),
                    y_row: self.out_step[0] * w * c,
                    y_step: self.out_step[1] * c,
                    n: panel.len,
                    bias: shift(args.bias, channel),
                    residual: shift(args.residual, at),
                    mask: if zero { std::ptr::null() } else { shift(args.mask, at) },
                    relu: args.relu,
                };
                // SAFETY: row r and pixel i of the tile are output row y + r * out_step, column
                // first + (start + i) * out_step, inside the output by the phase's counts; its source
                // values are inside the band (or the image) by the extents in `build`.
                unsafe { self.tiles[panel.registers - 1][pixels - 1](&tile) };
                b = b.wrapping_add(self.num_taps * self.depth * width);
            }
        }
    }
}

/// Part `index` of `len` things cut into `parts`, as even as possible.
pub(super) fn group_range(len: usize, parts: usize, index: usize) -> std::ops::Range<usize> {
    index * len / parts..(index + 1) * len / parts
}
