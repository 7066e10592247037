//! Max and average pooling over NHWC images, and their gradients, vectorised over channels.
//!
//! A chunk is a block of images by a block of channels. Windows are clipped to the image: padding
//! never wins a maximum; an average divides by the whole window or, without `count_padding`, by
//! its pixels inside the image. The gradients need no saved indices: the maximum's place is found
//! again from x and y. `quarters` has the maximum over 2x2 windows that cover the image.

use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::simd::{Simd, load_n, store_n};
use std::ops::Range;
use tidemill_graph::PoolShape;

mod quarters;
#[cfg(test)]
mod tests;

/// Values of x that are worth a chunk.
const CHUNK_VALUES: usize = 16 * 1024;
/// Most chunks.
const MAX_CHUNKS: usize = 64;
/// Channel blocks are multiples of this, so that no cache line has two writers.
const CHANNEL_BLOCK: usize = 16;

/// A pooling's windows.
trait Windows {
    /// The image's rows in the windows of output row `oy`.
    fn rows(&self, oy: usize) -> Range<usize>;
    /// The image's columns in the windows of output column `ox`.
    fn columns(&self, ox: usize) -> Range<usize>;
    /// Factor of a window's sum.
    fn average(&self, rows: &Range<usize>, columns: &Range<usize>) -> f32;
    /// No pixel is in two windows.
    fn disjoint(&self) -> bool;
    /// Windows of 2x2 that cover the image exactly, over channels that fill vectors: the usual
    /// case, which has its own loops.
    fn halves(&self, channels: &Range<usize>, lanes: usize) -> bool;
    /// Every pixel of x is in exactly one window.
    fn exact(&self) -> bool;
}

impl Windows for PoolShape {
    fn rows(&self, oy: usize) -> Range<usize> {
        clip(oy * self.stride[0], self.size[0], self.pad_top, self.in_h)
    }

    fn columns(&self, ox: usize) -> Range<usize> {
        clip(ox * self.stride[1], self.size[1], self.pad_left, self.in_w)
    }

    fn average(&self, rows: &Range<usize>, columns: &Range<usize>) -> f32 {
        let inside = rows.len() * columns.len();
        let count = if self.count_padding { self.size[0] * self.size[1] } else { inside };
        1.0 / count.max(1) as f32
    }

    fn disjoint(&self) -> bool {
        self.stride[0] >= self.size[0] && self.stride[1] >= self.size[1]
    }

    fn halves(&self, channels: &Range<usize>, lanes: usize) -> bool {
        self.exact()
            && self.size == [2, 2]
            && (self.in_h, self.in_w) == (2 * self.out_h, 2 * self.out_w)
            && channels.len().is_multiple_of(lanes)
    }

    fn exact(&self) -> bool {
        self.stride == self.size
            && self.pad_top == 0
            && self.pad_left == 0
            && self.out_h * self.size[0] >= self.in_h
            && self.out_w * self.size[1] >= self.in_w
    }
}

/// The part inside `0..len` of a window that starts at `start - pad`.
fn clip(start: usize, size: usize, pad: usize, len: usize) -> Range<usize> {
    let first = start.saturating_sub(pad).min(len);
    first..(start + size).saturating_sub(pad).clamp(first, len)
}

/// Which pooling a function computes.
const MAX: u8 = 0;
const AVERAGE: u8 = 1;

/// Pointers to one image and the channels to work on.
struct Image {
    x: *const f32,
    y: *const f32,
    dy: *const f32,
    out: *mut f32,
    channels: Range<usize>,
    relu: bool,
}

type ImageFn = unsafe fn(&PoolShape, &Image);

/// y of one image; a window without pixels has maximum -inf and average 0.
///
/// # Safety
/// `image.x` and `image.out` are whole images of x and y.
#[inline(always)]
unsafe fn forward<S: Simd, const KIND: u8>(d: &PoolShape, image: &Image) {
    for oy in 0..d.out_h {
        let rows = d.rows(oy);
        for ox in 0..d.out_w {
            let columns = d.columns(ox);
            let mut c = image.channels.start;
            while c < image.channels.end {
                let n = image.channels.end - c;
                // SAFETY: rows and columns are clipped to the image, c + n <= channels.
                unsafe {
                    let start = if KIND == MAX { f32::NEG_INFINITY } else { 0.0 };
                    let mut acc = S::splat(start);
                    for y in rows.clone() {
                        for x in columns.clone() {
                            let at = (y * d.in_w + x) * d.channels + c;
                            let v = load_n::<S>(image.x.add(at), n);
                            if KIND == MAX {
                                // NaN wins: kept if in acc, and max gives v if v is NaN
                                let larger = S::max(acc, v);
                                acc = S::select(S::eq(acc, acc), larger, acc);
                            } else {
                                acc = S::add(acc, v);
                            }
                        }
                    }
                    if KIND == AVERAGE {
                        acc = S::mul(acc, S::splat(d.average(&rows, &columns)));
                    }
                    let at = (oy * d.out_w + ox) * d.channels + c;
                    store_n::<S>(image.out.add(at), acc, n);
                }
                c += S::LANES;
            }
        }
    }
}

