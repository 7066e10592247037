//! Normalization over the batch (Ioffe and Szegedy 2015): each channel, the last dim, over all others.

use super::{Binary, Family, Layout, Unary};
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::graph::TensorId;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// Batch norm, its moments and its gradients. `epsilon` is added to the variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BatchNorm {
    /// `(x[..., c]) -> [2, c]`: mean and biased variance over all dims but the last. Its gradient
    /// is part of [`BatchNorm::Train`]'s; it has none of its own.
    Moments,
    /// `(x[..., c], moments[2, c], gamma[c], beta[c]) -> [..., c]` with the batch's own moments.
    Train {
        /// Added to the variance.
        epsilon: f32,
    },
    /// `(x, moments, gamma, dy) -> dx`, through the moments too.
    TrainGradInput {
        /// Added to the variance.
        epsilon: f32,
    },
    /// `(x, moments, dy) -> dgamma[c]`
    GradGamma {
        /// Added to the variance.
        epsilon: f32,
    },
    /// As `Train`, but the moments are constants (running statistics).
    Eval {
        /// Added to the variance.
        epsilon: f32,
    },
    /// `(running[2,c], moments[2,c]) -> [2,c]`: `(1 - momentum) running + momentum moments`, the
    /// variance first made unbiased by `count / (count - 1)`.
    UpdateMoments {
        /// Share of the new moments (PyTorch's momentum, 1 - Keras's).
        momentum: f32,
        /// Number of values that each moment is over; 0 or 1 leaves the variance biased (Keras).
        count: usize,
    },
}

