//! Two linear models, as parts of a mixture: of the numbers, and of the numbers with their hats.
//!
//! Where the truth is linear and noisy, a network with thousands of weights is less close to it than a model with a
//! few. With hats it is additive, a sum of one curve for each column: often the best there is after some hundred events,
//! when a network has hardly begun.
//!
//! They are learned by Adagrad, whose steps become smaller as gradients add up, so that they approach the best fixed
//! weights. Where those change, the networks follow. So the weights of the mixture move quickly between the other parts and
//! hardly at all to and from these, so that they cost little where they are worse.

use crate::hats::Expert;
use crate::initializers::Initializer;
use crate::layer::{DenseSpec, LayerSpec};
use crate::layers::{At, Builder};
use crate::loss::LossSpec;
use crate::model::ModelSpec;
use crate::optimizer::OptimizerSpec;
use std::rc::Rc;
use tidemill_graph::{Graph, GraphError, Rule, SlotType, TensorId};

/// Their names among the parts of the mixture, which begin the names of their parameters.
pub(crate) const NAMES: [&str; 2] = ["linear", "additive"];

/// Adagrad's rate where the optimizer has its highest; a schedule and `rates` change both.
const RATE: f64 = 0.2;

/// The share of the total weight that moves to them in a step, and as much from each of them.
const SHARE: f32 = 1e-5;

/// A linear model in a graph: its output, `[batch, outputs]`.
#[derive(Clone, Copy, Debug)]
struct Linear(TensorId);

impl ModelSpec {
    /// Whether the parameter is one of theirs.
    fn is_linear(&self, parameter: &str) -> bool {
        let first = parameter.split('.').next();
        self.linear && first.is_some_and(|first| NAMES.contains(&first))
    }

    /// The rule that moves the parameter of that name: the optimizer's, but for linear models beside networks.
    pub fn rule_of(&self, optimizer: &OptimizerSpec, parameter: &str) -> Rule {
        match self.is_linear(parameter) {
            true => Rule::Adagrad { epsilon: 1e-7, initial_accumulator: 1e-4 },
            false => optimizer.rule(),
        }
    }

    /// The rule of a parameter of so many elements, the type of its slots, and the factor of its rate.
    pub(crate) fn learned_by(
        &self,
        optimizer: &OptimizerSpec,
        parameter: &str,
        len: usize,
    ) -> (Rule, SlotType, f32) {
        let rule = self.rule_of(optimizer, parameter);
        if !self.is_linear(parameter) {
            return (rule, optimizer.slots().of(len), optimizer.rate(parameter));
        }
        let own = match optimizer.schedule().highest() {
            rate if rate > 0.0 => (RATE / rate) as f32,
            _ => 1.0,
        };
        (rule, SlotType::F32, own * optimizer.rate(parameter))
    }
}

impl Builder<'_> {
    /// Both of them, of the inputs before hats and of these with the hats.
    pub(crate) fn linear(
        &mut self,
        inputs: [TensorId; 2],
        outputs: usize,
    ) -> Result<Vec<Rc<dyn Expert>>, GraphError> {
        let mut found: Vec<Rc<dyn Expert>> = Vec::new();
        for (name, x) in NAMES.into_iter().zip(inputs) {
            let mut dense = DenseSpec::new(outputs);
            dense.kernel_initializer = Initializer::Zeros;
            let layer = [LayerSpec::Dense(dense)];
            let y = self.sequence(&layer, name, At { x, mask: None })?;
            found.push(Rc::new(Linear(y.x)));
        }
        Ok(found)
    }
}

impl Expert for Linear {
    fn logits(&self, _graph: &mut Graph, _loss: &LossSpec) -> Result<TensorId, GraphError> {
        Ok(self.0)
    }

    fn learn(&self, _graph: &mut Graph, _loss: &LossSpec) -> Result<(), GraphError> {
        Ok(())
    }
}

/// How weights move between the parts of a mixture after a step, `[parts, parts]`, row by row: each row is what becomes of
/// the weight of one part. A `share` of it is dealt out evenly, to the parts but these; they are those from `first` on.
pub(crate) fn transitions(parts: usize, first: usize, share: f32) -> Vec<f32> {
    let slow = |k: usize| (first..first + NAMES.len()).contains(&k);
    let others = (parts - NAMES.len()) as f32;
    let moved = |from: usize, to: usize| match (slow(from), slow(to)) {
        (false, false) => {
            let kept = if from == to { 1.0 - share } else { 0.0 };
            (1.0 - SHARE) * (kept + share / others)
        }
        (false, true) => SHARE / NAMES.len() as f32,
        (true, false) => SHARE / others,
        (true, true) if from == to => 1.0 - SHARE,
        (true, true) => 0.0,
    };
    (0..parts * parts).map(|k| moved(k / parts, k % parts)).collect()
}
