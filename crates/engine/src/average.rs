//! Weights averaged over the steps of a run, beside those that learn.
//!
//! `average <- average + (1 - decay) (weights - average)` after each step, with the decay of the t-th step at most
//! `(1 + t) / (10 + t)`, so that the start of a run is soon forgotten. The average often predicts better than the
//! weights of any one step (Polyak and Juditsky 1992; Izmailov et al. 2018).

use crate::checkpoint::Checkpoint;
use crate::engine::{Engine, StateTensor};
use crate::error::Result;

/// What the names of the averaged weights start with in a checkpoint.
const GROUP: &str = "average/";

/// The averages of an engine's weights.
#[derive(Clone, Debug)]
pub struct Average {
    decay: f64,
    /// Of each parameter, in the order of the engine's state.
    values: Vec<Vec<f32>>,
    /// Where each parameter is in the engine's state.
    places: Vec<usize>,
}

impl Average {
    /// The average of an engine's weights as they are.
    pub fn new(engine: &Engine, decay: f64) -> Average {
        let places: Vec<usize> = engine.parameters().map(|(place, _)| place).collect();
        let values = places.iter().map(|&place| engine.tensor(place).to_vec()).collect();
        Average { decay, values, places }
    }

    /// The averages that a checkpoint holds; those of the engine's weights where it holds none, such as one of a run
    /// that had no averages.
    ///
    /// # Errors
    /// If they are those of another model.
    pub fn restore(engine: &Engine, decay: f64, checkpoint: &Checkpoint) -> Result<Average> {
        let mut average = Average::new(engine, decay);
        for (values, (_, name)) in average.values.iter_mut().zip(engine.parameters()) {
            let own = |t: &&StateTensor| t.name.strip_prefix(GROUP) == Some(name);
            match checkpoint.tensors.iter().find(own) {
                Some(kept) if kept.values.len() == values.len() => {
                    values.copy_from_slice(&kept.values);
                }
                Some(kept) => {
                    let (name, shape) = (&kept.name, &kept.shape);
                    return Err(checkpoint.misfit(&format!("{name} has the shape {shape:?}")));
                }
                None => {}
            }
        }
        Ok(average)
    }

    /// Whether a checkpoint holds averages.
    pub fn is_in(checkpoint: &Checkpoint) -> bool {
        checkpoint.tensors.iter().any(|t| t.name.starts_with(GROUP))
    }

    /// Takes in the weights after step `step`, counted from 1.
    pub fn add(&mut self, engine: &Engine, step: u64) {
        let t = step as f64;
        let share = (1.0 - self.decay.min((1.0 + t) / (10.0 + t))) as f32;
        for (values, &place) in self.values.iter_mut().zip(&self.places) {
            for (average, &weight) in values.iter_mut().zip(engine.tensor(place)) {
                *average += share * (weight - *average);
            }
        }
    }

    /// The engine's weights trade places with the averages.
    pub fn swap(&mut self, engine: &mut Engine) {
        for (values, &place) in self.values.iter_mut().zip(&self.places) {
            values.swap_with_slice(engine.tensor_mut(place));
        }
    }

    /// As tensors of a checkpoint.
    pub fn tensors<'a>(&'a self, engine: &'a Engine) -> impl Iterator<Item = StateTensor> + 'a {
        engine.parameters().zip(&self.values).map(|((place, name), values)| StateTensor {
            name: format!("{GROUP}{name}"),
            shape: engine.tensor_shape(place).to_vec(),
            parameter: false,
            values: values.clone(),
        })
    }
}
