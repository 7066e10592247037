//! Moving pixels: every pixel of the result comes from a place in the image, between its pixels too.
//!
//! Places are computed in `f32` as torchvision computes them, so that results are those of its `affine`, `rotate` and `elastic`
//! (up to one step of 8 bits where it sums in another order; with [`Sampling::Nearest`] the neighbour, where a place is in the middle
//! between two).

use super::{Border, Sampling};
use crate::RawImage;

/// What is beyond the edges.
#[derive(Clone, Copy, Debug)]
pub struct Beyond {
    /// What it is.
    pub border: Border,
    /// The value of constant borders.
    pub fill: u8,
}

impl Beyond {
    /// Black, as torchvision has it by default.
    pub const BLACK: Beyond = Beyond { border: Border::Constant, fill: 0 };

    /// Which pixel of an axis of `len` stands for `at`; none where that is a constant.
    #[inline]
    pub(super) fn pixel(self, at: i64, len: usize) -> Option<usize> {
        let n = len as i64;
        if (0..n).contains(&at) {
            return Some(at as usize);
        }
        let folded = match self.border {
            Border::Constant => return None,
            Border::Edge => at.clamp(0, n - 1),
            Border::Wrap => at.rem_euclid(n),
            Border::Symmetric => {
                let m = at.rem_euclid(2 * n);
                m.min(2 * n - 1 - m)
            }
            Border::Reflect if n == 1 => 0,
            Border::Reflect => {
                let m = at.rem_euclid(2 * n - 2);
                m.min(2 * n - 2 - m)
            }
        };
        Some(folded as usize)
    }
}

/// Rotation, shift, zoom and shear around a centre.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Degrees, clockwise.
    pub angle: f64,
    /// Pixels to the right, and down.
    pub translate: [f64; 2],
    /// Above 1 the image becomes larger.
    pub scale: f64,
    /// Degrees, along the rows, and along the columns.
    pub shear: [f64; 2],
    /// Pixels from the middle of the image.
    pub center: [f64; 2],
}

impl Affine {
    /// Nothing is changed.
    pub const IDENTITY: Affine =
        Affine { angle: 0.0, translate: [0.0; 2], scale: 1.0, shear: [0.0; 2], center: [0.0; 2] };

    /// The inverse matrix, by rows: from a place in the result, relative to its middle, to one in the image.
    /// M = T C R(a) S(s) SHy SHx C^-1, as torchvision has it.
    fn inverse(&self) -> [f64; 6] {
        let rotation = self.angle.to_radians();
        let [sx, sy] = self.shear.map(f64::to_radians);
        let ([cx, cy], [tx, ty]) = (self.center, self.translate);
        let a = (rotation - sy).cos() / sy.cos();
        let b = -(a * sx.tan() + rotation.sin());
        let c = (rotation - sy).sin() / sy.cos();
        let d = rotation.cos() - c * sx.tan();
        // The determinant is 1 before scaling.
        let m = [d / self.scale, -b / self.scale, -c / self.scale, a / self.scale];
        let x = cx - m[0] * (cx + tx) - m[1] * (cy + ty);
        let y = cy - m[2] * (cx + tx) - m[3] * (cy + ty);
        [m[0], m[1], x, m[2], m[3], y]
    }
}

/// `image` under `affine`.
pub fn affine(image: &RawImage, affine: &Affine, sampling: Sampling, beyond: Beyond) -> RawImage {
    if *affine == Affine::IDENTITY {
        return image.clone();
    }
    let (w, h) = (image.width as f32, image.height as f32);
    let half = [0.5 * w, 0.5 * h];
    let m = affine.inverse().map(|v| v as f32);
    let of = |row: usize, column: usize| m[3 * row + column] / half[row];
    let (x0, x1, x2) = (of(0, 0), of(0, 1), of(0, 2));
    let (y0, y1, y2) = (of(1, 0), of(1, 1), of(1, 2));
    sample(image, sampling, beyond, |row, column| {
        let (x, y) = (column as f32 - (w - 1.0) * 0.5, row as f32 - (h - 1.0) * 0.5);
        let (gx, gy) = (x * x0 + y * x1 + x2, x * y0 + y * y1 + y2);
        (((gx + 1.0) * w - 1.0) * 0.5, ((gy + 1.0) * h - 1.0) * 0.5)
    })
}

