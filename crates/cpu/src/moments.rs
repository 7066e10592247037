//! Mean and variance of channels, and the small kernels around them that make batch norm a fused
//! elementwise program: `y = a x + b` forward, `dx = p dy + q x + r` backward.

use crate::call::{Call, chunk_range, chunks_for};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::lanes::Lanes;

/// The mean of a chunk's first rows is the shift of all: with it `E[d^2] - E[d]^2` loses at most
/// the factor (rows of the chunk) / (rows of the shift) of accuracy, whatever the data.
const SHIFT_ROWS: usize = 32;
/// Values of a tile: some rows side by side, for enough independent sums.
const TILE: usize = 128;

/// Rows of a tile.
fn tile_rows(cols: usize) -> usize {
    let fit = (TILE / cols.max(1)).max(1);
    let unit = 16 >> cols.trailing_zeros().min(4);
    if fit > unit { fit - fit % unit } else { fit }
}

/// Sums of `d = x - shift` and of `d^2` over `count` tiles of `n` values, into `sum` and `square`.
#[inline(always)]
unsafe fn add_tiles<S: Lanes>(
    x: *const f32,
    shift: *const f32,
    sum: *mut f32,
    square: *mut f32,
    count: usize,
    n: usize,
) {
    // SAFETY: x has count x n values, the others n; partial accesses stay below n.
    unsafe {
        let mut tile = 0;
        while tile < count {
            // four tiles for one access of the sums
            let together = if count - tile >= 4 { 4 } else { 1 };
            let x = x.add(tile * n);
            let mut i = 0;
            while i < n {
                let m = (n - i).min(S::LANES);
                let load = |p: *const f32| {
                    if m == S::LANES { S::load(p) } else { S::load_partial(p, m) }
                };
                let k = load(shift.add(i));
                let (mut s, mut q) = (load(sum.add(i)), load(square.add(i)));
                if together == 4 {
                    let d0 = S::sub(load(x.add(i)), k);
                    let d1 = S::sub(load(x.add(n + i)), k);
                    let d2 = S::sub(load(x.add(2 * n + i)), k);
                    let d3 = S::sub(load(x.add(3 * n + i)), k);
                    s = S::add(s, S::add(S::add(d0, d1), S::add(d2, d3)));
                    let q01 = S::fma(d0, d0, S::mul(d1, d1));
                    q = S::add(q, S::fma(d2, d2, S::fma(d3, d3, q01)));
                } else {
                    let d = S::sub(load(x.add(i)), k);
                    s = S::add(s, d);
                    q = S::fma(d, d, q);
                }
                if m == S::LANES {
                    S::store(sum.add(i), s);
                    S::store(square.add(i), q);
                } else {
                    S::store_partial(sum.add(i), s, m);
                    S::store_partial(square.add(i), q, m);
                }
                i += m;
            }
            tile += together;
        }
    }
}

/// Mean and sum of squared deviations of `rows >= 1` rows to `out[2, cols]`; scratch has 3 tiles.
#[inline(always)]
unsafe fn moments_of<S: Lanes>(
    x: *const f32,
    rows: usize,
    cols: usize,
    tile_rows: usize,
    out: *mut f32,
    scratch: *mut f32,
) {
    let n = tile_rows * cols;
    // SAFETY: x has rows x cols values, scratch 3 n, out 2 cols.
    unsafe {
        let (shift, sum, square) = (scratch, scratch.add(n), scratch.add(2 * n));
        std::slice::from_raw_parts_mut(scratch, 3 * n).fill(0.0);
        let first = (rows / SHIFT_ROWS).clamp(1, SHIFT_ROWS);
        for r in 0..first {
            for c in 0..cols {
                *shift.add(c) += *x.add(r * cols + c);
            }
        }
        for c in 0..cols {
            *shift.add(c) /= first as f32;
        }
        for r in 1..tile_rows {
            std::ptr::copy_nonoverlapping(shift, shift.add(r * cols), cols);
        }
        let tiles = rows / tile_rows;
        add_tiles::<S>(x, shift, sum, square, tiles, n);
        // the last rows, fewer than a tile
        let done = tiles * tile_rows;
        add_tiles::<S>(x.add(done * cols), shift, sum, square, 1, (rows - done) * cols);
        for r in 1..tile_rows {
            for c in 0..cols {
                *sum.add(c) += *sum.add(r * cols + c);
                *square.add(c) += *square.add(r * cols + c);
            }
        }
        let share = 1.0 / rows as f32;
        for c in 0..cols {
            let s = *sum.add(c);
            *out.add(c) = *shift.add(c) + s * share;
            *out.add(cols + c) = (*square.add(c) - s * s * share).max(0.0);
        }
    }
}
kernel!(fn moments_on(
    x: *const f32, rows: usize, cols: usize, tile_rows: usize, out: *mut f32, scratch: *mut f32,
) = moments_of;);

