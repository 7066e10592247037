//! The gradient of the weight.

use super::super::engine::group_range;
use super::super::pack::ask_for;
use super::super::{ConvShape, check, split_even};
use super::{CHUNK_FLOPS, CHUNKS, applies, load, store};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::simd::Simd;

/// Values of the rows of dy that are summed over before the next channels (64 KB, for L2 beside x).
const ROW_VALUES: usize = 16 * 1024;
/// Pixels that a partial must sum over to be worth its writing and reading.
const PIXELS_PER_PARTIAL: usize = 512;
/// Most taps of a row whose sums are in registers.
const MOST: usize = 7;
/// Registers of channels.
const VECTORS: usize = 2;

/// Partial sums of the weight's gradient, one for each block of images: arguments and layout of
/// [`ConvGradWeight`](crate::conv::ConvGradWeight).
pub struct DepthwiseGradWeight {
    d: ConvShape,
    bias: bool,
    image_blocks: usize,
    /// Blocks of channels of a chunk's group.
    channel_groups: usize,
    /// Channels of a block.
    block: usize,
    rows: usize,
    /// First tap and number of taps of a row that go together, with the columns at which all are inside the image.
    pieces: Vec<(usize, usize, [usize; 2])>,
    sum: unsafe fn(&Sums, usize),
    bias_sum: unsafe fn(&Sums, usize),
}

/// Taps of one row over some rows of pixels.
struct Sums {
    /// Rows and columns of dy.
    rows: std::ops::Range<usize>,
    columns: usize,
    /// Columns at which all taps are inside.
    inner: [usize; 2],
    /// dy of the image, and values between its pixels.
    dy: *const f32,
    x: *const f32,
    step: usize,
    /// Rows and columns of x.
    source: [usize; 2],
    /// Row of x that row 0 of dy sees, and column of x that column 0 sees at the first tap.
    origin: [isize; 2],
    stride: [usize; 2],
    dilation: usize,
    /// Sums of the first tap, values to those of the next.
    out: *mut f32,
    channels: usize,
}

/// NV registers of channels and K taps.
///
/// # Safety
/// As [`sum`].
#[inline(always)]
unsafe fn taps<S: Simd, const K: usize, const NV: usize, const TAIL: bool>(t: &Sums, n: usize) {
    // SAFETY: pixels and taps inside the images, `n` channels of each; sums are `step` apart.
    unsafe {
        let mut acc = [[S::splat(0.0); NV]; K];
        unroll!(U < K, {
            unroll!(V < NV of 2, {
                acc[U][V] = load::<S, TAIL>(t.out.add(U * t.step + V * S::LANES), n);
            });
        });
        for row in t.rows.clone() {
            let y = (row * t.stride[0]) as isize + t.origin[0];
            if y < 0 || y >= t.source[0] as isize {
                continue;
            }
            let x_row = t.x.add(y as usize * t.source[1] * t.step);
            let dy_row = t.dy.add(row * t.columns * t.step);
            for column in (0..t.inner[0]).chain(t.inner[1]..t.columns) {
                let dy = dy_row.add(column * t.step);
                let first = (column * t.stride[1]) as isize + t.origin[1];
                unroll!(U < K, {
                    let x = first + (U * t.dilation) as isize;
                    if x >= 0 && x < t.source[1] as isize {
                        let x = x_row.add(x as usize * t.step);
                        unroll!(V < NV of 2, {
                            let at = V * S::LANES;
                            let d = load::<S, TAIL>(dy.add(at), n);
                            acc[U][V] = S::fma(load::<S, TAIL>(x.add(at), n), d, acc[U][V]);
                        });
                    }
                });
            }
            if t.inner[0] < t.inner[1] {
                let mut dy = dy_row.add(t.inner[0] * t.step);
                let first = (t.inner[0] * t.stride[1]) as isize + t.origin[1];
                let mut x = x_row.add(first as usize * t.step);
                for _ in t.inner[0]..t.inner[1] {
                    let mut d = [S::splat(0.0); NV];
                    unroll!(V < NV of 2, { d[V] = load::<S, TAIL>(dy.add(V * S::LANES), n) });
                    unroll!(U < K, {
                        let x = x.add(U * t.dilation * t.step);
                        unroll!(V < NV of 2, {
                            let x = load::<S, TAIL>(x.add(V * S::LANES), n);
                            acc[U][V] = S::fma(x, d[V], acc[U][V]);
                        });
                    });
                    dy = dy.wrapping_add(t.step);
                    x = x.wrapping_add(t.stride[1] * t.step);
                }
            }
        }
        unroll!(U < K, {
            unroll!(V < NV of 2, {
                store::<S, TAIL>(t.out.add(U * t.step + V * S::LANES), acc[U][V], n);
            });
        });
    }
}

