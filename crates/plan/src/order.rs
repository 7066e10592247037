//! The order in which nodes run.

use crate::ir::{NodeId, Origin, Schedule, ValueId};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// For each node how many it waits for, and those that wait for it.
fn edges(schedule: &Schedule) -> (Vec<usize>, Vec<Vec<NodeId>>) {
    let producers = schedule.producers();
    let readers = schedule.readers();
    let mut waits = vec![0usize; schedule.nodes.len()];
    let mut next: Vec<Vec<NodeId>> = vec![Vec::new(); schedule.nodes.len()];
    for (id, node) in schedule.live() {
        let mut before: Vec<NodeId> = node.inputs.iter().filter_map(|&v| producers[v]).collect();
        for &state in &node.state {
            before.extend(
                readers[state]
                    .iter()
                    .filter(|&&r| r != id && !schedule.nodes[r].state.contains(&state)),
            );
        }
        before.sort_unstable();
        before.dedup();
        waits[id] = before.len();
        for b in before {
            next[b].push(id);
        }
    }
    (waits, next)
}

/// A topological order of the live nodes. A node that updates state runs after every other reader
/// of that state (the gradient through a layer reads the weights from before the update), and
/// among the ready nodes updates go first, since they free gradients, then the oldest. If it is `gated`, what the gate's
/// values are made of comes before all of them: nothing of the state may have changed there.
pub fn order(schedule: &Schedule, gated: bool) -> Vec<NodeId> {
    let (mut waits, next) = edges(schedule);
    let judged = if gated { behind(schedule, &schedule.gate) } else { vec![] };
    let rank = |id: NodeId| {
        let later = gated && !judged[id];
        Reverse((later, schedule.nodes[id].state.is_empty(), id))
    };
    let mut ready: BinaryHeap<_> =
        schedule.live().filter(|(id, _)| waits[*id] == 0).map(|(id, _)| rank(id)).collect();
    let mut order = Vec::new();
    while let Some(Reverse((.., id))) = ready.pop() {
        order.push(id);
        for &n in &next[id] {
            waits[n] -= 1;
            if waits[n] == 0 {
                ready.push(rank(n));
            }
        }
    }
    assert_eq!(order.len(), schedule.live().count(), "fusion made a cycle; please report it");
    order
}

/// Which nodes some values are made by, or made of.
fn behind(schedule: &Schedule, values: &[ValueId]) -> Vec<bool> {
    let producers = schedule.producers();
    let mut found = vec![false; schedule.nodes.len()];
    let mut stack = values.to_vec();
    while let Some(value) = stack.pop() {
        if let Some(node) = producers[value]
            && !std::mem::replace(&mut found[node], true)
        {
            stack.extend(&schedule.nodes[node].inputs);
        }
    }
    found
}

/// A topological order of the live nodes that looks at memory: of the nodes that are ready, one that frees more
/// bytes than it takes runs first, else the one that comes first in `usual`.
pub(crate) fn frugal(schedule: &Schedule, usual: &[NodeId]) -> Vec<NodeId> {
    let (mut waits, next) = edges(schedule);
    let mut readers = vec![0usize; schedule.values.len()];
    let distinct = |id: NodeId| {
        let mut inputs = schedule.nodes[id].inputs.clone();
        inputs.sort_unstable();
        inputs.dedup();
        inputs
    };
    schedule.live().flat_map(|(id, _)| distinct(id)).for_each(|v| readers[v] += 1);
    schedule.outputs.iter().for_each(|&(_, v)| readers[v] += 1);
    let bytes = |v: usize| match schedule.values[v].origin {
        Origin::Computed => schedule.values[v].len as isize,
        _ => 0,
    };
    let mut rank = vec![usize::MAX; schedule.nodes.len()];
    usual.iter().enumerate().for_each(|(position, &id)| rank[id] = position);
    let mut ready: Vec<NodeId> = usual.iter().copied().filter(|&id| waits[id] == 0).collect();
    let mut order = Vec::with_capacity(usual.len());
    while !ready.is_empty() {
        let grows = |id: NodeId| {
            let node = &schedule.nodes[id];
            let made: isize = node.outputs.iter().map(|&v| bytes(v)).sum();
            let freed = distinct(id).into_iter().filter(|&v| readers[v] == 1);
            made - freed.map(bytes).sum::<isize>()
        };
        let key = |i: usize| (grows(ready[i]).min(0), rank[ready[i]]);
        let Some(best) = (0..ready.len()).min_by_key(|&i| key(i)) else { break };
        let id = ready.swap_remove(best);
        order.push(id);
        distinct(id).into_iter().for_each(|v| readers[v] -= 1);
        for &n in &next[id] {
            waits[n] -= 1;
            if waits[n] == 0 {
                ready.push(n);
            }
        }
    }
    order
}
