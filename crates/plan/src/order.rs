//! The order in which nodes run.

use crate::ir::{NodeId, Schedule};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A topological order of the live nodes. A node that updates state runs after every other reader
/// of that state (the gradient through a layer reads the weights from before the update), and
/// among the ready nodes updates go first, since they free gradients, then the oldest.
pub fn order(schedule: &Schedule) -> Vec<NodeId> {
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
    let rank = |id: NodeId| Reverse((schedule.nodes[id].state.is_empty(), id));
    let mut ready: BinaryHeap<_> =
        schedule.live().filter(|(id, _)| waits[*id] == 0).map(|(id, _)| rank(id)).collect();
    let mut order = Vec::new();
    while let Some(Reverse((_, id))) = ready.pop() {
        order.push(id);
        for &n in &next[id] {
            waits[n] -= 1;
            if waits[n] == 0 {
                ready.push(rank(n));
            }
        }
    }
    debug_assert_eq!(order.len(), schedule.live().count(), "fusion made a cycle");
    order
}
