//! The loss of connectionist temporal classification and its gradient: [`tidemill_graph::Ctc`].
//!
//! Chunks are ranges of samples. A sample's states are a vector: a position is one step of it, `ln(sum e^x)` of the states before by none,
//! one and two places, with a term that forbids the two where there is no skip. Rows of states have `MARGIN` values of "never" on both
//! sides, so that no step asks where it is. Each row is relative to its greatest value, and the sum of those is kept in f64: logarithms of
//! long sequences are great numbers, whose differences would have few digits. For the same reason the probabilities of a position's
//! states are divided by their own sum, and not by the probability of the labels, which is the same.

use crate::call::{chunk_range, chunks_for};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::lanes::Lanes;
use crate::math;
use crate::rows::{row_exp, row_exp_sum, row_max, row_zip};
use crate::simd::{load_n, store_n};
use crate::softmax::{exp1, log1};
use tidemill_graph::{Ctc, CtcShape};

/// The logarithm of nothing; finite, so that differences are.
const NEVER: f32 = -1e30;

/// Beside 1 the exponential of less is nothing; that of this is a normal number, and sums of others take a hundred times as long.
const NOTHING: f32 = -80.0;

/// Values beside a row of states: two are looked at.
const MARGIN: usize = 2;

/// Values of the widest vector.
const MOST_LANES: usize = 16;

/// One sample's operands.
struct Sample {
    logits: *const f32,
    labels: *const i32,
    time: usize,
    classes: usize,
    num_labels: usize,
    /// The gradient of the loss, and where that of the logits goes; null for the loss.
    dloss: f32,
    dlogits: *mut f32,
    /// `time` logarithms of the sums of exponentials.
    log_sums: *mut f32,
    /// For each state, 0 where it is reached from two places before, else `NEVER`; a row of states.
    skips: *mut f32,
    /// Logarithms of a position's probabilities of states; a row.
    emitted: *mut f32,
    /// Three rows that are used in turn, or (for the gradient) two, then one for each position.
    rows: *mut f32,
    /// Floats of a row.
    stride: usize,
}

impl Sample {
    fn states(&self) -> usize {
        2 * self.num_labels + 1
    }

    fn class(&self, state: usize) -> usize {
        // SAFETY: there are `num_labels` labels, which were found to be classes.
        if state % 2 == 1 { unsafe { *self.labels.add(state / 2) as usize } } else { Ctc::BLANK }
    }

    /// The states of row `i`.
    fn row(&self, i: usize) -> *mut f32 {
        self.rows.wrapping_add(i * self.stride + MARGIN)
    }

    /// Positions of the logarithms of probabilities of states.
    unsafe fn emit(&self, t: usize) {
        // SAFETY: the position is one of the sample's.
        unsafe {
            let (row, sum) = (self.logits.add(t * self.classes), *self.log_sums.add(t));
            let blank = *row.add(Ctc::BLANK) - sum;
            *self.emitted = blank;
            for i in 0..self.num_labels {
                *self.emitted.add(2 * i + 1) = *row.add(*self.labels.add(i) as usize) - sum;
                *self.emitted.add(2 * i + 2) = blank;
            }
        }
    }
}

/// `to = e + ln(e^a + e^b + e^(c + skips))` of rows of so many states, whole vectors; `e` may be absent.
#[inline(always)]
unsafe fn step<S: Lanes>([a, b, c, skips, e]: [*const f32; 5], to: *mut f32, width: usize) {
    // SAFETY: rows have so many states, and margins.
    unsafe {
        for s in (0..width).step_by(S::LANES) {
            let (a, b) = (S::load(a.add(s)), S::load(b.add(s)));
            let c = S::add(S::load(c.add(s)), S::load(skips.add(s)));
            let most = S::max(S::max(a, b), c);
            let low = S::splat(NOTHING);
            let (a, b, c) = (S::sub(a, most), S::sub(b, most), S::sub(c, most));
            let (a, b, c) = (S::max(low, a), S::max(low, b), S::max(low, c));
            let sum = S::add(S::add(math::exp::<S>(a), math::exp::<S>(b)), math::exp::<S>(c));
            let ways = S::add(most, math::log::<S>(sum));
            // Sums of "never" would go to minus infinity in the end.
            let ways = S::max(S::splat(NEVER), ways);
            let all = if e.is_null() { ways } else { S::add(ways, S::load(e.add(s))) };
            S::store(to.add(s), all);
        }
    }
}

