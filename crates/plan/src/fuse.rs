//! Fusion: epilogues into matrix and convolution kernels, updates into the kernels that finish a
//! gradient, and elementwise nodes into programs.

use crate::eltwise::{Program, Sink, Spread, Step};
use crate::ir::{Element, Node, NodeId, Origin, Schedule, ValueId, Work};
use crate::kernel::{Epilogue, FusedUpdate, KernelSpec};
use crate::lower::is_relu;
use tidemill_graph::update::{Rule, WeightDecay};
use tidemill_graph::{Binary, Unary};

/// How an operand spreads over a matrix, with the number of columns that this needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// One value an element, for any number of columns.
    Full,
    /// One value, for any number of columns.
    Scalar,
    /// One value a column of so many.
    Row(usize),
    /// One value a row of so many columns.
    Column(usize),
}

/// How an operand of one shape spreads over another; `None` where no split into rows and columns
/// does it (`[b, 1, t, 1]` over `[b, h, t, d]`).
pub(crate) fn spread_of(operand: &[usize], out: &[usize]) -> Option<Fit> {
    let (len, total): (usize, usize) = (operand.iter().product(), out.iter().product());
    if len == total {
        return Some(Fit::Full);
    }
    if len == 1 {
        return Some(Fit::Scalar);
    }
    let dim = |i: usize| {
        let missing = out.len() - operand.len();
        if i < missing { 1 } else { operand[i - missing] }
    };
    let from = (0..out.len()).find(|&i| dim(i) != 1).unwrap_or(0);
    let to = (0..out.len()).rev().find(|&i| dim(i) != 1).unwrap_or(0);
    if (from..out.len()).all(|i| dim(i) == out[i]) {
        return Some(Fit::Row(out[from..].iter().product()));
    }
    if (0..=to).all(|i| dim(i) == out[i]) {
        return Some(Fit::Column(out[to + 1..].iter().product()));
    }
    None
}

/// Runs all fusions. Without `enabled` every op becomes a kernel of its own (for tests, and to
/// show what fusion gains).
pub fn fuse(schedule: &mut Schedule, enabled: bool) {
    if enabled {
        absorb_epilogues(schedule);
        absorb_bias_sums(schedule);
        absorb_updates(schedule);
    }
    group_elements(schedule, enabled);
}

/// `relu(acc + bias + residual) * mask` chains behind a kernel that has an epilogue.
fn absorb_epilogues(schedule: &mut Schedule) {
    for id in 0..schedule.nodes.len() {
        if let Some((reader, note)) = next_epilogue(schedule, id) {
            // the merged node takes the reader's place, behind all that the reader needs
            let mut merged = schedule.nodes[id].clone();
            schedule.nodes[id].dead = true;
            let absorbed = &schedule.nodes[reader];
            let own = merged.outputs[0];
            // max pooling's gradient has its mask as an input already
            if !matches!(merged.work, Work::Kernel(KernelSpec::MaxPoolGrad(..))) {
                merged.inputs.extend(absorbed.inputs.iter().filter(|&&v| v != own));
            }
            merged.outputs = absorbed.outputs.clone();
            merged.notes.push(note.to_owned());
            schedule.nodes[reader] = merged;
        }
    }
}

