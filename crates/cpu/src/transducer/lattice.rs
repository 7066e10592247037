//! The loss of a lattice of nodes, and its gradient.
//!
//! A diagonal is the nodes of which positions and labels add up to the same number; where a way writes at most one label at a position, the
//! nodes of a position. Each step of a way leads to the next one, so that a diagonal is one vector operation over its nodes. A way is at one
//! node of each diagonal. Rows of a diagonal's nodes, by number of labels, have `MARGIN` values of "never" on both sides. As in the loss
//! `ctc`, each row is relative to its greatest value, the sum of those is kept in f64, and the probabilities of a diagonal's steps are divided
//! by their own sum.

use super::length;
use crate::call::{bytes, chunk_range, chunks_for, parts};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::lanes::Lanes;
use crate::math;
use crate::rows::{row_exp, row_max, row_zip};
use tidemill_graph::{PerPosition, TransducerShape};

/// The logarithm of nothing; finite, so that differences are.
const NEVER: f32 = -1e30;

/// Beside 1 the exponential of less is nothing; that of this is a normal number, and sums of others take a hundred times as long.
const NOTHING: f32 = -80.0;

/// Steps of ways that are less probable have no gradient: the joint network need not be computed again there. Those of a diagonal add up
/// to 1.
const LEAST: f32 = 1e-12;

/// Values beside a row: the widest vector, of which the last value before the row is looked at.
const MARGIN: usize = 16;

/// One sample's operands.
struct Sample {
    per_position: PerPosition,
    /// `[time, written, 2]`, of which so many rows and columns are its own.
    log_p: *const f32,
    written: usize,
    time: usize,
    columns: usize,
    /// The gradient of the loss, and where that of the logarithms goes; null for the loss.
    dloss: f32,
    dlog_p: *mut f32,
    /// Logarithms of a diagonal's steps: blanks, labels.
    steps: [*mut f32; 2],
    /// Sums along steps.
    sums: [*mut f32; 2],
    /// Two rows that are used in turn; for the gradient two, then one for each diagonal.
    rows: *mut f32,
    /// Floats of a row.
    stride: usize,
}

impl Sample {
    /// Diagonals; the last one is that of the end alone, where a label leads to the next position.
    fn diagonals(&self) -> usize {
        match self.per_position {
            PerPosition::Any => self.time + self.columns - 1,
            PerPosition::One => self.time + 1,
        }
    }

    fn row(&self, i: usize) -> *mut f32 {
        self.rows.wrapping_add(i * self.stride + MARGIN)
    }

    /// The numbers of labels of a diagonal's nodes.
    fn nodes(&self, diagonal: usize) -> std::ops::Range<usize> {
        let first = match self.per_position {
            PerPosition::Any => (diagonal + 1).saturating_sub(self.time),
            PerPosition::One => 0,
        };
        first..self.columns.min(diagonal + 1)
    }

    /// Where the logarithms of a diagonal's node are.
    fn at(&self, diagonal: usize, u: usize) -> usize {
        let t = match self.per_position {
            PerPosition::Any => diagonal - u,
            PerPosition::One => diagonal,
        };
        2 * (t * self.written + u)
    }

    /// Where the logarithm of the blank is that ends all ways; there is none where each step leads to the next position.
    fn end(&self) -> Option<usize> {
        (self.per_position == PerPosition::Any)
            .then(|| self.at(self.diagonals() - 1, self.columns - 1))
    }

    /// The logarithms of a diagonal's steps; says whether one is none.
    unsafe fn emit(&self, diagonal: usize) -> bool {
        let mut is_nan = false;
        // SAFETY: the nodes are the sample's, rows have as many values and margins.
        unsafe {
            let width = self.stride - 2 * MARGIN;
            for step in self.steps {
                std::slice::from_raw_parts_mut(step, width).fill(NEVER);
            }
            for u in self.nodes(diagonal) {
                let from = self.log_p.add(self.at(diagonal, u));
                let (blank, label) = (*from, *from.add(1));
                is_nan |= blank.is_nan();
                if self.end().is_none() || diagonal - u + 1 < self.time {
                    *self.steps[0].add(u) = blank.max(NEVER);
                }
                if u + 1 < self.columns {
                    is_nan |= label.is_nan();
                    *self.steps[1].add(u) = label.max(NEVER);
                }
            }
        }
        is_nan
    }
}

