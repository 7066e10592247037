//! Attention by rows of the score matrix: a block of queries at a time, with all keys that it reads.
//!
//! A chunk is a number of (sample, head of the keys) pairs. For each, keys and values are packed once; then
//! the scores of a block of queries fill a buffer of `QUERIES x keys` floats, which stays in the
//! cache up to some thousand keys, become weights, and meet the values. Nothing of `[time, time]` is
//! ever stored for a whole sequence, nor kept for the backward pass, which makes the scores again. Keys
//! beyond a sample's length, and later keys where attention is causal, cost nothing but the rest of a
//! tile.
//!
//! # Layout
//! - here: sizes, scratch memory, where heads are; `forward` and `backward`: the two kernels; `rows`: the
//!   loops over a row of scores; `relative`: biases by distance; `cached`: new positions of sequences that grow.

mod backward;
mod cached;
mod forward;
mod relative;
mod rows;
#[cfg(test)]
mod tests;

pub use backward::AttentionGrad;
pub use cached::CachedAttention;
pub use forward::Attention;

use crate::call::{chunk_range, chunks_for};
use crate::gemm::blocks::Blocks;
use crate::isa::Isa;
use crate::lanes::PHILOX_WORDS;
use crate::optimizer::Coefficients;
use relative::{Distances, Line};
use rows::{DrawFn, DropFn, RowFns};
use std::ops::Range;
use tidemill_graph::AttentionShape;

/// Queries of a block.
const QUERIES: usize = 48;

/// Attention compiled for its shapes.
#[derive(Clone)]
struct Common {
    shape: AttentionShape,
    /// Whether queries, keys and values are columns of one tensor.
    within: bool,
    blocks: Blocks,
    rows: RowFns,
    /// Where scores have a bias.
    distances: Option<Distances>,
    chunks: usize,
}

/// One head of one sample.
#[derive(Clone, Copy)]
struct Head {
    sample: usize,
    /// Of the queries.
    head: usize,
    /// Real positions.
    queries: usize,
    keys: usize,
}

/// A matrix with rows `stride` apart.
#[derive(Clone, Copy)]
struct Rows {
    at: *mut f32,
    stride: usize,
}

impl Rows {
    fn row(self, i: usize) -> *mut f32 {
        self.at.wrapping_add(i * self.stride)
    }
}

impl Common {
    fn new(isa: Isa, shape: AttentionShape, within: bool, products: f64) -> Common {
        let AttentionShape { heads, batch, queries, keys, dim } = shape;
        let pairs = (queries * keys) as f64 * if heads.causal { 0.5 } else { 1.0 };
        // 20 multiply-adds a nanosecond, and a nanosecond for each weight
        let ns = pairs * (products * dim as f64 / 20.0 + 1.0);
        let group = heads.queries / heads.keys;
        Common {
            shape,
            within,
            blocks: Blocks::new(isa),
            rows: RowFns::new(isa),
            distances: Distances::new(&shape),
            chunks: chunks_for(batch * heads.keys, ns * group as f64),
        }
    }

    /// The pairs of sample and head of the keys in a chunk.
    fn pairs(&self, chunk: usize) -> Range<usize> {
        let (start, end) =
            chunk_range(self.shape.batch * self.shape.heads.keys, self.chunks, 1, chunk);
        start..end
    }

    /// The heads of the queries that read a head of the keys.
    fn group(&self, keys: usize) -> Range<usize> {
        let size = self.shape.heads.queries / self.shape.heads.keys;
        keys * size..(keys + 1) * size
    }

    /// Between rows of a block of scores: whole panels, and an odd number of lines, since rows a power of
    /// two apart meet in a few sets of the cache.
    fn scores_stride(&self) -> usize {
        self.shape.keys.next_multiple_of(self.blocks.panel()).next_multiple_of(32) + 16
    }

    /// The lengths of a sample.
    ///
    /// # Safety
    /// The arguments are those of the kernel.
    unsafe fn lengths(&self, args: &[*mut f32], sample: usize) -> [usize; 2] {
        let length = |argument: usize, most: usize| {
            // SAFETY: lengths are an i32 for each sample.
            let length = unsafe { *args[argument].cast::<i32>().add(sample) };
            (length.max(0) as usize).min(most)
        };
        let (of_queries, of_keys) = if self.within { (1, 1) } else { (2, 3) };
        [length(of_queries, self.shape.queries), length(of_keys, self.shape.keys)]
    }

    /// The number of inputs before y, dy, and the key.
    fn given(&self) -> usize {
        if self.within { 2 + usize::from(self.distances.is_some()) } else { 4 }
    }

    /// Floats of a line of biases; 0 without.
    fn line_len(&self) -> usize {
        self.distances.as_ref().map_or(0, Distances::line_len)
    }

    /// The biases of a head, if there are some.
    ///
    /// # Safety
    /// The arguments are those of the kernel, `at` has room for a line.
    unsafe fn biases(&self, args: &[*mut f32], head: usize, at: *mut f32) -> Option<Line> {
        // SAFETY: by this function's contract.
        self.distances.as_ref().map(|distances| unsafe { distances.line(args[2], head, at) })
    }

    /// A head's queries in a tensor like the first input.
    fn queries(&self, tensor: *mut f32, sample: usize, head: usize) -> Rows {
        let h = &self.shape.heads;
        let parts = if self.within { h.queries + 2 * h.keys } else { h.queries };
        self.rows_of(tensor, sample * self.shape.queries, parts, head)
    }