/// dx of one image. A maximum's gradient goes to the first pixel in row order that equals y; with
/// `relu` only where x is positive.
///
/// # Safety
/// The pointers of `image` are whole images of x, y, dy and dx (x and y only for the maximum).
#[inline(always)]
unsafe fn backward<S: Simd, const KIND: u8>(d: &PoolShape, image: &Image) {
    let channels = image.channels.clone();
    if !d.exact() {
        for pixel in 0..d.in_h * d.in_w {
            let at = pixel * d.channels + channels.start;
            // SAFETY: the channels of a pixel of dx.
            unsafe { std::ptr::write_bytes(image.out.add(at), 0, channels.len()) };
        }
    }
    let accumulate = !d.disjoint();
    for oy in 0..d.out_h {
        let rows = d.rows(oy);
        for ox in 0..d.out_w {
            let columns = d.columns(ox);
            let mut c = channels.start;
            while c < channels.end {
                let n = channels.end - c;
                // SAFETY: as in `forward`.
                unsafe {
                    let zero = S::splat(0.0);
                    let out = (oy * d.out_w + ox) * d.channels + c;
                    // what is left to give of the window's gradient
                    let mut left = load_n::<S>(image.dy.add(out), n);
                    let mut y = zero;
                    if KIND == MAX {
                        y = load_n::<S>(image.y.add(out), n);
                    } else {
                        left = S::mul(left, S::splat(d.average(&rows, &columns)));
                    }
                    for row in rows.clone() {
                        for column in columns.clone() {
                            let at = (row * d.in_w + column) * d.channels + c;
                            let mut gradient = left;
                            if KIND == MAX {
                                let x = load_n::<S>(image.x.add(at), n);
                                let hit = S::eq(x, y);
                                gradient = S::select(hit, left, zero);
                                left = S::select(hit, zero, left);
                                if image.relu {
                                    gradient = S::select(S::gt(x, zero), gradient, zero);
                                }
                            }
                            let to = image.out.add(at);
                            if accumulate {
                                gradient = S::add(load_n::<S>(to, n), gradient);
                            }
                            store_n::<S>(to, gradient, n);
                        }
                    }
                }
                c += S::LANES;
            }
        }
    }
}

#[inline(always)]
unsafe fn max_forward<S: Simd>(d: &PoolShape, image: &Image) {
    // SAFETY: the callers' contract.
    unsafe {
        if d.halves(&image.channels, S::LANES) {
            return quarters::max_forward::<S>(d, image);
        }
        forward::<S, MAX>(d, image);
    }
}
#[inline(always)]
unsafe fn average_forward<S: Simd>(d: &PoolShape, image: &Image) {
    // SAFETY: the callers' contract.
    unsafe { forward::<S, AVERAGE>(d, image) }
}
#[inline(always)]
unsafe fn max_backward<S: Simd>(d: &PoolShape, image: &Image) {
    // SAFETY: the callers' contract.
    unsafe {
        if d.halves(&image.channels, S::LANES) {
            return quarters::max_backward::<S>(d, image);
        }
        backward::<S, MAX>(d, image);
    }
}
#[inline(always)]
unsafe fn average_backward<S: Simd>(d: &PoolShape, image: &Image) {
    // SAFETY: the callers' contract.
    unsafe { backward::<S, AVERAGE>(d, image) }
}
kernel!(fn max_forward_on(d: &PoolShape, image: &Image) = max_forward;);
kernel!(fn average_forward_on(d: &PoolShape, image: &Image) = average_forward;);
kernel!(fn max_backward_on(d: &PoolShape, image: &Image) = max_backward;);
kernel!(fn average_backward_on(d: &PoolShape, image: &Image) = average_backward;);

/// What all poolings share: the description, the function and how the work is cut.
struct Pooling {
    desc: PoolShape,
    image: ImageFn,
    image_blocks: usize,
    channel_blocks: usize,
}

