//! One vectorised loop for each instruction of a fused program, over a block of values.

use crate::isa::Isa;
use crate::lanes::Lanes;
use crate::math;
use crate::simd::Simd;
use tidemill_graph::{Binary, PairLoss, Unary};

/// `out[i] = f(a[i], b[i], c[i])` for `i < n` with two parameters. `out` may be any of the inputs;
/// unused inputs may be any pointer.
pub(super) type StepFn =
    unsafe fn(a: *const f32, b: *const f32, c: *const f32, out: *mut f32, n: usize, p: [f32; 2]);

/// A step's loop, its parameters and a guess of its time per element, in nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct StepKernel {
    pub f: StepFn,
    pub p: [f32; 2],
    pub cost: f64,
}

macro_rules! steps {
    ($($name:ident ($a:ident $b:ident $c:ident, $p:ident) { $($body:tt)* })*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            #[inline(always)]
            #[allow(unused_variables)]
            unsafe fn eval<S: Lanes>($a: S::V, $b: S::V, $c: S::V, $p: [f32; 2]) -> S::V {
                // SAFETY: register operations of an available instruction set.
                unsafe { $($body)* }
            }

            #[inline(always)]
            unsafe fn each<S: Lanes>(
                a: *const f32,
                b: *const f32,
                c: *const f32,
                out: *mut f32,
                n: usize,
                p: [f32; 2],
            ) {
                // SAFETY: indices stay below n; loads of unused operands are dropped by the
                // compiler, and their pointers are valid for n values anyway.
                unsafe {
                    let mut i = 0;
                    while i + 2 * S::LANES <= n {
                        let j = i + S::LANES;
                        let u = eval::<S>(S::load(a.add(i)), S::load(b.add(i)), S::load(c.add(i)), p);
                        let v = eval::<S>(S::load(a.add(j)), S::load(b.add(j)), S::load(c.add(j)), p);
                        S::store(out.add(i), u);
                        S::store(out.add(j), v);
                        i += 2 * S::LANES;
                    }
                    if i + S::LANES <= n {
                        let u = eval::<S>(S::load(a.add(i)), S::load(b.add(i)), S::load(c.add(i)), p);
                        S::store(out.add(i), u);
                        i += S::LANES;
                    }
                    if i < n {
                        let m = n - i;
                        let u = eval::<S>(
                            S::load_partial(a.add(i), m),
                            S::load_partial(b.add(i), m),
                            S::load_partial(c.add(i), m),
                            p,
                        );
                        S::store_partial(out.add(i), u, m);
                    }
                }
            }
            kernel!(pub fn pick(
                a: *const f32, b: *const f32, c: *const f32, out: *mut f32, n: usize, p: [f32; 2]
            ) = each;);
        }
    )*};
}

/// `-x`, keeping the sign of zero out of it.
#[inline(always)]
unsafe fn neg<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller's.
    unsafe { S::sub(S::splat(0.0), x) }
}

/// `x min(max(x / 6 + 1/2, 0), 1)`; NaN stays.
#[inline(always)]
pub(super) unsafe fn hard_swish_of<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller's.
    unsafe {
        let line = S::fma(x, S::splat(1.0 / 6.0), S::splat(0.5));
        S::mul(x, S::min(S::splat(1.0), S::max(S::splat(0.0), line)))
    }
}

/// Its slope: 0, `x / 3 + 1/2`, 1.
#[inline(always)]
pub(super) unsafe fn hard_swish_slope<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller's.
    unsafe {
        let slope = S::fma(x, S::splat(1.0 / 3.0), S::splat(0.5));
        let above = S::select(S::gt(x, S::splat(3.0)), S::splat(1.0), slope);
        S::select(S::gt(S::splat(-3.0), x), S::splat(0.0), above)
    }
}

