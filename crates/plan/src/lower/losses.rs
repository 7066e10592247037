//! A cross-entropy, its weighted mean and its gradient in one kernel.

use super::Lowering;
use crate::ir::Work;
use crate::kernel::KernelSpec;
use tidemill_graph::{Given, Graph, Loss, Op, Role, TensorId};

/// A cross-entropy whose losses, weighted mean and gradient one kernel computes.
pub(super) struct FusedLoss {
    /// Labels (i32) rather than targets (f32).
    sparse: bool,
    label_smoothing: f32,
    losses: TensorId,
    mean: TensorId,
    mean_grad: TensorId,
    grad: TensorId,
}

impl FusedLoss {
    /// Whether the tensor is one of those that the kernel computes.
    pub fn covers(&self, id: TensorId) -> bool {
        [self.losses, self.mean, self.mean_grad, self.grad].contains(&id)
    }
}

/// All that can be fused among the tensors that are needed.
pub(super) fn find_fused(graph: &Graph, needed: &[bool]) -> Vec<FusedLoss> {
    let ids = || (0..graph.tensors.len() as u32).map(TensorId).filter(|id| needed[id.index()]);
    let readers = |id: TensorId| ids().filter(move |&r| graph.tensor(r).inputs.contains(&id));
    let mut found = Vec::new();
    for grad in ids() {
        let g = graph.tensor(grad);
        let Op::Loss(op) = g.op else { continue };
        let (sparse, label_smoothing) = match op {
            Loss::SparseCrossEntropyGrad { label_smoothing } => (true, label_smoothing),
            Loss::DenseCrossEntropyGrad { label_smoothing } => (false, label_smoothing),
            Loss::SparseCrossEntropy { .. }
            | Loss::DenseCrossEntropy { .. }
            | Loss::WeightedMean
            | Loss::WeightedMeanGrad => continue,
        };
        let loss_op = if sparse {
            Loss::SparseCrossEntropy { label_smoothing }
        } else {
            Loss::DenseCrossEntropy { label_smoothing }
        };
        let mean_grad = g.inputs[2];
        let m = graph.tensor(mean_grad);
        let seeded = m.op == Op::Loss(Loss::WeightedMeanGrad)
            && graph.tensor(m.inputs[1]).op == Op::Given(Given::Constant(1.0))
            && readers(mean_grad).count() == 1;
        if !seeded || graph.shape(g.inputs[0]).len() != 2 {
            continue;
        }
        let losses = ids().find(|&l| {
            let t = graph.tensor(l);
            t.op == Op::Loss(loss_op) && t.inputs[..] == g.inputs[..2]
        });
        let mean = losses.and_then(|l| {
            ids().find(|&t| {
                let t = graph.tensor(t);
                t.op == Op::Loss(Loss::WeightedMean) && t.inputs == [l, m.inputs[0]]
            })
        });
        // The kernel stands where the losses are: weights must be known by then. Other readers of the losses
        // do not matter: the gradient, seeded by the mean alone, does not come from them.
        let known = |weights: TensorId, losses: TensorId| {
            graph.tensor(weights).role != Role::Computed || weights < losses
        };
        if let (Some(losses), Some(mean)) = (losses, mean)
            && known(m.inputs[0], losses)
        {
            found.push(FusedLoss { sparse, label_smoothing, losses, mean, mean_grad, grad });
        }
    }
    found
}

impl Lowering<'_> {
    /// The one node, for whichever of its tensors comes first.
    pub(super) fn fused_loss(&mut self, fused: &FusedLoss) {
        let grad = self.graph.tensor(fused.grad);
        let &FusedLoss { sparse, label_smoothing, .. } = fused;
        let [rows, cols] = [grad.shape[0], grad.shape[1]];
        let weights = self.graph.tensor(fused.mean).inputs[1];
        let inputs = vec![self.get(grad.inputs[0]), self.get(grad.inputs[1]), self.get(weights)];
        let losses = self.computed(&self.graph.tensor(fused.losses).name, rows);
        let dlogits = self.computed(&grad.name, rows * cols);
        let mean = self.computed(&self.graph.tensor(fused.mean).name, 1);
        let spec = KernelSpec::CrossEntropyFused { rows, cols, sparse, label_smoothing };
        self.node(&grad.name, Work::Kernel(spec), inputs, vec![losses, dlogits, mean]);
        let last = self.schedule.nodes.len() - 1;
        self.schedule.nodes[last].notes.push("loss, mean and gradient in one pass".into());
        self.values[fused.losses.index()] = Some(losses);
        self.values[fused.mean.index()] = Some(mean);
        self.values[fused.grad.index()] = Some(dlogits);
        // never read: its only reader is the fused kernel
        self.values[fused.mean_grad.index()] = Some(losses);
    }
}
