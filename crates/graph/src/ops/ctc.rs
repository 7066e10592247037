//! Connectionist temporal classification (Graves et al. 2006): the labels of a sequence without their places in time.

use super::Family;
use super::softmax::log_softmax;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// The loss of all ways to write a sample's labels into its positions, and its gradient. A way repeats labels and puts blanks, which
/// are class [`Ctc::BLANK`], between them; equal neighbours need a blank between them.
///
/// Both read `(logits[b, t, c], labels i32[b, l], lengths i32[b], label_lengths i32[b])`, the gradient then `dloss[b]`. Positions
/// beyond a sample's length are not read, and their gradient is 0. A sample whose labels do not fit into its positions has a loss and
/// a gradient of 0, as PyTorch's with `zero_infinity`. A label that is no class, or that is the blank, gives NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ctc {
    /// `-> loss[b]`: `-ln p`
    Loss,
    /// `(..., dloss) -> dlogits`
    LossGrad,
}

/// The sizes of a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtcShape {
    /// Samples.
    pub batch: usize,
    /// Room for positions.
    pub time: usize,
    /// Classes, with the blank.
    pub classes: usize,
    /// Room for labels.
    pub labels: usize,
}

impl CtcShape {
    /// From the dims of logits and labels.
    pub fn new(logits: &[usize], labels: &[usize]) -> CtcShape {
        CtcShape { batch: logits[0], time: logits[1], classes: logits[2], labels: labels[1] }
    }

    /// States of the longest labels: each of them, and a blank before and after each.
    pub fn states(&self) -> usize {
        2 * self.labels + 1
    }
}

impl Ctc {
    /// The class that stands for no label.
    pub const BLANK: usize = 0;

    /// The least number of positions that labels need: one for each, and one for the blank between equal neighbours.
    pub fn positions(labels: &[i32]) -> usize {
        labels.len() + labels.windows(2).filter(|pair| pair[0] == pair[1]).count()
    }
}

impl Family for Ctc {
    fn name(&self) -> &'static str {
        match self {
            Ctc::Loss => "ctc",
            Ctc::LossGrad => "ctc_grad",
        }
    }

    fn inputs(&self) -> Inputs {
        const F: Input = Input::FLOAT;
        const LABELS: Input = Input::integer("labels");
        const LENGTHS: Input = Input::integer("lengths");
        const LABEL_LENGTHS: Input = Input::integer("lengths of labels");
        const GRADIENT: &[Input] = &[F, LABELS, LENGTHS, LABEL_LENGTHS, F];
        Inputs::Each(match self {
            Ctc::Loss => &GRADIENT[..4],
            Ctc::LossGrad => GRADIENT,
        })
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        let [batch, _, classes] = dims.rank(0, "logits", "batch, time, classes")?;
        dims.check(classes >= 2, || {
            format!("{classes} class leaves none beside the blank; there is one for each label, and the blank")
        })?;
        let [of_labels, _] = dims.rank(1, "labels", "batch, labels")?;
        dims.check(of_labels == batch, || {
            format!("logits are of {batch} samples, labels of {of_labels}")
        })?;
        dims.expect(2, "lengths", &[batch])?;
        dims.expect(3, "lengths of labels", &[batch])?;
        match self {
            Ctc::Loss => Ok(vec![batch]),
            Ctc::LossGrad => {
                dims.expect(4, "the gradient of the loss", &[batch])?;
                Ok(dims.of(0).to_vec())
            }
        }
    }

    /// The probability that a position has a state is that of the ways through it: `dlogits = dloss (softmax - sum over the states of a
    /// class)`. Saves logits and labels.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        if let Ctc::LossGrad = self {
            return back.no_second_derivative(node);
        }
        if back.needs(node, 0) {
            let inputs = [&node.x[..], &[node.dy]].concat();
            let dx = back.apply(Ctc::LossGrad, &inputs)?;
            back.give(node, 0, dx)?;
        }
        Ok(())
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let shape = CtcShape::new(args.dims(0), args.dims(1));
        let within = |length: i32, room: usize| (length.max(0) as usize).min(room);
        let mut out = args.zeros();
        for b in 0..shape.batch {
            let length = within(args.ints(2)[b], shape.time);
            let count = within(args.ints(3)[b], shape.labels);
            let labels = &args.ints(1)[b * shape.labels..][..count];
            let of_sample = shape.time * shape.classes;
            let logits = &args.floats(0)[b * of_sample..][..length * shape.classes];
            let lattice = Lattice::new(logits, shape.classes, labels);
            match self {
                Ctc::Loss => out[b] = lattice.map_or(T::ZERO, |lattice| lattice.loss()),
                Ctc::LossGrad => {
                    let Some(lattice) = lattice else { continue };
                    let to = &mut out[b * of_sample..][..length * shape.classes];
                    lattice.gradient(args.floats(4)[b], to);
                }
            }
        }
        Ok(out.into())
    }
}

