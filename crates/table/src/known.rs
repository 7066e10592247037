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
    /// Mean and standard deviation of each value of a frame, where samples are sounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<FrameMoments>,
    /// The type of the samples in arrays of NumPy, such as `uint8`, where it decides how they are scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_type: Option<String>,
}

impl Known {
    /// Whether something was learned by which other samples must be read.
    pub fn is_fitted(&self) -> bool {
        self.encoder.is_some() || self.frames.is_some()
    }

    /// This, of data, and beside it what a run has learned where the data has nothing but the type of its samples.
    pub fn beside(&self, run: &Known) -> Known {
        let of_data = self.is_fitted() || self.schema.is_some() || self.labels.is_some();
        match of_data {
            true => self.clone(),
            false => Known { sample_type: self.sample_type.clone(), ..run.clone() },
        }
    }
}

/// What the values of the frames of sounds are standardized by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FrameMoments {
    /// The mean of each value.
    pub mean: Vec<f32>,
    /// Its standard deviation.
    pub deviation: Vec<f32>,
}
