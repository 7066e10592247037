//! The three graphs of a model: training, evaluation, inference.

use crate::build::Mode;
use crate::loss::LossSpec;
use crate::model::ModelSpec;
use crate::optimizer::OptimizerSpec;
use tidemill_graph::autodiff::gradients;
use tidemill_graph::{Clip, DType, Graph, GraphError, Role, TensorId, Update, hyper};

/// One training step: forward, loss, backward, update.
///
/// Inputs: `x` `[batch, ...]`, `labels` (i32 `[batch]`) or `targets` (f32 `[batch, outputs]`) as the
/// loss wants, `weights` (f32 `[batch]`), `key` (i32 `[4]`, only with dropout), `hyper`.
/// Outputs: `loss` (scalar), `logits`, `losses` (`[batch]`). State: `<parameter>.<slot>` for the
/// optimizer, `<layer>.moments` for batch norm.
pub fn training_graph(
    model: &ModelSpec,
    loss: &LossSpec,
    optimizer: &OptimizerSpec,
    batch: usize,
) -> Result<Graph, GraphError> {
    training_graph_of(model, loss, optimizer, batch, false)
}

/// The same, with what each dense layer but the first reads as an output `<path>.inputs`: the
/// activations of [`ModelSpec::hidden_layers`] are there under the name of `next`.
pub fn watched_training_graph(
    model: &ModelSpec,
    loss: &LossSpec,
    optimizer: &OptimizerSpec,
    batch: usize,
) -> Result<Graph, GraphError> {
    training_graph_of(model, loss, optimizer, batch, true)
}

fn training_graph_of(
    model: &ModelSpec,
    loss: &LossSpec,
    optimizer: &OptimizerSpec,
    batch: usize,
    watch: bool,
) -> Result<Graph, GraphError> {
    let mut graph = Graph::new();
    let logits = model.build_watched(&mut graph, batch, Mode::Train, watch)?.output;
    let loss = loss.build(&mut graph, logits)?;
    graph.output("loss", loss.mean);
    graph.output("logits", logits);
    graph.output("losses", loss.per_sample);
    let parameters: Vec<TensorId> = graph.with_role(Role::Parameter).collect();
    let slopes = gradients(&mut graph, loss.mean, &parameters)?;
    graph.hyper = Some(graph.input("hyper", &[hyper::LEN], DType::F32));
    graph.clip = match optimizer.clip() {
        Clip::None => None,
        clip => Some(clip),
    };
    let rule = optimizer.rule();
    for (parameter, gradient) in parameters.into_iter().zip(slopes) {
        // A parameter that the loss does not depend on stays as it is.
        let Some(gradient) = gradient else { continue };
        let (name, shape) = {
            let tensor = graph.tensor(parameter);
            (tensor.name.clone(), tensor.shape.clone())
        };
        let slot = |slot: &str| graph.state(&format!("{name}.{slot}"), &shape);
        let slots = rule.slot_names().into_iter().map(slot).collect();
        let decay = optimizer.weight_decay(&name);
        graph.updates.push(Update { parameter, gradient, slots, rule, decay });
    }
    Ok(graph)
}

/// Loss and outputs without learning. Inputs as in [`training_graph`] without `key` and `hyper`;
/// outputs `logits`, `losses`, `loss`.
pub fn evaluation_graph(
    model: &ModelSpec,
    loss: &LossSpec,
    batch: usize,
) -> Result<Graph, GraphError> {
    let mut graph = Graph::new();
    let logits = model.build(&mut graph, batch, Mode::Eval)?;
    let loss = loss.build(&mut graph, logits)?;
    graph.output("logits", logits);
    graph.output("losses", loss.per_sample);
    graph.output("loss", loss.mean);
    Ok(graph)
}

/// Outputs only. Input `x`; outputs `logits` and `probabilities` (softmax or sigmoid as the loss
/// says; the logits themselves for losses of plain numbers).
pub fn inference_graph(
    model: &ModelSpec,
    loss: &LossSpec,
    batch: usize,
) -> Result<Graph, GraphError> {
    let mut graph = Graph::new();
    let logits = model.build(&mut graph, batch, Mode::Eval)?;
    let probabilities = loss.probabilities(&mut graph, logits)?;
    graph.output("logits", logits);
    graph.output("probabilities", probabilities);
    Ok(graph)
}

/// Start values of every parameter and state tensor of a graph of this model: parameters and
/// running statistics from the model's initializers, optimizer slots from their rules.
pub fn initial_state(
    graph: &Graph,
    model: &ModelSpec,
    seed: u64,
) -> Result<Vec<(TensorId, Vec<f32>)>, GraphError> {
    let mut state = Vec::new();
    for start in model.initial_values(seed)? {
        if let Some(id) = graph.find(&start.name) {
            state.push((id, start.values));
        }
    }
    for update in &graph.updates {
        for (i, &slot) in update.slots.iter().enumerate() {
            state.push((slot, vec![update.rule.slot_start_of(i); graph.tensor(slot).len()]));
        }
    }
    state.sort_by_key(|&(id, _)| id);
    Ok(state)
}
