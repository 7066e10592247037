//! Vector operations beyond [`Simd`] that only the elementwise kernels need: scaling by powers of
//! two with overflow, and the integer lanes of Philox.

#[cfg(not(target_arch = "x86_64"))]
use crate::simd::Portable;
use crate::simd::Simd;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512, Baseline, below};
#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::*;

/// Words that [`Lanes::philox`] writes at a time, at most: 16 counters of 4.
pub(crate) const PHILOX_WORDS: usize = 64;

const M0: u32 = 0xD251_1F53;
const M1: u32 = 0xCD9E_8D57;
const W0: u32 = 0x9E37_79B9;
const W1: u32 = 0xBB67_AE85;

/// What stays the same for a whole random stream.
#[derive(Clone, Copy)]
pub(crate) struct PhiloxKey {
    /// Counter words 2 and 3.
    counter: [u32; 2],
    /// The key's two words in each round.
    rounds: [[u32; 2]; 10],
}

impl PhiloxKey {
    /// A stream by its upper counter words and its key.
    #[inline(always)]
    pub fn new(counter: [u32; 2], [mut k0, mut k1]: [u32; 2]) -> PhiloxKey {
        let mut rounds = [[0; 2]; 10];
        for round in &mut rounds {
            *round = [k0, k1];
            k0 = k0.wrapping_add(W0);
            k1 = k1.wrapping_add(W1);
        }
        PhiloxKey { counter, rounds }
    }
}

/// One counter's four words, by Philox 4x32-10 (Salmon et al. 2011).
#[inline(always)]
pub(crate) fn philox4x32(counter: u64, k: &PhiloxKey) -> [u32; 4] {
    let mut c = [counter as u32, (counter >> 32) as u32, k.counter[0], k.counter[1]];
    for [k0, k1] in k.rounds {
        let p0 = u64::from(M0) * u64::from(c[0]);
        let p1 = u64::from(M1) * u64::from(c[2]);
        c = [(p1 >> 32) as u32 ^ c[1] ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k1, p0 as u32];
    }
    c
}

/// See the module.
#[allow(clippy::missing_safety_doc)] // the contract is Simd's
pub(crate) trait Lanes: Simd {
    /// `a * 2^n` for integral `n` in `-150..=128`, rounded once or (below the normal range) twice.
    #[inline(always)]
    unsafe fn ldexp(a: Self::V, n: Self::V) -> Self::V {
        // SAFETY: as the method's.
        unsafe {
            let half = Self::round(Self::mul(n, Self::splat(0.5)));
            let rest = Self::sub(n, half);
            Self::mul(Self::mul(a, Self::exp2_int(half)), Self::exp2_int(rest))
        }
    }

    /// The same where `n` is in `-126..=127` and the result a normal number.
    #[inline(always)]
    unsafe fn ldexp_normal(a: Self::V, n: Self::V) -> Self::V {
        // SAFETY: as the method's.
        unsafe { Self::mul(a, Self::exp2_int(n)) }
    }

    /// The words of counters `counter .. counter + 16`, in order, to `out[64]`; of which only the first `needed` ones are sure to
    /// be written.
    #[inline(always)]
    unsafe fn philox(counter: u64, k: &PhiloxKey, out: *mut u32, needed: usize) {
        for i in 0..needed.div_ceil(4).min(16) {
            let words = philox4x32(counter + i as u64, k);
            // SAFETY: the caller gives room for 64 words.
            unsafe { out.add(4 * i).cast::<[u32; 4]>().write_unaligned(words) };
        }
    }

    /// The first `n <= LANES` lanes of `v`, zeros elsewhere.
    unsafe fn first(v: Self::V, n: usize) -> Self::V;

    /// Lanes whose word is at least `threshold`.
    unsafe fn at_least(words: *const u32, threshold: u32) -> Self::M;

