//! A pull of the weights towards those from before the stream: L2, or elastic weight consolidation
//! (Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks").

use tidemill_engine::data::Batch;

use super::saved::{find, tensor};
use super::{AnchorSpec, probe};
use tidemill_engine::engine::{Engine, EngineError, EngineSpec, StateTensor, StateValues};

/// Steps between pulls. A pull goes over all weights, which costs as much as a step of one event.
const EVERY: u64 = 8;

/// The weights from before, and how much each of them matters.
#[derive(Clone, Debug)]
pub(super) struct Anchor {
    spec: AnchorSpec,
    /// For each parameter, in the engine's order: where it is, and its weights from before.
    weights: Vec<(usize, String, Vec<f32>)>,
    /// For each parameter the diagonal of the Fisher information; empty with L2, and until it has
    /// been estimated.
    fisher: Vec<Vec<f32>>,
}

impl Anchor {
    /// An anchor to the weights that `engine` has.
    pub(super) fn new(spec: AnchorSpec, engine: &Engine) -> Anchor {
        let weights = engine
            .parameters()
            .map(|(index, name)| (index, name.to_owned(), engine.tensor(index).to_vec()))
            .collect();
        Anchor { spec, weights, fisher: Vec::new() }
    }

    pub(super) fn spec(&self) -> &AnchorSpec {
        &self.spec
    }

    /// Samples from which the Fisher information is to be estimated: 0 where it need not be.
    pub(super) fn samples(&self) -> usize {
        match &self.spec {
            AnchorSpec::Ewc(ewc) => ewc.samples,
            AnchorSpec::L2(_) => 0,
        }
    }

    pub(super) fn set_fisher(&mut self, fisher: Vec<Vec<f32>>) {
        self.fisher = fisher;
    }

    /// Whether all that it needs is known.
    pub(super) fn is_ready(&self) -> bool {
        self.samples() == 0 || self.fisher.len() == self.weights.len()
    }

    /// After a step: `w` goes to the minimum of `(w - now)^2 / 2 + rate * strength / 2 * (w - w0)^2`.
    /// Unlike a step along the gradient, this proximal step never overshoots, however large the
    /// strength.
    pub(super) fn pull(&self, engine: &mut Engine, rate: f32) {
        if !engine.step().is_multiple_of(EVERY) {
            return;
        }
        let rate = rate * EVERY as f32;
        let towards = |now: f32, before: f32, s: f32| before + (now - before) / (1.0 + s);
        for (i, (index, _, before)) in self.weights.iter().enumerate() {
            let weights = engine.tensor_mut(*index).iter_mut().zip(before);
            match &self.spec {
                AnchorSpec::L2(strength) => {
                    let s = rate * *strength as f32;
                    weights.for_each(|(now, &before)| *now = towards(*now, before, s));
                }
                AnchorSpec::Ewc(ewc) => {
                    let Some(fisher) = self.fisher.get(i) else { return };
                    let s = rate * ewc.lambda as f32;
                    for ((now, &before), &f) in weights.zip(fisher) {
                        *now = towards(*now, before, s * f);
                    }
                }
            }
        }
    }

    /// A row of a table belongs to another id: there is nothing of it to keep near to but what is known of all.
    pub(super) fn reset_row(&mut self, engine: &Engine, table: usize, row: usize) {
        for (i, (_, name, before)) in self.weights.iter_mut().enumerate() {
            for values in [Some(before), self.fisher.get_mut(i)].into_iter().flatten() {
                let mut one = [tensor(name, &[values.len()], std::mem::take(values))];
                engine.reset_row_in(&mut one, table, row);
                if let [StateTensor { values: StateValues::F32(reset), .. }] = one {
                    *values = reset;
                }
            }
        }
    }

    pub(super) fn tensors(&self) -> Vec<StateTensor> {
        let before = self.weights.iter();
        let mut tensors: Vec<StateTensor> = before
            .map(|(_, name, w)| tensor(&format!("anchor.{name}"), &[w.len()], w.clone()))
            .collect();
        for ((_, name, _), f) in self.weights.iter().zip(&self.fisher) {
            tensors.push(tensor(&format!("fisher.{name}"), &[f.len()], f.clone()));
        }
        tensors
    }

    /// Takes over what was saved; says whether nothing is missing.
    pub(super) fn restore(&mut self, tensors: &[StateTensor]) -> Result<bool, EngineError> {
        let all = |part: &str| -> Result<Option<Vec<Vec<f32>>>, EngineError> {
            let of = |(_, name, w): &(usize, String, Vec<f32>)| -> Result<_, EngineError> {
                let found = find(tensors, &format!("{part}.{name}"), Some(w.len()))?;
                Ok(found.map(<[f32]>::to_vec))
            };
            let all: Option<Result<_, _>> =
                self.weights.iter().map(|w| of(w).transpose()).collect();
            all.transpose()
        };
        let fisher = if self.samples() > 0 { all("fisher")? } else { Some(Vec::new()) };
        let (Some(before), Some(fisher)) = (all("anchor")?, fisher) else { return Ok(false) };
        self.weights.iter_mut().zip(before).for_each(|(w, before)| w.2 = before);
        self.fisher = fisher;
        Ok(true)
    }
}

/// Estimates the diagonal of the Fisher information at a model's weights: the mean square of the
/// gradients of single samples. A second engine takes a step of rate 1 of plain gradient descent on
/// each; what changes is the gradient.
pub(crate) struct Fisher {
    engine: Engine,
    /// For each parameter: where it is in the second engine, its weights, the sum of squares.
    parameters: Vec<(usize, Vec<f32>, Vec<f64>)>,
    samples: u64,
}

impl Fisher {
    pub(crate) fn new(engine: &Engine) -> Result<Fisher, EngineError> {
        let spec = EngineSpec { optimizer: probe(), batch_size: 1, ..engine.spec().clone() };
        let mut second = Engine::compile(spec)?;
        let mut parameters = Vec::new();
        for (index, name) in engine.parameters() {
            let weights = engine.tensor(index).to_vec();
            let Some(own) = second.find_tensor(name) else { continue };
            let zeros = vec![0.0; weights.len()];
            second.tensor_mut(own).copy_from_slice(&weights);
            parameters.push((own, weights, zeros));
        }
        Ok(Fisher { engine: second, parameters, samples: 0 })
    }

    pub(crate) fn add(&mut self, sample: &Batch) -> Result<(), EngineError> {
        self.engine.train(sample, 1.0)?;
        self.samples += 1;
        for (index, weights, sums) in &mut self.parameters {
            let now = self.engine.tensor_mut(*index);
            for ((now, &weight), sum) in now.iter_mut().zip(&*weights).zip(sums) {
                let gradient = f64::from(weight) - f64::from(*now);
                *sum += gradient * gradient;
                *now = weight;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Vec<Vec<f32>> {
        let n = self.samples.max(1) as f64;
        let mean = |sums: Vec<f64>| sums.into_iter().map(|s| (s / n) as f32).collect();
        self.parameters.into_iter().map(|(_, _, sums)| mean(sums)).collect()
    }
}
