//! One op: elementwise nodes, or one kernel.

use super::Lowering;
use crate::fuse::spread::{Fit, spread_of};
use crate::ir::{Element, Origin, ValueId, Work};
use crate::kernel::{Epilogue, KernelSpec, kept, products_apart};
use tidemill_graph::{
    Attention, AttentionShape, COPYING_GRADS, Conv, CopyShape, Copying, Ctc, CtcShape, DType,
    Embedding, Given, Graph, Layout, Loss, Op, PairLossGrad, Pool, Recurrent, Reduce, Reduction,
    Ring, RowNorm, ScanShape, Sequence, Sequences, Softmax, Tensor, TensorId, UnaryGrad, Windows,
};
use tidemill_graph::{ConvShape, Lookup, PoolShape, Product};

/// An op's tensors and their values.
pub(super) struct Site<'g> {
    tensor: &'g Tensor,
    inputs: Vec<(&'g Tensor, ValueId)>,
}

impl<'g> Site<'g> {
    /// The output's name.
    pub fn name(&self) -> &'g str {
        &self.tensor.name
    }

    /// The output's dims.
    pub fn out(&self) -> &'g [usize] {
        &self.tensor.shape
    }

    /// Elements of the output.
    pub fn len(&self) -> usize {
        self.tensor.len()
    }

    /// Dims of input `i`.
    pub fn dims(&self, i: usize) -> &'g [usize] {
        &self.inputs[i].0.shape
    }

    /// The inputs' values.
    pub fn values(&self) -> Vec<ValueId> {
        self.inputs.iter().map(|input| input.1).collect()
    }

    /// Input `i` as an elementwise operand.
    pub fn operand(&self, i: usize) -> (ValueId, Vec<usize>) {
        (self.inputs[i].1, self.dims(i).to_vec())
    }

    /// All inputs as elementwise operands.
    fn operands(&self) -> Vec<(ValueId, Vec<usize>)> {
        (0..self.inputs.len()).map(|i| self.operand(i)).collect()
    }

    /// Rows and columns of input `i`: its last dim is columns.
    pub fn matrix(&self, i: usize) -> (usize, usize) {
        let cols = self.dims(i).last().copied().unwrap_or(1);
        (self.inputs[i].0.len() / cols.max(1), cols)
    }
}

