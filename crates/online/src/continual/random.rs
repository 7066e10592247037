//! Draws by counter: functions of the seed and of what has happened, so that there is no generator
//! whose state would have to be saved.

use tidemill_engine::graph::random::philox4x32;

/// What a draw is for; keeps the streams apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Store = 0x7265_7331,
    Sample = 0x7265_7332,
}

/// A number below `n`, draw `index` of event or step `count`.
pub(crate) fn below(seed: u64, purpose: Purpose, count: u64, index: u32, n: u64) -> u64 {
    let halves = |n: u64| [n as u32, (n >> 32) as u32];
    let [low, high] = halves(count);
    let words = philox4x32([low, high, index, purpose as u32], halves(seed));
    let word = u64::from(words[0]) | (u64::from(words[1]) << 32);
    // A multiple of 2^-64 times n: the bias is below n / 2^64.
    ((u128::from(word) * u128::from(n)) >> 64) as u64
}
