//! Cross-entropy of logits, its gradient, both in one pass; the weighted mean of losses.
//!
//! With z = x - max(x) and targets t (smoothed, sum T): `loss = T ln sum(e^z) - sum(t z)` and
//! `dx = g (T e^z / sum(e^z) - t)`. A label outside the classes gives NaN and reads nothing else.

use crate::call::{Call, chunk_range, chunks_for};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::lanes::Lanes;
use crate::math;
use crate::rows::{row_dot, row_dot_tail, row_exp, row_exp_sum, row_max, row_ns, row_zip};

/// Rows whose logarithms are taken together.
const GROUP: usize = 16;

/// Null pointers switch parts off.
#[derive(Clone, Copy)]
struct Buffers {
    /// `[rows, cols]`
    logits: *const f32,
    /// `i32[rows]` labels or `[rows, cols]` targets
    target: *const f32,
    /// `[rows]`: each row's gradient is scaled by its value and `scale`.
    upstream: *const f32,
    scale: f32,
    /// `[rows]` or null
    loss: *mut f32,
    /// `[rows, cols]` or null
    dlogits: *mut f32,
}

type LossFn = unsafe fn(b: Buffers, rows: usize, cols: usize, sparse: bool, smoothing: f32);

/// What one row adds to its loss: `(sum(e^z), T, sum(t z))`.
///
/// # Safety
/// The row pointers hold `n` values (or one label), d may be x or null.
#[inline(always)]
unsafe fn row<S: Lanes>(
    x: *const f32,
    target: *const f32,
    d: *mut f32,
    g: f32,
    n: usize,
    sparse: bool,
    smoothing: f32,
) -> (f32, f32, f32) {
    // SAFETY: as the caller's; a label is used as an index after its check only.
    unsafe {
        let fill = |value: f32| {
            if !d.is_null() {
                std::slice::from_raw_parts_mut(d, n).fill(value);
            }
        };
        let label = if sparse { *target.cast::<i32>() } else { 0 };
        if sparse && !(0..n as i64).contains(&i64::from(label)) {
            fill(if g == 0.0 { 0.0 } else { f32::NAN });
            return (f32::NAN, 1.0, 0.0);
        }
        let label = label as usize;
        let (share, rest) = (1.0 - smoothing, smoothing / n as f32);
        let max = row_max::<S>(x, n);
        let m = S::splat(max);
        let (total, dot) = if sparse {
            let mut dot = share * (*x.add(label) - max);
            if smoothing != 0.0 {
                dot += rest * row_dot_tail::<S>(x, x, n, |v, _| S::sub(v, m));
            }
            (1.0, dot)
        } else {
            let (a, b) = (S::splat(share), S::splat(rest));
            let sum = row_dot::<S>(target, target, n, |t, _| t);
            let dot = row_dot_tail::<S>(target, x, n, |t, v| S::mul(S::fma(a, t, b), S::sub(v, m)));
            (share * sum + smoothing, dot)
        };
        if d.is_null() {
            return (row_exp_sum::<S>(x, m, n), total, dot);
        }
        let sum = row_exp::<S>(x, max, d, n);
        if g == 0.0 {
            // a row without weight is padding: not even its NaN counts
            fill(0.0);
            return (sum, total, dot);
        }
        let scale = S::splat(g * total / sum);
        if sparse {
            let shift = S::splat(-g * rest);
            row_zip::<S>(d, d, d, n, |e, _| S::fma(e, scale, shift));
            *d.add(label) -= g * share;
        } else {
            let (a, b) = (S::splat(-g * share), S::splat(-g * rest));
            row_zip::<S>(d, target, d, n, |e, t| S::fma(e, scale, S::fma(a, t, b)));
        }
        (sum, total, dot)
    }
}

