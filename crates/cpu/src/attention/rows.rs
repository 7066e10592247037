//! Loops over a row of scores.

use crate::isa::Isa;
use crate::lanes::{Lanes, PHILOX_WORDS, PhiloxKey};
use crate::math;
use crate::rows::{row_dot, row_max};

/// Makes `e^(scale (x - max))` of the first `own` values, 0 of the rest up to `all` and
/// to the end of that vector; gives the sum.
type ExpFn = unsafe fn(x: *mut f32, own: usize, all: usize, scale: f32) -> f32;

/// `p[i] *= inverse; ds[i] = p[i] (ds[i] - mean) scale` of the first `own` values, `ds[i] = 0` of the rest up to
/// `all`; for `[own, all]` and `[inverse, mean, scale]`.
type SlopeFn = unsafe fn(p: *mut f32, ds: *mut f32, sizes: [usize; 2], by: [f32; 3]);

/// `x[i] = scale x[i] + bias[i]` of `n` values, and to the end of the last vector.
type BiasFn = unsafe fn(x: *mut f32, n: usize, scale: f32, bias: *const f32);

/// `to[i] += x[i]` of `n` values, and to the end of the last vector.
type AddFn = unsafe fn(to: *mut f32, x: *const f32, n: usize);

/// `x[i] *= by`
type ScaleFn = unsafe fn(x: *mut f32, n: usize, by: f32);

/// The sum of `a[i] b[i]`.
type DotFn = unsafe fn(a: *const f32, b: *const f32, n: usize) -> f32;

/// Draws the random words of elements `first + i` for `i < n`.
pub(super) type DrawFn =
    unsafe fn(stream: u32, key: *const u32, first: u64, words: *mut u32, n: usize);

/// `to[i] = from[i] / (1 - rate)`, or 0 where an element's word says so.
pub(super) type DropFn =
    unsafe fn(rate: f32, words: *const u32, from: *const f32, to: *mut f32, n: usize);

/// The loops of an instruction set.
#[derive(Clone, Copy)]
pub(super) struct RowFns {
    pub exp: ExpFn,
    pub slope: SlopeFn,
    pub scale: ScaleFn,
    pub bias: BiasFn,
    pub add: AddFn,
    pub dot: DotFn,
    pub draw: DrawFn,
    pub drop: DropFn,
}

impl RowFns {
    pub fn new(isa: Isa) -> RowFns {
        RowFns {
            exp: exp_on(isa),
            slope: slope_on(isa),
            scale: scale_on(isa),
            bias: bias_on(isa),
            add: add_on(isa),
            dot: dot_on(isa),
            draw: draw_on(isa),
            drop: drop_on(isa),
        }
    }
}

/// Zeros from a multiple of the lanes up to `all`, and past it to the end of the vector.
#[inline(always)]
unsafe fn clear<S: Lanes>(x: *mut f32, from: usize, all: usize) {
    for i in (from..all).step_by(S::LANES) {
        // SAFETY: by the contract of the loops below.
        unsafe { S::store(x.add(i), S::splat(0.0)) };
    }
}

/// `2^(x by + shift)` of a vector.
#[inline(always)]
unsafe fn weight<S: Lanes>(x: *const f32, by: S::V, shift: S::V) -> S::V {
    // SAFETY: x has a vector's values.
    unsafe { math::exp2_weight::<S>(S::fma(S::load(x), by, shift)) }
}

/// Rows have room for whole vectors; a masked store takes tens of cycles on some machines.
#[inline(always)]
unsafe fn exp_row<S: Lanes>(x: *mut f32, own: usize, all: usize, scale: f32) -> f32 {
    // SAFETY: x has `all` values and room for the last vector, own <= all.
    unsafe {
        let l = S::LANES;
        clear::<S>(x, own.next_multiple_of(l), all);
        if own == 0 {
            return 0.0;
        }
        // what rounding this product does to a weight, it does to all of the row
        let by = S::splat(scale * std::f32::consts::LOG2_E);
        let shift = S::sub(S::splat(0.0), S::mul(S::splat(row_max::<S>(x, own)), by));
        let (mut p, mut q) = (S::splat(0.0), S::splat(0.0));
        let mut i = 0;
        while i + 2 * l <= own {
            let u = weight::<S>(x.add(i), by, shift);
            let v = weight::<S>(x.add(i + l), by, shift);
            S::store(x.add(i), u);
            S::store(x.add(i + l), v);
            p = S::add(p, u);
            q = S::add(q, v);
            i += 2 * l;
        }
        while i < own {
            let u = S::first(weight::<S>(x.add(i), by, shift), l.min(own - i));
            S::store(x.add(i), u);
            p = S::add(p, u);
            i += l;
        }
        S::sum(S::add(p, q))
    }
}
kernel!(fn exp_on(x: *mut f32, own: usize, all: usize, scale: f32) -> f32 = exp_row;);

