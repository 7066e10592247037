//! The interface between a compiled step and its kernels.

/// One kernel, specialised at compile time for shapes, instruction set and fusions.
///
/// A step is a flat list of kernels with their buffers. A kernel cuts its work into chunks that
/// may run in any order on any thread; how it cuts depends on shapes alone, never on the number of
/// threads, and each output element is written by one chunk with a fixed order of sums. That is
/// what makes a step's bits the same for any thread count.
pub trait Kernel: Send + Sync {
    /// How many chunks the work is cut into; at least 1. Chunks of 4 us or more are worth a
    /// thread; a kernel with less work than about 8 us in all should be one chunk.
    fn chunks(&self) -> usize;

    /// Bytes of scratch memory that each executing thread must bring (64-byte aligned).
    fn scratch_bytes(&self) -> usize {
        0
    }

    /// Runs one chunk.
    ///
    /// # Safety
    /// `args` are the buffers in the order and of the sizes that the kernel's constructor
    /// documents; outputs are not aliased except where documented; no other thread runs the same
    /// chunk; `scratch` has `scratch_bytes` bytes; the instruction set given to the constructor is
    /// available.
    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32);
}