type MomentsFn = unsafe fn(*const f32, usize, usize, usize, *mut f32, *mut f32);

/// Mean and biased variance of each column. Arguments: `x[rows, cols], moments[2, cols]`, and the
/// workspace where the call has one.
pub struct ChannelMoments {
    rows: usize,
    cols: usize,
    chunks: usize,
    f: MomentsFn,
}

/// Joins the chunks' moments (Chan et al. 1979), in order.
struct JoinMoments {
    rows: usize,
    cols: usize,
    chunks: usize,
}

impl ChannelMoments {
    /// The call for a matrix of `rows >= 1` rows.
    pub fn call(isa: Isa, rows: usize, cols: usize) -> Call {
        let step = tile_rows(cols);
        let chunks = chunks_for(rows.div_ceil(step), 0.07 * (cols * step) as f64);
        // none empty
        let size = rows.div_ceil(chunks).next_multiple_of(step).max(1);
        let chunks = rows.div_ceil(size).max(1);
        let main = ChannelMoments { rows, cols, chunks, f: moments_on(isa) };
        if chunks == 1 {
            return Call::single(main);
        }
        let join = JoinMoments { rows, cols, chunks };
        Call { phases: vec![Box::new(main), Box::new(join)], workspace_len: 2 * cols * chunks }
    }
}

impl Kernel for ChannelMoments {
    fn chunks(&self) -> usize {
        self.chunks
    }

    fn scratch_bytes(&self) -> usize {
        3 * tile_rows(self.cols) * self.cols * 4
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let step = tile_rows(self.cols);
        let (start, end) = chunk_range(self.rows, self.chunks, step, chunk);
        // SAFETY: the rows lie inside x; the workspace has 2 cols values for each chunk.
        unsafe {
            let one = self.chunks == 1;
            let out = if one { args[1] } else { args[2].add(2 * self.cols * chunk) };
            let x = args[0].add(start * self.cols);
            (self.f)(x, end - start, self.cols, step, out, scratch);
            if one {
                for c in 0..self.cols {
                    *out.add(self.cols + c) /= self.rows as f32;
                }
            }
        }
    }
}

impl Kernel for JoinMoments {
    fn chunks(&self) -> usize {
        1
    }

    unsafe fn run(&self, args: &[*mut f32], _chunk: usize, _scratch: *mut f32) {
        let (out, cols) = (args[1], self.cols);
        let step = tile_rows(cols);
        // SAFETY: the workspace has 2 cols values for each chunk, out has 2 cols.
        unsafe {
            std::ptr::copy_nonoverlapping(args[2].cast_const(), out, 2 * cols);
            let mut n = chunk_range(self.rows, self.chunks, step, 0).1;
            for chunk in 1..self.chunks {
                let (start, end) = chunk_range(self.rows, self.chunks, step, chunk);
                let part = args[2].add(2 * cols * chunk);
                let total = n + end - start;
                let share = (end - start) as f32 / total as f32;
                let weight = n as f32 * share;
                for c in 0..cols {
                    let delta = *part.add(c) - *out.add(c);
                    *out.add(c) += delta * share;
                    *out.add(cols + c) += *part.add(cols + c) + delta * delta * weight;
                }
                n = total;
            }
            for c in 0..cols {
                *out.add(cols + c) /= self.rows as f32;
            }
        }
    }
}

/// `(1 - momentum) running + momentum moments`, the variance made unbiased. Arguments:
/// `running[2, cols], moments[2, cols], out[2, cols]`; out may be running.
pub struct UpdateMoments {
    cols: usize,
    momentum: f32,
    unbias: f32,
}

