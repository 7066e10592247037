//! Cross-entropy and its gradient, row by row.
//!
//! With z = x - max(x) and targets t (smoothed, sum T): `loss = T ln sum(e^z) - sum(t z)` and
//! `dx = g (T e^z / sum(e^z) - t)`. A label outside the classes gives NaN and reads nothing else.

use crate::lanes::Lanes;
use crate::math;
use crate::rows::{row_dot, row_dot_tail, row_exp, row_exp_sum, row_max, row_zip};

/// Rows whose logarithms are taken together.
const GROUP: usize = 16;

/// Null pointers switch parts off.
#[derive(Clone, Copy)]
pub(super) struct Buffers {
    /// `[rows, cols]`
    pub logits: *const f32,
    /// `i32[rows]` labels or `[rows, cols]` targets
    pub target: *const f32,
    /// `[rows]`: each row's gradient is scaled by its value and `scale`.
    pub upstream: *const f32,
    pub scale: f32,
    /// `[rows]` or null
    pub loss: *mut f32,
    /// `[rows, cols]` or null
    pub dlogits: *mut f32,
}

pub(super) type LossFn =
    unsafe fn(b: Buffers, rows: usize, cols: usize, sparse: bool, smoothing: f32);

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
                while i < count {
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
kernel!(pub(super) fn loss_on(
    b: Buffers, rows: usize, cols: usize, sparse: bool, smoothing: f32
) = loss_rows;);
