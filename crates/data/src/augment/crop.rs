//! Windows of images, and images mirrored.

use super::warp::Beyond;
use crate::RawImage;
use crate::images::resized;
use crate::random::Stream;

/// A window of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first row.
    pub top: usize,
    /// The first column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Window {
    /// A window of random area and aspect ratio within `[height, width]`, as torchvision's `RandomResizedCrop` draws it: ten tries, then
    /// the largest in the middle whose ratio is allowed.
    pub(super) fn resized_crop(
        [height, width]: [usize; 2],
        scale: [f64; 2],
        ratio: [f64; 2],
        draws: &mut Stream,
    ) -> Window {
        let area = (height * width) as f64;
        for _ in 0..10 {
            let target = area * draws.between(scale);
            let aspect = draws.between(ratio.map(f64::ln)).exp();
            let (w, h) = ((target * aspect).sqrt().round(), (target / aspect).sqrt().round());
            let (w, h) = (w as usize, h as usize);
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                let top = draws.below((height - h + 1) as u64) as usize;
                let left = draws.below((width - w + 1) as u64) as usize;
                return Window { top, left, height: h, width: w };
            }
        }
        let own = width as f64 / height as f64;
        let (w, h) = match () {
            () if own < ratio[0] => (width, (width as f64 / ratio[0]).round() as usize),
            () if own > ratio[1] => ((height as f64 * ratio[1]).round() as usize, height),
            () => (width, height),
        };
        let (w, h) = (w.clamp(1, width), h.clamp(1, height));
        Window { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
    }

    /// A rectangle that is erased, as torchvision's `RandomErasing` draws it; none after ten tries.
    pub(super) fn erased(
        [height, width]: [usize; 2],
        scale: [f64; 2],
        ratio: [f64; 2],
        draws: &mut Stream,
    ) -> Option<Window> {
        let area = (height * width) as f64;
        (0..10).find_map(|_| {
            let target = area * draws.between(scale);
            let aspect = draws.between(ratio.map(f64::ln)).exp();
            let (h, w) = ((target * aspect).sqrt().round(), (target / aspect).sqrt().round());
            let (h, w) = (h as usize, w as usize);
            (h < height && w < width).then(|| Window {
                top: draws.below((height - h + 1) as u64) as usize,
                left: draws.below((width - w + 1) as u64) as usize,
                height: h,
                width: w,
            })
        })
    }

    /// The pixels of an image in it.
    pub fn cut(&self, image: &RawImage) -> RawImage {
        let c = image.channels;
        let rows = image.pixels.chunks_exact(image.width * c).skip(self.top).take(self.height);
        let mut pixels = Vec::with_capacity(self.height * self.width * c);
        rows.for_each(|row| pixels.extend_from_slice(&row[self.left * c..][..self.width * c]));
        RawImage { height: self.height, width: self.width, channels: c, pixels }
    }
}

/// A window of an image in another size: bilinear, averaged where it becomes smaller.
pub fn resized_crop(image: &RawImage, window: Window, height: usize, width: usize) -> RawImage {
    resized(window.cut(image), height, width)
}

/// The image with borders of `padding` pixels, and of that the window of its own size whose corner is at `top` and `left`.
pub fn padded_crop(
    image: &RawImage,
    padding: usize,
    top: usize,
    left: usize,
    beyond: Beyond,
) -> RawImage {
    let (height, width, c) = (image.height, image.width, image.channels);
    let mut pixels = vec![beyond.fill; image.pixels.len()];
    let columns: Vec<Option<usize>> =
        (0..width).map(|x| beyond.pixel((x + left) as i64 - padding as i64, width)).collect();
    for (y, out) in pixels.chunks_exact_mut(width * c).enumerate() {
        let Some(y) = beyond.pixel((y + top) as i64 - padding as i64, height) else { continue };
        let row = &image.pixels[y * width * c..][..width * c];
        for (out, x) in out.chunks_exact_mut(c).zip(&columns) {
            if let Some(x) = x {
                out.copy_from_slice(&row[x * c..][..c]);
            }
        }
    }
    RawImage { height, width, channels: c, pixels }
}

/// Mirrors left to right.
pub fn flip_columns(image: &mut RawImage) {
    match image.channels {
        1 => flip_as::<1>(image),
        3 => flip_as::<3>(image),
        _ => flip_as::<4>(image),
    }
}

fn flip_as<const C: usize>(image: &mut RawImage) {
    for row in image.pixels.chunks_exact_mut(image.width * C) {
        row.as_chunks_mut::<C>().0.reverse();
    }
}

/// Turns upside down.
pub fn flip_rows(image: &mut RawImage) {
    let stride = image.width * image.channels;
    let mut rows = image.pixels.chunks_exact_mut(stride.max(1));
    while let (Some(first), Some(last)) = (rows.next(), rows.next_back()) {
        first.swap_with_slice(last);
    }
}
