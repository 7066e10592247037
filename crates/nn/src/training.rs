//! The three graphs of a model: training, evaluation, inference.

use crate::build::{Built, Mode};
use crate::custom::{Custom, CustomMetric, build_metrics};
use crate::hedge::{Heads, mixture};
use crate::loss::LossSpec;
use crate::model::ModelSpec;
use crate::optimizer::OptimizerSpec;
use crate::part::Part;
use tidemill_graph::autodiff::gradients;
use tidemill_graph::{
    Binary, Clip, DType, Graph, GraphError, Role, Softmax, TensorId, Unary, Update, hyper,
};

/// How large the batches of a graph are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Samples.
    pub batch: usize,
    /// The room for the positions of each input field that has time, by its place in the model's
    /// signature; 0 for the others. Then, for losses whose labels are a sequence of their own, the room for labels. Empty: each
    /// field's longest time.
    pub times: Vec<usize>,
}

impl Extent {
    /// The room in the input field at that place, if it is not the longest.
    pub fn time(&self, field: usize) -> Option<usize> {
        self.times.get(field).copied().filter(|&time| time > 0)
    }

    /// The room for labels, where they are a sequence of their own.
    fn labels(&self, model: &ModelSpec) -> Option<usize> {
        self.time(model.named_inputs().len())
    }
}

impl From<usize> for Extent {
    fn from(batch: usize) -> Extent {
        Extent { batch, times: Vec::new() }
    }
}

/// What else a training graph does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrainingOptions<'a> {
    /// Added to the logits before the loss; the output `logits` stays without it. Where only a share
    /// `r` of the negative samples is trained on, `shift = -ln r` makes the logits those of all
    /// samples.
    pub shift: f32,
    /// What each dense layer but the first reads becomes an output `<path>.inputs`: the activations of
    /// [`ModelSpec::hidden_layers`] are there under the name of `next`.
    pub watch: bool,
    /// Further outputs `metric.<name>`.
    pub metrics: &'a [Custom<dyn CustomMetric>],
    /// Of several workers, the one whose updates and slots are here; all are where none.
    pub part: Option<Part>,
}

/// One training step: forward, loss, backward, update.
///
/// Inputs: `x` `[batch, ...]`, or the model's inputs by their names, with `<name>.mask` (f32
/// `[batch, time]`) for sequences; `labels` (i32 `[batch]`) or `targets` (f32 `[batch, outputs]`) as the
/// loss wants, `weights` (f32 `[batch]`), `key` (i32 `[4]`, only with dropout), `hyper`.
/// Outputs: `loss` (scalar), `logits`, `losses` (`[batch]`); of a model with hats `expert.<name>` and `expert.weights`. State: `<parameter>.<slot>` for the
/// optimizer, `<layer>.moments` for batch norm.
pub fn training_graph(
    model: &ModelSpec,
    loss: &LossSpec,
    optimizer: &OptimizerSpec,
    batch: impl Into<Extent>,
) -> Result<Graph, GraphError> {
    training_graph_with(model, loss, optimizer, batch, TrainingOptions::default())
}

