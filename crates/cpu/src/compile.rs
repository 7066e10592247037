//! Turns a plan's kernel descriptions into kernels, and says where each argument goes.

use crate::attention::{Attention, AttentionGrad, CachedAttention};
use crate::call::Call;
use crate::conv::depthwise::{self, DepthwiseConv, DepthwiseGradWeight};
use crate::conv::winograd::{self, Pass, WinogradConv, WinogradFilter, WinogradGradWeight};
use crate::conv::{ConvForward, ConvGradInput, ConvGradWeight, ConvShape, ReduceUpdate};
use crate::copying::CopyMixture;
use crate::ctc::CtcLoss;
use crate::gather::{Embedding, EmbeddingGrad, EmbeddingUpdate};
use crate::gemm::split::{self, Combine};
use crate::gemm::{self, Activation, Gemm, GemmDesc};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::layout;
use crate::loss::{
    CrossEntropy, CrossEntropyFused, CrossEntropyGrad, WeightedMean, WeightedMeanGrad,
};
use crate::moments::{ChannelMoments, NormCoefficients, NormGradCoefficients, UpdateMoments};
use crate::norm::{RowNorm, RowNormGradGamma, RowNormGradInput};
use crate::optimizer::{ClipScale, Optimize, OptimizePacked, SquaredNorm, Update};
use crate::pooling::{AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad};
use crate::recurrent::{Recurrent, RecurrentGrad};
use crate::reduce::{Reduce, ReduceMaxGrad};
use crate::ring::{RingNext, RingPush};
use crate::rotary::Rotate;
use crate::sequence::{MeanOfSteps, MeanOfStepsGrad};
use crate::softmax::{Softmax, SoftmaxGrad};
use crate::transducer::{After, Greedy, Joint, JointGrad, TransducerLoss};
use crate::windows::WindowRows;
use tidemill_graph::{AttentionShape, Normalization, Transducer, TransducerShape};
use tidemill_plan::kernel::{Epilogue, products_apart};
use tidemill_plan::{KernelSpec, Method, Target};

/// A part of one of the call's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which argument.
    pub argument: usize,
    /// First element of the part.
    pub offset: usize,
}

/// One kernel of a call; `positions[i]` is the call's argument that the kernel's argument `i` is,
/// or none for one that it does not use.
pub struct Phase {
    /// The kernel.
    pub kernel: Box<dyn Kernel>,
    /// Where its arguments are.
    pub positions: Vec<Option<Position>>,
}

/// The kernels of a call.
pub struct Compiled {
    /// In order.
    pub phases: Vec<Phase>,
    /// f32 elements of workspace, the call's last argument if not 0; what else the planner should
    /// know.
    pub method: Method,
}

/// The planner's view of the CPU; keeps what it was asked about, compiled.
pub struct CpuTarget {
    isa: Isa,
    by_row: bool,
    compiled: Vec<Compiled>,
}

impl CpuTarget {
    /// For kernels of an instruction set.
    pub fn new(isa: Isa) -> CpuTarget {
        CpuTarget { isa, by_row: false, compiled: Vec::new() }
    }

    /// With [`tidemill_plan::Options::by_row`].
    #[must_use]
    pub fn by_row(self, by_row: bool) -> CpuTarget {
        CpuTarget { by_row, ..self }
    }

    /// The plan's calls, compiled.
    pub(crate) fn compiled(self) -> Vec<Compiled> {
        self.compiled
    }
}

impl Target for CpuTarget {
    fn method(&mut self, spec: &KernelSpec) -> Method {
        let compiled = compile(self.isa, spec, self.by_row);
        let method = compiled.method.clone();
        self.compiled.push(compiled);
        method
    }

    fn restart(&mut self) {
        self.compiled.clear();
    }
}

fn phase(kernel: impl Kernel + 'static, positions: Vec<Option<usize>>) -> Phase {
    Phase { kernel: Box::new(kernel), positions: positions.into_iter().map(whole).collect() }
}

fn whole(argument: Option<usize>) -> Option<Position> {
    argument.map(|argument| Position { argument, offset: 0 })
}

