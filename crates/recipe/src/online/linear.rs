//! What a recipe says about a hashed linear model.

use serde::{Deserialize, Serialize};

/// `online.linear`: the model of a recipe that has no `[model]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearSpec {
    /// The table has 2 to this power rows of 16 bytes; 18 by default, which is 4 MiB.
    pub bits: u32,
    /// How an event moves the weights.
    pub rule: UpdateRule,
    /// 0.5 by default. It suits the default rule; plain SGD mostly wants less, FTRL about 0.1.
    pub learning_rate: f64,
    /// Pulls the weights of an event's features to 0 by a constant; 0 by default.
    pub l1: f64,
    /// Shrinks the weights of an event's features by a share; 0 by default.
    pub l2: f64,
    /// FTRL only: what is added to the square root of the summed squared gradients; 1 by default.
    pub beta: f64,
    /// Whether each event has a constant feature; yes by default.
    pub bias: bool,
}

/// How an event moves the weights of its features. All but FTRL make the step that the event's loss
/// would make if it were taken in infinitely many small ones, so that even a great learning rate or
/// weight never goes past the label (Karampatziakis and Langford, *Online importance weight aware
/// updates*, 2011).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateRule {
    /// Gradient descent with one rate for all features.
    Sgd,
    /// A rate for each feature, the lower the more it has learned (Duchi, Hazan and Singer,
    /// *Adaptive subgradient methods*, 2011).
    #[serde(alias = "adagrad")]
    Adaptive,
    /// One rate for all features, whatever their scales (Ross, Mineiro and Langford, 2013): follows
    /// streams that change, where adaptive rates have grown low.
    Normalized,
    /// Adaptive, and the scale of a feature does not matter (Ross, Mineiro and Langford,
    /// *Normalized online learning*, 2013): what Vowpal Wabbit does by default.
    #[default]
    NormalizedAdaptive,
    /// Follow the regularized leader (McMahan et al., *Ad click prediction: a view from the
    /// trenches*, 2013); with `l1` it keeps most weights at exactly 0.
    Ftrl,
}

impl Default for LinearSpec {
    fn default() -> Self {
        LinearSpec {
            bits: 18,
            rule: UpdateRule::NormalizedAdaptive,
            learning_rate: 0.5,
            l1: 0.0,
            l2: 0.0,
            beta: 1.0,
            bias: true,
        }
    }
}

impl LinearSpec {
    /// The fewest and the most bits: below, nearly all features collide; above, the table has 16
    /// GiB.
    pub const BITS: std::ops::RangeInclusive<u32> = 4..=30;

    /// The first key that makes no sense, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if !Self::BITS.contains(&self.bits) {
            let (least, most) = (Self::BITS.start(), Self::BITS.end());
            return Err((
                "bits",
                format!("must be a number from {least} to {most}, found {}", self.bits),
            ));
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Err((
                "learning_rate",
                format!("must be a number above 0, found {}", self.learning_rate),
            ));
        }
        for (key, value) in [("l1", self.l1), ("l2", self.l2), ("beta", self.beta)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err((key, format!("must be a number of 0 or more, found {value}")));
            }
        }
        Ok(())
    }
}