/// `LANES` rows of at most `LANES` classes at once, with a row in each lane: no sums across lanes,
/// and no exponentials of empty lanes. `count` rows are there.
#[inline(always)]
unsafe fn few_classes<S: Lanes>(
    b: Buffers,
    start: usize,
    count: usize,
    n: usize,
    sparse: bool,
    smoothing: f32,
) {
    let l = S::LANES;
    // class c of all rows is at c * l
    let (mut x, mut t) = ([0.0f32; 256], [0.0f32; 256]);
    let (mut labels, mut upstream) = ([0.0f32; 16], [0.0f32; 16]);
    // SAFETY: rows start .. start + count lie inside the buffers; n and count are at most LANES,
    // which is at most 16.
    unsafe {
        S::transpose(b.logits.add(start * n), n, count, n, x.as_mut_ptr(), l);
        if sparse {
            let from = b.target.add(start).cast::<i32>();
            for (i, label) in labels.iter_mut().enumerate().take(count) {
                // rounding keeps labels that are no class from becoming one
                *label = *from.add(i) as f32;
            }
        } else {
            S::transpose(b.target.add(start * n), n, count, n, t.as_mut_ptr(), l);
        }
        if !b.upstream.is_null() {
            for (i, g) in upstream.iter_mut().enumerate().take(count) {
                *g = *b.upstream.add(start + i) * b.scale;
            }
        }
        let zero = S::splat(0.0);
        let (share, rest) = (S::splat(1.0 - smoothing), S::splat(smoothing / n as f32));
        let label = S::load(labels.as_ptr());
        let mut max = S::load(x.as_ptr());
        for c in 1..n {
            max = S::max(S::load(x.as_ptr().add(c * l)), max);
        }
        // NaN until the label's class comes by
        let mut hit = if sparse { S::splat(f32::NAN) } else { zero };
        let (mut sum, mut total, mut shifted) = (zero, zero, zero);
        for c in 0..n {
            let v = S::sub(S::load(x.as_ptr().add(c * l)), max);
            if sparse {
                hit = S::select(S::eq(label, S::splat(c as f32)), v, hit);
                shifted = S::add(shifted, v);
            } else {
                let target = S::fma(S::load(t.as_ptr().add(c * l)), share, rest);
                total = S::add(total, target);
                hit = S::fma(target, v, hit);
                S::store(t.as_mut_ptr().add(c * l), target);
            }
            let e = math::exp::<S>(v);
            sum = S::add(sum, e);
            S::store(x.as_mut_ptr().add(c * l), e);
        }
        let dot = match (sparse, smoothing != 0.0) {
            (true, true) => S::fma(hit, share, S::mul(shifted, rest)),
            _ => hit,
        };
        if sparse {
            total = S::splat(1.0);
        }
        let mut out = [0.0f32; 272];
        if !b.loss.is_null() {
            let loss = S::sub(S::mul(total, math::log::<S>(sum)), dot);
            S::store(out.as_mut_ptr(), loss);
            std::ptr::copy_nonoverlapping(out.as_ptr(), b.loss.add(start), count);
        }
        if b.dlogits.is_null() {
            return;
        }
        // a row without weight is padding: not even its NaN counts
        let g = S::load(upstream.as_ptr());
        let none = S::eq(g, zero);
        let g = S::select(S::eq(dot, dot), g, S::splat(f32::NAN));
        let scale = S::div(S::mul(g, total), sum);
        for c in 0..n {
            let at = c * l;
            let target = if sparse {
                S::add(rest, S::select(S::eq(label, S::splat(c as f32)), share, zero))
            } else {
                S::load(t.as_ptr().add(at))
            };
            let e = S::load(x.as_ptr().add(at));
            let d = S::sub(S::mul(e, scale), S::mul(g, target));
            S::store(x.as_mut_ptr().add(at), S::select(none, zero, d));
        }
        // rows of LANES values that overlap: through `out`, which has room past its last row
        S::transpose(x.as_ptr(), l, n, count, out.as_mut_ptr(), n);
        std::ptr::copy_nonoverlapping(out.as_ptr(), b.dlogits.add(start * n), count * n);
    }
}