/// The reference: logarithms of probabilities of the ways up to (`before`) and from (`after`) each state of each position.
struct Lattice<T> {
    classes: usize,
    /// The class of each state.
    states: Vec<usize>,
    log_p: Vec<T>,
    before: Vec<T>,
    after: Vec<T>,
    total: T,
}

/// The logarithm of nothing; finite, so that differences are.
const NEVER: f32 = -1e30;

impl<T: Real> Lattice<T> {
    /// Nothing where the labels do not fit.
    fn new(logits: &[T], classes: usize, labels: &[i32]) -> Option<Lattice<T>> {
        let time = logits.len() / classes;
        if Ctc::positions(labels) > time {
            return None;
        }
        let wrong = labels.iter().any(|&label| label <= 0 || label as usize >= classes);
        let mut states = vec![Ctc::BLANK];
        for &label in labels {
            states.extend([label.clamp(0, classes as i32 - 1) as usize, Ctc::BLANK]);
        }
        let count = states.len();
        let log_p: Vec<T> = logits.chunks(classes).flat_map(|row| log_softmax(row)).collect();
        let never = T::of(NEVER);
        let skips = |s: usize| s >= 2 && states[s] != Ctc::BLANK && states[s] != states[s - 2];
        let at = |t: usize, s: usize| log_p[t * classes + states[s]];
        let mut before = vec![never; time * count];
        let mut after = vec![never; time * count];
        for t in 0..time {
            for s in 0..count {
                let from = |step: usize| match (t, s >= step) {
                    (0, _) | (_, false) => never,
                    (_, true) => before[(t - 1) * count + s - step],
                };
                let ways = match (t, s) {
                    (0, 0 | 1) => T::ZERO,
                    _ => sum_logs(&[from(0), from(1), if skips(s) { from(2) } else { never }]),
                };
                before[t * count + s] = ways + at(t, s);
            }
        }
        for t in (0..time).rev() {
            for s in 0..count {
                let to = |step: usize| match t + 1 < time && s + step < count {
                    true => after[(t + 1) * count + s + step] + at(t + 1, s + step),
                    false => never,
                };
                let skip = s + 2 < count && skips(s + 2);
                after[t * count + s] = match t + 1 == time {
                    true if s + 2 >= count => T::ZERO,
                    true => never,
                    false => sum_logs(&[to(0), to(1), if skip { to(2) } else { never }]),
                };
            }
        }
        let total = match before.len().checked_sub(count) {
            Some(last) => sum_logs(&before[last + count.saturating_sub(2)..]),
            None => T::ZERO,
        };
        let total = if wrong { T::of(f32::NAN) } else { total };
        Some(Lattice { classes, states, log_p, before, after, total })
    }

    fn loss(&self) -> T {
        -self.total
    }

    fn gradient(&self, dloss: T, out: &mut [T]) {
        let (classes, count) = (self.classes, self.states.len());
        for (i, out) in out.iter_mut().enumerate() {
            *out = dloss * self.log_p[i].exp();
        }
        for (i, (&before, &after)) in self.before.iter().zip(&self.after).enumerate() {
            let (t, s) = (i / count, i % count);
            let p = (before + after - self.total).exp();
            out[t * classes + self.states[s]] += -(dloss * p);
        }
    }
}

/// `ln(sum e^x)`
fn sum_logs<T: Real>(logs: &[T]) -> T {
    let most = logs.iter().fold(T::of(NEVER), |most, &x| most.larger(x));
    most + logs.iter().map(|&x| (x - most).exp()).sum::<T>().ln()
}
