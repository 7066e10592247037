//! Turns a plan's kernel descriptions into kernels, and says where each argument goes.

use crate::call::Call;
use crate::gemm::{self, Activation, Gemm, GemmDesc};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::optimizer::{ClipScale, Optimize, SquaredNorm, Update};
use tidemill_plan::kernel::{Epilogue, FusedUpdate};
use tidemill_plan::{KernelSpec, Target};

/// One kernel of a call; `positions[i]` is the call's argument that the kernel's argument `i` is,
/// or none for one that it does not use.
pub struct Phase {
    /// The kernel.
    pub kernel: Box<dyn Kernel>,
    /// Where its arguments are.
    pub positions: Vec<Option<usize>>,
}

/// The kernels of a call.
pub struct Compiled {
    /// In order.
    pub phases: Vec<Phase>,
    /// f32 elements of workspace, the call's last argument if not 0.
    pub workspace_len: usize,
}

/// The planner's view of the CPU.
#[derive(Clone, Copy, Debug)]
pub struct CpuTarget {
    /// The instruction set that kernels will run on.
    pub isa: Isa,
}

impl Target for CpuTarget {
    fn workspace_len(&self, spec: &KernelSpec) -> usize {
        compile(self.isa, spec).workspace_len
    }
}

fn single(kernel: impl Kernel + 'static, positions: Vec<Option<usize>>) -> Compiled {
    Compiled { phases: vec![Phase { kernel: Box::new(kernel), positions }], workspace_len: 0 }
}

/// A call whose kernels take the call's `count` arguments as they are, and the workspace last.
fn in_order(call: Call, count: usize) -> Compiled {
    let positions: Vec<_> = (0..count + usize::from(call.workspace_len > 0)).map(Some).collect();
    let phase = |kernel| Phase { kernel, positions: positions.clone() };
    Compiled {
        workspace_len: call.workspace_len,
        phases: call.phases.into_iter().map(phase).collect(),
    }
}

fn update_of(update: &FusedUpdate) -> Update {
    Update { rule: update.rule, decay: update.decay, clip_value: update.clip_value }
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

/// Compiles one kernel call.
pub fn compile(isa: Isa, spec: &KernelSpec) -> Compiled {
    match spec {
        KernelSpec::Gemm(g, epilogue, update) => {
            let mut desc = GemmDesc::new(g.m, g.n, g.k, g.transpose_a, g.transpose_b);
            desc.batch = g.batch;
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
                update: update.as_ref().map(update_of),
            };
            single(Gemm::new(isa, &desc), gemm_positions(epilogue, update))
        }
        KernelSpec::Optimize { len, update } => {
            // the call has gradient, hyper, parameter, slots
            let slot = |i| (i < update.rule.num_slots()).then_some(3 + i);
            let positions = vec![Some(0), Some(2), slot(0), slot(1), slot(2), Some(1)];
            single(Optimize::new(isa, update_of(update), *len), positions)
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
        other => unreachable!("{}", other.name()),
    }
}

fn gemm_positions(epilogue: &Epilogue, update: &Option<FusedUpdate>) -> Vec<Option<usize>> {
    let mut positions = vec![None; gemm::args::LEN];
    let mut next = Next(0);
    positions[gemm::args::A] = next.take();
    positions[gemm::args::B] = next.take();
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
