//! Optimizer rules: how a parameter changes, given its gradient.
//!
//! Rules are element by element, so that a kernel can apply them to a finished gradient tile while
//! it is still in registers. What changes from step to step (learning rate, bias corrections, the
//! scale of a global-norm clip) is read from the [`hyper`] vector, never baked into a plan.

use crate::packed::{Code, SIGNED, UNSIGNED};

/// Indices into the step's vector of hyper-parameters, an f32 input of [`hyper::LEN`] values.
pub mod hyper {
    /// Learning rate of this step, from the schedule.
    pub const LEARNING_RATE: usize = 0;
    /// `1 - beta1^t` with `t` the step's number from 1; 1 where the rule has no `beta1`.
    pub const BIAS_CORRECTION1: usize = 1;
    /// `1 - beta2^t`, or `1 - rho^t` of a corrected RMSprop; 1 where the rule has neither.
    pub const BIAS_CORRECTION2: usize = 2;
    /// Factor that every gradient is multiplied by first; 1 without global-norm clipping.
    /// Written by the plan itself where it clips by global norm.
    pub const GRADIENT_SCALE: usize = 3;
    /// The step's number `t`, from 1.
    pub const STEP: usize = 4;
    /// Length of the vector.
    pub const LEN: usize = 8;
}

/// The decimal number that a setting was written as: 0.999 rather than the f32 nearest to it, which
/// would make `1 - beta2` wrong by 1.3e-5. What computes with `1 - beta` starts from this.
pub fn decimal(setting: f32) -> f64 {
    // Below 1 a number of seven digits is the only one of its f32; it needs no text, which takes
    // longer than a small model's layer, and every step asks for it.
    let seven = (f64::from(setting) * 1e7).round() / 1e7;
    if setting.abs() < 1.0 && seven as f32 == setting {
        return seven;
    }
    setting.to_string().parse().unwrap_or(f64::from(setting))
}

/// How an optimizer moves one parameter element `w` with gradient `g`; `s0`, `s1`, ... are its
/// slots (state of the same shape as the parameter).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// `w -= lr g`
    Sgd,
    /// `s0 = mu s0 + g; w -= lr s0`, or with Nesterov `w -= lr (g + mu s0)` (PyTorch's form).
    Momentum {
        /// `mu`
        momentum: f32,
        /// Look ahead along the velocity.
        nesterov: bool,
    },
    /// Adam (Kingma and Ba 2015), PyTorch's form: `m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
    /// w -= lr / c1 * m / (sqrt(v) / sqrt(c2) + eps)` with `c1`, `c2` the bias corrections.
    /// AdamW is this rule with decoupled decay.
    Adam {
        /// Decay of the first moment.
        beta1: f32,
        /// Decay of the second moment.
        beta2: f32,
        /// Added to the denominator.
        epsilon: f32,
    },
    /// RMSprop, PyTorch's form: `v = rho v + (1-rho) g^2`; centered: `a = rho a + (1-rho) g`,
    /// denominator `sqrt(max(v - a^2, 0)) + eps`, else `sqrt(v) + eps`; with momentum:
    /// `b = mu b + g / denominator; w -= lr b`. Slots in the order v, b (if momentum), a (if centered).
    /// Corrected: `sqrt(v) / sqrt(c2)` in place of `sqrt(v)`, with `c2 = 1 - rho^t`, as in Adam. Lazy:
    /// elements whose gradient is exactly 0 stay as they are, with their slots.
    RmsProp {
        /// `rho`, PyTorch's alpha.
        rho: f32,
        /// Added to the denominator.
        epsilon: f32,
        /// `mu`; 0 has no slot.
        momentum: f32,
        /// Subtract the squared mean gradient.
        centered: bool,
        /// Correct the bias of `v` in the first steps.
        corrected: bool,
        /// Leave elements alone whose gradient is 0; only without momentum and centering.
        lazy: bool,
    },
    /// Adagrad (Duchi et al. 2011): `v += g^2; w -= lr g / (sqrt(v) + eps)`.
    Adagrad {
        /// Added to the denominator.
        epsilon: f32,
        /// Start value of the accumulator.
        initial_accumulator: f32,
    },
    /// Lion (Chen et al. 2023): `w -= lr sign(b1 m + (1-b1) g); m = b2 m + (1-b2) g`.
    Lion {
        /// Interpolation of the update.
        beta1: f32,
        /// Decay of the momentum.
        beta2: f32,
    },
    /// FTRL-proximal (McMahan et al. 2013), Keras's form; slots: accumulator n, linear z.
    /// `g' = g + 2 l2_shrinkage w; n' = n + g^2;
    /// z += g' - (n'^-p - n^-p) / lr w` with `p = learning_rate_power`;
    /// `q = n'^-p / lr + 2 (l2 + beta / (2 lr)); w = (clamp(z, -l1, l1) - z) / q`.
    Ftrl {
        /// At most 0; -0.5 is the usual one.
        learning_rate_power: f32,
        /// Start value of n.
        initial_accumulator: f32,
        /// L1 strength.
        l1: f32,
        /// L2 strength.
        l2: f32,
        /// L2 shrinkage strength.
        l2_shrinkage: f32,
        /// `beta` of the paper.
        beta: f32,
    },
}

