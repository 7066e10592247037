//! One vector interface; kernels are generic over [`Simd`] and always inlined into an entry
//! function that carries the instruction set's `#[target_feature]` (made by [`kernel!`](crate::kernel!)).
//!
//! Every method is `unsafe` for one common reason: it may only run on a machine that has the
//! instruction set, which the entry functions guarantee. Pointers follow the usual rules.

#![allow(clippy::missing_safety_doc)] // the contract of all methods is stated once, above

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
// Compiled for x86-64 in tests, which compare `sse2` with it.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable;
#[cfg(target_arch = "x86_64")]
mod sse2;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
#[cfg(any(test, not(target_arch = "x86_64")))]
pub use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(crate) use sse2::below;

/// The set of the machines that have no other: numbers one by one, or as the vectors of every x86-64.
#[cfg(not(target_arch = "x86_64"))]
pub use portable::Portable as Baseline;
#[cfg(target_arch = "x86_64")]
pub use sse2::Sse2 as Baseline;

/// f32 vectors of an instruction set.
pub trait Simd: Copy + Send + Sync + 'static {
    /// A register of `LANES` f32.
    type V: Copy;
    /// A lane mask.
    type M: Copy;
    /// f32 lanes of a register.
    const LANES: usize;
    /// Registers that a tile may use for accumulators.
    const REGISTERS: usize;

    /// All lanes `x`.
    unsafe fn splat(x: f32) -> Self::V;
    /// Unaligned load of `LANES` values.
    unsafe fn load(p: *const f32) -> Self::V;
    /// Unaligned store of `LANES` values.
    unsafe fn store(p: *mut f32, v: Self::V);
    /// Loads the first `n < LANES` values, zeros elsewhere; memory past them is not touched.
    unsafe fn load_partial(p: *const f32, n: usize) -> Self::V;
    /// Stores the first `n < LANES` values; memory past them is not touched.
    unsafe fn store_partial(p: *mut f32, v: Self::V, n: usize);
    /// `a * b + c`, rounded once where the instruction set has FMA.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a + b`
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// Smaller value; `b` where either is NaN.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// Larger value; `b` where either is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// Square root.
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// `a / b` to one unit in the last place, for `|b|` in `1e-37..1e37`; faster than `div` next to
    /// a square root, which takes the same divider.
    #[inline(always)]
    unsafe fn div_quick(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the instruction set is there.
        unsafe { Self::div(a, b) }
    }
    /// Absolute value.
    unsafe fn abs(a: Self::V) -> Self::V;
    /// Nearest integer, ties to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// `a > b`, false where either is NaN.
    unsafe fn gt(a: Self::V, b: Self::V) -> Self::M;
    /// `a >= b`, false where either is NaN.
    unsafe fn ge(a: Self::V, b: Self::V) -> Self::M;
    /// `a == b`, false where either is NaN.
    unsafe fn eq(a: Self::V, b: Self::V) -> Self::M;
    /// Bit `i` is set where lane `i` is not zero; NaN is not.
    unsafe fn nonzero(a: Self::V) -> u32;
    /// Bit `i` is set where `masks[i]` has a bit of `field`; for 32 masks.
    #[inline(always)]
    unsafe fn any_bits(masks: &[u16; 32], field: u16) -> u32 {
        masks.iter().enumerate().fold(0, |bits, (i, m)| bits | u32::from(m & field != 0) << i)
    }
    /// Writes `base + i` for each set bit `i < LANES` in ascending order and gives their number.
    /// May write `LANES` values.
    #[inline(always)]
    unsafe fn list_bits(bits: u32, base: u32, out: *mut u32) -> usize {
        let (mut bits, mut count) = (bits, 0);
        while bits != 0 {
            // SAFETY: there are at most LANES bits, and the caller has room for as many values.
            unsafe { *out.add(count) = base + bits.trailing_zeros() };
            bits &= bits - 1;
            count += 1;
        }
        count
    }
    /// `a` where the mask is set, else `b`.
    unsafe fn select(m: Self::M, a: Self::V, b: Self::V) -> Self::V;
    /// `2^n` for integral `n` in `-126..=127`.
    unsafe fn exp2_int(n: Self::V) -> Self::V;
    /// Splits positive normal `x` into `(m, e)` with `x = m * 2^e`, `m` in `[0.5, 1)`.
    unsafe fn frexp(x: Self::V) -> (Self::V, Self::V);
    /// Sum of the lanes, in a fixed order.
    unsafe fn sum(a: Self::V) -> f32;
    /// A vector of sums: lane `4 i + r` is [`Simd::sum`], in the same order, of `quads[i][r]`; quads past
    /// the lanes are not used.
    #[inline(always)]
    unsafe fn sums(quads: [[Self::V; 4]; 4]) -> Self::V {
        let mut out = [0.0f32; 16];
        const { assert!(Self::LANES <= 16) };
        // SAFETY: the instruction set is there by the contract of `Simd`; a vector has at most 16 lanes.
        unsafe {
            for (out, quad) in out.chunks_exact_mut(4).zip(quads).take(Self::LANES / 4) {
                for (out, a) in out.iter_mut().zip(quad) {
                    *out = Self::sum(a);
                }
            }
            Self::load(out.as_ptr())
        }
    }
    /// Largest lane.
    unsafe fn max_lane(a: Self::V) -> f32;
    /// Transposes a block of `rows <= LANES` rows of `cols <= LANES` values, rows `stride` apart:
    /// writes `cols` full vectors, `out_stride` apart and in ascending order (they may overlap);
    /// lanes from `rows` on are zeros.
    unsafe fn transpose(
        src: *const f32,
        stride: usize,
        rows: usize,
        cols: usize,
        out: *mut f32,
        out_stride: usize,
    );
}

