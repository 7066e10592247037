//! Values that cost less to compute again than to store and read.

use super::spread::{Fit, spread_of};
use crate::ir::{Element, Node, NodeId, Schedule, Work};
use tidemill_graph::{Saves, Unary};

/// The gradient of an activation of a normalized value: it reads what was normalized, which the gradient of the norm reads as
/// well, and not the normalized value, which then need not be stored. What follows it as a multiply-add, which waits for sums over
/// the gradient, has a copy of its own, so that the gradient is not stored either.
pub(super) fn normalized(schedule: &mut Schedule) {
    let producers = schedule.producers();
    let mut found = Vec::new();
    for (id, node) in schedule.live() {
        let Some(unary) = unary_grad(node) else { continue };
        let mut saved = producers[node.inputs[0]];
        if unary.saves() == Saves::Output {
            // only relu's gradient is the same from input and output
            let relu = |&id: &NodeId| {
                unary == Unary::Relu
                    && matches!(&schedule.nodes[id].work, Work::Element { op: Element::Unary(u), .. } if *u == unary)
            };
            saved = saved.filter(relu).and_then(|id| producers[schedule.nodes[id].inputs[0]]);
        }
        if let Some(saved) = saved.filter(|&id| scales_columns(&schedule.nodes[id])) {
            found.push((id, saved, unary));
        }
    }
    let readers = schedule.readers();
    let mut copies: Vec<(NodeId, Node)> = Vec::new();
    for (id, saved, unary) in found {
        let scaled = schedule.nodes[saved].clone();
        let Work::Element { operands: more, .. } = scaled.work else { continue };
        let node = &mut schedule.nodes[id];
        let Work::Element { op, operands, .. } = &mut node.work else { continue };
        *op = Element::UnaryGradOfMulAdd(unary);
        operands.splice(0..1, more);
        node.inputs.splice(0..1, scaled.inputs);
        let (original, gradient) = (node.clone(), node.outputs[0]);
        if schedule.is_output(gradient) || readers[gradient].len() < 2 {
            continue;
        }
        for &reader in &readers[gradient] {
            if !matches!(schedule.nodes[reader].work, Work::Element { op: Element::MulAdd, .. }) {
                continue;
            }
            let copy = schedule.values.len();
            schedule.values.push(schedule.values[gradient].clone());
            let reads = schedule.nodes[reader].inputs.iter_mut().filter(|v| **v == gradient);
            reads.for_each(|v| *v = copy);
            copies.push((reader, Node { outputs: vec![copy], ..original.clone() }));
        }
    }
    copies.sort_by_key(|copy| copy.0);
    for (reader, copy) in copies.into_iter().rev() {
        schedule.nodes.insert(reader, copy);
    }
}

fn unary_grad(node: &Node) -> Option<Unary> {
    match node.work {
        Work::Element { op: Element::UnaryGrad(unary), .. } => Some(unary),
        _ => None,
    }
}

/// Whether a node is `a * b + c` with a factor and a summand for each column.
fn scales_columns(node: &Node) -> bool {
    let Work::Element { op: Element::MulAdd, shape, operands } = &node.work else { return false };
    let fits: Vec<_> = operands.iter().map(|operand| spread_of(operand, shape)).collect();
    matches!(fits[..], [Some(Fit::Full), Some(Fit::Row(_)), Some(Fit::Row(_))])
}