/// `image` turned by `angle` degrees, counter-clockwise as torchvision's `rotate` has it.
pub fn rotate(image: &RawImage, angle: f64, sampling: Sampling, beyond: Beyond) -> RawImage {
    affine(image, &Affine { angle: -angle, ..Affine::IDENTITY }, sampling, beyond)
}

/// `image` with each pixel taken from elsewhere: `displacement` is `[height, width, 2]`, x and y in half widths and half heights.
pub fn displaced(
    image: &RawImage,
    displacement: &[f32],
    sampling: Sampling,
    beyond: Beyond,
) -> RawImage {
    let (width, w, h) = (image.width, image.width as f32, image.height as f32);
    sample(image, sampling, beyond, |row, column| {
        let at = 2 * (row * width + column);
        let gx = (2.0 * column as f32 + 1.0 - w) / w + displacement[at];
        let gy = (2.0 * row as f32 + 1.0 - h) / h + displacement[at + 1];
        (((gx + 1.0) * w - 1.0) * 0.5, ((gy + 1.0) * h - 1.0) * 0.5)
    })
}

/// Each pixel of the result from the place that `place` says.
fn sample(
    image: &RawImage,
    sampling: Sampling,
    beyond: Beyond,
    place: impl Fn(usize, usize) -> (f32, f32),
) -> RawImage {
    match image.channels {
        1 => sample_as::<1>(image, sampling, beyond, place),
        3 => sample_as::<3>(image, sampling, beyond, place),
        _ => sample_as::<4>(image, sampling, beyond, place),
    }
}

fn sample_as<const C: usize>(
    image: &RawImage,
    sampling: Sampling,
    beyond: Beyond,
    place: impl Fn(usize, usize) -> (f32, f32),
) -> RawImage {
    let (height, width) = (image.height, image.width);
    let (pixels, _) = image.pixels.as_chunks::<C>();
    let fetch = |x: i64, y: i64| match (beyond.pixel(x, width), beyond.pixel(y, height)) {
        (Some(x), Some(y)) => Some(pixels[y * width + x]),
        _ => None,
    };
    let fill = f32::from(beyond.fill);
    let mut out = Vec::with_capacity(image.pixels.len());
    for row in 0..height {
        for column in 0..width {
            let (x, y) = place(row, column);
            if sampling == Sampling::Nearest {
                let (x, y) = (x.round_ties_even() as i64, y.round_ties_even() as i64);
                out.extend_from_slice(&fetch(x, y).unwrap_or([beyond.fill; C]));
                continue;
            }
            let (left, top) = (x.floor(), y.floor());
            let (right, below) = (x - left, y - top);
            let shares = [
                (1.0 - right) * (1.0 - below),
                right * (1.0 - below),
                (1.0 - right) * below,
                right * below,
            ];
            let (left, top) = (left as i64, top as i64);
            let inside =
                left >= 0 && top >= 0 && left + 1 < width as i64 && top + 1 < height as i64;
            let four = if inside {
                let at = top as usize * width + left as usize;
                [at, at + 1, at + width, at + width + 1].map(|at| Some(pixels[at]))
            } else {
                let at = |dx, dy| fetch(left.saturating_add(dx), top.saturating_add(dy));
                [at(0, 0), at(1, 0), at(0, 1), at(1, 1)]
            };
            let (mut mixed, mut known) = ([0.0f32; C], 0.0);
            for (pixel, share) in four.iter().zip(shares) {
                let Some(pixel) = pixel else { continue };
                known += share;
                for (sum, &value) in mixed.iter_mut().zip(pixel) {
                    *sum += f32::from(value) * share;
                }
            }
            if !inside && four.iter().any(Option::is_none) {
                // As torchvision blends at the edge of what is known: the sum is less there already.
                mixed = mixed.map(|v| (v - fill) * known + fill);
            }
            out.extend_from_slice(&mixed.map(|v| v.round_ties_even() as u8));
        }
    }
    RawImage { height, width, channels: image.channels, pixels: out }
}