unsafe fn fill(to: *mut f32, len: usize, value: f32) {
    // SAFETY: as the caller's.
    unsafe { std::slice::from_raw_parts_mut(to, len).fill(value) }
}

/// `to = ln(e^a + e^b)`, relative to the greatest, which it gives.
#[inline(always)]
unsafe fn join<S: Lanes>(a: *const f32, b: *const f32, to: *mut f32, width: usize) -> f64 {
    // SAFETY: rows have whole vectors.
    unsafe {
        for u in (0..width).step_by(S::LANES) {
            let (a, b) = (S::load(a.add(u)), S::load(b.add(u)));
            let most = S::max(a, b);
            let rest = S::max(S::splat(NOTHING), S::sub(S::min(a, b), most));
            let log = math::log::<S>(S::add(S::splat(1.0), math::exp::<S>(rest)));
            S::store(to.add(u), S::max(S::splat(NEVER), S::add(most, log)));
        }
        let most = row_max::<S>(to, width);
        let by = S::splat(most);
        row_zip::<S>(to, to, to, width, |a, _| S::max(S::splat(NEVER), S::sub(a, by)));
        f64::from(most)
    }
}

/// The loss; with its gradient, if that has a place. NaN where a logarithm is none.
#[inline(always)]
unsafe fn sample<S: Lanes>(x: &Sample) -> f32 {
    let width = x.stride - 2 * MARGIN;
    let is_gradient = !x.dlog_p.is_null();
    let diagonals = x.diagonals();
    // SAFETY: by the contract of the kernel below.
    unsafe {
        let kept = if is_gradient { diagonals + 2 } else { 2 };
        fill(x.rows, kept * x.stride, NEVER);
        for sum in x.sums {
            fill(sum.sub(MARGIN), x.stride, NEVER);
        }
        let row_of = |d: usize| if is_gradient { x.row(2 + d) } else { x.row(d % 2) };
        *row_of(0) = 0.0;
        let (mut scale, mut is_nan) = (0.0, false);
        for d in 0..diagonals - 1 {
            is_nan |= x.emit(d);
            for (step, sum) in x.steps.into_iter().zip(x.sums) {
                row_zip::<S>(row_of(d), step, sum, width, |a, b| S::add(a, b));
            }
            scale += join::<S>(x.sums[0], x.sums[1].sub(1), row_of(d + 1), width);
        }
        let last = x.end().map_or(0.0, |at| *x.log_p.add(at));
        let total = scale + f64::from(*row_of(diagonals - 1).add(x.columns - 1)) + f64::from(last);
        if is_nan || last.is_nan() {
            return f32::NAN;
        }
        if is_gradient {
            gradient::<S>(x);
        }
        -total as f32
    }
}
kernel!(fn sample_on(x: &Sample) -> f32 = sample;);