    /// A head's keys and values in a tensor like the one that has them.
    fn keys(&self, tensor: *mut f32, sample: usize, group: usize) -> [Rows; 2] {
        let h = &self.shape.heads;
        let (parts, first) =
            if self.within { (h.queries + 2 * h.keys, h.queries) } else { (2 * h.keys, 0) };
        [first + group, first + h.keys + group]
            .map(|part| self.rows_of(tensor, sample * self.shape.keys, parts, part))
    }

    /// A head's rows of the output.
    fn outputs(&self, tensor: *mut f32, sample: usize, head: usize) -> Rows {
        self.rows_of(tensor, sample * self.shape.queries, self.shape.heads.queries, head)
    }

    fn rows_of(&self, tensor: *mut f32, row: usize, parts: usize, part: usize) -> Rows {
        let (dim, stride) = (self.shape.dim, parts * self.shape.dim);
        Rows { at: tensor.wrapping_add(row * stride + part * dim), stride }
    }

    /// The dropout of one head, if there is some.
    ///
    /// # Safety
    /// `key` is the key input where there is dropout; `words` has room for [`Common::words`].
    unsafe fn dropout(&self, key: *const f32, at: Head, words: *mut f32) -> Option<Drop> {
        let heads = &self.shape.heads;
        (heads.dropout > 0.0).then(|| Drop {
            draw: self.rows.draw,
            drop: self.rows.drop,
            words: words.cast(),
            rate: heads.dropout,
            stream: heads.stream,
            key: key.cast(),
            row: (at.sample * heads.queries + at.head) as u64,
        })
    }

    /// Random words of a row of weights.
    fn words(&self) -> usize {
        if self.shape.heads.dropout > 0.0 {
            self.shape.keys.next_multiple_of(PHILOX_WORDS)
        } else {
            0
        }
    }

    /// Keys that a block of queries reads.
    fn seen(&self, block: &Range<usize>, at: Head) -> usize {
        self.shape.visible(block.end - 1, at.queries, at.keys)
    }

    /// Strips of the queries of a block, each with the number of keys that its last query reads.
    fn strips(&self, block: Range<usize>, at: Head) -> impl Iterator<Item = (Range<usize>, usize)> {
        let shape = self.shape;
        even(block, self.blocks.strip()).map(move |rows| {
            let seen = shape.visible(rows.end - 1, at.queries, at.keys);
            (rows, seen)
        })
    }

    /// Weights of the keys for a block of queries, into `scores`: not normalized, but with the
    /// reciprocal of each row's sum in `inverse`. Weights past a query's last key are 0 up to the last
    /// one of the block.
    ///
    /// # Safety
    /// `q` are the head's queries, `k` its packed keys, `biases` its biases; `scores` has [`QUERIES`] rows.
    #[allow(clippy::too_many_arguments)]
    unsafe fn weigh(
        &self,
        block: Range<usize>,
        at: Head,
        q: Rows,
        k: crate::gemm::blocks::Panels,
        biases: Option<Line>,
        scores: Rows,
        inverse: *mut f32,
        none: &Coefficients,
    ) {
        let dim = self.shape.dim;
        let scale = 1.0 / (dim as f32).sqrt();
        let last = self.seen(&block, at);
        for (rows, seen) in self.strips(block.clone(), at) {
            let to = (scores.row(rows.start - block.start), scores.stride);
            // whole panels: the buffer has room for them
            let wide = seen.next_multiple_of(self.blocks.panel());
            // SAFETY: the strip's queries exist, the panels hold `seen` keys, filled up with zeros.
            unsafe {
                let sizes = [rows.len(), wide, dim];
                let a = (q.row(rows.start).cast_const(), q.stride);
                self.blocks.strip_product(false, sizes, a, k, to, false, none);
                for i in rows {
                    let own = self.shape.visible(i, at.queries, at.keys);
                    let row = scores.row(i - block.start);
                    let scale = match biases {
                        None => scale,
                        Some(line) => {
                            (self.rows.bias)(row, own, scale, line.row(i));
                            1.0
                        }
                    };
                    let sum = (self.rows.exp)(row, own, last, scale);
                    *inverse.add(i - block.start) = if own == 0 { 0.0 } else { 1.0 / sum };
                }
            }
        }
    }
}

/// A range in nearly equal parts of at most `most`.
fn even(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = range.len().div_ceil(most);
    (0..parts).map(move |i| {
        let at = |i: usize| range.start + range.len() * i / parts;
        at(i)..at(i + 1)
    })
}

/// What drops weights of a head.
#[derive(Clone, Copy)]
struct Drop {
    draw: DrawFn,
    drop: DropFn,
    words: *mut u32,
    rate: f32,
    stream: u32,
    key: *const u32,
    row: u64,
}

impl Drop {
    /// Draws which of the first `n` weights of query `i` are dropped.
    ///
    /// # Safety
    /// There are `n` keys; the key input has 4 words.
    unsafe fn draw(&self, i: usize, n: usize) {
        let first = self.row << 40 | (i as u64) << 20;
        // SAFETY: by this function's contract.
        unsafe { (self.draw)(self.stream, self.key, first, self.words, n) };
    }

    /// Drops those values of a row that were drawn.
    ///
    /// # Safety
    /// Both rows have `n` values, with room for whole vectors, and as many were drawn.
    unsafe fn row(&self, from: *const f32, to: *mut f32, n: usize) {
        // SAFETY: by this function's contract.
        unsafe { (self.drop)(self.rate, self.words, from, to, n) };
    }
}
