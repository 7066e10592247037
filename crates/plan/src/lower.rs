//! Graph to schedule: drops what nothing needs, turns each op into elementwise nodes or a kernel.

use crate::fuse::{Fit, spread_of};
use crate::ir::{Element, Node, Origin, Schedule, Value, ValueId, Work};
use crate::kernel::{Conv, Epilogue, FusedUpdate, Gemm, KernelSpec, NORM_CHUNK, Pool, RowNorm};
use tidemill_graph::{
    Binary, Clip, DType, Graph, Op, Pool2d, Reduction, Role, TensorId, Unary, hyper,
};

/// Lowers a graph.
pub fn lower(graph: &Graph) -> Schedule {
    let mut lowering = Lowering {
        graph,
        values: vec![None; graph.tensors.len()],
        schedule: Schedule::default(),
        sums: Vec::new(),
        norm_grads: Vec::new(),
    };
    let needed = needed(graph);
    let fused_losses = find_fused_losses(graph, &needed);
    lowering.sources();
    for (index, tensor) in graph.tensors.iter().enumerate() {
        let id = TensorId(index as u32);
        if tensor.role == Role::Computed && needed[index] && lowering.values[index].is_none() {
            match fused_losses.iter().find(|f| f.covers(id)) {
                Some(fused) => lowering.fused_loss(fused),
                None => lowering.op(id),
            }
        }
    }
    lowering.finish()
}

/// Which tensors something depends on.
fn needed(graph: &Graph) -> Vec<bool> {
    let mut needed = vec![false; graph.tensors.len()];
    let mut stack: Vec<TensorId> = graph.outputs.iter().map(|o| o.1).collect();
    stack.extend(graph.assignments.iter().map(|a| a.1));
    stack.extend(graph.updates.iter().map(|u| u.gradient));
    while let Some(id) = stack.pop() {
        if !needed[id.index()] {
            needed[id.index()] = true;
            stack.extend(&graph.tensor(id).inputs);
        }
    }
    needed
}

/// A cross-entropy whose losses, weighted mean and gradient one kernel computes.
struct FusedLoss {
    losses: TensorId,
    mean: TensorId,
    mean_grad: TensorId,
    grad: TensorId,
}

impl FusedLoss {
    fn covers(&self, id: TensorId) -> bool {
        [self.losses, self.mean, self.mean_grad, self.grad].contains(&id)
    }
}

fn find_fused_losses(graph: &Graph, needed: &[bool]) -> Vec<FusedLoss> {
    let ids = || (0..graph.tensors.len() as u32).map(TensorId).filter(|id| needed[id.index()]);
    let readers = |id: TensorId| ids().filter(move |&r| graph.tensor(r).inputs.contains(&id));
    let mut found = Vec::new();
    for grad in ids() {
        let g = graph.tensor(grad);
        let loss_op = match g.op {
            Op::SparseCrossEntropyGrad { label_smoothing } => {
                Op::SparseCrossEntropy { label_smoothing }
            }
            Op::DenseCrossEntropyGrad { label_smoothing } => {
                Op::DenseCrossEntropy { label_smoothing }
            }
            _ => continue,
        };
        let mean_grad = g.inputs[2];
        let m = graph.tensor(mean_grad);
        let seeded = m.op == Op::WeightedMeanGrad
            && graph.tensor(m.inputs[1]).op == Op::Constant(1.0)
            && readers(mean_grad).count() == 1;
        if !seeded || graph.shape(g.inputs[0]).len() != 2 {
            continue;
        }
        let losses = ids().find(|&l| {
            let t = graph.tensor(l);
            t.op == loss_op && t.inputs[..] == g.inputs[..2]
        });
        let mean = losses.and_then(|l| {
            ids().find(|&t| {
                let t = graph.tensor(t);
                t.op == Op::WeightedMean && t.inputs == [l, m.inputs[0]]
            })
        });
        // Later readers of the losses must not feed the gradient: only outputs read them.
        if let (Some(losses), Some(mean)) = (losses, mean)
            && readers(losses).all(|r| r == mean)
        {
            found.push(FusedLoss { losses, mean, mean_grad, grad });
        }
    }
    found
}

