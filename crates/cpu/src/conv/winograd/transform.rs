//! The transforms of source tiles, of gradient tiles and of products, channels as lanes.

use super::{Run, Tiling};
use crate::simd::Simd;

/// Sixteen matrices `[tiles, width]`, one for each place of a tile.
#[derive(Clone, Copy)]
pub(super) struct Planes {
    pub at: *mut f32,
    /// Values from one matrix to the next.
    pub plane: usize,
    /// Values from one tile to the next.
    pub width: usize,
}

/// What follows a product's transform; null for what is left out. Residual and mask are laid out
/// as the output.
#[derive(Clone, Copy)]
pub(super) struct Finish {
    pub bias: *const f32,
    pub residual: *const f32,
    /// The output is zero where this is not positive.
    pub mask: *const f32,
    pub relu: bool,
}

/// `B^T` times column `x` of a tile; zeros outside the image.
#[inline(always)]
unsafe fn source_column<S: Simd>(
    rows: &[*const f32; 4],
    x: isize,
    [_, w, c]: [usize; 3],
    channel: usize,
) -> [S::V; 4] {
    // SAFETY: the caller's: the rows are `w * c` values long, channel + LANES is at most c.
    unsafe {
        if x < 0 || x >= w as isize {
            return [S::splat(0.0); 4];
        }
        let at = x as usize * c + channel;
        let (d0, d1) = (S::load(rows[0].add(at)), S::load(rows[1].add(at)));
        let (d2, d3) = (S::load(rows[2].add(at)), S::load(rows[3].add(at)));
        [S::sub(d0, d2), S::add(d1, d2), S::sub(d2, d1), S::sub(d1, d3)]
    }
}

/// `B^T d B` of a run of tiles.
///
/// # Safety
/// `source` has the tiling's images, `zeros` a row of zeros; `to` has the run's tiles; channels
/// are a multiple of LANES.
#[inline(always)]
unsafe fn source<S: Simd>(
    t: &Tiling,
    source: *const f32,
    zeros: *const f32,
    run: &Run,
    to: Planes,
) {
    let [h, w, c] = t.source;
    // SAFETY: rows inside the image are read from it, others from `zeros`.
    unsafe {
        let image = source.add(run.image * h * w * c);
        let mut rows = [zeros; 4];
        for (i, row) in rows.iter_mut().enumerate() {
            let y = (2 * run.y + i).wrapping_sub(t.pad[0]);
            if y < h {
                *row = image.add(y * w * c);
            }
        }
        let left = (2 * run.x) as isize - t.pad[1] as isize;
        for channel in (0..c).step_by(S::LANES) {
            let mut to_tile = to.at.add(run.at * to.width + channel);
            // the next tile sees the last two columns again
            let mut c0 = source_column::<S>(&rows, left, t.source, channel);
            let mut c1 = source_column::<S>(&rows, left + 1, t.source, channel);
            for tile in 0..run.count {
                let x = left + 2 * tile as isize;
                let c2 = source_column::<S>(&rows, x + 2, t.source, channel);
                let c3 = source_column::<S>(&rows, x + 3, t.source, channel);
                for i in 0..4 {
                    let place = to_tile.add(4 * i * to.plane);
                    S::store(place, S::sub(c0[i], c2[i]));
                    S::store(place.add(to.plane), S::add(c1[i], c2[i]));
                    S::store(place.add(2 * to.plane), S::sub(c2[i], c1[i]));
                    S::store(place.add(3 * to.plane), S::sub(c1[i], c3[i]));
                }
                (c0, c1) = (c2, c3);
                to_tile = to_tile.add(to.width);
            }
        }
    }
}
kernel!(
    /// `B^T d B` of a run of tiles.
    pub(super) fn source_on(t: &Tiling, from: *const f32, zeros: *const f32, run: &Run, to: Planes) = source;
);

/// The channels' values of pixel (y, x) of an output image; zero outside.
#[inline(always)]
unsafe fn pixel<S: Simd>(image: *const f32, [h, w, c]: [usize; 3], y: usize, x: usize) -> S::V {
    // SAFETY: the caller's: the pixel is read where it is inside the image.
    unsafe { if y < h && x < w { S::load(image.add((y * w + x) * c)) } else { S::splat(0.0) } }
}

