//! What is learned of a table or stream beside the weights.

use serde::{Deserialize, Serialize};

use crate::events::Schema;
use crate::features::{Encoder, Labels};

/// How records become a model's inputs and labels: what batch training on a table has fitted and
/// learning from a stream goes on with, and the other way round. Part of each checkpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Known {
    /// What records consist of.
    pub schema: Option<Schema>,
    /// Columns to inputs.
    pub encoder: Option<Encoder>,
    /// Labels to classes or targets.
    pub labels: Option<Labels>,
    /// The first value of each column, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<String>,
}
