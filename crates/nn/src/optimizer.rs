//! Optimizers by Keras's names, as a recipe writes them, and the rules that they come down to.

use crate::error::{ModelError, require};
use crate::form::name_or_table;
use crate::rates::check_factors;
use crate::schedule::ScheduleSpec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidemill_graph::{Clip, Rule, SlotType, decimal, hyper};

/// How the parameters are updated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerSpec {
    /// Stochastic gradient descent, optionally with momentum.
    Sgd(Sgd),
    /// Adam (Kingma and Ba 2015).
    Adam(Adam),
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    #[serde(rename = "adamw", alias = "adam_w")]
    AdamW(AdamW),
    /// RMSprop (Hinton 2012), PyTorch's form.
    #[serde(rename = "rmsprop", alias = "rms_prop")]
    RmsProp(RmsProp),
    /// Adagrad (Duchi et al. 2011).
    Adagrad(Adagrad),
    /// Lion (Chen et al. 2023).
    Lion(Lion),
    /// FTRL-proximal (McMahan et al. 2013), Keras's form.
    Ftrl(Ftrl),
}

name_or_table!(
    OptimizerSpec,
    "an optimizer's name, or a table such as { adam = { learning_rate = 1e-3 } }"
);

/// How the slots of an optimizer are kept, for parameters of at least 4,096 elements; the others have f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotsSpec {
    /// 4 bytes an element.
    #[default]
    F32,
    /// bfloat16, 2 bytes an element, rounded at random.
    Bf16,
    /// 8-bit floats with a scale for each 256 elements, 1.016 bytes an element, rounded at random.
    #[serde(rename = "8bit")]
    Bits8,
}

impl SlotsSpec {
    /// What the graph calls it.
    pub fn slot_type(self) -> SlotType {
        match self {
            SlotsSpec::F32 => SlotType::F32,
            SlotsSpec::Bf16 => SlotType::Bf16,
            SlotsSpec::Bits8 => SlotType::Bits8,
        }
    }
}

/// How weight decay is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecayKind {
    /// Added to the gradient, as in PyTorch's SGD, Adam, RMSprop and Adagrad.
    L2,
    /// Subtracted from the parameter, times the learning rate, as in AdamW, Lion and all of Keras.
    Decoupled,
}

/// Writes an optimizer's options as a struct: its own ones, then those that all have.
macro_rules! optimizer {
    (
        $(#[$doc:meta])* $name:ident, learning_rate $rate:literal, weight_decay $decay:literal $kind:ident;
        $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            #[doc = concat!("A number or a schedule; ", stringify!($rate), " by default.")]
            pub learning_rate: ScheduleSpec,
            $($(#[$field_doc])* pub $field: $type,)*
            #[doc = concat!("Strength of weight decay; ", stringify!($decay), " by default.")]
            pub weight_decay: f64,
            /// How weight decay is applied.
            pub decay: DecayKind,
            /// Parameters without weight decay, by the last part of their names, such as `bias`,
            /// `gamma`, `beta`; none by default, as in PyTorch.
            pub exclude: Vec<String>,
            /// Factors of the learning rate by the paths of layers, such as `{ "layers.0" = 0.1 }`, with all layers inside
            /// them; of several the longest path decides, and `*` stands for any part of a path. All 1 by default.
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            pub rates: BTreeMap<String, f64>,
            /// Clips each element of each gradient to plus and minus this value; off by default.
            #[serde(alias = "clipvalue", skip_serializing_if = "Option::is_none")]
            pub clip_value: Option<f64>,
            /// Clips each gradient to this L2 norm; off by default.
            #[serde(alias = "clipnorm", skip_serializing_if = "Option::is_none")]
            pub clip_norm: Option<f64>,
            /// Clips all gradients together to this L2 norm; off by default.
            #[serde(
                alias = "global_clipnorm",
                alias = "clip_global_norm",
                skip_serializing_if = "Option::is_none"
            )]
            pub global_clip_norm: Option<f64>,
        }

        impl Default for $name {
            fn default() -> $name {
                $name {
                    learning_rate: ScheduleSpec::from($rate),
                    $($field: $default,)*
                    weight_decay: $decay,
                    decay: DecayKind::$kind,
                    exclude: vec![],
                    rates: BTreeMap::new(),
                    clip_value: None,
                    clip_norm: None,
                    global_clip_norm: None,
                }
            }
        }

        impl $name {
            /// This learning rate, the rest by default.
            pub fn new(learning_rate: impl Into<ScheduleSpec>) -> $name {
                $name { learning_rate: learning_rate.into(), ..$name::default() }
            }
        }
    };
}