#[inline(always)]
unsafe fn loss_rows<S: Lanes>(b: Buffers, rows: usize, cols: usize, sparse: bool, smoothing: f32) {
    let mut start = 0;
    // one or two rows are faster by themselves
    while rows - start > 2 && cols <= S::LANES {
        let count = S::LANES.min(rows - start);
        // SAFETY: the rows lie inside the buffers.
        unsafe { few_classes::<S>(b, start, count, cols, sparse, smoothing) };
        start += count;
    }
    while start < rows {
        let count = GROUP.min(rows - start);
        let (mut sums, mut totals, mut dots) = ([1.0; GROUP], [0.0; GROUP], [0.0; GROUP]);
        for i in 0..count {
            let r = start + i;
            // SAFETY: r is a row; buffers are as `Buffers` says.
            unsafe {
                let g = if b.upstream.is_null() { 0.0 } else { *b.upstream.add(r) * b.scale };
                let d = if b.dlogits.is_null() { b.dlogits } else { b.dlogits.add(r * cols) };
                let target = b.target.add(if sparse { r } else { r * cols });
                (sums[i], totals[i], dots[i]) =
                    row::<S>(b.logits.add(r * cols), target, d, g, cols, sparse, smoothing);
            }
        }
        if !b.loss.is_null() {
            // SAFETY: the arrays have GROUP values, a multiple of LANES; loss has `rows`.
            unsafe {
                let mut i = 0;
                while i < GROUP {
                    let log = math::log::<S>(S::load(sums.as_ptr().add(i)));
                    let loss = S::sub(
                        S::mul(S::load(totals.as_ptr().add(i)), log),
                        S::load(dots.as_ptr().add(i)),
                    );
                    S::store(sums.as_mut_ptr().add(i), loss);
                    i += S::LANES;
                }
                std::ptr::copy_nonoverlapping(sums.as_ptr(), b.loss.add(start), count);
            }
        }
        start += count;
    }
}
kernel!(fn loss_on(
    b: Buffers, rows: usize, cols: usize, sparse: bool, smoothing: f32
) = loss_rows;);

/// `(sum(w l), sum(w))`; values of weight 0 do not count, not even NaN. `l` may be `w`.
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
            sums[1] += f64::from(row_dot::<S>(w, w, len, |w, _| w));
        }
        start += len;
    }
}
kernel!(fn weighted_sums_on(
    l: *const f32, w: *const f32, n: usize, sums: &mut [f64; 2]
) = weighted_sums;);

type SumsFn = unsafe fn(*const f32, *const f32, usize, &mut [f64; 2]);

/// 1 over the sum of the weights, 0 where that is 0.
unsafe fn inverse_sum(f: SumsFn, w: *const f32, n: usize) -> f32 {
    let mut sums = [0.0; 2];
    // SAFETY: w has n values.
    unsafe { f(w, w, n, &mut sums) };
    if sums[1] == 0.0 { 0.0 } else { (1.0 / sums[1]) as f32 }
}

unsafe fn mean(f: SumsFn, l: *const f32, w: *const f32, n: usize) -> f32 {
    let mut sums = [0.0; 2];
    // SAFETY: l and w have n values.
    unsafe { f(l, w, n, &mut sums) };
    if sums[1] == 0.0 { 0.0 } else { (sums[0] / sums[1]) as f32 }
}

/// `sum(w l) / sum(w)`, 0 where the weights sum to 0. Arguments: `loss[n], weight[n], mean[1]`.
pub struct WeightedMean {
    len: usize,
    sums: SumsFn,
    args: [usize; 3],
}

