//! The optimizer rules on vectors, and their scalar reference in f64.

use super::Update;
use crate::simd::Simd;
use tidemill_graph::update::{Rule, WeightDecay, decimal, hyper};

/// The rules with their options that change the code; a constant parameter of the kernels, so that
/// no branch is left inside their loops.
pub(crate) mod code {
    pub const SGD: u8 = 0;
    pub const MOMENTUM: u8 = 1;
    pub const NESTEROV: u8 = 2;
    pub const ADAM: u8 = 3;
    pub const RMSPROP: u8 = 4;
    pub const RMSPROP_MOMENTUM: u8 = 5;
    pub const RMSPROP_CENTERED: u8 = 6;
    pub const RMSPROP_BOTH: u8 = 7;
    pub const ADAGRAD: u8 = 8;
    pub const LION: u8 = 9;
    /// FTRL with the power -0.5, by square root.
    pub const FTRL: u8 = 10;
    /// FTRL with any other power, by scalar `powf`.
    pub const FTRL_POWER: u8 = 11;
    /// RMSprop that leaves elements alone whose gradient is 0.
    pub const RMSPROP_LAZY: u8 = 12;
    /// Added to a rule's code: no decay and no clipping by value.
    pub const PLAIN: u8 = 16;
}

/// The code of an update.
pub(crate) fn code_of(update: &Update) -> u8 {
    let plain = update.decay == WeightDecay::None && update.clip_value.is_none();
    code_of_rule(&update.rule) + if plain { code::PLAIN } else { 0 }
}

fn code_of_rule(rule: &Rule) -> u8 {
    match *rule {
        Rule::Sgd => code::SGD,
        Rule::Momentum { nesterov: false, .. } => code::MOMENTUM,
        Rule::Momentum { nesterov: true, .. } => code::NESTEROV,
        Rule::Adam { .. } => code::ADAM,
        Rule::RmsProp { lazy: true, .. } => code::RMSPROP_LAZY,
        Rule::RmsProp { momentum, centered, .. } => match (momentum != 0.0, centered) {
            (false, false) => code::RMSPROP,
            (true, false) => code::RMSPROP_MOMENTUM,
            (false, true) => code::RMSPROP_CENTERED,
            (true, true) => code::RMSPROP_BOTH,
        },
        Rule::Adagrad { .. } => code::ADAGRAD,
        Rule::Lion { .. } => code::LION,
        Rule::Ftrl { learning_rate_power: -0.5, .. } => code::FTRL,
        Rule::Ftrl { .. } => code::FTRL_POWER,
    }
}

/// Whether a gradient of exactly zero leaves the parameter and its slots as they are.
pub(crate) const fn zero_is_still(rule: u8) -> bool {
    rule == code::SGD + code::PLAIN || rule == code::RMSPROP_LAZY + code::PLAIN
}

/// Slots that a rule's code uses.
pub(crate) const fn slots_of(rule: u8) -> usize {
    match rule % code::PLAIN {
        code::SGD => 0,
        code::MOMENTUM
        | code::NESTEROV
        | code::RMSPROP
        | code::RMSPROP_LAZY
        | code::ADAGRAD
        | code::LION => 1,
        code::RMSPROP_BOTH => 3,
        _ => 2,
    }
}

/// The bias corrections `1 - beta1^t` and `1 - beta2^t` of step `t` (from 1) for the hyper vector.
pub fn bias_corrections(rule: &Rule, t: u64) -> [f32; 2] {
    let correction = |beta: f32| (1.0 - decimal(beta).powf(t as f64)) as f32;
    match *rule {
        Rule::Adam { beta1, beta2, .. } => [correction(beta1), correction(beta2)],
        Rule::RmsProp { rho, corrected: true, .. } => [1.0, correction(rho)],
        _ => [1.0, 1.0],
    }
}

