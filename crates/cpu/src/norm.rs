//! Layer norm and RMS norm over rows; gradients compute the statistics again rather than load them.

use crate::call::{Call, chunk_range, chunks_for};
use crate::eltwise::CombineSums;
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::lanes::Lanes;
use crate::rows::{row_dot, row_dot_tail, row_ns, row_zip3};
use tidemill_graph::Normalization as Kind;

/// `(mean, 1 / sqrt(variance + eps))` of a row; RMS norm's mean is 0.
#[inline(always)]
unsafe fn statistics<S: Lanes>(x: *const f32, n: usize, rms: bool, epsilon: f32) -> (f32, f32) {
    // SAFETY: x has n values.
    unsafe {
        let share = 1.0 / n as f32;
        let mean = if rms { 0.0 } else { row_dot::<S>(x, x, n, |v, _| v) * share };
        let m = S::splat(mean);
        let square = row_dot_tail::<S>(x, x, n, |v, _| {
            let d = S::sub(v, m);
            S::mul(d, d)
        });
        (mean, 1.0 / (square * share + epsilon).sqrt())
    }
}

#[derive(Clone, Copy)]
struct Rows {
    rows: usize,
    cols: usize,
    rms: bool,
    epsilon: f32,
}

/// Three inputs (beta or dy null where there is none), one output.
type NormFn =
    unsafe fn(x: *const f32, b: *const f32, c: *const f32, out: *mut f32, start: usize, r: Rows);

#[inline(always)]
unsafe fn forward_rows<S: Lanes>(
    x: *const f32,
    gamma: *const f32,
    beta: *const f32,
    out: *mut f32,
    start: usize,
    r: Rows,
) {
    for row in start..start + r.rows {
        // SAFETY: x and out hold the rows; gamma and beta have cols values.
        unsafe {
            let (x, out) = (x.add(row * r.cols), out.add(row * r.cols));
            let (mean, inverse) = statistics::<S>(x, r.cols, r.rms, r.epsilon);
            let (m, s) = (S::splat(mean), S::splat(inverse));
            let hat = |v| S::mul(S::sub(v, m), s);
            if beta.is_null() {
                row_zip3::<S>(x, gamma, gamma, out, r.cols, |v, g, _| S::mul(hat(v), g));
            } else {
                row_zip3::<S>(x, gamma, beta, out, r.cols, |v, g, b| S::fma(hat(v), g, b));
            }
        }
    }
}
kernel!(fn forward_on(
    x: *const f32, gamma: *const f32, beta: *const f32, out: *mut f32, start: usize, r: Rows
) = forward_rows;);

#[inline(always)]
unsafe fn grad_input_rows<S: Lanes>(
    x: *const f32,
    gamma: *const f32,
    dy: *const f32,
    dx: *mut f32,
    start: usize,
    r: Rows,
) {
    let n = r.cols;
    for row in start..start + r.rows {
        // SAFETY: x, dy and dx hold the rows; gamma has cols values.
        unsafe {
            let (x, dy, dx) = (x.add(row * n), dy.add(row * n), dx.add(row * n));
            let mean = if r.rms { 0.0 } else { row_dot::<S>(x, x, n, |v, _| v) / n as f32 };
            let m = S::splat(mean);
            // with g = gamma dy and h = (x - mean) s: dx = s (g - mean(g) - h mean(g h)); RMS
            // norm has no mean(g)
            let [square, flat, tilt] = grad_sums::<S>(x, gamma, dy, n, m);
            let inverse = 1.0 / (square / n as f32 + r.epsilon).sqrt();
            let s = S::splat(inverse);
            let flat = S::splat(if r.rms { 0.0 } else { flat / n as f32 });
            let tilt = S::splat(-tilt * inverse / n as f32);
            row_zip3::<S>(x, gamma, dy, dx, n, |v, g, d| {
                let h = S::mul(S::sub(v, m), s);
                S::mul(s, S::fma(h, tilt, S::sub(S::mul(g, d), flat)))
            });
        }
    }
}
kernel!(fn grad_input_on(
    x: *const f32, gamma: *const f32, dy: *const f32, dx: *mut f32, start: usize, r: Rows
) = grad_input_rows;);

