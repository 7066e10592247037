//! Recurrent layers: [`tidemill_graph::Recurrent`].
//!
//! A chunk is a range of samples. They are sorted by length, the longest first, and go through their positions together, up to
//! `ROWS` at a time: a step's recurrent product is one of a matrix with a row for each sample that has a position left, by the
//! kernel, which is packed once. So a step costs what its real positions cost. A row's sums are in the order of the
//! kernel's rows, so that the bits of a sample depend neither on the others nor on the chunks.
//!
//! # Layout
//! - here: sizes, the order of samples, the product of a step; `forward` and `backward`: the two kernels; `rows`: what is
//!   computed at a position.

mod backward;
mod forward;
mod rows;
#[cfg(test)]
mod tests;

pub use backward::RecurrentGrad;
pub use forward::Recurrent;

use crate::call::{chunk_range, chunks_for};
use crate::gemm::blocks::Blocks;
use crate::isa::Isa;
use tidemill_graph::ScanShape;

/// Most samples that go through their positions together.
const ROWS: usize = 48;

/// Samples of a chunk at least: rows that share a pass over the kernel.
const CHUNK_ROWS: usize = 8;

/// Packing the kernel costs about as much as this many steps save.
const PACK_FROM: usize = 4;

/// A recurrent layer compiled for its shapes.
#[derive(Clone)]
struct Common {
    shape: ScanShape,
    blocks: Blocks,
    chunks: usize,
}

/// A sample's place in the order by length.
#[derive(Clone, Copy)]
struct Sample(u64);

impl Sample {
    /// Sorts by length, the longest first, then by the sample's number.
    fn new(sample: usize, length: usize) -> Sample {
        Sample(u64::from(!(length as u32)) << 32 | sample as u64)
    }

    fn index(self) -> usize {
        self.0 as u32 as usize
    }

    fn length(self) -> usize {
        !((self.0 >> 32) as u32) as usize
    }
}

impl Common {
    fn new(isa: Isa, shape: ScanShape) -> Common {
        let row = (shape.units * shape.width()) as f64 / 16.0 + shape.width() as f64;
        // 16 multiply-adds a nanosecond and a nanosecond for each gate
        let ns = (CHUNK_ROWS * shape.time) as f64 * row;
        let chunks = chunks_for(shape.batch.div_ceil(CHUNK_ROWS), ns);
        Common { shape, blocks: Blocks::new(isa), chunks }
    }

    /// Floats for the order of a chunk's samples.
    fn order_len(&self) -> usize {
        (2 * self.shape.batch.div_ceil(self.chunks)).next_multiple_of(16)
    }

    /// The samples of a chunk by length.
    ///
    /// # Safety
    /// `lengths` has an i32 for each sample, `room` is aligned and has [`Common::order_len`] floats.
    unsafe fn order<'a>(&self, chunk: usize, lengths: *const f32, room: *mut f32) -> &'a [Sample] {
        let (start, end) = chunk_range(self.shape.batch, self.chunks, 1, chunk);
        let room = room.cast::<Sample>();
        // SAFETY: samples start..end exist, a chunk has no more than there is room for.
        unsafe {
            for b in start..end {
                let length = (*lengths.cast::<i32>().add(b)).max(0) as usize;
                room.add(b - start).write(Sample::new(b, length.min(self.shape.time)));
            }
            let order = std::slice::from_raw_parts_mut(room, end - start);
            order.sort_unstable_by_key(|sample| sample.0);
            order
        }
    }

    /// The row, among all positions, that a sample meets at a step.
    fn row(&self, sample: Sample, step: usize) -> usize {
        let within = if self.shape.scan.reverse { sample.length() - 1 - step } else { step };
        sample.index() * self.shape.time + within
    }

    /// The rows beyond a sample's length.
    fn beyond(&self, sample: Sample) -> std::ops::Range<usize> {
        let first = sample.index() * self.shape.time;
        first + sample.length()..first + self.shape.time
    }
}

/// Fills a row with zeros.
///
/// # Safety
/// There are `n` values.
unsafe fn clear(row: *mut f32, n: usize) {
    // SAFETY: by this function's contract.
    unsafe { std::slice::from_raw_parts_mut(row, n).fill(0.0) };
}
