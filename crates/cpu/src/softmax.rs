//! Softmax over rows, its logarithm and their gradients.
//!
//! Chunks are ranges of rows; nothing of a row depends on other rows.

use crate::call::{chunk_range, chunks_for};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::lanes::Lanes;
use crate::math;
use crate::rows::{row_dot, row_exp, row_exp_sum, row_max, row_ns, row_zip};

/// The first value of a vector.
#[inline(always)]
unsafe fn lane<S: Lanes>(v: S::V) -> f32 {
    let mut lanes = [0.0; 16];
    // SAFETY: no set has more than 16 lanes.
    unsafe { S::store(lanes.as_mut_ptr(), v) };
    lanes[0]
}

/// `ln(x)` of one value, by the vector function: the same bits as in a vector.
#[inline(always)]
pub(crate) unsafe fn log1<S: Lanes>(x: f32) -> f32 {
    // SAFETY: as the caller's.
    unsafe { lane::<S>(math::log::<S>(S::splat(x))) }
}

/// `e^x`, likewise.
#[inline(always)]
pub(crate) unsafe fn exp1<S: Lanes>(x: f32) -> f32 {
    // SAFETY: as the caller's.
    unsafe { lane::<S>(math::exp::<S>(S::splat(x))) }
}

/// `a` and `b` are the inputs (b only for gradients).
type RowFn = unsafe fn(a: *const f32, b: *const f32, out: *mut f32, rows: usize, cols: usize);

#[inline(always)]
unsafe fn softmax_rows<S: Lanes>(
    x: *const f32,
    _: *const f32,
    out: *mut f32,
    rows: usize,
    cols: usize,
) {
    for r in 0..rows {
        // SAFETY: both have rows x cols values.
        unsafe {
            let (x, out) = (x.add(r * cols), out.add(r * cols));
            let sum = row_exp::<S>(x, row_max::<S>(x, cols), out, cols);
            let scale = S::splat(1.0 / sum);
            row_zip::<S>(out, out, out, cols, |v, _| S::mul(v, scale));
        }
    }
}
kernel!(fn softmax_on(
    a: *const f32, b: *const f32, out: *mut f32, rows: usize, cols: usize
) = softmax_rows;);

#[inline(always)]
unsafe fn log_softmax_rows<S: Lanes>(
    x: *const f32,
    _: *const f32,
    out: *mut f32,
    rows: usize,
    cols: usize,
) {
    for r in 0..rows {
        // SAFETY: both have rows x cols values.
        unsafe {
            let (x, out) = (x.add(r * cols), out.add(r * cols));
            let max = row_max::<S>(x, cols);
            let m = S::splat(max);
            let sum = row_exp_sum::<S>(x, m, cols);
            let log = S::splat(log1::<S>(sum));
            row_zip::<S>(x, x, out, cols, |v, _| S::sub(S::sub(v, m), log));
        }
    }
}
kernel!(fn log_softmax_on(
    a: *const f32, b: *const f32, out: *mut f32, rows: usize, cols: usize
) = log_softmax_rows;);

#[inline(always)]
unsafe fn softmax_grad_rows<S: Lanes>(
    y: *const f32,
    dy: *const f32,
    out: *mut f32,
    rows: usize,
    cols: usize,
) {
    for r in 0..rows {
        // SAFETY: all have rows x cols values.
        unsafe {
            let (y, dy, out) = (y.add(r * cols), dy.add(r * cols), out.add(r * cols));
            // dx = y (dy - sum(y dy))
            let dot = S::splat(row_dot::<S>(y, dy, cols, |y, d| S::mul(y, d)));
            row_zip::<S>(y, dy, out, cols, |y, d| S::mul(y, S::sub(d, dot)));
        }
    }
}
kernel!(fn softmax_grad_on(
    a: *const f32, b: *const f32, out: *mut f32, rows: usize, cols: usize
) = softmax_grad_rows;);

#[inline(always)]
unsafe fn log_softmax_grad_rows<S: Lanes>(
    y: *const f32,
    dy: *const f32,
    out: *mut f32,
    rows: usize,
    cols: usize,
) {
    for r in 0..rows {
        // SAFETY: all have rows x cols values.
        unsafe {
            let (y, dy, out) = (y.add(r * cols), dy.add(r * cols), out.add(r * cols));
            // dx = dy - e^y sum(dy)
            let minus = S::splat(-row_dot::<S>(dy, dy, cols, |d, _| d));
            // no closure around exp, see `row_exp`
            let mut i = 0;
            while i + S::LANES <= cols {
                let e = math::exp::<S>(S::load(y.add(i)));
                S::store(out.add(i), S::fma(e, minus, S::load(dy.add(i))));
                i += S::LANES;
            }
            if i < cols {
                let n = cols - i;
                let e = math::exp::<S>(S::load_partial(y.add(i), n));
                S::store_partial(out.add(i), S::fma(e, minus, S::load_partial(dy.add(i), n)), n);
            }
        }
    }
}
kernel!(fn log_softmax_grad_on(
    a: *const f32, b: *const f32, out: *mut f32, rows: usize, cols: usize
) = log_softmax_grad_rows;);