struct Lowering<'g> {
    graph: &'g Graph,
    values: Vec<Option<ValueId>>,
    schedule: Schedule,
    /// Row sums already made: (operand, value), so that batch norm and its bias share one.
    sums: Vec<(ValueId, ValueId)>,
    /// Batch norm gradients already made: ((moments, dy), [dgamma, p, q, r]).
    norm_grads: Vec<((ValueId, ValueId), Vec<ValueId>)>,
}

impl Lowering<'_> {
    /// Every input and state tensor gets its number, used or not: the caller counts on it.
    fn sources(&mut self) {
        let (mut inputs, mut states) = (0, 0);
        for (index, tensor) in self.graph.tensors.iter().enumerate() {
            let (counter, origin): (&mut usize, fn(usize) -> Origin) = match tensor.role {
                Role::Input => (&mut inputs, Origin::Input),
                Role::Parameter | Role::State => (&mut states, Origin::State),
                Role::Computed => continue,
            };
            let origin = origin(*counter);
            *counter += 1;
            let value = self.value(&tensor.name, tensor.len(), tensor.dtype, origin);
            self.values[index] = Some(value);
        }
    }

    fn value(&mut self, name: &str, len: usize, dtype: DType, origin: Origin) -> ValueId {
        self.schedule.values.push(Value { name: name.to_owned(), len, dtype, origin });
        self.schedule.values.len() - 1
    }

    fn computed(&mut self, name: &str, len: usize) -> ValueId {
        self.value(name, len, DType::F32, Origin::Computed)
    }

    fn get(&self, id: TensorId) -> ValueId {
        self.values[id.index()].expect("inputs come before the ops that read them")
    }

    fn node(&mut self, label: &str, work: Work, inputs: Vec<ValueId>, outputs: Vec<ValueId>) {
        self.schedule.nodes.push(Node {
            work,
            inputs,
            outputs,
            state: vec![],
            label: label.to_owned(),
            notes: vec![],
            dead: false,
        });
    }

    /// An elementwise node over `shape`; returns its value.
    fn element(
        &mut self,
        label: &str,
        op: Element,
        shape: &[usize],
        operands: &[(ValueId, Vec<usize>)],
        len: usize,
    ) -> ValueId {
        let out = self.computed(label, len);
        let inputs = operands.iter().map(|o| o.0).collect();
        let operands = operands.iter().map(|o| o.1.clone()).collect();
        self.node(label, Work::Element { op, shape: shape.to_vec(), operands }, inputs, vec![out]);
        out
    }

    fn fused_loss(&mut self, fused: &FusedLoss) {
        let grad = self.graph.tensor(fused.grad);
        let (sparse, label_smoothing) = match grad.op {
            Op::SparseCrossEntropyGrad { label_smoothing } => (true, label_smoothing),
            Op::DenseCrossEntropyGrad { label_smoothing } => (false, label_smoothing),
            _ => unreachable!("only cross-entropies are fused"),
        };
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

    fn op(&mut self, id: TensorId) {
        let graph = self.graph;
        let tensor = graph.tensor(id);
        let (name, len) = (tensor.name.as_str(), tensor.len());
        let shapes: Vec<&[usize]> = tensor.inputs.iter().map(|&i| graph.shape(i)).collect();
        let inputs: Vec<ValueId> = tensor.inputs.iter().map(|&i| self.get(i)).collect();
        let operand = |i: usize| (inputs[i], shapes[i].to_vec());
        let all: Vec<_> = (0..inputs.len()).map(operand).collect();
        let matrix = |i: usize| {
            let cols = shapes[i].last().copied().unwrap_or(1);
            (shapes[i].iter().product::<usize>() / cols.max(1), cols)
        };
        let out = &tensor.shape;
        let value = match &tensor.op {
            Op::Source => unreachable!("sources have no op to lower"),
            Op::Constant(c) => self.value(name, 1, DType::F32, Origin::Constant(*c)),
            Op::Reshape(_) | Op::StopGradient => inputs[0],
            Op::BroadcastTo(_) if shapes[0].iter().product::<usize>() == len => inputs[0],
            Op::Unary(u) => self.element(name, Element::Unary(*u), out, &all, len),
            Op::UnaryGrad(u) => self.element(name, Element::UnaryGrad(*u), out, &all, len),
            Op::Binary(b) => {
                let all = self.spreadable(name, &all, out);
                self.element(name, Element::Binary(*b), out, &all, len)
            }
            Op::PairLossGrad(l) => {
                let all = self.spreadable(name, &all, out);
                self.element(name, Element::PairLossGrad(*l), out, &all, len)
            }
            &Op::Dropout { rate, stream } => {
                self.element(name, Element::Dropout { rate, stream }, out, &all, len)
            }
            Op::BatchNormEval { epsilon } | Op::BatchNormTrain { epsilon } => {
                let cols = shapes[1][1];
                let spec = KernelSpec::NormCoefficients { cols, epsilon: *epsilon };
                let (a, b) = (self.computed(name, cols), self.computed(name, cols));
                self.node(name, Work::Kernel(spec), inputs[1..4].to_vec(), vec![a, b]);
                let operands = [operand(0), (a, vec![cols]), (b, vec![cols])];
                self.element(name, Element::MulAdd, out, &operands, len)
            }
            &Op::BatchNormTrainGradInput { epsilon } => self.batch_norm_grad(id, epsilon, true),
            &Op::BatchNormGradGamma { epsilon } => self.batch_norm_grad(id, epsilon, false),
            Op::Reduce { reduction, axes, .. } => self.reduce(id, *reduction, axes),
            // becomes a kernel that writes the state when assignments are lowered
            Op::UpdateMoments { .. } => return,
            _ => {
                let spec = self.kernel(id, &shapes, matrix);
                let value = self.computed(name, len);
                self.node(name, Work::Kernel(spec), inputs, vec![value]);
                value
            }
        };
        self.values[id.index()] = Some(value);
    }

    /// The operands, with a broadcast copy of each that no one split of the output into rows and
    /// columns could spread.
    fn spreadable(
        &mut self,
        label: &str,
        operands: &[(ValueId, Vec<usize>)],
        out: &[usize],
    ) -> Vec<(ValueId, Vec<usize>)> {
        let mut agreed = None;
        let mut result = Vec::new();
        for (value, shape) in operands {
            let cols = match spread_of(shape, out) {
                Some(Fit::Full | Fit::Scalar) => agreed,
                Some(Fit::Row(n) | Fit::Column(n)) if agreed.is_none_or(|a| a == n) => Some(n),
                _ => {
                    let spec = KernelSpec::BroadcastTo { from: shape.clone(), to: out.to_vec() };
                    let copy = self.computed(label, out.iter().product());
                    self.node(label, Work::Kernel(spec), vec![*value], vec![copy]);
                    result.push((copy, out.to_vec()));
                    continue;
                }
            };
            agreed = cols;
            result.push((*value, shape.clone()));
        }
        result
    }

    /// Sum of `operand[rows, cols]` over rows, made once per operand.
    fn row_sum(&mut self, label: &str, operand: ValueId, shape: &[usize], cols: usize) -> ValueId {
        if let Some(&(_, sum)) = self.sums.iter().find(|s| s.0 == operand) {
            return sum;
        }
        let sum = self.element(
            label,
            Element::SumRows { cols, factor: 1.0 },
            shape,
            &[(operand, shape.to_vec())],
            cols,
        );
        self.sums.push((operand, sum));
        sum
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
                    matches!(t.op, Op::BatchNormTrainGradInput { .. } | Op::BatchNormTrain { .. })
                        && t.inputs[..2] == [x_id, moments_id]
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

    fn reduce(&mut self, id: TensorId, reduction: Reduction, axes: &[usize]) -> ValueId {
        let graph = self.graph;
        let tensor = graph.tensor(id);
        let (x, shape) = (self.get(tensor.inputs[0]), graph.shape(tensor.inputs[0]).to_vec());
        let len = tensor.len();
        let total: usize = shape.iter().product();
        if total == len {
            return x;
        }
        let factor = match reduction {
            Reduction::Mean => len as f32 / total as f32,
            _ => 1.0,
        };
        let reduced = |i: &usize| axes.contains(i) || shape[*i] == 1;
        let leading = (0..shape.len()).take_while(reduced).count();
        let trailing = (0..shape.len()).rev().take_while(reduced).count();
        let count = (0..shape.len()).filter(reduced).count();
        if reduction != Reduction::Max && count == shape.len() {
            return self.element(
                &tensor.name,
                Element::SumAll(factor),
                &shape,
                &[(x, shape.clone())],
                1,
            );
        }
        if reduction == Reduction::Sum && count == leading {
            return self.row_sum(&tensor.name, x, &shape, len);
        }
        if reduction == Reduction::Mean && count == leading {
            let op = Element::SumRows { cols: len, factor };
            return self.element(&tensor.name, op, &shape, &[(x, shape.clone())], len);
        }
        if reduction != Reduction::Max && count == trailing {
            let op = Element::SumColumns { cols: total / len, factor };
            return self.element(&tensor.name, op, &shape, &[(x, shape.clone())], len);
        }
        let spec = KernelSpec::Reduce { reduction, shape, axes: axes.to_vec() };
        let value = self.computed(&tensor.name, len);
        self.node(&tensor.name, Work::Kernel(spec), vec![x], vec![value]);
        value
    }

    /// The kernel of an op that is one kernel.
    fn kernel(
        &self,
        id: TensorId,
        shapes: &[&[usize]],
        matrix: impl Fn(usize) -> (usize, usize),
    ) -> KernelSpec {
        let tensor = self.graph.tensor(id);
        let out = &tensor.shape;
        let (rows, cols) = if shapes.is_empty() { (1, 1) } else { matrix(0) };
        match &tensor.op {
            &Op::MatMul { transpose_a, transpose_b } => {
                KernelSpec::Gemm(gemm(shapes, transpose_a, transpose_b), Epilogue::default(), None)
            }
            Op::Conv2d(c) => {
                KernelSpec::ConvForward(conv(*c, shapes[0], shapes[1], out), Epilogue::default())
            }
            Op::Conv2dGradInput(c, x) => {
                KernelSpec::ConvGradInput(conv(*c, x, shapes[1], shapes[0]), Epilogue::default())
            }
            Op::Conv2dGradWeight(c, w) => {
                KernelSpec::ConvGradWeight(conv(*c, shapes[0], w, shapes[1]), false, None)
            }
            Op::MaxPool2d(p) => KernelSpec::MaxPool(pool(*p, shapes[0], out)),
            Op::MaxPool2dGrad(p) => KernelSpec::MaxPoolGrad(pool(*p, shapes[0], shapes[1]), false),
            Op::AvgPool2d(p) => KernelSpec::AvgPool(pool(*p, shapes[0], out)),
            Op::AvgPool2dGrad(p, x) => KernelSpec::AvgPoolGrad(pool(*p, x, shapes[0])),
            Op::ChannelMoments => KernelSpec::Moments { rows, cols },
            Op::LayerNorm { epsilon } => {
                KernelSpec::RowNorm { kind: RowNorm::Layer, rows, cols, epsilon: *epsilon }
            }
            Op::LayerNormGradInput { epsilon } => {
                KernelSpec::RowNormGradInput { kind: RowNorm::Layer, rows, cols, epsilon: *epsilon }
            }
            Op::LayerNormGradGamma { epsilon } => {
                KernelSpec::RowNormGradGamma { kind: RowNorm::Layer, rows, cols, epsilon: *epsilon }
            }
            Op::RmsNorm { epsilon } => {
                KernelSpec::RowNorm { kind: RowNorm::Rms, rows, cols, epsilon: *epsilon }
            }
            Op::RmsNormGradInput { epsilon } => {
                KernelSpec::RowNormGradInput { kind: RowNorm::Rms, rows, cols, epsilon: *epsilon }
            }
            Op::RmsNormGradGamma { epsilon } => {
                KernelSpec::RowNormGradGamma { kind: RowNorm::Rms, rows, cols, epsilon: *epsilon }
            }
            Op::Softmax => KernelSpec::Softmax { rows, cols, log: false },
            Op::LogSoftmax => KernelSpec::Softmax { rows, cols, log: true },
            Op::SoftmaxGrad => KernelSpec::SoftmaxGrad { rows, cols, log: false },
            Op::LogSoftmaxGrad => KernelSpec::SoftmaxGrad { rows, cols, log: true },
            &Op::SparseCrossEntropy { label_smoothing } => {
                KernelSpec::CrossEntropy { rows, cols, sparse: true, label_smoothing }
            }
            &Op::DenseCrossEntropy { label_smoothing } => {
                KernelSpec::CrossEntropy { rows, cols, sparse: false, label_smoothing }
            }
            &Op::SparseCrossEntropyGrad { label_smoothing } => {
                KernelSpec::CrossEntropyGrad { rows, cols, sparse: true, label_smoothing }
            }
            &Op::DenseCrossEntropyGrad { label_smoothing } => {
                KernelSpec::CrossEntropyGrad { rows, cols, sparse: false, label_smoothing }
            }
            Op::WeightedMean => KernelSpec::WeightedMean { len: rows * cols },
            Op::WeightedMeanGrad => KernelSpec::WeightedMeanGrad { len: tensor.len() },
            Op::Embedding | Op::EmbeddingBag => KernelSpec::Embedding {
                float_ids: self.graph.tensor(tensor.inputs[1]).dtype == DType::F32,
                rows,
                cols,
                len: shapes[1].iter().product(),
                bag: if tensor.op == Op::EmbeddingBag { shapes[1][1] } else { 0 },
            },
            &(Op::EmbeddingGrad { rows } | Op::EmbeddingBagGrad { rows }) => {
                KernelSpec::EmbeddingGrad {
                    float_ids: self.graph.tensor(tensor.inputs[0]).dtype == DType::F32,
                    update: None,
                    rows,
                    cols: out[1],
                    len: shapes[0].iter().product(),
                    bag: if matches!(tensor.op, Op::EmbeddingGrad { .. }) {
                        0
                    } else {
                        shapes[0][1]
                    },
                }
            }
            Op::ReduceMaxGrad(axes) => {
                KernelSpec::ReduceMaxGrad { shape: shapes[0].to_vec(), axes: axes.clone() }
            }
            Op::BroadcastTo(to) => {
                KernelSpec::BroadcastTo { from: shapes[0].to_vec(), to: to.clone() }
            }
            Op::Transpose(perm) => {
                KernelSpec::Transpose { shape: shapes[0].to_vec(), perm: perm.clone() }
            }
            &Op::Concat { axis } => {
                KernelSpec::Concat { shapes: shapes.iter().map(|s| s.to_vec()).collect(), axis }
            }
            Op::Slice { start, size } => KernelSpec::Slice {
                shape: shapes[0].to_vec(),
                start: start.clone(),
                size: size.clone(),
            },
            Op::Pad { before, after, value } => KernelSpec::Pad {
                shape: shapes[0].to_vec(),
                before: before.clone(),
                after: after.clone(),
                value: *value,
            },
            other => unreachable!("{} is lowered to elements", other.name()),
        }
    }

    /// Outputs, assignments and updates.
    fn finish(mut self) -> Schedule {
        let graph = self.graph;
        for (name, id) in &graph.outputs {
            let value = self.get(*id);
            self.schedule.outputs.push((name.clone(), value));
        }
        for &(state, value) in &graph.assignments {
            let tensor = graph.tensor(value);
            let (spec, inputs) = match tensor.op {
                Op::UpdateMoments { momentum, count } if tensor.inputs[0] == state => {
                    let cols = tensor.shape[1];
                    let spec = KernelSpec::UpdateMoments { cols, momentum, count };
                    (spec, vec![self.get(tensor.inputs[1])])
                }
                _ => (KernelSpec::Copy { len: tensor.len() }, vec![self.get(value)]),
            };
            self.node(&tensor.name, Work::Kernel(spec), inputs, vec![]);
            self.set_state(vec![state]);
        }
        self.updates();
        self.schedule
    }

    fn set_state(&mut self, state: Vec<TensorId>) {
        let state = state.into_iter().map(|t| self.get(t)).collect();
        self.schedule.nodes.last_mut().expect("a node was just made").state = state;
    }

    fn updates(&mut self) {
        let graph = self.graph;
        let Some(hyper_id) = graph.hyper else { return };
        let hyper_value = self.get(hyper_id);
        let norms: Vec<ValueId> = match graph.clip {
            Some(Clip::Norm(_) | Clip::GlobalNorm(_)) => graph
                .updates
                .iter()
                .map(|u| {
                    let gradient = self.get(u.gradient);
                    let len = graph.tensor(u.gradient).len();
                    let norm = self.computed("norm", len.div_ceil(NORM_CHUNK).max(1));
                    let spec = KernelSpec::SquaredNorm { len };
                    let name = graph.tensor(u.parameter).name.clone();
                    self.node(&name, Work::Kernel(spec), vec![gradient], vec![norm]);
                    norm
                })
                .collect(),
            _ => vec![],
        };
        let clipped = |this: &mut Self, norms: &[ValueId], limit: f32| {
            let value = this.computed("hyper", hyper::LEN);
            let mut inputs = vec![hyper_value];
            inputs.extend(norms);
            let counts = norms.iter().map(|&n| this.schedule.values[n].len).collect();
            let spec = KernelSpec::ClipScale { counts, limit };
            this.node("clip", Work::Kernel(spec), inputs, vec![value]);
            value
        };
        let global = match graph.clip {
            Some(Clip::GlobalNorm(limit)) => Some(clipped(self, &norms, limit)),
            _ => None,
        };
        for (index, update) in graph.updates.iter().enumerate() {
            let hyper_value = match graph.clip {
                Some(Clip::Norm(limit)) => clipped(self, &norms[index..=index], limit),
                _ => global.unwrap_or(hyper_value),
            };
            let clip_value = match graph.clip {
                Some(Clip::Value(v)) => Some(v),
                _ => None,
            };
            let rule = FusedUpdate { rule: update.rule, decay: update.decay, clip_value };
            let parameter = graph.tensor(update.parameter);
            let spec = KernelSpec::Optimize { len: parameter.len(), update: rule };
            let inputs = vec![self.get(update.gradient), hyper_value];
            self.node(&parameter.name, Work::Kernel(spec), inputs, vec![]);
            let mut state = vec![update.parameter];
            state.extend(&update.slots);
            self.set_state(state);
        }
    }
}

fn gemm(shapes: &[&[usize]], transpose_a: bool, transpose_b: bool) -> Gemm {
    let (a, b) = (shapes[0], shapes[1]);
    let last = |s: &[usize], transposed: bool| {
        let (r, c) = (s[s.len() - 2], s[s.len() - 1]);
        if transposed { (c, r) } else { (r, c) }
    };
    let (mut m, k) = last(a, transpose_a);
    let (_, n) = last(b, transpose_b);
    let lead = |s: &[usize]| s[..s.len() - 2].iter().product::<usize>();
    let (mut batch, shared_b) = (lead(a).max(lead(b)), b.len() == 2);
    // One tall matrix is better than many small ones against the same b.
    if shared_b && !transpose_a {
        m *= batch;
        batch = 1;
    }
    Gemm {
        m,
        n,
        k,
        batch,
        transpose_a,
        transpose_b,
        shared_a: a.len() == 2 && batch > 1,
        shared_b: shared_b && batch > 1,
    }
}

fn conv(geometry: tidemill_graph::Conv2d, x: &[usize], w: &[usize], y: &[usize]) -> Conv {
    Conv {
        batch: x[0],
        input: [x[1], x[2], x[3]],
        output: [y[1], y[2], y[3]],
        kernel: [w[0], w[1]],
        geometry,
    }
}

fn pool(geometry: Pool2d, x: &[usize], y: &[usize]) -> Pool {
    Pool { batch: x[0], input: [x[1], x[2]], output: [y[1], y[2]], channels: x[3], geometry }
}

/// Whether a unary op is the relu that kernels can fuse.
pub(crate) fn is_relu(op: &Element) -> bool {
    matches!(op, Element::Unary(Unary::Relu))
}
