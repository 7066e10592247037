//! Biases by distance: a head's values for all distances side by side, so that those of a query are a row.

use std::sync::Arc;
use tidemill_graph::{AttentionShape, Relative};

/// Where the biases of distances are in a table `[buckets, heads]`, for its first head.
#[derive(Clone)]
pub(super) struct Distances {
    /// Of key `k - zero` for query 0, or of key 0 for query `zero - k`.
    places: Arc<[u32]>,
    zero: usize,
    buckets: usize,
    heads: usize,
}

/// A head's biases, or their gradients, by distance.
#[derive(Clone, Copy)]
pub(super) struct Line {
    at: *mut f32,
    zero: usize,
}

impl Line {
    /// Those of a query, for key 0 and the keys after it.
    pub fn row(self, query: usize) -> *mut f32 {
        self.at.wrapping_add(self.zero - query)
    }
}

/// Where the biases of keys before a query are, by how far before.
pub(super) fn places_before(relative: Relative, heads: usize, room: usize) -> Arc<[u32]> {
    (0..room).map(|distance| (relative.bucket(distance, 0, true) * heads) as u32).collect()
}

impl Distances {
    pub fn new(shape: &AttentionShape) -> Option<Distances> {
        let (heads, causal) = (shape.heads.queries, shape.heads.causal);
        let relative = shape.heads.relative?;
        let zero = shape.queries - 1;
        let place = |k: usize| {
            let (query, key) = (zero.saturating_sub(k), k.saturating_sub(zero));
            (relative.bucket(query, key, causal) * heads) as u32
        };
        let last = if causal { zero } else { 2 * zero };
        let places = (0..=last).map(place).collect();
        Some(Distances { places, zero, buckets: relative.buckets, heads })
    }

    /// Values of the gradient of a sample.
    pub fn table_len(&self) -> usize {
        self.buckets * self.heads
    }

    /// Floats of a line, with room for the vector that ends past it.
    pub fn line_len(&self) -> usize {
        (self.places.len() + 16).next_multiple_of(16)
    }

    /// The biases of a head.
    ///
    /// # Safety
    /// `table` is the input of biases, `at` has room for a line.
    pub unsafe fn line(&self, table: *const f32, head: usize, at: *mut f32) -> Line {
        for (k, &place) in self.places.iter().enumerate() {
            // SAFETY: by this function's contract.
            unsafe { *at.add(k) = *table.add(place as usize + head) };
        }
        Line { at, zero: self.zero }
    }

    /// Zeros.
    ///
    /// # Safety
    /// `at` has room for a line.
    pub unsafe fn zeros(&self, at: *mut f32) -> Line {
        // SAFETY: by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(at, self.line_len()).fill(0.0) };
        Line { at, zero: self.zero }
    }

    /// The gradients of a head's biases from those of distances, times `by`.
    ///
    /// # Safety
    /// The line is one of these distances, `table` has [`Self::table_len`] values.
    pub unsafe fn gather(&self, line: Line, head: usize, by: f32, table: *mut f32) {
        // SAFETY: by this function's contract.
        unsafe {
            for bucket in 0..self.buckets {
                *table.add(bucket * self.heads + head) = 0.0;
            }
            for (k, &place) in self.places.iter().enumerate() {
                *table.add(place as usize + head) += by * *line.at.add(k);
            }
        }
    }
}