impl UpdateMoments {
    /// For moments over `count` values.
    pub fn new(cols: usize, momentum: f32, count: usize) -> UpdateMoments {
        let unbias = if count > 1 { count as f32 / (count - 1) as f32 } else { 1.0 };
        UpdateMoments { cols, momentum, unbias }
    }
}

impl Kernel for UpdateMoments {
    fn chunks(&self) -> usize {
        1
    }

    unsafe fn run(&self, args: &[*mut f32], _chunk: usize, _scratch: *mut f32) {
        let m = self.momentum;
        for c in 0..2 * self.cols {
            let factor = if c < self.cols { m } else { m * self.unbias };
            // SAFETY: all have 2 cols values.
            unsafe { *args[2].add(c) = (1.0 - m) * *args[0].add(c) + factor * *args[1].add(c) };
        }
    }
}

/// Batch norm as `y = a x + b`. Arguments: `moments[2, cols], gamma[cols], beta[cols], a[cols],
/// b[cols]`.
pub struct NormCoefficients {
    cols: usize,
    epsilon: f32,
}

impl NormCoefficients {
    /// For `cols` channels.
    pub fn new(cols: usize, epsilon: f32) -> NormCoefficients {
        NormCoefficients { cols, epsilon }
    }
}

impl Kernel for NormCoefficients {
    fn chunks(&self) -> usize {
        1
    }

    unsafe fn run(&self, args: &[*mut f32], _chunk: usize, _scratch: *mut f32) {
        let (moments, gamma, beta) = (args[0], args[1], args[2]);
        for c in 0..self.cols {
            // SAFETY: lengths as documented.
            unsafe {
                let a = *gamma.add(c) / (*moments.add(self.cols + c) + self.epsilon).sqrt();
                *args[3].add(c) = a;
                *args[4].add(c) = *beta.add(c) - *moments.add(c) * a;
            }
        }
    }
}

/// Batch norm's gradient as `dx = p dy + q x + r`. Arguments: `moments[2, cols], gamma[cols],
/// sum of dy[cols], sum of dy x[cols], dgamma[cols], p[cols], q[cols], r[cols]`.
pub struct NormGradCoefficients {
    rows: usize,
    cols: usize,
    epsilon: f32,
}

impl NormGradCoefficients {
    /// For moments over `rows` values.
    pub fn new(rows: usize, cols: usize, epsilon: f32) -> NormGradCoefficients {
        NormGradCoefficients { rows, cols, epsilon }
    }
}

impl Kernel for NormGradCoefficients {
    fn chunks(&self) -> usize {
        1
    }