/// What a rule computes with, fixed for one step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Coefficients {
    /// Every gradient is multiplied by this,
    scale: f32,
    /// clipped to plus and minus this,
    limit: f32,
    /// and gains this times the parameter.
    l2: f32,
    /// The parameter is multiplied by this before the rule.
    keep: f32,
    rate: f32,
    /// Whether slots that have nearly vanished become zero in this step.
    pub(crate) flush: bool,
    /// The rule's own numbers, see `update_vector`.
    p: [f32; 6],
}

impl Coefficients {
    /// # Safety
    /// `hyper` points to the `hyper::LEN` values of the step.
    pub(crate) unsafe fn new(update: &Update, hyper: *const f32) -> Coefficients {
        let Update { rule, decay, clip_value, rate: factor } = update;
        // SAFETY: all indices are below hyper::LEN.
        let at = |i: usize| unsafe { *hyper.add(i) };
        let rate = at(hyper::LEARNING_RATE) * factor;
        let rest = |beta: f32| (1.0 - decimal_fast(beta)) as f32;
        let mut p = [0.0; 6];
        let mut rule_rate = rate;
        match *rule {
            Rule::Sgd => {}
            Rule::Momentum { momentum, .. } => p[0] = momentum,
            Rule::Adam { beta1, beta2, epsilon } => {
                rule_rate = rate / at(hyper::BIAS_CORRECTION1);
                p[0] = rest(beta1);
                p[1] = rest(beta2);
                p[2] = 1.0 / at(hyper::BIAS_CORRECTION2).sqrt();
                p[3] = epsilon;
            }
            Rule::RmsProp { rho, epsilon, momentum, corrected, .. } => {
                p[0] = rest(rho);
                p[1] = epsilon;
                p[2] = momentum;
                p[3] = if corrected { 1.0 / at(hyper::BIAS_CORRECTION2).sqrt() } else { 1.0 };
            }
            Rule::Adagrad { epsilon, .. } => p[0] = epsilon,
            Rule::Lion { beta1, beta2 } => {
                p[0] = rest(beta1);
                p[1] = rest(beta2);
            }
            Rule::Ftrl { learning_rate_power, l1, l2, l2_shrinkage, beta, .. } => {
                p[0] = 1.0 / rate;
                p[1] = 2.0 * (l2 + beta / (2.0 * rate));
                p[2] = l1;
                p[3] = 2.0 * l2_shrinkage;
                p[4] = -learning_rate_power;
            }
        }
        let (l2, keep) = match *decay {
            WeightDecay::None => (0.0, 1.0),
            WeightDecay::L2(lambda) => (lambda, 1.0),
            WeightDecay::Decoupled(lambda) => (0.0, 1.0 - rate * lambda),
        };
        Coefficients {
            scale: at(hyper::GRADIENT_SCALE),
            limit: clip_value.unwrap_or(f32::INFINITY),
            l2,
            keep,
            rate: rule_rate,
            flush: (at(hyper::STEP) as u32).is_multiple_of(FLUSH_EVERY),
            p,
        }
    }
}

/// [`decimal`] for the kernels, which may not allocate: exact for settings with up to seven digits
/// after the point.
fn decimal_fast(x: f32) -> f64 {
    // Added and taken off again, 1.5 * 2^52 leaves whole numbers; without SSE4.1 `round` is a call.
    const WHOLE: f64 = 6_755_399_441_055_744.0;
    (f64::from(x) * 1e7 + WHOLE - WHOLE) / 1e7
}

/// [`Coefficients`] in registers.
pub(crate) struct Splat<S: Simd> {
    scale: S::V,
    limit: S::V,
    minus_limit: S::V,
    l2: S::V,
    keep: S::V,
    minus_rate: S::V,
    p: [S::V; 6],
    power: f32,
}

impl<S: Simd> Splat<S> {
    #[inline(always)]
    pub(crate) unsafe fn new(c: &Coefficients) -> Splat<S> {
        // SAFETY: the instruction set is there by the contract of `Simd`.
        unsafe {
            Splat {
                scale: S::splat(c.scale),
                limit: S::splat(c.limit),
                minus_limit: S::splat(-c.limit),
                l2: S::splat(c.l2),
                keep: S::splat(c.keep),
                minus_rate: S::splat(-c.rate),
                p: [
                    S::splat(c.p[0]),
                    S::splat(c.p[1]),
                    S::splat(c.p[2]),
                    S::splat(c.p[3]),
                    S::splat(c.p[4]),
                    S::splat(c.p[5]),
                ],
                power: c.p[4],
            }
        }
    }
}