/// Softmax or log-softmax over rows. Arguments: `x[rows, cols], y[rows, cols]`; y may be x.
pub struct Softmax {
    rows: usize,
    cols: usize,
    chunks: usize,
    f: RowFn,
}

impl Softmax {
    /// Softmax, or its logarithm, of `rows` rows.
    pub fn new(isa: Isa, rows: usize, cols: usize, log: bool) -> Softmax {
        let f = if log { log_softmax_on(isa) } else { softmax_on(isa) };
        Softmax { rows, cols, chunks: chunks_for(rows, row_ns(cols, 0.35)), f }
    }
}

impl Kernel for Softmax {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let (start, end) = chunk_range(self.rows, self.chunks, 1, chunk);
        let at = start * self.cols;
        // SAFETY: rows start .. end lie inside both arguments.
        unsafe { (self.f)(args[0].add(at), args[0], args[1].add(at), end - start, self.cols) };
    }
}

/// Gradient of softmax or log-softmax by its output. Arguments: `y, dy, dx`, all `[rows, cols]`;
/// dx may be y or dy.
pub struct SoftmaxGrad {
    rows: usize,
    cols: usize,
    chunks: usize,
    f: RowFn,
}

impl SoftmaxGrad {
    /// Gradient of softmax, or of its logarithm, over `rows` rows.
    pub fn new(isa: Isa, rows: usize, cols: usize, log: bool) -> SoftmaxGrad {
        let f = if log { log_softmax_grad_on(isa) } else { softmax_grad_on(isa) };
        SoftmaxGrad { rows, cols, chunks: chunks_for(rows, row_ns(cols, 0.3)), f }
    }
}

impl Kernel for SoftmaxGrad {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let (start, end) = chunk_range(self.rows, self.chunks, 1, chunk);
        let at = start * self.cols;
        // SAFETY: rows start .. end lie inside all arguments.
        unsafe {
            let (y, dy, dx) = (args[0].add(at), args[1].add(at), args[2].add(at));
            (self.f)(y, dy, dx, end - start, self.cols);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, close, run_all};

    fn reference(x: &[f32], cols: usize, log: bool) -> Vec<f64> {
        let mut out = Vec::new();
        for row in x.chunks(cols) {
            let max = row.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(f64::from(v)));
            let sum: f64 = row.iter().map(|&v| (f64::from(v) - max).exp()).sum();
            out.extend(row.iter().map(|&v| {
                let z = f64::from(v) - max - sum.ln();
                if log { z } else { z.exp() }
            }));
        }
        out
    }

    #[test]
    fn rows_of_all_lengths() {
        let mut random = Random(5);
        for (rows, cols) in
            [(1, 1), (3, 2), (32, 10), (7, 16), (5, 17), (1000, 10), (3, 1000), (2, 50_000)]
        {
            let x: Vec<f32> = random.values(rows * cols).iter().map(|v| v * 8.0).collect();
            let dy = random.values(rows * cols);
            for isa in Isa::available() {
                for log in [false, true] {
                    let y = reference(&x, cols, log);
                    let mut args = vec![x.clone(), vec![0.0; x.len()]];
                    run_all(&[&Softmax::new(isa, rows, cols, log)], &mut args);
                    close(&args[1], &y, 2e-6, "softmax");
                    let y32: Vec<f32> = y.iter().map(|&v| v as f32).collect();
                    let mut dx = Vec::new();
                    for (y, dy) in y.chunks(cols).zip(dy.chunks(cols)) {
                        let pairs = || y.iter().zip(dy.iter().map(|&d| f64::from(d)));
                        let dot: f64 = pairs().map(|(y, d)| if log { d } else { y * d }).sum();
                        dx.extend(pairs().map(
                            |(y, d)| {
                                if log { d - y.exp() * dot } else { y * (d - dot) }
                            },
                        ));
                    }
                    let mut args = vec![y32, dy.clone(), vec![0.0; x.len()]];
                    run_all(&[&SoftmaxGrad::new(isa, rows, cols, log)], &mut args);
                    close(&args[2], &dx, 1e-5, "softmax grad");
                }
            }
        }
    }

    #[test]
    fn in_place_and_special_rows() {
        for isa in Isa::available() {
            let inf = f32::INFINITY;
            let mut x = [1.0, -inf, 1.0, f32::NAN, 0.0, 0.0];
            let kernel = Softmax::new(isa, 2, 3, false);
            let args = [x.as_mut_ptr(), x.as_mut_ptr()];
            // SAFETY: both arguments have 2 x 3 values and may be the same.
            unsafe { kernel.run(&args, 0, std::ptr::null_mut()) };
            assert_eq!(x[..3], [0.5, 0.0, 0.5]);
            assert!(x[3..].iter().all(|v| v.is_nan()), "a NaN spoils its row, not others");
        }
    }
}