#[inline(always)]
unsafe fn sign_of<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller's.
    unsafe {
        let zero = S::splat(0.0);
        let s = S::select(
            S::gt(x, zero),
            S::splat(1.0),
            S::select(S::gt(zero, x), S::splat(-1.0), zero),
        );
        // NaN stays
        S::select(S::eq(x, x), s, x)
    }
}

/// `x^p` for `x >= 0`: good to a few ulp for small `p`.
#[inline(always)]
unsafe fn power<S: Lanes>(x: S::V, p: f32) -> S::V {
    // SAFETY: as the caller's.
    unsafe {
        if p == 2.0 {
            return S::mul(x, x);
        }
        if p == 1.0 {
            return x;
        }
        if p == 0.0 {
            return S::splat(1.0);
        }
        math::exp::<S>(S::mul(S::splat(p), math::log::<S>(x)))
    }
}

/// Cross-entropy on the logit, `softplus(x) - x t`, grouped so that large parts cancel exactly.
#[inline(always)]
unsafe fn logistic<S: Lanes>(x: S::V, t: S::V) -> S::V {
    // SAFETY: as the caller's.
    unsafe {
        let positive = S::max(S::splat(0.0), x);
        let tail = S::sub(math::softplus::<S>(x), positive);
        S::add(S::sub(positive, S::mul(x, t)), tail)
    }
}

/// Focal loss: `(p, 1 - p, 1 - p_t)`.
#[inline(always)]
unsafe fn focal_parts<S: Lanes>(x: S::V, t: S::V) -> (S::V, S::V, S::V) {
    // SAFETY: as the caller's.
    unsafe {
        let p = math::sigmoid::<S>(x);
        let q = math::sigmoid::<S>(neg::<S>(x));
        (p, q, S::fma(t, q, S::mul(S::sub(S::splat(1.0), t), p)))
    }
}

/// `alpha t + (1 - alpha)(1 - t)`, or 1 where there is no weighting.
#[inline(always)]
unsafe fn focal_weight<S: Simd>(t: S::V, alpha: f32) -> S::V {
    // SAFETY: as the caller's.
    unsafe {
        if alpha < 0.0 {
            S::splat(1.0)
        } else {
            S::fma(S::splat(2.0 * alpha - 1.0), t, S::splat(1.0 - alpha))
        }
    }
}

const SQRT_HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// `1 / sqrt(2 pi)`
const INV_SQRT_2PI: f32 = 0.398_942_3;
/// `sqrt(2 / pi)`
const SQRT_2_PI: f32 = 0.797_884_6;

