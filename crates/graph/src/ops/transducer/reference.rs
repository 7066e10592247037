//! A transducer in plain loops.

use super::super::softmax::log_softmax;
use super::{JointInput, PerPosition, Transducer, TransducerShape};
use crate::reference::{Args, Real};

pub(super) fn within(length: i32, room: usize) -> usize {
    (length.max(0) as usize).min(room)
}

/// The reference of the joint network.
pub(super) struct Naive<'a, T> {
    shape: TransducerShape,
    frames: &'a [T],
    written: &'a [T],
    kernel: &'a [T],
    bias: &'a [T],
    labels: &'a [i32],
    lengths: &'a [i32],
    label_lengths: &'a [i32],
}

impl<'a, T: Real> Naive<'a, T> {
    pub(super) fn new(args: &'a Args<'_, T>) -> Naive<'a, T> {
        Naive {
            shape: TransducerShape::new(args.dims(0), args.dims(1), args.dims(2)),
            frames: args.floats(0),
            written: args.floats(1),
            kernel: args.floats(2),
            bias: args.floats(3),
            labels: args.ints(4),
            lengths: args.ints(5),
            label_lengths: args.ints(6),
        }
    }

    /// The nodes within the lengths: `f(node, row of frames, row of written, next label)`; true where a sample has a wrong label.
    fn each(&self, mut f: impl FnMut(usize, usize, usize, Option<usize>, bool)) {
        let TransducerShape { batch, time, written, classes, .. } = self.shape;
        for b in 0..batch {
            let count = within(self.label_lengths[b], written - 1);
            let labels = &self.labels[b * (written - 1)..][..count];
            let wrong = labels.iter().any(|&label| label <= 0 || label as usize >= classes);
            for t in 0..within(self.lengths[b], time) {
                for u in 0..=count {
                    let label =
                        labels.get(u).map(|&label| label.clamp(0, classes as i32 - 1) as usize);
                    let (row, column) = (b * time + t, b * written + u);
                    f(row * written + u, row, column, label, wrong);
                }
            }
        }
    }

    fn hidden(&self, row: usize, column: usize) -> Vec<T> {
        let units = self.shape.units;
        let frames = &self.frames[row * units..][..units];
        frames.iter().zip(&self.written[column * units..]).map(|(&a, &b)| (a + b).tanh()).collect()
    }

    fn log_p(&self, hidden: &[T]) -> Vec<T> {
        log_softmax(&logits(hidden, self.kernel, self.bias))
    }

    pub(super) fn joint(&self, out: &mut [T]) {
        self.each(|node, row, column, label, wrong| {
            let log_p = self.log_p(&self.hidden(row, column));
            let nan = T::of(f32::NAN);
            out[2 * node] = if wrong { nan } else { log_p[Transducer::BLANK] };
            if let Some(label) = label {
                out[2 * node + 1] = if wrong { nan } else { log_p[label] };
            }
        });
    }

    pub(super) fn gradient(&self, dlog_p: &[T], wanted: JointInput, out: &mut [T]) {
        let TransducerShape { units, classes, .. } = self.shape;
        self.each(|node, row, column, label, wrong| {
            let hidden = self.hidden(row, column);
            let (blank, own) = (dlog_p[2 * node], dlog_p[2 * node + 1]);
            let own = if label.is_some() { own } else { T::ZERO };
            let mut slope: Vec<T> =
                self.log_p(&hidden).iter().map(|&p| T::ZERO - (blank + own) * p.exp()).collect();
            slope[Transducer::BLANK] += blank;
            slope[label.unwrap_or(Transducer::BLANK)] += own;
            if wrong {
                slope.fill(T::of(f32::NAN));
            }
            match wanted {
                JointInput::Bias => out.iter_mut().zip(&slope).for_each(|(out, &d)| *out += d),
                JointInput::Kernel => {
                    for (out, &h) in out.chunks_mut(classes).zip(&hidden) {
                        out.iter_mut().zip(&slope).for_each(|(out, &d)| *out += h * d);
                    }
                }
                JointInput::Frames | JointInput::Written => {
                    let at = if wanted == JointInput::Frames { row } else { column };
                    let out = &mut out[at * units..][..units];
                    for ((out, &h), kernel) in
                        out.iter_mut().zip(&hidden).zip(self.kernel.chunks(classes))
                    {
                        let dh: T = kernel.iter().zip(&slope).map(|(&k, &d)| k * d).sum();
                        *out += dh * (T::ONE - h * h);
                    }
                }
            }
        });
    }
}

