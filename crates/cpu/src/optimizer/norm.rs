//! Clipping by norm: squared norms of gradients, and the scale that they give.

use crate::{isa::Isa, kernel::Kernel, simd::Simd};
use tidemill_graph::update::hyper;

/// Elements of a partial sum. Partial sums are f32 per lane over this many elements at most, and
/// f64 from there on.
const CHUNK: usize = 16 * 1024;

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

/// The scale that clips gradients to a norm: writes `min(1, limit / (norm + 1e-6))` (PyTorch's
/// formula) as the gradient scale of a hyper vector.
///
/// Arguments: `[partials, hyper, hyper_out]`: `partials` are the squared norms of all
/// gradients that share the limit, one after the other; `hyper_out` becomes a copy of `hyper` with
/// the new scale, and may be the same array. Clipping each parameter by itself takes one
/// `hyper_out` for each. A norm that is not a number gives a scale that is none.
#[derive(Clone, Debug)]
pub struct ClipScale {
    num_partials: usize,
    limit: f32,
}

impl ClipScale {
    /// For `num_partials` partial sums and norms of at most `limit`.
    pub fn new(num_partials: usize, limit: f32) -> ClipScale {
        ClipScale { num_partials, limit }
    }
}

impl Kernel for ClipScale {
    fn chunks(&self) -> usize {
        1
    }

    unsafe fn run(&self, args: &[*mut f32], _chunk: usize, _scratch: *mut f32) {
        // SAFETY: the partial sums and both hyper vectors have the sizes documented above.
        unsafe {
            let squared: f64 = (0..self.num_partials).map(|i| f64::from(*args[0].add(i))).sum();
            let scale = f64::from(self.limit) / (squared.sqrt() + 1e-6);
            for i in 0..hyper::LEN {
                *args[2].add(i) = *args[1].add(i);
            }
            // not f64::min, which would turn NaN into 1
            *args[2].add(hyper::GRADIENT_SCALE) = if scale > 1.0 { 1.0 } else { scale as f32 };
        }
    }
}
