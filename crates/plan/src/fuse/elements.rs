//! Elementwise nodes joined into programs that touch memory once.

use super::spread::{Fit, spread_of};
use crate::eltwise::{Program, Sink, Spread, Step};
use crate::ir::{Element, Node, NodeId, Origin, Schedule, ValueId, Work};
use crate::kernel::KernelSpec;
use tidemill_graph::Dropout;

/// A growing fused program.
struct Group {
    members: Vec<NodeId>,
    /// Elements of the full matrix.
    total: usize,
    /// Columns, once an operand has fixed them.
    cols: Option<usize>,
}

/// Joins elementwise nodes into programs and replaces each group by one kernel node at the place
/// of its last member. (The order of nodes is settled later; places only break ties.)
pub(super) fn group(schedule: &mut Schedule, enabled: bool) {
    let producers = schedule.producers();
    let mut group_of: Vec<Option<usize>> = vec![None; schedule.nodes.len()];
    let mut groups: Vec<Group> = Vec::new();
    for id in 0..schedule.nodes.len() {
        let node = &schedule.nodes[id];
        let Work::Element { shape, .. } = &node.work else { continue };
        if node.dead {
            continue;
        }
        let total = shape.iter().product::<usize>();
        let cols = columns(node);
        let mut candidates: Vec<usize> = Vec::new();
        if enabled {
            for &input in full_inputs(node).iter() {
                candidates.extend(producers[input].and_then(|p| group_of[p]));
                // siblings that read the same memory
                candidates.extend(groups.iter().enumerate().rev().filter_map(|(g, group)| {
                    let reads = |&m: &NodeId| full_inputs(&schedule.nodes[m]).contains(&input);
                    (schedule.values[input].len > 1 && group.members.iter().any(reads)).then_some(g)
                }));
            }
        }
        let chosen = candidates.into_iter().find(|&g| {
            let group = &groups[g];
            let agree = group.cols.is_none() || cols.is_none() || group.cols == cols;
            group.total == total
                && agree
                && group.members.len() < 24
                && distinct_inputs(schedule, &group.members, id) <= 12
                && !needs_group_from_outside(schedule, &producers, &group_of, id, g)
        });
        let g = chosen.unwrap_or_else(|| {
            groups.push(Group { members: vec![], total, cols: None });
            groups.len() - 1
        });
        groups[g].members.push(id);
        groups[g].cols = groups[g].cols.or(cols);
        group_of[id] = Some(g);
    }
    for group in groups {
        emit(schedule, &group);
    }
}

/// The inputs that have a value for each element.
fn full_inputs(node: &Node) -> Vec<ValueId> {
    let Work::Element { shape, operands, .. } = &node.work else { return vec![] };
    let total: usize = shape.iter().product();
    let full = |s: &Vec<usize>| s.iter().product::<usize>() == total;
    node.inputs.iter().zip(operands).filter(|(_, s)| full(s)).map(|(&v, _)| v).collect()
}

/// The number of columns that a node asks for; lowering saw to it that its operands agree.
fn columns(node: &Node) -> Option<usize> {
    let Work::Element { op, shape, operands } = &node.work else { return None };
    match *op {
        Element::SumRows { cols, .. } | Element::SumColumns { cols, .. } => Some(cols),
        op => operand_fits(op, operands, shape).into_iter().find_map(|fit| match fit {
            Some(Fit::Row(n) | Fit::Column(n)) => Some(n),
            _ => None,
        }),
    }
}

fn operand_fits(op: Element, operands: &[Vec<usize>], shape: &[usize]) -> Vec<Option<Fit>> {
    // a dropout's second operand is the random key, which no element reads
    let count = if matches!(op, Element::Dropout(_)) { 1 } else { operands.len() };
    operands[..count].iter().map(|s| spread_of(s, shape)).collect()
}

fn distinct_inputs(schedule: &Schedule, members: &[NodeId], new: NodeId) -> usize {
    let mut seen: Vec<ValueId> = Vec::new();
    let mut made: Vec<ValueId> = Vec::new();
    for &m in members.iter().chain([&new]) {
        let node = &schedule.nodes[m];
        seen.extend(node.inputs.iter().filter(|v| !made.contains(v)));
        made.extend(&node.outputs);
    }
    seen.sort_unstable();
    seen.dedup();
    seen.len()
}

/// Whether an input of the node that is not read from within the group depends on the group: then
/// joining would make a cycle. A sum of the group counts as outside, since it is whole only when
/// the group has run.
fn needs_group_from_outside(
    schedule: &Schedule,
    producers: &[Option<NodeId>],
    group_of: &[Option<usize>],
    node: NodeId,
    group: usize,
) -> bool {
    let mut seen = vec![false; schedule.nodes.len()];
    let mut stack: Vec<NodeId> = Vec::new();
    let same_group = |p: NodeId| group_of[p] == Some(group);
    for &input in &schedule.nodes[node].inputs {
        let Some(p) = producers[input] else { continue };
        if same_group(p) {
            let Work::Element { op, .. } = schedule.nodes[p].work else { continue };
            if op.is_sum() {
                return true;
            }
        } else {
            stack.push(p);
        }
    }
    while let Some(n) = stack.pop() {
        if std::mem::replace(&mut seen[n], true) {
            continue;
        }
        // the ancestor runs with its whole group: that group's inputs count too
        let peers: Vec<NodeId> = match group_of[n] {
            Some(g) if g == group => return true,
            Some(g) => (0..=node).filter(|&m| group_of[m] == Some(g)).collect(),
            None => vec![n],
        };
        for peer in peers {
            seen[peer] = true;
            stack.extend(
                schedule.nodes[peer]
                    .inputs
                    .iter()
                    .filter_map(|&v| producers[v])
                    .filter(|&p| !seen[p]),
            );
        }
    }
    false
}

