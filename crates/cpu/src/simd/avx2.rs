//! AVX2 with FMA: 16 registers of 8 lanes.

use super::Simd;
use core::arch::x86_64::*;

/// The AVX2+FMA instruction set.
#[derive(Clone, Copy, Debug)]
pub struct Avx2;

/// Lane masks for parts of vectors: eight set words, then eight clear ones; start at `8 - n`.
pub(super) static TAIL: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

/// For each byte the positions of its set bits, in ascending order.
static BITS: [[u8; 8]; 256] = {
    let mut table = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut bit, mut count) = (0, 0);
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                table[byte][count] = bit;
                count += 1;
            }
            bit += 1;
        }
        byte += 1;
    }
    table
};

#[inline(always)]
unsafe fn tail_mask(n: usize) -> __m256i {
    debug_assert!(n <= 8);
    // SAFETY: 8 - n .. 16 - n lies inside the table for n in 0..=8.
    unsafe { _mm256_loadu_si256(TAIL.as_ptr().add(8 - n).cast()) }
}

// SAFETY (all blocks below): the features are on in the entry functions that these methods are
// inlined into; pointers are valid by the callers' contract.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Avx2 {
    type V = __m256;
    type M = __m256;
    const LANES: usize = 8;
    const REGISTERS: usize = 12;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m256) {
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_partial(p: *const f32, n: usize) -> __m256 {
        unsafe { _mm256_maskload_ps(p, tail_mask(n)) }
    }
    #[inline(always)]
    unsafe fn store_partial(p: *mut f32, v: __m256, n: usize) {
        unsafe { _mm256_maskstore_ps(p, tail_mask(n), v) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sqrt(a: __m256) -> __m256 {
        unsafe { _mm256_sqrt_ps(a) }
    }
    #[inline(always)]
    unsafe fn abs(a: __m256) -> __m256 {
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a) }
    }
    #[inline(always)]
    unsafe fn round(a: __m256) -> __m256 {
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn gt(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_cmp_ps::<_CMP_GT_OQ>(a, b) }
    }
    #[inline(always)]
    unsafe fn ge(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_cmp_ps::<_CMP_GE_OQ>(a, b) }
    }
    #[inline(always)]
    unsafe fn eq(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b) }
    }
    #[inline(always)]
    unsafe fn nonzero(a: __m256) -> u32 {
        unsafe {
            let different = _mm256_cmp_ps::<_CMP_NEQ_UQ>(a, _mm256_setzero_ps());
            _mm256_movemask_ps(different) as u32
        }
    }
    #[inline(always)]
    unsafe fn list_bits(bits: u32, base: u32, out: *mut u32) -> usize {
        unsafe {
            let positions = _mm_loadl_epi64(BITS[bits as usize & 0xff].as_ptr().cast());
            let all =
                _mm256_add_epi32(_mm256_cvtepu8_epi32(positions), _mm256_set1_epi32(base as i32));
            _mm256_storeu_si256(out.cast(), all);
        }
        (bits & 0xff).count_ones() as usize
    }
    #[inline(always)]
    unsafe fn select(m: __m256, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_blendv_ps(b, a, m) }
    }
    #[inline(always)]
    unsafe fn exp2_int(n: __m256) -> __m256 {
        unsafe {
            let i = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(i))
        }
    }
    #[inline(always)]
    unsafe fn frexp(x: __m256) -> (__m256, __m256) {
        unsafe {
            let bits = _mm256_castps_si256(x);
            let m = _mm256_or_si256(
                _mm256_and_si256(bits, _mm256_set1_epi32(0x007f_ffff)),
                _mm256_set1_epi32(0x3f00_0000),
            );
            let e = _mm256_sub_epi32(_mm256_srli_epi32::<23>(bits), _mm256_set1_epi32(126));
            (_mm256_castsi256_ps(m), _mm256_cvtepi32_ps(e))
        }
    }
    #[inline(always)]
    unsafe fn sum(a: __m256) -> f32 {
        unsafe {
            let s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let s = _mm_add_ps(s, _mm_movehl_ps(s, s));
            _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)))
        }
    }
    #[inline(always)]
    unsafe fn sums([low, high, ..]: [[__m256; 4]; 4]) -> __m256 {
        unsafe {
            let (low, high) = (sums_of_four(low), sums_of_four(high));
            _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high)
        }
    }
    #[inline(always)]
    unsafe fn max_lane(a: __m256) -> f32 {
        unsafe {
            let s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let s = _mm_max_ps(s, _mm_movehl_ps(s, s));
            _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)))
        }
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
        debug_assert!(rows <= 8 && cols <= 8);
        unsafe {
            let mut r = [_mm256_setzero_ps(); 8];
            if cols == 8 {
                for (i, v) in r.iter_mut().enumerate() {
                    if i < rows {
                        *v = _mm256_loadu_ps(src.add(i * stride));
                    }
                }
            } else {
                let mask = tail_mask(cols);
                for (i, v) in r.iter_mut().enumerate() {
                    if i < rows {
                        *v = _mm256_maskload_ps(src.add(i * stride), mask);
                    }
                }
            }
            // pairs of rows, then pairs of pairs inside 128-bit halves, then halves
            let mut s = r;
            for i in 0..4 {
                s[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                s[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for h in 0..2 {
                r[4 * h] = _mm256_shuffle_ps::<0x44>(s[4 * h], s[4 * h + 2]);
                r[4 * h + 1] = _mm256_shuffle_ps::<0xee>(s[4 * h], s[4 * h + 2]);
                r[4 * h + 2] = _mm256_shuffle_ps::<0x44>(s[4 * h + 1], s[4 * h + 3]);
                r[4 * h + 3] = _mm256_shuffle_ps::<0xee>(s[4 * h + 1], s[4 * h + 3]);
            }
            for i in 0..4 {
                s[i] = _mm256_permute2f128_ps::<0x20>(r[i], r[i + 4]);
                s[i + 4] = _mm256_permute2f128_ps::<0x31>(r[i], r[i + 4]);
            }
            for (j, &v) in s.iter().enumerate() {
                if j < cols {
                    _mm256_storeu_ps(out.add(j * out_stride), v);
                }
            }
        }
    }
}

/// The sums of four vectors: their halves added, then turned, so that each addition is for all of them.
#[inline(always)]
unsafe fn sums_of_four([a, b, c, d]: [__m256; 4]) -> __m128 {
    // SAFETY: the caller's functions have AVX2.
    unsafe {
        let a = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let b = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps::<1>(b));
        let c = _mm_add_ps(_mm256_castps256_ps128(c), _mm256_extractf128_ps::<1>(c));
        let d = _mm_add_ps(_mm256_castps256_ps128(d), _mm256_extractf128_ps::<1>(d));
        let ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
        let cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
        let even = _mm_shuffle_ps::<0b10_00_10_00>(ab, cd);
        let odd = _mm_shuffle_ps::<0b11_01_11_01>(ab, cd);
        _mm_add_ps(even, odd)
    }
}