impl WeightedMean {
    /// The mean of `len` losses.
    pub fn new(isa: Isa, len: usize) -> WeightedMean {
        WeightedMean { len, sums: weighted_sums_on(isa), args: [0, 1, 2] }
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

/// `w dmean / sum(w)`. Arguments: `weight[n], dmean[1], dloss[n]`.
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
            let scale = inverse_sum(self.sums, args[0], self.len) * *args[1];
            for i in 0..self.len {
                *args[2].add(i) = *args[0].add(i) * scale;
            }
        }
    }
}

/// Per-row cross-entropy. Arguments: `logits[rows, cols], labels i32[rows] or
/// targets[rows, cols], loss[rows]`.
pub struct CrossEntropy {
    rows: usize,
    cols: usize,
    sparse: bool,
    smoothing: f32,
    chunks: usize,
    f: LossFn,
}

fn loss_chunks(rows: usize, cols: usize) -> usize {
    chunks_for(rows, row_ns(cols, 0.4))
}

impl CrossEntropy {
    /// The loss of `rows` samples over `cols` classes; `sparse` takes labels.
    pub fn new(isa: Isa, rows: usize, cols: usize, sparse: bool, smoothing: f32) -> CrossEntropy {
        let chunks = loss_chunks(rows, cols);
        CrossEntropy { rows, cols, sparse, smoothing, chunks, f: loss_on(isa) }
    }

    /// Runs rows `start .. end` of whole buffers.
    unsafe fn rows(&self, b: Buffers, start: usize, end: usize) {
        // SAFETY: the buffers have `rows` rows; null stays null.
        unsafe {
            let shifted = |p: *mut f32, n: usize| if p.is_null() { p } else { p.add(n) };
            let wide = start * self.cols;
            let b = Buffers {
                logits: b.logits.add(wide),
                target: b.target.add(if self.sparse { start } else { wide }),
                upstream: shifted(b.upstream.cast_mut(), start),
                scale: b.scale,
                loss: shifted(b.loss, start),
                dlogits: shifted(b.dlogits, wide),
            };
            (self.f)(b, end - start, self.cols, self.sparse, self.smoothing);
        }
    }
}

impl Kernel for CrossEntropy {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let (start, end) = chunk_range(self.rows, self.chunks, 1, chunk);
        let null = std::ptr::null_mut();
        let (logits, target, loss) = (args[0], args[1], args[2]);
        let b = Buffers { logits, target, upstream: null, scale: 0.0, loss, dlogits: null };
        // SAFETY: arguments as documented; the range lies inside.
        unsafe { self.rows(b, start, end) };
    }
}

/// Gradient of [`CrossEntropy`]. Arguments: `logits, labels or targets, dloss[rows],
/// dlogits[rows, cols]`; dlogits may be logits.
pub struct CrossEntropyGrad(CrossEntropy);

impl CrossEntropyGrad {
    /// As [`CrossEntropy::new`].
    pub fn new(isa: Isa, rows: usize, cols: usize, sparse: bool, smoothing: f32) -> Self {
        CrossEntropyGrad(CrossEntropy::new(isa, rows, cols, sparse, smoothing))
    }
}

impl Kernel for CrossEntropyGrad {
    fn chunks(&self) -> usize {
        self.0.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let (start, end) = chunk_range(self.0.rows, self.0.chunks, 1, chunk);
        let (logits, target, upstream, dlogits) = (args[0], args[1], args[2], args[3]);
        let loss = std::ptr::null_mut();
        let b = Buffers { logits, target, upstream, scale: 1.0, loss, dlogits };
        // SAFETY: arguments as documented; the range lies inside.
        unsafe { self.0.rows(b, start, end) };
    }
}

/// Loss, its weighted mean and the gradient of that mean: one kernel where there is one chunk,
/// else weights' sum, rows, mean. Arguments: `logits[rows, cols], labels i32[rows] or
/// targets[rows, cols], weights[rows], loss[rows], dlogits[rows, cols], mean[1]`, and the
/// workspace; dlogits may be logits. Rows of weight 0 get a gradient of 0.
pub struct CrossEntropyFused {
    main: CrossEntropy,
    sums: SumsFn,
}

