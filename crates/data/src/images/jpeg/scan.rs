//! From coded data to the planes of a region.

use std::ops::Range;

use super::Scratch;
use super::head::Head;
use super::huffman::Bits;
use super::idct;
use crate::augment::Window;

/// Where frequencies in zigzag order are in a block that is stored by columns.
const BY_COLUMNS: [u8; 64] = {
    let mut places = [0; 64];
    let (mut row, mut column, mut k) = (0usize, 0usize, 0);
    while k < 64 {
        places[k] = (8 * column + row) as u8;
        let up = (row + column).is_multiple_of(2);
        (row, column) = match (up, row, column) {
            (true, _, 7) => (row + 1, column),
            (true, 0, _) => (row, column + 1),
            (true, ..) => (row - 1, column + 1),
            (false, 7, _) => (row, column + 1),
            (false, _, 0) => (row + 1, column),
            (false, ..) => (row + 1, column - 1),
        };
        k += 1;
    }
    places
};

/// Which units (MCUs) of an image are computed, and at which scale.
pub(super) struct Region {
    /// Pixels of a block's side in the first plane.
    pub(super) side: usize,
    /// Units of the image in a row.
    units: usize,
    /// Those that are computed.
    pub(super) columns: Range<usize>,
    pub(super) rows: Range<usize>,
    /// The window in pixels of the scale, outwards; within the image.
    pub(super) left: Range<usize>,
    pub(super) top: Range<usize>,
    /// Pixels of the whole image at the scale.
    pub(super) size: [usize; 2],
}

impl Region {
    pub(super) fn new(head: &Head, window: Window, side: usize) -> Region {
        let [across, down] = head.unit().map(|blocks| 8 * blocks);
        let scaled = |len: usize| (len * side).div_ceil(8);
        let size = [scaled(head.height), scaled(head.width)];
        // A pixel more on each side: the resolution of colours is raised by neighbours.
        let units = |first: usize, len: usize, unit: usize, all: usize| {
            first.saturating_sub(8) / unit..(first + len + 8).min(all).div_ceil(unit)
        };
        let pixels =
            |first: usize, len: usize, most: usize| first * side / 8..scaled(first + len).min(most);
        Region {
            side,
            units: head.width.div_ceil(across),
            columns: units(window.left, window.width, across, head.width),
            rows: units(window.top, window.height, down, head.height),
            left: pixels(window.left, window.width, size[1]),
            top: pixels(window.top, window.height, size[0]),
            size,
        }
    }

    /// Where `window` is among the pixels of the region: left, top, width and height.
    pub(super) fn place(&self, window: Window) -> [f64; 4] {
        let scale = self.side as f64 / 8.0;
        let (left, top) = (window.left as f64 * scale, window.top as f64 * scale);
        let (left, top) = (left - self.left.start as f64, top - self.top.start as f64);
        let width = (window.width as f64 * scale).min(self.left.len() as f64 - left);
        let height = (window.height as f64 * scale).min(self.top.len() as f64 - top);
        [left, top, width, height]
    }

    /// Pixels of a block's side in plane `plane`: colours in a lower resolution get more, so that theirs is that of the first.
    pub(super) fn side_of(&self, head: &Head, plane: usize) -> usize {
        match (plane, head.unit()) {
            (0, _) | (_, [1, 1]) => self.side,
            // Both directions at once, or none.
            (_, [2, 2]) => (2 * self.side).min(8),
            _ => self.side,
        }
    }

    /// Rows and columns of plane `plane`.
    pub(super) fn plane(&self, head: &Head, plane: usize) -> [usize; 2] {
        let [across, down] = head.components[plane].blocks;
        let side = self.side_of(head, plane);
        [self.rows.len() * down * side, self.columns.len() * across * side]
    }
}

/// The coded data from `start` on without stuffed bytes, and where it begins again after each restart.
fn unstuffed(bytes: &[u8], start: usize, data: &mut Vec<u8>) -> Vec<usize> {
    data.clear();
    let (mut at, mut starts) = (start, vec![0]);
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr(0xff, rest)) {
        let marker = bytes.get(at + found + 1).copied();
        match marker {
            Some(0) => {
                data.extend_from_slice(&bytes[at..=at + found]);
                at += found + 2;
            }
            Some(0xd0..=0xd7) => {
                data.extend_from_slice(&bytes[at..at + found]);
                starts.push(data.len());
                at += found + 2;
            }
            // Fill bytes.
            Some(0xff) => {
                data.extend_from_slice(&bytes[at..at + found]);
                at += found + 1;
            }
            _ => {
                data.extend_from_slice(&bytes[at..at + found]);
                break;
            }
        }
    }
    // What is read at once beyond the end.
    data.extend_from_slice(&[0; 16]);
    starts
}

/// Decodes the planes of a region; none where the data is broken.
#[inline(always)]
pub(super) fn decode(
    head: &Head,
    bytes: &[u8],
    region: &Region,
    scratch: &mut Scratch,
) -> Option<()> {
    let starts = unstuffed(bytes, head.start, &mut scratch.data);
    for (plane, values) in scratch.planes.iter_mut().enumerate().take(head.components.len()) {
        let [rows, columns] = region.plane(head, plane);
        values.resize(rows * columns, 0);
    }
    let mut bits = Bits::new(&scratch.data, 0);
    let mut means = [0i32; 3];
    let mut block = [0i32; 64];
    let factors: Vec<[i32; 64]> = head.components.iter().map(|c| head.factors(c)).collect();
    for row in 0..region.rows.end {
        for column in 0..region.units {
            let unit = row * region.units + column;
            if head.restart > 0 && unit > 0 && unit.is_multiple_of(head.restart) {
                bits = Bits::new(&scratch.data, *starts.get(unit / head.restart)?);
                means = [0; 3];
            }
            let wanted = region.rows.contains(&row) && region.columns.contains(&column);
            for (plane, component) in head.components.iter().enumerate() {
                let (dc, ac) = (head.dc[component.dc].as_ref()?, head.ac[component.ac].as_ref()?);
                let factors = &factors[plane];
                let [across, down] = component.blocks;
                let side = region.side_of(head, plane);
                let stride = region.columns.len() * across * side;
                for i in 0..across * down {
                    means[plane] = means[plane].wrapping_add(bits.difference(dc)?);
                    if !wanted {
                        bits.frequencies(ac, |_, _| {})?;
                        continue;
                    }
                    let mut any = false;
                    bits.frequencies(ac, |k, value| {
                        block[usize::from(BY_COLUMNS[k & 63])] = value * factors[k & 63];
                        any = true;
                    })?;
                    let mean = means[plane].wrapping_mul(factors[0]);
                    let y = ((row - region.rows.start) * down + i / across) * side;
                    let x = ((column - region.columns.start) * across + i % across) * side;
                    let out = &mut scratch.planes[plane][y * stride + x..];
                    if !any {
                        idct::flat(mean, side, out, stride);
                        continue;
                    }
                    block[0] = mean;
                    match side {
                        8 => idct::eight(&block, out, stride),
                        n => idct::fewer(&block, n, out, stride),
                    }
                    block = [0; 64];
                }
            }
        }
        if bits.overrun() {
            return None;
        }
    }
    Some(())
}
