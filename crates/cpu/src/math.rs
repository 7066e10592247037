//! Vectorised elementary functions. Polynomials were fitted by Remez exchange to the stated
//! interval; all functions are within about 2 ulp of the true value and map NaN to NaN.

use crate::lanes::Lanes;

/// The upper bits of ln 2: `n * LN2_HIGH` is exact for |n| < 2^15, with or without FMA.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
const LOG2_E: f32 = std::f32::consts::LOG2_E;

/// Horner's rule; `c[0]` is the constant term.
#[inline(always)]
unsafe fn polynomial<S: Lanes, const N: usize>(x: S::V, c: [f32; N]) -> S::V {
    // SAFETY: as the caller's.
    unsafe {
        let mut p = S::splat(c[N - 1]);
        for i in (0..N - 1).rev() {
            p = S::fma(p, x, S::splat(c[i]));
        }
        p
    }
}

/// Splits `x = n ln 2 + r` and gives `(n, e^r - 1)` for |r| <= ln(2) / 2.
#[inline(always)]
unsafe fn reduced_exp<S: Lanes>(x: S::V) -> (S::V, S::V) {
    // SAFETY: as the caller's.
    unsafe {
        let n = S::round(S::mul(x, S::splat(LOG2_E)));
        let r = S::fma(n, S::splat(-LN2_HIGH), x);
        let r = S::fma(n, S::splat(-LN2_LOW), r);
        // (e^r - 1 - r) / r^2
        let p = polynomial::<S, 5>(
            r,
            [0.499_999_93, 0.166_665_2, 0.041_668_39, 0.008_368_745, 0.001_381_456_9],
        );
        (n, S::fma(S::mul(r, r), p, r))
    }
}

/// `e^x`; overflows to infinity, underflows through the subnormals to 0.
#[inline(always)]
pub(crate) unsafe fn exp<S: Lanes>(x: S::V) -> S::V {
    // SAFETY: as the caller's.
    unsafe {
        // the second operand of min and max wins on NaN, so NaN stays
        let x = S::max(S::splat(-104.0), S::min(S::splat(89.0), x));
        let (n, e) = reduced_exp::<S>(x);
        S::ldexp(S::add(e, S::splat(1.0)), n)
    }
}

/// The bits of [`exp`] for `x` in `-87..=88`, in fewer steps.
#[inline(always)]
unsafe fn exp_normal<S: Lanes>(x: S::V) -> S::V {
    // SAFETY: as the caller's.
    unsafe {
        let (n, e) = reduced_exp::<S>(x);
        S::ldexp_normal(S::add(e, S::splat(1.0)), n)
    }
}

/// `2^x` for `x <= 0`, or a little more; what is smaller than any normal number becomes the least of them.
#[inline(always)]
pub(crate) unsafe fn exp2_weight<S: Lanes>(x: S::V) -> S::V {
    // SAFETY: as the caller's.
    unsafe {
        let x = S::max(S::splat(-126.0), x);
        let n = S::round(x);
        // 2^r on [-1/2, 1/2]
        let p = polynomial::<S, 7>(
            S::sub(x, n),
            [
                1.0,
                std::f32::consts::LN_2,
                0.240_226_48,
                0.055_503_324,
                0.009_618_437,
                0.001_339_887_5,
                1.535_336_2e-4,
            ],
        );
        S::ldexp_normal(p, n)
    }
}

/// `e^x - 1`, accurate near 0; exact enough for `x <= 88` only, larger `x` count as 88.
#[inline(always)]
pub(crate) unsafe fn exp_m1<S: Lanes>(x: S::V) -> S::V {
    // SAFETY: as the caller's.
    unsafe {
        let x = S::max(S::splat(-40.0), S::min(S::splat(88.0), x));
        let (n, e) = reduced_exp::<S>(x);
        let scale = S::exp2_int(n);
        S::fma(e, scale, S::sub(scale, S::splat(1.0)))
    }
}

