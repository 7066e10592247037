//! What every x86-64 machine has: 16 registers of 4 lanes, in pairs.
//!
//! Each lane has the bits that [`super::Portable`] gives it elsewhere (a test compares them). As vectors,
//! and not as eight numbers from which the compiler makes vectors, they are compiled in a fraction of the
//! time: the code of this set alone was half of the crate's.

use super::Simd;
use super::avx2::TAIL;
use core::arch::x86_64::*;

/// The SSE2 instruction set.
#[derive(Clone, Copy, Debug)]
pub struct Sse2;

type V = [__m128; 2];

#[inline(always)]
fn zip([a0, a1]: V, [b0, b1]: V, f: impl Fn(__m128, __m128) -> __m128) -> V {
    [f(a0, b0), f(a1, b1)]
}

#[inline(always)]
fn map([a0, a1]: V, f: impl Fn(__m128) -> __m128) -> V {
    [f(a0), f(a1)]
}

/// As [`Simd::load_partial`]; rare, and a loop: once in the program, not in each kernel.
///
/// # Safety
/// `p` has `n` readable values.
#[inline(never)]
unsafe fn load_lanes(p: *const f32, n: usize) -> [f32; 8] {
    let mut v = [0.0; 8];
    for (i, lane) in v.iter_mut().enumerate().take(n) {
        // SAFETY: the caller gives n readable values.
        *lane = unsafe { *p.add(i) };
    }
    v
}

/// As [`Simd::store_partial`].
///
/// # Safety
/// `p` has `n` writable values.
#[inline(never)]
unsafe fn store_lanes(p: *mut f32, v: &[f32; 8], n: usize) {
    for (i, &lane) in v.iter().enumerate().take(n) {
        // SAFETY: the caller gives n writable values.
        unsafe { *p.add(i) = lane };
    }
}

/// As [`Simd::transpose`].
///
/// # Safety
/// As there.
#[inline(never)]
unsafe fn transpose_block(
    src: *const f32,
    stride: usize,
    rows: usize,
    cols: usize,
    out: *mut f32,
    out_stride: usize,
) {
    debug_assert!(rows <= 8 && cols <= 8);
    for j in 0..cols {
        let mut v = [0.0; 8];
        for (i, lane) in v.iter_mut().enumerate().take(rows) {
            // SAFETY: the caller gives a readable block of rows x cols values.
            *lane = unsafe { *src.add(i * stride + j) };
        }
        // SAFETY: the caller gives room for `cols` vectors.
        unsafe { out.add(j * out_stride).cast::<[f32; 8]>().write_unaligned(v) };
    }
}

#[inline(always)]
fn lanes(v: V) -> [f32; 8] {
    // SAFETY: both are eight f32.
    unsafe { core::mem::transmute(v) }
}

/// The lanes below `n`.
#[inline(always)]
pub(crate) fn below(n: usize) -> V {
    let at = 8 - n.min(8);
    // SAFETY: the index is at most 8, and the table has 8 words from there.
    unsafe { TAIL.as_ptr().add(at).cast::<V>().read_unaligned() }
}