impl Lowering<'_> {
    /// Lowers the op of a computed tensor.
    pub(super) fn op(&mut self, id: TensorId) {
        let graph: &Graph = self.graph;
        let tensor = graph.tensor(id);
        let inputs = tensor.inputs.iter().map(|&i| (graph.tensor(i), self.get(i))).collect();
        let site = Site { tensor, inputs };
        let spec = match &tensor.op {
            Op::Given(given) => match given {
                // has its value from the start
                Given::Source => return,
                Given::Constant(c) => {
                    let value = self.value(site.name(), 1, DType::F32, Origin::Constant(*c));
                    return self.finished(id, value);
                }
                Given::Integer(n) => {
                    let bits = Origin::Constant(f32::from_bits(*n as u32));
                    let value = self.value(site.name(), 1, DType::I32, bits);
                    return self.finished(id, value);
                }
            },
            Op::Unary(op) => return self.elementwise(id, Element::Unary(*op), &site),
            Op::UnaryGrad(UnaryGrad(op)) => {
                return self.elementwise(id, Element::UnaryGrad(*op), &site);
            }
            Op::Binary(op) => return self.elementwise(id, Element::Binary(*op), &site),
            Op::PairLossGrad(PairLossGrad(loss)) => {
                return self.elementwise(id, Element::PairLossGrad(*loss), &site);
            }
            Op::Dropout(op) => return self.elementwise(id, Element::Dropout(*op), &site),
            Op::BatchNorm(op) => {
                if let Some(value) = self.batch_norm(id, *op, &site) {
                    self.finished(id, value);
                }
                return;
            }
            Op::Attention(op) => {
                let value = self.attention(op, &site);
                return self.finished(id, value);
            }
            Op::Copying(op) => {
                let value = self.copying(*op, &site);
                return self.finished(id, value);
            }
            Op::Recurrent(op) => {
                let value = self.recurrent(id, *op, &site);
                return self.finished(id, value);
            }
            Op::Ctc(op) => {
                let shape = CtcShape::new(site.dims(0), site.dims(1));
                match op {
                    Ctc::Loss => KernelSpec::Ctc(shape),
                    Ctc::LossGrad => KernelSpec::CtcGrad(shape),
                }
            }
            Op::Transducer(op) => {
                let value = self.transducer(*op, &site);
                return self.finished(id, value);
            }
            Op::Windows(op) => {
                let shape = op.sizes(site.dims(0), site.out());
                match op {
                    Windows::Gather(_) => KernelSpec::Windows(shape),
                    Windows::Scatter { .. } => KernelSpec::WindowsGrad(shape),
                }
            }
            // Written to the state where assignments are lowered.
            Op::Ring(Ring::Push) => return,
            Op::Ring(Ring::Next { batch, len }) => KernelSpec::RingNext(*batch, *len),
            Op::Reduce(Reduce::Axes { reduction, axes, .. }) => {
                let value = self.reduce(&site, *reduction, axes);
                return self.finished(id, value);
            }
            Op::Reduce(Reduce::MaxGrad(axes)) => {
                KernelSpec::ReduceMaxGrad { shape: site.dims(0).to_vec(), axes: axes.clone() }
            }
            Op::Layout(op) => match layout(op, &site) {
                Some(spec) => spec,
                None => return self.finished(id, site.inputs[0].1),
            },
            Op::MatMul(op) => {
                let product = {
                    let samples = if op.ragged { site.dims(2)[0] } else { 1 };
                    Product::new(*op, site.dims(0), site.dims(1), samples)
                };
                KernelSpec::Gemm(product, Epilogue::default(), None)
            }
            Op::Conv(op) => conv(op, &site),
            Op::Pool(op) => pool(op, &site),
            Op::RowNorm(op) => row_norm(*op, &site),
            Op::Embedding(op) => embedding(*op, &site),
            Op::Softmax(op) => softmax(*op, &site),
            Op::Sequence(op) => sequence(*op, &site),
            Op::Rotary(rotary) => {
                let (rows, width) = site.matrix(0);
                KernelSpec::Rotate { rotary: *rotary, rows, time: site.out()[1], width }
            }
            Op::Loss(op) => loss(*op, &site),
        };
        let value = self.kernel(site.name(), spec, site.values(), site.len());
        self.finished(id, value);
    }

    fn finished(&mut self, id: TensorId, value: ValueId) {
        self.values[id.index()] = Some(value);
    }

    fn elementwise(&mut self, id: TensorId, op: Element, site: &Site<'_>) {
        let broadcasts = matches!(op, Element::Binary(_) | Element::PairLossGrad(_));
        let operands = match broadcasts {
            true => self.spreadable(site.name(), &site.operands(), site.out()),
            false => site.operands(),
        };
        let value = self.element(site.name(), op, site.out(), &operands, site.len());
        self.finished(id, value);
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
    pub(super) fn row_sum(
        &mut self,
        label: &str,
        operand: ValueId,
        shape: &[usize],
        cols: usize,
    ) -> ValueId {
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

    /// Both gradients of attention to another sequence, or with a bias, come from one kernel, which is made for the one
    /// that is met first.
    fn attention(&mut self, op: &Attention, site: &Site<'_>) -> ValueId {
        let (name, values) = (site.name(), site.values());
        let within = op.is_within();
        let shape = op.sizes(site.dims(0), site.dims(if within { 0 } else { 1 }));
        match op {
            Attention::Within(_) | Attention::Across(_) => {
                self.kernel(name, KernelSpec::Attention(shape, within), values, site.len())
            }
            Attention::Cached(heads) => {
                let [positions, rows, width] = [0, 1, 2].map(|i| site.dims(1)[i]);
                let dim = width / (2 * heads.keys);
                let shape = AttentionShape { keys: positions + 1, dim, ..shape };
                self.kernel(name, KernelSpec::CachedAttention(shape, rows), values, site.len())
            }
            Attention::WithinGrad(heads) if heads.relative.is_none() => {
                self.kernel(name, KernelSpec::AttentionGrad(shape, within), values, site.len())
            }
            _ => {
                let known = self.attention_grads.iter().find(|(inputs, _)| *inputs == values);
                let outputs = known.map(|(_, outputs)| *outputs).unwrap_or_else(|| {
                    let len = |i: usize| site.dims(i).iter().product();
                    let outputs =
                        [0, if within { 2 } else { 1 }].map(|i| self.computed(name, len(i)));
                    let spec = KernelSpec::AttentionGrad(shape, within);
                    self.node(name, Work::Kernel(spec), values.clone(), outputs.to_vec());
                    self.attention_grads.push((values, outputs));
                    outputs
                });
                let second =
                    matches!(op, Attention::AcrossGradKeys(_) | Attention::WithinGradBias(_));
                outputs[usize::from(second)]
            }
        }
    }

    /// All gradients of a mixture come from one kernel, as those of attention.
    fn copying(&mut self, op: Copying, site: &Site<'_>) -> ValueId {
        let (name, values) = (site.name(), site.values());
        let shape = CopyShape::new(site.dims(0), site.dims(2));
        let Some(wanted) = COPYING_GRADS.iter().position(|&gradient| gradient == op) else {
            return self.kernel(name, KernelSpec::CopyMixture(shape), values, site.len());
        };
        if let Some((_, outputs)) = self.copying_grads.iter().find(|known| known.0 == values) {
            return outputs[wanted];
        }
        let len = |i: usize| site.dims(i).iter().product();
        let outputs = [0, 1, 2].map(|i| self.computed(name, len(i)));
        let work = Work::Kernel(KernelSpec::CopyMixtureGrad(shape));
        self.node(name, work, values.clone(), outputs.to_vec());
        self.copying_grads.push((values, outputs));
        outputs[wanted]
    }

    /// The states keep what their gradients need, where there are gradients; those come from one kernel.
    fn recurrent(&mut self, id: TensorId, op: Recurrent, site: &Site<'_>) -> ValueId {
        let (name, values) = (site.name(), site.values());
        let shape = op.sizes(site.dims(0), site.dims(1));
        if let Recurrent::States(_) = op {
            let has_gradient = self.graph.tensors.iter().any(|t| match t.op {
                Op::Recurrent(Recurrent::GradInputs(_) | Recurrent::GradProducts(_)) => {
                    t.inputs[3] == id
                }
                _ => false,
            });
            if has_gradient {
                return self.kept_states(name, shape, values)[0];
            }
            let spec = KernelSpec::Recurrent(shape, false);
            return self.kernel(name, spec, values, site.len());
        }
        let wanted = usize::from(matches!(op, Recurrent::GradProducts(_)));
        if let Some((_, outputs)) = self.recurrent_grads.iter().find(|known| known.0 == values) {
            return outputs[wanted];
        }
        let known = self.kept.iter().find(|known| known.0 == values[3]);
        let kept = known.map(|known| known.1).unwrap_or_else(|| {
            let given = [&values[..3], &values[5..]].concat();
            self.kept_states(name, shape, given)[1]
        });
        let dx = self.computed(name, site.len());
        let apart = products_apart(shape.scan.cell);
        let outputs = [dx, if apart { self.computed(name, site.len()) } else { dx }];
        let inputs = vec![values[1], values[2], values[3], values[4], kept];
        let work = Work::Kernel(KernelSpec::RecurrentGrad(shape));
        self.node(name, work, inputs, outputs[..1 + usize::from(apart)].to_vec());
        self.recurrent_grads.push((values, outputs));
        outputs[wanted]
    }

    /// States, and what is kept of them.
    fn kept_states(&mut self, name: &str, shape: ScanShape, inputs: Vec<ValueId>) -> [ValueId; 2] {
        let len = shape.batch * shape.time * shape.units;
        let outputs = [1, kept(shape.scan.cell)].map(|each| self.computed(name, each * len));
        let work = Work::Kernel(KernelSpec::Recurrent(shape, true));
        self.node(name, work, inputs, outputs.to_vec());
        self.kept.push((outputs[0], outputs[1]));
        outputs
    }

    fn reduce(&mut self, site: &Site<'_>, reduction: Reduction, axes: &[usize]) -> ValueId {
        let (name, len) = (site.name(), site.len());
        let (x, shape) = site.operand(0);
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
            let op = Element::SumAll(factor);
            return self.element(name, op, &shape, &[(x, shape.clone())], 1);
        }
        if reduction == Reduction::Sum && count == leading {
            return self.row_sum(name, x, &shape, len);
        }
        if reduction == Reduction::Mean && count == leading {
            let op = Element::SumRows { cols: len, factor };
            return self.element(name, op, &shape, &[(x, shape.clone())], len);
        }
        if reduction != Reduction::Max && count == trailing {
            let op = Element::SumColumns { cols: total / len, factor };
            return self.element(name, op, &shape, &[(x, shape.clone())], len);
        }
        let spec = KernelSpec::Reduce { reduction, shape, axes: axes.to_vec() };
        self.kernel(name, spec, vec![x], len)
    }
}

