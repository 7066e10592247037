//! The forward pass and the gradient of the input: both are sums over taps of a source image.

use super::super::engine::group_range;
use super::super::winograd::Pass;
use super::super::{ConvShape, check, split_even};
use super::{CHUNK_FLOPS, CHUNKS, applies, load, store};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::simd::Simd;

/// A depthwise convolution `relu(conv(x, w) + bias + residual)`, or
/// `(conv_transpose(dy, w) + residual) * (mask > 0)`, as [`ConvForward`](crate::conv::ConvForward) and
/// [`ConvGradInput`](crate::conv::ConvGradInput).
///
/// Arguments: `[source, w, bias | null, mask | null, residual | null, output]`. `output` may be the residual's buffer.
pub struct DepthwiseConv {
    batch: usize,
    source: [usize; 3],
    output: [usize; 3],
    relu: bool,
    chunks: usize,
    /// Of each output row: its class, and the source row of its first tap.
    rows: Vec<(usize, usize)>,
    runs: Vec<Run>,
    /// By class of the row, then by run.
    taps: Vec<Vec<Tap>>,
    /// Columns of the source from one pixel of a run to the next.
    advance: usize,
    /// Most pixels done together.
    most: usize,
    pixels: PixelsFn,
}

/// Output pixels of a row, `step` columns apart, that see the same taps.
struct Run {
    first: usize,
    step: usize,
    count: usize,
    /// Tap and source column, of the first pixel.
    taps: Vec<(usize, usize)>,
}

/// A tap's values: offsets in the source from that of the first tap, and in the weight.
#[derive(Clone, Copy)]
struct Tap {
    source: usize,
    weight: usize,
}

/// Some pixels of a row.
struct Pixels {
    source: *const f32,
    source_step: usize,
    weight: *const f32,
    taps: *const Tap,
    num_taps: usize,
    bias: *const f32,
    residual: *const f32,
    mask: *const f32,
    output: *mut f32,
    output_step: usize,
    channels: usize,
    relu: bool,
}

type PixelsFn = unsafe fn(&Pixels, usize);

/// Most pixels done together by any set.
const MOST: usize = 7;

/// Channels from `i` on, NV registers of `P` pixels; `TAIL`: the last register has fewer than its lanes.
#[inline(always)]
unsafe fn block<S: Simd, const P: usize, const NV: usize, const TAIL: bool>(t: &Pixels, i: usize) {
    // SAFETY: the pixels have `channels` values at each tap and in all operands; registers other than the tail are full.
    unsafe {
        let tail = t.channels - i;
        let mut acc = [[S::splat(0.0); NV]; P];
        for tap in 0..t.num_taps {
            let tap = &*t.taps.add(tap);
            let (from, w) = (t.source.add(tap.source + i), t.weight.add(tap.weight + i));
            unroll!(V < NV of 2, {
                let w = load::<S, TAIL>(w.add(V * S::LANES), tail);
                unroll!(I < P, {
                    let x = from.add(I * t.source_step + V * S::LANES);
                    let x = load::<S, TAIL>(x, tail);
                    acc[I][V] = S::fma(x, w, acc[I][V]);
                });
            });
        }
        let zero = S::splat(0.0);
        unroll!(I < P, {
            let at = I * t.output_step + i;
            unroll!(V < NV of 2, {
                let at = at + V * S::LANES;
                let mut sum = acc[I][V];
                if !t.bias.is_null() {
                    sum = S::add(sum, load::<S, TAIL>(t.bias.add(i + V * S::LANES), tail));
                }
                if !t.residual.is_null() {
                    sum = S::add(sum, load::<S, TAIL>(t.residual.add(at), tail));
                }
                if !t.mask.is_null() {
                    let mask = load::<S, TAIL>(t.mask.add(at), tail);
                    sum = S::select(S::gt(mask, zero), sum, zero);
                }
                if t.relu {
                    sum = S::max(zero, sum); // NaN stays NaN
                }
                store::<S, TAIL>(t.output.add(at), sum, tail);
            });
        });
    }
}

/// All channels of `P` pixels.
#[inline(always)]
unsafe fn channels<S: Simd, const P: usize>(t: &Pixels) {
    let mut i = 0;
    // SAFETY: blocks are inside the channels.
    unsafe {
        while i + 2 * S::LANES <= t.channels {
            block::<S, P, 2, false>(t, i);
            i += 2 * S::LANES;
        }
        if i + S::LANES <= t.channels {
            block::<S, P, 1, false>(t, i);
            i += S::LANES;
        }
        if i < t.channels {
            block::<S, P, 1, true>(t, i);
        }
    }
}

/// # Safety
/// The operands have `count` pixels, at most [`MOST`], at their steps.
#[inline(always)]
unsafe fn pixels<S: Simd>(t: &Pixels, count: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        match count {
            1 => channels::<S, 1>(t),
            2 => channels::<S, 2>(t),
            3 => channels::<S, 3>(t),
            4 => channels::<S, 4>(t),
            5 => channels::<S, 5>(t),
            6 => channels::<S, 6>(t),
            _ => channels::<S, MOST>(t),
        }
    }
}
kernel!(fn pixels_on(t: &Pixels, count: usize) = pixels;);

