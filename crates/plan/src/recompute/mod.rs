//! Values that are made a second time, so that the arena fits into a given number of bytes.
//!
//! A step's peak is where the backward pass begins: everything that it will read is alive. What is
//! cheap to make again is dropped there and made again right before it is read (Chen et al., Training
//! Deep Nets with Sublinear Memory Cost, 2016). The copies are nodes like all others, with the same
//! kernels and so the same bits; random numbers are functions of key and element.
//!
//! - `sketch`: nodes, values and copies as numbers. `profile`: when they run, and the bytes alive.
//! - `search`: which copies. [`recompute`] puts them into the schedule.

mod profile;
mod search;
mod sketch;

use crate::ir::{NodeId, Schedule, Value, ValueId};
use crate::order::frugal;
use crate::plan::{Method, Options};

use search::{Search, Tried};
use sketch::Base;

/// What the planner continues with.
pub(crate) struct Repeated {
    /// The schedule with the nodes that were added.
    pub schedule: Schedule,
    /// The order of its nodes.
    pub order: Vec<NodeId>,
    /// For each node that was added, the one that it repeats.
    pub repeats: Vec<(NodeId, NodeId)>,
}

/// A schedule that does the same as `schedule`, which runs in the `usual` order by `methods`, in an arena of
/// `limit` bytes at most, or as few as were found.
pub(crate) fn recompute(
    schedule: &Schedule,
    usual: &[NodeId],
    methods: &[Method],
    limit: usize,
    options: Options,
) -> Repeated {
    let mut orders = vec![(usual.to_vec(), methods.to_vec())];
    // A gate has its place in the usual order.
    let other = frugal(schedule, usual);
    if !options.gated && other != usual {
        let mut method_of = vec![None; schedule.nodes.len()];
        usual.iter().zip(methods).for_each(|(&id, method)| method_of[id] = Some(method));
        let methods = other.iter().filter_map(|&id| method_of[id].cloned()).collect();
        orders.push((other, methods));
    }
    let mut best: Option<(Rating, Base, Tried)> = None;
    for (order, methods) in orders {
        let base = Base::new(schedule, &order, &methods);
        let mut search = Search::new(&base, options.in_place);
        let Some(start) = search.start() else { continue };
        let (mut found, fits) = search.fit(start.clone(), limit);
        if !fits {
            found = search.smallest(&start, found, limit);
        }
        let rating = match fits {
            true => (false, found.cost),
            false => (true, search.arena(&found) as f64),
        };
        if best.as_ref().is_none_or(|best| rating < best.0) {
            best = Some((rating, base, found));
        }
    }
    match best {
        Some((_, base, found)) => write(schedule.clone(), &base, &found),
        None => Repeated { schedule: schedule.clone(), order: usual.to_vec(), repeats: vec![] },
    }
}

/// Whether the arena is above the limit, then the time that copies take if it is not, and bytes if it is.
type Rating = (bool, f64);

/// Puts the copies into the schedule.
fn write(mut schedule: Schedule, base: &Base, found: &Tried) -> Repeated {
    let sketch = &found.sketch;
    let mut value_of: Vec<ValueId> = base.ids.clone();
    for &original in &sketch.repeats {
        let value: Value = schedule.values[base.ids[original]].clone();
        value_of.push(schedule.values.len());
        schedule.values.push(value);
    }
    let mut node_of: Vec<NodeId> = base.tasks.iter().map(|task| task.node).collect();
    for (task, inputs) in base.tasks.iter().zip(&sketch.inputs) {
        schedule.nodes[task.node].inputs = inputs.iter().map(|&v| value_of[v]).collect();
    }
    let mut repeats = Vec::new();
    for copy in &sketch.copies {
        let of = base.tasks[copy.of].node;
        let mut node = schedule.nodes[of].clone();
        node.inputs = copy.inputs.iter().map(|&v| value_of[v]).collect();
        let outputs = copy.first..copy.first + node.outputs.len();
        node.outputs = outputs.map(|v| value_of[v]).collect();
        node.dead = copy.dead;
        node_of.push(schedule.nodes.len());
        repeats.push((schedule.nodes.len(), of));
        schedule.nodes.push(node);
    }
    let order = found.profile.order.iter().map(|&node| node_of[node]).collect();
    Repeated { schedule, order, repeats }
}