/// Makes a row relative to its greatest value, which it gives.
#[inline(always)]
unsafe fn rescale<S: Lanes>(row: *mut f32, states: usize) -> f64 {
    // SAFETY: as the caller's.
    unsafe {
        let most = row_max::<S>(row, states);
        let by = S::splat(most);
        row_zip::<S>(row, row, row, states, |a, _| S::sub(a, by));
        f64::from(most)
    }
}

unsafe fn fill(to: *mut f32, len: usize, value: f32) {
    // SAFETY: as the caller's.
    unsafe { std::slice::from_raw_parts_mut(to, len).fill(value) }
}

/// The loss; with its gradient, if that has a place.
#[inline(always)]
unsafe fn sample<S: Lanes>(x: &Sample) -> f32 {
    let states = x.states();
    let width = states.next_multiple_of(S::LANES);
    let is_gradient = !x.dlogits.is_null();
    // SAFETY: by the contract of the kernel below.
    unsafe {
        // States that fill up the last vector are never reached, nor left.
        fill(x.skips, width, NEVER);
        fill(x.emitted, width, NEVER);
        for t in 0..x.time {
            let row = x.logits.add(t * x.classes);
            let most = row_max::<S>(row, x.classes);
            let sum = row_exp_sum::<S>(row, S::splat(most), x.classes);
            *x.log_sums.add(t) = most + log1::<S>(sum);
        }
        for s in 0..states {
            let free = s % 2 == 1 && s >= 2 && x.class(s) != x.class(s - 2);
            *x.skips.add(s) = if free { 0.0 } else { NEVER };
        }
        // Ways up to each state. Rows begin as "never", margins stay so.
        let kept = if is_gradient { x.time } else { 2 };
        fill(x.rows, kept.max(2) * x.stride, NEVER);
        let row_of = |t: usize| x.row(if is_gradient { t } else { t % 2 });
        let mut scale = 0.0;
        for t in 0..x.time {
            x.emit(t);
            let to = row_of(t);
            if t == 0 {
                for s in 0..states.min(2) {
                    *to.add(s) = *x.emitted.add(s);
                }
            } else {
                let from = row_of(t - 1);
                step::<S>([from, from.sub(1), from.sub(2), x.skips, x.emitted], to, width);
            }
            scale += rescale::<S>(to, width);
        }
        let total = match x.time {
            0 => 0.0,
            time => {
                let last = row_of(time - 1).add(states - 1);
                let (a, b) = (*last, *last.sub(1));
                let most = a.max(b);
                scale + f64::from(most + log1::<S>(exp1::<S>(a - most) + exp1::<S>(b - most)))
            }
        };
        if is_gradient {
            gradient::<S>(x);
        }
        -total as f32
    }
}
kernel!(fn sample_on(x: &Sample) -> f32 = sample;);

