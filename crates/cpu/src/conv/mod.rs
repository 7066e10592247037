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
//! - [`depthwise`]: where each channel sees itself alone; [`winograd`]: 3x3 windows with fewer multiplications.
//! - `tile`, `grad_tile`: the register tiles that do the work; `pack`: copies into scratch.

#[macro_use]
mod tile;

pub mod depthwise;
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
pub use tidemill_graph::ConvShape;

/// A 1x1 convolution does not see rows: images narrower than a tile become one row each.
fn flattened(mut d: ConvShape) -> ConvShape {
    let plain = d.kernel_h == 1
        && d.kernel_w == 1
        && d.stride == [1, 1]
        && d.pad_top == 0
        && d.pad_left == 0
        && (d.out_h, d.out_w) == (d.in_h, d.in_w);
    if plain && d.in_w < 14 {
        (d.in_w, d.out_w) = (d.in_h * d.in_w, d.in_h * d.in_w);
        (d.in_h, d.out_h) = (1, 1);
    }
    d
}

fn check(d: &ConvShape) {
    assert!(d.groups > 0 && d.in_c.is_multiple_of(d.groups), "bad groups: {d:?}");
    assert!(d.out_c.is_multiple_of(d.groups), "bad groups: {d:?}");
    assert!(d.batch * d.out_h * d.out_w > 0, "empty: {d:?}");
    assert!(d.kernel_h * d.kernel_w * d.in_c * d.out_c > 0, "empty: {d:?}");
    assert!(d.in_h * d.in_w > 0, "empty: {d:?}");
    assert!(d.stride[0] > 0 && d.stride[1] > 0, "bad stride: {d:?}");
    assert!(d.dilation[0] > 0 && d.dilation[1] > 0, "bad dilation: {d:?}");
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