fn single(kernel: impl Kernel + 'static, positions: Vec<Option<usize>>) -> Compiled {
    Compiled { phases: vec![phase(kernel, positions)], method: Method::default() }
}

/// One kernel that takes the call's arguments as they are.
fn ordered(kernel: impl Kernel + 'static, count: usize) -> Compiled {
    single(kernel, (0..count).map(Some).collect())
}

/// A call whose kernels take the call's `count` arguments as they are, and the workspace last.
fn in_order(call: Call, count: usize) -> Compiled {
    let last = usize::from(call.workspace_len > 0);
    let positions: Vec<_> = (0..count + last).map(|i| whole(Some(i))).collect();
    let phase = |kernel| Phase { kernel, positions: positions.clone() };
    Compiled {
        method: Method { workspace_len: call.workspace_len, ..Method::default() },
        phases: call.phases.into_iter().map(phase).collect(),
    }
}

/// Hands out the call's arguments in their order.
struct Next(usize);

impl Next {
    fn take(&mut self) -> Option<usize> {
        self.0 += 1;
        Some(self.0 - 1)
    }
    fn take_if(&mut self, present: bool) -> Option<usize> {
        if present { self.take() } else { None }
    }
}

/// Compiles one kernel call; `by_row`: see [`tidemill_plan::Options`].
pub fn compile(isa: Isa, spec: &KernelSpec, by_row: bool) -> Compiled {
    match spec {
        KernelSpec::Gemm(g, epilogue, update) => {
            let mut desc = GemmDesc::new(g.m, g.n, g.k, g.transpose_a, g.transpose_b);
            (desc.batch, desc.by_row, desc.time) = (g.batch, by_row, g.time);
            if g.shared_a {
                desc.batch_strides[0] = 0;
            }
            if g.shared_b {
                desc.batch_strides[1] = 0;
            }
            desc.epilogue = gemm::Epilogue {
                accumulate: false,
                bias: epilogue.bias,
                residual: epilogue.residual,
                activation: if epilogue.relu { Activation::Relu } else { Activation::None },
                mask: epilogue.mask,
                update: *update,
            };
            let positions = gemm_positions(g.time > 0, epilogue, update);
            match split::parts(&desc) {
                1 => single(Gemm::new(isa, &desc), positions),
                parts => split_gemm(isa, &desc, parts, &positions),
            }
        }
        KernelSpec::ConvForward(c, epilogue) => {
            let mut next = Next(0);
            let (x, w) = (next.take(), next.take());
            let (bias, residual) = (next.take_if(epilogue.bias), next.take_if(epilogue.residual));
            let y = next.take();
            if depthwise::applies(c) {
                let kernel = DepthwiseConv::new(isa, c, Pass::Forward, epilogue.relu);
                return single(kernel, vec![x, w, bias, None, residual, y]);
            }
            if winograd::applies(isa, c) {
                let positions = [x, w, bias, None, residual, y];
                return by_winograd(isa, c, Pass::Forward, epilogue.relu, positions);
            }
            let positions = vec![x, w, bias, residual, y];
            single(ConvForward::new(isa, *c, epilogue.relu), positions)
        }
        KernelSpec::ConvGradInput(c, epilogue) => {
            let mut next = Next(0);
            let (dy, w) = (next.take(), next.take());
            let (residual, mask) = (next.take_if(epilogue.residual), next.take_if(epilogue.mask));
            let dx = next.take();
            if depthwise::applies(c) {
                let kernel = DepthwiseConv::new(isa, c, Pass::GradInput, false);
                return single(kernel, vec![dy, w, None, mask, residual, dx]);
            }
            if winograd::applies(isa, c) {
                let positions = [dy, w, None, mask, residual, dx];
                return by_winograd(isa, c, Pass::GradInput, false, positions);
            }
            single(ConvGradInput::new(isa, *c), vec![dy, w, mask, residual, dx])
        }
        KernelSpec::ConvGradWeight(c, bias, update) => conv_grad_weight(isa, *c, *bias, update),
        KernelSpec::Optimize { len, update } => {
            single(Optimize::new(isa, *update, *len), update_positions(update))
        }
        KernelSpec::OptimizePacked { len, update, slots, stream } => {
            let kernel = OptimizePacked::new(isa, *update, *slots, *stream, *len);
            single(kernel, update_positions(update))
        }
        KernelSpec::SquaredNorm { len } => {
            single(SquaredNorm::new(isa, *len), vec![Some(0), Some(1)])
        }
        KernelSpec::ClipScale { counts, limit } => {
            let positions = (0..counts.len() + 2).map(Some).collect();
            single(ClipScale::new(counts.clone(), *limit), positions)
        }
        KernelSpec::Eltwise(program) => {
            let keys = program
                .steps
                .iter()
                .any(|s| matches!(s, tidemill_plan::eltwise::Step::Dropout { .. }));
            let count = program.inputs.len() + usize::from(keys) + program.outputs.len();
            in_order(crate::eltwise::Eltwise::call(isa, program), count)
        }
        KernelSpec::MaxPool(p) => ordered(MaxPool::new(isa, *p), 2),
        KernelSpec::MaxPoolGrad(p, relu) => ordered(MaxPoolGrad::new(isa, *p, *relu), 4),
        KernelSpec::AvgPool(p) => ordered(AvgPool::new(isa, *p), 2),
        KernelSpec::AvgPoolGrad(p) => ordered(AvgPoolGrad::new(isa, *p), 2),
        &KernelSpec::Softmax { rows, cols, log } => ordered(Softmax::new(isa, rows, cols, log), 2),
        &KernelSpec::SoftmaxGrad { rows, cols, log } => {
            ordered(SoftmaxGrad::new(isa, rows, cols, log), 3)
        }
        &KernelSpec::CrossEntropy { rows, cols, sparse, label_smoothing } => {
            ordered(CrossEntropy::new(isa, rows, cols, sparse, label_smoothing), 3)
        }
        &KernelSpec::CrossEntropyGrad { rows, cols, sparse, label_smoothing } => {
            ordered(CrossEntropyGrad::new(isa, rows, cols, sparse, label_smoothing), 4)
        }
        &KernelSpec::CrossEntropyFused { rows, cols, sparse, label_smoothing } => {
            in_order(CrossEntropyFused::call(isa, rows, cols, sparse, label_smoothing), 6)
        }
        &KernelSpec::WeightedMean { len } => ordered(WeightedMean::new(isa, len), 3),
        &KernelSpec::WeightedMeanGrad { len } => ordered(WeightedMeanGrad::new(isa, len), 3),
        &KernelSpec::Moments { rows, cols } => in_order(ChannelMoments::call(isa, rows, cols), 2),
        &KernelSpec::NormCoefficients { cols, epsilon } => {
            ordered(NormCoefficients::new(cols, epsilon), 5)
        }
        &KernelSpec::NormGradCoefficients { rows, cols, epsilon } => {
            ordered(NormGradCoefficients::new(rows, cols, epsilon), 8)
        }
        // the call has the new moments, then the running ones, which change in place
        &KernelSpec::UpdateMoments { cols, momentum, count } => {
            let positions = vec![Some(1), Some(0), Some(1)];
            single(UpdateMoments::new(cols, momentum, count), positions)
        }
        &KernelSpec::RingPush([batch, rows, len]) => ordered(RingPush { rows, len, batch }, 3),
        &KernelSpec::RingNext(batch, len) => ordered(RingNext { batch, len }, 2),
        &KernelSpec::RowNorm { kind, rows, cols, epsilon } => {
            let inputs = if kind == Normalization::Layer { 3 } else { 2 };
            ordered(RowNorm::new(isa, kind, rows, cols, epsilon), inputs + 1)
        }
        &KernelSpec::RowNormGradInput { kind, rows, cols, epsilon } => {
            ordered(RowNormGradInput::new(isa, kind, rows, cols, epsilon), 4)
        }
        &KernelSpec::RowNormGradGamma { kind, rows, cols, epsilon } => {
            in_order(RowNormGradGamma::call(isa, kind, rows, cols, epsilon), 3)
        }
        KernelSpec::Embedding(lookup) => ordered(Embedding::new(isa, lookup), 3),
        KernelSpec::EmbeddingGrad(lookup, None) => ordered(EmbeddingGrad::new(isa, lookup), 3),
        KernelSpec::EmbeddingGrad(lookup, Some(update)) => {
            let kernel = EmbeddingUpdate::new(isa, lookup, *update);
            ordered(kernel, 4 + update.rule.num_slots())
        }
        KernelSpec::WeightedMeanOfSteps(shape) => ordered(MeanOfSteps::new(isa, *shape), 3),
        KernelSpec::WeightedMeanOfStepsGrad(shape) => ordered(MeanOfStepsGrad::new(isa, *shape), 3),
        &KernelSpec::Attention(shape, within) => {
            let inputs = if within { 2 } else { 4 } + more_inputs(&shape);
            ordered(Attention::new(isa, shape, within), inputs + 1)
        }
        &KernelSpec::AttentionGrad(shape, within) => attention_grad(isa, shape, within),
        &KernelSpec::CachedAttention(shape, rows) => {
            let bias = usize::from(shape.heads.relative.is_some());
            ordered(CachedAttention::new(isa, shape, rows), 5 + bias)
        }
        &KernelSpec::Rotate { rotary, rows, time, width } => {
            let inputs = 1 + usize::from(rotary.room.is_some());
            ordered(Rotate::new(isa, rotary, [rows, time, width]), inputs + 1)
        }
        &KernelSpec::CopyMixture(shape) => ordered(CopyMixture::new(isa, shape, false), 6),
        &KernelSpec::CopyMixtureGrad(shape) => ordered(CopyMixture::new(isa, shape, true), 10),
        &KernelSpec::Recurrent(shape, keeps) => {
            let bias = usize::from(shape.scan.cell.has_bias());
            ordered(Recurrent::new(isa, shape, keeps), 4 + bias + usize::from(keeps))
        }
        &KernelSpec::RecurrentGrad(shape) => {
            let count = 6 + usize::from(products_apart(shape.scan.cell));
            ordered(RecurrentGrad::new(isa, shape), count)
        }
        &KernelSpec::Windows(shape) => ordered(WindowRows::new(isa, shape, false), 2),
        &KernelSpec::WindowsGrad(shape) => ordered(WindowRows::new(isa, shape, true), 2),
        &KernelSpec::Ctc(shape) => ordered(CtcLoss::new(isa, shape, false), 5),
        &KernelSpec::CtcGrad(shape) => ordered(CtcLoss::new(isa, shape, true), 6),
        &KernelSpec::Transducer(op, shape) => transducer(isa, op, shape),
        KernelSpec::Reduce { reduction, shape, axes } => {
            in_order(Reduce::call(isa, *reduction, shape, axes), 2)
        }
        KernelSpec::ReduceMaxGrad { shape, axes } => ordered(ReduceMaxGrad::new(shape, axes), 4),
        KernelSpec::BroadcastTo { from, to } => in_order(layout::broadcast_to(isa, from, to), 2),
        KernelSpec::Transpose { shape, perm } => in_order(layout::transpose(isa, shape, perm), 2),
        KernelSpec::Concat { shapes, axis } => {
            in_order(layout::concat(isa, shapes, *axis), shapes.len() + 1)
        }
        KernelSpec::Slice { shape, start, size } => {
            in_order(layout::slice(isa, shape, start, size), 2)
        }
        KernelSpec::Pad { shape, before, after, value } => {
            in_order(layout::pad(isa, shape, before, after, *value), 2)
        }
        KernelSpec::Copy { len } => in_order(layout::copy(isa, *len), 2),
    }
}