/// From the last position to the first: ways from each state on, by those of the position after, which are joined with those up to it to
/// the probability of the state.
#[inline(always)]
unsafe fn gradient<S: Lanes>(x: &Sample) {
    let states = x.states();
    let width = states.next_multiple_of(S::LANES);
    // SAFETY: by the contract of the kernel below; the two rows after those of the positions are used in turn.
    unsafe {
        fill(x.row(x.time).sub(MARGIN), 2 * x.stride, NEVER);
        let (mut next, mut own) = (x.row(x.time), x.row(x.time + 1));
        // A state is left for two places on where that place may be reached so.
        for s in 0..states {
            *x.skips.add(s) = if s + 2 < states { *x.skips.add(s + 2) } else { NEVER };
        }
        for t in (0..x.time).rev() {
            if t + 1 == x.time {
                fill(own.add(states.saturating_sub(2)), states.min(2), 0.0);
            } else {
                // Ways from the next position's states, with what that position says.
                x.emit(t + 1);
                for s in (0..width).step_by(S::LANES) {
                    let sum = S::add(S::load(next.add(s)), S::load(x.emitted.add(s)));
                    S::store(next.add(s), sum);
                }
                let none = std::ptr::null();
                step::<S>([next, next.add(1), next.add(2), x.skips, none], own, width);
                rescale::<S>(own, width);
            }
            let (logits, to) = (x.logits.add(t * x.classes), x.dlogits.add(t * x.classes));
            let (sum, by) = (S::splat(*x.log_sums.add(t)), S::splat(x.dloss));
            for c in (0..x.classes).step_by(S::LANES) {
                let n = x.classes - c;
                let p = math::exp::<S>(S::sub(load_n::<S>(logits.add(c), n), sum));
                store_n::<S>(to.add(c), S::mul(by, p), n);
            }
            let p = x.emitted;
            row_zip::<S>(x.row(t), own, p, states, |a, b| S::add(a, b));
            let (most, low) = (S::splat(row_max::<S>(p, states)), S::splat(NOTHING));
            row_zip::<S>(p, p, p, states, |p, _| S::max(low, S::sub(p, most)));
            let sum = row_exp::<S>(p, 0.0, p, states);
            let by = S::splat(x.dloss / sum);
            row_zip::<S>(p, p, p, states, |p, _| S::mul(by, p));
            for s in 0..states {
                *to.add(x.class(s)) -= *x.emitted.add(s);
            }
            (next, own) = (own, next);
        }
    }
}

/// The loss, or its gradient. Arguments: `logits, labels, lengths, label_lengths, loss`, or
/// `logits, labels, lengths, label_lengths, dloss, dlogits`.
pub struct CtcLoss {
    shape: CtcShape,
    chunks: usize,
    sample: unsafe fn(&Sample) -> f32,
    is_gradient: bool,
}

impl CtcLoss {
    /// The loss, or its gradient.
    pub fn new(isa: Isa, shape: CtcShape, is_gradient: bool) -> CtcLoss {
        let passes = if is_gradient { 3.0 } else { 1.0 };
        let ns = passes * shape.time as f64 * (shape.classes + 4 * shape.states()) as f64;
        CtcLoss { shape, chunks: chunks_for(shape.batch, ns), sample: sample_on(isa), is_gradient }
    }

    /// Floats of a row of states with its margins.
    fn stride(&self) -> usize {
        self.shape.states().next_multiple_of(MOST_LANES) + 2 * MARGIN
    }

    fn rows(&self) -> usize {
        if self.is_gradient { self.shape.time + 2 } else { 2 }
    }
}

impl Kernel for CtcLoss {
    fn chunks(&self) -> usize {
        self.chunks
    }