fn conv(op: &Conv, site: &Site<'_>) -> KernelSpec {
    let (a, b, out) = (site.dims(0), site.dims(1), site.out());
    match op {
        Conv::Forward(c) => {
            KernelSpec::ConvForward(ConvShape::new(*c, a, b, out), Epilogue::default())
        }
        Conv::GradInput(c, x) => {
            KernelSpec::ConvGradInput(ConvShape::new(*c, x, b, a), Epilogue::default())
        }
        Conv::GradWeight(c, w) => {
            KernelSpec::ConvGradWeight(ConvShape::new(*c, a, w, b), false, None)
        }
    }
}

fn pool(op: &Pool, site: &Site<'_>) -> KernelSpec {
    let (x, out) = (site.dims(0), site.out());
    match op {
        Pool::Max(p) => KernelSpec::MaxPool(PoolShape::new(*p, x, out)),
        Pool::MaxGrad(p) => KernelSpec::MaxPoolGrad(PoolShape::new(*p, x, site.dims(1)), false),
        Pool::Average(p) => KernelSpec::AvgPool(PoolShape::new(*p, x, out)),
        Pool::AverageGrad(p, x) => KernelSpec::AvgPoolGrad(PoolShape::new(*p, x, site.dims(0))),
    }
}

fn row_norm(op: RowNorm, site: &Site<'_>) -> KernelSpec {
    let (rows, cols) = site.matrix(0);
    match op {
        RowNorm::Forward { kind, epsilon } => KernelSpec::RowNorm { kind, rows, cols, epsilon },
        RowNorm::GradInput { kind, epsilon } => {
            KernelSpec::RowNormGradInput { kind, rows, cols, epsilon }
        }
        RowNorm::GradGamma { kind, epsilon } => {
            KernelSpec::RowNormGradGamma { kind, rows, cols, epsilon }
        }
    }
}

