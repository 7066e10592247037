//! From coded data to the planes of a region.

use std::ops::Range;

use super::Scratch;
use super::head::Head;
use super::huffman::Bits;
use super::idct::{self, TOGETHER, Tile};
use crate::augment::Window;

/// Where frequencies in zigzag order are in a block: waves along a row times 8, and along a column.
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

/// The frequencies of the blocks of one plane in one row of units.
struct Rows {
    /// Blocks side by side and one above another in a unit.
    across: usize,
    down: usize,
    /// Pixels of a block's side.
    side: usize,
    /// Pixels of a row of the plane.
    stride: usize,
    /// Tiles of a row of blocks.
    width: usize,
    tiles: Vec<Tile>,
}

impl Rows {
    fn new(head: &Head, region: &Region, plane: usize) -> Rows {
        let component = &head.components[plane];
        let [across, down] = component.blocks;
        let side = region.side_of(head, plane);
        let blocks = region.columns.len() * across;
        let width = blocks.div_ceil(TOGETHER);
        let tiles = vec![[[0; 8 * TOGETHER]; 8]; width * down];
        Rows { across, down, side, stride: blocks * side, width, tiles }
    }

    /// The tile of a block of a unit, and where in its lines the block begins.
    #[inline(always)]
    fn block(&mut self, unit: usize, i: usize) -> (&mut Tile, usize) {
        let column = unit * self.across + i % self.across;
        let tile = i / self.across * self.width + column / TOGETHER;
        (&mut self.tiles[tile], column % TOGETHER * 8)
    }

    /// From frequencies to pixels: row `row` of units of the region. The frequencies are 0 then.
    #[inline(always)]
    fn compute(&mut self, row: usize, plane: &mut [u8]) {
        let Rows { down, side, stride, width, .. } = *self;
        for (at, tile) in self.tiles.iter_mut().enumerate() {
            let (y, x) = ((row * down + at / width) * side, at % width * TOGETHER * side);
            let out = &mut plane[y * stride + x..];
            let pixels = (stride - x).min(TOGETHER * side);
            if side == 8 {
                idct::eight(tile, out, pixels, stride);
            } else {
                for block in 0..pixels / side {
                    idct::fewer(tile, block, side, &mut out[block * side..], stride);
                }
            }
            *tile = [[0; 8 * TOGETHER]; 8];
        }
    }
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
    let mut planes = Vec::with_capacity(3);
    for (plane, component) in head.components.iter().enumerate() {
        let [rows, columns] = region.plane(head, plane);
        scratch.planes[plane].resize(rows * columns, 0);
        let (dc, ac) = (head.dc[component.dc].as_deref()?, head.ac[component.ac].as_deref()?);
        planes.push((Rows::new(head, region, plane), head.factors(component), dc, ac));
    }
    let mut bits = Bits::new(&scratch.data, 0);
    let mut means = [0i32; 3];
    for row in 0..region.rows.end {
        let in_rows = region.rows.contains(&row);
        for column in 0..region.units {
            let unit = row * region.units + column;
            if head.restart > 0 && unit > 0 && unit.is_multiple_of(head.restart) {
                bits = Bits::new(&scratch.data, *starts.get(unit / head.restart)?);
                means = [0; 3];
            }
            let wanted = in_rows && region.columns.contains(&column);
            for ((rows, factors, dc, ac), mean) in planes.iter_mut().zip(&mut means) {
                for i in 0..rows.across * rows.down {
                    *mean = mean.wrapping_add(bits.difference(dc)?);
                    if !wanted {
                        bits.frequencies(ac, |_, _| {})?;
                        continue;
                    }
                    let (tile, first) = rows.block(column - region.columns.start, i);
                    tile[0][first] = mean.wrapping_mul(factors[0]);
                    bits.frequencies(ac, |k, value| {
                        let place = usize::from(BY_COLUMNS[k & 63]);
                        tile[(place / 8) & 7][first + place % 8] = value * factors[k & 63];
                    })?;
                }
            }
        }
        if bits.overrun() {
            return None;
        }
        if in_rows {
            for ((rows, ..), plane) in planes.iter_mut().zip(&mut scratch.planes) {
                rows.compute(row - region.rows.start, plane);
            }
        }
    }
    Some(())
}