/// `a + t (b - a)`. With `t = 1 - beta` rounded once, a constant gradient has itself as the limit
/// of its average, which `beta a + (1 - beta) b` misses by the rounding of the two factors.
#[inline(always)]
unsafe fn lerp<S: Simd>(a: S::V, b: S::V, t: S::V) -> S::V {
    // SAFETY: as for all of `Simd`.
    unsafe { S::fma(t, S::sub(b, a), a) }
}

/// Steps between those that flush.
const FLUSH_EVERY: u32 = 16;

/// `x`, or zero where `x` is nearly subnormal. An average that decays with zero gradients would
/// otherwise stay subnormal for ever (rounding to nearest stops `0.9 x` at a few units of the
/// smallest number), and arithmetic on it is several times slower. Done every 16th step, since
/// doing it always costs Adam 20 %.
#[inline(always)]
unsafe fn flush<S: Simd, const FLUSH: bool>(x: S::V) -> S::V {
    if !FLUSH {
        return x;
    }
    // SAFETY: as for all of `Simd`. Where x is not a number it stays.
    unsafe { S::select(S::gt(S::splat(1e-36), S::abs(x)), S::splat(0.0), x) }
}

/// The rule on one vector of parameters `w` with gradient `g` and slots `s`: the new parameters
/// and slots. NaN gradients stay NaN, also through clipping. `FLUSH`: see [`flush`].
#[inline(always)]
pub(crate) unsafe fn update_vector<S: Simd, const RULE: u8, const FLUSH: bool>(
    k: &Splat<S>,
    g: S::V,
    w: S::V,
    s: [S::V; 3],
) -> (S::V, [S::V; 3]) {
    // SAFETY: as for all of `Simd`.
    unsafe {
        let p = &k.p;
        let mut g = S::mul(g, k.scale);
        let mut w_kept = w;
        if RULE & code::PLAIN == 0 {
            // min and max give their second operand where either is NaN
            g = S::fma(k.l2, w, S::max(k.minus_limit, S::min(k.limit, g)));
            w_kept = S::mul(w, k.keep);
        }
        let step = |direction: S::V| S::fma(k.minus_rate, direction, w_kept);
        let [s0, s1, s2] = s;
        match RULE % code::PLAIN {
            code::SGD => (step(g), s),
            code::MOMENTUM => {
                let v = flush::<S, FLUSH>(S::fma(p[0], s0, g));
                (step(v), [v, s1, s2])
            }
            code::NESTEROV => {
                let v = flush::<S, FLUSH>(S::fma(p[0], s0, g));
                (step(S::fma(p[0], v, g)), [v, s1, s2])
            }
            code::ADAM => {
                let m = flush::<S, FLUSH>(lerp::<S>(s0, g, p[0]));
                let v = flush::<S, FLUSH>(lerp::<S>(s1, S::mul(g, g), p[1]));
                // an infinite v (a gradient above 1e19) has direction zero, as with a true division
                let root = S::sqrt(S::min(S::splat(1e38), v));
                (step(S::div_quick(m, S::fma(root, p[2], p[3]))), [m, v, s2])
            }
            code::RMSPROP
            | code::RMSPROP_MOMENTUM
            | code::RMSPROP_CENTERED
            | code::RMSPROP_BOTH => {
                let kind = RULE % code::PLAIN;
                let momentum = kind == code::RMSPROP_MOMENTUM || kind == code::RMSPROP_BOTH;
                let centered = kind == code::RMSPROP_CENTERED || kind == code::RMSPROP_BOTH;
                let v = flush::<S, FLUSH>(lerp::<S>(s0, S::mul(g, g), p[0]));
                let mut new = [v, s1, s2];
                let mut power = v;
                if centered {
                    let slot = if momentum { 2 } else { 1 };
                    let a = flush::<S, FLUSH>(lerp::<S>(s[slot], g, p[0]));
                    new[slot] = a;
                    power = S::max(S::splat(0.0), S::sub(v, S::mul(a, a)));
                }
                // times 1 without a correction, which changes no bit
                let direction = S::div(g, S::fma(S::sqrt(power), p[3], p[1]));
                if momentum {
                    new[1] = flush::<S, FLUSH>(S::fma(p[2], s1, direction));
                    (step(new[1]), new)
                } else {
                    (step(direction), new)
                }
            }
            code::RMSPROP_LAZY => {
                let (new, v) = lazy_rmsprop::<S, RULE, FLUSH>(k, g, w, w_kept, s0);
                (new, [v, s1, s2])
            }
            code::ADAGRAD => {
                let v = S::fma(g, g, s0);
                (step(S::div(g, S::add(S::sqrt(v), p[0]))), [v, s1, s2])
            }
            code::LION => {
                let c = lerp::<S>(s0, g, p[0]);
                let (zero, one) = (S::splat(0.0), S::splat(1.0));
                let negative = S::select(S::gt(zero, c), S::splat(-1.0), c);
                let sign = S::select(S::gt(c, zero), one, negative);
                (step(sign), [flush::<S, FLUSH>(lerp::<S>(s0, g, p[1])), s1, s2])
            }
            _ => {
                let n = S::fma(g, g, s0);
                let power = |x: S::V| {
                    if RULE % code::PLAIN == code::FTRL {
                        S::sqrt(x)
                    } else {
                        lanes_powf::<S>(x, k.power)
                    }
                };
                let n_power = power(n);
                let shrunk = S::fma(p[3], w_kept, g);
                let sigma = S::mul(S::sub(n_power, power(s0)), p[0]);
                let z = S::add(s1, S::sub(shrunk, S::mul(sigma, w_kept)));
                let q = S::fma(n_power, p[0], p[1]);
                let clipped = S::max(S::sub(S::splat(0.0), p[2]), S::min(p[2], z));
                (S::div(S::sub(clipped, z), q), [n, z, s2])
            }
        }
    }
}