fn embedding(op: Embedding, site: &Site<'_>) -> KernelSpec {
    let lookup = |table: [usize; 2], ids: usize, bags: bool| {
        let tensor = site.inputs[ids].0;
        Lookup {
            rows: table[0],
            cols: table[1],
            len: tensor.len(),
            float: tensor.dtype == DType::F32,
            bag: if bags { tensor.shape[1] } else { 0 },
        }
    };
    let table = || [site.dims(0)[0], site.dims(0)[1]];
    let cols = site.out().last().copied().unwrap_or(1);
    match op {
        Embedding::Rows => KernelSpec::Embedding(lookup(table(), 1, false)),
        Embedding::Bag => KernelSpec::Embedding(lookup(table(), 1, true)),
        Embedding::RowsGrad { rows } => {
            KernelSpec::EmbeddingGrad(lookup([rows, cols], 0, false), None)
        }
        Embedding::BagGrad { rows } => {
            KernelSpec::EmbeddingGrad(lookup([rows, cols], 0, true), None)
        }
    }
}

fn sequence(op: Sequence, site: &Site<'_>) -> KernelSpec {
    let shape = |dims: &[usize]| {
        let units = dims[2..].iter().product();
        Sequences { batch: dims[0], time: dims[1], units }
    };
    match op {
        Sequence::WeightedMean => KernelSpec::WeightedMeanOfSteps(shape(site.dims(0))),
        Sequence::WeightedMeanGrad => KernelSpec::WeightedMeanOfStepsGrad(shape(site.out())),
    }
}

