//! Hats: what is near a number, as inputs of its own.
//!
//! The knots are places on the standardized scale, at the normal distribution's quantiles of 1, 12.5, 25, 37.5
//! and 50 % and their mirror images. A number between two knots has two hats, whose sum is 1: each is 1 at its own knot
//! and falls to 0 at the next one. Beyond the outer knots it has one. When a column's running scale moves, so does the
//! number that a knot stands for; its place among the column's values stays.
//!
//! A column has hats from its third different value on: those of a column of two values would be its number
//! again. A missing number has none.

use serde::{Deserialize, Serialize};

use super::bits;

/// Hats of a column.
pub const HATS: usize = 9;

/// Places on the standardized scale.
const KNOTS: [f32; HATS] = [-2.33, -1.15, -0.67, -0.32, 0.0, 0.32, 0.67, 1.15, 2.33];

/// As many different values as a column has hats from.
const ENOUGH: u8 = 3;

/// Which columns have hats.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Hats {
    /// Different values that came, of each column; not counted beyond [`ENOUGH`].
    counts: Vec<u8>,
    /// The first two of them.
    #[serde(with = "bits")]
    first: Vec<f64>,
    #[serde(with = "bits")]
    second: Vec<f64>,
}

impl Hats {
    pub fn new(columns: usize) -> Hats {
        Hats { counts: vec![0; columns], first: vec![0.0; columns], second: vec![0.0; columns] }
    }

    /// Inputs that are hats.
    pub fn width(&self) -> usize {
        HATS * self.counts.len()
    }

    /// Takes an event's numbers into account; NaN stands for a missing one.
    pub fn learn(&mut self, values: &[f64]) {
        if self.counts.iter().fold(true, |all, &count| all & (count == ENOUGH)) {
            return;
        }
        for (j, v) in values.iter().enumerate().filter(|(_, v)| !v.is_nan()) {
            self.learn_one(j, *v);
        }
    }

    pub fn learn_one(&mut self, j: usize, v: f64) {
        match self.counts[j] {
            0 => (self.first[j], self.counts[j]) = (v, 1),
            1 if v != self.first[j] => (self.second[j], self.counts[j]) = (v, 2),
            2 if v != self.first[j] && v != self.second[j] => self.counts[j] = ENOUGH,
            _ => {}
        }
    }

    /// Forgets what was seen of a column.
    pub fn reset(&mut self, j: usize) {
        self.counts[j] = 0;
    }

    /// Whether a column's number has hats.
    pub fn has(&self, j: usize, value: f64) -> bool {
        self.counts[j] == ENOUGH && !value.is_nan()
    }

    /// The hats `x` `[columns * HATS]` of the numbers `values`, which are `z` on the standardized scale.
    pub fn write(&self, values: &[f64], z: &[f32], x: &mut [f32]) {
        x.fill(0.0);
        let columns = values.iter().zip(z).zip(x.chunks_exact_mut(HATS));
        for (j, ((v, z), x)) in columns.enumerate() {
            if self.has(j, *v) {
                write_one(*z, x);
            }
        }
    }
}

/// The two hats of a number; the others are 0 already.
pub(super) fn write_one(z: f32, x: &mut [f32]) {
    let z = z.clamp(KNOTS[0], KNOTS[HATS - 1]);
    let below = KNOTS[1..HATS - 1].iter().fold(0, |below, knot| below + usize::from(z >= *knot));
    let (left, right) = (KNOTS[below], KNOTS[below + 1]);
    let part = (z - left) / (right - left);
    (x[below], x[below + 1]) = (1.0 - part, part);
}

/// What the hats of a column are called.
pub(super) fn names(column: &str) -> impl Iterator<Item = String> {
    KNOTS.iter().map(move |knot| format!("{column} near {knot}"))
}

#[cfg(test)]
#[allow(clippy::float_cmp)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_two_hats_whose_sum_is_one() {
        for i in -400..=400 {
            let z = i as f32 / 100.0;
            let mut x = [0.0; HATS];
            write_one(z, &mut x);
            assert!((x.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{z}");
            assert!(x.iter().all(|w| (0.0..=1.0).contains(w)), "{z}: {x:?}");
            let places: Vec<usize> = (0..HATS).filter(|k| x[*k] > 0.0).collect();
            assert!(places.len() == 1 || places[0] + 1 == places[1], "{z}: {x:?}");
            // They give the number back.
            let back: f32 = x.iter().zip(KNOTS).map(|(w, knot)| w * knot).sum();
            assert!((back - z.clamp(-2.33, 2.33)).abs() < 1e-6, "{z}: {back}");
        }
        for (k, knot) in KNOTS.into_iter().enumerate() {
            let mut x = [0.0; HATS];
            write_one(knot, &mut x);
            assert_eq!(x[k], 1.0, "{knot}");
        }
    }

    #[test]
    fn columns_of_two_values_and_missing_numbers_have_none() {
        let mut hats = Hats::new(2);
        let at = |hats: &Hats, values: &[f64]| {
            let mut x = [7.0; 2 * HATS];
            hats.write(values, &[0.5, 0.5], &mut x);
            let some = |x: &[f32]| x.iter().any(|w| *w != 0.0);
            (some(&x[..HATS]), some(&x[HATS..]))
        };
        for i in 0..50 {
            let values = [f64::from(i % 2), f64::from(i)];
            hats.learn(&values);
            assert_eq!(at(&hats, &values), (false, i >= 2), "{i}");
        }
        hats.learn(&[f64::NAN, 1.0]);
        assert_eq!(at(&hats, &[0.0, f64::NAN]), (false, false));
        hats.learn(&[7.0, 1.0]);
        assert_eq!(at(&hats, &[0.0, 1.0]), (true, true));
        hats.reset(0);
        assert_eq!(at(&hats, &[0.0, 1.0]), (false, true));
    }
}
