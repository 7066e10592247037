//! Hats: local codes of columns of numbers, read by a network beside one that does not see them.
//!
//! A hat is an input that is 1 where a number is at its knot and falls to 0 at the knots beside it, so that of
//! a column's hats two at most are not 0 and their sum is 1. A network cuts a column at any of its knots in a few
//! steps, where one of the plain number has to bend a line. The encoder makes them (`tidemill_table`); here
//! their rows of the first kernel begin at 0, so that a model with hats begins as the one without.
//!
//! Where the truth is linear and noisy, hats cost some accuracy. So the layers are built twice, once without
//! hats, and the outputs are mixed by how right each was (weights of Bayes with a fixed share, as in
//! [`crate::hedge`]).

use crate::build::Start;
use crate::error::{ModelError, require};
use crate::form::count;
use crate::hedge::{Heads, HedgedDepth};
use crate::initializers::{Fans, Initializer};
use crate::layers::{At, Builder};
use crate::linear;
use crate::loss::LossSpec;
use crate::model::{InputSpec, ModelSpec};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::rc::Rc;
use tidemill_graph::{Graph, GraphError, Layout, TensorId};

/// Hats of a column where the recipe does not say.
pub const HATS: usize = 9;

/// As few, and as many.
const KNOTS: std::ops::RangeInclusive<usize> = 3..=255;

/// Hats: local codes of the columns of numbers, and how outputs with and without them are mixed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HatsSpec {
    /// Number of columns of numbers, all of which have hats. Each has `knots` further inputs, which count in `input`
    /// and come after all inputs but rows of embeddings.
    #[serde(deserialize_with = "count")]
    pub columns: usize,
    /// Hats of a column, each at a knot of its own, from 3 to 255; 9 by default. The knots are quantiles of the column's different values in
    /// the training table; on a stream, fixed places on the standardized scale.
    #[serde(default = "nine", deserialize_with = "count")]
    pub knots: usize,
    /// Whether the layers are there twice, once without hats; their outputs are then weighted by how
    /// well each predicts. Yes by default.
    #[serde(default = "yes")]
    pub beside: bool,
    /// With `beside`: the rate `eta` of the weights, which a step multiplies by `exp(-eta * loss)`; 1 by default, which
    /// is Bayes' rule for a loss that is a negative log-likelihood.
    #[serde(default = "one")]
    pub rate: f64,
    /// With `beside`: the share of the total weight that is spread evenly after each step, so that no output is lost
    /// for good; 0.01 by default.
    #[serde(default = "hundredth")]
    pub share: f64,
}

fn nine() -> usize {
    HATS
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

fn hundredth() -> f64 {
    0.01
}

impl HatsSpec {
    /// Hats of so many columns.
    pub fn new(columns: usize) -> HatsSpec {
        HatsSpec { columns, knots: HATS, beside: yes(), rate: one(), share: hundredth() }
    }

    /// Inputs that are hats.
    pub fn inputs(&self) -> usize {
        self.knots.saturating_mul(self.columns)
    }

    pub(crate) fn validate(&self, model: &ModelSpec) -> Result<(), ModelError> {
        let at = |option: &str| format!("hats.{option}");
        require(self.columns > 0, || at("columns"), "a positive integer", self.columns)?;
        require(KNOTS.contains(&self.knots), || at("knots"), "from 3 to 255", self.knots)?;
        require(self.rate > 0.0, || at("rate"), "above 0", self.rate)?;
        require((0.0..=1.0).contains(&self.share), || at("share"), "from 0 to 1", self.share)?;
        let Some((_, features)) = numbers(model) else {
            let what = "is for a model with one input of features, which are the columns";
            return Err(ModelError::new("hats", what));
        };
        let wanted = self.columns.saturating_mul(self.knots + 1).saturating_add(num_ids(model));
        if features < wanted {
            let what = format!(
                "= {} gives {} inputs of hats beside the columns' own, and the model has {features} inputs; set \
                 features to {wanted} or more",
                self.columns,
                self.inputs()
            );
            return Err(ModelError::new(at("columns"), what));
        }
        if model.hedged_depth.is_some() && self.beside {
            let what = "has no place beside hedged_depth, which weighs outputs too; leave one out";
            return Err(ModelError::new(at("beside"), what));
        }
        Ok(())
    }
}

impl ModelSpec {
    /// Reads hats: the last inputs before rows of embeddings are those of so many columns.
    pub fn hats(self, hats: HatsSpec) -> ModelSpec {
        ModelSpec { hats: Some(hats), ..self }
    }

    /// How several outputs are weighted, if the model has several.
    pub(crate) fn mixing(&self) -> Option<HedgedDepth> {
        let beside = self.hats.filter(|hats| hats.beside);
        self.hedged_depth.or(beside.map(|HatsSpec { rate, share, .. }| HedgedDepth { rate, share }))
    }

    /// The parts of the mixture that a model with hats is, in the order of their weights: the network without hats, the one
    /// with them, two linear models, the memory, the last label. None of another model.
    pub fn expert_names(&self) -> Vec<&'static str> {
        if !self.hats.is_some_and(|hats| hats.beside) {
            return vec![];
        }
        let [linear, additive] = linear::NAMES.map(|name| (name, self.linear));
        let memory = ("memory", self.memory.is_some());
        let further = [linear, additive, memory, ("last", self.last_label)];
        let further = further.into_iter().filter(|(_, given)| *given).map(|(name, _)| name);
        ["plain", "hats"].into_iter().chain(further).collect()
    }

    /// Whether it keeps what was true of the last samples.
    pub fn remembers(&self) -> bool {
        self.memory.is_some() || self.last_label
    }

    /// Whether there are several outputs, whose weights change with each loss.
    pub fn mixes_outputs(&self) -> bool {
        self.mixing().is_some()
    }
}

