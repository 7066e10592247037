//! AVX-512 F/VL/BW/DQ: 32 registers of 16 lanes.

use super::Simd;
use core::arch::x86_64::*;

/// The AVX-512 instruction set.
#[derive(Clone, Copy, Debug)]
pub struct Avx512;

#[inline(always)]
fn tail_mask(n: usize) -> __mmask16 {
    debug_assert!(n <= 16);
    ((1u32 << n) - 1) as __mmask16
}

// SAFETY (all blocks below): the features are on in the entry functions that these methods are
// inlined into; pointers are valid by the callers' contract.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Avx512 {
    type V = __m512;
    type M = __mmask16;
    const LANES: usize = 16;
    const REGISTERS: usize = 28;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m512) {
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_partial(p: *const f32, n: usize) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(tail_mask(n), p) }
    }
    #[inline(always)]
    unsafe fn store_partial(p: *mut f32, v: __m512, n: usize) {
        unsafe { _mm512_mask_storeu_ps(p, tail_mask(n), v) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sqrt(a: __m512) -> __m512 {
        unsafe { _mm512_sqrt_ps(a) }
    }
    #[inline(always)]
    unsafe fn div_quick(a: __m512, b: __m512) -> __m512 {
        // one Newton step from 14 bits
        unsafe {
            let y = _mm512_rcp14_ps(b);
            let q = _mm512_mul_ps(a, y);
            let rest = _mm512_fnmadd_ps(b, q, a);
            _mm512_fmadd_ps(rest, y, q)
        }
    }
    #[inline(always)]
    unsafe fn abs(a: __m512) -> __m512 {
        unsafe { _mm512_abs_ps(a) }
    }
    #[inline(always)]
    unsafe fn round(a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn gt(a: __m512, b: __m512) -> __mmask16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b) }
    }
    #[inline(always)]
    unsafe fn ge(a: __m512, b: __m512) -> __mmask16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_GE_OQ>(a, b) }
    }
    #[inline(always)]
    unsafe fn eq(a: __m512, b: __m512) -> __mmask16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b) }
    }
    #[inline(always)]
    unsafe fn nonzero(a: __m512) -> u32 {
        unsafe { u32::from(_mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(a, _mm512_setzero_ps())) }
    }
    #[inline(always)]
    unsafe fn any_bits(masks: &[u16; 32], field: u16) -> u32 {
        unsafe {
            let masks = _mm512_loadu_si512(masks.as_ptr().cast());
            _mm512_test_epi16_mask(masks, _mm512_set1_epi16(field as i16))
        }
    }
    #[inline(always)]
    unsafe fn list_bits(bits: u32, base: u32, out: *mut u32) -> usize {
        unsafe {
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let all = _mm512_add_epi32(lanes, _mm512_set1_epi32(base as i32));
            // in a register: the store that compresses takes a hundred cycles on Zen 4
            let some = _mm512_maskz_compress_epi32(bits as __mmask16, all);
            _mm512_storeu_si512(out.cast(), some);
        }
        bits.count_ones() as usize
    }
    #[inline(always)]
    unsafe fn select(m: __mmask16, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(m, b, a) }
    }
    #[inline(always)]
    unsafe fn exp2_int(n: __m512) -> __m512 {
        unsafe {
            let i = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(i))
        }
    }
    #[inline(always)]
    unsafe fn frexp(x: __m512) -> (__m512, __m512) {
        unsafe {
            let bits = _mm512_castps_si512(x);
            let m = _mm512_or_si512(
                _mm512_and_si512(bits, _mm512_set1_epi32(0x007f_ffff)),
                _mm512_set1_epi32(0x3f00_0000),
            );
            let e = _mm512_sub_epi32(_mm512_srli_epi32::<23>(bits), _mm512_set1_epi32(126));
            (_mm512_castsi512_ps(m), _mm512_cvtepi32_ps(e))
        }
    }
    #[inline(always)]
    unsafe fn sum(a: __m512) -> f32 {
        unsafe {
            let s = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let s = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps::<1>(s));
            let s = _mm_add_ps(s, _mm_movehl_ps(s, s));
            _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)))
        }
    }
    #[inline(always)]
    unsafe fn max_lane(a: __m512) -> f32 {
        unsafe { _mm512_reduce_max_ps(a) }
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
        debug_assert!(rows <= 16 && cols <= 16);
        unsafe {
            let mask = tail_mask(cols);
            let mut r = [_mm512_setzero_ps(); 16];
            for (i, v) in r.iter_mut().enumerate() {
                if i < rows {
                    *v = _mm512_maskz_loadu_ps(mask, src.add(i * stride));
                }
            }
            // pairs of rows, then pairs of pairs inside 128-bit quarters, then quarters
            let mut s = r;
            for i in 0..8 {
                s[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                s[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for h in 0..4 {
                r[4 * h] = _mm512_shuffle_ps::<0x44>(s[4 * h], s[4 * h + 2]);
                r[4 * h + 1] = _mm512_shuffle_ps::<0xee>(s[4 * h], s[4 * h + 2]);
                r[4 * h + 2] = _mm512_shuffle_ps::<0x44>(s[4 * h + 1], s[4 * h + 3]);
                r[4 * h + 3] = _mm512_shuffle_ps::<0xee>(s[4 * h + 1], s[4 * h + 3]);
            }
            // r[4 h + i] has column 4 q + i of rows 4 h .. 4 h + 4 in quarter q
            for i in 0..4 {
                s[i] = _mm512_shuffle_f32x4::<0x88>(r[i], r[4 + i]);
                s[4 + i] = _mm512_shuffle_f32x4::<0xdd>(r[i], r[4 + i]);
                s[8 + i] = _mm512_shuffle_f32x4::<0x88>(r[8 + i], r[12 + i]);
                s[12 + i] = _mm512_shuffle_f32x4::<0xdd>(r[8 + i], r[12 + i]);
            }
            for i in 0..4 {
                r[i] = _mm512_shuffle_f32x4::<0x88>(s[i], s[8 + i]);
                r[8 + i] = _mm512_shuffle_f32x4::<0xdd>(s[i], s[8 + i]);
                r[4 + i] = _mm512_shuffle_f32x4::<0x88>(s[4 + i], s[12 + i]);
                r[12 + i] = _mm512_shuffle_f32x4::<0xdd>(s[4 + i], s[12 + i]);
            }
            for (j, &v) in r.iter().enumerate() {
                if j < cols {
                    _mm512_storeu_ps(out.add(j * out_stride), v);
                }
            }
        }
    }
}