/// `channels` channels from the pointers on.
#[inline(always)]
unsafe fn channels<S: Simd, const K: usize>(t: &Sums) {
    // SAFETY: at most VECTORS registers of channels.
    unsafe {
        if t.channels == VECTORS * S::LANES {
            taps::<S, K, VECTORS, false>(t, S::LANES);
            return;
        }
        let mut at = 0;
        while at < t.channels {
            let n = (t.channels - at).min(S::LANES);
            let part = Sums {
                rows: t.rows.clone(),
                x: t.x.add(at),
                dy: t.dy.add(at),
                out: t.out.add(at),
                ..*t
            };
            if n == S::LANES {
                taps::<S, K, 1, false>(&part, n);
            } else {
                taps::<S, K, 1, true>(&part, n);
            }
            at += n;
        }
    }
}

/// Adds to the sums of `taps` taps, at most [`MOST`].
///
/// # Safety
/// x and dy are images of these sizes, `inner` columns see only columns of x, and there are sums for the taps.
#[inline(always)]
unsafe fn sum<S: Simd>(t: &Sums, taps: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        match taps {
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
kernel!(fn sum_on(t: &Sums, taps: usize) = sum;);

/// Adds the rows of dy to `out`.
///
/// # Safety
/// As [`sum`].
#[inline(always)]
unsafe fn bias_sum<S: Simd>(t: &Sums, _: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        for at in (0..t.channels).step_by(S::LANES) {
            let n = t.channels - at;
            let mut sum = crate::simd::load_n::<S>(t.out.add(at), n);
            for pixel in t.rows.start * t.columns..t.rows.end * t.columns {
                sum = S::add(sum, crate::simd::load_n::<S>(t.dy.add(pixel * t.step + at), n));
            }
            crate::simd::store_n::<S>(t.out.add(at), sum, n);
        }
    }
}
kernel!(fn bias_sum_on(t: &Sums, taps: usize) = bias_sum;);

impl DepthwiseGradWeight {
    /// The gradient of the weight of the convolution that `d` describes, with that of the bias if `bias`.
    pub fn new(isa: Isa, d: &ConvShape, bias: bool) -> DepthwiseGradWeight {
        check(d);
        assert!(applies(d), "not depthwise: {d:?}");
        let chunks = (d.flops() / CHUNK_FLOPS).clamp(1, CHUNKS);
        let worthwhile = (d.batch * d.out_h * d.out_w / PIXELS_PER_PARTIAL).max(1);
        let image_blocks = chunks.min(worthwhile).min(d.batch).max(1);
        let block = VECTORS * isa.lanes();
        let blocks = d.out_c.div_ceil(block);
        let piece = |(first, taps): (usize, usize)| {
            let inside = |column: &usize| {
                let at =
                    |k: usize| (column * d.stride[1] + k * d.dilation[1]).checked_sub(d.pad_left);
                at(first).is_some() && at(first + taps - 1).is_some_and(|at| at < d.in_w)
            };
            let start = (0..d.out_w).find(inside).unwrap_or(d.out_w);
            let end = (0..d.out_w).rev().find(inside).map_or(start, |last| last + 1);
            (first, taps, [start, end])
        };
        DepthwiseGradWeight {
            d: *d,
            bias,
            image_blocks,
            channel_groups: chunks.div_ceil(image_blocks).clamp(1, blocks),
            block,
            rows: (ROW_VALUES / (d.out_w * d.out_c)).clamp(1, d.out_h),
            pieces: split_even(d.kernel_w, MOST).map(piece).collect(),
            sum: sum_on(isa),
            bias_sum: bias_sum_on(isa),
        }
    }

    /// How many partials there are.
    pub fn partials(&self) -> usize {
        self.image_blocks
    }

    /// Values of one partial: the weight's gradient, then the bias's.
    pub fn partial_len(&self) -> usize {
        self.d.w_len() + if self.bias { self.d.out_c } else { 0 }
    }

    /// Adds some rows of an image, for the channels of some blocks.
    ///
    /// # Safety
    /// As [`Kernel::run`]; the rows are inside the image.
    unsafe fn add_rows(
        &self,
        [x, dy, partial]: [*mut f32; 3],
        image: usize,
        rows: std::ops::Range<usize>,
        blocks: std::ops::Range<usize>,
    ) {
        let d = &self.d;
        let c = d.out_c;
        let [x_row, dy_row] = [d.in_w * c, d.out_w * c];
        // what comes next is asked for in its order, a share with each block of channels
        let count = blocks.len();
        let next = |base: *mut f32, row: usize, total: usize, len: usize, share: usize| {
            let values = (len * rows.len()).min((total - row.min(total)) * len);
            let part = group_range(values, count, share);
            ask_for(base.wrapping_add(row * len + part.start), 0, 1, part.len());
        };
        for (share, block) in blocks.enumerate() {
            let (x_next, total) = ((image * d.in_h) + rows.end * d.stride[0], d.batch * d.in_h);
            for step in 0..d.stride[0] {
                next(x, x_next + step * rows.len(), total, x_row, share);
            }
            next(dy, image * d.out_h + rows.end, d.batch * d.out_h, dy_row, share);
            let channel = block * self.block;
            let mut sums = Sums {
                rows: rows.clone(),
                columns: d.out_w,
                inner: [0, d.out_w],
                dy: dy.wrapping_add(image * d.out_h * dy_row + channel),
                x: x.wrapping_add(image * d.in_h * x_row + channel),
                step: c,
                source: [d.in_h, d.in_w],
                origin: [0, 0],
                stride: d.stride,
                dilation: d.dilation[1],
                out: partial.wrapping_add(d.w_len() + channel),
                channels: self.block.min(c - channel),
            };
            // SAFETY: the block's channels are inside x, dy and the partial; `inner` as `new` found it.
            unsafe {
                if self.bias {
                    (self.bias_sum)(&sums, 0);
                }
                for ky in 0..d.kernel_h {
                    for &(first, taps, inner) in &self.pieces {
                        sums.inner = inner;
                        sums.origin = [
                            (ky * d.dilation[0]) as isize - d.pad_top as isize,
                            (first * d.dilation[1]) as isize - d.pad_left as isize,
                        ];
                        sums.out = partial.add((ky * d.kernel_w + first) * c + channel);
                        (self.sum)(&sums, taps);
                    }
                }
            }
        }
    }
}

impl Kernel for DepthwiseGradWeight {
    fn chunks(&self) -> usize {
        self.image_blocks * self.channel_groups
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let d = &self.d;
        let (images, group) = (chunk / self.channel_groups, chunk % self.channel_groups);
        let blocks = group_range(d.out_c.div_ceil(self.block), self.channel_groups, group);
        let channels = blocks.start * self.block..(blocks.end * self.block).min(d.out_c);
        // SAFETY: the partial is the image block's; of it, only the group's channels are touched.
        unsafe {
            let partial = args[2].add(images * self.partial_len());
            for row in 0..self.partial_len() / d.out_c {
                let at = partial.add(row * d.out_c + channels.start);
                std::slice::from_raw_parts_mut(at, channels.len()).fill(0.0);
            }
            for image in group_range(d.batch, self.image_blocks, images) {
                for start in (0..d.out_h).step_by(self.rows) {
                    let rows = start..(start + self.rows).min(d.out_h);
                    self.add_rows([args[0], args[1], partial], image, rows, blocks.clone());
                }
            }
        }
    }
}
