//! What a recipe says about a hashed linear model.

use serde::{Deserialize, Serialize};

/// A linear model over hashed features, in a recipe without `[model]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearSpec {
    /// The table has 2 to this power rows of 16 bytes each, for each class: 4 MiB for the default of 18.
    pub bits: u32,
    /// Number of classes, with the loss `sparse_categorical_crossentropy`: each has a weight vector of its
    /// own, and a softmax makes probabilities of them. By default as many as `online.classes` names.
    pub classes: Option<usize>,
    /// Columns that interact: each list of two or more is a further feature of an event, as Vowpal Wabbit's
    /// `-q`, `--cubic` and `--interactions` make them. Its value is the product of the columns' values;
    /// a text counts as 1, and each combination of texts has a weight. `[["user", "item"]]`, for example;
    /// name ids that are numbers in `stream.text`.
    pub interactions: Vec<Vec<String>>,
    /// The update rule.
    pub rule: UpdateRule,
    /// The learning rate. The default of 0.5 suits the default rule; plain SGD usually needs less,
    /// FTRL about 0.1.
    pub learning_rate: f64,
    /// Strength of L1 regularization of the weights of an event's features; 0 by default.
    pub l1: f64,
    /// Strength of L2 regularization of the weights of an event's features; 0 by default.
    pub l2: f64,
    /// FTRL only: added to the square root of the sum of squared gradients; 1 by default.
    pub beta: f64,
    /// Whether the model has a bias (a constant feature); yes by default.
    pub bias: bool,
}

/// The update rule. All but FTRL are importance-weight aware: however large the learning rate or
/// the event's weight, an update never moves the prediction past the label (Karampatziakis and
/// Langford, *Online importance weight aware updates*, 2011).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateRule {
    /// Gradient descent with one learning rate for all features.
    Sgd,
    /// A learning rate for each feature, which falls as the feature learns (Duchi, Hazan and
    /// Singer, *Adaptive subgradient methods*, 2011).
    #[serde(alias = "adagrad")]
    Adaptive,
    /// One learning rate for all features, independent of their scales (Ross, Mineiro and Langford,
    /// 2013). Follows drifting streams better than adaptive rates, which only fall.
    Normalized,
    /// Adaptive, and independent of the scales of the features (Ross, Mineiro and Langford,
    /// *Normalized online learning*, 2013): the default of Vowpal Wabbit.
    #[default]
    NormalizedAdaptive,
    /// Follow the regularized leader (McMahan et al., *Ad click prediction: a view from the
    /// trenches*, 2013); with `l1`, most weights are exactly 0.
    Ftrl,
}

impl Default for LinearSpec {
    fn default() -> Self {
        LinearSpec {
            bits: 18,
            classes: None,
            interactions: Vec::new(),
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

    /// The first key that is invalid, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if !Self::BITS.contains(&self.bits) {
            let (least, most) = (Self::BITS.start(), Self::BITS.end());
            return Err((
                "bits",
                format!("must be a number from {least} to {most}, found {}", self.bits),
            ));
        }
        if let Some(classes @ (0 | 1)) = self.classes {
            return Err(("classes", format!("must be 2 or more, found {classes}")));
        }
        if let Some(short) = self.interactions.iter().find(|columns| columns.len() < 2) {
            let what = format!("are of two columns or more, found {short:?}");
            return Err(("interactions", what));
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
