//! A training step whose batch is cut into shards: a graph that adds a shard's gradients to sums, and
//! one that updates the parameters from the sums of all shards.
//!
//! The sums are tensors of the state, `sum.<parameter>`; those of running statistics are
//! `sum.<statistic>`, since each shard has statistics of its own. They come after all other tensors.

use crate::loss::LossSpec;
use crate::model::ModelSpec;
use crate::optimizer::OptimizerSpec;
use crate::part::Part;
use crate::training::{Extent, TrainingOptions, training_graph_with};
use tidemill_graph::update::WeightDecay;
use tidemill_graph::{DType, Graph, GraphError, Rule, TensorId, Update, hyper};

/// What the name of a sum starts with.
pub const SUM: &str = "sum.";

/// The last sum: of the shards' loss, the number of losses in its mean, and the number of samples.
pub const TOTALS: &str = "sum.totals";

/// Values of [`TOTALS`].
pub const NUM_TOTALS: usize = 3;

/// Forward and backward of one shard. Each gradient is multiplied by the `hyper` vector's gradient scale and
/// added to its sum, by [`Rule::Sgd`] with the learning rate -1: so the kernel that finishes a gradient adds
/// it. Running statistics become those after this shard; their sums are for the caller to add to.
///
/// Inputs and outputs as in [`crate::training_graph`]; parameters and slots do not change.
///
/// # Errors
/// As [`crate::training_graph`].
pub fn shard_graph(
    model: &ModelSpec,
    loss: &LossSpec,
    optimizer: &OptimizerSpec,
    batch: impl Into<Extent>,
    options: TrainingOptions<'_>,
) -> Result<Graph, GraphError> {
    let mut graph = training_graph_with(model, loss, optimizer, batch, options)?;
    graph.clip = None;
    graph.gate.clear();
    for Update { parameter, gradient, .. } in std::mem::take(&mut graph.updates) {
        let parameter = sum_of(&mut graph, parameter);
        let (slots, rule, decay) = (vec![], Rule::Sgd, WeightDecay::None);
        graph.updates.push(Update {
            parameter,
            gradient,
            slots,
            rule,
            decay,
            slot_type: Default::default(),
            rate: 1.0,
            elsewhere: false,
        });
    }
    for (statistic, _) in graph.assignments.clone() {
        sum_of(&mut graph, statistic);
    }
    graph.state(TOTALS, &[NUM_TOTALS]);
    Ok(graph)
}

/// The update of all parameters from the sums of their gradients, with the optimizer's clipping; with a `part`, of those
/// whose slots are here. Input: `hyper`. Running statistics are not updated: their new values are the sums themselves.
///
/// # Errors
/// As [`crate::training_graph`].
pub fn update_graph(
    model: &ModelSpec,
    loss: &LossSpec,
    optimizer: &OptimizerSpec,
    batch: impl Into<Extent>,
    part: Option<Part>,
) -> Result<Graph, GraphError> {
    let options = TrainingOptions { part, ..TrainingOptions::default() };
    let whole = training_graph_with(model, loss, optimizer, batch, options)?;
    let mut graph = Graph::new();
    let updates: Vec<(Update, TensorId)> = whole
        .updates
        .iter()
        .map(|update| {
            let tensor = |id: TensorId| (whole.tensor(id).name.as_str(), whole.shape(id));
            let (name, shape) = tensor(update.parameter);
            let parameter = graph.parameter(name, shape);
            let of = shape;
            let slots = update.slots.iter().map(|&slot| {
                let (name, _) = tensor(slot);
                graph.slot(name, of, update.slot_type)
            });
            let slots = slots.collect();
            (Update { parameter, slots, ..update.clone() }, parameter)
        })
        .collect();
    for (update, parameter) in updates {
        let gradient = sum_of(&mut graph, parameter);
        graph.updates.push(Update { gradient, ..update });
    }
    graph.hyper = Some(graph.input("hyper", &[hyper::LEN], DType::F32));
    graph.clip = whole.clip;
    Ok(graph)
}

/// The sum of a tensor's gradients or values.
fn sum_of(graph: &mut Graph, of: TensorId) -> TensorId {
    let name = format!("{SUM}{}", graph.tensor(of).name);
    let shape = graph.shape(of).to_vec();
    graph.state(&name, &shape)
}