fn logits<T: Real>(hidden: &[T], kernel: &[T], bias: &[T]) -> Vec<T> {
    let mut logits = bias.to_vec();
    for (&h, row) in hidden.iter().zip(kernel.chunks(bias.len())) {
        logits.iter_mut().zip(row).for_each(|(logit, &k)| *logit += h * k);
    }
    logits
}

/// The labels before the first position of a sample.
pub(super) fn before<T: Real>(args: &Args<'_, T>, input: usize, b: usize) -> Vec<usize> {
    let count = args.dims(input)[1];
    args.floats(input)[b * count..][..count].iter().map(|label| label.to_f64() as usize).collect()
}

pub(super) fn greatest<T: Real>(row: &[T]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// Puts a label that is not the blank before the others.
pub(super) fn write(before: &mut [usize], label: usize) {
    if label != Transducer::BLANK && !before.is_empty() {
        before.rotate_right(1);
        before[0] = label;
    }
}

pub(super) fn greedy<T: Real>(args: &Args<'_, T>, out: &mut [T]) {
    let ([_, time, units], [_, classes, _]) = (args.dims(0), args.dims(1)) else { return };
    for (b, out) in out.chunks_mut(time * classes).enumerate() {
        let mut before = before(args, 4, b);
        for (t, out) in out.chunks_mut(*classes).enumerate() {
            let frames = &args.floats(0)[(b * time + t) * units..][..*units];
            let value = |i: usize| {
                let tables = before.iter().enumerate();
                let written = tables.map(|(k, &label)| {
                    let label = label.min(classes - 1);
                    args.floats(1)[(k * classes + label) * units + i]
                });
                (frames[i] + written.sum::<T>()).tanh()
            };
            let hidden: Vec<T> = (0..*units).map(value).collect();
            out.copy_from_slice(&logits(&hidden, args.floats(2), args.floats(3)));
            write(&mut before, greatest(out));
        }
    }
}

/// The reference of the loss: logarithms of the probabilities of the ways up to each node, and from it to the end. The nodes beyond the
/// last position are there too, and that with all labels is the end.
pub(super) struct Lattice<T> {
    written: usize,
    sizes: [usize; 2],
    /// How far the node is to which a label leads.
    step: usize,
    before: Vec<T>,
    after: Vec<T>,
    /// The logarithm of the probability of the labels.
    pub(super) total: T,
}

/// The logarithm of nothing; finite, so that differences are.
const NEVER: f32 = -1e30;

impl<T: Real> Lattice<T> {
    /// Of `[positions, labels]` of the room, which has `written` nodes a position.
    pub(super) fn new(
        per_position: PerPosition,
        log_p: &[T],
        written: usize,
        sizes: [usize; 2],
    ) -> Lattice<T> {
        let [length, labels] = sizes;
        let step = match per_position {
            PerPosition::Any => 1,
            PerPosition::One => written + 1,
        };
        let nodes = (length + 1) * written;
        let (mut before, mut after) = (vec![T::of(NEVER); nodes], vec![T::of(NEVER); nodes]);
        before[0] = T::ZERO;
        for t in 0..length {
            for u in 0..=labels {
                let at = t * written + u;
                let blank = before[at] + log_p[2 * at];
                before[at + written] = add_logs(before[at + written], blank);
                if u < labels {
                    let label = before[at] + log_p[2 * at + 1];
                    before[at + step] = add_logs(before[at + step], label);
                }
            }
        }
        after[length * written + labels] = T::ZERO;
        for t in (0..length).rev() {
            for u in (0..=labels).rev() {
                let at = t * written + u;
                after[at] = after[at + written] + log_p[2 * at];
                if u < labels {
                    after[at] = add_logs(after[at], after[at + step] + log_p[2 * at + 1]);
                }
            }
        }
        let total = after[0];
        Lattice { written, sizes, step, before, after, total }
    }

    /// The probability that a way takes a step, times `-dloss`.
    pub(super) fn gradient(&self, log_p: &[T], dloss: T, out: &mut [T]) {
        let [length, labels] = self.sizes;
        for t in 0..length {
            for u in 0..=labels {
                let at = t * self.written + u;
                let share = |log_p: T, to: usize| {
                    T::ZERO - dloss * (self.before[at] + log_p + self.after[to] - self.total).exp()
                };
                out[2 * at] = share(log_p[2 * at], at + self.written);
                if u < labels {
                    out[2 * at + 1] = share(log_p[2 * at + 1], at + self.step);
                }
            }
        }
    }
}

/// `ln(e^a + e^b)`
fn add_logs<T: Real>(a: T, b: T) -> T {
    let most = a.larger(b);
    most + ((a - most).exp() + (b - most).exp()).ln()
}
