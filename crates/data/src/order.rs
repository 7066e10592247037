//! Sample order as a pure function of (seed, epoch, position).
//!
//! A shuffled epoch is a keyed permutation of `0..n` that is computed, not stored: a run resumes
//! in mid-epoch without replaying anything, and 10^9 samples shuffle in no memory. The permutation
//! is a Feistel network on the smallest bit width that holds `n`, walked along its cycle until the
//! value falls below `n` (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002;
//! Mitchell et al., "Bandwidth-Optimal Random Shuffling for GPUs", 2022, do the same with Philox).

use serde::{Deserialize, Serialize};

use crate::random;

/// In which order an epoch visits the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// By index.
    Sequential,
    /// A fresh permutation for each epoch.
    Shuffled {
        /// Two runs with one seed see one order.
        seed: u64,
    },
}

impl Order {
    /// The order of epoch `epoch` over `n` samples.
    pub fn epoch(self, epoch: u64, n: usize) -> EpochOrder {
        match self {
            Self::Sequential => EpochOrder { permutation: None, n: n as u64 },
            Self::Shuffled { seed } => EpochOrder {
                permutation: Some(Permutation::new(random::key(seed, &[0x6f72_6465, epoch]), n)),
                n: n as u64,
            },
        }
    }

    /// The index of the sample at `position` of epoch `epoch`, for a single look-up.
    pub fn index(self, epoch: u64, position: usize, n: usize) -> usize {
        self.epoch(epoch, n).index(position)
    }
}

/// One epoch's order; any position in constant time.
#[derive(Clone, Debug)]
pub struct EpochOrder {
    permutation: Option<Permutation>,
    n: u64,
}

impl EpochOrder {
    /// The index of the sample at `position`.
    pub fn index(&self, position: usize) -> usize {
        debug_assert!((position as u64) < self.n, "position {position} of {}", self.n);
        match &self.permutation {
            None => position,
            Some(p) => p.apply(position as u64) as usize,
        }
    }
}

/// Enough that no test of uniformity below sees the network; 4 would be secure only with a
/// cryptographic round function.
const ROUNDS: usize = 8;

/// A keyed permutation of `0..n`.
#[derive(Clone, Debug)]
struct Permutation {
    keys: [u64; ROUNDS],
    n: u64,
    /// Bits of the two parts; the parts trade places each round, so an odd width is no problem.
    left: u32,
    right: u32,
}

impl Permutation {
    fn new(key: u64, n: usize) -> Self {
        // Parts below 3 bits leave too few round functions to choose from; small sets walk longer.
        let bits = (u64::BITS - (n as u64).saturating_sub(1).leading_zeros()).max(6);
        let mut stream = random::Stream::new(key);
        Self {
            keys: std::array::from_fn(|_| stream.bits()),
            n: n as u64,
            left: bits / 2,
            right: bits - bits / 2,
        }
    }

    fn apply(&self, position: u64) -> u64 {
        // The cycle returns to `position` < n at the latest, so the walk ends.
        let mut value = position;
        loop {
            value = self.network(value);
            if value < self.n {
                return value;
            }
        }
    }

    fn network(&self, value: u64) -> u64 {
        let (left_mask, right_mask) = ((1 << self.left) - 1, (1 << self.right) - 1);
        let mut l = value >> self.right;
        let mut r = value & right_mask;
        for pair in self.keys.chunks_exact(2) {
            l ^= round(r, pair[0]) & left_mask;
            r ^= round(l, pair[1]) & right_mask;
        }
        (l << self.right) | r
    }
}