/// The taps that each output position of one axis sees, with the source positions.
fn axis_taps(
    pass: Pass,
    [input, output]: [usize; 2],
    [kernel, stride, dilation, pad]: [usize; 4],
) -> Vec<Vec<(usize, usize)>> {
    let (positions, sources) = match pass {
        Pass::Forward => (output, input),
        Pass::GradInput => (input, output),
    };
    let source = |at: usize, k: usize| {
        let position = match pass {
            Pass::Forward => (at * stride + k * dilation).checked_sub(pad)?,
            Pass::GradInput => {
                let position = (at + pad).checked_sub(k * dilation)?;
                position.is_multiple_of(stride).then_some(position / stride)?
            }
        };
        (position < sources).then_some((k, position))
    };
    (0..positions).map(|at| (0..kernel).filter_map(|k| source(at, k)).collect()).collect()
}

/// Columns with equal taps, `step` apart, whose sources are `advance` apart.
fn runs(columns: &[Vec<(usize, usize)>], step: usize, advance: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for phase in 0..step.min(columns.len()) {
        let mut last: Option<Run> = None;
        for at in (phase..columns.len()).step_by(step) {
            let continues = |run: &Run| {
                let shift = run.count * advance;
                let moved = run.taps.iter().map(|&(k, source)| (k, source + shift));
                moved.eq(columns[at].iter().copied())
            };
            match &mut last {
                Some(run) if continues(run) => run.count += 1,
                _ => {
                    let run = Run { first: at, step, count: 1, taps: columns[at].clone() };
                    runs.extend(last.replace(run));
                }
            }
        }
        runs.extend(last);
    }
    runs
}

impl DepthwiseConv {
    /// One pass of the depthwise convolution that `d` describes; `relu` applies relu last.
    pub fn new(isa: Isa, d: &ConvShape, pass: Pass, relu: bool) -> DepthwiseConv {
        check(d);
        assert!(applies(d), "not depthwise: {d:?}");
        let ys = [d.kernel_h, d.stride[0], d.dilation[0], d.pad_top];
        let xs = [d.kernel_w, d.stride[1], d.dilation[1], d.pad_left];
        let (x, y) = ([d.in_h, d.in_w, d.in_c], [d.out_h, d.out_w, d.out_c]);
        let (source, output, [step, advance]) = match pass {
            Pass::Forward => (x, y, [1, d.stride[1]]),
            Pass::GradInput => (y, x, [d.stride[1], 1]),
        };
        let runs = runs(&axis_taps(pass, [d.in_w, d.out_w], xs), step, advance);
        let mut classes: Vec<Vec<(usize, usize)>> = Vec::new();
        let mut rows = Vec::new();
        for taps in axis_taps(pass, [d.in_h, d.out_h], ys) {
            let first = taps.iter().map(|tap| tap.1).min().unwrap_or(0);
            let class: Vec<_> = taps.iter().map(|&(k, row)| (k, row - first)).collect();
            let known = classes.iter().position(|other| *other == class);
            rows.push((known.unwrap_or(classes.len()), first));
            if known.is_none() {
                classes.push(class);
            }
        }
        let c = source[2];
        let mut taps = Vec::new();
        for class in &classes {
            for run in &runs {
                let first = run.taps.iter().map(|tap| tap.1).min().unwrap_or(0);
                let tap = |&(ky, row): &(usize, usize), &(kx, column): &(usize, usize)| Tap {
                    source: (row * source[1] + column - first) * c,
                    weight: (ky * d.kernel_w + kx) * c,
                };
                taps.push(
                    class.iter().flat_map(|y| run.taps.iter().map(move |x| tap(y, x))).collect(),
                );
            }
        }
        DepthwiseConv {
            batch: d.batch,
            source,
            output,
            relu,
            chunks: (d.flops() / CHUNK_FLOPS).clamp(1, CHUNKS).min(d.batch * output[0]),
            rows,
            runs,
            taps,
            advance,
            most: if isa == Isa::Avx512 { MOST } else { 4 },
            pixels: pixels_on(isa),
        }
    }
}

impl Kernel for DepthwiseConv {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let ([h, w, c], [rows, columns, _]) = (self.source, self.output);
        let shift = |p: *mut f32, by: usize| if p.is_null() { p } else { p.wrapping_add(by) };
        for row in group_range(self.batch * rows, self.chunks, chunk) {
            let (class, source_row) = self.rows[row % rows];
            let image = (row / rows) * h + source_row;
            for (index, run) in self.runs.iter().enumerate() {
                let taps = &self.taps[class * self.runs.len() + index];
                let column = run.taps.iter().map(|tap| tap.1).min().unwrap_or(0);
                for (start, count) in split_even(run.count, self.most) {
                    let at = (row * columns + run.first + start * run.step) * c;
                    let from = (image * w + column + start * self.advance) * c;
                    let pixels = Pixels {
                        source: args[0].wrapping_add(from),
                        source_step: self.advance * c,
                        weight: args[1],
                        taps: taps.as_ptr(),
                        num_taps: taps.len(),
                        bias: args[2],
                        residual: shift(args[4], at),
                        mask: shift(args[3], at),
                        output: args[5].wrapping_add(at),
                        output_step: run.step * c,
                        channels: c,
                        relu: self.relu,
                    };
                    // SAFETY: row and columns are inside the output; the taps of the row's class and of the run are
                    // inside the source, as `axis_taps` checked; `batch` is that of the buffers.
                    unsafe { (self.pixels)(&pixels, count) };
                }
            }
        }
    }
}
