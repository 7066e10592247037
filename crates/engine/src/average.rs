//! Weights averaged over a run, beside those that learn. An average often predicts better than the weights of any one step
//! (Polyak and Juditsky 1992; Izmailov et al. 2018).

use crate::checkpoint::Checkpoint;
use crate::engine::{Engine, StateTensor};
use crate::error::Result;
use serde::Deserialize;

/// What the names of the averaged weights start with in a checkpoint.
const GROUP: &str = "average/";

/// How weights are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Averaging {
    /// An exponential moving average: the share of the old average that is kept at each step, such as 0.999. At most
    /// `(1 + t) / (10 + t)` at the t-th step, so that the start of a run is soon forgotten.
    Ema(f64),
    /// The mean of the weights at the ends of the last epochs, this many at most, as translation models are often averaged over
    /// checkpoints (Vaswani et al. 2017). A checkpoint holds the weights of each.
    Epochs(usize),
}

/// The averages of an engine's weights.
#[derive(Clone, Debug)]
pub struct Average {
    how: Averaging,
    /// Of each parameter, in the order of the engine's state.
    values: Vec<Vec<f32>>,
    /// The weights at the ends of epochs, the oldest first, where their mean is the average.
    ends: Vec<Vec<Vec<f32>>>,
    /// Where each parameter is in the engine's state.
    places: Vec<usize>,
}

impl Average {
    /// The average of an engine's weights as they are.
    pub fn new(engine: &Engine, how: Averaging) -> Average {
        let places: Vec<usize> = engine.parameters().map(|(place, _)| place).collect();
        let values = places.iter().map(|&place| engine.tensor(place).to_vec()).collect();
        Average { how, values, ends: Vec::new(), places }
    }

    /// The averages that a checkpoint holds; those of the engine's weights where it holds none, such as one of a run
    /// that had no averages.
    ///
    /// # Errors
    /// If they are those of another model.
    pub fn restore(engine: &Engine, how: Averaging, checkpoint: &Checkpoint) -> Result<Average> {
        let mut average = Average::new(engine, how);
        if let Some(values) = group(engine, GROUP, checkpoint)? {
            average.values = values;
        }
        if let Averaging::Epochs(most) = how {
            while let Some(values) = group(engine, &of_end(average.ends.len()), checkpoint)? {
                average.ends.push(values);
            }
            average.keep(most);
        }
        Ok(average)
    }

    /// Whether a checkpoint holds averages.
    pub fn is_in(checkpoint: &Checkpoint) -> bool {
        checkpoint.tensors.iter().any(|t| t.name.starts_with(GROUP))
    }

    /// Takes in the weights after step `step`, counted from 1.
    pub fn add(&mut self, engine: &Engine, step: u64) {
        let Averaging::Ema(decay) = self.how else { return };
        let t = step as f64;
        let share = (1.0 - decay.min((1.0 + t) / (10.0 + t))) as f32;
        for (values, &place) in self.values.iter_mut().zip(&self.places) {
            for (average, &weight) in values.iter_mut().zip(engine.tensor(place)) {
                *average += share * (weight - *average);
            }
        }
    }

    /// Takes in the weights at the end of an epoch.
    pub fn end_epoch(&mut self, engine: &Engine) {
        let Averaging::Epochs(most) = self.how else { return };
        self.ends.push(self.places.iter().map(|&place| engine.tensor(place).to_vec()).collect());
        self.keep(most);
        let count = self.ends.len() as f64;
        for (i, values) in self.values.iter_mut().enumerate() {
            for (j, average) in values.iter_mut().enumerate() {
                let sum: f64 = self.ends.iter().map(|end| f64::from(end[i][j])).sum();
                *average = (sum / count) as f32;
            }
        }
    }

    fn keep(&mut self, most: usize) {
        self.ends.drain(..self.ends.len().saturating_sub(most));
    }

    /// Whether there is an average yet: of epochs there is none before the first has ended.
    fn is_there(&self) -> bool {
        matches!(self.how, Averaging::Ema(_)) || !self.ends.is_empty()
    }

    /// The engine's weights trade places with the averages, if there are some yet.
    pub fn swap(&mut self, engine: &mut Engine) {
        if self.is_there() {
            for (values, &place) in self.values.iter_mut().zip(&self.places) {
                values.swap_with_slice(engine.tensor_mut(place));
            }
        }
    }

    /// As tensors of a checkpoint.
    pub fn tensors<'a>(&'a self, engine: &'a Engine) -> impl Iterator<Item = StateTensor> + 'a {
        let averages = self.is_there().then(|| (GROUP.to_owned(), &self.values));
        let ends = self.ends.iter().enumerate().map(|(i, values)| (of_end(i), values));
        averages.into_iter().chain(ends).flat_map(move |(group, values)| {
            engine.parameters().zip(values).map(move |((place, name), values)| StateTensor {
                name: format!("{group}{name}"),
                shape: engine.tensor_shape(place).to_vec(),
                parameter: false,
                values: values.clone().into(),
            })
        })
    }
}

/// What the names of the weights at the end of an epoch start with.
fn of_end(index: usize) -> String {
    format!("epoch.{index}/")
}

/// The tensors of a group of a checkpoint, one of each parameter's shape; `None` if it has none of them.
fn group(engine: &Engine, group: &str, checkpoint: &Checkpoint) -> Result<Option<Vec<Vec<f32>>>> {
    let mut found = Vec::new();
    for (place, name) in engine.parameters() {
        let own = |t: &&StateTensor| t.name.strip_prefix(group) == Some(name);
        match checkpoint.tensors.iter().find(own) {
            Some(kept) if kept.values.len() == engine.tensor(place).len() => {
                let values = kept.elements().map_err(|e| checkpoint.unusable(e))?;
                found.push(values.to_vec());
            }
            Some(kept) => {
                let (name, shape) = (&kept.name, &kept.shape);
                return Err(checkpoint.misfit(&format!("{name} has the shape {shape:?}")));
            }
            // A parameter that was added since starts as it is.
            None => found.push(engine.tensor(place).to_vec()),
        }
    }
    let is_there = checkpoint.tensors.iter().any(|t| t.name.starts_with(group));
    Ok(is_there.then_some(found))
}