optimizer! {
    /// Options of stochastic gradient descent.
    Sgd, learning_rate 0.01, weight_decay 0.0 L2;
    /// `mu` of the velocity `v = mu * v + g`; 0 by default, which keeps no velocity.
    momentum: f64 = 0.0,
    /// Whether to use Nesterov momentum; no by default.
    nesterov: bool = false,
    /// How the optimizer's slots are kept: `"f32"`, the default; `"bf16"` or `"8bit"` take a half or a quarter of the
    /// memory and round at random. Learning from a stream keeps f32, whatever is said here.
    slots: SlotsSpec = SlotsSpec::F32,
}
optimizer! {
    /// Options of Adam.
    Adam, learning_rate 1e-3, weight_decay 0.0 L2;
    /// Decay of the first moment; 0.9 by default.
    beta1: f64 = 0.9,
    /// Decay of the second moment; 0.999 by default.
    beta2: f64 = 0.999,
    /// Added to the denominator; 1e-7 by default, as in Keras (PyTorch: 1e-8).
    epsilon: f64 = 1e-7,
    /// How the optimizer's slots are kept: `"f32"`, the default; `"bf16"` or `"8bit"` take a half or a quarter of the
    /// memory and round at random. For training from stored data.
    slots: SlotsSpec = SlotsSpec::F32,
}
optimizer! {
    /// Options of AdamW.
    AdamW, learning_rate 1e-3, weight_decay 4e-3 Decoupled;
    /// Decay of the first moment; 0.9 by default.
    beta1: f64 = 0.9,
    /// Decay of the second moment; 0.999 by default.
    beta2: f64 = 0.999,
    /// Added to the denominator; 1e-7 by default, as in Keras (PyTorch: 1e-8).
    epsilon: f64 = 1e-7,
    /// How the optimizer's slots are kept: `"f32"`, the default; `"bf16"` or `"8bit"` take a half or a quarter of the
    /// memory and round at random. For training from stored data.
    slots: SlotsSpec = SlotsSpec::F32,
}
optimizer! {
    /// Options of RMSprop.
    RmsProp, learning_rate 1e-3, weight_decay 0.0 L2;
    /// Decay of the mean square; 0.9 by default, as in Keras (PyTorch's alpha: 0.99).
    rho: f64 = 0.9,
    /// `mu` of the velocity; 0 by default, which keeps no velocity.
    momentum: f64 = 0.0,
    /// Added to the denominator; 1e-7 by default, as in Keras (PyTorch: 1e-8).
    epsilon: f64 = 1e-7,
    /// Whether the squared mean of the gradients is subtracted from the mean square; no by default.
    centered: bool = false,
    /// Whether the bias of the mean square in the first steps is corrected, as in Adam; no by
    /// default.
    bias_correction: bool = false,
    /// Whether elements whose gradient is exactly 0, such as those of features that did not occur,
    /// and their mean squares are left unchanged; no by default.
    lazy: bool = false,
    /// How the optimizer's slots are kept: `"f32"`, the default; `"bf16"` or `"8bit"` take a half or a quarter of the
    /// memory and round at random. For training from stored data.
    slots: SlotsSpec = SlotsSpec::F32,
}
optimizer! {
    /// Options of Adagrad.
    Adagrad, learning_rate 1e-3, weight_decay 0.0 L2;
    /// Initial value of the accumulator; 0.1 by default, as in Keras (PyTorch: 0).
    initial_accumulator: f64 = 0.1,
    /// Added to the denominator; 1e-7 by default, as in Keras (PyTorch: 1e-10).
    epsilon: f64 = 1e-7,
}
optimizer! {
    /// Options of Lion.
    Lion, learning_rate 1e-3, weight_decay 0.0 Decoupled;
    /// Interpolation of the update; 0.9 by default.
    beta1: f64 = 0.9,
    /// Decay of the momentum; 0.99 by default.
    beta2: f64 = 0.99,
    /// How the optimizer's slots are kept: `"f32"`, the default; `"bf16"` or `"8bit"` take a half or a quarter of the
    /// memory and round at random. For training from stored data.
    slots: SlotsSpec = SlotsSpec::F32,
}
optimizer! {
    /// Options of FTRL-proximal.
    Ftrl, learning_rate 1e-3, weight_decay 0.0 L2;
    /// Power of the learning rate, at most 0; -0.5 by default.
    learning_rate_power: f64 = -0.5,
    /// Initial value of the accumulator; 0.1 by default.
    initial_accumulator: f64 = 0.1,
    /// Strength of L1 regularization; 0 by default.
    l1: f64 = 0.0,
    /// Strength of L2 regularization; 0 by default.
    l2: f64 = 0.0,
    /// Strength of L2 shrinkage; 0 by default.
    l2_shrinkage: f64 = 0.0,
    /// `beta` of the paper; 0 by default.
    beta: f64 = 0.0,
}