/// The same with options.
pub fn training_graph_with(
    model: &ModelSpec,
    loss: &LossSpec,
    optimizer: &OptimizerSpec,
    batch: impl Into<Extent>,
    TrainingOptions { shift, watch, metrics, part }: TrainingOptions<'_>,
) -> Result<Graph, GraphError> {
    let mut graph = Graph::new();
    let extent = batch.into();
    let built = model.build_watched(&mut graph, &extent, Mode::Train, watch)?;
    let heads = heads(&mut graph, loss, &built)?;
    let logits = output(&mut graph, loss, &built, heads.as_ref())?;
    let loss_of = |graph: &mut Graph, logits: TensorId| {
        let shifted = match shift {
            0.0 => logits,
            _ => graph.apply(Unary::Affine { scale: 1.0, shift }, &[logits])?,
        };
        loss.build_masked(graph, shifted, built.mask, extent.labels(model))
    };
    let shown = loss_of(&mut graph, logits)?;
    graph.output("loss", shown.mean);
    graph.output("logits", logits);
    graph.output("losses", shown.per_sample);
    // What is computed in training is then not what an event is scored by.
    for (name, head) in
        model.expert_names().iter().zip(heads.iter().flat_map(|heads| &heads.outputs))
    {
        graph.output(&expert(name), *head);
    }
    if !built.asks_mode {
        graph.gate = vec![logits, shown.per_sample];
    }
    build_metrics(metrics, &mut graph, loss, logits, built.mask)?;
    let minimized = match (&heads, model.mixing()) {
        (Some(heads), Some(mixing)) => {
            let mut losses = Vec::new();
            for &head in &heads.outputs {
                losses.push(loss_of(&mut graph, head)?.mean);
            }
            let learned = mixing.learned(&mut graph, heads, &losses)?;
            graph.assignments.push((heads.weights, learned));
            if !model.expert_names().is_empty() {
                graph.output(EXPERT_WEIGHTS, learned);
            }
            built.experts.iter().try_for_each(|expert| expert.learn(&mut graph, loss))?;
            let add = |sum, &loss| graph.apply(Binary::Add, &[sum, loss]);
            losses[1..].iter().try_fold(losses[0], add)?
        }
        _ => shown.mean,
    };
    let learned = |&id: &TensorId| !model.is_frozen(&graph.tensor(id).name);
    let parameters: Vec<TensorId> = graph.with_role(Role::Parameter).filter(learned).collect();
    if parameters.is_empty() && !model.frozen.is_empty() {
        return Err(GraphError::new("all layers with parameters are frozen: nothing can learn")
            .help("leave one of them out of frozen")
            .at("frozen"));
    }
    let all = graph.with_role(Role::Parameter).map(|id| graph.tensor(id).name.as_str());
    let learns = |name: &&str| !model.is_frozen(name) || model.learns_later(name);
    let named: Vec<&str> = all.filter(learns).collect();
    optimizer.check_rates(named.into_iter())?;
    let slopes = gradients(&mut graph, minimized, &parameters)?;
    graph.hyper = Some(graph.input("hyper", &[hyper::LEN], DType::F32));
    graph.clip = match optimizer.clip() {
        Clip::None => None,
        clip => Some(clip),
    };
    // A parameter that the loss does not depend on stays as it is.
    let learned =
        |(parameter, gradient): (TensorId, Option<TensorId>)| Some((parameter, gradient?));
    let updated: Vec<_> = parameters.into_iter().zip(slopes).filter_map(learned).collect();
    let lens: Vec<usize> = updated.iter().map(|&(id, _)| graph.tensor(id).len()).collect();
    let here = part.map(|part| part.own(&lens));
    for (index, (parameter, gradient)) in updated.into_iter().enumerate() {
        let elsewhere = here.as_ref().is_some_and(|here| !here[index]);
        let (name, shape) = {
            let tensor = graph.tensor(parameter);
            (tensor.name.clone(), tensor.shape.clone())
        };
        let len = graph.tensor(parameter).len();
        let (rule, slot_type, rate) = model.learned_by(optimizer, &name, len);
        let slot = |slot: &str| graph.slot(&format!("{name}.{slot}"), &shape, slot_type);
        let slots = match elsewhere {
            true => Vec::new(),
            false => rule.slot_names().into_iter().map(slot).collect(),
        };
        let decay = optimizer.weight_decay(&name);
        graph.updates.push(Update {
            parameter,
            gradient,
            slots,
            slot_type,
            rule,
            decay,
            rate,
            elsewhere,
        });
    }
    Ok(graph)
}

/// Loss and outputs without learning. Inputs as in [`training_graph`] without `key` and `hyper`;
/// outputs `logits`, `losses`, `loss`.
pub fn evaluation_graph(
    model: &ModelSpec,
    loss: &LossSpec,
    batch: impl Into<Extent>,
) -> Result<Graph, GraphError> {
    evaluation_graph_with(model, loss, batch, &[])
}

/// The same with metrics as further outputs, `metric.<name>`.
pub fn evaluation_graph_with(
    model: &ModelSpec,
    loss: &LossSpec,
    batch: impl Into<Extent>,
    metrics: &[Custom<dyn CustomMetric>],
) -> Result<Graph, GraphError> {
    let mut graph = Graph::new();
    let extent = batch.into();
    let built = model.build_all(&mut graph, &extent, Mode::Eval)?;
    let heads = heads(&mut graph, loss, &built)?;
    let logits = output(&mut graph, loss, &built, heads.as_ref())?;
    let built_loss = loss.build_masked(&mut graph, logits, built.mask, extent.labels(model))?;
    graph.output("logits", logits);
    graph.output("losses", built_loss.per_sample);
    graph.output("loss", built_loss.mean);
    build_metrics(metrics, &mut graph, loss, logits, built.mask)?;
    Ok(graph)
}

