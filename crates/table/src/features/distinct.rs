//! The different values of a column, in bounded memory.

use std::collections::BTreeMap;

use crate::mix::mix;

/// Values that are kept, at most.
const MOST: usize = 4096;

/// A column's different values: all of them while they are few, then those with the lowest hashes, which are a sample in which each
/// has the same chance, however often it came (bottom-k sketch, Cohen and Kaplan 2007). It does not depend on the order of the rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Distinct {
    kept: BTreeMap<u64, f64>,
}

impl Distinct {
    /// Takes a value into account; NaN stands for a missing one.
    pub fn add(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        // -0 is 0.
        let value = value + 0.0;
        // One to one, so that no two values have the same.
        let hash = mix(value.to_bits());
        let is_full = self.kept.len() == MOST;
        if is_full && self.kept.last_key_value().is_some_and(|(last, _)| hash >= *last) {
            return;
        }
        if self.kept.insert(hash, value).is_none() && is_full {
            self.kept.pop_last();
        }
    }

    /// `n` quantiles from the least to the greatest value, evenly between, each interpolated between two values; of fewer values all.
    pub fn quantiles(&self, n: usize) -> Vec<f64> {
        let mut values: Vec<f64> = self.kept.values().copied().collect();
        values.sort_unstable_by(f64::total_cmp);
        if values.len() <= n {
            return values;
        }
        let last = values.len() - 1;
        let at = |k: usize| {
            let (whole, part) = (k * last / (n - 1), (k * last % (n - 1)) as f64 / (n - 1) as f64);
            let next = values[(whole + 1).min(last)];
            values[whole] + (next - values[whole]) * part
        };
        (0..n).map(at).collect()
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp)]
mod tests {
    use super::*;

    fn of(values: impl Iterator<Item = f64>) -> Distinct {
        let mut distinct = Distinct::default();
        values.for_each(|v| distinct.add(v));
        distinct
    }

    #[test]
    fn few_values_are_all_kept() {
        let few = of([3.0, 1.0, f64::NAN, -0.0, 3.0, 0.0].into_iter());
        assert_eq!(few.quantiles(5), [0.0, 1.0, 3.0]);
        // As numpy's quantiles of the different values.
        let more = of((0..1000).map(|i| f64::from(i % 10)));
        assert_eq!(more.quantiles(4), [0.0, 3.0, 6.0, 9.0]);
        assert_eq!(more.quantiles(3), [0.0, 4.5, 9.0]);
        assert!(Distinct::default().quantiles(3).is_empty());
    }

    #[test]
    fn of_many_values_a_sample_is_kept_whatever_their_order() {
        let up = of((0..100_000).map(f64::from));
        let down = of((0..100_000).rev().map(f64::from));
        assert_eq!(up.kept, down.kept);
        assert_eq!(up.kept.len(), MOST);
        for (k, found) in up.quantiles(11).into_iter().enumerate() {
            let wanted = k as f64 * 10_000.0;
            assert!((found - wanted).abs() < 3_000.0, "{k}: {found}");
        }
    }
}
