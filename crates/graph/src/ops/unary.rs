//! Functions of one value, element by element.

use super::Family;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// A function of one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `-x`
    Neg,
    /// `|x|`
    Abs,
    /// `-1, 0, 1`; gradient 0
    Sign,
    /// `x^2`
    Square,
    /// `1 / x`
    Reciprocal,
    /// `scale * x + shift`
    Affine {
        /// Factor.
        scale: f32,
        /// Summand.
        shift: f32,
    },
    /// `max(x, 0)`
    Relu,
    /// `x > 0 ? x : slope * x`
    LeakyRelu {
        /// Slope of the negative side.
        slope: f32,
    },
    /// `x > 0 ? x : alpha * (e^x - 1)`
    Elu {
        /// Scale of the negative side.
        alpha: f32,
    },
    /// `x/2 (1 + erf(x / sqrt 2))` (Hendrycks and Gimpel 2016)
    GeluErf,
    /// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`
    GeluTanh,
    /// `x sigmoid(x)`
    Silu,
    /// `x min(max(x / 6 + 1/2, 0), 1)` (Howard et al. 2019)
    HardSwish,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `ln(1 + e^x)`
    Softplus,
    /// `e^x`
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// `x^exponent`
    Pow {
        /// The exponent.
        exponent: f32,
    },
    /// `min(max(x, low), high)`; gradient 0 outside
    Clip {
        /// Lower bound.
        low: f32,
        /// Upper bound.
        high: f32,
    },
}

/// `(saved, dy) -> dx` of a unary op; `saved` is the input or the output as [`Unary::saves`] says (dy
/// again where it saves nothing).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnaryGrad(pub Unary);

/// What a unary op's gradient reads beside the upstream gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saves {
    /// Nothing.
    Nothing,
    /// Its input.
    Input,
    /// Its output, which lets the op run in place.
    Output,
}

impl Unary {
    /// Name for messages and recipes.
    pub fn name(self) -> &'static str {
        use Unary::*;
        match self {
            Neg => "neg",
            Abs => "abs",
            Sign => "sign",
            Square => "square",
            Reciprocal => "reciprocal",
            Affine { .. } => "affine",
            Relu => "relu",
            LeakyRelu { .. } => "leaky_relu",
            Elu { .. } => "elu",
            GeluErf => "gelu",
            GeluTanh => "gelu_tanh",
            Silu => "silu",
            HardSwish => "hard_swish",
            Sigmoid => "sigmoid",
            Tanh => "tanh",
            Softplus => "softplus",
            Exp => "exp",
            Log => "log",
            Sqrt => "sqrt",
            Pow { .. } => "pow",
            Clip { .. } => "clip",
        }
    }

    /// What [`UnaryGrad`] reads.
    pub fn saves(self) -> Saves {
        use Unary::*;
        match self {
            Neg | Affine { .. } | Sign => Saves::Nothing,
            Relu | LeakyRelu { .. } | Elu { .. } | Sigmoid | Tanh | Exp | Sqrt | Reciprocal => {
                Saves::Output
            }
            Softplus => Saves::Output,
            Abs | Square | GeluErf | GeluTanh | Silu | HardSwish | Log => Saves::Input,
            Pow { .. } | Clip { .. } => Saves::Input,
        }
    }
}

impl Family for Unary {
    fn name(&self) -> &'static str {
        Unary::name(*self)
    }

    fn inputs(&self) -> Inputs {
        Inputs::Each(&[Input::FLOAT])
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        // Both save their output, whose sign must tell the input's.
        if let Unary::LeakyRelu { slope: factor } | Unary::Elu { alpha: factor } = *self {
            dims.check(factor >= 0.0, || {
                format!("the negative side's factor must be at least 0, found {factor}")
            })?;
        }
        if let Unary::Clip { low, high } = *self {
            dims.check(low <= high, || {
                format!("low must not be above high, found {low} and {high}")
            })?;
        }
        Ok(dims.of(0).to_vec())
    }

    /// y = f(x): dx = dy f'(x), with f' from x or from y as `Unary::saves` says.
    /// Linear ones save nothing: dx = dy times the slope.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        let dx = match (*self, self.saves()) {
            (Unary::Sign, _) => return Ok(()),
            (Unary::Affine { scale: 1.0, .. }, _) => node.dy,
            (Unary::Affine { scale, .. }, _) => back.affine(node.dy, scale, 0.0)?,
            (Unary::Neg, _) => back.apply(Unary::Neg, &[node.dy])?,
            (_, Saves::Input) => back.apply(UnaryGrad(*self), &[node.x[0], node.dy])?,
            (_, Saves::Output) => back.apply(UnaryGrad(*self), &[node.y, node.dy])?,
            (_, Saves::Nothing) => back.apply(UnaryGrad(*self), &[node.dy, node.dy])?,
        };
        back.give(node, 0, dx)
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let y: Vec<T> = args.floats(0).iter().map(|&x| unary(*self, x)).collect();
        Ok(y.into())
    }
}

impl Family for UnaryGrad {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn inputs(&self) -> Inputs {
        Inputs::Each(&[Input::FLOAT, Input::FLOAT])
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        dims.same(&["the saved value", "dy"])
    }

    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        back.no_second_derivative(node)
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        Ok(args.zipped(|saved, dy| dy * unary_slope(self.0, saved)).into())
    }
}

/// `sqrt(2 / pi)` and the cubic term of the tanh form of GELU.
const GELU_TANH: (f64, f64) = (0.797_884_560_802_865_4, 0.044715);

/// The share of x that a hard swish lets through, of `x / 6 + 1/2`.
const HARD_SHARE: Unary = Unary::Clip { low: 0.0, high: 1.0 };

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
        Unary::HardSwish => x * unary(HARD_SHARE, x / T::of(6.0) + half),
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
        Unary::HardSwish => {
            let line = saved / T::of(6.0) + half;
            let bend = unary_slope(HARD_SHARE, line) / T::of(6.0);
            unary(HARD_SHARE, line) + saved * bend
        }
        Unary::Log => one / saved,
        Unary::Pow { exponent: 0.0 } => zero,
        Unary::Pow { exponent } => T::of(exponent) * saved.powf(T::of(exponent) - one),
        Unary::Clip { low, high } => step(saved >= T::of(low) && saved <= T::of(high), zero),
    }
}
