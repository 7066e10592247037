//! Counter-based random numbers: a value is a function of seed, epoch, sample, purpose and its place alone.

/// What numbers are drawn for: those of one purpose do not depend on how many another takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Speed = 1,
    Gain,
    Noise,
    NoiseLevel,
    Mask,
    Concatenate,
    Digits,
    Voice,
}

/// A stream of numbers (Philox 4x32-10; Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
#[derive(Clone, Debug)]
pub(crate) struct Draws {
    key: [u32; 2],
    /// Block, purpose, sample.
    counter: [u32; 4],
    words: [u32; 4],
    used: usize,
}

impl Draws {
    pub(crate) fn new(seed: u64, epoch: u64, sample: u64, purpose: Purpose) -> Draws {
        let key = mix(mix(seed) ^ epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Draws {
            key: [key as u32, (key >> 32) as u32],
            counter: [0, purpose as u32, sample as u32, (sample >> 32) as u32],
            words: [0; 4],
            used: 4,
        }
    }

    fn word(&mut self) -> u32 {
        if self.used == 4 {
            self.words = philox4x32(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// Uniform in 0 to 1, without 1.
    pub(crate) fn unit(&mut self) -> f64 {
        f64::from(self.word()) / 4_294_967_296.0
    }

    /// Uniform between two numbers.
    pub(crate) fn between(&mut self, [low, high]: [f64; 2]) -> f64 {
        low + (high - low) * self.unit()
    }

    /// One of `0..n`, where `n` is above 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        let word = u64::from(self.word()) << 32 | u64::from(self.word());
        ((u128::from(word) * u128::from(n)) >> 64) as u64
    }

    /// About normal, of mean 0 and deviation 1: the sum of four uniform numbers, without transcendental functions, so
    /// that the bits are the same on every machine.
    pub(crate) fn normal(&mut self) -> f32 {
        let (a, b) = (self.word(), self.word());
        let sum = (a & 0xffff) + (a >> 16) + (b & 0xffff) + (b >> 16);
        // A uniform number of 16 bits has the deviation 65536 / sqrt(12); four of them twice that.
        (sum as f32 - 131_070.0) * (1.0 / 37_837.23)
    }
}

/// The finalizer of SplitMix64.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let even = 0xd251_1f53_u64 * u64::from(c0);
        let odd = 0xcd9e_8d57_u64 * u64::from(c2);
        (c0, c1, c2, c3) =
            ((odd >> 32) as u32 ^ c1 ^ k0, odd as u32, (even >> 32) as u32 ^ c3 ^ k1, even as u32);
        k0 = k0.wrapping_add(0x9e37_79b9);
        k1 = k1.wrapping_add(0xbb67_ae85);
    }
    [c0, c1, c2, c3]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Random123.
    #[test]
    fn known_answers() {
        let zeros = philox4x32([0; 4], [0; 2]);
        assert_eq!(zeros, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = philox4x32([u32::MAX; 4], [u32::MAX; 2]);
        assert_eq!(ones, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    #[test]
    fn normal_has_mean_0_and_deviation_1() {
        let mut draws = Draws::new(1, 2, 3, Purpose::Noise);
        let (mut sum, mut square) = (0.0, 0.0);
        for _ in 0..100_000 {
            let v = f64::from(draws.normal());
            (sum, square) = (sum + v, square + v * v);
        }
        assert!((sum / 1e5).abs() < 0.02 && (square / 1e5 - 1.0).abs() < 0.02);
    }

    #[test]
    fn each_part_of_the_key_counts() {
        let first = |s, e, n, p| Draws::new(s, e, n, p).below(u64::MAX);
        let all = [
            first(0, 0, 0, Purpose::Gain),
            first(1, 0, 0, Purpose::Gain),
            first(0, 1, 0, Purpose::Gain),
            first(0, 0, 1, Purpose::Gain),
            first(0, 0, 1 << 32, Purpose::Gain),
            first(0, 0, 0, Purpose::Noise),
        ];
        for i in 0..all.len() {
            assert!(!all[..i].contains(&all[i]), "{i}");
        }
        let mut draws = Draws::new(0, 0, 0, Purpose::Mask);
        assert!((0..1000).all(|_| draws.below(3) < 3));
    }
}