    fn scratch_bytes(&self) -> usize {
        4 * (self.shape.time + (self.rows() + 2) * self.stride())
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let CtcShape { batch, time, classes, labels } = self.shape;
        let (start, end) = chunk_range(batch, self.chunks, 1, chunk);
        for b in start..end {
            // SAFETY: the arguments have the sizes of the shape; lengths are cut to them.
            unsafe {
                let length = |argument: usize, most: usize| {
                    (*args[argument].cast::<i32>().add(b)).clamp(0, most as i32) as usize
                };
                let (own, num_labels) = (length(2, time), length(3, labels));
                let of_labels = args[1].cast::<i32>().cast_const().add(b * labels);
                let given = std::slice::from_raw_parts(of_labels, num_labels);
                let known = |&label: &i32| label > 0 && (label as usize) < classes;
                let to = match self.is_gradient {
                    true => args[5].add(b * time * classes),
                    false => std::ptr::null_mut(),
                };
                let fits = Ctc::positions(given) <= own;
                let values = if given.iter().all(known) { 0.0 } else { f32::NAN };
                if self.is_gradient {
                    let from = if fits && values == 0.0 { own } else { 0 };
                    fill(to.add(from * classes), (time - from) * classes, 0.0);
                    if fits && values != 0.0 {
                        fill(to, own * classes, f32::NAN);
                    }
                }
                let loss = if fits && values == 0.0 {
                    let skips = scratch.add(time);
                    (self.sample)(&Sample {
                        logits: args[0].add(b * time * classes),
                        labels: of_labels,
                        time: own,
                        classes,
                        num_labels,
                        dloss: if self.is_gradient { *args[4].add(b) } else { 0.0 },
                        dlogits: to,
                        log_sums: scratch,
                        skips,
                        emitted: skips.add(self.stride()),
                        rows: skips.add(2 * self.stride()),
                        stride: self.stride(),
                    })
                } else if fits {
                    values
                } else {
                    0.0
                };
                if !self.is_gradient {
                    *args[4].add(b) = loss;
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::testing::Case;
    use tidemill_graph::Ctc;

    fn checked([time, classes, room]: [usize; 3], samples: &[(i32, &[i32])]) {
        let mut case = Case::new();
        let batch = samples.len();
        let logits = case.floats(&[batch, time, classes]);
        let mut labels = vec![-1; batch * room];
        for (row, (_, own)) in labels.chunks_mut(room.max(1)).zip(samples) {
            row[..own.len()].copy_from_slice(own);
        }
        let labels = case.ints(&[batch, room], labels);
        let lengths = case.ints(&[batch], samples.iter().map(|s| s.0).collect());
        let counts = case.ints(&[batch], samples.iter().map(|s| s.1.len() as i32).collect());
        let losses = case.apply(Ctc::Loss, &[logits, labels, lengths, counts]);
        case.check(&format!("{samples:?}"), losses, &[logits]);
    }

    #[test]
    fn against_the_reference() {
        checked([1, 2, 1], &[(1, &[1]), (1, &[]), (0, &[])]);
        // Repeats need blanks; what does not fit has no loss.
        checked(
            [5, 3, 3],
            &[(5, &[1, 1, 2]), (3, &[1, 1]), (2, &[1, 1]), (1, &[1, 2]), (5, &[2, 2, 2])],
        );
        let many: Vec<i32> = (0..40).map(|i| 1 + (i * 7) % 12).collect();
        checked([130, 13, 40], &[(130, &many), (90, &many[..31]), (60, &[])]);
        // All positions are needed.
        checked([40, 30, 40], &[(40, &many), (39, &many)]);
        checked([20, 40, 4], &[(20, &[39, 1, 39, 39]), (7, &[5])]);
    }

    /// A long sequence whose labels fit in one way alone: probabilities far below what floats hold.
    #[test]
    fn long_sequences_stay_finite() {
        let labels: Vec<i32> = (0..500).map(|i| 1 + i % 7).collect();
        checked([500, 8, 500], &[(500, &labels)]);
        checked([900, 8, 500], &[(900, &labels), (900, &labels[..3])]);
    }

    /// A label that is none of the classes is no place in memory.
    #[test]
    fn labels_that_are_not_there_give_nan() {
        use crate::runtime::{Input, Runtime};
        use tidemill_graph::{DType, Graph};
        let mut graph = Graph::new();
        let inputs = [
            graph.input("logits", &[4, 2, 3], DType::F32),
            graph.input("labels", &[4, 1], DType::I32),
            graph.input("lengths", &[4], DType::I32),
            graph.input("label_lengths", &[4], DType::I32),
        ];
        let y = graph.apply(Ctc::Loss, &inputs).unwrap();
        graph.output("y", y);
        for isa in crate::isa::Isa::available() {
            let mut runtime = Runtime::new(isa, 1, &graph);
            let plan = runtime.add(&graph, Default::default()).unwrap();
            let inputs = [
                Input::F32(&[0.0; 24]),
                Input::I32(&[3, -1, 0, 2]),
                // A length beyond the room is the room.
                Input::I32(&[2, 2, 2, 9]),
                Input::I32(&[1, 1, 1, 9]),
            ];
            runtime.run(plan, &inputs).unwrap();
            let y = runtime.output(plan, "y").unwrap();
            assert!(y[..3].iter().all(|y| y.is_nan()), "{isa:?}: {y:?}");
            // Three of nine ways: 2 and 2, 2 and blank, blank and 2.
            assert!((y[3] - 3.0f32.ln()).abs() < 1e-6, "{isa:?}: {y:?}");
        }
    }
}
