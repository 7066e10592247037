//! Quantiles of errors in constant memory.

use serde::{Deserialize, Serialize};

/// Errors next to each other that are one piece of the summary have at most this share of all: a quantile's rank is exact
/// within it. Up to as many errors are kept as they are.
const SHARES: u64 = 4096;

/// The errors of one output, in their order: the value and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Quantiles {
    pieces: Vec<(f64, u64)>,
    waiting: Vec<f64>,
    samples: u64,
}

impl Quantiles {
    pub(super) fn add(&mut self, error: f64) {
        self.waiting.push(error);
        self.samples += 1;
        if self.waiting.len() as u64 >= SHARES {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.pieces = self.all();
        self.waiting.clear();
    }

    /// The pieces with what waits, joined where they are small.
    fn all(&self) -> Vec<(f64, u64)> {
        let waiting = self.waiting.iter().map(|&error| (error, 1));
        let mut sorted: Vec<(f64, u64)> = self.pieces.iter().copied().chain(waiting).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut joined: Vec<(f64, u64)> = Vec::with_capacity(sorted.len());
        let share = self.samples / SHARES;
        for (error, count) in sorted {
            match joined.last_mut() {
                Some(last) if last.0 == error || last.1 + count <= share => {
                    let total = last.1 + count;
                    // Their mean stands for them.
                    last.0 += (error - last.0) * count as f64 / total as f64;
                    last.1 = total;
                }
                _ => joined.push((error, count)),
            }
        }
        joined
    }

    /// The errors in their order, with how many there are of each; neighbours are joined where there are many.
    pub(super) fn pieces(&self) -> Vec<(f64, u64)> {
        self.all()
    }

    /// The error that a share of all are below, between two as NumPy's `quantile` has it.
    pub(super) fn at(&self, share: f64) -> f64 {
        let pieces = self.all();
        let rank = share * (self.samples.max(1) - 1) as f64;
        let (below, part) = (rank.floor() as u64, rank.fract());
        let value = |rank: u64| {
            let mut passed = 0;
            let found = pieces.iter().find(|(_, count)| {
                passed += count;
                passed > rank
            });
            found.or(pieces.last()).map_or(f64::NAN, |&(error, _)| error)
        };
        let (low, high) = (value(below), value(below + 1));
        if part == 0.0 { low } else { low + part * (high - low) }
    }

    pub(super) fn merge(&mut self, other: &Quantiles) {
        self.samples += other.samples;
        self.waiting.extend(&other.waiting);
        self.pieces.extend(&other.pieces);
        self.settle();
    }

    pub(super) fn reset(&mut self) {
        self.pieces.clear();
        self.waiting.clear();
        self.samples = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_exact_within_a_share_and_memory_is_bounded() {
        let mut quantiles = Quantiles::default();
        let n = 300_000u64;
        (0..n).for_each(|i| quantiles.add((i * 7919 % n) as f64 / n as f64));
        for share in [0.0, 0.1, 0.5, 0.9, 0.999] {
            assert!((quantiles.at(share) - share).abs() < 3.0 / SHARES as f64, "{share}");
        }
        assert!(quantiles.all().len() <= 2 * SHARES as usize + 2);
    }

    #[test]
    fn few_errors_have_the_quantiles_of_numpy() {
        let mut quantiles = Quantiles::default();
        [3.0, 1.0, 4.0, 1.0].into_iter().for_each(|error| quantiles.add(error));
        assert_eq!([0.5, 0.0, 1.0, 0.9].map(|share| quantiles.at(share)), [2.0, 1.0, 4.0, 3.7]);
    }
}