/// The round function: one multiplication spreads all bits to the top half, which is folded down.
fn round(value: u64, key: u64) -> u64 {
    let x = (value ^ key).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (x >> 32) ^ (x >> 55)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn epoch(seed: u64, epoch: u64, n: usize) -> Vec<usize> {
        let order = Order::Shuffled { seed }.epoch(epoch, n);
        (0..n).map(|p| order.index(p)).collect()
    }

    fn assert_bijection(v: &[usize]) {
        let mut seen = vec![false; v.len()];
        for &i in v {
            assert!(!std::mem::replace(&mut seen[i], true), "{i} twice in {}", v.len());
        }
    }

    #[test]
    fn bijection_for_all_small_and_some_large() {
        for n in (0..400).chain([1000, 4095, 4096, 4097, 60_000, 65_536, 65_537, 1_000_003]) {
            assert_bijection(&epoch(3, 1, n));
        }
    }

    proptest! {
        #[test]
        fn bijection(seed: u64, e in 0u64..1000, n in 1usize..5000) {
            assert_bijection(&epoch(seed, e, n));
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let a = epoch(1, 0, 1000);
        for other in [epoch(1, 1, 1000), epoch(2, 0, 1000), epoch(0, 1, 1000)] {
            let same = a.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!(same < 10, "{same} of 1000 positions agree");
        }
        assert_eq!(a, epoch(1, 0, 1000));
    }

    #[test]
    fn random_access_is_the_same_order() {
        let all = epoch(9, 4, 777);
        for p in [776, 0, 300, 5] {
            assert_eq!(Order::Shuffled { seed: 9 }.index(4, p, 777), all[p]);
        }
        assert_eq!(Order::Sequential.index(4, 5, 777), 5);
    }

    /// Chi-square of `counts` against a uniform expectation, as deviations from its mean.
    fn chi_deviation(counts: &[u32], expected: f64, freedom: f64) -> f64 {
        let chi: f64 = counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
        (chi - freedom) / (2.0 * freedom).sqrt()
    }

    #[test]
    fn every_index_is_as_likely_at_every_position() {
        for n in [2usize, 3, 5, 10, 16, 33, 64] {
            let trials = 6000;
            let mut counts = vec![0u32; n * n];
            for e in 0..trials {
                for (p, i) in epoch(11, e, n).into_iter().enumerate() {
                    counts[p * n + i] += 1;
                }
            }
            let freedom = ((n - 1) * (n - 1)) as f64;
            let z = chi_deviation(&counts, trials as f64 / n as f64, freedom);
            assert!(z.abs() < 5.0, "n {n}: {z} deviations");
        }
    }

    #[test]
    fn neighbours_are_independent() {
        // All ordered pairs (index at p, index at p + 1) are as likely, for one n of each kind.
        for n in [7usize, 16, 24] {
            let trials = 20_000;
            let mut counts = vec![0u32; n * n];
            for e in 0..trials {
                let v = epoch(12, e, n);
                counts[v[0] * n + v[1]] += 1;
            }
            let pairs: Vec<u32> =
                (0..n * n).filter(|i| i / n != i % n).map(|i| counts[i]).collect();
            let expected = trials as f64 / pairs.len() as f64;
            let z = chi_deviation(&pairs, expected, (pairs.len() - 1) as f64);
            assert!(z.abs() < 5.0, "n {n}: {z} deviations");
        }
    }

    #[test]
    fn all_permutations_of_four_occur_alike() {
        let mut counts = std::collections::HashMap::<Vec<usize>, u32>::new();
        let trials = 48_000;
        for e in 0..trials {
            *counts.entry(epoch(13, e, 4)).or_default() += 1;
        }
        assert_eq!(counts.len(), 24);
        let counts: Vec<u32> = counts.into_values().collect();
        let z = chi_deviation(&counts, trials as f64 / 24.0, 23.0);
        assert!(z.abs() < 5.0, "{z} deviations");
    }

    #[test]
    fn mnist_size_shows_no_serial_correlation() {
        let n = 60_000;
        let v = epoch(1, 0, n);
        let mean = (n as f64 - 1.0) / 2.0;
        let variance = (n as f64 * n as f64 - 1.0) / 12.0;
        for lag in [1, 2, 32, 256, 4096] {
            let sum: f64 =
                (0..n - lag).map(|p| (v[p] as f64 - mean) * (v[p + lag] as f64 - mean)).sum();
            let r = sum / (n - lag) as f64 / variance;
            assert!(r.abs() < 5.0 / (n as f64).sqrt(), "lag {lag}: {r}");
        }
    }
}