steps! {
    abs(a b c, p) { S::abs(a) }
    sign(a b c, p) { sign_of::<S>(a) }
    square(a b c, p) { S::mul(a, a) }
    reciprocal(a b c, p) { S::div(S::splat(1.0), a) }
    affine(a b c, p) { S::fma(S::splat(p[0]), a, S::splat(p[1])) }
    scale(a b c, p) { S::mul(S::splat(p[0]), a) }
    relu(a b c, p) { S::max(S::splat(0.0), a) }
    leaky_relu(a b c, p) {
        S::select(S::gt(a, S::splat(0.0)), a, S::mul(S::splat(p[0]), a))
    }
    elu(a b c, p) {
        S::select(S::gt(a, S::splat(0.0)), a, S::mul(S::splat(p[0]), math::exp_m1::<S>(a)))
    }
    gelu_erf(a b c, p) {
        let e = math::erf::<S>(S::mul(a, S::splat(SQRT_HALF)));
        S::mul(S::mul(a, S::splat(0.5)), S::add(S::splat(1.0), e))
    }
    gelu_tanh(a b c, p) {
        let cube = S::mul(S::mul(a, a), S::splat(0.044_715));
        let inner = S::mul(S::splat(SQRT_2_PI), S::fma(cube, a, a));
        S::mul(S::mul(a, S::splat(0.5)), S::add(S::splat(1.0), math::tanh::<S>(inner)))
    }
    silu(a b c, p) { S::mul(a, math::sigmoid::<S>(a)) }
    hard_swish(a b c, p) { hard_swish_of::<S>(a) }
    sigmoid(a b c, p) { math::sigmoid::<S>(a) }
    tanh(a b c, p) { math::tanh::<S>(a) }
    softplus(a b c, p) { math::softplus::<S>(a) }
    exp(a b c, p) { math::exp::<S>(a) }
    log(a b c, p) { math::log::<S>(a) }
    sqrt(a b c, p) { S::sqrt(a) }
    cube(a b c, p) { S::mul(S::mul(a, a), a) }
    pow(a b c, p) { S::map(a, |x| x.powf(p[0])) }
    clip(a b c, p) { S::min(S::splat(p[1]), S::max(S::splat(p[0]), a)) }

    scale_dy(a b c, p) { S::mul(S::splat(p[0]), b) }
    zero(a b c, p) { S::splat(0.0) }
    relu_grad(a b c, p) { S::select(S::gt(a, S::splat(0.0)), b, S::splat(0.0)) }
    leaky_relu_grad(a b c, p) {
        S::select(S::gt(a, S::splat(0.0)), b, S::mul(S::splat(p[0]), b))
    }
    elu_grad(a b c, p) {
        S::select(S::gt(a, S::splat(0.0)), b, S::mul(S::add(a, S::splat(p[0])), b))
    }
    sigmoid_grad(a b c, p) { S::mul(S::mul(a, S::sub(S::splat(1.0), a)), b) }
    tanh_grad(a b c, p) { S::mul(S::sub(S::splat(1.0), S::mul(a, a)), b) }
    log_grad(a b c, p) { S::div(b, a) }
    sqrt_grad(a b c, p) { S::div(S::mul(S::splat(0.5), b), a) }
    reciprocal_grad(a b c, p) { neg::<S>(S::mul(S::mul(a, a), b)) }
    // of y = ln(1 + e^x): sigmoid(x) = 1 - e^-y
    softplus_grad(a b c, p) { neg::<S>(S::mul(math::exp_m1::<S>(neg::<S>(a)), b)) }
    abs_grad(a b c, p) { S::mul(sign_of::<S>(a), b) }
    square_grad(a b c, p) { S::mul(S::add(a, a), b) }
    gelu_erf_grad(a b c, p) {
        let e = math::erf::<S>(S::mul(a, S::splat(SQRT_HALF)));
        let phi = math::exp::<S>(S::mul(S::mul(a, a), S::splat(-0.5)));
        let slope = S::mul(S::splat(0.5), S::add(S::splat(1.0), e));
        S::mul(S::fma(S::mul(a, S::splat(INV_SQRT_2PI)), phi, slope), b)
    }
    gelu_tanh_grad(a b c, p) {
        let square = S::mul(a, a);
        let cube = S::mul(square, S::splat(0.044_715));
        let t = math::tanh::<S>(S::mul(S::splat(SQRT_2_PI), S::fma(cube, a, a)));
        let inner = S::fma(square, S::splat(3.0 * 0.044_715 * SQRT_2_PI), S::splat(SQRT_2_PI));
        let half = S::mul(a, S::splat(0.5));
        let bend = S::mul(S::mul(half, S::sub(S::splat(1.0), S::mul(t, t))), inner);
        S::mul(S::fma(S::splat(0.5), S::add(S::splat(1.0), t), bend), b)
    }
    silu_grad(a b c, p) {
        let s = math::sigmoid::<S>(a);
        let slope = S::fma(a, S::sub(S::splat(1.0), s), S::splat(1.0));
        S::mul(S::mul(s, slope), b)
    }
    hard_swish_grad(a b c, p) { S::mul(hard_swish_slope::<S>(a), b) }
    cube_grad(a b c, p) { S::mul(S::mul(S::mul(a, a), S::splat(3.0)), b) }
    pow_grad(a b c, p) { S::mul(S::mul(S::map(a, |x| x.powf(p[0] - 1.0)), S::splat(p[0])), b) }
    clip_grad(a b c, p) {
        let inside = S::select(S::ge(a, S::splat(p[0])), b, S::splat(0.0));
        S::select(S::ge(S::splat(p[1]), a), inside, S::splat(0.0))
    }

    add(a b c, p) { S::add(a, b) }
    sub(a b c, p) { S::sub(a, b) }
    mul(a b c, p) { S::mul(a, b) }
    div(a b c, p) { S::div(a, b) }
    // a >= b ? a : b, and NaN of either stays
    max(a b c, p) { S::select(S::eq(a, a), S::select(S::ge(a, b), a, b), a) }
    min(a b c, p) { S::select(S::eq(a, a), S::select(S::ge(b, a), a, b), a) }
    greater_equal(a b c, p) { S::select(S::ge(a, b), S::splat(1.0), S::splat(0.0)) }
    mul_add(a b c, p) { S::fma(a, b, c) }

    squared_error(a b c, p) { let d = S::sub(a, b); S::mul(d, d) }
    absolute_error(a b c, p) { S::abs(S::sub(a, b)) }
    huber(a b c, p) {
        let d = S::abs(S::sub(a, b));
        let delta = S::splat(p[0]);
        let quadratic = S::mul(S::mul(d, d), S::splat(0.5));
        let linear = S::mul(delta, S::sub(d, S::splat(0.5 * p[0])));
        S::select(S::gt(d, delta), linear, quadratic)
    }
    binary_crossentropy(a b c, p) {
        let t = S::fma(S::splat(1.0 - p[0]), b, S::splat(0.5 * p[0]));
        logistic::<S>(a, t)
    }
    focal(a b c, p) {
        let (_, _, miss) = focal_parts::<S>(a, b);
        let focus = S::mul(focal_weight::<S>(b, p[1]), power::<S>(miss, p[0]));
        S::mul(focus, logistic::<S>(a, b))
    }
    hinge(a b c, p) {
        let t = S::select(S::eq(b, S::splat(0.0)), S::splat(-1.0), b);
        S::max(S::splat(0.0), S::sub(S::splat(1.0), S::mul(t, a)))
    }

    squared_error_grad(a b c, p) { let d = S::sub(a, b); S::mul(S::add(d, d), c) }
    absolute_error_grad(a b c, p) { S::mul(sign_of::<S>(S::sub(a, b)), c) }
    huber_grad(a b c, p) {
        let d = S::max(S::splat(-p[0]), S::min(S::splat(p[0]), S::sub(a, b)));
        S::mul(d, c)
    }
    binary_crossentropy_grad(a b c, p) {
        let t = S::fma(S::splat(1.0 - p[0]), b, S::splat(0.5 * p[0]));
        S::mul(S::sub(math::sigmoid::<S>(a), t), c)
    }
    focal_grad(a b c, p) {
        // (m^g l)' = g m^(g-1) m' l + m^g l' with m = 1 - p_t, m' = p q (1 - 2 t), l' = p - t
        let (sure, unsure, miss) = focal_parts::<S>(a, b);
        let outer = S::mul(power::<S>(miss, p[0]), S::sub(sure, b));
        let slope = S::mul(S::mul(sure, unsure), S::fma(S::splat(-2.0), b, S::splat(1.0)));
        let inner = S::mul(S::mul(S::splat(p[0]), slope), logistic::<S>(a, b));
        let inner = S::mul(inner, power::<S>(miss, p[0] - 1.0));
        let some = S::gt(miss, S::splat(0.0));
        let inner = S::select(some, inner, S::splat(0.0));
        let d = if p[0] > 0.0 { S::add(outer, inner) } else { outer };
        S::mul(S::mul(focal_weight::<S>(b, p[1]), d), c)
    }
    hinge_grad(a b c, p) {
        let t = S::select(S::eq(b, S::splat(0.0)), S::splat(-1.0), b);
        let active = S::gt(S::splat(1.0), S::mul(t, a));
        S::select(active, neg::<S>(S::mul(t, c)), S::splat(0.0))
    }
}

