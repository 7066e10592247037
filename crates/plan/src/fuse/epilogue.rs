//! What follows a matrix or convolution kernel, moved into its epilogue.

use super::spread::{Fit, spread_of};
use crate::ir::{Element, NodeId, Schedule, Work};
use crate::kernel::{Epilogue, KernelSpec};
use tidemill_graph::{Binary, Unary};

/// `relu(acc + bias + residual) * mask` chains behind a kernel that has an epilogue.
pub(super) fn absorb_chains(schedule: &mut Schedule) {
    for id in 0..schedule.nodes.len() {
        if let Some((reader, note)) = next_stage(schedule, id) {
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
fn next_stage(schedule: &mut Schedule, id: NodeId) -> Option<(NodeId, &'static str)> {
    let node = &schedule.nodes[id];
    if node.dead || node.outputs.len() != 1 {
        return None;
    }
    let own = node.outputs[0];
    let (columns, current, mask_only) = match &node.work {
        Work::Kernel(KernelSpec::Gemm(g, e, None)) => (g.n, *e, false),
        Work::Kernel(KernelSpec::ConvForward(c, e)) => (c.out_c, *e, false),
        Work::Kernel(KernelSpec::ConvGradInput(c, e)) => (c.in_c, *e, false),
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
        Element::Unary(Unary::Relu) if !mask_only && !current.relu => {
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
pub(super) fn absorb_bias_sums(schedule: &mut Schedule) {
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
            let sum = Element::SumRows { cols: conv.out_c, factor: 1.0 };
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
