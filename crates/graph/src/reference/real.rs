//! Numbers that the interpreter computes with.

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// f32 or f64.
pub trait Real:
    Copy
    + Debug
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + Sum
    + 'static
{
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// Nearest value.
    fn from_f64(value: f64) -> Self;
    /// As f64, exactly.
    fn to_f64(self) -> f64;
    /// `e^x`
    fn exp(self) -> Self;
    /// `e^x - 1`
    fn exp_m1(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// `ln(1 + x)`
    fn ln_1p(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// `x^exponent`
    fn powf(self, exponent: Self) -> Self;

    /// An attribute of an op.
    fn of(value: f32) -> Self {
        Self::from_f64(f64::from(value))
    }

    /// A count.
    fn count(value: usize) -> Self {
        Self::from_f64(value as f64)
    }

    /// `|x|`
    fn abs(self) -> Self {
        if self < Self::ZERO { -self } else { self }
    }

    /// The larger one; `self` on ties.
    fn larger(self, other: Self) -> Self {
        if other > self { other } else { self }
    }

    /// -1, 0 or 1.
    fn sign(self) -> Self {
        if self > Self::ZERO {
            Self::ONE
        } else if self < Self::ZERO {
            -Self::ONE
        } else {
            Self::ZERO
        }
    }

    /// `1 / (1 + e^-x)`, without overflow.
    fn sigmoid(self) -> Self {
        if self >= Self::ZERO {
            Self::ONE / (Self::ONE + (-self).exp())
        } else {
            let e = self.exp();
            e / (Self::ONE + e)
        }
    }

    /// `ln(1 + e^x)`, without overflow.
    fn softplus(self) -> Self {
        self.larger(Self::ZERO) + (-self.abs()).exp().ln_1p()
    }

    /// The error function.
    fn erf(self) -> Self {
        Self::from_f64(erf(self.to_f64()))
    }
}

/// `2/sqrt(pi) e^(-x^2) (x + 2/3 x^3 + 4/15 x^5 + ...)`: all terms have one sign, so nothing
/// cancels; beyond 6 it is 1 to within f64.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / (2 * n + 1) as f64;
        sum += term;
        if term.abs() < 1e-18 * sum.abs() {
            break;
        }
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

macro_rules! real {
    ($t:ident) => {
        impl Real for $t {
            const ZERO: $t = 0.0;
            const ONE: $t = 1.0;
            fn from_f64(value: f64) -> $t {
                value as $t
            }
            fn to_f64(self) -> f64 {
                self as f64
            }
            fn exp(self) -> $t {
                self.exp()
            }
            fn exp_m1(self) -> $t {
                self.exp_m1()
            }
            fn ln(self) -> $t {
                self.ln()
            }
            fn ln_1p(self) -> $t {
                self.ln_1p()
            }
            fn sqrt(self) -> $t {
                self.sqrt()
            }
            fn tanh(self) -> $t {
                self.tanh()
            }
            fn powf(self, exponent: $t) -> $t {
                self.powf(exponent)
            }
        }
    };
}

real!(f32);
real!(f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_values() {
        // Abramowitz and Stegun, table 7.1, with more digits.
        for (x, want) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (-3.0, -0.999_977_909_503_001_4),
            (7.0, 1.0),
        ] {
            assert!((erf(x) - want).abs() < 1e-15, "erf({x}) = {}", erf(x));
        }
    }

    #[test]
    fn nothing_overflows() {
        assert_eq!((-1000.0_f64).sigmoid(), 0.0);
        assert_eq!(1000.0_f64.sigmoid(), 1.0);
        assert_eq!(1000.0_f64.softplus(), 1000.0);
        assert_eq!((-1000.0_f64).softplus(), 0.0);
    }
}