/// The reader that can become the next stage of the node's epilogue, after marking it in the spec.
fn next_epilogue(schedule: &mut Schedule, id: NodeId) -> Option<(NodeId, &'static str)> {
    let node = &schedule.nodes[id];
    if node.dead || node.outputs.len() != 1 {
        return None;
    }
    let own = node.outputs[0];
    let (columns, current, mask_only) = match &node.work {
        Work::Kernel(KernelSpec::Gemm(g, e, None)) => (g.n, *e, false),
        Work::Kernel(KernelSpec::ConvForward(c, e)) => (c.output[2], *e, false),
        Work::Kernel(KernelSpec::ConvGradInput(c, e)) => (c.input[2], *e, false),
        Work::Kernel(KernelSpec::MaxPoolGrad(_, mask)) => {
            (0, Epilogue { mask: *mask, ..Epilogue::default() }, true)
        }
        _ => return None,
    };
    if current.mask || schedule.is_output(own) {
        return None;
    }
    let forward = matches!(node.work, Work::Kernel(KernelSpec::ConvForward(..)));
    let readers: Vec<NodeId> = schedule
        .live()
        .filter(|(_, n)| n.inputs.contains(&own) || n.state.contains(&own))
        .map(|(r, _)| r)
        .collect();
    let [reader] = readers[..] else { return None };
    let Work::Element { op, shape, operands } = &schedule.nodes[reader].work else { return None };
    let inputs = &schedule.nodes[reader].inputs;
    let (next, note) = match op {
        Element::Binary(Binary::Add) if !mask_only && !current.relu => {
            let other = if inputs[0] == own { 1 } else { 0 };
            if inputs[0] == inputs[1] || shape.iter().product::<usize>() != schedule.values[own].len
            {
                return None;
            }
            match spread_of(&operands[other], shape)? {
                Fit::Row(n) if n == columns && !current.bias && !current.residual => {
                    (Epilogue { bias: true, ..current }, "bias in the epilogue")
                }
                Fit::Full if !current.residual && schedule.values[inputs[other]].len != 1 => {
                    (Epilogue { residual: true, ..current }, "sum in the epilogue")
                }
                _ => return None,
            }
        }
        op if is_relu(op) && !mask_only && !current.relu => {
            (Epilogue { relu: true, ..current }, "relu in the epilogue")
        }
        Element::UnaryGrad(Unary::Relu) if forward => return None,
        Element::UnaryGrad(Unary::Relu) if inputs[1] == own && inputs[0] != own => {
            // max pooling's gradient reads its input anyway; it masks by that and by nothing else
            if mask_only && schedule.nodes[id].inputs[0] != inputs[0] {
                return None;
            }
            (Epilogue { mask: true, ..current }, "relu gradient in the epilogue")
        }
        _ => return None,
    };
    match &mut schedule.nodes[id].work {
        Work::Kernel(
            KernelSpec::Gemm(_, e, _)
            | KernelSpec::ConvForward(_, e)
            | KernelSpec::ConvGradInput(_, e),
        ) => *e = next,
        Work::Kernel(KernelSpec::MaxPoolGrad(_, mask)) => *mask = true,
        _ => return None,
    }
    Some((reader, note))
}

/// The bias's gradient of a convolution, taken from dy while the weight's gradient reads it.
fn absorb_bias_sums(schedule: &mut Schedule) {
    let readers = schedule.readers();
    for id in 0..schedule.nodes.len() {
        let node = &schedule.nodes[id];
        let Work::Kernel(KernelSpec::ConvGradWeight(conv, false, None)) = node.work else {
            continue;
        };
        if node.dead {
            continue;
        }
        let is_sum = |&&r: &&NodeId| {
            let sum = Element::SumRows { cols: conv.output[2], factor: 1.0 };
            matches!(&schedule.nodes[r].work, Work::Element { op, .. } if *op == sum)
        };
        let dy = node.inputs[1];
        if let Some(&sum) = readers[dy].iter().find(is_sum) {
            let output = schedule.nodes[sum].outputs[0];
            schedule.nodes[sum].dead = true;
            let node = &mut schedule.nodes[id];
            node.work = Work::Kernel(KernelSpec::ConvGradWeight(conv, true, None));
            node.outputs.push(output);
            node.notes.push("bias gradient in the same pass".into());
        }
    }
}

