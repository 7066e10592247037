//! What a recipe says about features.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::MAX_NUMBER;
use crate::error::{Error, Result};

/// The keys of `[online.features]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeaturesSpec {
    /// How numbers are scaled. Default: `running`.
    pub standardize: Standardize,
    /// Scaled numbers are clipped to plus and minus this. Default: 3.
    pub clip: f64,
    /// After the first 100 values, a value counts for at most this many standard deviations when the
    /// running statistics learn from it, so that an outlier does not spoil them. Default: 10; `inf`
    /// for plain mean and variance.
    pub max_deviations: f64,
    /// What takes the place of a missing number, as if it had come. Default: nothing; such an input is
    /// 0, which stands for the mean where numbers are standardized.
    pub fill: Option<f64>,
    /// Whether each column of numbers has a second input, 1 where the number is missing.
    /// Default: false.
    pub missing_indicator: bool,
    /// The columns that are numbers; all others are categories. Default: by the first events,
    /// see [`super::Encoder::new`].
    pub numeric: Option<Vec<String>>,
    /// How columns are encoded that are categories, by name, also if they look like numbers.
    pub categorical: BTreeMap<String, Categorical>,
    /// How columns of text are encoded that `categorical` does not name. Default: a dictionary of
    /// 64.
    pub text: Categorical,
    /// What the numbers of the input vector are multiplied by: 1/255 for pixels. Default: 1.
    pub vector_scale: f64,
    /// What is added then: -0.5 moves scaled pixels to between -0.5 and 0.5. Default: 0.
    pub vector_offset: f64,
}

impl Default for FeaturesSpec {
    fn default() -> FeaturesSpec {
        FeaturesSpec {
            standardize: Standardize::Running,
            clip: 3.0,
            max_deviations: 10.0,
            fill: None,
            missing_indicator: false,
            numeric: None,
            categorical: BTreeMap::new(),
            text: Categorical::Dictionary { capacity: 64 },
            vector_scale: 1.0,
            vector_offset: 0.0,
        }
    }
}

/// How numbers are scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Standardize {
    /// Not at all; a missing number is 0.
    None,
    /// To mean 0 and standard deviation 1 by all rows of the training table, or by what the stream
    /// has shown so far, this event included; a missing number is the mean.
    #[default]
    Running,
    /// `number * multiply + add`; a missing number is 0.
    Scale {
        /// The factor.
        multiply: f64,
        /// What is added then; 0 by default.
        #[serde(default)]
        add: f64,
    },
}

/// How a column of categories is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Categorical {
    /// One input for each bucket: that of the text's hash is 1.
    Hashing {
        /// Inputs.
        buckets: usize,
    },
    /// One input for each of the first `capacity` texts, and one, the first, for all others.
    Dictionary {
        /// Texts that get an input of their own.
        capacity: usize,
    },
    /// One input for each of the text's first `most` different words: the row of an embedding table,
    /// from 1 on, by the word's hash; 0 for those that there are not. Words are runs of letters and
    /// digits, in lower case.
    Words {
        /// Rows besides row 0.
        buckets: usize,
        /// Inputs; 64 by default.
        #[serde(default = "sixty_four")]
        most: usize,
    },
    /// One input: the row of an embedding table. Row 0 is for all texts that have none.
    Embedding {
        /// Rows besides row 0.
        capacity: usize,
        /// A text gets a row when it has been seen this often.
        #[serde(default = "one")]
        min_count: u32,
        /// A row is freed when its text has not been seen for this many events; never if not given.
        #[serde(default)]
        expiry: Option<u64>,
    },
}

impl Categorical {
    /// Texts that it tells apart.
    pub(super) fn capacity(&self) -> usize {
        match *self {
            Categorical::Hashing { buckets } | Categorical::Words { buckets, .. } => buckets,
            Categorical::Dictionary { capacity } | Categorical::Embedding { capacity, .. } => {
                capacity
            }
        }
    }
}

fn one() -> u32 {
    1
}

fn sixty_four() -> usize {
    64
}

/// Rows and inputs that `f32` can still count exactly.
const MAX_CAPACITY: usize = (1 << 24) - 1;

impl FeaturesSpec {
    /// Refuses values that make no sense.
    pub(super) fn check(&self) -> Result<()> {
        let usage = |text: String| Err(Error::Usage(text));
        if self.clip.is_nan() || self.clip <= 0.0 {
            return usage(format!("online.features.clip must be above 0, found {}", self.clip));
        }
        if self.max_deviations.is_nan() || self.max_deviations < 1.0 {
            let found = self.max_deviations;
            return usage(format!(
                "online.features.max_deviations must be at least 1, found {found}"
            ));
        }
        if let Some(fill) = self.fill
            && fill.abs() > MAX_NUMBER
        {
            return usage(format!(
                "online.features.fill must be at most to {MAX_NUMBER:e}, found {fill}"
            ));
        }
        if self.fill.is_some() && self.missing_indicator {
            return usage(
                "online.features.fill takes the place of missing numbers, so missing_indicator would \
                 never be 1; leave one out"
                    .into(),
            );
        }
        if let Standardize::Scale { multiply, add } = self.standardize
            && !(multiply.is_finite() && add.is_finite())
        {
            return usage(format!(
                "online.features.standardize.scale must be finite, found {multiply} and {add}"
            ));
        }
        if !self.vector_offset.is_finite() {
            let offset = self.vector_offset;
            return usage(format!("online.features.vector_offset must be finite, found {offset}"));
        }
        if !self.vector_scale.is_finite() {
            let scale = self.vector_scale;
            return usage(format!("online.features.vector_scale must be finite, found {scale}"));
        }
        let named = self.categorical.iter().map(|(name, c)| (format!("categorical.{name}"), c));
        for (key, categorical) in named.chain([("text".to_owned(), &self.text)]) {
            let (what, size) = match categorical {
                Categorical::Hashing { buckets } => ("hashing.buckets", *buckets),
                Categorical::Words { most: 0, .. } => ("words.most", 0),
                Categorical::Words { buckets, .. } => ("words.buckets", *buckets),
                Categorical::Dictionary { capacity } => ("dictionary.capacity", *capacity),
                Categorical::Embedding { capacity, .. } => ("embedding.capacity", *capacity),
            };
            if size == 0 || size > MAX_CAPACITY {
                return usage(format!(
                    "online.features.{key}.{what} must be from 1 to {MAX_CAPACITY}, found {size}"
                ));
            }
        }
        if let Some(both) =
            self.numeric.iter().flatten().find(|n| self.categorical.contains_key(*n))
        {
            return usage(format!(
                "online.features: `{both}` is in both numeric and categorical; leave one out"
            ));
        }
        Ok(())
    }
}
