//! 2-D convolution and its two gradients, direct and in NHWC: no im2col matrix, no layout changes.
//!
//! Activations are `[b, h, w, c]`, weights `[kh, kw, c / groups, o]`, all f32 and row-major.
//!
//! - [`ConvForward`] and [`ConvGradInput`] are one engine (`engine`): the gradient of the input is
//!   a convolution of `dy` with transposed weights, one per phase of the stride, so that no
//!   inserted zero is ever multiplied.
//! - [`ConvGradWeight`] sums outer products over pixels into one partial per image block, a fixed
//!   number by shape; [`ReduceUpdate`] adds the partials in a fixed order. Bits therefore do not
//!   depend on the number of threads.
//! - `tile`, `grad_tile`: the register tiles that do the work; `pack`: copies into scratch.

#[macro_use]
mod tile;

mod engine;
mod forward;
mod grad_input;
mod grad_tile;
mod grad_weight;
mod pack;
mod reduce;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
pub mod winograd;

pub use forward::ConvForward;
pub use grad_input::ConvGradInput;
pub use grad_weight::ConvGradWeight;
pub use reduce::ReduceUpdate;

/// The shapes of a convolution and of its gradients; x is always the forward input, y the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvDesc {
    /// Images.
    pub batch: usize,
    /// Rows of x.
    pub in_h: usize,
    /// Columns of x.
    pub in_w: usize,
    /// Channels of x, a multiple of `groups`.
    pub in_c: usize,
    /// Rows of y.
    pub out_h: usize,
    /// Columns of y.
    pub out_w: usize,
    /// Channels of y, a multiple of `groups`.
    pub out_c: usize,
    /// Rows of the kernel.
    pub kernel_h: usize,
    /// Columns of the kernel.
    pub kernel_w: usize,
    /// Step between output pixels: rows, columns.
    pub stride: [usize; 2],
    /// Step between taps: rows, columns.
    pub dilation: [usize; 2],
    /// Zeros above the image; those below follow from `out_h`.
    pub pad_top: usize,
    /// Zeros left of the image; those to the right follow from `out_w`.
    pub pad_left: usize,
    /// Channel groups: output group g sees input group g only.
    pub groups: usize,
}

impl ConvDesc {
    /// Values of x.
    pub fn x_len(&self) -> usize {
        self.batch * self.in_h * self.in_w * self.in_c
    }

    /// Values of y.
    pub fn y_len(&self) -> usize {
        self.batch * self.out_h * self.out_w * self.out_c
    }

    /// Values of the weight.
    pub fn w_len(&self) -> usize {
        self.kernel_h * self.kernel_w * (self.in_c / self.groups) * self.out_c
    }

    /// Floating-point operations of the forward pass; each gradient has the same number.
    pub fn flops(&self) -> usize {
        2 * self.batch * self.out_h * self.out_w * self.w_len()
    }

    /// Whether every output channel sees one input channel, its own.
    fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.in_c && self.in_c == self.out_c
    }

    /// A 1x1 convolution does not see rows: images narrower than a tile become one row each.
    fn flattened(mut self) -> ConvDesc {
        let plain = self.kernel_h == 1
            && self.kernel_w == 1
            && self.stride == [1, 1]
            && self.pad_top == 0
            && self.pad_left == 0
            && (self.out_h, self.out_w) == (self.in_h, self.in_w);
        if plain && self.in_w < 14 {
            (self.in_w, self.out_w) = (self.in_h * self.in_w, self.in_h * self.in_w);
            (self.in_h, self.out_h) = (1, 1);
        }
        self
    }

    fn check(&self) {
        assert!(self.groups > 0 && self.in_c.is_multiple_of(self.groups), "bad groups: {self:?}");
        assert!(self.out_c.is_multiple_of(self.groups), "bad groups: {self:?}");
        assert!(self.batch * self.out_h * self.out_w > 0, "empty: {self:?}");
        assert!(self.kernel_h * self.kernel_w * self.in_c * self.out_c > 0, "empty: {self:?}");
        assert!(self.in_h * self.in_w > 0, "empty: {self:?}");
        assert!(self.stride[0] > 0 && self.stride[1] > 0, "bad stride: {self:?}");
        assert!(self.dilation[0] > 0 && self.dilation[1] > 0, "bad dilation: {self:?}");
    }
}

/// Cuts `len` into the fewest pieces of at most `max`, as even as possible: `(start, length)`.
/// Even pieces matter: 32 pixels as 11+11+10 beat 14+14+4.
fn split_even(len: usize, max: usize) -> impl Iterator<Item = (usize, usize)> {
    let pieces = len.div_ceil(max).max(1);
    (0..pieces)
        .map(move |i| (i * len / pieces, (i + 1) * len / pieces))
        .map(|(start, end)| (start, end - start))
        .filter(|piece| piece.1 > 0)
}

/// Output channels of one group that a register tile covers.
#[derive(Clone, Copy, Debug)]
struct Panel {
    group: usize,
    /// First channel within the group.
    start: usize,
    /// Valid channels; the rest of the registers is computed on zeros and not stored.
    len: usize,
    /// Registers: 1 or 2.
    registers: usize,
}

/// Cuts `groups` times `channels` into panels of two registers, the last of one where it fits.
fn panels(groups: usize, channels: usize, lanes: usize) -> Vec<Panel> {
    let mut panels = Vec::new();
    for group in 0..groups {
        let mut start = 0;
        while start < channels {
            let len = (channels - start).min(2 * lanes);
            panels.push(Panel { group, start, len, registers: len.div_ceil(lanes) });
            start += len;
        }
    }
    panels
}