impl Family for BatchNorm {
    fn name(&self) -> &'static str {
        match self {
            BatchNorm::Moments => "channel_moments",
            BatchNorm::Train { .. } => "batch_norm",
            BatchNorm::TrainGradInput { .. } => "batch_norm_grad_input",
            BatchNorm::GradGamma { .. } => "batch_norm_grad_gamma",
            BatchNorm::Eval { .. } => "batch_norm_eval",
            BatchNorm::UpdateMoments { .. } => "update_moments",
        }
    }

    fn inputs(&self) -> Inputs {
        const FOUR: [Input; 4] = [Input::FLOAT, Input::FLOAT, Input::FLOAT, Input::FLOAT];
        Inputs::Each(match self {
            BatchNorm::Moments => &[Input::FLOAT],
            BatchNorm::UpdateMoments { .. } => &[Input::FLOAT, Input::FLOAT],
            BatchNorm::GradGamma { .. } => &[Input::FLOAT, Input::FLOAT, Input::FLOAT],
            BatchNorm::Train { .. } | BatchNorm::TrainGradInput { .. } | BatchNorm::Eval { .. } => {
                &FOUR
            }
        })
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        let c = dims.channels(0)?;
        let x = dims.of(0);
        match *self {
            BatchNorm::Moments => Ok(vec![2, c]),
            BatchNorm::Train { epsilon } | BatchNorm::Eval { epsilon } => {
                dims.check_epsilon(epsilon)?;
                dims.expect(1, "moments", &[2, c])?;
                dims.expect(2, "gamma", &[c])?;
                dims.expect(3, "beta", &[c])?;
                Ok(x.to_vec())
            }
            BatchNorm::TrainGradInput { epsilon } => {
                dims.check_epsilon(epsilon)?;
                dims.expect(1, "moments", &[2, c])?;
                dims.expect(2, "gamma", &[c])?;
                dims.expect(3, "dy", x)?;
                Ok(x.to_vec())
            }
            BatchNorm::GradGamma { epsilon } => {
                dims.check_epsilon(epsilon)?;
                dims.expect(1, "moments", &[2, c])?;
                dims.expect(2, "dy", x)?;
                Ok(vec![c])
            }
            BatchNorm::UpdateMoments { momentum, .. } => {
                dims.check((0.0..=1.0).contains(&momentum), || {
                    format!("momentum must be from 0 to 1, found {momentum}")
                })?;
                dims.expect(0, "running moments", &[2, c])?;
                dims.expect(1, "moments", &[2, c])?;
                Ok(vec![2, c])
            }
        }
    }

    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        match *self {
            BatchNorm::Train { epsilon } => train_gradient(back, node, epsilon),
            BatchNorm::Eval { epsilon } => eval_gradient(back, node, epsilon),
            BatchNorm::Moments | BatchNorm::UpdateMoments { .. } => Err(back.no_gradient(
                node,
                "moments are used by batch_norm alone; stop_gradient cuts any other use",
            )),
            BatchNorm::TrainGradInput { .. } | BatchNorm::GradGamma { .. } => {
                back.no_second_derivative(node)
            }
        }
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let c = args.channels();
        let mut out = args.zeros();
        match *self {
            BatchNorm::Moments => {
                for channel in 0..c {
                    (out[channel], out[c + channel]) = moments(&column(args, 0, channel));
                }
            }
            BatchNorm::Train { epsilon } | BatchNorm::Eval { epsilon } => {
                let (gamma, beta) = (args.floats(2), args.floats(3));
                for (channel, (&gamma, &beta)) in gamma.iter().zip(beta).enumerate() {
                    let (_, h) = normalized_column(args, channel, epsilon);
                    let values = h.iter().map(|&h| gamma * h + beta).collect();
                    put_column(&mut out, c, channel, values);
                }
            }
            BatchNorm::TrainGradInput { epsilon } => {
                for (channel, &gamma) in args.floats(2).iter().enumerate() {
                    let (r, h) = normalized_column(args, channel, epsilon);
                    let g: Vec<T> = column(args, 3, channel).iter().map(|&dy| gamma * dy).collect();
                    put_column(&mut out, c, channel, normalized_gradient(r, &h, &g, true));
                }
            }
            BatchNorm::GradGamma { epsilon } => {
                for (channel, sum) in out.iter_mut().enumerate() {
                    let (_, h) = normalized_column(args, channel, epsilon);
                    *sum = column(args, 2, channel).iter().zip(&h).map(|(&dy, &h)| dy * h).sum();
                }
            }
            // A count below 2 leaves the variance biased.
            BatchNorm::UpdateMoments { momentum, count } => {
                let share = T::of(momentum);
                let unbiased =
                    if count < 2 { T::ONE } else { T::count(count) / T::count(count - 1) };
                let pairs = args.floats(0).iter().zip(args.floats(1)).enumerate();
                for (index, (&running, &new)) in pairs {
                    let new = if index < c { new } else { new * unbiased };
                    out[index] = (T::ONE - share) * running + share * new;
                }
            }
        }
        Ok(out.into())
    }
}

/// y = gamma h + beta with h = (x - mean) r, r = 1 / sqrt(var + eps), over the batch.
/// dx = gamma r (dy - mean(dy) - h mean(dy h)), which covers the path through the moments, so
/// the moments' input gets none; dgamma = sum dy h; dbeta = sum dy. Saves x and the moments.
fn train_gradient(back: &mut Backward<'_>, node: &Node, epsilon: f32) -> Done {
    let [x, moments, gamma] = [node.x[0], node.x[1], node.x[2]];
    if back.needs(node, 0) {
        let source = back.graph.tensor(moments);
        if source.op != BatchNorm::Moments.into() || source.inputs != [x] {
            let error = format!(
                "batch_norm: its gradient needs the moments of its own input, found {}",
                source.name
            );
            return Err(GraphError::new(error)
                .help("use channel_moments of x, or batch_norm_eval for constant moments"));
        }
        let op = BatchNorm::TrainGradInput { epsilon };
        let dx = back.apply(op, &[x, moments, gamma, node.dy])?;
        back.give(node, 0, dx)?;
    }
    parameters_gradient(back, node, epsilon)
}

