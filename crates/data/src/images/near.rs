//! Images that are nearly the same: copies that were saved again, in another quality or size.
//!
//! Two images are taken for copies where their difference hashes (of 64 bits: which of two neighbouring pixels of a 9 x 8 grey
//! thumbnail is brighter) differ in three bits at most, and their thumbnails of 8 x 8 pixels in few shades. The second test is what keeps
//! plain images, whose hashes are alike by chance, out.

use std::collections::HashMap;

use crate::RawImage;

/// Rows and columns of the thumbnail that is compared.
const SIDE: usize = 8;
/// Bits in which hashes of copies may differ.
const BITS: u32 = 3;
/// Shades (of 256) by which thumbnails of copies may differ on average.
const SHADES: u32 = 6;
/// Images of one part of a hash that are compared with one image; of plain images there may be as many as there are images.
const MOST: usize = 64;

/// What is compared of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Print {
    hash: u64,
    thumbnail: Vec<u8>,
}

impl Print {
    /// Of an image with 1, 3 or 4 values for each pixel.
    pub fn of(image: &RawImage) -> Print {
        let grey: Vec<u32> = shrunk(image, SIDE + 1, SIDE)
            .chunks_exact(3)
            .map(|p| 299 * u32::from(p[0]) + 587 * u32::from(p[1]) + 114 * u32::from(p[2]))
            .collect();
        let brighter = (0..SIDE * SIDE).filter(|i| {
            let at = i / SIDE * (SIDE + 1) + i % SIDE;
            grey[at + 1] > grey[at]
        });
        let hash = brighter.fold(0, |hash, bit| hash | 1 << bit);
        Print { hash, thumbnail: shrunk(image, SIDE, SIDE) }
    }

    fn is_like(&self, other: &Print) -> bool {
        if (self.hash ^ other.hash).count_ones() > BITS {
            return false;
        }
        let pairs = self.thumbnail.iter().zip(&other.thumbnail);
        let sum: u32 = pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        sum <= SHADES * self.thumbnail.len() as u32
    }

    /// Four parts of the hash: two hashes that differ in three bits have one part in common.
    fn parts(&self) -> impl Iterator<Item = (u8, u16)> {
        let hash = self.hash;
        (0..4).map(move |part| (part, (hash >> (16 * part)) as u16))
    }
}

/// Means over `width` x `height` areas, three values each. Pixels at the border of two areas count for both, by their shares.
fn shrunk(image: &RawImage, width: usize, height: usize) -> Vec<u8> {
    let (rows, columns) = (areas(height, image.height), areas(width, image.width));
    let third = usize::from(image.channels >= 3);
    let mut means = Vec::with_capacity(3 * width * height);
    for row in &rows {
        for column in &columns {
            let (mut sums, mut weights) = ([0.0; 3], 0.0);
            for &(y, of_row) in row {
                for &(x, of_column) in column {
                    let pixel = &image.pixels[(y * image.width + x) * image.channels..];
                    let weight = of_row * of_column;
                    weights += weight;
                    for (c, sum) in sums.iter_mut().enumerate() {
                        *sum += weight * f64::from(pixel[c * third]);
                    }
                }
            }
            means.extend(sums.map(|sum| (sum / weights + 0.5) as u8));
        }
    }
    means
}

/// `len` pixels cut into equal parts: of each the pixels that it has, with their shares.
fn areas(parts: usize, len: usize) -> Vec<Vec<(usize, f64)>> {
    let at = |part: usize| part as f64 * len as f64 / parts as f64;
    let pixels = |part: usize| {
        let (start, end) = (at(part), at(part + 1));
        let last = (end.ceil() as usize).min(len);
        let share = |pixel: usize| end.min(pixel as f64 + 1.0) - start.max(pixel as f64);
        let pixels = (start as usize..last).map(|pixel| (pixel, share(pixel)));
        pixels.filter(|(_, share)| *share > 0.0).collect()
    };
    (0..parts).map(pixels).collect()
}

/// For images that have a copy among `others`, where both are; each image once, by its place. `others` may be the images themselves, of
/// which then those before count.
pub fn copies(images: &[(usize, Print)], others: &[(usize, Print)]) -> Vec<(usize, usize)> {
    let same = std::ptr::eq(images, others);
    let mut by_part: HashMap<(u8, u16), Vec<u32>> = HashMap::new();
    let add = |by_part: &mut HashMap<_, Vec<u32>>, at: usize| {
        others[at].1.parts().for_each(|part| by_part.entry(part).or_default().push(at as u32));
    };
    if !same {
        (0..others.len()).for_each(|at| add(&mut by_part, at));
    }
    let mut found = Vec::new();
    for (at, (place, print)) in images.iter().enumerate() {
        let near = print.parts().filter_map(|part| by_part.get(&part));
        let near = near.flat_map(|all| all.iter().take(MOST));
        let first = near.filter(|&&i| others[i as usize].1.is_like(print)).min();
        if let Some(&first) = first {
            found.push((*place, others[first as usize].0));
        }
        if same {
            add(&mut by_part, at);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of soft shapes: values by place.
    fn picture(size: usize, seed: usize) -> RawImage {
        let value = |y: usize, x: usize, c: usize| {
            let (y, x) = (y as f64 / size as f64, x as f64 / size as f64);
            let s = seed as f64;
            let wave =
                ((3.0 + s % 5.0) * x + s).sin() * ((2.0 + s % 3.0) * y + 0.7 * s + c as f64).cos();
            (127.0 + 120.0 * wave) as u8
        };
        let places = (0..size * size * 3).map(|i| (i / 3 / size, i / 3 % size, i % 3));
        let pixels = places.map(|(y, x, c)| value(y, x, c)).collect();
        RawImage { height: size, width: size, channels: 3, pixels }
    }

    #[test]
    fn copies_in_another_size_and_quality_are_found_and_others_are_not() {
        let all: Vec<(usize, Print)> = (0..40).map(|i| (i, Print::of(&picture(64, i)))).collect();
        assert_eq!(copies(&all, &all), []);
        let mut coarse = picture(200, 7);
        coarse.pixels.iter_mut().for_each(|v| *v = *v / 6 * 6 + 3);
        let seen = [(0, Print::of(&coarse)), (1, Print::of(&picture(64, 99)))];
        assert_eq!(copies(&seen, &all), [(0, 7)]);
        let twice = [all[3].clone(), all[4].clone(), (9, Print::of(&picture(31, 3)))];
        assert_eq!(copies(&twice, &twice), [(9, 3)]);
    }

    #[test]
    fn plain_images_of_other_shades_are_no_copies() {
        let plain = |shade: u8, channels| {
            let pixels = vec![shade; 5 * 3 * channels];
            Print::of(&RawImage { height: 5, width: 3, channels, pixels })
        };
        let all: Vec<(usize, Print)> = (0..20).map(|i| (i, plain(12 * i as u8, 1))).collect();
        assert_eq!(copies(&all, &all), []);
        assert_eq!(copies(&[(0, plain(24, 4))], &all), [(0, 2)]);
    }
}
