//! The learning rate that needs no tuning.
//!
//! The stream's default optimizer divides each gradient by its own running size, so that no unit of
//! the loss or of an input matters. What is left is how far one event moves an output: with such
//! steps that grows with the length of the event's inputs. A rate that suits some eight standardized
//! columns is ten times too large for the pixels of an image, so it is lowered for longer inputs.
//! `bench/default.py --ablation` compares it with what else could be the default.

use serde::{Deserialize, Serialize};
use tidemill_engine::nn::{LayerSpec, ModelSpec};

/// The squared length of inputs up to which the rate is taken as it is given: that of sixteen
/// standardized columns.
const SHORT: f64 = 16.0;
/// Events over which the mean runs.
const HORIZON: u64 = 10_000;

/// How long the inputs of the stream's events are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InputLength {
    /// Mean of the squared L2 norm.
    mean_square: f64,
    /// Events that it is the mean of.
    events: u64,
}

impl InputLength {
    /// One more event.
    pub fn add(&mut self, x: &[f32]) {
        let square = squared_norm(x);
        // The guard refuses such an event; it says nothing of the others.
        if !square.is_finite() {
            return;
        }
        self.events += 1;
        self.mean_square += (square - self.mean_square) / self.events.min(HORIZON) as f64;
    }

    /// What the learning rate is multiplied by: `min(1, 4 / rms(|x|))`.
    pub fn factor(&self) -> f64 {
        if self.mean_square > SHORT { (SHORT / self.mean_square).sqrt() } else { 1.0 }
    }
}

/// In a fixed order that needs no more than vector additions.
fn squared_norm(x: &[f32]) -> f64 {
    let chunks = x.chunks_exact(16);
    let rest: f32 = chunks.remainder().iter().map(|v| v * v).sum();
    let mut sums = [0.0f32; 16];
    for chunk in chunks {
        for (sum, v) in sums.iter_mut().zip(chunk) {
            *sum += v * v;
        }
    }
    f64::from(sums.iter().sum::<f32>() + rest)
}

/// How many of a model's inputs, from the first on, are numbers; the others are hats and rows of tables. Hats say
/// the numbers again: with them, the rate is that of the model without.
pub fn num_values(model: &ModelSpec) -> usize {
    let inputs: usize = model.input.shape().iter().product();
    let hats = model.hats.map_or(0, |hats| hats.inputs());
    match (model.entity_embedding(), model.layers.first()) {
        (Some(tables), _) => inputs.saturating_sub(tables.num_ids() + hats),
        (None, Some(LayerSpec::Embedding(_) | LayerSpec::EmbeddingBag(_))) => 0,
        _ => inputs.saturating_sub(hats),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_inputs_lower_the_rate() {
        let mut length = InputLength::default();
        assert_eq!(length.factor(), 1.0);
        length.add(&[1.0; 8]);
        assert_eq!(length.factor(), 1.0);
        let mut long = InputLength::default();
        for _ in 0..100 {
            long.add(&[1.0; 64]);
        }
        assert!((long.factor() - 0.5).abs() < 1e-12);
        long.add(&[f32::NAN; 64]);
        assert!((long.factor() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn all_values_count() {
        for len in [0, 1, 15, 16, 17, 33] {
            let x: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let exact: f64 = x.iter().map(|&v| f64::from(v).powi(2)).sum();
            assert_eq!(squared_norm(&x), exact);
        }
    }
}