fn softmax(op: Softmax, site: &Site<'_>) -> KernelSpec {
    let (rows, cols) = site.matrix(0);
    match op {
        Softmax::Plain => KernelSpec::Softmax { rows, cols, log: false },
        Softmax::Log => KernelSpec::Softmax { rows, cols, log: true },
        Softmax::PlainGrad => KernelSpec::SoftmaxGrad { rows, cols, log: false },
        Softmax::LogGrad => KernelSpec::SoftmaxGrad { rows, cols, log: true },
    }
}

fn loss(op: Loss, site: &Site<'_>) -> KernelSpec {
    let (rows, cols) = site.matrix(0);
    match op {
        Loss::SparseCrossEntropy { label_smoothing } => {
            KernelSpec::CrossEntropy { rows, cols, sparse: true, label_smoothing }
        }
        Loss::DenseCrossEntropy { label_smoothing } => {
            KernelSpec::CrossEntropy { rows, cols, sparse: false, label_smoothing }
        }
        Loss::SparseCrossEntropyGrad { label_smoothing } => {
            KernelSpec::CrossEntropyGrad { rows, cols, sparse: true, label_smoothing }
        }
        Loss::DenseCrossEntropyGrad { label_smoothing } => {
            KernelSpec::CrossEntropyGrad { rows, cols, sparse: false, label_smoothing }
        }
        Loss::WeightedMean => KernelSpec::WeightedMean { len: rows * cols },
        Loss::WeightedMeanGrad => KernelSpec::WeightedMeanGrad { len: site.len() },
    }
}

/// Nothing for an op that leaves all elements where they are.
fn layout(op: &Layout, site: &Site<'_>) -> Option<KernelSpec> {
    let shape = || site.dims(0).to_vec();
    Some(match op {
        Layout::Reshape(_) | Layout::StopGradient => return None,
        Layout::BroadcastTo(_) if site.inputs[0].0.len() == site.len() => return None,
        Layout::BroadcastTo(to) => KernelSpec::BroadcastTo { from: shape(), to: to.clone() },
        Layout::Transpose(perm) => KernelSpec::Transpose { shape: shape(), perm: perm.clone() },
        Layout::Concat { axis } => {
            let shapes = (0..site.inputs.len()).map(|i| site.dims(i).to_vec()).collect();
            KernelSpec::Concat { shapes, axis: *axis }
        }
        Layout::Slice { start, size } => {
            KernelSpec::Slice { shape: shape(), start: start.clone(), size: size.clone() }
        }
        Layout::Pad { before, after, value } => KernelSpec::Pad {
            shape: shape(),
            before: before.clone(),
            after: after.clone(),
            value: *value,
        },
    })
}
