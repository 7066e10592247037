//! Update as ready: the optimizer runs where the gradient is finished, which is then never stored.

use crate::ir::{Node, NodeId, Schedule, ValueId, Work};
use crate::kernel::{Epilogue, FusedUpdate, KernelSpec};
use tidemill_graph::update::{Rule, WeightDecay};

/// Moves each update that can be into its gradient's kernel; the others get a note that says why not.
pub(super) fn absorb(schedule: &mut Schedule) {
    let producers = schedule.producers();
    let readers = schedule.readers();
    for id in 0..schedule.nodes.len() {
        let update = match schedule.nodes[id].work {
            Work::Kernel(KernelSpec::Optimize { update, .. }) => update,
            Work::Kernel(KernelSpec::OptimizePacked { .. }) => {
                let why = "not in the gradient's kernel: packed slots are updated by blocks";
                schedule.nodes[id].notes.push(why.into());
                continue;
            }
            _ => continue,
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
        if waits_for_itself(schedule, producer, gradient, schedule.nodes[id].state[0]) {
            let why =
                "what else it makes is needed to compute with the weights from before the update";
            refuse(schedule, why.into());
            continue;
        }
        match absorbed(&schedule.nodes[producer], gradient, update) {
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

/// Whether a reader of the parameter needs another output of the node that makes its gradient: an update there would
/// wait for that reader, and the reader for it.
fn waits_for_itself(
    schedule: &Schedule,
    producer: NodeId,
    gradient: ValueId,
    parameter: ValueId,
) -> bool {
    let others = schedule.nodes[producer].outputs.iter().filter(|&&v| v != gradient);
    let mut stack: Vec<ValueId> = others.copied().collect();
    if stack.is_empty() {
        return false;
    }
    let readers = schedule.readers();
    let mut seen = vec![false; schedule.nodes.len()];
    while let Some(value) = stack.pop() {
        for &reader in &readers[value] {
            if std::mem::replace(&mut seen[reader], true) {
                continue;
            }
            let node = &schedule.nodes[reader];
            if node.inputs.contains(&parameter) {
                return true;
            }
            stack.extend(&node.outputs);
        }
    }
    false
}

fn absorbed(node: &Node, gradient: ValueId, update: FusedUpdate) -> Result<Work, String> {
    match &node.work {
        Work::Kernel(KernelSpec::Gemm(g, e, None)) if g.batch == 1 && *e == Epilogue::default() => {
            Ok(Work::Kernel(KernelSpec::Gemm(*g, *e, Some(update))))
        }
        Work::Kernel(KernelSpec::ConvGradWeight(c, bias, None)) if node.outputs[0] == gradient => {
            Ok(Work::Kernel(KernelSpec::ConvGradWeight(*c, *bias, Some(update))))
        }
        Work::Kernel(KernelSpec::EmbeddingGrad(lookup, None)) => {
            if !stays_without_gradient(&update) {
                return Err("the rule also changes rows that do not occur".into());
            }
            if lookup.len > MAX_UPDATED_IDS || lookup.len > lookup.rows / 2 {
                return Err("most rows may occur".into());
            }
            Ok(Work::Kernel(KernelSpec::EmbeddingGrad(*lookup, Some(update))))
        }
        Work::Kernel(spec) => Err(format!("the {} kernel has no update epilogue", spec.name())),
        Work::Element { .. } => Err("the gradient is a sum over rows".into()),
    }
}

/// Ids of a batch up to which the rows of an embedding are updated one by one: each thread keeps a key
/// for each id.
const MAX_UPDATED_IDS: usize = 1 << 20;

/// Whether a parameter and its slots stay as they are, bit by bit, where the gradient is zero.
fn stays_without_gradient(update: &FusedUpdate) -> bool {
    (update.rule.is_lazy() || matches!(update.rule, Rule::Adagrad { .. }))
        && update.decay == WeightDecay::None
}