    unsafe fn run(&self, args: &[*mut f32], _chunk: usize, _scratch: *mut f32) {
        // with h = (x - mean) s, s = 1 / sqrt(var + eps): dgamma = sum(dy h) and
        // dx = gamma s (dy - sum(dy) / n - h dgamma / n)
        for c in 0..self.cols {
            // SAFETY: lengths as documented.
            unsafe {
                let mean = f64::from(*args[0].add(c));
                let s = 1.0 / f64::from(*args[0].add(self.cols + c) + self.epsilon).sqrt();
                let (dy, dyx) = (f64::from(*args[2].add(c)), f64::from(*args[3].add(c)));
                let n = self.rows as f64;
                let dgamma = (dyx - mean * dy) * s;
                let p = f64::from(*args[1].add(c)) * s;
                let q = -p * s * dgamma / n;
                *args[4].add(c) = dgamma as f32;
                *args[5].add(c) = p as f32;
                *args[6].add(c) = q as f32;
                *args[7].add(c) = (-p * dy / n - q * mean) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, close, run_all};

    fn reference(x: &[f32], cols: usize) -> (Vec<f64>, Vec<f64>) {
        let rows = (x.len() / cols) as f64;
        let column = |c: usize| x.iter().skip(c).step_by(cols).map(|&v| f64::from(v));
        let mean: Vec<f64> = (0..cols).map(|c| column(c).sum::<f64>() / rows).collect();
        let variance =
            (0..cols).map(|c| column(c).map(|v| (v - mean[c]).powi(2)).sum::<f64>() / rows);
        (mean.clone(), variance.collect())
    }

    fn moments(isa: Isa, x: &[f32], cols: usize) -> Vec<f32> {
        let call = ChannelMoments::call(isa, x.len() / cols, cols);
        let phases: Vec<&dyn Kernel> = call.phases.iter().map(|p| &**p).collect();
        let mut args = vec![x.to_vec(), vec![0.0; 2 * cols], vec![0.0; call.workspace_len]];
        run_all(&phases, &mut args);
        args.swap_remove(1)
    }

    #[test]
    fn moments_of_all_shapes() {
        let mut random = Random(7);
        let shapes = [
            (1, 1),
            (1, 5),
            (2, 3),
            (32, 10),
            (100, 16),
            (20_000, 16),
            (3001, 30),
            (700, 300),
            (99_999, 1),
        ];
        for (rows, cols) in shapes {
            // a large mean: the plain formula would lose all digits
            let x: Vec<f32> = random.values(rows * cols).iter().map(|v| v + 300.0).collect();
            let (mean, variance) = reference(&x, cols);
            for isa in Isa::available() {
                let found = moments(isa, &x, cols);
                close(&found[..cols], &mean, 1e-6, "mean");
                close(&found[cols..], &variance, 2e-5, "variance");
            }
        }
    }

    #[test]
    fn an_outlier_at_the_start_costs_no_accuracy() {
        let mut random = Random(8);
        let mut x: Vec<f32> = random.values(50_000 * 16).iter().map(|v| v + 100.0).collect();
        x[..16 * 40].fill(0.0);
        let (_, variance) = reference(&x, 16);
        for isa in Isa::available() {
            close(&moments(isa, &x, 16)[16..], &variance, 5e-5, "variance");
        }
    }

    /// The coefficients against batch norm's textbook formulas.
    #[test]
    fn coefficients() {
        let mut random = Random(9);
        let (rows, cols, epsilon) = (50, 7, 1e-3f32);
        let (x, dy) = (random.values(rows * cols), random.values(rows * cols));
        let (gamma, beta) = (random.values(cols), random.values(cols));
        let (mean, variance) = reference(&x, cols);
        let moments: Vec<f32> = mean.iter().chain(&variance).map(|&v| v as f32).collect();
        let zeros = || vec![0.0; cols];
        let mut args = vec![moments.clone(), gamma.clone(), beta.clone(), zeros(), zeros()];
        run_all(&[&NormCoefficients::new(cols, epsilon)], &mut args);
        let s: Vec<f64> = variance.iter().map(|v| 1.0 / (v + f64::from(epsilon)).sqrt()).collect();
        let hat = |i: usize| (f64::from(x[i]) - mean[i % cols]) * s[i % cols];
        for (i, &v) in x.iter().enumerate() {
            let c = i % cols;
            let y = hat(i) * f64::from(gamma[c]) + f64::from(beta[c]);
            assert!((f64::from(args[3][c] * v + args[4][c]) - y).abs() < 1e-5);
        }
        let sum = |f: &dyn Fn(usize) -> f64| -> Vec<f64> {
            (0..cols).map(|c| (0..rows).map(|r| f(r * cols + c)).sum()).collect()
        };
        let s1 = sum(&|i| f64::from(dy[i]));
        let s2 = sum(&|i| f64::from(dy[i] * x[i]));
        let dgamma = sum(&|i| f64::from(dy[i]) * hat(i));
        let single = |v: &[f64]| v.iter().map(|&v| v as f32).collect::<Vec<f32>>();
        let mut args = vec![moments.clone(), gamma.clone(), single(&s1), single(&s2)];
        args.extend([zeros(), zeros(), zeros(), zeros()]);
        run_all(&[&NormGradCoefficients::new(rows, cols, epsilon)], &mut args);
        close(&args[4], &dgamma, 1e-5, "dgamma");
        for (i, &v) in x.iter().enumerate() {
            let (c, n) = (i % cols, rows as f64);
            let dx = f64::from(gamma[c])
                * s[c]
                * (f64::from(dy[i]) - s1[c] / n - hat(i) * dgamma[c] / n);
            let found = args[5][c] * dy[i] + args[6][c] * v + args[7][c];
            assert!((f64::from(found) - dx).abs() < 1e-5, "{found} {dx}");
        }
        let mut args = vec![vec![1.0, 2.0], vec![3.0, 4.0], vec![0.0; 2]];
        run_all(&[&UpdateMoments::new(1, 0.1, 5)], &mut args);
        close(&args[2], &[1.2, 0.9 * 2.0 + 0.1 * 5.0], 1e-6, "running");
    }
}