/// Where the one input of features is among the model's inputs, and how many it has.
fn numbers(model: &ModelSpec) -> Option<(usize, usize)> {
    let named = model.named_inputs();
    let mut found = named.iter().enumerate().filter_map(|(i, (_, input))| match input {
        InputSpec::Features(features) => Some((i, *features)),
        _ => None,
    });
    found.next().filter(|_| found.next().is_none())
}

fn num_ids(model: &ModelSpec) -> usize {
    model.entity_embedding().map_or(0, |tables| tables.num_ids())
}

/// A part of a mixture beside networks.
pub(crate) trait Expert: Debug {
    /// What it predicts, `[batch, outputs]`.
    fn logits(&self, graph: &mut Graph, loss: &LossSpec) -> Result<TensorId, GraphError>;

    /// Keeps what it is to know of a step's samples, beside what the optimizer does to its parameters.
    fn learn(&self, graph: &mut Graph, loss: &LossSpec) -> Result<(), GraphError>;
}

/// What was built of a model with hats.
pub(crate) struct WithHats {
    pub(crate) output: At,
    pub(crate) heads: Option<Heads>,
    pub(crate) experts: Vec<Rc<dyn Expert>>,
}

/// Which columns of a tensor are hats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) x: TensorId,
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl Builder<'_> {
    /// The layers; twice where hats are read beside a network without them, which is the first of the heads.
    /// Further parts of the mixture have the last weights.
    pub(crate) fn with_hats(
        &mut self,
        model: &ModelSpec,
        hats: &HatsSpec,
    ) -> Result<WithHats, GraphError> {
        let wrong = || GraphError::new("hats need one input of features");
        let (field, features) = numbers(model).ok_or_else(wrong)?;
        let x = self.inputs[field].1.x;
        let (len, ids) = (hats.inputs(), num_ids(model));
        let place = Place { x, start: features - ids - len, len };
        if !hats.beside {
            self.hats = Some(place);
            let first = self.inputs[0].1;
            let output = self.sequence(&model.layers, "layers", first)?;
            return Ok(WithHats { output, heads: None, experts: vec![] });
        }
        let inputs = self.inputs.clone();
        let numbers = self.columns(x, 0, place.start)?;
        self.inputs[field].1.x = self.without(numbers, &place, ids)?;
        let first = self.inputs[0].1;
        let plain = self.sequence(&model.layers, "layers", first)?;
        // What the layers have named is theirs alone.
        self.inputs = inputs;
        self.hats = Some(place);
        let first = self.inputs[0].1;
        let output = self.sequence(&model.layers, "hats", first)?;
        let heads = vec![plain.x, output.x];
        let outputs = self.last_dim(output.x);
        let mut experts: Vec<Rc<dyn Expert>> = Vec::new();
        if model.linear {
            // Rows of embeddings are no numbers.
            let with_hats = if ids == 0 { x } else { self.columns(x, 0, features - ids)? };
            experts.extend(self.linear([numbers, with_hats], outputs)?);
        }
        if let Some(memory) = &model.memory {
            experts.push(Rc::new(self.memory(memory, numbers, hats.columns, outputs)?));
        }
        if model.last_label {
            let batch = self.graph.shape(place.x)[0];
            experts.push(Rc::new(self.last_label(batch, outputs)));
        }
        let parts = heads.len() + experts.len();
        let weights = self.graph.state("hats.weights", &[parts]);
        self.starts.push((weights, Start::Even));
        let transitions = model.linear.then(|| {
            let id = self.graph.state("hats.transitions", &[parts, parts]);
            self.starts.push((id, Start::Transitions(heads.len(), hats.share as f32)));
            id
        });
        let heads = Some(Heads { outputs: heads, weights, transitions });
        Ok(WithHats { output, heads, experts })
    }

    /// The columns `before` hats, and those after them, `[batch, features - len]`.
    fn without(
        &mut self,
        before: TensorId,
        place: &Place,
        ids: usize,
    ) -> Result<TensorId, GraphError> {
        if ids == 0 {
            return Ok(before);
        }
        let after = self.columns(place.x, place.start + place.len, ids)?;
        self.graph.apply(Layout::Concat { axis: 1 }, &[before, after])
    }

    /// Hats of `x` are columns of `y` from `start` on.
    pub(crate) fn follow_hats(&mut self, x: TensorId, y: TensorId, start: usize) {
        if let Some(place) = self.hats.as_mut().filter(|place| place.x == x) {
            *place = Place { x: y, start: start + place.start, len: place.len };
        }
    }

    /// How a kernel `[inputs, units]` that reads `x` starts: rows of hats at 0, the others as if there were none.
    pub(crate) fn kernel_start(&self, x: TensorId, shape: &[usize], drawn: Initializer) -> Start {
        match (self.hats, shape) {
            (Some(place), [inputs, units]) if place.x == x => {
                let fans = Fans::of_kernel(&[inputs - place.len, *units]);
                Start::BetweenZeros(drawn, fans, place.start, place.len)
            }
            _ => Start::Drawn(drawn, Fans::of_kernel(shape)),
        }
    }
}

/// Start values of a kernel `[inputs, units]` with `len` rows of zeros from row `start` on.
pub(crate) fn between_zeros(
    shape: &[usize],
    start: usize,
    len: usize,
    draw: impl FnOnce(&[usize]) -> Vec<f32>,
) -> Vec<f32> {
    let units = shape[1];
    let mut values = draw(&[shape[0] - len, units]);
    values.splice(start * units..start * units, std::iter::repeat_n(0.0, len * units));
    values
}
