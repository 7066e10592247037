//! Sequences of different lengths: `[batch, time, ...]`, of which each sample fills the first steps.

use super::Family;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// What reads sequences with their lengths, and its gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// `(x[b, t, u], length[b] i32) -> [b, u]`: the mean of the first `length` steps; 0 where that
    /// is 0.
    MaskedMean,
    /// `(length[b] i32, dy[b, u]) -> dx[b, t, u]`
    MaskedMeanGrad {
        /// `t`
        time: usize,
    },
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
            Sequence::MaskedMean => "masked_mean",
            Sequence::MaskedMeanGrad { .. } => "masked_mean_grad",
            Sequence::WeightedMean => "weighted_mean_of_steps",
            Sequence::WeightedMeanGrad => "weighted_mean_of_steps_grad",
        }
    }

    fn inputs(&self) -> Inputs {
        const LENGTHS: Input = Input::integer("lengths");
        Inputs::Each(match self {
            Sequence::MaskedMean => &[Input::FLOAT, LENGTHS],
            Sequence::MaskedMeanGrad { .. } => &[LENGTHS, Input::FLOAT],
            Sequence::WeightedMean | Sequence::WeightedMeanGrad => &[Input::FLOAT, Input::FLOAT],
        })
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        match *self {
            Sequence::MaskedMean => {
                let [batch, _, units] = dims.rank(0, "sequences", "batch, time, units")?;
                dims.expect(1, "lengths", &[batch])?;
                Ok(vec![batch, units])
            }
            Sequence::MaskedMeanGrad { time } => {
                let [batch] = dims.rank(0, "lengths", "batch")?;
                let [rows, units] = dims.rank(1, "dy", "batch, units")?;
                dims.check(rows == batch, || {
                    format!("expected dy to have a row for each of {batch} samples, found {rows}")
                })?;
                Ok(vec![batch, time, units])
            }
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

    /// y = sum of the first n steps of x / n: dx = dy / n in those steps, 0 in the others. Saves the
    /// lengths. y = sum(w x) / sum(w): dx = w dy / sum(w). Saves the weights.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        match self {
            Sequence::MaskedMean => {
                let time = back.shape(node.x[0])[1];
                let gradient = Sequence::MaskedMeanGrad { time };
                let dx = back.apply(gradient, &[node.x[1], node.dy])?;
                back.give(node, 0, dx)
            }
            Sequence::WeightedMean => {
                back.constant_input(node, 1, "the weight")?;
                if back.needs(node, 0) {
                    let dx = back.apply(Sequence::WeightedMeanGrad, &[node.x[1], node.dy])?;
                    back.give(node, 0, dx)?;
                }
                Ok(())
            }
            Sequence::MaskedMeanGrad { .. } | Sequence::WeightedMeanGrad => {
                back.no_second_derivative(node)
            }
        }
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let mut out = args.zeros();
        match *self {
            Sequence::MaskedMean => {
                let [time, units] = [args.dims(0)[1], args.dims(0)[2]];
                let samples = args.floats(0).chunks(time * units).zip(out.chunks_mut(units));
                for (steps, (x, y)) in lengths(args.ints(1), time)?.into_iter().zip(samples) {
                    for x in x.chunks(units).take(steps) {
                        for (y, &x) in y.iter_mut().zip(x) {
                            *y += x / T::count(steps);
                        }
                    }
                }
            }
            Sequence::MaskedMeanGrad { time } => {
                let units = args.dims(1)[1];
                let samples = args.floats(1).chunks(units).zip(out.chunks_mut(time * units));
                for (steps, (dy, dx)) in lengths(args.ints(0), time)?.into_iter().zip(samples) {
                    for dx in dx.chunks_mut(units).take(steps) {
                        for (dx, &dy) in dx.iter_mut().zip(dy) {
                            *dx = dy / T::count(steps);
                        }
                    }
                }
            }
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

/// Lengths that sequences of `time` steps can have.
fn lengths(given: &[i32], time: usize) -> Result<Vec<usize>, GraphError> {
    let length = |(sample, &length): (usize, &i32)| {
        usize::try_from(length).ok().filter(|&length| length <= time).ok_or_else(|| {
            GraphError::new(format!("length {length} of sample {sample} is outside 0 to {time}"))
                .help("cut longer sequences to the time that the model was built for")
        })
    };
    given.iter().enumerate().map(length).collect()
}
