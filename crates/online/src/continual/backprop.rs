//! Continual backprop (Dohare, Hernandez-Garcia, Lan, Rahman, Mahmood and Sutton 2024, "Loss of
//! plasticity in deep continual learning", algorithm 1; utility as in arXiv 2306.13812).
//!
//! A unit is useful as far as its activation varies and is read with large weights. Of the units
//! that are old enough, the least useful is drawn again at a steady, slow rate, so that there are
//! always fresh units, as there were at the start.

use tidemill_engine::nn::HiddenLayer;

use super::ContinualBackpropSpec;
use super::saved::{find, tensor};
use tidemill_engine::engine::{Engine, EngineError, StateTensor, StateValues};

/// All hidden layers.
#[derive(Clone, Debug)]
pub(super) struct ContinualBackprop {
    layers: Vec<Layer>,
}

/// The units of one layer.
#[derive(Clone, Debug)]
struct Layer {
    spec: ContinualBackpropSpec,
    hidden: HiddenLayer,
    /// The output of a step that holds the activations.
    output: String,
    places: Places,
    /// Running mean of the activation.
    mean: Vec<f32>,
    /// Running mean of the utility.
    utility: Vec<f32>,
    /// `decay^age`: what of both means is still their start, 0.
    fade: Vec<f32>,
    /// Steps since the unit was drawn.
    age: Vec<u32>,
    /// Replacements that are due, in parts of one.
    due: f64,
    /// Of a step: sums over its rows, and the mean as far as it is known.
    sums: Vec<f32>,
    now: Vec<f32>,
}

/// Where the weights of a layer's units are in the engine's state; with each its optimizer slots.
#[derive(Clone, Debug)]
struct Places {
    /// `[inputs, units]`
    kernel: Place,
    /// `[units]`
    bias: Option<Place>,
    /// `[units, next units]`
    outgoing: Place,
    /// `[next units]`
    next_bias: Option<Place>,
}

#[derive(Clone, Debug)]
struct Place {
    index: usize,
    /// Of each slot: its place, and what it starts as.
    slots: Vec<(usize, f32)>,
}

impl Place {
    fn of(engine: &Engine, name: &str) -> Option<Place> {
        Some(Place { index: engine.find_tensor(name)?, slots: engine.slots_of(name) })
    }
}

impl ContinualBackprop {
    pub(super) fn new(spec: &ContinualBackpropSpec, engine: &mut Engine) -> ContinualBackprop {
        engine.watch_hidden();
        let hidden = engine.spec().model.hidden_layers();
        let layer = |hidden| Layer::new(spec.clone(), hidden, engine);
        ContinualBackprop { layers: hidden.into_iter().filter_map(layer).collect() }
    }

    /// After a step: sees its activations, and replaces the units that are due.
    pub(super) fn learned(&mut self, engine: &mut Engine) {
        for layer in &mut self.layers {
            layer.observe(engine);
        }
        for layer in &mut self.layers {
            while layer.due >= 1.0 {
                layer.due -= 1.0;
                let Some(unit) = layer.least_useful() else { break };
                layer.replace(unit, engine);
            }
        }
    }

    pub(super) fn tensors(&self) -> Vec<StateTensor> {
        self.layers.iter().flat_map(Layer::tensors).collect()
    }