/// Natural logarithm; `-inf` at 0, NaN below.
#[inline(always)]
pub(crate) unsafe fn log<S: Lanes>(x: S::V) -> S::V {
    // SAFETY: as the caller's.
    unsafe {
        let zero = S::splat(0.0);
        let one = S::splat(1.0);
        let tiny = S::gt(S::splat(f32::MIN_POSITIVE), x);
        let (m, e) = S::frexp(S::select(tiny, S::mul(x, S::splat(8_388_608.0)), x));
        let e = S::sub(e, S::select(tiny, S::splat(23.0), zero));
        let low = S::gt(S::splat(std::f32::consts::FRAC_1_SQRT_2), m);
        let e = S::sub(e, S::select(low, one, zero));
        let f = S::sub(S::select(low, S::add(m, m), m), one);
        // (ln(1 + f) - f + f^2/2) / f^3 on [sqrt(1/2) - 1, sqrt(2) - 1]
        let p = polynomial::<S, 8>(
            f,
            [
                0.333_333_3,
                -0.250_008_2,
                0.200_012_28,
                -0.166_233_58,
                0.142_017_3,
                -0.131_601_51,
                0.127_617_36,
                -0.076_347_66,
            ],
        );
        let square = S::mul(f, f);
        let y = S::mul(S::mul(square, f), p);
        let y = S::fma(e, S::splat(LN2_LOW), y);
        let y = S::fma(square, S::splat(-0.5), y);
        let y = S::fma(e, S::splat(LN2_HIGH), S::add(f, y));
        let infinity = S::splat(f32::INFINITY);
        let y = S::select(S::eq(x, infinity), infinity, y);
        let y = S::select(S::eq(x, zero), S::splat(f32::NEG_INFINITY), y);
        S::select(S::ge(x, zero), y, S::splat(f32::NAN))
    }
}