/// The options that all optimizers have.
pub(crate) struct Common<'a> {
    learning_rate: &'a ScheduleSpec,
    pub(crate) weight_decay: f64,
    pub(crate) decay: DecayKind,
    pub(crate) exclude: &'a [String],
    pub(crate) rates: &'a BTreeMap<String, f64>,
    clips: [Option<f64>; 3],
}

macro_rules! common {
    ($spec:expr, $($variant:ident)*) => {
        match $spec {
            $(OptimizerSpec::$variant(o) => Common {
                learning_rate: &o.learning_rate,
                weight_decay: o.weight_decay,
                decay: o.decay,
                exclude: &o.exclude,
                rates: &o.rates,
                clips: [o.clip_value, o.clip_norm, o.global_clip_norm],
            },)*
        }
    };
}

macro_rules! clipped {
    ($spec:expr, $norm:expr, $($variant:ident)*) => {
        match $spec {
            $(OptimizerSpec::$variant(o) => o.global_clip_norm = Some($norm),)*
        }
    };
}

impl OptimizerSpec {
    /// Plain stochastic gradient descent.
    pub fn sgd(learning_rate: impl Into<ScheduleSpec>) -> OptimizerSpec {
        OptimizerSpec::Sgd(Sgd::new(learning_rate))
    }

    /// Adam with Keras's defaults.
    pub fn adam(learning_rate: impl Into<ScheduleSpec>) -> OptimizerSpec {
        OptimizerSpec::Adam(Adam::new(learning_rate))
    }

    /// What needs no tuning on a stream: RMSprop with a long memory, the bias of its first steps
    /// corrected, that leaves alone what did not occur. It is Adam without the first moment, which
    /// would go on moving weights after the event that moved them (`bench/default.py --ablation`).
    /// The rate of a stream, which has no known end, stays where it is; that of a run of batches falls
    /// to 0 as half a cosine.
    pub fn online() -> OptimizerSpec {
        OptimizerSpec::RmsProp(RmsProp {
            learning_rate: ScheduleSpec::Cosine {
                start: 2e-3,
                end: 0.0,
                warmup_steps: 0,
                warmup_from: 0.0,
                total_steps: None,
            },
            rho: 0.999,
            bias_correction: true,
            lazy: true,
            ..RmsProp::default()
        })
    }

