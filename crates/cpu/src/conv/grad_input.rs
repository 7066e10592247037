//! The gradient of a convolution's input.

use super::engine::{Engine, EngineArgs};
use super::{ConvShape, check, flattened};
use crate::isa::Isa;
use crate::kernel::Kernel;

/// `dx = (conv_transpose(dy, w) + residual) * (mask > 0)`, with residual and mask optional.
///
/// Arguments: `[dy, w, mask | null, residual | null, dx]`; mask and residual are shaped like dx.
/// `dx` may be the residual's buffer (accumulation in place). The mask is x where x is the output
/// of a relu: dx then is the gradient before the relu. It is applied after the residual is added,
/// since all gradients that reach x pass the relu.
pub struct ConvGradInput {
    engine: Engine,
}

impl ConvGradInput {
    /// The gradient of the input of the convolution that `desc` describes.
    pub fn new(isa: Isa, desc: ConvShape) -> ConvGradInput {
        check(&desc);
        ConvGradInput { engine: Engine::gradient(isa, &flattened(desc)) }
    }
}

impl Kernel for ConvGradInput {
    fn chunks(&self) -> usize {
        self.engine.chunks()
    }

    fn scratch_bytes(&self) -> usize {
        self.engine.scratch_bytes()
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let args = EngineArgs {
            source: args[0],
            weight: args[1],
            bias: std::ptr::null(),
            residual: args[3],
            mask: args[2],
            output: args[4],
            relu: false,
        };
        // SAFETY: by the contract of `run`.
        unsafe { self.engine.run(&args, chunk, scratch) };
    }
}