/// From the last diagonal to the first: the ways from each node on, by those of the next diagonal, which are joined with those up to it to
/// the probability of each step.
#[inline(always)]
unsafe fn gradient<S: Lanes>(x: &Sample) {
    let width = x.stride - 2 * MARGIN;
    let (diagonals, last) = (x.diagonals(), x.columns - 1);
    // SAFETY: by the contract of the kernel below.
    unsafe {
        if let Some(at) = x.end() {
            *x.dlog_p.add(at) = -x.dloss;
        }
        let (mut next, mut own) = (x.row(0), x.row(1));
        *next.add(last) = 0.0;
        for d in (0..diagonals - 1).rev() {
            x.emit(d);
            for (i, (step, sum)) in x.steps.into_iter().zip(x.sums).enumerate() {
                row_zip::<S>(next.add(i), step, sum, width, |a, b| S::add(a, b));
            }
            join::<S>(x.sums[0], x.sums[1], own, width);
            let before = x.row(2 + d);
            let mut most = f32::NEG_INFINITY;
            for sum in x.sums {
                row_zip::<S>(before, sum, sum, width, |a, b| S::add(a, b));
                most = most.max(row_max::<S>(sum, width));
            }
            let mut total = 0.0;
            for sum in x.sums {
                let (low, by) = (S::splat(NOTHING), S::splat(most));
                row_zip::<S>(sum, sum, sum, width, |a, _| S::max(low, S::sub(a, by)));
                total += row_exp::<S>(sum, 0.0, sum, width);
            }
            for u in x.nodes(d) {
                let to = x.dlog_p.add(x.at(d, u));
                for (i, sum) in x.sums.into_iter().enumerate() {
                    let p = *sum.add(u) / total;
                    *to.add(i) = if p > LEAST { -x.dloss * p } else { 0.0 };
                }
            }
            (next, own) = (own, next);
        }
    }
}

/// The loss, or its gradient. Arguments: `log_p, lengths, label_lengths, loss`, or `log_p, lengths, label_lengths, dloss, dlog_p`. Chunks
/// are ranges of samples.
pub struct TransducerLoss {
    per_position: PerPosition,
    shape: TransducerShape,
    chunks: usize,
    sample: unsafe fn(&Sample) -> f32,
    is_gradient: bool,
}

impl TransducerLoss {
    /// The loss, or its gradient.
    pub fn new(
        isa: Isa,
        per_position: PerPosition,
        shape: TransducerShape,
        is_gradient: bool,
    ) -> TransducerLoss {
        let ns = if is_gradient { 12.0 } else { 4.0 } * shape.nodes() as f64;
        let chunks = chunks_for(shape.batch, ns);
        TransducerLoss { per_position, shape, chunks, sample: sample_on(isa), is_gradient }
    }

    fn stride(&self) -> usize {
        self.shape.written.next_multiple_of(16) + 2 * MARGIN
    }

    /// Floats of steps, sums and rows.
    fn scratch(&self) -> [usize; 5] {
        let diagonals = self.shape.time + self.shape.written;
        let (stride, kept) = (self.stride(), if self.is_gradient { diagonals + 2 } else { 2 });
        [stride, stride, stride, stride, kept * stride]
    }
}

impl Kernel for TransducerLoss {
    fn chunks(&self) -> usize {
        self.chunks
    }

    fn scratch_bytes(&self) -> usize {
        bytes(&self.scratch())
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let TransducerShape { batch, time, written, .. } = self.shape;
        let [blanks, labels, sums, more, rows] = parts(scratch, self.scratch());
        let (start, end) = chunk_range(batch, self.chunks, 1, chunk);
        for b in start..end {
            // SAFETY: the arguments have the sizes of the shape; lengths are cut to them.
            unsafe {
                let (own, count) = (length(args[1], b, time), length(args[2], b, written - 1));
                let at = b * 2 * time * written;
                let to = if self.is_gradient { args[4].add(at) } else { std::ptr::null_mut() };
                if self.is_gradient {
                    fill(to, 2 * time * written, 0.0);
                }
                let loss = match self.per_position.has_room(own, count) {
                    false => 0.0,
                    true => (self.sample)(&Sample {
                        per_position: self.per_position,
                        log_p: args[0].add(at),
                        written,
                        time: own,
                        columns: count + 1,
                        dloss: if self.is_gradient { *args[3].add(b) } else { 0.0 },
                        dlog_p: to,
                        steps: [blanks, labels],
                        sums: [sums.add(MARGIN), more.add(MARGIN)],
                        rows,
                        stride: self.stride(),
                    }),
                };
                match self.is_gradient {
                    true if loss.is_nan() => fill(to, 2 * own * written, f32::NAN),
                    true => {}
                    false => *args[3].add(b) = loss,
                }
            }
        }
    }
}
