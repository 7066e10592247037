//! Values that are made a second time, so that the arena fits into a given number of bytes.
//!
//! A step's peak is where the backward pass begins: everything that it will read is alive. What is
//! cheap to make again is dropped there and made again right before it is read (Chen et al., Training
//! Deep Nets with Sublinear Memory Cost, 2016). The copies are nodes like all others, with the same
//! kernels and so the same bits; random numbers are functions of key and element.
//!
//! - `sketch`: nodes, values and copies as numbers. `profile`: when they run, and the bytes alive.
//! - `search`: which copies. `making`: what one of them needs. [`recompute`] puts them into the schedule.

mod making;
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
/// `limit` bytes at most, or as few as were found; none where that is more and `options` say to give up.
pub(crate) fn recompute(
    schedule: &Schedule,
    usual: &[NodeId],
    methods: &[Method],
    limit: usize,
    options: Options,
) -> Option<Repeated> {
    let mut orders = vec![(usual.to_vec(), methods.to_vec())];
    // A gate has its place in the usual order.
    let other = frugal(schedule, usual);
    if !options.gated && other != usual {
        let mut method_of = vec![None; schedule.nodes.len()];
        usual.iter().zip(methods).for_each(|(&id, method)| method_of[id] = Some(method));
        let methods = other.iter().filter_map(|&id| method_of[id].cloned()).collect();
        orders.push((other, methods));
    }
    let bases: Vec<Base> =
        orders.iter().map(|(order, methods)| Base::new(schedule, order, methods)).collect();
    let mut searches: Vec<(usize, Search<'_>, Tried)> = Vec::new();
    for base in &bases {
        let mut search = Search::new(base, options.in_place);
        if let Some(start) = search.start() {
            searches.push((search.arena(&start), search, start));
        }
    }
    searches.sort_by_key(|&(bytes, ..)| bytes);
    for (_, search, start) in &mut searches {
        if let Some(found) = search.fit(start, limit) {
            return Some(write(schedule.clone(), search.base(), &found));
        }
    }
    if options.give_up {
        return None;
    }
    let smallest = searches.iter_mut().map(|(_, search, start)| {
        let found = search.smallest(start);
        (search.arena(&found), search.base(), found)
    });
    Some(match smallest.min_by_key(|&(bytes, ..)| bytes) {
        Some((_, base, found)) => write(schedule.clone(), base, &found),
        None => Repeated { schedule: schedule.clone(), order: usual.to_vec(), repeats: vec![] },
    })
}

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
    for (i, task) in base.tasks.iter().enumerate() {
        schedule.nodes[task.node].inputs =
            sketch.inputs(base, i).iter().map(|&v| value_of[v]).collect();
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
