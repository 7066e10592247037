//! Filters over neighbours: blur and sharpness.

use super::Border;
use super::warp::Beyond;
use crate::RawImage;

const MIRRORED: Beyond = Beyond { border: Border::Reflect, fill: 0 };

/// The weights of a Gaussian of `size` pixels; they sum to 1.
fn weights(size: usize, sigma: f64) -> Vec<f32> {
    let middle = (size as f64 - 1.0) / 2.0;
    let weight = |i: usize| (-((i as f64 - middle) / sigma).powi(2) / 2.0).exp();
    let all: Vec<f64> = (0..size).map(weight).collect();
    let sum: f64 = all.iter().sum();
    all.into_iter().map(|w| (w / sum) as f32).collect()
}

/// A Gaussian over `[height, width, channels]` values: rows, then columns; mirrored at the pixels of the edges.
pub(super) fn gaussian(
    values: &[f32],
    [height, width, channels]: [usize; 3],
    size: usize,
    sigma: f64,
) -> Vec<f32> {
    let weights = weights(size, sigma);
    let reach = (size / 2) as i64;
    let stride = width * channels;
    let at = |i: usize, k: usize, len: usize| {
        MIRRORED.pixel(i as i64 + k as i64 - reach, len).unwrap_or(0)
    };
    let mut rows = vec![0.0f32; values.len()];
    for (source, out) in values.chunks_exact(stride).zip(rows.chunks_exact_mut(stride)) {
        for (k, weight) in weights.iter().enumerate() {
            // Within the edges a filter is a sum of shifted rows.
            let (from, to) = ((reach as usize).min(width), width.saturating_sub(reach as usize));
            for x in (0..from).chain(to.max(from)..width) {
                let other = at(x, k, width) * channels;
                for c in 0..channels {
                    out[x * channels + c] += weight * source[other + c];
                }
            }
            if from < to {
                let shifted = &source[k * channels..][..(to - from) * channels];
                let out = &mut out[from * channels..to * channels];
                out.iter_mut().zip(shifted).for_each(|(out, v)| *out += weight * v);
            }
        }
    }
    let mut all = vec![0.0f32; values.len()];
    for (y, out) in all.chunks_exact_mut(stride).enumerate() {
        for (k, weight) in weights.iter().enumerate() {
            let source = &rows[at(y, k, height) * stride..][..stride];
            out.iter_mut().zip(source).for_each(|(out, v)| *out += weight * v);
        }
    }
    all
}

/// A Gaussian blur of `size` pixels.
pub fn blur(image: &mut RawImage, size: usize, sigma: f64) {
    let values: Vec<f32> = image.pixels.iter().map(|&v| f32::from(v)).collect();
    let smooth = gaussian(&values, [image.height, image.width, image.channels], size, sigma);
    for (pixel, v) in image.pixels.iter_mut().zip(smooth) {
        *pixel = v.round_ties_even().clamp(0.0, 255.0) as u8;
    }
}

/// `factor` of the image, the rest its smoothed form: above 1 it becomes sharper. The pixels at the edges stay.
pub fn sharpness(image: &mut RawImage, factor: f64) {
    let (height, width, c) = (image.height, image.width, image.channels);
    if height <= 2 || width <= 2 {
        return;
    }
    let (share, middle) = (1.0f32 / 13.0, 5.0f32 / 13.0);
    let rest = (1.0 - factor) as f32;
    let stride = width * c;
    let source = image.pixels.clone();
    for y in 1..height - 1 {
        for i in c..stride - c {
            let row = |y: usize| &source[y * stride..][..stride];
            let around: f32 = [row(y - 1), row(y), row(y + 1)]
                .iter()
                .flat_map(|row| [row[i - c], row[i], row[i + c]])
                .map(f32::from)
                .sum();
            let own = f32::from(source[y * stride + i]);
            let smooth = ((around - own) * share + own * middle).round_ties_even();
            let value = own + (smooth - own) * rest;
            image.pixels[y * stride + i] = value.clamp(0.0, 255.0) as u8;
        }
    }
}
