//! Sequences of different lengths: `[batch, time, ...]`, with a weight for each step, 0 past the end.

use super::Family;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// What reads sequences with their weights, and its gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// `(x[b, t, ...], weight[b, t]) -> [b, ...]`: `sum(w x) / sum(w)` over the steps; 0 where the
    /// weights sum to 0. What has no weight does not count, not even NaN. No gradient to the weights.
    WeightedMean,
    /// `(weight[b, t], dy[b, ...]) -> dx[b, t, ...]`: `w dy / sum(w)`
    WeightedMeanGrad,
}

/// The shapes of sequences: `[batch, time, units]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sequences {
    /// Samples.
    pub batch: usize,
    /// Steps of a sample, counted or not.
    pub time: usize,
    /// Values of a step.
    pub units: usize,
}

impl Family for Sequence {
    fn name(&self) -> &'static str {
        match self {
            Sequence::WeightedMean => "weighted_mean_of_steps",
            Sequence::WeightedMeanGrad => "weighted_mean_of_steps_grad",
        }
    }

    fn inputs(&self) -> Inputs {
        Inputs::Each(&[Input::FLOAT, Input::FLOAT])
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        match *self {
            Sequence::WeightedMean => {
                let x = dims.of(0);
                dims.check(x.len() >= 2, || {
                    format!("expected sequences of shape [batch, time, ...], found shape {x:?}")
                })?;
                dims.expect(1, "weights", &x[..2])?;
                Ok([&x[..1], &x[2..]].concat())
            }
            Sequence::WeightedMeanGrad => {
                let [batch, time] = dims.rank(0, "weights", "batch, time")?;
                let dy = dims.of(1);
                dims.check(dy.first() == Some(&batch), || {
                    format!("expected dy to have a row for each of {batch} samples, found {dy:?}")
                })?;
                Ok([&[batch, time][..], &dy[1..]].concat())
            }
        }
    }

    /// y = sum(w x) / sum(w): dx = w dy / sum(w). Saves the weights.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        match self {
            Sequence::WeightedMean => {
                back.constant_input(node, 1, "the weight")?;
                if back.needs(node, 0) {
                    let dx = back.apply(Sequence::WeightedMeanGrad, &[node.x[1], node.dy])?;
                    back.give(node, 0, dx)?;
                }
                Ok(())
            }
            Sequence::WeightedMeanGrad => back.no_second_derivative(node),
        }
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let mut out = args.zeros();
        match *self {
            Sequence::WeightedMean => {
                let time = args.dims(0)[1];
                let units = args.y.len() / args.dims(0)[0];
                let samples = args.floats(0).chunks(time * units).zip(out.chunks_mut(units));
                for (weights, (x, y)) in args.floats(1).chunks(time).zip(samples) {
                    for (share, x) in shares(weights).into_iter().zip(x.chunks(units)) {
                        for (y, &x) in y.iter_mut().zip(x).filter(|_| share != T::ZERO) {
                            *y += share * x;
                        }
                    }
                }
            }
            Sequence::WeightedMeanGrad => {
                let [batch, time] = [args.dims(0)[0], args.dims(0)[1]];
                let units = args.floats(1).len() / batch;
                let samples = args.floats(1).chunks(units).zip(out.chunks_mut(time * units));
                for (weights, (dy, dx)) in args.floats(0).chunks(time).zip(samples) {
                    for (share, dx) in shares(weights).into_iter().zip(dx.chunks_mut(units)) {
                        for (dx, &dy) in dx.iter_mut().zip(dy).filter(|_| share != T::ZERO) {
                            *dx = share * dy;
                        }
                    }
                }
            }
        }
        Ok(out.into())
    }
}

/// `w / sum(w)`, 0 where that is 0.
fn shares<T: Real>(weights: &[T]) -> Vec<T> {
    let total: T = weights.iter().copied().sum();
    weights.iter().map(|&w| if total == T::ZERO { T::ZERO } else { w / total }).collect()
}