// SAFETY (all blocks below): every x86-64 machine has SSE2; pointers are valid by the callers' contract.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Sse2 {
    type V = V;
    type M = V;
    const LANES: usize = 8;
    const REGISTERS: usize = 12;

    #[inline(always)]
    unsafe fn splat(x: f32) -> V {
        unsafe { [_mm_set1_ps(x); 2] }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> V {
        unsafe { [_mm_loadu_ps(p), _mm_loadu_ps(p.add(4))] }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: V) {
        unsafe {
            _mm_storeu_ps(p, v[0]);
            _mm_storeu_ps(p.add(4), v[1]);
        }
    }
    #[inline(always)]
    unsafe fn load_partial(p: *const f32, n: usize) -> V {
        unsafe { core::mem::transmute(load_lanes(p, n)) }
    }
    #[inline(always)]
    unsafe fn store_partial(p: *mut f32, v: V, n: usize) {
        unsafe { store_lanes(p, &lanes(v), n) }
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        let product = zip(a, b, |a, b| unsafe { _mm_mul_ps(a, b) });
        zip(product, c, |a, b| unsafe { _mm_add_ps(a, b) })
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        zip(a, b, |a, b| unsafe { _mm_add_ps(a, b) })
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        zip(a, b, |a, b| unsafe { _mm_sub_ps(a, b) })
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        zip(a, b, |a, b| unsafe { _mm_mul_ps(a, b) })
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        zip(a, b, |a, b| unsafe { _mm_div_ps(a, b) })
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        zip(a, b, |a, b| unsafe { _mm_min_ps(a, b) })
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        zip(a, b, |a, b| unsafe { _mm_max_ps(a, b) })
    }
    #[inline(always)]
    unsafe fn sqrt(a: V) -> V {
        map(a, |a| unsafe { _mm_sqrt_ps(a) })
    }
    #[inline(always)]
    unsafe fn abs(a: V) -> V {
        map(a, |a| unsafe { _mm_andnot_ps(_mm_set1_ps(-0.0), a) })
    }
    #[inline(always)]
    unsafe fn round(a: V) -> V {
        // adding and taking away 1.5 * 2^23 rounds to nearest even for |x| < 2^22
        map(a, |a| unsafe {
            let magic = _mm_set1_ps(12_582_912.0);
            let rounded = _mm_sub_ps(_mm_add_ps(a, magic), magic);
            let size = _mm_andnot_ps(_mm_set1_ps(-0.0), a);
            let small = _mm_cmplt_ps(size, _mm_set1_ps(4_194_304.0));
            _mm_or_ps(_mm_and_ps(small, rounded), _mm_andnot_ps(small, a))
        })
    }
    #[inline(always)]
    unsafe fn gt(a: V, b: V) -> V {
        zip(a, b, |a, b| unsafe { _mm_cmpgt_ps(a, b) })
    }
    #[inline(always)]
    unsafe fn ge(a: V, b: V) -> V {
        zip(a, b, |a, b| unsafe { _mm_cmpge_ps(a, b) })
    }
    #[inline(always)]
    unsafe fn eq(a: V, b: V) -> V {
        zip(a, b, |a, b| unsafe { _mm_cmpeq_ps(a, b) })
    }
    #[inline(always)]
    unsafe fn nonzero(a: V) -> u32 {
        let [low, high] = map(a, |a| unsafe { _mm_cmpneq_ps(a, _mm_setzero_ps()) });
        unsafe { _mm_movemask_ps(low) as u32 | (_mm_movemask_ps(high) as u32) << 4 }
    }
    #[inline(always)]
    unsafe fn select(m: V, a: V, b: V) -> V {
        let a = zip(m, a, |m, a| unsafe { _mm_and_ps(m, a) });
        let b = zip(m, b, |m, b| unsafe { _mm_andnot_ps(m, b) });
        zip(a, b, |a, b| unsafe { _mm_or_ps(a, b) })
    }
    #[inline(always)]
    unsafe fn exp2_int(n: V) -> V {
        map(n, |n| unsafe {
            let i = _mm_add_epi32(_mm_cvttps_epi32(n), _mm_set1_epi32(127));
            _mm_castsi128_ps(_mm_slli_epi32::<23>(i))
        })
    }
    #[inline(always)]
    unsafe fn frexp(x: V) -> (V, V) {
        let m = map(x, |x| unsafe {
            let bits = _mm_and_si128(_mm_castps_si128(x), _mm_set1_epi32(0x007f_ffff));
            _mm_castsi128_ps(_mm_or_si128(bits, _mm_set1_epi32(0x3f00_0000)))
        });
        let e = map(x, |x| unsafe {
            let exponent = _mm_srli_epi32::<23>(_mm_castps_si128(x));
            _mm_cvtepi32_ps(_mm_sub_epi32(exponent, _mm_set1_epi32(126)))
        });
        (m, e)
    }
    #[inline(always)]
    unsafe fn sum([low, high]: V) -> f32 {
        unsafe {
            let s = _mm_add_ps(low, high);
            let s = _mm_add_ps(s, _mm_movehl_ps(s, s));
            _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps::<0x55>(s, s)))
        }
    }
    #[inline(always)]
    unsafe fn max_lane(a: V) -> f32 {
        lanes(a).into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    unsafe fn transpose(
        src: *const f32,
        stride: usize,
        rows: usize,
        cols: usize,
        out: *mut f32,
        out_stride: usize,
    ) {
        unsafe { transpose_block(src, stride, rows, cols, out, out_stride) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Portable;
    use super::*;

    /// Every operation on all pairs of odd numbers, in all lanes.
    ///
    /// # Safety
    /// The set is there.
    unsafe fn results<S: Simd>(out: &mut Vec<u32>) {
        let odd = [
            0.0,
            -0.0,
            0.5,
            -0.5,
            1.5,
            -2.5,
            0.3,
            3.0e38,
            -3.0e38,
            1e-40,
            -1e-44,
            4_194_303.5,
            4_194_304.5,
            -4_194_303.5,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            1.0e-38,
            7.25,
        ];
        for shift in 0..odd.len() {
            for start in 0..odd.len() {
                let at = |i: usize| odd[i % odd.len()];
                let x: [f32; 8] = std::array::from_fn(|i| at(start + i));
                let y: [f32; 8] = std::array::from_fn(|i| at(start + shift + i));
                let small: [f32; 8] = std::array::from_fn(|i| ((start * 8 + i) as f32) - 100.0);
                // SAFETY: both sets run everywhere; the arrays have 8 values.
                unsafe {
                    let (a, b) = (S::load(x.as_ptr()), S::load(y.as_ptr()));
                    let mut push = |v: S::V| {
                        let mut lanes = [0.0f32; 8];
                        S::store(lanes.as_mut_ptr(), v);
                        // The sign and the payload of NaN are not fixed.
                        out.extend(lanes.map(|x| if x.is_nan() { 1 } else { x.to_bits() }));
                    };
                    push(S::fma(a, b, S::splat(0.7)));
                    push(S::add(a, b));
                    push(S::sub(a, b));
                    push(S::mul(a, b));
                    push(S::div(a, b));
                    push(S::min(a, b));
                    push(S::max(a, b));
                    push(S::sqrt(a));
                    push(S::abs(a));
                    push(S::round(a));
                    push(S::select(S::gt(a, b), a, b));
                    push(S::select(S::ge(a, b), a, b));
                    push(S::select(S::eq(a, b), S::splat(2.0), b));
                    push(S::exp2_int(S::load(small.as_ptr())));
                    let (m, e) = S::frexp(S::add(S::abs(S::load(small.as_ptr())), S::splat(0.1)));
                    push(m);
                    push(e);
                    push(S::load_partial(x.as_ptr(), shift % 8));
                    let mut part = [9.0; 8];
                    S::store_partial(part.as_mut_ptr(), a, shift % 8);
                    push(S::load(part.as_ptr()));
                    push(S::splat(S::sum(a)));
                    push(S::splat(S::max_lane(a)));
                    out.push(S::nonzero(a));
                }
            }
        }
    }

    #[test]
    fn the_bits_are_those_of_portable_code() {
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        // SAFETY: both sets run on every x86-64 machine.
        unsafe {
            results::<Sse2>(&mut found);
            results::<Portable>(&mut expected);
        }
        assert_eq!(found.len(), expected.len());
        for (i, pair) in found.iter().zip(&expected).enumerate() {
            assert_eq!(pair.0, pair.1, "at {i}");
        }
    }

    #[test]
    fn lanes_beyond_the_first_are_off() {
        for n in 0..=8 {
            let found = lanes(below(n)).map(f32::to_bits);
            assert_eq!(found, std::array::from_fn(|i| if i < n { u32::MAX } else { 0 }));
        }
    }
}