/// Replaces a group by one kernel node.
fn emit(schedule: &mut Schedule, group: &Group) {
    let readers = schedule.readers();
    let cols = group.cols.unwrap_or_else(|| {
        let Work::Element { shape, .. } = &schedule.nodes[group.members[0]].work else { return 1 };
        shape.last().copied().unwrap_or(1).max(1)
    });
    let mut program = Program {
        rows: group.total / cols.max(1),
        cols,
        inputs: vec![],
        steps: vec![],
        outputs: vec![],
    };
    let (mut inputs, mut outputs): (Vec<ValueId>, Vec<ValueId>) = (vec![], vec![]);
    let mut step_of: Vec<(ValueId, usize)> = Vec::new();
    let mut key: Option<ValueId> = None;
    let mut names: Vec<&'static str> = Vec::new();
    for &member in &group.members {
        let node = schedule.nodes[member].clone();
        let Work::Element { op, shape, operands } = &node.work else { continue };
        let fits = operand_fits(*op, operands, shape);
        let mut args = Vec::new();
        for (&input, fit) in node.inputs.iter().zip(fits) {
            let existing = step_of.iter().find(|s| s.0 == input).map(|s| s.1);
            args.push(existing.unwrap_or_else(|| {
                if let Origin::Constant(c) = schedule.values[input].origin {
                    program.steps.push(Step::Constant(c));
                } else {
                    let spread = match fit.expect("lowering leaves only operands that spread") {
                        Fit::Full => Spread::Full,
                        Fit::Scalar => Spread::Scalar,
                        Fit::Row(_) => Spread::Row,
                        Fit::Column(_) => Spread::Column,
                    };
                    program.inputs.push(spread);
                    inputs.push(input);
                    program.steps.push(Step::Input(program.inputs.len() - 1));
                }
                step_of.push((input, program.steps.len() - 1));
                program.steps.len() - 1
            }));
        }
        names.push(element_name(*op));
        let out = node.outputs[0];
        let sink = match *op {
            Element::SumRows { factor, .. } => Some((Sink::ColumnSums, factor)),
            Element::SumColumns { factor, .. } => Some((Sink::RowSums, factor)),
            Element::SumAll(f) => Some((Sink::Total, f)),
            _ => None,
        };
        if let Some((sink, factor)) = sink {
            program.outputs.push((args[0], sink, factor));
            outputs.push(out);
            continue;
        }
        let step = match *op {
            Element::Unary(u) => Step::Unary(u, args[0]),
            Element::UnaryGrad(u) => Step::UnaryGrad(u, args[0], args[1]),
            Element::UnaryGradOfMulAdd(u) => {
                program.steps.push(Step::MulAdd(args[0], args[1], args[2]));
                Step::UnaryGrad(u, program.steps.len() - 1, args[3])
            }
            Element::Binary(b) => Step::Binary(b, args[0], args[1]),
            Element::PairLossGrad(l) => Step::PairLossGrad(l, args[0], args[1], args[2]),
            Element::MulAdd => Step::MulAdd(args[0], args[1], args[2]),
            Element::Dropout(Dropout { rate, stream }) => {
                key = Some(node.inputs[1]);
                Step::Dropout { a: args[0], rate, stream }
            }
            Element::SumRows { .. } | Element::SumColumns { .. } | Element::SumAll(_) => continue,
        };
        program.steps.push(step);
        step_of.push((out, program.steps.len() - 1));
        let stays = readers[out].iter().all(|r| {
            let sum = matches!(schedule.nodes[*r].work, Work::Element { .. });
            group.members.contains(r) && sum
        });
        if !stays || schedule.is_output(out) {
            program.outputs.push((program.steps.len() - 1, Sink::Full, 1.0));
            outputs.push(out);
        }
    }
    inputs.extend(key);
    let last = *group.members.last().expect("a group has members");
    let label = schedule.nodes[last].label.clone();
    for &member in &group.members {
        schedule.nodes[member].dead = true;
    }
    let note = names.join(" ");
    schedule.nodes[last] = Node {
        work: Work::Kernel(KernelSpec::Eltwise(program)),
        inputs,
        outputs,
        state: vec![],
        label,
        notes: vec![note],
        dead: false,
    };
}

fn element_name(op: Element) -> &'static str {
    match op {
        Element::Unary(u) => u.name(),
        Element::UnaryGrad(_) => "grad",
        Element::UnaryGradOfMulAdd(_) => "scale+shift grad",
        Element::Binary(b) => b.name(),
        Element::PairLossGrad(_) => "loss grad",
        Element::MulAdd => "scale+shift",
        Element::Dropout(_) => "dropout",
        Element::SumRows { .. } => "column sums",
        Element::SumColumns { .. } => "row sums",
        Element::SumAll(_) => "sum",
    }
}