impl Pooling {
    fn new(desc: PoolShape, image: ImageFn) -> Pooling {
        assert!(desc.size[0] * desc.size[1] * desc.stride[0] * desc.stride[1] > 0, "{desc:?}");
        let chunks = (desc.x_len() / CHUNK_VALUES).clamp(1, MAX_CHUNKS);
        let image_blocks = chunks.min(desc.batch).max(1);
        let blocks = desc.channels.div_ceil(CHANNEL_BLOCK).max(1);
        let channel_blocks = chunks.div_ceil(image_blocks).min(blocks);
        Pooling { desc, image, image_blocks, channel_blocks }
    }

    fn chunks(&self) -> usize {
        self.image_blocks * self.channel_blocks
    }

    /// # Safety
    /// The pointers of `buffers` are whole tensors; the instruction set is available.
    unsafe fn run(&self, buffers: &Image, chunk: usize, gradient: bool) {
        let d = &self.desc;
        let (block, channel) = (chunk / self.channel_blocks, chunk % self.channel_blocks);
        let part = |len: usize, parts: usize, i: usize| i * len / parts..(i + 1) * len / parts;
        let lines = part(d.channels.div_ceil(CHANNEL_BLOCK), self.channel_blocks, channel);
        let channels = lines.start * CHANNEL_BLOCK..(lines.end * CHANNEL_BLOCK).min(d.channels);
        let (x, y) = (d.in_h * d.in_w * d.channels, d.out_h * d.out_w * d.channels);
        for image in part(d.batch, self.image_blocks, block) {
            let image = Image {
                x: buffers.x.wrapping_add(image * x),
                y: buffers.y.wrapping_add(image * y),
                dy: buffers.dy.wrapping_add(image * y),
                out: buffers.out.wrapping_add(image * if gradient { x } else { y }),
                channels: channels.clone(),
                relu: buffers.relu,
            };
            // SAFETY: the image is inside the batch.
            unsafe { (self.image)(d, &image) };
        }
    }
}

/// `y = max over the window of x`. Arguments: `[x, y]`.
pub struct MaxPool(Pooling);

impl MaxPool {
    /// A max pooling.
    pub fn new(isa: Isa, desc: PoolShape) -> MaxPool {
        MaxPool(Pooling::new(desc, max_forward_on(isa)))
    }
}

/// The gradient of [`MaxPool`]: the first maximum of a window in row order gets its gradient.
/// Arguments: `[x, y, dy, dx]`.
pub struct MaxPoolGrad(Pooling, bool);

impl MaxPoolGrad {
    /// A max pooling's gradient; `relu` multiplies it by `x > 0`, for an x that is the output of
    /// a relu.
    pub fn new(isa: Isa, desc: PoolShape, relu: bool) -> MaxPoolGrad {
        MaxPoolGrad(Pooling::new(desc, max_backward_on(isa)), relu)
    }
}

/// `y = mean over the window of x`. Arguments: `[x, y]`.
pub struct AvgPool(Pooling);

impl AvgPool {
    /// An average pooling.
    pub fn new(isa: Isa, desc: PoolShape) -> AvgPool {
        AvgPool(Pooling::new(desc, average_forward_on(isa)))
    }
}

/// The gradient of [`AvgPool`]. Arguments: `[dy, dx]`.
pub struct AvgPoolGrad(Pooling);

impl AvgPoolGrad {
    /// An average pooling's gradient.
    pub fn new(isa: Isa, desc: PoolShape) -> AvgPoolGrad {
        AvgPoolGrad(Pooling::new(desc, average_backward_on(isa)))
    }
}

const NULL: *const f32 = std::ptr::null();

macro_rules! pooling_kernel {
    ($kernel:ident, $gradient:literal, |$pool:ident, $args:ident| $image:expr) => {
        impl Kernel for $kernel {
            fn chunks(&self) -> usize {
                self.0.chunks()
            }

            unsafe fn run(&self, $args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
                let $pool = self;
                // SAFETY: the buffers are whole tensors by the contract of `run`.
                unsafe { self.0.run(&$image, chunk, $gradient) };
            }
        }
    };
}

pooling_kernel!(MaxPool, false, |_pool, args| Image {
    x: args[0],
    y: NULL,
    dy: NULL,
    out: args[1],
    channels: 0..0,
    relu: false
});
pooling_kernel!(AvgPool, false, |_pool, args| Image {
    x: args[0],
    y: NULL,
    dy: NULL,
    out: args[1],
    channels: 0..0,
    relu: false
});
pooling_kernel!(MaxPoolGrad, true, |pool, args| Image {
    x: args[0],
    y: args[1],
    dy: args[2],
    out: args[3],
    channels: 0..0,
    relu: pool.1
});
pooling_kernel!(AvgPoolGrad, true, |_pool, args| Image {
    x: NULL,
    y: NULL,
    dy: args[0],
    out: args[1],
    channels: 0..0,
    relu: false
});
