//! Normalization over the last dim of each row.

use super::Family;
use super::batch_norm::{moments, normalized_gradient, rsqrt, scale_and_shift_gradient};
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// How a row is normalized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Normalization {
    /// `h = (x - mean(x)) / sqrt(var(x) + eps)` (Ba et al. 2016)
    Layer,
    /// `h = x / sqrt(mean(x^2) + eps)` (Zhang and Sennrich 2019)
    Rms,
}

/// A row norm and its gradients. `epsilon` is added under the root.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RowNorm {
    /// `(x[..., c], gamma[c], beta[c]) -> [..., c]`: `gamma h + beta`; an RMS norm has no beta.
    Forward {
        /// How.
        kind: Normalization,
        /// Added under the root.
        epsilon: f32,
    },
    /// `(x, gamma, dy) -> dx`
    GradInput {
        /// How.
        kind: Normalization,
        /// Added under the root.
        epsilon: f32,
    },
    /// `(x, dy) -> dgamma[c]`
    GradGamma {
        /// How.
        kind: Normalization,
        /// Added under the root.
        epsilon: f32,
    },
}

impl Family for RowNorm {
    fn name(&self) -> &'static str {
        use Normalization::{Layer, Rms};
        match self {
            RowNorm::Forward { kind: Layer, .. } => "layer_norm",
            RowNorm::GradInput { kind: Layer, .. } => "layer_norm_grad_input",
            RowNorm::GradGamma { kind: Layer, .. } => "layer_norm_grad_gamma",
            RowNorm::Forward { kind: Rms, .. } => "rms_norm",
            RowNorm::GradInput { kind: Rms, .. } => "rms_norm_grad_input",
            RowNorm::GradGamma { kind: Rms, .. } => "rms_norm_grad_gamma",
        }
    }

    fn inputs(&self) -> Inputs {
        const THREE: &[Input] = &[Input::FLOAT, Input::FLOAT, Input::FLOAT];
        Inputs::Each(match self {
            RowNorm::Forward { kind: Normalization::Layer, .. } => THREE,
            RowNorm::Forward { kind: Normalization::Rms, .. } => &THREE[..2],
            RowNorm::GradInput { .. } => THREE,
            RowNorm::GradGamma { .. } => &THREE[..2],
        })
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        let c = dims.channels(0)?;
        let x = dims.of(0);
        match *self {
            RowNorm::Forward { kind, epsilon } => {
                dims.check_epsilon(epsilon)?;
                dims.expect(1, "gamma", &[c])?;
                match kind {
                    Normalization::Layer => dims.expect(2, "beta", &[c])?,
                    Normalization::Rms => {}
                }
                Ok(x.to_vec())
            }
            RowNorm::GradInput { epsilon, .. } => {
                dims.check_epsilon(epsilon)?;
                dims.expect(1, "gamma", &[c])?;
                dims.expect(2, "dy", x)?;
                Ok(x.to_vec())
            }
            RowNorm::GradGamma { epsilon, .. } => {
                dims.check_epsilon(epsilon)?;
                dims.same(&["x", "dy"])?;
                Ok(vec![c])
            }
        }
    }

    /// With g = gamma dy, and r the inverse of the root: dx = r (g - mean(g) - h mean(g h)), without
    /// mean(g) where no mean is subtracted; dgamma = sum dy h; dbeta = sum dy. Saves x.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        let (kind, epsilon) = match *self {
            RowNorm::Forward { kind, epsilon } => (kind, epsilon),
            RowNorm::GradInput { .. } | RowNorm::GradGamma { .. } => {
                return back.no_second_derivative(node);
            }
        };
        let [x, gamma] = [node.x[0], node.x[1]];
        if back.needs(node, 0) {
            let dx = back.apply(RowNorm::GradInput { kind, epsilon }, &[x, gamma, node.dy])?;
            back.give(node, 0, dx)?;
        }
        let grad_gamma = RowNorm::GradGamma { kind, epsilon };
        match kind {
            Normalization::Layer => {
                scale_and_shift_gradient(back, node, 1, grad_gamma, &[x, node.dy])
            }
            Normalization::Rms if back.needs(node, 1) => {
                let dgamma = back.apply(grad_gamma, &[x, node.dy])?;
                back.give(node, 1, dgamma)
            }
            Normalization::Rms => Ok(()),
        }
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let c = args.channels();
        let mut out = args.zeros();
        match *self {
            RowNorm::Forward { kind, epsilon } => {
                let gamma = args.floats(1);
                let beta = match kind {
                    Normalization::Layer => args.floats(2).to_vec(),
                    Normalization::Rms => vec![T::ZERO; c],
                };
                for (x, y) in args.rows(0).zip(out.chunks_mut(c)) {
                    let (_, h) = kind.normalized(x, epsilon);
                    for channel in 0..c {
                        y[channel] = gamma[channel] * h[channel] + beta[channel];
                    }
                }
            }
            RowNorm::GradInput { kind, epsilon } => {
                let gamma = args.floats(1);
                for ((x, dy), dx) in args.rows(0).zip(args.rows(2)).zip(out.chunks_mut(c)) {
                    let (r, h) = kind.normalized(x, epsilon);
                    let g: Vec<T> = dy.iter().zip(gamma).map(|(&dy, &gamma)| dy * gamma).collect();
                    let centered = kind == Normalization::Layer;
                    dx.copy_from_slice(&normalized_gradient(r, &h, &g, centered));
                }
            }
            RowNorm::GradGamma { kind, epsilon } => {
                for (x, dy) in args.rows(0).zip(args.rows(1)) {
                    let (_, h) = kind.normalized(x, epsilon);
                    for channel in 0..c {
                        out[channel] += dy[channel] * h[channel];
                    }
                }
            }
        }
        Ok(out.into())
    }
}

impl Normalization {
    /// r and the normalized values of a row.
    fn normalized<T: Real>(self, x: &[T], epsilon: f32) -> (T, Vec<T>) {
        match self {
            Normalization::Layer => {
                let (mean, variance) = moments(x);
                let r = rsqrt(variance, epsilon);
                (r, x.iter().map(|&x| (x - mean) * r).collect())
            }
            Normalization::Rms => {
                let mean_square = x.iter().map(|&x| x * x).sum::<T>() / T::count(x.len());
                let r = rsqrt(mean_square, epsilon);
                (r, x.iter().map(|&x| x * r).collect())
            }
        }
    }
}
