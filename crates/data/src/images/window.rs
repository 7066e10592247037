//! Windows of images in another size: bilinear, averaged where they are made smaller, as Pillow and torchvision have it.
//!
//! Two passes of sums of floats: whole rows first, whose values are side by side, then the pixels of a row. Between them nothing is
//! rounded. A product and a sum are each rounded, so that the bits are the same for any instruction set.

use crate::RawImage;

/// What each pixel along one axis of the result is made of.
struct Axis {
    /// The first pixel, and how many.
    spans: Vec<(usize, usize)>,
    /// `most` weights for each.
    weights: Vec<f32>,
    most: usize,
}

impl Axis {
    /// Of `to` pixels from `first` to `first + len`, which are places within `all` pixels.
    fn new(first: f64, len: f64, all: usize, to: usize) -> Axis {
        let scale = len / to as f64;
        // A pixel is a triangle as wide as two pixels of the result, or of the image where that has fewer.
        let reach = scale.max(1.0);
        let most = 2 * reach.ceil() as usize + 1;
        let (mut spans, mut weights) = (Vec::with_capacity(to), vec![0.0; to * most]);
        for (i, own) in weights.chunks_exact_mut(most).enumerate() {
            let middle = first + (i as f64 + 0.5) * scale;
            let start = (middle - reach + 0.5).max(0.0) as usize;
            let end = ((middle + reach + 0.5) as usize).min(all);
            let start = start.min(end.saturating_sub(1));
            let count = (end - start).clamp(1, most);
            let weight = |k: usize| {
                let distance = ((start + k) as f64 - middle + 0.5) / reach;
                (1.0 - distance.abs()).max(0.0)
            };
            let sum: f64 = (0..count).map(weight).sum();
            for (k, own) in own.iter_mut().enumerate().take(count) {
                *own = if sum > 0.0 { (weight(k) / sum) as f32 } else { 1.0 / count as f32 };
            }
            spans.push((start, count));
        }
        Axis { spans, weights, most }
    }

    fn of(&self, i: usize) -> (usize, &[f32]) {
        let (start, count) = self.spans[i];
        (start, &self.weights[i * self.most..][..count])
    }
}

/// An image in another size.
pub(crate) fn resized(image: RawImage, height: usize, width: usize) -> RawImage {
    if (image.height, image.width) == (height, width) {
        return image;
    }
    let window = [0.0, 0.0, image.width as f64, image.height as f64];
    let pixels = resized_window(&image, window, height, width);
    RawImage { height, width, channels: image.channels, pixels }
}

/// The window `[left, top, width, height]` of an image, in `height` x `width` pixels.
pub(super) fn resized_window(
    image: &RawImage,
    window: [f64; 4],
    height: usize,
    width: usize,
) -> Vec<u8> {
    let [left, top, w, h] = window;
    let rows = Axis::new(top, h, image.height, height);
    let columns = Axis::new(left, w, image.width, width);
    pulp::Arch::new().dispatch(Resizing { image, rows: &rows, columns: &columns })
}

struct Resizing<'a> {
    image: &'a RawImage,
    rows: &'a Axis,
    columns: &'a Axis,
}

impl pulp::WithSimd for Resizing<'_> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) -> Vec<u8> {
        let Resizing { image, rows, columns } = self;
        let (c, stride) = (image.channels, image.width * image.channels);
        let (height, width) = (rows.spans.len(), columns.spans.len());
        let mut out = vec![0u8; height * width * c];
        // Three more, so that four values can be read at any pixel.
        let mut sums = vec![0.0f32; stride + 3];
        for (y, out) in out.chunks_exact_mut(width * c).enumerate() {
            let (first, weights) = rows.of(y);
            for (k, &weight) in weights.iter().enumerate() {
                let row = &image.pixels[(first + k) * stride..][..stride];
                let sums = &mut sums[..stride];
                if k == 0 {
                    for i in 0..stride {
                        sums[i] = f32::from(row[i]) * weight;
                    }
                } else {
                    for i in 0..stride {
                        sums[i] += f32::from(row[i]) * weight;
                    }
                }
            }
            match c {
                1 => pixels::<1>(&sums, columns, out),
                3 => pixels::<3>(&sums, columns, out),
                _ => pixels::<4>(&sums, columns, out),
            }
        }
        out
    }
}

/// The pixels of a row.
#[inline(always)]
fn pixels<const C: usize>(sums: &[f32], columns: &Axis, out: &mut [u8]) {
    for (x, out) in out.as_chunks_mut::<C>().0.iter_mut().enumerate() {
        let (first, weights) = columns.of(x);
        let own = &sums[first * C..(first + weights.len() - 1) * C + 4];
        let mut four = [0.5f32; 4];
        for (k, &weight) in weights.iter().enumerate() {
            let values = &own[k * C..k * C + 4];
            for i in 0..4 {
                four[i] += values[i] * weight;
            }
        }
        for i in 0..C {
            out[i] = four[i] as u8;
        }
    }
}