/// The first `min(n, LANES)` values, zeros elsewhere.
///
/// # Safety
/// `p` has that many readable values.
#[inline(always)]
pub(crate) unsafe fn load_n<S: Simd>(p: *const f32, n: usize) -> S::V {
    // SAFETY: by this function's contract.
    unsafe { if n >= S::LANES { S::load(p) } else { S::load_partial(p, n) } }
}

/// Stores the first `min(n, LANES)` values.
///
/// # Safety
/// `p` has that many writable values.
#[inline(always)]
pub(crate) unsafe fn store_n<S: Simd>(p: *mut f32, v: S::V, n: usize) {
    // SAFETY: by this function's contract.
    unsafe { if n >= S::LANES { S::store(p, v) } else { S::store_partial(p, v, n) } }
}

/// Makes the entry functions of a generic kernel and a function that picks one by [`Isa`](crate::isa::Isa).
///
/// `kernel!(pub fn name(a: A, b: B) -> R = generic_fn;)` expects
/// `#[inline(always)] unsafe fn generic_fn<S: Simd>(a: A, b: B) -> R` and makes
/// `pub fn name(isa: Isa) -> unsafe fn(A, B) -> R`.
#[macro_export]
macro_rules! kernel {
    ($(#[$meta:meta])* $vis:vis fn $name:ident ( $($arg:ident : $ty:ty),* $(,)? ) $(-> $ret:ty)? = $generic:ident ;) => {
        $(#[$meta])*
        $vis fn $name(isa: $crate::isa::Isa) -> unsafe fn($($ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx512($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: the caller upholds the generic kernel's contract; the features are on here.
                unsafe { $generic::<$crate::simd::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx2($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: as above.
                unsafe { $generic::<$crate::simd::Avx2>($($arg),*) }
            }
            #[allow(clippy::too_many_arguments)]
            unsafe fn portable($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: as above; the portable set needs no features.
                unsafe { $generic::<$crate::simd::Baseline>($($arg),*) }
            }
            match isa {
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx512 => avx512,
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx2 => avx2,
                _ => portable,
            }
        }
    };
}

/// Asks for the cache line at `p`, which may be any address.
#[inline(always)]
pub(crate) fn prefetch(p: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching is a hint that never faults; SSE is in the baseline of x86-64.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[inline(always)]
    unsafe fn exercise<S: Simd>(out: &mut Vec<f32>) {
        let x: Vec<f32> = (0..S::LANES).map(|i| i as f32 * 0.75 - 2.5).collect();
        let y: Vec<f32> = (0..S::LANES).map(|i| 1.5 - i as f32 * 0.5).collect();
        let mut buffer = vec![0.0; S::LANES];
        // SAFETY: all pointers are to buffers of LANES values.
        unsafe {
            let (a, b) = (S::load(x.as_ptr()), S::load(y.as_ptr()));
            let mut push = |v: S::V| {
                S::store(buffer.as_mut_ptr(), v);
                out.extend(&buffer[..8]);
            };
            push(S::fma(a, b, S::splat(0.5)));
            push(S::add(a, b));
            push(S::sub(a, b));
            push(S::mul(a, b));
            push(S::div(a, b));
            push(S::min(a, b));
            push(S::max(a, b));
            push(S::sqrt(S::abs(a)));
            push(S::round(a));
            push(S::select(S::gt(a, b), a, b));
            push(S::select(S::ge(a, b), S::splat(1.0), S::splat(0.0)));
            push(S::select(S::eq(a, S::splat(0.5)), a, b));
            push(S::exp2_int(S::round(a)));
            let (m, e) = S::frexp(S::add(S::abs(a), S::splat(0.25)));
            push(m);
            push(e);
            for n in 0..8 {
                push(S::load_partial(x.as_ptr().add(S::LANES - n), n));
            }
            let mut part = vec![7.0; S::LANES];
            S::store_partial(part.as_mut_ptr(), a, 3);
            out.extend(&part[..8]);
            let zeros = [0.0, 1.0, 0.0, f32::NAN, -0.0, -1e-44, 0.0, 3.0];
            out.push(S::nonzero(S::load_partial(zeros.as_ptr(), 7)) as f32);
            for bits in [0, 0x55, 0x83, 0xff] {
                let mut list = [0; 16];
                let count = S::list_bits(bits, 100, list.as_mut_ptr());
                out.push(count as f32);
                out.extend(list[..count].iter().map(|&i| i as f32));
            }
            let small = S::load_partial(x.as_ptr(), 5);
            out.push(S::sum(small));
            out.push(S::max_lane(small));
        }
    }
    kernel!(fn exercise_on(out: &mut Vec<f32>) = exercise;);

    #[test]
    fn all_sets_agree() {
        let mut expected = Vec::new();
        // SAFETY: portable code runs everywhere.
        unsafe { exercise_on(Isa::Portable)(&mut expected) };
        for isa in Isa::available() {
            let mut found = Vec::new();
            // SAFETY: the set is available.
            unsafe { exercise_on(isa)(&mut found) };
            // load_partial reads the end of differently long buffers: skip those eight rows
            for (i, (a, b)) in expected.iter().zip(&found).enumerate() {
                if (15 * 8..23 * 8).contains(&i) {
                    continue;
                }
                assert!((a - b).abs() <= 1e-6 * a.abs() || a == b, "{isa:?} [{i}]: {a} {b}");
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose_all<S: Simd>(failures: &mut Vec<String>) {
        let l = S::LANES;
        let stride = l + 3;
        let src: Vec<f32> = (0..l * stride).map(|i| i as f32).collect();
        for rows in 0..=l {
            for cols in 0..=l {
                let mut out = vec![-1.0; l * (l + 1)];
                // SAFETY: src has rows x stride values, out room for cols vectors l + 1 apart.
                unsafe {
                    S::transpose(src.as_ptr(), stride, rows, cols, out.as_mut_ptr(), l + 1);
                }
                for (at, &found) in out.iter().enumerate() {
                    let (j, i) = (at / (l + 1), at % (l + 1));
                    let expected = match () {
                        _ if j >= cols || i >= l => -1.0,
                        _ if i >= rows => 0.0,
                        _ => (i * stride + j) as f32,
                    };
                    if found != expected {
                        failures.push(format!("{rows}x{cols} [{j},{i}]: {found}, not {expected}"));
                    }
                }
            }
        }
    }
    kernel!(fn transpose_on(failures: &mut Vec<String>) = transpose_all;);

    #[test]
    fn transposes_blocks_of_any_size() {
        for isa in Isa::available() {
            let mut failures = Vec::new();
            // SAFETY: the set is available.
            unsafe { transpose_on(isa)(&mut failures) };
            assert!(failures.is_empty(), "{isa:?}: {}", failures[0]);
        }
    }
}
