//! The weighted mean of losses, and its gradient.

use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::lanes::Lanes;
use crate::rows::row_dot;

/// `sum(w l)` and how many weights are not 0; values of weight 0 do not count, not even NaN. `l` may be
/// `w`.
#[inline(always)]
unsafe fn weighted_sums<S: Lanes>(l: *const f32, w: *const f32, n: usize, sums: &mut [f64; 2]) {
    *sums = [0.0; 2];
    let mut start = 0;
    // short f32 sums, added in f64
    while start < n {
        let len = 1024.min(n - start);
        // SAFETY: start + len <= n.
        unsafe {
            let (l, w) = (l.add(start), w.add(start));
            let zero = S::splat(0.0);
            let product = |l, w| S::select(S::eq(w, zero), zero, S::mul(l, w));
            sums[0] += f64::from(row_dot::<S>(l, w, len, product));
            let one = S::splat(1.0);
            let counts = |w, _| S::select(S::eq(w, zero), zero, one);
            // at most 1024, exact in f32
            sums[1] += f64::from(row_dot::<S>(w, w, len, counts));
        }
        start += len;
    }
}
kernel!(pub(super) fn weighted_sums_on(
    l: *const f32, w: *const f32, n: usize, sums: &mut [f64; 2]
) = weighted_sums;);

pub(super) type SumsFn = unsafe fn(*const f32, *const f32, usize, &mut [f64; 2]);

/// 1 over the number of weights that are not 0; 0 if there is none.
///
/// # Safety
/// `w` has `n` values.
pub(super) unsafe fn inverse_count(f: SumsFn, w: *const f32, n: usize) -> f32 {
    let mut sums = [0.0; 2];
    // SAFETY: w has n values.
    unsafe { f(w, w, n, &mut sums) };
    if sums[1] == 0.0 { 0.0 } else { (1.0 / sums[1]) as f32 }
}

/// The mean of losses times their weights over those that have one; 0 if none has.
///
/// # Safety
/// `l` and `w` have `n` values.
pub(super) unsafe fn mean(f: SumsFn, l: *const f32, w: *const f32, n: usize) -> f32 {
    let mut sums = [0.0; 2];
    // SAFETY: l and w have n values.
    unsafe { f(l, w, n, &mut sums) };
    if sums[1] == 0.0 { 0.0 } else { (sums[0] / sums[1]) as f32 }
}

/// `sum(w l) / n` over the n samples of a weight other than 0; 0 if there is none. Arguments: `loss[n], weight[n], mean[1]`.
pub struct WeightedMean {
    len: usize,
    sums: SumsFn,
    /// Where loss, weight and mean are among the arguments.
    args: [usize; 3],
}

impl WeightedMean {
    /// The mean of `len` losses.
    pub fn new(isa: Isa, len: usize) -> WeightedMean {
        WeightedMean::of(isa, len, [0, 1, 2])
    }

    /// With loss, weight and mean at other places among the arguments.
    pub(super) fn of(isa: Isa, len: usize, args: [usize; 3]) -> WeightedMean {
        WeightedMean { len, sums: weighted_sums_on(isa), args }
    }
}

impl Kernel for WeightedMean {
    fn chunks(&self) -> usize {
        1
    }

    unsafe fn run(&self, args: &[*mut f32], _chunk: usize, _scratch: *mut f32) {
        let [l, w, out] = self.args;
        // SAFETY: losses and weights have `len` values, the mean one.
        unsafe { *args[out] = mean(self.sums, args[l], args[w], self.len) };
    }
}

/// `w dmean / n`, n as in the mean. Arguments: `weight[n], dmean[1], dloss[n]`.
pub struct WeightedMeanGrad {
    len: usize,
    sums: SumsFn,
}

impl WeightedMeanGrad {
    /// The gradient of the mean of `len` losses.
    pub fn new(isa: Isa, len: usize) -> WeightedMeanGrad {
        WeightedMeanGrad { len, sums: weighted_sums_on(isa) }
    }
}

impl Kernel for WeightedMeanGrad {
    fn chunks(&self) -> usize {
        1
    }

    unsafe fn run(&self, args: &[*mut f32], _chunk: usize, _scratch: *mut f32) {
        // SAFETY: weights and gradients have `len` values, dmean one.
        unsafe {
            let scale = inverse_count(self.sums, args[0], self.len) * *args[1];
            for i in 0..self.len {
                *args[2].add(i) = *args[0].add(i) * scale;
            }
        }
    }
}
