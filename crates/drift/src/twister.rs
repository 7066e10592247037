//! Python's generator of random numbers, so that KSWIN draws the samples that River draws.

use serde::{Deserialize, Serialize};

const WORDS: usize = 624;
const OFFSET: usize = 397;

/// MT19937 (Matsumoto and Nishimura 1998) with the seeding and sampling of Python's `random`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Twister {
    /// `WORDS` of them.
    state: Vec<u32>,
    /// The next word to give; `WORDS` when all are used up.
    next: usize,
}

impl Twister {
    /// As `random.Random(seed)`.
    pub fn new(seed: u64) -> Twister {
        let mut twister = Twister { state: vec![0; WORDS], next: WORDS };
        twister.seed(seed);
        twister
    }

    /// Whether a state that was read can be one.
    pub fn is_sound(&self) -> bool {
        self.state.len() == WORDS && self.next <= WORDS
    }

    /// The authors' seeding from a key (`init_by_array`): Python's key is the seed's 32-bit words,
    /// low word first, without leading zeros.
    pub fn seed(&mut self, seed: u64) {
        let words = [seed as u32, (seed >> 32) as u32];
        let key = if words[1] == 0 { &words[..1] } else { &words[..] };
        let state = &mut self.state;
        state[0] = 19_650_218;
        for i in 1..WORDS {
            let last = state[i - 1];
            state[i] = 1_812_433_253_u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(i as u32);
        }
        let mut i = 1;
        let step = |state: &mut [u32], i: &mut usize, factor: u32, change: u32| {
            let last = state[*i - 1];
            state[*i] =
                (state[*i] ^ (last ^ (last >> 30)).wrapping_mul(factor)).wrapping_add(change);
            *i += 1;
            if *i == WORDS {
                state[0] = state[WORDS - 1];
                *i = 1;
            }
        };
        for round in 0..WORDS {
            let j = round % key.len();
            step(state, &mut i, 1_664_525, key[j].wrapping_add(j as u32));
        }
        for _ in 1..WORDS {
            let change = (i as u32).wrapping_neg();
            step(state, &mut i, 1_566_083_941, change);
        }
        state[0] = 0x8000_0000;
        self.next = WORDS;
    }

    /// 32 random bits.
    pub fn word(&mut self) -> u32 {
        if self.next == WORDS {
            self.turn();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9D2C_5680;
        y ^= (y << 15) & 0xEFC6_0000;
        y ^ (y >> 18)
    }

    fn turn(&mut self) {
        let state = &mut self.state;
        for i in 0..WORDS {
            let y = (state[i] & 0x8000_0000) | (state[(i + 1) % WORDS] & 0x7FFF_FFFF);
            let odd = if y & 1 == 1 { 0x9908_B0DF } else { 0 };
            state[i] = state[(i + OFFSET) % WORDS] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }

    /// A whole number below `n`, by rejection; `n` is 1 to 2^31.
    fn below(&mut self, n: u32) -> u32 {
        let bits = u32::BITS - n.leading_zeros();
        loop {
            let r = self.word() >> (u32::BITS - bits);
            if r < n {
                return r;
            }
        }
    }

    /// `k` different numbers below `n` in the order of Python's `sample(range(n), k)`; `k <= n`.
    /// `scratch` is overwritten and keeps its memory from call to call.
    pub fn sample(&mut self, n: u32, k: u32, scratch: &mut Vec<u32>, mut give: impl FnMut(u32)) {
        // Python has two ways and takes the one that needs less memory; they give different samples.
        let table = if k > 5 { 21 + power_of_four(3 * u64::from(k)) } else { 21 };
        scratch.clear();
        if u64::from(n) <= table {
            scratch.extend(0..n);
            for left in (n - k + 1..=n).rev() {
                let j = self.below(left) as usize;
                give(scratch[j]);
                scratch[j] = scratch[left as usize - 1];
            }
        } else {
            scratch.resize(n as usize, 0);
            for _ in 0..k {
                let mut j = self.below(n);
                while scratch[j as usize] == 1 {
                    j = self.below(n);
                }
                scratch[j as usize] = 1;
                give(j);
            }
        }
    }
}

/// The smallest power of four that is not below `x`.
fn power_of_four(x: u64) -> u64 {
    let mut power = 1;
    while power < x {
        power *= 4;
    }
    power
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[derive(Deserialize)]
    struct Fixture {
        twister: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        seed: u64,
        word_0: u32,
        word_699: u32,
        population: u32,
        samples: Vec<Vec<u32>>,
    }

    #[test]
    fn words_and_samples_are_pythons() {
        let text = include_str!("../../../fixtures/drift.json");
        let fixture: Fixture = serde_json::from_str(text).unwrap();
        for case in &fixture.twister {
            let mut twister = Twister::new(case.seed);
            let words: Vec<u32> = (0..700).map(|_| twister.word()).collect();
            assert_eq!((words[0], words[699]), (case.word_0, case.word_699));
            let mut scratch = Vec::new();
            for want in &case.samples {
                let mut found = Vec::new();
                let k = want.len() as u32;
                twister.sample(case.population, k, &mut scratch, |i| found.push(i));
                assert_eq!(&found, want, "seed {}", case.seed);
            }
            twister.seed(case.seed);
            assert_eq!(twister, Twister::new(case.seed));
        }
    }
}