/// About an L1 round trip of a vector.
const CHEAP: f64 = 0.03;
/// One exponential or logarithm more.
const HEAVY: f64 = 0.25;

fn entry(pick: fn(Isa) -> StepFn, isa: Isa, p: [f32; 2], cost: f64) -> StepKernel {
    StepKernel { f: pick(isa), p, cost }
}

pub(super) fn unary(isa: Isa, op: Unary) -> StepKernel {
    use Unary::*;
    let none = [0.0; 2];
    match op {
        Neg => entry(scale::pick, isa, [-1.0, 0.0], CHEAP),
        Abs => entry(abs::pick, isa, none, CHEAP),
        Sign => entry(sign::pick, isa, none, CHEAP),
        Square => entry(square::pick, isa, none, CHEAP),
        Reciprocal => entry(reciprocal::pick, isa, none, 2.0 * CHEAP),
        Affine { scale: s, shift: 0.0 } => entry(scale::pick, isa, [s, 0.0], CHEAP),
        Affine { scale, shift } => entry(affine::pick, isa, [scale, shift], CHEAP),
        Relu => entry(relu::pick, isa, none, CHEAP),
        LeakyRelu { slope } => entry(leaky_relu::pick, isa, [slope, 0.0], CHEAP),
        Elu { alpha } => entry(elu::pick, isa, [alpha, 0.0], HEAVY),
        GeluErf => entry(gelu_erf::pick, isa, none, 2.0 * HEAVY),
        GeluTanh => entry(gelu_tanh::pick, isa, none, 1.5 * HEAVY),
        Silu => entry(silu::pick, isa, none, HEAVY),
        HardSwish => entry(hard_swish::pick, isa, none, CHEAP),
        Sigmoid => entry(sigmoid::pick, isa, none, HEAVY),
        Tanh => entry(tanh::pick, isa, none, HEAVY),
        Softplus => entry(softplus::pick, isa, none, 1.5 * HEAVY),
        Exp => entry(exp::pick, isa, none, HEAVY),
        Log => entry(log::pick, isa, none, HEAVY),
        Sqrt => entry(sqrt::pick, isa, none, 2.0 * CHEAP),
        Pow { exponent: 1.0 } => entry(scale::pick, isa, [1.0, 0.0], CHEAP),
        Pow { exponent: 2.0 } => entry(square::pick, isa, none, CHEAP),
        Pow { exponent: 3.0 } => entry(cube::pick, isa, none, CHEAP),
        Pow { exponent: 0.5 } => entry(sqrt::pick, isa, none, 2.0 * CHEAP),
        Pow { exponent: -1.0 } => entry(reciprocal::pick, isa, none, 2.0 * CHEAP),
        Pow { exponent } => entry(pow::pick, isa, [exponent, 0.0], 10.0),
        Clip { low, high } => entry(clip::pick, isa, [low, high], CHEAP),
    }
}