/// `A dy A^T` of a run of tiles and `to.width` channels, but for the signs of the last row and the
/// last column of `A`: the filter's transform puts them right, which is cheaper.
///
/// # Safety
/// As [`source`]: `from` has the tiling's outputs from the first of the channels on.
#[inline(always)]
unsafe fn gradient<S: Simd>(t: &Tiling, from: *const f32, run: &Run, to: Planes) {
    let [h, w, c] = t.output;
    // SAFETY: pixels outside the image are not read.
    unsafe {
        for channel in (0..to.width).step_by(S::LANES) {
            let image = from.add(run.image * h * w * c + channel);
            for tile in 0..run.count {
                let (y, x) = (2 * run.y, 2 * (run.x + tile));
                let mut columns = [[S::splat(0.0); 4]; 2];
                for (j, column) in columns.iter_mut().enumerate() {
                    let d0 = pixel::<S>(image, t.output, y, x + j);
                    let d1 = pixel::<S>(image, t.output, y + 1, x + j);
                    *column = [d0, S::add(d0, d1), S::sub(d0, d1), d1];
                }
                let [c0, c1] = columns;
                let at = to.at.add((run.at + tile) * to.width + channel);
                for i in 0..4 {
                    let place = at.add(4 * i * to.plane);
                    S::store(place, c0[i]);
                    S::store(place.add(to.plane), S::add(c0[i], c1[i]));
                    S::store(place.add(2 * to.plane), S::sub(c0[i], c1[i]));
                    S::store(place.add(3 * to.plane), c1[i]);
                }
            }
        }
    }
}
kernel!(
    /// `A dy A^T` of a run of tiles, see above.
    pub(super) fn gradient_on(t: &Tiling, from: *const f32, run: &Run, to: Planes) = gradient;
);

/// `A^T m A` of a run of tiles, finished and stored.
///
/// # Safety
/// As [`source`]: `output` has the tiling's outputs, `from` the run's tiles.
#[inline(always)]
unsafe fn product<S: Simd>(t: &Tiling, from: Planes, run: &Run, output: *mut f32, finish: &Finish) {
    let [h, w, c] = t.output;
    // SAFETY: pixels outside the image are neither read nor written.
    unsafe {
        for channel in (0..c).step_by(S::LANES) {
            let zero = S::splat(0.0);
            let bias = match finish.bias.is_null() {
                true => zero,
                false => S::load(finish.bias.add(channel)),
            };
            let row = ((run.image * h + 2 * run.y) * w + 2 * run.x) * c + channel;
            for tile in 0..run.count {
                let m = from.at.add((run.at + tile) * from.width + channel);
                let [mut upper, mut lower] = [[zero; 4]; 2];
                for (j, (upper, lower)) in upper.iter_mut().zip(&mut lower).enumerate() {
                    let place = m.add(j * from.plane);
                    let (m0, m1) = (S::load(place), S::load(place.add(4 * from.plane)));
                    let m2 = S::load(place.add(8 * from.plane));
                    let m3 = S::load(place.add(12 * from.plane));
                    *upper = S::add(S::add(m0, m1), m2);
                    *lower = S::sub(S::sub(m1, m2), m3);
                }
                for (i, [m0, m1, m2, m3]) in [upper, lower].into_iter().enumerate() {
                    let pair = [S::add(S::add(m0, m1), m2), S::sub(S::sub(m1, m2), m3)];
                    for (j, mut y) in pair.into_iter().enumerate() {
                        if 2 * run.y + i >= h || 2 * (run.x + tile) + j >= w {
                            continue;
                        }
                        let at = row + (i * w + 2 * tile + j) * c;
                        y = S::add(y, bias);
                        if !finish.residual.is_null() {
                            y = S::add(y, S::load(finish.residual.add(at)));
                        }
                        if !finish.mask.is_null() {
                            y = S::select(S::gt(S::load(finish.mask.add(at)), zero), y, zero);
                        }
                        if finish.relu {
                            y = S::max(zero, y); // NaN stays NaN
                        }
                        S::store(output.add(at), y);
                    }
                }
            }
        }
    }
}
kernel!(
    /// `A^T m A` of a run of tiles, finished and stored.
    pub(super) fn product_on(t: &Tiling, from: Planes, run: &Run, output: *mut f32, finish: &Finish) = product;
);
