//! Clipping by norm: squared norms of gradients, and the scale that they give.

use crate::{isa::Isa, kernel::Kernel, simd::Simd};
use tidemill_graph::update::{CLIP_EPSILON, hyper};

/// Elements of a partial sum. Partial sums are f32 per lane over this many elements at most, and
/// f64 from there on.
const CHUNK: usize = tidemill_plan::kernel::NORM_CHUNK;

/// The squared L2 norm of a gradient, in fixed pieces, so that it does not depend on threads.
///
/// Arguments: `[gradient, partials]`; chunk `i` writes `partials[i]`, an array of
/// [`num_partials`](SquaredNorm::num_partials) elements that [`ClipScale`] sums up.
#[derive(Clone, Debug)]
pub struct SquaredNorm {
    len: usize,
    run: unsafe fn(*const f32, usize) -> f32,
}

impl SquaredNorm {
    /// For gradients of `len` elements.
    pub fn new(isa: Isa, len: usize) -> SquaredNorm {
        SquaredNorm { len, run: sum_squares_on(isa) }
    }

    /// Partial sums of a gradient of `len` elements: the size of the second argument.
    pub fn num_partials(len: usize) -> usize {
        len.div_ceil(CHUNK).max(1)
    }
}

impl Kernel for SquaredNorm {
    fn chunks(&self) -> usize {
        Self::num_partials(self.len)
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let start = chunk * CHUNK;
        // SAFETY: start <= len; the gradient has len elements, `partials` one for each chunk.
        unsafe {
            *args[1].add(chunk) = (self.run)(args[0].add(start), CHUNK.min(self.len - start));
        }
    }
}

crate::kernel!(fn sum_squares_on(x: *const f32, len: usize) -> f32 = sum_squares;);

#[inline(always)]
unsafe fn sum_squares<S: Simd>(x: *const f32, len: usize) -> f32 {
    // SAFETY: all loads end at or before x + len.
    unsafe {
        let mut sums = [S::splat(0.0); 4];
        let mut i = 0;
        while i + 4 * S::LANES <= len {
            for (j, sum) in sums.iter_mut().enumerate() {
                let v = S::load(x.add(i + j * S::LANES));
                *sum = S::fma(v, v, *sum);
            }
            i += 4 * S::LANES;
        }
        while i < len {
            let n = S::LANES.min(len - i);
            let v = if n == S::LANES { S::load(x.add(i)) } else { S::load_partial(x.add(i), n) };
            sums[0] = S::fma(v, v, sums[0]);
            i += n;
        }
        S::sum(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])))
    }
}

/// The scale that clips gradients to a norm, [`tidemill_graph::Clip`]'s
/// `min(1, limit / (norm + 1e-6))`, written as the gradient scale of a hyper vector.
///
/// Arguments: `[hyper, partials..., hyper_out]`: each `partials` holds the squared norm of one
/// gradient in pieces; `hyper_out` becomes a copy of `hyper` with the new scale, and may be the same
/// array. Clipping each parameter by itself takes one `hyper_out` for each. A norm that is not a
/// number gives a scale that is none.
#[derive(Clone, Debug)]
pub struct ClipScale {
    counts: Vec<usize>,
    limit: f32,
}

impl ClipScale {
    /// For gradients with so many partial sums each and a common norm of at most `limit`.
    pub fn new(counts: Vec<usize>, limit: f32) -> ClipScale {
        ClipScale { counts, limit }
    }
}

impl Kernel for ClipScale {
    fn chunks(&self) -> usize {
        1
    }

    unsafe fn run(&self, args: &[*mut f32], _chunk: usize, _scratch: *mut f32) {
        // SAFETY: the partial sums and both hyper vectors have the sizes documented above.
        unsafe {
            let mut squared = 0.0;
            for (n, &count) in self.counts.iter().enumerate() {
                for i in 0..count {
                    squared += f64::from(*args[1 + n].add(i));
                }
            }
            let scale = f64::from(self.limit) / (squared.sqrt() + CLIP_EPSILON);
            let (hyper_in, hyper_out) = (args[0], args[1 + self.counts.len()]);
            for i in 0..hyper::LEN {
                *hyper_out.add(i) = *hyper_in.add(i);
            }
            // not f64::min, which would turn NaN into 1
            *hyper_out.add(hyper::GRADIENT_SCALE) = if scale > 1.0 { 1.0 } else { scale as f32 };
        }
    }
}