/// `ln(1 + e)` for `e` in `[0, 1]`, accurate near 0: `2 artanh(e / (2 + e))`.
#[inline(always)]
unsafe fn log_1p_unit<S: Lanes>(e: S::V) -> S::V {
    // SAFETY: as the caller's.
    unsafe {
        let s = S::div(e, S::add(e, S::splat(2.0)));
        let y = S::mul(s, s);
        // (artanh(s) / s - 1) / s^2 on s^2 in [0, 1/9]
        let p = polynomial::<S, 4>(y, [0.333_332_07, 0.200_108_49, 0.139_995_74, 0.140_122_28]);
        let twice = S::add(s, s);
        S::fma(S::mul(twice, y), p, twice)
    }
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub(crate) unsafe fn sigmoid<S: Lanes>(x: S::V) -> S::V {
    // SAFETY: as the caller's.
    unsafe {
        let one = S::splat(1.0);
        let e = exp::<S>(S::sub(S::splat(0.0), S::abs(x)));
        S::div(S::select(S::ge(x, S::splat(0.0)), one, e), S::add(one, e))
    }
}

/// `ln(1 + e^x)`
#[inline(always)]
pub(crate) unsafe fn softplus<S: Lanes>(x: S::V) -> S::V {
    // SAFETY: as the caller's.
    unsafe {
        let zero = S::splat(0.0);
        let e = exp::<S>(S::sub(zero, S::abs(x)));
        S::add(S::max(zero, x), log_1p_unit::<S>(e))
    }
}

/// Hyperbolic tangent: `t / (t + 2)` with `t = e^2x - 1`.
#[inline(always)]
pub(crate) unsafe fn tanh<S: Lanes>(x: S::V) -> S::V {
    // SAFETY: as the caller's.
    unsafe {
        let x = S::max(S::splat(-10.0), S::min(S::splat(10.0), x));
        let t = exp_m1::<S>(S::add(x, x));
        S::div(t, S::add(t, S::splat(2.0)))
    }
}

/// Error function: `x P(x^2)` up to 1, `1 - e^Q(x)` beyond.
#[inline(always)]
pub(crate) unsafe fn erf<S: Lanes>(x: S::V) -> S::V {
    // SAFETY: as the caller's.
    unsafe {
        let one = S::splat(1.0);
        let size = S::abs(x);
        let p = polynomial::<S, 7>(
            S::mul(x, x),
            [
                std::f32::consts::FRAC_2_SQRT_PI,
                -0.376_126_26,
                0.112_835_85,
                -0.026_853_812,
                0.005_188_327_3,
                -8.010_19e-4,
                7.853_844e-5,
            ],
        );
        let small = S::mul(x, p);
        // ln erfc on [1, 4]; erf rounds to 1 from 3.92 on
        let q = polynomial::<S, 6>(
            S::min(size, S::splat(4.0)),
            [
                -0.002_619_290_2,
                -1.117_620_8,
                -0.654_240_7,
                -0.088_799_22,
                0.014_831_67,
                -0.001_157_197,
            ],
        );
        let large = S::sub(one, exp_normal::<S>(q)); // e^q is at least 1e-8
        let large = S::select(S::gt(S::splat(0.0), x), S::sub(S::splat(0.0), large), large);
        S::select(S::gt(size, one), large, small)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use std::f32::consts::LN_2;

    macro_rules! over_slice {
        ($($entry:ident = $f:ident;)*) => {$(
            mod $entry {
                use crate::lanes::Lanes;
                #[inline(always)]
                unsafe fn all<S: Lanes>(x: &[f32], y: &mut [f32]) {
                    for (x, y) in x.chunks_exact(S::LANES).zip(y.chunks_exact_mut(S::LANES)) {
                        // SAFETY: both chunks have LANES values.
                        unsafe {
                            let v = super::$f::<S>(S::load(x.as_ptr()));
                            S::store(y.as_mut_ptr(), v);
                        }
                    }
                }
                kernel!(pub fn on(x: &[f32], y: &mut [f32]) = all;);
            }
        )*};
    }
    over_slice! {
        exp_all = exp; exp_m1_all = exp_m1; log_all = log; tanh_all = tanh; erf_all = erf;
        sigmoid_all = sigmoid; softplus_all = softplus;
        exp_normal_all = exp_normal; exp2_weight_all = exp2_weight;
    }

    /// erf in f64: Taylor series near 0, continued fraction beyond.
    fn erf64(x: f64) -> f64 {
        let a = x.abs();
        if a < 2.5 {
            let (mut term, mut sum) = (x, x);
            for n in 1..80 {
                let n = f64::from(n);
                term *= -x * x / n;
                sum += term / (2.0 * n + 1.0);
            }
            return sum * 2.0 / std::f64::consts::PI.sqrt();
        }
        let mut f = a;
        for n in (1..200).rev() {
            f = a + f64::from(n) / 2.0 / f;
        }
        (1.0 - (-a * a).exp() / (f * std::f64::consts::PI.sqrt())).copysign(x)
    }

    fn ulp(x: f64) -> f64 {
        let x = (x.abs() as f32).max(f32::MIN_POSITIVE);
        f64::from(f32::from_bits(x.to_bits() + 1)) - f64::from(x)
    }

    type Entry = fn(Isa) -> unsafe fn(&[f32], &mut [f32]);

    fn check(name: &str, entry: Entry, exact: fn(f64) -> f64, low: f32, high: f32, limit: f64) {
        const N: usize = 1 << 18;
        let mut x: Vec<f32> =
            (0..N).map(|i| low + (high - low) * (i as f32 / (N - 1) as f32)).collect();
        // all magnitudes too
        for i in 0..N {
            let v = f32::from_bits((i as u32) << 13 | (i as u32 * 2654435761) >> 19);
            x.push(if v >= low && v <= high { v } else { low });
        }
        for isa in Isa::available() {
            let mut y = vec![0.0; x.len()];
            // SAFETY: the set is available; lengths are equal.
            unsafe { entry(isa)(&x, &mut y) };
            let mut worst = (0.0, 0.0, 0.0);
            for (&x, &y) in x.iter().zip(&y) {
                let e = exact(f64::from(x));
                if (e.abs() as f32).is_infinite() {
                    assert_eq!(y, e as f32, "{name} {isa:?} at {x}");
                    continue;
                }
                let error = (f64::from(y) - e).abs() / ulp(e);
                if error.is_nan() || error > worst.0 {
                    worst = (error, x, y);
                }
            }
            println!("{name} {isa:?}: {:.2} ulp at {:e}", worst.0, worst.1);
            assert!(worst.0 <= limit, "{name} {isa:?}: {worst:?} ulp, at, value");
        }
    }

    #[test]
    fn close_to_f64() {
        check("exp", exp_all::on, f64::exp, -110.0, 95.0, 1.6);
        check("exp", exp_all::on, f64::exp, -1.0, 1.0, 1.6);
        check("exp2_weight", exp2_weight_all::on, f64::exp2, -125.9, 0.1, 1.6);
        check("exp_m1", exp_m1_all::on, f64::exp_m1, -45.0, 88.0, 2.0);
        check("exp_m1", exp_m1_all::on, f64::exp_m1, -1.0, 1.0, 2.0);
        check("log", log_all::on, f64::ln, 0.0, f32::MAX, 1.5);
        check("log", log_all::on, f64::ln, 0.25, 4.0, 1.5);
        check("tanh", tanh_all::on, f64::tanh, -12.0, 12.0, 2.6);
        check("tanh", tanh_all::on, f64::tanh, -0.5, 0.5, 2.6);
        check("erf", erf_all::on, erf64, -6.0, 6.0, 2.6);
        check("erf", erf_all::on, erf64, -1.5, 1.5, 2.6);
        check("sigmoid", sigmoid_all::on, |x| 1.0 / (1.0 + (-x).exp()), -110.0, 50.0, 2.6);
        check("softplus", softplus_all::on, |x| x.exp().ln_1p(), -105.0, 80.0, 2.6);
    }

    #[test]
    fn normal_exponentials_have_the_same_bits() {
        let x: Vec<f32> =
            (0..1 << 20).map(|i| -87.0 + 175.0 * i as f32 / (1 << 20) as f32).collect();
        for isa in Isa::available() {
            let (mut y, mut z) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            // SAFETY: the set is available; lengths are equal.
            unsafe {
                exp_all::on(isa)(&x, &mut y);
                exp_normal_all::on(isa)(&x, &mut z);
            }
            assert!(y.iter().zip(&z).all(|(y, z)| y.to_bits() == z.to_bits()), "{isa:?}");
        }
    }

    #[test]
    fn special_values() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let x = [inf, -inf, nan, 0.0, -0.0, 1e30, -1e30, f32::MIN_POSITIVE];
        let x: Vec<f32> = x.iter().chain(&x).copied().collect();
        let cases: [(&str, Entry, [f32; 8]); 6] = [
            ("exp", exp_all::on, [inf, 0.0, nan, 1.0, 1.0, inf, 0.0, 1.0]),
            ("log", log_all::on, [inf, nan, nan, -inf, -inf, 69.07755, nan, -87.33655]),
            ("tanh", tanh_all::on, [1.0, -1.0, nan, 0.0, 0.0, 1.0, -1.0, f32::MIN_POSITIVE]),
            ("erf", erf_all::on, [1.0, -1.0, nan, 0.0, 0.0, 1.0, -1.0, 1.3264035e-38]),
            ("sigmoid", sigmoid_all::on, [1.0, 0.0, nan, 0.5, 0.5, 1.0, 0.0, 0.5]),
            ("softplus", softplus_all::on, [inf, 0.0, nan, LN_2, LN_2, 1e30, 0.0, LN_2]),
        ];
        for isa in Isa::available() {
            for (name, entry, expected) in cases {
                let mut y = vec![7.0; 16];
                // SAFETY: the set is available; lengths are equal.
                unsafe { entry(isa)(&x, &mut y) };
                for i in 0..16 {
                    let (y, e) = (y[i], expected[i % 8]);
                    let same = y == e || (y.is_nan() && e.is_nan());
                    assert!(
                        same || (y - e).abs() <= 3e-7 * e.abs(),
                        "{name} {isa:?} {}: {y} {e}",
                        x[i]
                    );
                }
            }
        }
    }
}