/// RMSprop for a vector of parameters `w`, which decay has made `w_kept`: new ones and their averages. Those without a gradient
/// stay as they are, with their averages `s0`.
#[inline(always)]
unsafe fn lazy_rmsprop<S: Simd, const RULE: u8, const FLUSH: bool>(
    k: &Splat<S>,
    g: S::V,
    w: S::V,
    w_kept: S::V,
    s0: S::V,
) -> (S::V, S::V) {
    // SAFETY: as for all of `Simd`.
    unsafe {
        let p = &k.p;
        let step = |direction: S::V| S::fma(k.minus_rate, direction, w_kept);
        let v = flush::<S, FLUSH>(lerp::<S>(s0, S::mul(g, g), p[0]));
        // an infinite v: as for Adam
        let root = S::sqrt(S::min(S::splat(1e38), v));
        let direction = S::div_quick(g, S::fma(root, p[3], p[1]));
        // below the smallest number: zero, and not NaN, which must stay NaN
        let still = S::gt(S::splat(f32::from_bits(1)), S::abs(g));
        let new = if RULE & code::PLAIN == 0 {
            S::select(still, w, step(direction))
        } else {
            // A direction of 0 leaves the parameter as it is; the choice above becomes a masked store, which is slow.
            step(S::select(still, S::splat(0.0), direction))
        };
        (new, S::select(still, s0, v))
    }
}

#[inline(always)]
unsafe fn lanes_powf<S: Simd>(x: S::V, power: f32) -> S::V {
    let mut lanes = [0.0f32; 16];
    const { assert!(S::LANES <= 16) };
    // SAFETY: the buffer has room for a vector.
    unsafe {
        S::store(lanes.as_mut_ptr(), x);
        for lane in lanes.iter_mut().take(S::LANES) {
            *lane = lane.powf(power);
        }
        S::load(lanes.as_ptr())
    }
}

