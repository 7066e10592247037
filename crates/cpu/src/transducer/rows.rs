//! What is computed at a node.

use crate::lanes::Lanes;
use crate::math;
use crate::rows::{row_exp, row_exp_sum, row_max, row_zip};
use crate::simd::{load_n, store_n};
use crate::softmax::log1;

/// `out = tanh(a + b)`
#[inline(always)]
unsafe fn hidden<S: Lanes>(a: *const f32, b: *const f32, out: *mut f32, n: usize) {
    // SAFETY: all have n values.
    unsafe {
        for i in (0..n).step_by(S::LANES) {
            let sum = S::add(load_n::<S>(a.add(i), n - i), load_n::<S>(b.add(i), n - i));
            store_n::<S>(out.add(i), math::tanh::<S>(sum), n - i);
        }
    }
}
kernel!(pub(super) fn hidden_on(a: *const f32, b: *const f32, out: *mut f32, n: usize) = hidden;);
pub(super) type HiddenFn = unsafe fn(*const f32, *const f32, *mut f32, usize);

/// A row of logits without the bias.
pub(super) struct Logits {
    pub logits: *mut f32,
    pub bias: *const f32,
    pub classes: usize,
    /// The next label, or the blank where there is none.
    pub label: usize,
    /// The gradients of the logarithms of both.
    pub slopes: [f32; 2],
}

/// The logarithms of the probabilities of the blank and of the label.
#[inline(always)]
unsafe fn log_p<S: Lanes>(r: &Logits) -> [f32; 2] {
    // SAFETY: logits and bias have a value for each class, of which the label is one.
    unsafe {
        row_zip::<S>(r.logits, r.bias, r.logits, r.classes, |a, b| S::add(a, b));
        let most = row_max::<S>(r.logits, r.classes);
        let sum = row_exp_sum::<S>(r.logits, S::splat(most), r.classes);
        let log = most + log1::<S>(sum);
        [*r.logits - log, *r.logits.add(r.label) - log]
    }
}
kernel!(pub(super) fn log_p_on(row: &Logits) -> [f32; 2] = log_p;);
pub(super) type LogPFn = unsafe fn(&Logits) -> [f32; 2];

/// Their gradients become those of the logits, which are added to `dbias`.
#[inline(always)]
unsafe fn slope<S: Lanes>(r: &Logits, dbias: *mut f32) {
    // SAFETY: as above, and dbias has a value for each class.
    unsafe {
        row_zip::<S>(r.logits, r.bias, r.logits, r.classes, |a, b| S::add(a, b));
        let most = row_max::<S>(r.logits, r.classes);
        let sum = row_exp::<S>(r.logits, most, r.logits, r.classes);
        let [blank, label] = r.slopes;
        let by = S::splat(-(blank + label) / sum);
        row_zip::<S>(r.logits, r.logits, r.logits, r.classes, |p, _| S::mul(p, by));
        *r.logits += blank;
        *r.logits.add(r.label) += label;
        row_zip::<S>(dbias, r.logits, dbias, r.classes, |a, b| S::add(a, b));
    }
}
kernel!(pub(super) fn slope_on(row: &Logits, dbias: *mut f32) = slope;);
pub(super) type SlopeFn = unsafe fn(&Logits, *mut f32);

/// The gradient of a node's hidden values goes to both of what it was the sum of.
#[inline(always)]
unsafe fn spread<S: Lanes>(h: *const f32, dh: *const f32, to: [*mut f32; 2], n: usize) {
    // SAFETY: all have n values.
    unsafe {
        let one = S::splat(1.0);
        for i in (0..n).step_by(S::LANES) {
            let (h, dh) = (load_n::<S>(h.add(i), n - i), load_n::<S>(dh.add(i), n - i));
            let d = S::mul(dh, S::sub(one, S::mul(h, h)));
            for to in to {
                let at = to.add(i);
                store_n::<S>(at, S::add(load_n::<S>(at, n - i), d), n - i);
            }
        }
    }
}
kernel!(pub(super) fn spread_on(h: *const f32, dh: *const f32, to: [*mut f32; 2], n: usize) = spread;);
pub(super) type SpreadFn = unsafe fn(*const f32, *const f32, [*mut f32; 2], usize);

/// `to += x`
#[inline(always)]
unsafe fn add<S: Lanes>(x: *const f32, to: *mut f32, n: usize) {
    // SAFETY: both have n values.
    unsafe { row_zip::<S>(x, to, to, n, |a, b| S::add(a, b)) }
}
kernel!(pub(super) fn add_on(x: *const f32, to: *mut f32, n: usize) = add;);
pub(super) type AddFn = unsafe fn(*const f32, *mut f32, usize);
