//! Functions of one and two values, and their slopes.

use super::indices::{broadcast_position, each};
use super::{Call, Real};
use crate::op::{Binary, PairLoss, Unary};

impl<T: Real> Call<'_, T> {
    /// The first `N` inputs, broadcast to the output's shape.
    pub(super) fn broadcast<const N: usize>(&self, f: impl Fn([T; N]) -> T) -> Vec<T> {
        let mut y = Vec::with_capacity(self.y.len());
        each(&self.y.shape, |_, index| {
            let value = |i: usize| self.floats(i)[broadcast_position(self.dims(i), index)];
            y.push(f(std::array::from_fn(value)));
        });
        y
    }
}

/// `sqrt(2 / pi)` and the cubic term of the tanh form of GELU.
const GELU_TANH: (f64, f64) = (0.797_884_560_802_865_4, 0.044715);

/// `f(x)`
pub fn unary<T: Real>(op: Unary, x: T) -> T {
    let (zero, one, half) = (T::ZERO, T::ONE, T::of(0.5));
    match op {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sign => x.sign(),
        Unary::Square => x * x,
        Unary::Reciprocal => one / x,
        Unary::Affine { scale, shift } => T::of(scale) * x + T::of(shift),
        // Written so that NaN stays NaN.
        Unary::Relu if x < zero => zero,
        Unary::Relu => x,
        Unary::LeakyRelu { slope } if x < zero => T::of(slope) * x,
        Unary::LeakyRelu { .. } => x,
        Unary::Elu { alpha } if x < zero => T::of(alpha) * x.exp_m1(),
        Unary::Elu { .. } => x,
        Unary::GeluErf => half * x * (one + (x * T::from_f64(0.5_f64.sqrt())).erf()),
        Unary::GeluTanh => half * x * (one + gelu_inner(x).tanh()),
        Unary::Silu => x * x.sigmoid(),
        Unary::Sigmoid => x.sigmoid(),
        Unary::Tanh => x.tanh(),
        Unary::Softplus => x.softplus(),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sqrt => x.sqrt(),
        Unary::Pow { exponent } => x.powf(T::of(exponent)),
        Unary::Clip { low, .. } if x < T::of(low) => T::of(low),
        Unary::Clip { high, .. } if x > T::of(high) => T::of(high),
        Unary::Clip { .. } => x,
    }
}

fn gelu_inner<T: Real>(x: T) -> T {
    let (scale, cubic) = GELU_TANH;
    T::from_f64(scale) * (x + T::from_f64(cubic) * x * x * x)
}

/// `f'(x)`, from x or `y = f(x)` as [`Unary::saves`] says.
pub fn unary_slope<T: Real>(op: Unary, saved: T) -> T {
    let (zero, one, two, half) = (T::ZERO, T::ONE, T::of(2.0), T::of(0.5));
    let step = |inside: bool, outside: T| if inside { one } else { outside };
    match op {
        Unary::Neg => -one,
        Unary::Affine { scale, .. } => T::of(scale),
        Unary::Sign => zero,

        // From y.
        Unary::Reciprocal => -saved * saved,
        Unary::Relu => step(saved > zero, zero),
        Unary::LeakyRelu { slope } => step(saved > zero, T::of(slope)),
        Unary::Elu { alpha } => step(saved > zero, saved + T::of(alpha)),
        Unary::Sigmoid => saved * (one - saved),
        Unary::Tanh => one - saved * saved,
        // sigmoid(x) = 1 - e^-y
        Unary::Softplus => -(-saved).exp_m1(),
        Unary::Exp => saved,
        Unary::Sqrt => half / saved,

        // From x.
        Unary::Abs => saved.sign(),
        Unary::Square => two * saved,
        Unary::GeluErf => {
            let normal = half * (one + (saved * T::from_f64(0.5_f64.sqrt())).erf());
            let density = T::from_f64(GELU_TANH.0) * half * (-half * saved * saved).exp();
            normal + saved * density
        }
        Unary::GeluTanh => {
            let (scale, cubic) = GELU_TANH;
            let t = gelu_inner(saved).tanh();
            let inner_slope = T::from_f64(scale) * (one + T::from_f64(3.0 * cubic) * saved * saved);
            half * (one + t) + half * saved * (one - t * t) * inner_slope
        }
        Unary::Silu => {
            let s = saved.sigmoid();
            s * (one + saved * (one - s))
        }
        Unary::Log => one / saved,
        Unary::Pow { exponent: 0.0 } => zero,
        Unary::Pow { exponent } => T::of(exponent) * saved.powf(T::of(exponent) - one),
        Unary::Clip { low, high } => step(saved >= T::of(low) && saved <= T::of(high), zero),
    }
}

/// `f(a, b)`
pub fn binary<T: Real>(op: Binary, a: T, b: T) -> T {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Max => a.larger(b),
        Binary::Min if b < a => b,
        Binary::Min => a,
        Binary::GreaterEqual if a >= b => T::ONE,
        Binary::GreaterEqual => T::ZERO,
        Binary::Loss(loss) => pair_loss(loss, a, b),
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