/// Sums of `(x - m)^2`, `gamma dy` and `gamma dy (x - m)` over a row, in one pass.
#[inline(always)]
unsafe fn grad_sums<S: Lanes>(
    x: *const f32,
    gamma: *const f32,
    dy: *const f32,
    n: usize,
    m: S::V,
) -> [f32; 3] {
    // SAFETY: indices stay below n.
    unsafe {
        let l = S::LANES;
        let zero = S::splat(0.0);
        let add = |[square, flat, tilt]: [S::V; 3], v: S::V, g: S::V| {
            [S::fma(v, v, square), S::add(flat, g), S::fma(g, v, tilt)]
        };
        let (mut p, mut q) = ([zero; 3], [zero; 3]);
        let mut i = 0;
        while i + 2 * l <= n {
            let v = S::sub(S::load(x.add(i)), m);
            p = add(p, v, S::mul(S::load(gamma.add(i)), S::load(dy.add(i))));
            let j = i + l;
            let v = S::sub(S::load(x.add(j)), m);
            q = add(q, v, S::mul(S::load(gamma.add(j)), S::load(dy.add(j))));
            i += 2 * l;
        }
        while i < n {
            let k = l.min(n - i);
            let load = |p: *const f32| if k == l { S::load(p) } else { S::load_partial(p, k) };
            let v = S::first(S::sub(load(x.add(i)), m), k);
            p = add(p, v, S::mul(load(gamma.add(i)), load(dy.add(i))));
            i += k;
        }
        [S::sum(S::add(p[0], q[0])), S::sum(S::add(p[1], q[1])), S::sum(S::add(p[2], q[2]))]
    }
}

/// Adds `dy h` of the rows to `out[cols]`, which starts as zeros here.
#[inline(always)]
unsafe fn grad_gamma_rows<S: Lanes>(
    x: *const f32,
    dy: *const f32,
    _: *const f32,
    out: *mut f32,
    start: usize,
    r: Rows,
) {
    // SAFETY: x and dy hold the rows, out cols values.
    unsafe {
        std::slice::from_raw_parts_mut(out, r.cols).fill(0.0);
        for row in start..start + r.rows {
            let (x, dy) = (x.add(row * r.cols), dy.add(row * r.cols));
            let (mean, inverse) = statistics::<S>(x, r.cols, r.rms, r.epsilon);
            let (m, s) = (S::splat(mean), S::splat(inverse));
            row_zip3::<S>(x, dy, out, out, r.cols, |v, d, sum| {
                S::fma(S::mul(S::sub(v, m), s), d, sum)
            });
        }
    }
}
kernel!(fn grad_gamma_on(
    x: *const f32, dy: *const f32, none: *const f32, out: *mut f32, start: usize, r: Rows
) = grad_gamma_rows;);

/// Layer norm: `x[rows, cols], gamma[cols], beta[cols], y[rows, cols]`; RMS norm has no beta:
/// `x, gamma, y`. y may be x.
pub struct RowNorm {
    shape: Rows,
    chunks: usize,
    f: NormFn,
}

/// Gradient to the input. Arguments: `x[rows, cols], gamma[cols], dy[rows, cols],
/// dx[rows, cols]`; dx may be x or dy.
pub struct RowNormGradInput {
    shape: Rows,
    chunks: usize,
    f: NormFn,
}

/// Gradient to gamma. Arguments: `x[rows, cols], dy[rows, cols], dgamma[cols]`, and the workspace
/// where the call has one.
pub struct RowNormGradGamma {
    shape: Rows,
    chunks: usize,
    f: NormFn,
}

fn shape(kind: Kind, rows: usize, cols: usize, epsilon: f32) -> Rows {
    Rows { rows, cols, rms: kind == Kind::Rms, epsilon }
}

impl RowNorm {
    /// Normalizes `rows` rows.
    pub fn new(isa: Isa, kind: Kind, rows: usize, cols: usize, epsilon: f32) -> RowNorm {
        let chunks = chunks_for(rows, row_ns(cols, 0.15));
        RowNorm { shape: shape(kind, rows, cols, epsilon), chunks, f: forward_on(isa) }
    }
}

impl Kernel for RowNorm {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let (start, end) = chunk_range(self.shape.rows, self.chunks, 1, chunk);
        let part = Rows { rows: end - start, ..self.shape };
        let (beta, y) =
            if self.shape.rms { (std::ptr::null_mut(), args[2]) } else { (args[2], args[3]) };
        // SAFETY: arguments as documented; the rows lie inside.
        unsafe { (self.f)(args[0], args[1], beta, y, start, part) };
    }
}

impl RowNormGradInput {
    /// As [`RowNorm::new`].
    pub fn new(isa: Isa, kind: Kind, rows: usize, cols: usize, epsilon: f32) -> Self {
        let chunks = chunks_for(rows, row_ns(cols, 0.25));
        let shape = shape(kind, rows, cols, epsilon);
        RowNormGradInput { shape, chunks, f: grad_input_on(isa) }
    }
}