/// 1 over the weights' sum, to the workspace of [`CrossEntropyFused`].
struct WeightInverse {
    rows: usize,
    sums: SumsFn,
}

impl CrossEntropyFused {
    /// The call for `rows` samples over `cols` classes; `sparse` takes labels.
    pub fn call(isa: Isa, rows: usize, cols: usize, sparse: bool, smoothing: f32) -> Call {
        let main = CrossEntropy::new(isa, rows, cols, sparse, smoothing);
        let sums = weighted_sums_on(isa);
        let fused = CrossEntropyFused { main, sums };
        if fused.main.chunks == 1 {
            return Call::single(fused);
        }
        let mean = WeightedMean { len: rows, sums, args: [3, 2, 5] };
        let before = WeightInverse { rows, sums };
        let phases: Vec<Box<dyn Kernel>> = vec![Box::new(before), Box::new(fused), Box::new(mean)];
        Call { phases, workspace_len: 1 }
    }
}

impl Kernel for WeightInverse {
    fn chunks(&self) -> usize {
        1
    }

    unsafe fn run(&self, args: &[*mut f32], _chunk: usize, _scratch: *mut f32) {
        // SAFETY: the workspace has one value, the weights `rows`.
        unsafe { *args[6] = inverse_sum(self.sums, args[2], self.rows) };
    }
}

