//! Attention of new positions to those before them, whose keys and values are kept.
//!
//! A row reads few keys, all of different places: there is nothing to pack. Each row is computed by one chunk, key after
//! key, so that its bits depend neither on the other rows nor on the room for positions.

use crate::call::{chunk_range, chunks_for};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::lanes::Lanes;
use crate::rows::row_dot;
use crate::simd::{load_n, store_n};
use tidemill_graph::AttentionShape;

use super::relative::places_before;
use super::rows::RowFns;
use std::sync::Arc;

/// Attention with a cache. Arguments: `qkv, cache, table, lengths, [bias], y`; see [`tidemill_graph::Attention::Cached`].
pub struct CachedAttention {
    /// `keys` are the positions of the cache and the row's own.
    shape: AttentionShape,
    /// Rows of a position in the cache.
    rows: usize,
    /// Where the biases of distances are, if there are some.
    biases: Option<Arc<[u32]>>,
    chunks: usize,
    loops: RowFns,
    scores: ScoresFn,
    sum: SumFn,
}

/// What a head of a row reads: the cached positions by the table, then the row's own.
struct Reads {
    cache: *const f32,
    table: *const i32,
    len: usize,
    rows: usize,
    /// Values of a row of the cache.
    width: usize,
    /// Where the head's keys or values are in it.
    offset: usize,
    own: *const f32,
    dim: usize,
}

impl Reads {
    /// The keys or values of position `j`; the last is the row's own.
    #[inline(always)]
    unsafe fn at(&self, j: usize) -> *const f32 {
        // SAFETY: the table's first `len` entries are rows of the cache.
        unsafe {
            if j == self.len {
                return self.own;
            }
            let row = j * self.rows + *self.table.add(j) as usize;
            self.cache.add(row * self.width + self.offset)
        }
    }
}

type ScoresFn = unsafe fn(q: *const f32, keys: &Reads, to: *mut f32);
type SumFn = unsafe fn(weights: *const f32, by: f32, values: &Reads, y: *mut f32);

/// `to[j] = q k[j]`
#[inline(always)]
unsafe fn scores<S: Lanes>(q: *const f32, keys: &Reads, to: *mut f32) {
    // SAFETY: q and all keys have `dim` values, `to` has room for a score of each.
    unsafe {
        for j in 0..=keys.len {
            *to.add(j) = row_dot::<S>(q, keys.at(j), keys.dim, |q, k| S::mul(q, k));
        }
    }
}
kernel!(fn scores_on(q: *const f32, keys: &Reads, to: *mut f32) = scores;);

/// `y = by sum(weights[j] v[j])`
#[inline(always)]
unsafe fn sum<S: Lanes>(weights: *const f32, by: f32, values: &Reads, y: *mut f32) {
    // SAFETY: y and all values have `dim` values, `weights` one for each of them.
    unsafe {
        let (l, mut d) = (S::LANES, 0);
        let by = S::splat(by);
        while d + 4 * l <= values.dim {
            let mut sums = [S::splat(0.0); 4];
            for j in 0..=values.len {
                let (p, v) = (S::splat(*weights.add(j)), values.at(j).add(d));
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = S::fma(p, S::load(v.add(i * l)), *sum);
                }
            }
            for (i, sum) in sums.into_iter().enumerate() {
                S::store(y.add(d + i * l), S::mul(sum, by));
            }
            d += 4 * l;
        }
        while d < values.dim {
            let n = values.dim - d;
            let mut sum = S::splat(0.0);
            for j in 0..=values.len {
                let p = S::splat(*weights.add(j));
                sum = S::fma(p, load_n::<S>(values.at(j).add(d), n), sum);
            }
            store_n::<S>(y.add(d), S::mul(sum, by), n);
            d += l;
        }
    }
}
kernel!(fn sum_on(weights: *const f32, by: f32, values: &Reads, y: *mut f32) = sum;);

impl CachedAttention {
    /// With `rows` rows of each position in the cache.
    pub fn new(isa: Isa, shape: AttentionShape, rows: usize) -> CachedAttention {
        // Two nanoseconds a key and head beside the arithmetic; half of the room is taken.
        let keys = shape.keys as f64 / 2.0;
        let ns = shape.heads.queries as f64 * keys * (4.0 + 2.0 * shape.dim as f64 / 16.0);
        CachedAttention {
            shape,
            rows,
            biases: shape.heads.relative.map(|r| places_before(r, shape.heads.queries, shape.keys)),
            chunks: chunks_for(shape.batch * shape.queries, ns),
            loops: RowFns::new(isa),
            scores: scores_on(isa),
            sum: sum_on(isa),
        }
    }

    /// # Safety
    /// As for `run`, and there is a row `r`.
    unsafe fn row(&self, args: &[*mut f32], r: usize, scratch: *mut f32) {
        let AttentionShape { heads, keys, dim, .. } = self.shape;
        let scale = 1.0 / (dim as f32).sqrt();
        let (room, width) = (keys - 1, 2 * heads.keys * dim);
        let own = args[0].wrapping_add(r * (heads.queries + 2 * heads.keys) * dim);
        let y = args[4 + usize::from(self.biases.is_some())];
        let y = y.wrapping_add(r * heads.queries * dim);
        let table = args[2].cast::<i32>().wrapping_add(r * room);
        // SAFETY: the arguments have the sizes of the shape, the scratch those of `scratch_bytes`; the table's entries
        // are checked before they are followed.
        unsafe {
            let len = (*args[3].cast::<i32>().add(r)).clamp(0, room as i32) as usize;
            let entries = std::slice::from_raw_parts(table, len);
            if entries.iter().any(|&row| row < 0 || row as usize >= self.rows) {
                std::slice::from_raw_parts_mut(y, heads.queries * dim).fill(f32::NAN);
                return;
            }
            let reads = |part: usize| Reads {
                cache: args[1],
                table,
                len,
                rows: self.rows,
                width,
                offset: part * dim,
                own: own.wrapping_add((heads.queries + part) * dim),
                dim,
            };
            for head in 0..heads.queries {
                let group = head / (heads.queries / heads.keys);
                (self.scores)(own.wrapping_add(head * dim), &reads(group), scratch);
                let scale = match &self.biases {
                    None => scale,
                    Some(places) => {
                        for j in 0..=len {
                            let bias = *args[4].add(places[len - j] as usize + head);
                            *scratch.add(j) = scale * *scratch.add(j) + bias;
                        }
                        1.0
                    }
                };
                let sum = (self.loops.exp)(scratch, len + 1, len + 1, scale);
                let values = reads(heads.keys + group);
                (self.sum)(scratch, 1.0 / sum, &values, y.wrapping_add(head * dim));
            }
        }
    }
}

impl Kernel for CachedAttention {
    fn chunks(&self) -> usize {
        self.chunks
    }

    /// Scores of a head, with room for the vector that ends past them.
    fn scratch_bytes(&self) -> usize {
        4 * (self.shape.keys.next_multiple_of(16) + 16)
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let rows = self.shape.batch * self.shape.queries;
        let (start, end) = chunk_range(rows, self.chunks, 1, chunk);
        for r in start..end {
            // SAFETY: by this function's contract.
            unsafe { self.row(args, r, scratch) };
        }
    }
}