impl Kernel for RowNormGradInput {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let (start, end) = chunk_range(self.shape.rows, self.chunks, 1, chunk);
        let part = Rows { rows: end - start, ..self.shape };
        // SAFETY: arguments as documented; the rows lie inside.
        unsafe { (self.f)(args[0], args[1], args[2], args[3], start, part) };
    }
}

impl RowNormGradGamma {
    /// As [`RowNorm::new`].
    pub fn call(isa: Isa, kind: Kind, rows: usize, cols: usize, epsilon: f32) -> Call {
        let chunks = chunks_for(rows, row_ns(cols, 0.2));
        let shape = shape(kind, rows, cols, epsilon);
        let main = RowNormGradGamma { shape, chunks, f: grad_gamma_on(isa) };
        if chunks == 1 {
            return Call::single(main);
        }
        let combine = CombineSums::of_one(isa, 2, 3, chunks, cols);
        Call { phases: vec![Box::new(main), Box::new(combine)], workspace_len: chunks * cols }
    }
}

impl Kernel for RowNormGradGamma {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let (start, end) = chunk_range(self.shape.rows, self.chunks, 1, chunk);
        let part = Rows { rows: end - start, ..self.shape };
        // SAFETY: arguments as documented; the rows lie inside; the workspace has cols values for
        // each chunk.
        unsafe {
            let out = if self.chunks == 1 { args[2] } else { args[3].add(chunk * part.cols) };
            (self.f)(args[0], args[1], args[1], out, start, part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, close, run_all};

    #[test]
    fn against_plain_loops() {
        let mut random = Random(10);
        let shapes = [(1, 1), (3, 5), (32, 10), (9, 16), (7, 33), (1000, 64), (600, 768)];
        for (rows, cols) in shapes {
            for (kind, shift) in [(Kind::Layer, 50.0), (Kind::Rms, 0.5)] {
                let epsilon = 1e-3f32;
                let x: Vec<f32> = random.values(rows * cols).iter().map(|v| v + shift).collect();
                let dy = random.values(rows * cols);
                let (gamma, beta) = (random.values(cols), random.values(cols));
                let (mut y, mut dx, mut dgamma) = (Vec::new(), Vec::new(), vec![0.0; cols]);
                for (x, dy) in x.chunks(cols).zip(dy.chunks(cols)) {
                    let n = cols as f64;
                    let x: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
                    let mean = if kind == Kind::Rms { 0.0 } else { x.iter().sum::<f64>() / n };
                    let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
                    let s = 1.0 / (variance + f64::from(epsilon)).sqrt();
                    let hat: Vec<f64> = x.iter().map(|v| (v - mean) * s).collect();
                    let g: Vec<f64> =
                        dy.iter().zip(&gamma).map(|(&d, &g)| f64::from(d) * f64::from(g)).collect();
                    let flat = if kind == Kind::Rms { 0.0 } else { g.iter().sum::<f64>() / n };
                    let tilt = g.iter().zip(&hat).map(|(g, h)| g * h).sum::<f64>() / n;
                    for c in 0..cols {
                        let b = if kind == Kind::Rms { 0.0 } else { f64::from(beta[c]) };
                        y.push(hat[c] * f64::from(gamma[c]) + b);
                        dx.push(s * (g[c] - flat - hat[c] * tilt));
                        dgamma[c] += f64::from(dy[c]) * hat[c];
                    }
                }
                for isa in Isa::available() {
                    let zeros = vec![0.0; x.len()];
                    let mut args = vec![x.clone(), gamma.clone()];
                    if kind == Kind::Layer {
                        args.push(beta.clone());
                    }
                    args.push(zeros.clone());
                    run_all(&[&RowNorm::new(isa, kind, rows, cols, epsilon)], &mut args);
                    close(&args[args.len() - 1], &y, 5e-5, "norm");
                    let mut args = vec![x.clone(), gamma.clone(), dy.clone(), zeros];
                    run_all(&[&RowNormGradInput::new(isa, kind, rows, cols, epsilon)], &mut args);
                    close(&args[3], &dx, 2e-4, "dx");
                    let call = RowNormGradGamma::call(isa, kind, rows, cols, epsilon);
                    let phases: Vec<&dyn Kernel> = call.phases.iter().map(|p| &**p).collect();
                    let mut args = vec![x.clone(), dy.clone(), vec![0.0; cols]];
                    args.push(vec![0.0; call.workspace_len]);
                    run_all(&phases, &mut args);
                    close(&args[2], &dgamma, 1e-4, "dgamma");
                }
            }
        }
    }
}