    /// Takes over what was saved; says whether nothing is missing.
    pub(super) fn restore(&mut self, tensors: &[StateTensor]) -> Result<bool, EngineError> {
        for layer in &mut self.layers {
            if !layer.restore(tensors)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Layer {
    fn new(spec: ContinualBackpropSpec, hidden: HiddenLayer, engine: &Engine) -> Option<Layer> {
        let place = |path: &str, part: &str| Place::of(engine, &format!("{path}.{part}"));
        let places = Places {
            kernel: place(&hidden.path, "kernel")?,
            bias: place(&hidden.path, "bias"),
            outgoing: place(&hidden.next, "kernel")?,
            next_bias: place(&hidden.next, "bias"),
        };
        let units = hidden.units;
        Some(Layer {
            spec,
            output: format!("{}.inputs", hidden.next),
            hidden,
            places,
            mean: vec![0.0; units],
            utility: vec![0.0; units],
            fade: vec![1.0; units],
            age: vec![0; units],
            due: 0.0,
            sums: vec![0.0; units],
            now: vec![0.0; units],
        })
    }

    fn observe(&mut self, engine: &Engine) {
        let Some(activations) = engine.output(&self.output) else { return };
        let units = self.hidden.units;
        let outgoing = engine.tensor(self.places.outgoing.index);
        let width = outgoing.len() / units;
        let (decay, fresh) = (self.spec.decay as f32, 1.0 - self.spec.decay as f32);
        let per_row = 1.0 / (activations.len() / units).max(1) as f32;
        // One plain loop for each thing, so that the compiler takes many units at once.
        self.sums.fill(0.0);
        for row in activations.chunks_exact(units) {
            self.sums.iter_mut().zip(row).for_each(|(sum, &h)| *sum += h);
        }
        // Far below what it is compared with, and above the slow numbers near 0.
        let faded = |fade: f32| if fade < 1e-12 { 0.0 } else { fade };
        self.fade.iter_mut().for_each(|fade| *fade = faded(*fade * decay));
        for ((mean, now), &sum) in self.mean.iter_mut().zip(&mut self.now).zip(&self.sums) {
            *mean = decay * *mean + fresh * (sum * per_row);
            *now = *mean;
        }
        self.now.iter_mut().zip(&self.fade).for_each(|(now, &fade)| *now /= 1.0 - fade);
        self.sums.fill(0.0);
        for row in activations.chunks_exact(units) {
            for ((sum, &h), &now) in self.sums.iter_mut().zip(row).zip(&self.now) {
                *sum += (h - now).abs();
            }
        }
        let weights = outgoing.chunks_exact(width);
        for ((utility, &sum), weights) in self.utility.iter_mut().zip(&self.sums).zip(weights) {
            let now = sum * per_row * sum_of_magnitudes(weights);
            *utility = decay * *utility + fresh * now;
        }
        let mut mature = 0_u32;
        for age in &mut self.age {
            *age = age.saturating_add(1);
            mature += u32::from(*age > self.spec.maturity);
        }
        self.due += self.spec.replacement_rate * f64::from(mature);
    }

    /// The mature unit of the least utility.
    fn least_useful(&self) -> Option<usize> {
        let mature = (0..self.age.len()).filter(|&u| self.age[u] > self.spec.maturity);
        let utility = |unit: usize| self.utility[unit] / (1.0 - self.fade[unit]);
        mature.min_by(|&a, &b| utility(a).total_cmp(&utility(b)))
    }

    fn replace(&mut self, unit: usize, engine: &mut Engine) {
        let units = self.hidden.units;
        let Places { kernel, bias, outgoing, next_bias } = &self.places;
        let width = engine.tensor(outgoing.index).len() / units;
        // What the unit gave on average stays, so that the output hardly changes.
        let mean = self.mean[unit] / (1.0 - self.fade[unit]);
        if let Some(next_bias) = next_bias {
            for i in 0..width {
                let weight = engine.tensor(outgoing.index)[unit * width + i];
                engine.tensor_mut(next_bias.index)[i] += weight * mean;
            }
        }
        engine.tensor_mut(outgoing.index)[unit * width..][..width].fill(0.0);
        for &(slot, start) in &outgoing.slots {
            engine.tensor_mut(slot)[unit * width..][..width].fill(start);
        }
        let inputs = engine.tensor(kernel.index).len() / units;
        let (seed, name) = (engine.spec().seed, format!("{unit}.{}", engine.step()));
        let (column, start) = self.hidden.new_unit(seed, &name, inputs);
        let weights = engine.tensor_mut(kernel.index).iter_mut().skip(unit).step_by(units);
        weights.zip(column).for_each(|(weight, new)| *weight = new);
        for &(slot, start) in &kernel.slots {
            let values = engine.tensor_mut(slot).iter_mut().skip(unit).step_by(units);
            values.for_each(|value| *value = start);
        }
        if let Some(bias) = bias {
            engine.tensor_mut(bias.index)[unit] = start;
            for &(slot, start) in &bias.slots {
                engine.tensor_mut(slot)[unit] = start;
            }
        }
        (self.mean[unit], self.utility[unit], self.fade[unit], self.age[unit]) = (0.0, 0.0, 1.0, 0);
    }

    fn tensors(&self) -> Vec<StateTensor> {
        let named = |part: &str, values: StateValues| {
            tensor(&format!("{}.{part}", self.hidden.path), &[values.len()], values)
        };
        let age: Vec<u64> = self.age.iter().map(|&age| u64::from(age)).collect();
        vec![
            named("mean", self.mean.clone().into()),
            named("utility", self.utility.clone().into()),
            named("fade", self.fade.clone().into()),
            named("age", age.into()),
            named("due", vec![self.due].into()),
        ]
    }

    fn restore(&mut self, tensors: &[StateTensor]) -> Result<bool, EngineError> {
        let units = Some(self.hidden.units);
        let name = |part: &str| format!("{}.{part}", self.hidden.path);
        let (Some(mean), Some(utility), Some(fade), Some(age), Some(due)) = (
            find(tensors, &name("mean"), units)?,
            find(tensors, &name("utility"), units)?,
            find(tensors, &name("fade"), units)?,
            find::<u64>(tensors, &name("age"), units)?,
            find(tensors, &name("due"), Some(1))?,
        ) else {
            return Ok(false);
        };
        self.mean.copy_from_slice(mean);
        self.utility.copy_from_slice(utility);
        self.fade.copy_from_slice(fade);
        self.age = age.iter().map(|&age| u32::try_from(age).unwrap_or(u32::MAX)).collect();
        self.due = due[0];
        Ok(true)
    }
}

/// In eight sums side by side, which the compiler takes at once.
fn sum_of_magnitudes(weights: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let eights = weights.chunks_exact(8);
    let rest: f32 = eights.remainder().iter().map(|w| w.abs()).sum();
    for eight in eights {
        for (sum, weight) in sums.iter_mut().zip(eight) {
            *sum += weight.abs();
        }
    }
    sums.iter().sum::<f32>() + rest
}
