//! Cross-entropy of logits, its gradient, both in one pass; the weighted mean of losses.
//!
//! `rows` has the arithmetic of rows, `mean` the mean of their losses.

mod mean;
mod rows;
#[cfg(test)]
mod tests;

pub use mean::{WeightedMean, WeightedMeanGrad};

use crate::call::{Call, chunk_range, chunks_for};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::rows::row_ns;
use mean::{SumsFn, inverse_count, mean, weighted_sums_on};
use rows::{Buffers, LossFn, loss_on};

/// Per-row cross-entropy. Arguments: `logits[rows, cols], labels i32[rows] or
/// targets[rows, cols], loss[rows]`.
pub struct CrossEntropy {
    rows: usize,
    cols: usize,
    sparse: bool,
    smoothing: f32,
    chunks: usize,
    f: LossFn,
}

fn loss_chunks(rows: usize, cols: usize) -> usize {
    chunks_for(rows, row_ns(cols, 0.4))
}

impl CrossEntropy {
    /// The loss of `rows` samples over `cols` classes; `sparse` takes labels.
    pub fn new(isa: Isa, rows: usize, cols: usize, sparse: bool, smoothing: f32) -> CrossEntropy {
        let chunks = loss_chunks(rows, cols);
        CrossEntropy { rows, cols, sparse, smoothing, chunks, f: loss_on(isa) }
    }

    /// Runs rows `start .. end` of whole buffers.
    unsafe fn rows(&self, b: Buffers, start: usize, end: usize) {
        // SAFETY: the buffers have `rows` rows; null stays null.
        unsafe {
            let shifted = |p: *mut f32, n: usize| if p.is_null() { p } else { p.add(n) };
            let wide = start * self.cols;
            let b = Buffers {
                logits: b.logits.add(wide),
                target: b.target.add(if self.sparse { start } else { wide }),
                upstream: shifted(b.upstream.cast_mut(), start),
                scale: b.scale,
                loss: shifted(b.loss, start),
                dlogits: shifted(b.dlogits, wide),
            };
            (self.f)(b, end - start, self.cols, self.sparse, self.smoothing);
        }
    }
}

impl Kernel for CrossEntropy {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let (start, end) = chunk_range(self.rows, self.chunks, 1, chunk);
        let null = std::ptr::null_mut();
        let (logits, target, loss) = (args[0], args[1], args[2]);
        let b = Buffers { logits, target, upstream: null, scale: 0.0, loss, dlogits: null };
        // SAFETY: arguments as documented; the range lies inside.
        unsafe { self.rows(b, start, end) };
    }
}

/// Gradient of [`CrossEntropy`]. Arguments: `logits, labels or targets, dloss[rows],
/// dlogits[rows, cols]`; dlogits may be logits.
pub struct CrossEntropyGrad(CrossEntropy);

impl CrossEntropyGrad {
    /// As [`CrossEntropy::new`].
    pub fn new(isa: Isa, rows: usize, cols: usize, sparse: bool, smoothing: f32) -> Self {
        CrossEntropyGrad(CrossEntropy::new(isa, rows, cols, sparse, smoothing))
    }
}

impl Kernel for CrossEntropyGrad {
    fn chunks(&self) -> usize {
        self.0.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let (start, end) = chunk_range(self.0.rows, self.0.chunks, 1, chunk);
        let (logits, target, upstream, dlogits) = (args[0], args[1], args[2], args[3]);
        let loss = std::ptr::null_mut();
        let b = Buffers { logits, target, upstream, scale: 1.0, loss, dlogits };
        // SAFETY: arguments as documented; the range lies inside.
        unsafe { self.0.rows(b, start, end) };
    }
}

/// Loss, its weighted mean and the gradient of that mean: one kernel where there is one chunk,
/// else weights' sum, rows, mean. Arguments: `logits[rows, cols], labels i32[rows] or
/// targets[rows, cols], weights[rows], loss[rows], dlogits[rows, cols], mean[1]`, and the
/// workspace; dlogits may be logits. Rows of weight 0 get a gradient of 0.
pub struct CrossEntropyFused {
    main: CrossEntropy,
    sums: SumsFn,
}

/// 1 over the number of samples with a weight, to the workspace of [`CrossEntropyFused`].
struct WeightInverse {
    rows: usize,
    sums: SumsFn,
}

impl CrossEntropyFused {
    /// The call for `rows` samples over `cols` classes; `sparse` takes labels.
    pub fn call(isa: Isa, rows: usize, cols: usize, sparse: bool, smoothing: f32) -> Call {
        let main = CrossEntropy::new(isa, rows, cols, sparse, smoothing);
        let sums = weighted_sums_on(isa);
        let fused = CrossEntropyFused { main, sums };
        if fused.main.chunks == 1 {
            return Call::single(fused);
        }
        let mean = WeightedMean::of(isa, rows, [3, 2, 5]);
        let before = WeightInverse { rows, sums };
        let phases: Vec<Box<dyn Kernel>> = vec![Box::new(before), Box::new(fused), Box::new(mean)];
        Call { phases, workspace_len: 1 }
    }
}

impl Kernel for WeightInverse {
    fn chunks(&self) -> usize {
        1
    }

    unsafe fn run(&self, args: &[*mut f32], _chunk: usize, _scratch: *mut f32) {
        // SAFETY: the workspace has one value, the weights `rows`.
        unsafe { *args[6] = inverse_count(self.sums, args[2], self.rows) };
    }
}

impl Kernel for CrossEntropyFused {
    fn chunks(&self) -> usize {
        self.main.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let rows = self.main.rows;
        let (start, end) = chunk_range(rows, self.main.chunks, 1, chunk);
        let one = self.main.chunks == 1;
        // SAFETY: arguments as documented; the range lies inside.
        unsafe {
            let scale = if one { inverse_count(self.sums, args[2], rows) } else { *args[6] };
            let (logits, target, upstream) = (args[0], args[1], args[2]);
            let (loss, dlogits) = (args[3], args[4]);
            self.main.rows(Buffers { logits, target, upstream, scale, loss, dlogits }, start, end);
            if one {
                *args[5] = mean(self.sums, loss, args[2], rows);
            }
        }
    }
}