/// The bias and the key, where attention has them.
fn more_inputs(shape: &AttentionShape) -> usize {
    usize::from(shape.heads.relative.is_some()) + usize::from(shape.heads.dropout > 0.0)
}

/// With a bias, its gradient is the sum of a gradient for each sample, in the samples' order.
fn attention_grad(isa: Isa, shape: AttentionShape, within: bool) -> Compiled {
    let kernel = AttentionGrad::new(isa, shape, within);
    let inputs = if within { 4 } else { 6 } + more_inputs(&shape);
    let Some(relative) = shape.heads.relative else {
        return ordered(kernel, inputs + if within { 1 } else { 2 });
    };
    let len = relative.buckets * shape.heads.queries;
    let [dqkv, dbias, workspace] = [0, 1, 2].map(|i| Some(inputs + i));
    let positions = (0..inputs).map(Some).chain([dqkv, workspace]).collect();
    let sum = ReduceUpdate::new(isa, len, shape.batch, len);
    Compiled {
        phases: vec![phase(kernel, positions), phase(sum, vec![workspace, dbias])],
        method: Method { workspace_len: shape.batch * len, ..Method::default() },
    }
}

/// Gradients of a joint network's kernel and bias are sums of one for each range of samples, in the samples' order.
fn transducer(isa: Isa, op: Transducer, shape: TransducerShape) -> Compiled {
    let kernel = match op {
        Transducer::Joint => return ordered(Joint::new(isa, shape), 8),
        Transducer::JointGrad(_) => JointGrad::new(isa, shape),
        Transducer::Loss(of) => return ordered(TransducerLoss::new(isa, of, shape, false), 4),
        Transducer::LossGrad(of) => return ordered(TransducerLoss::new(isa, of, shape, true), 5),
        Transducer::Greedy => return ordered(Greedy::new(isa, shape), 6),
        Transducer::After => return ordered(After(shape), 3),
    };
    let (count, stride) = (kernel.partials(), kernel.partial_len());
    let [dkernel, dbias, workspace] = [10, 11, 12].map(Some);
    let len = shape.units * shape.classes;
    let positions = (0..10).map(Some).chain([workspace]).collect();
    let of_bias = ReduceUpdate::new(isa, shape.classes, count, stride);
    let mut of_bias = phase(of_bias, vec![workspace, dbias]);
    of_bias.positions[0] = Some(Position { argument: 12, offset: len });
    let of_kernel = ReduceUpdate::new(isa, len, count, stride);
    Compiled {
        phases: vec![phase(kernel, positions), phase(of_kernel, vec![workspace, dkernel]), of_bias],
        method: Method { workspace_len: count * stride, ..Method::default() },
    }
}

