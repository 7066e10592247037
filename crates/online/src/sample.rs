//! An event as a model takes it.

use tidemill_engine::fields::{Batch, Truth};
use tidemill_recipe::stream::Feature;
use tidemill_recipe::stream::features::{Encoder, FreedRow, Label};

/// An event as a model takes it.
#[derive(Debug)]
pub struct Sample<'a> {
    /// What is known of it before its label.
    pub inputs: Inputs<'a>,
    /// What is true of it.
    pub truth: Truth<'a>,
    /// How much it counts: 0 or more.
    pub weight: f32,
    /// How its target was scaled, if it was.
    pub scale: Option<Scale>,
    /// Whether it was scored before, by a prediction of its arrival.
    pub scored: bool,
    /// Rows of embedding tables that belong to other ids from here on.
    pub freed: Vec<FreedRow>,
    /// What encoded it, for the watch on its columns.
    pub encoder: Option<&'a Encoder>,
}

/// The inputs of an event.
#[derive(Clone, Copy, Debug)]
pub enum Inputs<'a> {
    /// The one field of a network's inputs.
    Row(&'a [f32]),
    /// This row of a batch.
    Fields(&'a Batch, usize),
    /// The features of a hashed linear model.
    Features(&'a [Feature]),
}

/// How a target was scaled: `(target - mean) / deviation`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Taken off the target; NaN before the first target, when nothing gives the units.
    pub mean: f64,
    /// What the rest was divided by.
    pub deviation: f64,
    /// The target as it came.
    pub target: f64,
}

impl Scale {
    /// An output of the model in the units of the targets; `None` before the first target.
    pub fn value(&self, output: f32) -> Option<f64> {
        (!self.mean.is_nan()).then(|| f64::from(output) * self.deviation + self.mean)
    }
}

/// What a label says of an event.
pub(crate) fn truth_of(label: Option<&Label>) -> Truth<'_> {
    match label {
        None => Truth::Unknown,
        Some(Label::Class(class)) => Truth::Class(*class),
        Some(Label::Value(target)) => Truth::Values(std::slice::from_ref(target)),
        Some(Label::Set(values)) => Truth::Values(values),
    }
}

impl<'a> Sample<'a> {
    /// A sample of weight 1 that was neither scaled nor scored.
    pub fn new(inputs: Inputs<'a>, truth: Truth<'a>) -> Sample<'a> {
        let (freed, encoder) = (Vec::new(), None);
        Sample { inputs, truth, weight: 1.0, scale: None, scored: false, freed, encoder }
    }
}