/// Update-as-ready: the optimizer runs where the gradient is finished, which is then never stored.
fn absorb_updates(schedule: &mut Schedule) {
    let producers = schedule.producers();
    let readers = schedule.readers();
    for id in 0..schedule.nodes.len() {
        let Work::Kernel(KernelSpec::Optimize { update, .. }) = schedule.nodes[id].work else {
            continue;
        };
        let gradient = schedule.nodes[id].inputs[0];
        let refuse = |schedule: &mut Schedule, why: String| {
            schedule.nodes[id].notes.push(format!("not in the gradient's kernel: {why}"));
        };
        let Some(producer) = producers[gradient] else {
            refuse(schedule, "the gradient is not computed by a kernel".into());
            continue;
        };
        if readers[gradient].len() > 1 || schedule.is_output(gradient) {
            let why = "the whole gradient is read elsewhere (clipping by norm, tied weights)";
            refuse(schedule, why.into());
            continue;
        }
        match absorbed_update(&schedule.nodes[producer], gradient, update) {
            Ok(work) => {
                let updater = schedule.nodes[id].clone();
                schedule.nodes[id].dead = true;
                let node = &mut schedule.nodes[producer];
                node.work = work;
                node.inputs.push(updater.inputs[1]);
                node.outputs.remove(0); // a bias's gradient, if any, stays an output
                node.state = updater.state;
                node.notes.push("update as ready: no gradient buffer".into());
                node.label = updater.label;
            }
            Err(why) => refuse(schedule, why),
        }
    }
}

fn absorbed_update(node: &Node, gradient: ValueId, update: FusedUpdate) -> Result<Work, String> {
    match &node.work {
        Work::Kernel(KernelSpec::Gemm(g, e, None)) if g.batch == 1 && *e == Epilogue::default() => {
            Ok(Work::Kernel(KernelSpec::Gemm(*g, *e, Some(update))))
        }
        Work::Kernel(KernelSpec::ConvGradWeight(c, bias, None)) if node.outputs[0] == gradient => {
            Ok(Work::Kernel(KernelSpec::ConvGradWeight(*c, *bias, Some(update))))
        }
        &Work::Kernel(KernelSpec::EmbeddingGrad {
            float_ids,
            update: None,
            rows,
            cols,
            len,
            bag,
        }) => {
            if !stays_without_gradient(&update) {
                return Err("the rule also changes rows that do not occur".into());
            }
            if len > MAX_UPDATED_IDS || len > rows / 2 {
                return Err("most rows may occur".into());
            }
            let update = Some(update);
            let spec = KernelSpec::EmbeddingGrad { float_ids, update, rows, cols, len, bag };
            Ok(Work::Kernel(spec))
        }
        Work::Kernel(spec) => Err(format!("the {} kernel has no update epilogue", spec.name())),
        Work::Element { .. } => Err("the gradient is a sum over rows".into()),
    }
}

/// Ids of a batch up to which the rows of an embedding are updated one by one, by one thread, which
/// sorts them.
const MAX_UPDATED_IDS: usize = 4096;

/// Whether a parameter and its slots stay as they are, bit by bit, where the gradient is zero.
fn stays_without_gradient(update: &FusedUpdate) -> bool {
    (update.rule.is_lazy() || matches!(update.rule, Rule::Adagrad { .. }))
        && update.decay == WeightDecay::None
}

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
fn group_elements(schedule: &mut Schedule, enabled: bool) {
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
    let count = if matches!(op, Element::Dropout { .. }) { 1 } else { operands.len() };
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
        program.steps.push(match *op {
            Element::Unary(u) => Step::Unary(u, args[0]),
            Element::UnaryGrad(u) => Step::UnaryGrad(u, args[0], args[1]),
            Element::Binary(b) => Step::Binary(b, args[0], args[1]),
            Element::PairLossGrad(l) => Step::PairLossGrad(l, args[0], args[1], args[2]),
            Element::MulAdd => Step::MulAdd(args[0], args[1], args[2]),
            Element::Dropout { rate, stream } => {
                key = Some(node.inputs[1]);
                Step::Dropout { a: args[0], rate, stream }
            }
            Element::SumRows { .. } | Element::SumColumns { .. } | Element::SumAll(_) => continue,
        });
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
        Element::Binary(b) => b.name(),
        Element::PairLossGrad(_) => "loss grad",
        Element::MulAdd => "scale+shift",
        Element::Dropout { .. } => "dropout",
        Element::SumRows { .. } => "column sums",
        Element::SumColumns { .. } => "row sums",
        Element::SumAll(_) => "sum",
    }
}
