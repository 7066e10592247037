//! What a recipe says about features.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::MAX_NUMBER;
use crate::error::{Error, Result};

/// How the columns of a table or of events become the model's inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeaturesSpec {
    /// How numbers are scaled.
    pub standardize: Standardize,
    /// Scaled numbers are clipped to plus and minus this. Default: 3.
    pub clip: f64,
    /// After its first 100 values, a column's running mean and deviation take a value as at most
    /// this many standard deviations away, so that outliers do not distort them; `inf` gives the
    /// plain mean and variance. Default: 10.
    pub max_deviations: f64,
    /// Number that replaces a missing one. Default: none; a missing number is 0 after scaling, which is
    /// the mean where numbers are standardized.
    pub fill: Option<f64>,
    /// Whether each numeric column gets a second input that is 1 if the number is missing. Default:
    /// false.
    pub missing_indicator: bool,
    /// The columns that are numbers; all others are categories. By default this is decided from the
    /// whole training table, or from the first events of a stream.
    pub numeric: Option<Vec<String>>,
    /// Encoding of single columns as categories, by column name, even if their values are numbers.
    pub categorical: BTreeMap<String, Categorical>,
    /// Encoding of the text columns that `categorical` does not name.
    pub text: Categorical,
    /// Factor of the input vector's numbers, such as 1/255 for pixels, in place of `standardize`. None
    /// by default: the vector's numbers are scaled as those of columns are.
    pub vector_scale: Option<f64>,
    /// Added to the input vector's numbers after `vector_scale`, in place of `standardize`. None by
    /// default.
    pub vector_offset: Option<f64>,
    /// Whether columns of which no value is known yet are taken to be text; set where that alone fits
    /// the model's inputs.
    #[serde(skip)]
    pub unknown_is_text: bool,
    /// Hats of each column of numbers, see [`super::hats`]; set where the model reads them.
    #[serde(skip)]
    pub hats: Option<usize>,
    /// Columns that the encoder leaves to inputs of words; set from the model's inputs.
    #[serde(skip)]
    pub sequences: Vec<String>,
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
            vector_scale: None,
            vector_offset: None,
            unknown_is_text: false,
            hats: None,
            sequences: Vec::new(),
        }
    }
}

/// How numbers are scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Standardize {
    /// Not scaled; a missing number is 0.
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

/// Encoding of a column of categories or text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Categorical {
    /// One-hot by hash: one input per bucket, 1 for the bucket of the text's hash.
    Hashing {
        /// Number of buckets, which is the number of inputs.
        buckets: usize,
    },
    /// One-hot by dictionary: one input for each of the first `capacity` different texts, and one
    /// (the first) for all others.
    Dictionary {
        /// Number of texts that get an input of their own.
        capacity: usize,
    },
    /// Bag of words: an input for each of the text's first `most` different words, which is a row
    /// of an embedding table: 1 to `buckets` by the word's hash, 0 where there is no word. Words
    /// are runs of letters and digits, in lower case.
    Words {
        /// Number of rows of the embedding table, besides row 0.
        buckets: usize,
        /// Number of words, which is the number of inputs; 64 by default.
        #[serde(default = "sixty_four")]
        most: usize,
    },
    /// One input, which is a row of an embedding table; row 0 is for texts without a row of their
    /// own.
    Embedding {
        /// Number of rows of the embedding table, besides row 0.
        capacity: usize,
        /// A text gets a row of its own when it has been seen this often.
        #[serde(default = "one")]
        min_count: u32,
        /// A row is freed when its text has not been seen for this many events; never by default.
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
    /// How the input vector is scaled where that is fixed: factor and what is added then.
    pub(super) fn vector_map(&self) -> Option<(f64, f64)> {
        let is_given = self.vector_scale.is_some() || self.vector_offset.is_some();
        let given = (self.vector_scale.unwrap_or(1.0), self.vector_offset.unwrap_or(0.0));
        match self.standardize {
            _ if is_given => Some(given),
            Standardize::Running => None,
            Standardize::None => Some((1.0, 0.0)),
            Standardize::Scale { multiply, add } => Some((multiply, add)),
        }
    }

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
        if self.hats.is_some() && self.standardize != Standardize::Running {
            return usage(
                "model.hats has its knots on the standardized scale; leave online.features.standardize out, or \
                 model.hats"
                    .into(),
            );
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
        if let Some(offset) = self.vector_offset.filter(|offset| !offset.is_finite()) {
            return usage(format!("online.features.vector_offset must be finite, found {offset}"));
        }
        if let Some(scale) = self.vector_scale.filter(|scale| !scale.is_finite()) {
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
