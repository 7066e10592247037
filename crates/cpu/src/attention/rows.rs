//! Loops over a row of scores.

use crate::isa::Isa;
use crate::lanes::{Lanes, PHILOX_WORDS, PhiloxKey};
use crate::math;
use crate::rows::{row_dot, row_max};

/// Makes `e^(scale (x - max))` of the first `own` values, 0 of the rest up to `all`; gives the sum.
type ExpFn = unsafe fn(x: *mut f32, own: usize, all: usize, scale: f32) -> f32;

/// `ds[i] = p[i] (ds[i] - mean) scale`
type SlopeFn = unsafe fn(p: *const f32, ds: *mut f32, n: usize, mean: f32, scale: f32);

/// `x[i] *= by`
type ScaleFn = unsafe fn(x: *mut f32, n: usize, by: f32);

/// The sum of `a[i] b[i]`.
type DotFn = unsafe fn(a: *const f32, b: *const f32, n: usize) -> f32;

/// Drops values: those of elements `first + i` for `i < n`.
pub(super) type DropFn =
    unsafe fn(rate: f32, stream: u32, key: *const u32, first: u64, x: *mut f32, n: usize);

/// The loops of an instruction set.
#[derive(Clone, Copy)]
pub(super) struct RowFns {
    pub exp: ExpFn,
    pub slope: SlopeFn,
    pub scale: ScaleFn,
    pub dot: DotFn,
    pub drop: DropFn,
}

impl RowFns {
    pub fn new(isa: Isa) -> RowFns {
        RowFns {
            exp: exp_on(isa),
            slope: slope_on(isa),
            scale: scale_on(isa),
            dot: dot_on(isa),
            drop: drop_on(isa),
        }
    }
}

#[inline(always)]
unsafe fn exp_row<S: Lanes>(x: *mut f32, own: usize, all: usize, scale: f32) -> f32 {
    // SAFETY: x has `all` values, own <= all.
    unsafe {
        std::slice::from_raw_parts_mut(x.add(own), all - own).fill(0.0);
        if own == 0 {
            return 0.0;
        }
        let l = S::LANES;
        let by = S::splat(scale);
        let max = S::splat(row_max::<S>(x, own));
        let (mut p, mut q) = (S::splat(0.0), S::splat(0.0));
        let mut i = 0;
        while i + 2 * l <= own {
            let u = math::exp::<S>(S::mul(S::sub(S::load(x.add(i)), max), by));
            let v = math::exp::<S>(S::mul(S::sub(S::load(x.add(i + l)), max), by));
            S::store(x.add(i), u);
            S::store(x.add(i + l), v);
            p = S::add(p, u);
            q = S::add(q, v);
            i += 2 * l;
        }
        if i + l <= own {
            let u = math::exp::<S>(S::mul(S::sub(S::load(x.add(i)), max), by));
            S::store(x.add(i), u);
            p = S::add(p, u);
            i += l;
        }
        if i < own {
            let n = own - i;
            let v = math::exp::<S>(S::mul(S::sub(S::load_partial(x.add(i), n), max), by));
            S::store_partial(x.add(i), v, n);
            q = S::add(q, S::first(v, n));
        }
        S::sum(S::add(p, q))
    }
}
kernel!(fn exp_on(x: *mut f32, own: usize, all: usize, scale: f32) -> f32 = exp_row;);

#[inline(always)]
unsafe fn slope_row<S: Lanes>(p: *const f32, ds: *mut f32, n: usize, mean: f32, scale: f32) {
    // SAFETY: both have n values.
    unsafe {
        let (mean, scale) = (S::splat(mean), S::splat(scale));
        crate::rows::row_zip::<S>(p, ds, ds, n, |p, d| S::mul(S::mul(p, S::sub(d, mean)), scale));
    }
}
kernel!(fn slope_on(p: *const f32, ds: *mut f32, n: usize, mean: f32, scale: f32) = slope_row;);

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
unsafe fn dot<S: Lanes>(a: *const f32, b: *const f32, n: usize) -> f32 {
    // SAFETY: both have n values.
    unsafe { row_dot::<S>(a, b, n, |a, b| S::mul(a, b)) }
}
kernel!(fn dot_on(a: *const f32, b: *const f32, n: usize) -> f32 = dot;);

#[inline(always)]
unsafe fn drop_row<S: Lanes>(
    rate: f32,
    stream: u32,
    key: *const u32,
    first: u64,
    x: *mut f32,
    n: usize,
) {
    // SAFETY: the key has 4 words, x has n values; `first` is a multiple of 4, so that a group of words
    // starts with the first value's.
    unsafe {
        let threshold = (f64::from(rate) * 4_294_967_296.0).round() as u64;
        let threshold = threshold.min(u64::from(u32::MAX)) as u32;
        let scale = S::splat(1.0 / (1.0 - rate));
        let key = PhiloxKey::new([stream, *key.add(2)], [*key, *key.add(1)]);
        let mut words = [0u32; PHILOX_WORDS];
        for start in (0..n).step_by(PHILOX_WORDS) {
            S::philox((first + start as u64) / 4, &key, words.as_mut_ptr());
            let here = PHILOX_WORDS.min(n - start);
            let x = x.add(start);
            let mut i = 0;
            while i + S::LANES <= here {
                let v = S::mul(S::load(x.add(i)), scale);
                let kept = S::at_least(words.as_ptr().add(i), threshold);
                S::store(x.add(i), S::select(kept, v, S::splat(0.0)));
                i += S::LANES;
            }
            if i < here {
                let v = S::mul(S::load_partial(x.add(i), here - i), scale);
                let kept = S::at_least(words.as_ptr().add(i), threshold);
                S::store_partial(x.add(i), S::select(kept, v, S::splat(0.0)), here - i);
            }
        }
    }
}
kernel!(fn drop_on(
    rate: f32, stream: u32, key: *const u32, first: u64, x: *mut f32, n: usize
) = drop_row;);