    /// Its name in recipes.
    pub fn name(&self) -> &'static str {
        match self {
            OptimizerSpec::Sgd(_) => "sgd",
            OptimizerSpec::Adam(_) => "adam",
            OptimizerSpec::AdamW(_) => "adamw",
            OptimizerSpec::RmsProp(_) => "rmsprop",
            OptimizerSpec::Adagrad(_) => "adagrad",
            OptimizerSpec::Lion(_) => "lion",
            OptimizerSpec::Ftrl(_) => "ftrl",
        }
    }

    /// The learning rate over the steps.
    pub fn schedule(&self) -> &ScheduleSpec {
        self.common().learning_rate
    }

    /// How it moves a parameter.
    pub fn rule(&self) -> Rule {
        match *self {
            OptimizerSpec::Sgd(Sgd { momentum: 0.0, .. }) => Rule::Sgd,
            OptimizerSpec::Sgd(Sgd { momentum, nesterov, .. }) => {
                Rule::Momentum { momentum: momentum as f32, nesterov }
            }
            OptimizerSpec::Adam(Adam { beta1, beta2, epsilon, .. })
            | OptimizerSpec::AdamW(AdamW { beta1, beta2, epsilon, .. }) => {
                Rule::Adam { beta1: beta1 as f32, beta2: beta2 as f32, epsilon: epsilon as f32 }
            }
            OptimizerSpec::RmsProp(ref o) => Rule::RmsProp {
                rho: o.rho as f32,
                epsilon: o.epsilon as f32,
                momentum: o.momentum as f32,
                centered: o.centered,
                corrected: o.bias_correction,
                lazy: o.lazy,
            },
            OptimizerSpec::Adagrad(Adagrad { initial_accumulator, epsilon, .. }) => Rule::Adagrad {
                epsilon: epsilon as f32,
                initial_accumulator: initial_accumulator as f32,
            },
            OptimizerSpec::Lion(Lion { beta1, beta2, .. }) => {
                Rule::Lion { beta1: beta1 as f32, beta2: beta2 as f32 }
            }
            OptimizerSpec::Ftrl(ref o) => Rule::Ftrl {
                learning_rate_power: o.learning_rate_power as f32,
                initial_accumulator: o.initial_accumulator as f32,
                l1: o.l1 as f32,
                l2: o.l2 as f32,
                l2_shrinkage: o.l2_shrinkage as f32,
                beta: o.beta as f32,
            },
        }
    }

    /// How its slots are kept.
    pub fn slots(&self) -> SlotType {
        match self {
            OptimizerSpec::Sgd(o) => o.slots,
            OptimizerSpec::Adam(o) => o.slots,
            OptimizerSpec::AdamW(o) => o.slots,
            OptimizerSpec::RmsProp(o) => o.slots,
            OptimizerSpec::Lion(o) => o.slots,
            OptimizerSpec::Adagrad(_) | OptimizerSpec::Ftrl(_) => SlotsSpec::F32,
        }
        .slot_type()
    }

    /// The same with slots of f32, which is what learning from a stream needs: it resets single elements.
    pub fn with_f32_slots(mut self) -> OptimizerSpec {
        match &mut self {
            OptimizerSpec::Sgd(o) => o.slots = SlotsSpec::F32,
            OptimizerSpec::Adam(o) => o.slots = SlotsSpec::F32,
            OptimizerSpec::AdamW(o) => o.slots = SlotsSpec::F32,
            OptimizerSpec::RmsProp(o) => o.slots = SlotsSpec::F32,
            OptimizerSpec::Lion(o) => o.slots = SlotsSpec::F32,
            OptimizerSpec::Adagrad(_) | OptimizerSpec::Ftrl(_) => {}
        }
        self
    }

    /// The same with all gradients together clipped to an L2 norm, where nothing is said of clipping.
    pub fn or_clipped(mut self, norm: f64) -> OptimizerSpec {
        if self.clip() == Clip::None {
            clipped!(&mut self, norm, Sgd Adam AdamW RmsProp Adagrad Lion Ftrl);
        }
        self
    }

    /// How gradients are clipped.
    pub fn clip(&self) -> Clip {
        match self.common().clips {
            [Some(limit), _, _] => Clip::Value(limit as f32),
            [_, Some(limit), _] => Clip::Norm(limit as f32),
            [_, _, Some(limit)] => Clip::GlobalNorm(limit as f32),
            _ => Clip::None,
        }
    }

    /// Whether its options make sense.
    pub fn validate(&self) -> Result<(), ModelError> {
        let at = |option: &str| format!("optimizer.{}.{option}", self.name());
        let common = self.common();
        common.learning_rate.validate(&at("learning_rate"))?;
        let decay = common.weight_decay;
        require(decay >= 0.0, || at("weight_decay"), "at least 0", decay)?;
        for (limit, name) in
            common.clips.iter().zip(["clip_value", "clip_norm", "global_clip_norm"])
        {
            let limit = limit.unwrap_or(1.0);
            require(limit > 0.0, || at(name), "above 0", limit)?;
        }
        check_factors(common.rates, &at)?;
        if common.clips.iter().flatten().count() > 1 {
            return Err(ModelError::new(
                format!("optimizer.{}", self.name()),
                "must have at most one of clip_value, clip_norm and global_clip_norm",
            ));
        }
        if self.slots() != SlotType::F32 {
            let message = match self.rule() {
                Rule::Sgd => "has no effect without momentum, which is all that SGD keeps",
                Rule::RmsProp { lazy: true, .. } => {
                    "must be \"f32\" with lazy, which leaves elements exactly as they are"
                }
                _ => "",
            };
            if !message.is_empty() {
                return Err(ModelError::new(at("slots"), message));
            }
        }
        let share = |value: f64, name: &str| {
            require((0.0..1.0).contains(&value), || at(name), "from 0 to below 1", value)
        };
        let epsilon = |value: f64| require(value >= 0.0, || at("epsilon"), "at least 0", value);
        match self {
            OptimizerSpec::Sgd(o) => {
                share(o.momentum, "momentum")?;
                let sound = !o.nesterov || o.momentum > 0.0;
                require(sound, || at("momentum"), "above 0 with nesterov", o.momentum)
            }
            OptimizerSpec::Adam(Adam { beta1, beta2, epsilon: e, .. })
            | OptimizerSpec::AdamW(AdamW { beta1, beta2, epsilon: e, .. }) => {
                share(*beta1, "beta1")?;
                share(*beta2, "beta2")?;
                epsilon(*e)
            }
            OptimizerSpec::RmsProp(o) => {
                share(o.rho, "rho")?;
                share(o.momentum, "momentum")?;
                if o.lazy && (o.momentum > 0.0 || o.centered) {
                    return Err(ModelError::new(
                        at("lazy"),
                        "has no meaning with momentum or centered, which move elements without a gradient",
                    ));
                }
                epsilon(o.epsilon)
            }
            OptimizerSpec::Adagrad(o) => epsilon(o.epsilon),
            OptimizerSpec::Lion(o) => {
                share(o.beta1, "beta1")?;
                share(o.beta2, "beta2")
            }
            OptimizerSpec::Ftrl(o) => {
                let power = o.learning_rate_power;
                require(power <= 0.0, || at("learning_rate_power"), "at most 0", power)
            }
        }
    }

    pub(crate) fn common(&self) -> Common<'_> {
        common!(self, Sgd Adam AdamW RmsProp Adagrad Lion Ftrl)
    }
}

/// The vector that step number `t`, counted from 1, reads. Bias corrections are computed in f64: in
/// f32 `1 - 0.999^t` would lose digits.
pub fn hyper_values(rule: &Rule, learning_rate: f64, t: u64) -> [f32; hyper::LEN] {
    let (beta1, beta2) = match *rule {
        Rule::Adam { beta1, beta2, .. } => (decimal(beta1), decimal(beta2)),
        Rule::RmsProp { rho, corrected: true, .. } => (0.0, decimal(rho)),
        _ => (0.0, 0.0),
    };
    // beta^t is below exp(-t (1 - beta)), which from 40 on takes nothing off 1.
    let correction = |beta: f64| match t as f64 * (1.0 - beta) {
        40.0.. => 1.0,
        _ => (1.0 - beta.powf(t as f64)) as f32,
    };
    let mut values = [0.0; hyper::LEN];
    values[hyper::LEARNING_RATE] = learning_rate as f32;
    values[hyper::BIAS_CORRECTION1] = correction(beta1);
    values[hyper::BIAS_CORRECTION2] = correction(beta2);
    values[hyper::GRADIENT_SCALE] = 1.0;
    values[hyper::STEP] = t as f32;
    values
}
