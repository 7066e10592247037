//! The maximum over windows of 2x2 that cover the image exactly: half of each side remains.

use super::{Image, PoolShape};
use crate::simd::Simd;

/// The larger of two; NaN if either is.
#[inline(always)]
unsafe fn larger<S: Simd>(a: S::V, b: S::V) -> S::V {
    // SAFETY: register arithmetic; max gives b if b is NaN.
    unsafe { S::select(S::eq(a, a), S::max(a, b), a) }
}

/// As [`super::forward`].
///
/// # Safety
/// As there, and `Windows::halves`.
#[inline(always)]
pub(super) unsafe fn max_forward<S: Simd>(d: &PoolShape, image: &Image) {
    let (c, row) = (d.channels, d.in_w * d.channels);
    for oy in 0..d.out_h {
        for ox in 0..d.out_w {
            let from = image.x.wrapping_add(2 * oy * row + 2 * ox * c);
            let to = image.out.wrapping_add((oy * d.out_w + ox) * c);
            for channel in image.channels.clone().step_by(S::LANES) {
                // SAFETY: pixels 2 oy, 2 oy + 1 by 2 ox, 2 ox + 1 are inside the image.
                unsafe {
                    let from = from.add(channel);
                    let upper = larger::<S>(S::load(from), S::load(from.add(c)));
                    let from = from.add(row);
                    let lower = larger::<S>(S::load(from), S::load(from.add(c)));
                    S::store(to.add(channel), larger::<S>(upper, lower));
                }
            }
        }
    }
}

/// As [`super::backward`].
///
/// # Safety
/// As there, and `Windows::halves`.
#[inline(always)]
pub(super) unsafe fn max_backward<S: Simd>(d: &PoolShape, image: &Image) {
    let (c, row) = (d.channels, d.in_w * d.channels);
    for oy in 0..d.out_h {
        for ox in 0..d.out_w {
            let at = 2 * oy * row + 2 * ox * c;
            let out = (oy * d.out_w + ox) * c;
            for channel in image.channels.clone().step_by(S::LANES) {
                // SAFETY: as in `max_forward`.
                unsafe {
                    let zero = S::splat(0.0);
                    let y = S::load(image.y.add(out + channel));
                    // what is left to give of the window's gradient
                    let mut left = S::load(image.dy.add(out + channel));
                    if image.relu {
                        // the pixel that gets it equals y
                        left = S::select(S::gt(y, zero), left, zero);
                    }
                    for step in [0, c, row, row + c] {
                        let at = at + channel + step;
                        let hit = S::eq(S::load(image.x.add(at)), y);
                        S::store(image.out.add(at), S::select(hit, left, zero));
                        left = S::select(hit, zero, left);
                    }
                }
            }
        }
    }
}