/// Outputs only. Input `x`; outputs `logits` and `probabilities` (softmax or sigmoid as the loss
/// says; the logits themselves for losses of plain numbers).
pub fn inference_graph(
    model: &ModelSpec,
    loss: &LossSpec,
    batch: impl Into<Extent>,
) -> Result<Graph, GraphError> {
    let mut graph = Graph::new();
    let built = model.build_all(&mut graph, &batch.into(), Mode::Eval)?;
    let heads = heads(&mut graph, loss, &built)?;
    let logits = output(&mut graph, loss, &built, heads.as_ref())?;
    let probabilities = loss.probabilities(&mut graph, logits)?;
    graph.output("logits", logits);
    graph.output("probabilities", probabilities);
    Ok(graph)
}

/// What comes after each sample's last position: output `log_probabilities` `[batch, tokens]`. Inputs as in
/// [`inference_graph`], and `<field>.last`, f32 `[batch, time]`: 1 at the last position, else 0.
pub fn next_graph(model: &ModelSpec, batch: impl Into<Extent>) -> Result<Graph, GraphError> {
    let mut graph = Graph::new();
    let logits = model.build_last(&mut graph, &batch.into())?;
    let log = graph.apply(Softmax::Log, &[logits])?;
    graph.output("log_probabilities", log);
    Ok(graph)
}

/// The output of a training graph that has the new weights of the parts of a mixture, in the order of
/// [`ModelSpec::expert_names`].
pub const EXPERT_WEIGHTS: &str = "expert.weights";

/// The output of a training graph that has the logits of a part of a mixture.
pub fn expert(name: &str) -> String {
    format!("expert.{name}")
}

/// The outputs that are mixed.
fn heads(graph: &mut Graph, loss: &LossSpec, built: &Built) -> Result<Option<Heads>, GraphError> {
    let Some(mut heads) = built.heads.clone() else { return Ok(None) };
    for expert in &built.experts {
        heads.outputs.push(expert.logits(graph, loss)?);
    }
    Ok(Some(heads))
}

/// What a model puts out: its last layer's output, or the mixture of its several outputs.
fn output(
    graph: &mut Graph,
    loss: &LossSpec,
    built: &Built,
    heads: Option<&Heads>,
) -> Result<TensorId, GraphError> {
    match heads {
        None => Ok(built.output),
        Some(heads) => mixture(graph, loss, heads),
    }
}

/// Start values of every parameter and state tensor of a graph of this model: parameters and
/// running statistics from the model's initializers, optimizer slots from their rules.
pub fn initial_state(
    graph: &Graph,
    model: &ModelSpec,
    seed: u64,
) -> Result<Vec<(TensorId, Vec<f32>)>, GraphError> {
    let mut state = Vec::new();
    each_initial(graph, model, seed, &mut |id, values| {
        state.push((id, values));
        Ok(())
    })?;
    state.sort_by_key(|&(id, _)| id);
    Ok(state)
}

/// The same one after the other, so that they need not be in memory together.
///
/// # Errors
/// As [`initial_state`], and those of `take`.
pub fn each_initial(
    graph: &Graph,
    model: &ModelSpec,
    seed: u64,
    take: &mut dyn FnMut(TensorId, Vec<f32>) -> Result<(), GraphError>,
) -> Result<(), GraphError> {
    let mut found = Vec::new();
    model.each_initial_value(seed, &mut |start| {
        let Some(id) = graph.find(&start.name) else { return Ok(()) };
        if graph.shape(id) != start.shape {
            let (name, here) = (&start.name, graph.shape(id));
            return Err(GraphError::new(format!(
                "{name} has the shape {:?} for one sample and {here:?} for a batch",
                start.shape
            ))
            .help("the shape of a parameter must not depend on the batch size"));
        }
        found.push(id);
        take(id, start.values)
    })?;
    for parameter in graph.with_role(Role::Parameter) {
        if !found.contains(&parameter) {
            let name = &graph.tensor(parameter).name;
            return Err(GraphError::new(format!("{name} is declared in training alone"))
                .help("declare the same parameters whether is_training or not"));
        }
    }
    for update in &graph.updates {
        for (i, &slot) in update.slots.iter().enumerate() {
            take(slot, vec![update.rule.slot_start_of(i); graph.tensor(slot).len()])?;
        }
    }
    Ok(())
}
