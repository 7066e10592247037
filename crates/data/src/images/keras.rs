//! Resizing as TensorFlow does it, and with it Keras, where `fast_image_resize` differs.

use crate::RawImage;

/// The pixel whose area has the centre of the result's. The place is a 32-bit float, which decides where
/// it is between two pixels.
pub(super) fn nearest(image: &RawImage, height: usize, width: usize) -> Vec<u8> {
    let places = |from: usize, to: usize| -> Vec<usize> {
        let scale = from as f32 / to as f32;
        (0..to).map(|i| (((i as f32 + 0.5) * scale) as usize).min(from - 1)).collect()
    };
    let c = image.channels;
    let columns = places(image.width, width);
    let mut out = Vec::with_capacity(height * width * c);
    for y in places(image.height, height) {
        let row = &image.pixels[y * image.width * c..][..image.width * c];
        columns.iter().for_each(|x| out.extend_from_slice(&row[x * c..][..c]));
    }
    out
}

/// The pixels along one axis that one pixel of the result covers, and how much of each.
struct Cover {
    from: usize,
    shares: Vec<f32>,
}

/// What each of `to` pixels covers of `from`.
fn covers(from: usize, to: usize) -> Vec<Cover> {
    let scale = from as f64 / to as f64;
    let cover = |i: usize| {
        let (start, end) = (i as f64 * scale, ((i + 1) as f64 * scale).min(from as f64));
        let first = (start.floor() as usize).min(from - 1);
        let last = (end.ceil() as usize).clamp(first + 1, from);
        let share =
            |p: usize| (((p + 1) as f64).min(end) - (p as f64).max(start)).max(0.0) / (end - start);
        Cover { from: first, shares: (first..last).map(|p| share(p) as f32).collect() }
    };
    (0..to).map(cover).collect()
}

/// By shares of area: a pixel of the result is the mean of what it covers, pixels at its border with the
/// share that it covers of them.
pub(super) fn area(image: &RawImage, height: usize, width: usize) -> Vec<u8> {
    let c = image.channels;
    let stride = image.width * c;
    let columns = covers(image.width, width);
    let mut out = Vec::with_capacity(height * width * c);
    let mut sums = vec![0.0f32; stride];
    for row in covers(image.height, height) {
        sums.fill(0.0);
        for (y, share) in row.shares.iter().enumerate() {
            let source = &image.pixels[(row.from + y) * stride..][..stride];
            sums.iter_mut().zip(source).for_each(|(sum, &v)| *sum += share * f32::from(v));
        }
        for column in &columns {
            for channel in 0..c {
                let at = |x: usize| sums[(column.from + x) * c + channel];
                let value: f32 =
                    column.shares.iter().enumerate().map(|(x, share)| share * at(x)).sum();
                out.push(value.round() as u8);
            }
        }
    }
    out
}