pub(super) fn unary_grad(isa: Isa, op: Unary) -> StepKernel {
    use Unary::*;
    let none = [0.0; 2];
    match op {
        Neg => entry(scale_dy::pick, isa, [-1.0, 0.0], CHEAP),
        Affine { scale, .. } => entry(scale_dy::pick, isa, [scale, 0.0], CHEAP),
        Sign => entry(zero::pick, isa, none, CHEAP),
        Abs => entry(abs_grad::pick, isa, none, CHEAP),
        Square | Pow { exponent: 2.0 } => entry(square_grad::pick, isa, none, CHEAP),
        Reciprocal => entry(reciprocal_grad::pick, isa, none, CHEAP),
        Relu => entry(relu_grad::pick, isa, none, CHEAP),
        LeakyRelu { slope } => entry(leaky_relu_grad::pick, isa, [slope, 0.0], CHEAP),
        Elu { alpha } => entry(elu_grad::pick, isa, [alpha, 0.0], CHEAP),
        GeluErf => entry(gelu_erf_grad::pick, isa, none, 3.0 * HEAVY),
        GeluTanh => entry(gelu_tanh_grad::pick, isa, none, 1.5 * HEAVY),
        Silu => entry(silu_grad::pick, isa, none, HEAVY),
        HardSwish => entry(hard_swish_grad::pick, isa, none, CHEAP),
        Sigmoid => entry(sigmoid_grad::pick, isa, none, CHEAP),
        Tanh => entry(tanh_grad::pick, isa, none, CHEAP),
        Softplus => entry(softplus_grad::pick, isa, none, HEAVY),
        Exp => entry(mul::pick, isa, none, CHEAP),
        Log => entry(log_grad::pick, isa, none, 2.0 * CHEAP),
        Sqrt => entry(sqrt_grad::pick, isa, none, 2.0 * CHEAP),
        Pow { exponent: 1.0 } => entry(scale_dy::pick, isa, [1.0, 0.0], CHEAP),
        Pow { exponent: 3.0 } => entry(cube_grad::pick, isa, none, CHEAP),
        Pow { exponent } => entry(pow_grad::pick, isa, [exponent, 0.0], 10.0),
        Clip { low, high } => entry(clip_grad::pick, isa, [low, high], CHEAP),
    }
}

