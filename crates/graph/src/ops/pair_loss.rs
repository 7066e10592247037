//! Losses of predictions against targets, element by element.

use super::Family;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape, broadcast};

/// Elementwise losses of prediction (or logit) `x` against target `t`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PairLoss {
    /// `(x - t)^2`
    SquaredError,
    /// `|x - t|`
    AbsoluteError,
    /// Huber (1964): quadratic within `delta`, linear outside.
    Huber {
        /// Where it turns linear.
        delta: f32,
    },
    /// Binary cross-entropy on the logit: `max(x,0) - x t + ln(1 + e^-|x|)`.
    BinaryCrossEntropy {
        /// Targets are pulled to 1/2 by this share.
        label_smoothing: f32,
    },
    /// Focal loss on the logit (Lin et al. 2017): `-alpha_t (1 - p_t)^gamma ln p_t` with
    /// `alpha_t = alpha t + (1-alpha)(1-t)`; `alpha < 0` means no weighting.
    Focal {
        /// Focusing exponent.
        gamma: f32,
        /// Weight of the positive class.
        alpha: f32,
    },
    /// `max(0, 1 - t x)` with targets -1 and 1 (0 is read as -1).
    Hinge,
}

/// `(x, t, dy) -> dx` of a loss, all of one shape after broadcasting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairLossGrad(pub PairLoss);

impl PairLoss {
    /// Name for messages and recipes.
    pub fn name(self) -> &'static str {
        use PairLoss::*;
        match self {
            SquaredError => "mean_squared_error",
            AbsoluteError => "mean_absolute_error",
            Huber { .. } => "huber",
            BinaryCrossEntropy { .. } => "binary_crossentropy",
            Focal { .. } => "focal",
            Hinge => "hinge",
        }
    }

    /// That of predictions `x` and targets `t`, with usable settings.
    pub(super) fn shape(self, dims: &Dims<'_>, x: &[usize], t: &[usize]) -> Shape {
        match self {
            PairLoss::BinaryCrossEntropy { label_smoothing } => {
                dims.check_smoothing(label_smoothing)?;
            }
            PairLoss::Huber { delta } => {
                dims.check(delta > 0.0, || format!("delta must be above 0, found {delta}"))?
            }
            PairLoss::Focal { gamma, .. } => {
                dims.check(gamma >= 0.0, || format!("gamma must be at least 0, found {gamma}"))?
            }
            PairLoss::SquaredError | PairLoss::AbsoluteError | PairLoss::Hinge => {}
        }
        together(dims, x, t)
    }
}

fn together(dims: &Dims<'_>, a: &[usize], b: &[usize]) -> Shape {
    broadcast(a, b).ok_or_else(|| {
        dims.cannot_broadcast(a, b).help("the predictions and the targets must have one shape")
    })
}

impl Family for PairLossGrad {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn inputs(&self) -> Inputs {
        Inputs::Each(&[Input::FLOAT, Input::FLOAT, Input::FLOAT])
    }

    /// dy has at most the shape of x and t together.
    fn shape(&self, dims: &Dims<'_>) -> Shape {
        let both = self.0.shape(dims, dims.of(0), dims.of(1))?;
        together(dims, &both, dims.of(2))
    }

    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        back.no_second_derivative(node)
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        Ok(args.broadcast(|[x, t, dy]| dy * pair_loss_slope(self.0, x, t)).into())
    }
}

/// Loss of prediction or logit `x` against target `t`.
pub fn pair_loss<T: Real>(loss: PairLoss, x: T, t: T) -> T {
    let (zero, one, half) = (T::ZERO, T::ONE, T::of(0.5));
    let d = x - t;
    match loss {
        PairLoss::SquaredError => d * d,
        PairLoss::AbsoluteError => d.abs(),
        PairLoss::Huber { delta } if d.abs() <= T::of(delta) => half * d * d,
        PairLoss::Huber { delta } => T::of(delta) * (d.abs() - half * T::of(delta)),
        PairLoss::BinaryCrossEntropy { label_smoothing } => {
            logistic(x, smoothed(t, label_smoothing))
        }
        PairLoss::Focal { gamma, alpha } => {
            balance(t, alpha) * mistake(x, t).powf(T::of(gamma)) * logistic(x, t)
        }
        PairLoss::Hinge => (one - sign_target(t) * x).larger(zero),
    }
}

/// Slope of [`pair_loss`] in x.
pub fn pair_loss_slope<T: Real>(loss: PairLoss, x: T, t: T) -> T {
    let (zero, one, two) = (T::ZERO, T::ONE, T::of(2.0));
    let d = x - t;
    match loss {
        PairLoss::SquaredError => two * d,
        PairLoss::AbsoluteError => d.sign(),
        PairLoss::Huber { delta } if d.abs() <= T::of(delta) => d,
        PairLoss::Huber { delta } => T::of(delta) * d.sign(),
        PairLoss::BinaryCrossEntropy { label_smoothing } => {
            x.sigmoid() - smoothed(t, label_smoothing)
        }
        // With m the mistake and l the logistic loss: (m^gamma l)' = gamma m^(gamma-1) m' l +
        // m^gamma l', where m' = -p (1 - p) (2 t - 1) and l' = p - t.
        PairLoss::Focal { gamma, alpha } => {
            let (gamma, m) = (T::of(gamma), mistake(x, t));
            let slope_m = x.sigmoid() * (-x).sigmoid() * (one - two * t);
            let focus = if m > zero && gamma > zero {
                gamma * m.powf(gamma - one) * slope_m * logistic(x, t)
            } else {
                zero
            };
            balance(t, alpha) * (focus + m.powf(gamma) * (x.sigmoid() - t))
        }
        PairLoss::Hinge => {
            let t = sign_target(t);
            if one - t * x > zero { -t } else { zero }
        }
    }
}

/// Binary cross-entropy on the logit.
fn logistic<T: Real>(x: T, t: T) -> T {
    x.larger(T::ZERO) - x * t + (-x.abs()).exp().ln_1p()
}

fn smoothed<T: Real>(t: T, smoothing: f32) -> T {
    t * (T::ONE - T::of(smoothing)) + T::of(0.5) * T::of(smoothing)
}

/// `1 - p_t`: the probability given to the wrong class.
fn mistake<T: Real>(x: T, t: T) -> T {
    x.sigmoid() * (T::ONE - t) + (-x).sigmoid() * t
}

fn balance<T: Real>(t: T, alpha: f32) -> T {
    if alpha < 0.0 {
        return T::ONE;
    }
    T::of(alpha) * t + (T::ONE - T::of(alpha)) * (T::ONE - t)
}

/// Class 0 is read as -1.
fn sign_target<T: Real>(t: T) -> T {
    if t == T::ZERO { -T::ONE } else { t }
}