/// The transformed filter into the workspace, then the convolution. `positions` are those of
/// [`WinogradConv`], with the weight itself in the filter's place.
fn by_winograd(
    isa: Isa,
    desc: &ConvShape,
    pass: Pass,
    relu: bool,
    mut positions: [Option<usize>; 6],
) -> Compiled {
    let filter = WinogradFilter::new(isa, desc, pass);
    let workspace_len = filter.transformed_len();
    let workspace = positions[5].map(|last| last + 1);
    let weight = std::mem::replace(&mut positions[1], workspace);
    let conv = WinogradConv::new(isa, desc, pass, relu);
    let phases = vec![phase(filter, vec![weight, workspace]), phase(conv, positions.to_vec())];
    Compiled { phases, method: winograd_method(desc, workspace_len) }
}

/// Where the arguments of an update are among those of its call: gradient, hyper, parameter, slots.
fn update_positions(update: &Update) -> Vec<Option<usize>> {
    let slot = |i| (i < update.rule.num_slots()).then_some(3 + i);
    vec![Some(0), Some(2), slot(0), slot(1), slot(2), Some(1)]
}

/// Partial gradients into the workspace, their sum into its first part, then the update from there
/// (or a copy to where the gradient is wanted).
fn conv_grad_weight(isa: Isa, desc: ConvShape, bias: bool, update: &Option<Update>) -> Compiled {
    let len = desc.w_len();
    let by_winograd = winograd::applies(isa, &desc);
    let (main, stride, count): (Box<dyn Kernel>, _, _) = if by_winograd {
        let kernel = WinogradGradWeight::new(isa, &desc, bias);
        let (stride, count) = (kernel.partial_len(), kernel.partials());
        (Box::new(kernel), stride, count)
    } else if depthwise::applies(&desc) {
        let kernel = DepthwiseGradWeight::new(isa, &desc, bias);
        let (stride, count) = (kernel.partial_len(), kernel.partials());
        (Box::new(kernel), stride, count)
    } else {
        let kernel = ConvGradWeight::new(isa, desc, bias);
        let (stride, count) = (kernel.partial_len(), kernel.partials());
        (Box::new(kernel), stride, count)
    };
    let workspace_len = stride * count;
    let mut next = Next(0);
    let (x, dy) = (next.take(), next.take());
    let hyper = next.take_if(update.is_some());
    let dw = next.take_if(update.is_none());
    let db = next.take_if(bias);
    let state = next.0;
    let slots = update.map_or(0, |u| 1 + u.rule.num_slots());
    let workspace = Some(state + slots);
    let positions = [x, dy, workspace].map(whole).to_vec();
    let mut phases = vec![Phase { kernel: main, positions }];
    if bias {
        let mut sum = phase(ReduceUpdate::new(isa, desc.out_c, count, stride), vec![workspace, db]);
        if let Some(partials) = &mut sum.positions[0] {
            partials.offset = len;
        }
        phases.push(sum);
    }
    let sum = ReduceUpdate::new(isa, len, count, stride);
    match update {
        None => phases.push(phase(sum, vec![workspace, dw])),
        Some(update) => {
            if count > 1 {
                phases.push(phase(sum, vec![workspace, workspace]));
            }
            let slot = |i| (i < update.rule.num_slots()).then_some(state + 1 + i);
            let positions = vec![workspace, Some(state), slot(0), slot(1), slot(2), hyper];
            phases.push(phase(Optimize::new(isa, *update, len), positions));
        }
    }
    let method = match by_winograd {
        true => winograd_method(&desc, workspace_len),
        false => Method { workspace_len, ..Method::default() },
    };
    Compiled { phases, method }
}