pub(super) fn binary(isa: Isa, op: Binary) -> StepKernel {
    let none = [0.0; 2];
    match op {
        Binary::Add => entry(add::pick, isa, none, CHEAP),
        Binary::Sub => entry(sub::pick, isa, none, CHEAP),
        Binary::Mul => entry(mul::pick, isa, none, CHEAP),
        Binary::Div => entry(div::pick, isa, none, 2.0 * CHEAP),
        Binary::Max => entry(max::pick, isa, none, CHEAP),
        Binary::Min => entry(min::pick, isa, none, CHEAP),
        Binary::GreaterEqual => entry(greater_equal::pick, isa, none, CHEAP),
        Binary::Loss(loss) => pair_loss(isa, loss),
    }
}

fn pair_loss(isa: Isa, loss: PairLoss) -> StepKernel {
    use PairLoss::*;
    let none = [0.0; 2];
    match loss {
        SquaredError => entry(squared_error::pick, isa, none, CHEAP),
        AbsoluteError => entry(absolute_error::pick, isa, none, CHEAP),
        Huber { delta } => entry(huber::pick, isa, [delta, 0.0], CHEAP),
        BinaryCrossEntropy { label_smoothing: s } => {
            entry(binary_crossentropy::pick, isa, [s, 0.0], 1.5 * HEAVY)
        }
        Focal { gamma, alpha } => entry(focal::pick, isa, [gamma, alpha], 4.0 * HEAVY),
        Hinge => entry(hinge::pick, isa, none, CHEAP),
    }
}

pub(super) fn pair_loss_grad(isa: Isa, loss: PairLoss) -> StepKernel {
    use PairLoss::*;
    let none = [0.0; 2];
    match loss {
        SquaredError => entry(squared_error_grad::pick, isa, none, CHEAP),
        AbsoluteError => entry(absolute_error_grad::pick, isa, none, CHEAP),
        Huber { delta } => entry(huber_grad::pick, isa, [delta, 0.0], CHEAP),
        BinaryCrossEntropy { label_smoothing: s } => {
            entry(binary_crossentropy_grad::pick, isa, [s, 0.0], HEAVY)
        }
        Focal { gamma, alpha } => entry(focal_grad::pick, isa, [gamma, alpha], 4.0 * HEAVY),
        Hinge => entry(hinge_grad::pick, isa, none, CHEAP),
    }
}

pub(super) fn mul_add_step(isa: Isa) -> StepKernel {
    entry(mul_add::pick, isa, [0.0; 2], CHEAP)
}

/// `p[0] * a`, also the copy of a value to its place.
pub(super) fn scale_step(isa: Isa, factor: f32) -> StepKernel {
    entry(scale::pick, isa, [factor, 0.0], CHEAP)
}
