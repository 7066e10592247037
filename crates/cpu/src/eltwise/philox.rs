//! Dropout: the mask is made where it is used, from the element's index.

use crate::lanes::{Lanes, PHILOX_WORDS, PhiloxKey};

/// What a dropout needs beside its data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dropout {
    /// Words below it drop their element; `2^32` drops all.
    pub threshold: u64,
    /// `1 / (1 - rate)`
    pub scale: f32,
    pub stream: u32,
}

impl Dropout {
    pub(super) fn new(rate: f32, stream: u32) -> Dropout {
        let threshold = (f64::from(rate) * 4_294_967_296.0).round() as u64;
        Dropout { threshold, scale: 1.0 / (1.0 - rate), stream }
    }
}

/// `out[i] = keep(e + i) ? a[i] * scale : 0` for `i < n`. `words` is scratch memory for
/// `words_len(n)` words; `key` is seed low, seed high, step.
pub(super) type DropoutFn = unsafe fn(
    drop: &Dropout,
    key: *const u32,
    e: usize,
    a: *const f32,
    out: *mut f32,
    n: usize,
    words: *mut u32,
);

/// Words of scratch memory for a block of `n` values: whole groups of counters, from the one
/// before the first value on, and a vector's reach past the end.
pub(super) fn words_len(n: usize) -> usize {
    n.next_multiple_of(PHILOX_WORDS) + PHILOX_WORDS + 16
}

#[inline(always)]
unsafe fn drop_block<S: Lanes>(
    drop: &Dropout,
    key: *const u32,
    e: usize,
    a: *const f32,
    out: *mut f32,
    n: usize,
    words: *mut u32,
) {
    // SAFETY: the key has 3 words; a and out have n values; see `words_len` for the words, of which
    // skip + n <= 3 + n rounded up to a group are written.
    unsafe {
        let zero = S::splat(0.0);
        if drop.threshold > u64::from(u32::MAX) {
            for i in 0..n {
                *out.add(i) = 0.0;
            }
            return;
        }
        let threshold = drop.threshold as u32;
        let k = PhiloxKey::new([drop.stream, *key.add(2)], [*key, *key.add(1)]);
        let (first, skip) = ((e / 4) as u64, e % 4);
        let mut made = 0;
        while made < skip + n {
            S::philox(first + (made / 4) as u64, &k, words.add(made), skip + n - made);
            made += PHILOX_WORDS;
        }
        let words = words.add(skip).cast_const();
        let scale = S::splat(drop.scale);
        let mut i = 0;
        while i + S::LANES <= n {
            let v = S::mul(S::load(a.add(i)), scale);
            S::store(out.add(i), S::select(S::at_least(words.add(i), threshold), v, zero));
            i += S::LANES;
        }
        if i < n {
            let v = S::mul(S::load_partial(a.add(i), n - i), scale);
            let v = S::select(S::at_least(words.add(i), threshold), v, zero);
            S::store_partial(out.add(i), v, n - i);
        }
    }
}
kernel!(pub(super) fn dropout(
    drop: &Dropout,
    key: *const u32,
    e: usize,
    a: *const f32,
    out: *mut f32,
    n: usize,
    words: *mut u32,
) = drop_block;);
