//! Loops over one row of values, that the kernels over rows are made of.

use crate::lanes::Lanes;
use crate::math;

/// Largest value of a row of `n >= 1` values; a NaN may be lost (it returns with the exponentials).
#[inline(always)]
pub(crate) unsafe fn row_max<S: Lanes>(x: *const f32, n: usize) -> f32 {
    // SAFETY: indices stay below n.
    unsafe {
        let l = S::LANES;
        let low = S::splat(f32::NEG_INFINITY);
        if n < l {
            let inside = S::gt(S::first(S::splat(1.0), n), S::splat(0.0));
            return S::max_lane(S::select(inside, S::load_partial(x, n), low));
        }
        let (mut p, mut q) = (low, low);
        let mut i = 0;
        while i + 2 * l <= n {
            p = S::max(S::load(x.add(i)), p);
            q = S::max(S::load(x.add(i + l)), q);
            i += 2 * l;
        }
        if i + l <= n {
            p = S::max(S::load(x.add(i)), p);
        }
        // the last vector overlaps what was seen
        q = S::max(S::load(x.add(n - l)), q);
        S::max_lane(S::max(p, q))
    }
}

/// `out[i] = f(a[i], b[i])` over a row.
#[inline(always)]
pub(crate) unsafe fn row_zip<S: Lanes>(
    a: *const f32,
    b: *const f32,
    out: *mut f32,
    n: usize,
    f: impl Fn(S::V, S::V) -> S::V,
) {
    // SAFETY: indices stay below n.
    unsafe {
        let l = S::LANES;
        let mut i = 0;
        while i + l <= n {
            S::store(out.add(i), f(S::load(a.add(i)), S::load(b.add(i))));
            i += l;
        }
        if i < n {
            let m = n - i;
            let v = f(S::load_partial(a.add(i), m), S::load_partial(b.add(i), m));
            S::store_partial(out.add(i), v, m);
        }
    }
}

/// Sum of `f(a[i], b[i])` over a row; `f(0, 0)` must be 0.
#[inline(always)]
pub(crate) unsafe fn row_dot<S: Lanes>(
    a: *const f32,
    b: *const f32,
    n: usize,
    f: impl Fn(S::V, S::V) -> S::V,
) -> f32 {
    // SAFETY: indices stay below n.
    unsafe {
        let l = S::LANES;
        let (mut p, mut q) = (S::splat(0.0), S::splat(0.0));
        let mut i = 0;
        while i + 2 * l <= n {
            p = S::add(p, f(S::load(a.add(i)), S::load(b.add(i))));
            q = S::add(q, f(S::load(a.add(i + l)), S::load(b.add(i + l))));
            i += 2 * l;
        }
        if i + l <= n {
            p = S::add(p, f(S::load(a.add(i)), S::load(b.add(i))));
            i += l;
        }
        if i < n {
            let m = n - i;
            q = S::add(q, f(S::load_partial(a.add(i), m), S::load_partial(b.add(i), m)));
        }
        S::sum(S::add(p, q))
    }
}

/// Exponentials of `x - max` to `out` (which may be `x`); gives their sum.
// No closures around exp here and below: they are compiled on their own, without the entry
// function's instruction set, before they are inlined (45 times slower).
#[inline(always)]
pub(crate) unsafe fn row_exp<S: Lanes>(x: *const f32, max: f32, out: *mut f32, n: usize) -> f32 {
    // SAFETY: indices stay below n.
    unsafe {
        let l = S::LANES;
        let m = S::splat(max);
        let (mut p, mut q) = (S::splat(0.0), S::splat(0.0));
        let mut i = 0;
        while i + 2 * l <= n {
            let u = math::exp::<S>(S::sub(S::load(x.add(i)), m));
            let v = math::exp::<S>(S::sub(S::load(x.add(i + l)), m));
            S::store(out.add(i), u);
            S::store(out.add(i + l), v);
            p = S::add(p, u);
            q = S::add(q, v);
            i += 2 * l;
        }
        if i + l <= n {
            let u = math::exp::<S>(S::sub(S::load(x.add(i)), m));
            S::store(out.add(i), u);
            p = S::add(p, u);
            i += l;
        }
        if i < n {
            let v = math::exp::<S>(S::sub(S::load_partial(x.add(i), n - i), m));
            S::store_partial(out.add(i), v, n - i);
            q = S::add(q, S::first(v, n - i));
        }
        S::sum(S::add(p, q))
    }
}

/// Sum of `e^(x - max)` without storing it.
#[inline(always)]
pub(crate) unsafe fn row_exp_sum<S: Lanes>(x: *const f32, m: S::V, n: usize) -> f32 {
    // SAFETY: indices stay below n.
    unsafe {
        let l = S::LANES;
        let (mut p, mut q) = (S::splat(0.0), S::splat(0.0));
        let mut i = 0;
        while i + 2 * l <= n {
            p = S::add(p, math::exp::<S>(S::sub(S::load(x.add(i)), m)));
            q = S::add(q, math::exp::<S>(S::sub(S::load(x.add(i + l)), m)));
            i += 2 * l;
        }
        if i + l <= n {
            p = S::add(p, math::exp::<S>(S::sub(S::load(x.add(i)), m)));
            i += l;
        }
        if i < n {
            let e = math::exp::<S>(S::sub(S::load_partial(x.add(i), n - i), m));
            q = S::add(q, S::first(e, n - i));
        }
        S::sum(S::add(p, q))
    }
}

/// As [`row_dot`], for an `f` that is not 0 at (0, 0).
#[inline(always)]
pub(crate) unsafe fn row_dot_tail<S: Lanes>(
    a: *const f32,
    b: *const f32,
    n: usize,
    f: impl Fn(S::V, S::V) -> S::V,
) -> f32 {
    // SAFETY: indices stay below n.
    unsafe {
        let whole = n - n % S::LANES;
        let sum = row_dot::<S>(a, b, whole, &f);
        if whole == n {
            return sum;
        }
        let m = n - whole;
        let tail = f(S::load_partial(a.add(whole), m), S::load_partial(b.add(whole), m));
        sum + S::sum(S::first(tail, m))
    }
}

/// `out[i] = f(a[i], b[i], c[i])` over a row.
#[inline(always)]
pub(crate) unsafe fn row_zip3<S: Lanes>(
    a: *const f32,
    b: *const f32,
    c: *const f32,
    out: *mut f32,
    n: usize,
    f: impl Fn(S::V, S::V, S::V) -> S::V,
) {
    // SAFETY: indices stay below n.
    unsafe {
        let l = S::LANES;
        let mut i = 0;
        while i + l <= n {
            let v = f(S::load(a.add(i)), S::load(b.add(i)), S::load(c.add(i)));
            S::store(out.add(i), v);
            i += l;
        }
        if i < n {
            let m = n - i;
            let (a, b) = (S::load_partial(a.add(i), m), S::load_partial(b.add(i), m));
            S::store_partial(out.add(i), f(a, b, S::load_partial(c.add(i), m)), m);
        }
    }
}

/// Time of a row of a function that takes `ns` per value.
pub(crate) fn row_ns(cols: usize, ns: f64) -> f64 {
    8.0 + cols as f64 * ns
}