#[inline(always)]
unsafe fn slope_row<S: Lanes>(p: *mut f32, ds: *mut f32, sizes: [usize; 2], by: [f32; 3]) {
    // SAFETY: both have `all` values and room for the last vector.
    unsafe {
        let [own, all] = sizes;
        let (inverse, mean, scale) = (S::splat(by[0]), S::splat(by[1]), S::splat(by[2]));
        for i in (0..own).step_by(S::LANES) {
            let weight = S::mul(S::load(p.add(i)), inverse);
            S::store(p.add(i), weight);
            let slope = S::mul(S::mul(weight, S::sub(S::load(ds.add(i)), mean)), scale);
            let slope = if i + S::LANES <= own { slope } else { S::first(slope, own - i) };
            S::store(ds.add(i), slope);
        }
        clear::<S>(ds, own.next_multiple_of(S::LANES), all);
    }
}
kernel!(fn slope_on(p: *mut f32, ds: *mut f32, sizes: [usize; 2], by: [f32; 3]) = slope_row;);

#[inline(always)]
unsafe fn scale_row<S: Lanes>(x: *mut f32, n: usize, by: f32) {
    // SAFETY: x has n values.
    unsafe {
        let by = S::splat(by);
        crate::rows::row_zip::<S>(x, x, x, n, |x, _| S::mul(x, by));
    }
}
kernel!(fn scale_on(x: *mut f32, n: usize, by: f32) = scale_row;);

#[inline(always)]
unsafe fn bias_row<S: Lanes>(x: *mut f32, n: usize, scale: f32, bias: *const f32) {
    // SAFETY: both have n values and room for the last vector.
    unsafe {
        let scale = S::splat(scale);
        for i in (0..n).step_by(S::LANES) {
            S::store(x.add(i), S::fma(S::load(x.add(i)), scale, S::load(bias.add(i))));
        }
    }
}
kernel!(fn bias_on(x: *mut f32, n: usize, scale: f32, bias: *const f32) = bias_row;);

#[inline(always)]
unsafe fn add_row<S: Lanes>(to: *mut f32, x: *const f32, n: usize) {
    // SAFETY: both have n values and room for the last vector.
    unsafe {
        for i in (0..n).step_by(S::LANES) {
            S::store(to.add(i), S::add(S::load(to.add(i)), S::load(x.add(i))));
        }
    }
}
kernel!(fn add_on(to: *mut f32, x: *const f32, n: usize) = add_row;);

#[inline(always)]
unsafe fn dot<S: Lanes>(a: *const f32, b: *const f32, n: usize) -> f32 {
    // SAFETY: both have n values.
    unsafe { row_dot::<S>(a, b, n, |a, b| S::mul(a, b)) }
}
kernel!(fn dot_on(a: *const f32, b: *const f32, n: usize) -> f32 = dot;);

/// Random words of elements `first..first + n`, in whole groups.
#[inline(always)]
unsafe fn draw_row<S: Lanes>(stream: u32, key: *const u32, first: u64, words: *mut u32, n: usize) {
    // SAFETY: the key has 4 words; there is room for n words rounded up to a group; `first` is a multiple of 4, so that a group
    // of words starts with the first value's.
    unsafe {
        let key = PhiloxKey::new([stream, *key.add(2)], [*key, *key.add(1)]);
        for start in (0..n).step_by(PHILOX_WORDS) {
            S::philox((first + start as u64) / 4, &key, words.add(start), n - start);
        }
    }
}
kernel!(fn draw_on(stream: u32, key: *const u32, first: u64, words: *mut u32, n: usize) = draw_row;);

/// Rows have room for whole vectors, as words have.
#[inline(always)]
unsafe fn drop_row<S: Lanes>(
    rate: f32,
    words: *const u32,
    from: *const f32,
    to: *mut f32,
    n: usize,
) {
    let threshold = (f64::from(rate) * 4_294_967_296.0).round() as u64;
    let threshold = threshold.min(u64::from(u32::MAX)) as u32;
    // SAFETY: by the comment above.
    unsafe {
        let scale = S::splat(1.0 / (1.0 - rate));
        for i in (0..n).step_by(S::LANES) {
            let v = S::mul(S::load(from.add(i)), scale);
            let kept = S::at_least(words.add(i), threshold);
            S::store(to.add(i), S::select(kept, v, S::splat(0.0)));
        }
    }
}
kernel!(fn drop_on(
    rate: f32, words: *const u32, from: *const f32, to: *mut f32, n: usize
) = drop_row;);
