//! The forward convolution.

use super::engine::{Engine, EngineArgs};
use super::{ConvShape, check, flattened};
use crate::isa::Isa;
use crate::kernel::Kernel;

/// `y = relu(conv(x, w) + bias + residual)`, with each addend optional and relu as constructed.
///
/// Arguments: `[x, w, bias | null, residual | null, y]`; `bias[out_c]`, `residual` shaped like y.
/// `y` may be the residual's buffer.
pub struct ConvForward {
    engine: Engine,
    relu: bool,
}

impl ConvForward {
    /// A forward convolution; `relu` applies relu last.
    pub fn new(isa: Isa, desc: ConvShape, relu: bool) -> ConvForward {
        check(&desc);
        ConvForward { engine: Engine::forward(isa, &flattened(desc)), relu }
    }
}

impl Kernel for ConvForward {
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
            bias: args[2],
            residual: args[3],
            mask: std::ptr::null(),
            output: args[4],
            relu: self.relu,
        };
        // SAFETY: by the contract of `run`.
        unsafe { self.engine.run(&args, chunk, scratch) };
    }
}