/// Of any pass; the transforms are left out of the count, as everything is but products.
fn winograd_method(desc: &ConvShape, workspace_len: usize) -> Method {
    let flops = Some(desc.flops() as u64 * 16 / 36);
    let note = Some("by Winograd's F(2x2, 3x3): 16 of 36 multiplications");
    Method { workspace_len, flops, note }
}

/// Partial products into the workspace, then their sum and the epilogue.
fn split_gemm(isa: Isa, desc: &GemmDesc, parts: usize, positions: &[Option<usize>]) -> Compiled {
    use gemm::args;
    let workspace = positions[args::C].map(|last| last + 1);
    let mut partial = vec![None; args::LEN];
    (partial[args::A], partial[args::B]) = (positions[args::A], positions[args::B]);
    partial[args::C] = workspace;
    let [bias, residual] = [positions[args::BIAS], positions[args::RESIDUAL]];
    let sum = vec![workspace, bias, residual, positions[args::MASK], positions[args::C]];
    Compiled {
        phases: vec![
            phase(Gemm::new(isa, &split::partial(desc, parts)), partial),
            phase(Combine::new(isa, desc, parts), sum),
        ],
        method: Method {
            workspace_len: parts * desc.m * desc.n,
            flops: None,
            note: Some("cut along the reduction, as the weights' gradient is cut"),
        },
    }
}

fn gemm_positions(
    ragged: bool,
    epilogue: &Epilogue,
    update: &Option<Update>,
) -> Vec<Option<usize>> {
    let mut positions = vec![None; gemm::args::LEN];
    let mut next = Next(0);
    positions[gemm::args::A] = next.take();
    positions[gemm::args::B] = next.take();
    positions[gemm::args::LENGTHS] = next.take_if(ragged);
    positions[gemm::args::BIAS] = next.take_if(epilogue.bias);
    positions[gemm::args::RESIDUAL] = next.take_if(epilogue.residual);
    positions[gemm::args::MASK] = next.take_if(epilogue.mask);
    match update {
        None => positions[gemm::args::C] = next.take(),
        Some(update) => {
            positions[gemm::args::HYPER] = next.take();
            positions[gemm::args::PARAM] = next.take();
            for slot in 0..update.rule.num_slots() {
                positions[gemm::args::SLOT0 + slot] = next.take();
            }
        }
    }
    positions
}