impl Rule {
    /// Whether an element whose gradient is 0 stays as it is, with its slots.
    pub fn is_lazy(&self) -> bool {
        matches!(self, Rule::Sgd | Rule::RmsProp { lazy: true, .. })
    }

    /// The layout of a slot's elements in 8 bits; none where the rule has to keep what is far below the rest, as sums
    /// that only grow.
    pub fn slot_code(&self, slot: usize) -> Option<Code> {
        match (*self, slot) {
            (Rule::Momentum { .. } | Rule::Lion { .. } | Rule::Adam { .. }, 0) => Some(SIGNED),
            (Rule::Adam { .. }, 1) | (Rule::RmsProp { lazy: false, .. }, 0) => Some(UNSIGNED),
            (Rule::RmsProp { lazy: false, .. }, _) => Some(SIGNED),
            _ => None,
        }
    }

    /// Number of slots: tensors of the parameter's shape that the rule keeps.
    pub fn num_slots(&self) -> usize {
        match *self {
            Rule::Sgd => 0,
            Rule::Momentum { .. } | Rule::Adagrad { .. } | Rule::Lion { .. } => 1,
            Rule::Adam { .. } | Rule::Ftrl { .. } => 2,
            Rule::RmsProp { momentum, centered, .. } => {
                1 + usize::from(momentum != 0.0) + usize::from(centered)
            }
        }
    }

    /// Names of the slots, for checkpoints.
    pub fn slot_names(&self) -> Vec<&'static str> {
        match *self {
            Rule::Sgd => vec![],
            Rule::Momentum { .. } => vec!["momentum"],
            Rule::Adagrad { .. } => vec!["accumulator"],
            Rule::Lion { .. } => vec!["momentum"],
            Rule::Adam { .. } => vec!["m", "v"],
            Rule::Ftrl { .. } => vec!["accumulator", "linear"],
            Rule::RmsProp { momentum, centered, .. } => {
                let mut names = vec!["v"];
                if momentum != 0.0 {
                    names.push("momentum");
                }
                if centered {
                    names.push("mean");
                }
                names
            }
        }
    }

    /// What every element of the slots starts as.
    pub fn slot_start(&self) -> f32 {
        match *self {
            Rule::Adagrad { initial_accumulator, .. } => initial_accumulator,
            _ => 0.0,
        }
    }

    /// What every element of slot `index` starts as.
    pub fn slot_start_of(&self, index: usize) -> f32 {
        match *self {
            Rule::Ftrl { initial_accumulator, .. } if index == 0 => initial_accumulator,
            _ => self.slot_start(),
        }
    }
}

/// Weight decay of one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WeightDecay {
    /// None.
    None,
    /// `g += lambda w` before the rule and after clipping, as PyTorch does: clipping sees the loss's
    /// gradient alone.
    L2(f32),
    /// `w -= lr lambda w` before the rule (Loshchilov and Hutter 2019).
    Decoupled(f32),
}

/// Added to a norm before the limit is divided by it, as PyTorch's `clip_grad_norm_` does.
pub const CLIP_EPSILON: f64 = 1e-6;

/// How the gradients of a step are clipped. Clipping to a norm is that of PyTorch's
/// `clip_grad_norm_`: all elements are multiplied by `min(1, limit / (norm + 1e-6))`, which shortens
/// a gradient by up to a millionth more than Keras's `limit / max(norm, limit)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// Not at all.
    None,
    /// Each element to `[-limit, limit]`.
    Value(f32),
    /// Each parameter's gradient to an L2 norm of at most this.
    Norm(f32),
    /// All gradients together to an L2 norm of at most this.
    GlobalNorm(f32),
}