impl Kernel for CrossEntropyFused {
    fn chunks(&self) -> usize {
        self.main.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let rows = self.main.rows;
        let (start, end) = chunk_range(rows, self.main.chunks, 1, chunk);
        let one = self.main.chunks == 1;
        // SAFETY: arguments as documented; the range lies inside.
        unsafe {
            let scale = if one { inverse_sum(self.sums, args[2], rows) } else { *args[6] };
            let (logits, target, upstream) = (args[0], args[1], args[2]);
            let (loss, dlogits) = (args[3], args[4]);
            self.main.rows(Buffers { logits, target, upstream, scale, loss, dlogits }, start, end);
            if one {
                *args[5] = mean(self.sums, loss, args[2], rows);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, close, run_all};

    /// `(loss, softmax * T - t)` in plain loops.
    fn reference(x: &[f32], t: &[f64], cols: usize) -> (Vec<f64>, Vec<f64>) {
        let (mut losses, mut grads) = (Vec::new(), Vec::new());
        for (x, t) in x.chunks(cols).zip(t.chunks(cols)) {
            let max = x.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(f64::from(v)));
            let sum: f64 = x.iter().map(|&v| (f64::from(v) - max).exp()).sum();
            let log = |v: f32| f64::from(v) - max - sum.ln();
            losses.push(-x.iter().zip(t).map(|(&v, t)| t * log(v)).sum::<f64>());
            let total: f64 = t.iter().sum();
            grads.extend(x.iter().zip(t).map(|(&v, t)| log(v).exp() * total - t));
        }
        (losses, grads)
    }

    #[test]
    fn all_kinds_and_shapes() {
        let mut random = Random(6);
        let shapes = [(1, 2), (32, 10), (33, 16), (5, 17), (1000, 10), (100, 1000), (2, 50_000)];
        for (round, (rows, cols)) in shapes.into_iter().enumerate() {
            for sparse in [true, false] {
                let s = if round % 2 == 0 { 0.0 } else { 0.1f32 };
                let x: Vec<f32> = random.values(rows * cols).iter().map(|v| v * 5.0).collect();
                let labels: Vec<usize> = (0..rows).map(|_| random.below(cols)).collect();
                let mut w: Vec<f32> = random.values(rows).iter().map(|v| v.abs()).collect();
                if rows > 3 {
                    w[2] = 0.0;
                }
                let targets: Vec<f32> = if sparse {
                    (0..rows * cols)
                        .map(|i| f32::from(u8::from(labels[i / cols] == i % cols)))
                        .collect()
                } else {
                    random.values(rows * cols).iter().map(|v| v.abs()).collect()
                };
                let smooth =
                    |&t: &f32| (1.0 - f64::from(s)) * f64::from(t) + f64::from(s) / cols as f64;
                let t: Vec<f64> = targets.iter().map(smooth).collect();
                let (losses, grads) = reference(&x, &t, cols);
                let scaled = |g: &dyn Fn(usize) -> f64| -> Vec<f64> {
                    grads.iter().enumerate().map(|(i, d)| d * g(i / cols)).collect()
                };
                let total: f64 = w.iter().map(|&w| f64::from(w)).sum();
                let mean =
                    losses.iter().zip(&w).map(|(l, &w)| l * f64::from(w)).sum::<f64>() / total;
                let target = if sparse {
                    labels.iter().map(|&l| f32::from_bits(l as u32)).collect()
                } else {
                    targets
                };
                for isa in Isa::available() {
                    let zeros = vec![0.0; rows * cols];
                    let mut args = vec![x.clone(), target.clone(), vec![0.0; rows]];
                    run_all(&[&CrossEntropy::new(isa, rows, cols, sparse, s)], &mut args);
                    close(&args[2], &losses, 3e-6, "loss");
                    let mut args = vec![x.clone(), target.clone(), w.clone(), zeros.clone()];
                    run_all(&[&CrossEntropyGrad::new(isa, rows, cols, sparse, s)], &mut args);
                    close(&args[3], &scaled(&|r| f64::from(w[r])), 3e-6, "gradient");
                    let call = CrossEntropyFused::call(isa, rows, cols, sparse, s);
                    let phases: Vec<&dyn Kernel> = call.phases.iter().map(|p| &**p).collect();
                    let mut args =
                        vec![x.clone(), target.clone(), w.clone(), vec![0.0; rows], zeros];
                    args.extend([vec![0.0], vec![0.0; call.workspace_len]]);
                    run_all(&phases, &mut args);
                    close(&args[3], &losses, 3e-6, "fused loss");
                    close(&args[4], &scaled(&|r| f64::from(w[r]) / total), 1e-5, "fused gradient");
                    close(&args[5], &[mean], 3e-6, "fused mean");
                }
            }
        }
    }

    #[test]
    fn bad_labels_and_weights_are_safe() {
        for isa in Isa::available() {
            for label in [-1, 3, i32::MIN, i32::MAX] {
                let labels = vec![f32::from_bits(label as u32), f32::from_bits(1)];
                for w in [1.0, 0.0] {
                    let call = CrossEntropyFused::call(isa, 2, 3, true, 0.0);
                    let mut args = vec![vec![0.5; 6], labels.clone(), vec![w, 1.0]];
                    args.extend([vec![0.0; 2], vec![7.0; 6], vec![0.0], vec![]]);
                    run_all(&[&*call.phases[0]], &mut args);
                    assert!(args[3][0].is_nan() && args[3][1].is_finite());
                    assert_eq!(args[4][0].is_nan(), w == 1.0);
                    assert!(args[4][3..].iter().all(|v| v.is_finite()));
                    assert_eq!(
                        args[5][0].is_nan(),
                        w == 1.0,
                        "a row without weight does not count"
                    );
                }
            }
            let mut args = vec![vec![1.0, 2.0], vec![0.0, 0.0], vec![5.0]];
            run_all(&[&WeightedMean::new(isa, 2)], &mut args);
            assert_eq!(args[2], [0.0], "no weight at all");
            let mut args = vec![vec![1.0, 3.0], vec![2.0], vec![0.0; 2]];
            run_all(&[&WeightedMeanGrad::new(isa, 2)], &mut args);
            assert_eq!(args[2], [0.5, 1.5]);
        }
    }
}