/// The rules in plain f64, from their definitions: what the kernels are tested against.
///
/// `slots` has `rule.num_slots()` values; `hyper` the step's numbers.
pub fn reference_update(
    rule: &Rule,
    decay: &WeightDecay,
    clip_value: Option<f32>,
    hyper: &[f64; hyper::LEN],
    gradient: f64,
    w: &mut f64,
    slots: &mut [f64],
) {
    let rate = hyper[hyper::LEARNING_RATE];
    let mut g = gradient * hyper[hyper::GRADIENT_SCALE];
    if let Some(limit) = clip_value {
        g = g.clamp(-f64::from(limit), f64::from(limit));
    }
    let before = *w;
    match *decay {
        WeightDecay::None => {}
        WeightDecay::L2(lambda) => g += decimal(lambda) * *w,
        WeightDecay::Decoupled(lambda) => *w -= rate * decimal(lambda) * *w,
    }
    match *rule {
        Rule::Sgd => *w -= rate * g,
        Rule::Momentum { momentum, nesterov } => {
            let mu = decimal(momentum);
            slots[0] = mu * slots[0] + g;
            *w -= rate * if nesterov { g + mu * slots[0] } else { slots[0] };
        }
        Rule::Adam { beta1, beta2, epsilon } => {
            let (b1, b2) = (decimal(beta1), decimal(beta2));
            slots[0] = b1 * slots[0] + (1.0 - b1) * g;
            slots[1] = b2 * slots[1] + (1.0 - b2) * g * g;
            let (c1, c2) = (hyper[hyper::BIAS_CORRECTION1], hyper[hyper::BIAS_CORRECTION2]);
            *w -= rate / c1 * slots[0] / (slots[1].sqrt() / c2.sqrt() + decimal(epsilon));
        }
        Rule::RmsProp { lazy: true, .. } if g == 0.0 => *w = before,
        Rule::RmsProp { rho, epsilon, momentum, centered, corrected, .. } => {
            let rho = decimal(rho);
            slots[0] = rho * slots[0] + (1.0 - rho) * g * g;
            let mut power = slots[0];
            if centered {
                let a = slots.len() - 1;
                slots[a] = rho * slots[a] + (1.0 - rho) * g;
                power = (power - slots[a] * slots[a]).max(0.0);
            }
            let c2 = if corrected { hyper[hyper::BIAS_CORRECTION2] } else { 1.0 };
            let direction = g / (power.sqrt() / c2.sqrt() + decimal(epsilon));
            if momentum != 0.0 {
                slots[1] = decimal(momentum) * slots[1] + direction;
                *w -= rate * slots[1];
            } else {
                *w -= rate * direction;
            }
        }
        Rule::Adagrad { epsilon, .. } => {
            slots[0] += g * g;
            *w -= rate * g / (slots[0].sqrt() + decimal(epsilon));
        }
        Rule::Lion { beta1, beta2 } => {
            let (b1, b2) = (decimal(beta1), decimal(beta2));
            let c = b1 * slots[0] + (1.0 - b1) * g;
            *w -= rate * if c == 0.0 { 0.0 } else { c.signum() };
            slots[0] = b2 * slots[0] + (1.0 - b2) * g;
        }
        Rule::Ftrl { learning_rate_power, l1, l2, l2_shrinkage, beta, .. } => {
            let power = -decimal(learning_rate_power);
            let n = slots[0] + g * g;
            let sigma = (n.powf(power) - slots[0].powf(power)) / rate;
            slots[1] += g + 2.0 * decimal(l2_shrinkage) * *w - sigma * *w;
            slots[0] = n;
            let q = n.powf(power) / rate + 2.0 * (decimal(l2) + decimal(beta) / (2.0 * rate));
            let l1 = decimal(l1);
            *w = (slots[1].clamp(-l1, l1) - slots[1]) / q;
        }
    }
}