    /// Applies a scalar function to each lane; slow, for what is rare.
    #[inline(always)]
    unsafe fn map(v: Self::V, f: impl Fn(f32) -> f32) -> Self::V {
        let mut lanes = [0.0f32; 16];
        // SAFETY: no set has more than 16 lanes.
        unsafe {
            Self::store(lanes.as_mut_ptr(), v);
            for x in &mut lanes[..Self::LANES] {
                *x = f(*x);
            }
            Self::load(lanes.as_ptr())
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Lanes for Baseline {
    #[inline(always)]
    unsafe fn first(v: [__m128; 2], n: usize) -> [__m128; 2] {
        let [low, high] = below(n);
        // SAFETY: every x86-64 machine has SSE2.
        unsafe { [_mm_and_ps(low, v[0]), _mm_and_ps(high, v[1])] }
    }
    #[inline(always)]
    unsafe fn at_least(words: *const u32, threshold: u32) -> [__m128; 2] {
        // SAFETY: every x86-64 machine has SSE2; the caller gives LANES readable words.
        unsafe {
            // SSE2 compares signed words.
            let sign = _mm_set1_epi32(i32::MIN);
            let threshold = _mm_xor_si128(_mm_set1_epi32(threshold as i32), sign);
            words.cast::<[__m128i; 2]>().read_unaligned().map(|words| {
                let less = _mm_cmplt_epi32(_mm_xor_si128(words, sign), threshold);
                _mm_castsi128_ps(_mm_xor_si128(less, _mm_set1_epi32(-1)))
            })
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Lanes for Portable {
    #[inline(always)]
    unsafe fn first(mut v: [f32; 8], n: usize) -> [f32; 8] {
        for (i, lane) in v.iter_mut().enumerate() {
            *lane = if i < n { *lane } else { 0.0 };
        }
        v
    }
    #[inline(always)]
    unsafe fn at_least(words: *const u32, threshold: u32) -> [bool; 8] {
        // SAFETY: the caller gives LANES readable words.
        unsafe { words.cast::<[u32; 8]>().read_unaligned() }.map(|w| w >= threshold)
    }
}

// SAFETY (all blocks below): the features are on in the entry functions that these methods are
// inlined into; pointers are valid by the callers' contract.
#[cfg(target_arch = "x86_64")]
#[allow(clippy::undocumented_unsafe_blocks)]
impl Lanes for Avx2 {
    #[inline(always)]
    unsafe fn philox(counter: u64, k: &PhiloxKey, out: *mut u32, needed: usize) {
        // 4 counters in the 64-bit lanes of a register: vpmuludq reads the low halves alone, so
        // what is left in the high ones does no harm. Lane order 0 2 1 3 makes the last unpacks
        // ascend. Two chains side by side hide the multiplications' latency.
        unsafe {
            let m0 = _mm256_set1_epi64x(i64::from(M0));
            let m1 = _mm256_set1_epi64x(i64::from(M1));
            for half in 0..if needed > PHILOX_WORDS / 2 { 2 } else { 1u64 } {
                let mut c = [[_mm256_setzero_si256(); 4]; 2];
                for (chain, c) in c.iter_mut().enumerate() {
                    let start = counter + 8 * half + 4 * chain as u64;
                    let start = _mm256_set1_epi64x(start as i64);
                    c[0] = _mm256_add_epi64(start, _mm256_setr_epi64x(0, 2, 1, 3));
                    c[1] = _mm256_srli_epi64::<32>(c[0]);
                    c[2] = _mm256_set1_epi64x(i64::from(k.counter[0]));
                    c[3] = _mm256_set1_epi64x(i64::from(k.counter[1]));
                }
                for [k0, k1] in k.rounds {
                    let k0 = _mm256_set1_epi64x(i64::from(k0));
                    let k1 = _mm256_set1_epi64x(i64::from(k1));
                    for c in &mut c {
                        let p0 = _mm256_mul_epu32(c[0], m0);
                        let p1 = _mm256_mul_epu32(c[2], m1);
                        let x0 = _mm256_xor_si256(c[1], k0);
                        let x2 = _mm256_xor_si256(c[3], k1);
                        c[0] = _mm256_xor_si256(_mm256_srli_epi64::<32>(p1), x0);
                        c[2] = _mm256_xor_si256(_mm256_srli_epi64::<32>(p0), x2);
                        c[1] = p1;
                        c[3] = p0;
                    }
                }
                for (chain, c) in c.iter().enumerate() {
                    let a = _mm256_blend_epi32::<0xaa>(c[0], _mm256_slli_epi64::<32>(c[1]));
                    let b = _mm256_blend_epi32::<0xaa>(c[2], _mm256_slli_epi64::<32>(c[3]));
                    let to = out.add(32 * half as usize + 16 * chain);
                    _mm256_storeu_si256(to.cast(), _mm256_unpacklo_epi64(a, b));
                    _mm256_storeu_si256(to.add(8).cast(), _mm256_unpackhi_epi64(a, b));
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn first(v: __m256, n: usize) -> __m256 {
        unsafe {
            let index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), index);
            _mm256_and_ps(v, _mm256_castsi256_ps(mask))
        }
    }
    #[inline(always)]
    unsafe fn at_least(words: *const u32, threshold: u32) -> __m256 {
        unsafe {
            let w = _mm256_loadu_si256(words.cast());
            let larger = _mm256_max_epu32(w, _mm256_set1_epi32(threshold as i32));
            _mm256_castsi256_ps(_mm256_cmpeq_epi32(larger, w))
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(clippy::undocumented_unsafe_blocks)]
impl Lanes for Avx512 {
    #[inline(always)]
    unsafe fn ldexp(a: __m512, n: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(a, n) }
    }
    #[inline(always)]
    unsafe fn ldexp_normal(a: __m512, n: __m512) -> __m512 {
        // SAFETY: as the caller's.
        unsafe { Self::ldexp(a, n) }
    }
    #[inline(always)]
    unsafe fn philox(counter: u64, k: &PhiloxKey, out: *mut u32, _: usize) {
        // as on AVX2, 8 counters in a register
        unsafe {
            let m0 = _mm512_set1_epi64(i64::from(M0));
            let m1 = _mm512_set1_epi64(i64::from(M1));
            let mut c = [[_mm512_setzero_si512(); 4]; 2];
            for (chain, c) in c.iter_mut().enumerate() {
                let start = _mm512_set1_epi64((counter + 8 * chain as u64) as i64);
                c[0] = _mm512_add_epi64(start, _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7));
                c[1] = _mm512_srli_epi64::<32>(c[0]);
                c[2] = _mm512_set1_epi64(i64::from(k.counter[0]));
                c[3] = _mm512_set1_epi64(i64::from(k.counter[1]));
            }
            for [k0, k1] in k.rounds {
                let k0 = _mm512_set1_epi32(k0 as i32);
                let k1 = _mm512_set1_epi32(k1 as i32);
                for c in &mut c {
                    let p0 = _mm512_mul_epu32(c[0], m0);
                    let p1 = _mm512_mul_epu32(c[2], m1);
                    let high = _mm512_srli_epi64::<32>(p1);
                    c[0] = _mm512_ternarylogic_epi32::<0x96>(high, c[1], k0);
                    let high = _mm512_srli_epi64::<32>(p0);
                    c[2] = _mm512_ternarylogic_epi32::<0x96>(high, c[3], k1);
                    c[1] = p1;
                    c[3] = p0;
                }
            }
            for (chain, c) in c.iter().enumerate() {
                let a = _mm512_mask_blend_epi32(0xaaaa, c[0], _mm512_slli_epi64::<32>(c[1]));
                let b = _mm512_mask_blend_epi32(0xaaaa, c[2], _mm512_slli_epi64::<32>(c[3]));
                let to = out.add(32 * chain);
                _mm512_storeu_si512(to.cast(), _mm512_unpacklo_epi64(a, b));
                _mm512_storeu_si512(to.add(16).cast(), _mm512_unpackhi_epi64(a, b));
            }
        }
    }
    #[inline(always)]
    unsafe fn first(v: __m512, n: usize) -> __m512 {
        unsafe { _mm512_maskz_mov_ps(((1u32 << n) - 1) as __mmask16, v) }
    }
    #[inline(always)]
    unsafe fn at_least(words: *const u32, threshold: u32) -> __mmask16 {
        unsafe {
            let w = _mm512_loadu_si512(words.cast());
            _mm512_cmpge_epu32_mask(w, _mm512_set1_epi32(threshold as i32))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[test]
    fn philox_known_answers() {
        // from the authors' Random123 known-answer file
        let zero = PhiloxKey::new([0, 0], [0, 0]);
        assert_eq!(philox4x32(0, &zero), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        let ones = PhiloxKey::new([!0, !0], [!0, !0]);
        assert_eq!(philox4x32(u64::MAX, &ones), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        let pi = PhiloxKey::new([0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]);
        let counter = 0x85a3_08d3_243f_6a88;
        assert_eq!(philox4x32(counter, &pi), [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
    }

    #[inline(always)]
    unsafe fn words<S: Lanes>(counter: u64, k: &PhiloxKey, out: *mut u32, needed: usize) {
        // SAFETY: the caller gives 64 words.
        unsafe { S::philox(counter, k, out, needed) }
    }
    kernel!(fn words_on(counter: u64, k: &PhiloxKey, out: *mut u32, needed: usize) = words;);

    #[test]
    fn philox_is_the_same_on_all_sets() {
        let k = PhiloxKey::new([3, 0x8000_0001], [0xdead_beef, 7]);
        for isa in Isa::available() {
            for counter in [0u64, 5, 0xffff_fffb, 0x1_0000_0000, 1 << 40] {
                for needed in [1, 31, 32, 33, PHILOX_WORDS] {
                    let mut out = [0u32; PHILOX_WORDS];
                    // SAFETY: the set is available; out has 64 words.
                    unsafe { words_on(isa)(counter, &k, out.as_mut_ptr(), needed) };
                    for i in 0..needed {
                        let words = philox4x32(counter + i as u64 / 4, &k);
                        assert_eq!(out[i], words[i % 4], "{isa:?} {needed}");
                    }
                }
            }
        }
    }
}
