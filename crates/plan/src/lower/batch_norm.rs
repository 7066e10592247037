//! Batch norm as moments, small coefficient kernels and elementwise multiply-adds, so that it fuses
//! like anything else.

use super::Lowering;
use super::ops::Site;
use crate::ir::{Element, ValueId, Work};
use crate::kernel::KernelSpec;
use tidemill_graph::{BatchNorm, Binary, Op, TensorId};

impl Lowering<'_> {
    /// Nothing for new running moments: they become a kernel that writes the state when assignments
    /// are lowered.
    pub(super) fn batch_norm(
        &mut self,
        id: TensorId,
        op: BatchNorm,
        site: &Site<'_>,
    ) -> Option<ValueId> {
        let name = site.name();
        Some(match op {
            BatchNorm::Moments => {
                let (rows, cols) = site.matrix(0);
                self.kernel(name, KernelSpec::Moments { rows, cols }, site.values(), 2 * cols)
            }
            BatchNorm::Eval { epsilon } | BatchNorm::Train { epsilon } => {
                let cols = site.dims(1)[1];
                let spec = KernelSpec::NormCoefficients { cols, epsilon };
                let (a, b) = (self.computed(name, cols), self.computed(name, cols));
                self.node(name, Work::Kernel(spec), site.values()[1..4].to_vec(), vec![a, b]);
                let operands = [site.operand(0), (a, vec![cols]), (b, vec![cols])];
                self.element(name, Element::MulAdd, site.out(), &operands, site.len())
            }
            BatchNorm::TrainGradInput { epsilon } => self.batch_norm_grad(id, epsilon, true),
            BatchNorm::GradGamma { epsilon } => self.batch_norm_grad(id, epsilon, false),
            BatchNorm::UpdateMoments { .. } => return None,
        })
    }

    /// Both gradients of a batch norm come from the sums of dy and of dy x; whichever op is met
    /// first makes the coefficients, the other finds them by the same inputs.
    fn batch_norm_grad(&mut self, id: TensorId, epsilon: f32, want_input: bool) -> ValueId {
        let graph = self.graph;
        let tensor = graph.tensor(id);
        let dy_id = *tensor.inputs.last().expect("batch norm gradients read dy");
        let (x_id, moments_id) = (tensor.inputs[0], tensor.inputs[1]);
        let (x, moments, dy) = (self.get(x_id), self.get(moments_id), self.get(dy_id));
        let shape = graph.shape(x_id).to_vec();
        let cols = graph.shape(moments_id)[1];
        let rows = shape.iter().product::<usize>() / cols;
        let existing = self.norm_grads.iter().find(|n| n.0 == (moments, dy)).map(|n| n.1.clone());
        let coefficients = existing.unwrap_or_else(|| {
            // gamma is an input of the dx op alone; find it from the op over the same x and moments
            let gamma = graph
                .tensors
                .iter()
                .find(|t| {
                    matches!(
                        t.op,
                        Op::BatchNorm(BatchNorm::TrainGradInput { .. } | BatchNorm::Train { .. })
                    ) && t.inputs[..2] == [x_id, moments_id]
                })
                .map(|t| self.get(t.inputs[2]))
                .expect("a batch norm gradient follows its batch norm");
            let label = tensor.name.clone();
            let product = self.element(
                &label,
                Element::Binary(Binary::Mul),
                &shape,
                &[(dy, shape.clone()), (x, shape.clone())],
                rows * cols,
            );
            let s2 = self.row_sum(&label, product, &shape, cols);
            let s1 = self.row_sum(&label, dy, &shape, cols);
            let outputs: Vec<ValueId> = (0..4).map(|_| self.computed(&label, cols)).collect();
            let spec = KernelSpec::NormGradCoefficients { rows, cols, epsilon };
            self.node(&label, Work::Kernel(spec), vec![moments, gamma, s1, s2], outputs.clone());
            self.norm_grads.push(((moments, dy), outputs.clone()));
            outputs
        });
        if !want_input {
            return coefficients[0];
        }
        let [p, q, r] = [1, 2, 3].map(|i| (coefficients[i], vec![cols]));
        let label = tensor.name.clone();
        let inner =
            self.element(&label, Element::MulAdd, &shape, &[(x, shape.clone()), q, r], rows * cols);
        self.element(
            &label,
            Element::MulAdd,
            &shape,
            &[(dy, shape.clone()), p, (inner, shape.clone())],
            rows * cols,
        )
    }
}
