//! The test of Kolmogorov and Smirnov for two samples of the same size.

/// The largest distance of the two distributions, times the size. Both samples are sorted and
/// have the same size.
pub(crate) fn distance(a: &[f64], b: &[f64]) -> usize {
    let (mut i, mut j, mut largest) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        // Ties belong to one step: past a value, both distributions count all of it.
        let x = a[i].min(b[j]);
        while i < a.len() && a[i] <= x {
            i += 1;
        }
        while j < b.len() && b[j] <= x {
            j += 1;
        }
        largest = largest.max(i.abs_diff(j));
    }
    largest
}

/// The chance of a distance of at least `h / n` when both samples of `n` come from one continuous
/// distribution: exact (Gnedenko and Korolyuk 1951), by counting the lattice paths that leave the
/// band of width `h`,
///
/// `2 (c(n + h) - c(n + 2h) + c(n + 3h) - ...) / c(n)` with `c(k)` = `2n` choose `k`.
///
/// Each quotient of neighbours is a product of `h` factors; nesting them from the last term avoids
/// the cancellation of the alternating sum. scipy's `ks_2samp` does so too up to 10,000 values.
pub(crate) fn p_value(n: usize, h: usize) -> f64 {
    if h == 0 {
        return 1.0;
    }
    let n_f = n as f64;
    let mut nested = 0.0;
    for term in (0..=n / h).rev() {
        let start = (term * h) as f64;
        let quotient = (0..h).fold(1.0, |q, j| {
            let j = j as f64;
            (n_f - start - j) * q / (n_f + start + j + 1.0)
        });
        nested = quotient * (1.0 - nested);
    }
    (2.0 * nested).min(1.0)
}

/// The smallest distance times `n` whose chance is at most `alpha`; `n + 1` if there is none.
pub(crate) fn critical_distance(n: usize, alpha: f64) -> usize {
    let (mut low, mut high) = (0, n + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if middle <= n && p_value(n, middle) > alpha {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[derive(serde::Deserialize)]
    struct Fixture {
        p_values: Vec<(usize, usize, f64)>,
    }

    #[test]
    fn p_values_are_scipys() {
        let text = include_str!("../../../fixtures/drift.json");
        let fixture: Fixture = serde_json::from_str(text).unwrap();
        for (n, h, want) in fixture.p_values {
            let found = p_value(n, h);
            assert!((found - want).abs() <= 1e-12 * want, "{n} {h}: {found} and {want}");
        }
    }

    #[test]
    fn p_values_fall_with_the_distance() {
        for n in [1, 2, 7, 30, 50, 333] {
            let all: Vec<f64> = (0..=n).map(|h| p_value(n, h)).collect();
            // Near 1 the sum is rounded.
            assert!(all.is_sorted_by(|a, b| a + 1e-12 >= *b), "{n}");
            for alpha in [0.9, 0.05, 0.005, 1e-9] {
                let want = all.iter().position(|&p| p <= alpha).unwrap_or(n + 1);
                assert_eq!(critical_distance(n, alpha), want);
            }
        }
    }

    #[test]
    fn distances_with_ties() {
        assert_eq!(distance(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]), 0);
        assert_eq!(distance(&[0.0, 0.0, 0.0], &[0.0, 0.0, 1.0]), 1);
        assert_eq!(distance(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 3);
        assert_eq!(distance(&[1.0, 4.0, 5.0], &[2.0, 2.0, 2.0]), 2);
        assert_eq!(distance(&[-0.0], &[0.0]), 0);
    }
}
