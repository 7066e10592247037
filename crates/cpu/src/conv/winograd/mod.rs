//! 3x3 convolutions of stride 1 by Winograd's minimal filtering F(2x2, 3x3): 16 multiplications for
//! four outputs where the direct way takes 36 (Lavin and Gray, "Fast Algorithms for Convolutional
//! Neural Networks", 2015).
//!
//! With 4x4 tiles `d` of the source, two apart, and the filter `g`, the four outputs of a tile are
//! `A^T ((G g G^T) . (B^T d B)) A`, summed over source channels. The sums are sixteen products of
//! matrices, one for each place of the tile: `[tiles, c] x [c, k]`. The gradient of the input is the
//! same with `g` turned around; that of the filter is `G^T ((A dy A^T)^T . (B^T d B)) G`, summed over
//! tiles. The matrices hold only 0, 1, -1 and 1/2, so that the error stays near the direct way's.
//!
//! - `filter`: `G g G^T` into a workspace, once a call.
//! - `transform`: `B^T d B`, `A dy A^T` and `A^T m A` for runs of tiles, channels as lanes.
//! - `product`: forward pass and gradient of the input; `grad`: gradient of the filter.

mod filter;
mod grad;
mod product;
#[cfg(test)]
mod tests;
mod transform;

pub use filter::WinogradFilter;
pub use grad::WinogradGradWeight;
pub use product::WinogradConv;

use super::ConvShape;
use crate::isa::Isa;

/// Places of a 4x4 tile.
const PLACES: usize = 16;
/// Tiles below which the transform of the filter costs more than it saves.
const MIN_TILES: usize = 16;

/// Whether [`WinogradConv`] and [`WinogradGradWeight`] can do a convolution.
pub fn applies(isa: Isa, d: &ConvShape) -> bool {
    let lanes = isa.lanes();
    let tiles = d.batch * d.out_h.div_ceil(2) * d.out_w.div_ceil(2);
    (d.kernel_h, d.kernel_w) == (3, 3)
        && d.stride == [1, 1]
        && d.dilation == [1, 1]
        && d.groups == 1
        && d.in_c.is_multiple_of(lanes)
        && d.out_c.is_multiple_of(lanes)
        && d.pad_top <= 2
        && d.pad_left <= 2
        && tiles >= MIN_TILES
}

/// Whether they are faster than the direct way. With 16 channels the transforms take as long as the products
/// that they save: AVX-512 of an Emerald Rapids does 118 to 130 GFLOP/s directly, 90 to 102 so.
pub fn pays(isa: Isa, d: &ConvShape) -> bool {
    applies(isa, d) && d.in_c.max(d.out_c) > isa.lanes()
}

/// Which way a convolution goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// y from x.
    Forward,
    /// dx from dy.
    GradInput,
}

/// The tiles of all images, counted in row-major order: 2x2 pixels of one tensor, 4x4 of another.
#[derive(Clone, Copy, Debug)]
struct Tiling {
    batch: usize,
    /// `[h, w, c]` of the tensor of which tiles see 4x4 pixels.
    source: [usize; 3],
    /// `[h, w, c]` of the tensor of which tiles see 2x2 pixels.
    output: [usize; 3],
    /// Zeros above and left of the source.
    pad: [usize; 2],
}

/// Neighbouring tiles of one row of tiles.
#[derive(Clone, Copy, Debug)]
struct Run {
    image: usize,
    /// Row and first column, in tiles.
    y: usize,
    x: usize,
    count: usize,
    /// Where the run starts in its block.
    at: usize,
}

impl Tiling {
    fn new(d: &ConvShape, pass: Pass) -> Tiling {
        let (x, y) = ([d.in_h, d.in_w, d.in_c], [d.out_h, d.out_w, d.out_c]);
        let (source, output, pad) = match pass {
            Pass::Forward => (x, y, [d.pad_top, d.pad_left]),
            Pass::GradInput => (y, x, [2 - d.pad_top, 2 - d.pad_left]),
        };
        Tiling { batch: d.batch, source, output, pad }
    }

    /// Rows and columns of tiles.
    fn grid(&self) -> [usize; 2] {
        [self.output[0].div_ceil(2), self.output[1].div_ceil(2)]
    }

    fn tiles(&self) -> usize {
        let [rows, columns] = self.grid();
        self.batch * rows * columns
    }

    /// The runs of the tiles `first..first + count`.
    fn runs(&self, first: usize, count: usize) -> impl Iterator<Item = Run> {
        let [rows, columns] = self.grid();
        let mut at = 0;
        std::iter::from_fn(move || {
            let tile = first + at;
            let x = tile % columns;
            let run = Run {
                image: tile / (rows * columns),
                y: tile / columns % rows,
                x,
                count: (columns - x).min(count - at),
                at,
            };
            at += run.count;
            (run.count > 0).then_some(run)
        })
    }
}

/// Values from one place of the tiles to the next: a little more than `len`, so that the sixteen
/// places of one tile do not lie in the same set of the cache.
fn plane_len(len: usize) -> usize {
    len.next_multiple_of(16) + 16
}