/// y = gamma h + beta with constant moments: dx = dy gamma r; dgamma = sum dy h; dbeta = sum dy.
/// Saves x (for dgamma alone) and the moments.
fn eval_gradient(back: &mut Backward<'_>, node: &Node, epsilon: f32) -> Done {
    let [moments, gamma] = [node.x[1], node.x[2]];
    back.constant_input(node, 1, "the running moments")?;
    if back.needs(node, 0) {
        let c = back.shape(gamma)[0];
        let variance = Layout::Slice { start: vec![1, 0], size: vec![1, c] };
        let variance = back.apply(variance, &[moments])?;
        let variance = back.reshaped(variance, &[c])?;
        let shifted = back.affine(variance, 1.0, epsilon)?;
        let r = back.apply(Unary::Pow { exponent: -0.5 }, &[shifted])?;
        let factor = back.apply(Binary::Mul, &[gamma, r])?;
        let dx = back.apply(Binary::Mul, &[node.dy, factor])?;
        back.give(node, 0, dx)?;
    }
    parameters_gradient(back, node, epsilon)
}

fn parameters_gradient(back: &mut Backward<'_>, node: &Node, epsilon: f32) -> Done {
    let inputs = [node.x[0], node.x[1], node.dy];
    scale_and_shift_gradient(back, node, 2, BatchNorm::GradGamma { epsilon }, &inputs)
}

/// Gradients of gamma, input `index`, and of beta, the next one.
pub(super) fn scale_and_shift_gradient(
    back: &mut Backward<'_>,
    node: &Node,
    index: usize,
    op: impl Into<super::Op>,
    inputs: &[TensorId],
) -> Done {
    if back.needs(node, index) {
        let dgamma = back.apply(op, inputs)?;
        back.give(node, index, dgamma)?;
    }
    if back.needs(node, index + 1) {
        let leading = back.shape(node.dy).len() - 1;
        let dbeta = back.sum(node.dy, (0..leading).collect())?;
        back.give(node, index + 1, dbeta)?;
    }
    Ok(())
}

/// Mean and biased variance.
pub(super) fn moments<T: Real>(values: &[T]) -> (T, T) {
    let n = T::count(values.len());
    let mean = values.iter().copied().sum::<T>() / n;
    let variance = values.iter().map(|&x| (x - mean) * (x - mean)).sum::<T>() / n;
    (mean, variance)
}

pub(super) fn rsqrt<T: Real>(variance: T, epsilon: f32) -> T {
    T::ONE / (variance + T::of(epsilon)).sqrt()
}

/// `dx = r (g - [mean(g)] - h mean(g h))` for one set of normalized values; the mean term is there
/// where the forward op subtracted the mean.
pub(super) fn normalized_gradient<T: Real>(r: T, h: &[T], g: &[T], centered: bool) -> Vec<T> {
    let n = T::count(h.len());
    let mean_g = if centered { g.iter().copied().sum::<T>() / n } else { T::ZERO };
    let mean_gh = g.iter().zip(h).map(|(&g, &h)| g * h).sum::<T>() / n;
    g.iter().zip(h).map(|(&g, &h)| r * (g - mean_g - h * mean_gh)).collect()
}

fn column<T: Real>(args: &Args<'_, T>, input: usize, channel: usize) -> Vec<T> {
    args.floats(input).iter().skip(channel).step_by(args.channels()).copied().collect()
}

fn put_column<T>(y: &mut [T], channels: usize, channel: usize, values: Vec<T>) {
    for (row, value) in values.into_iter().enumerate() {
        y[row * channels + channel] = value;
    }
}

/// r and the normalized values of a channel, with the moments of input 1.
fn normalized_column<T: Real>(args: &Args<'_, T>, channel: usize, epsilon: f32) -> (T, Vec<T>) {
    let moments = args.floats(1);
    let r = rsqrt(moments[args.channels() + channel], epsilon);
    (r, column(args, 0, channel).iter().map(|&x| (x - moments[channel]) * r).collect())
}
