//! Hats: what is near a number, as inputs of its own.
//!
//! The knots of a column are places on the standardized scale. Where a table is trained on in batches, they are quantiles of
//! the column's different values there (`distinct`), or all of its values where they are no more than the knots. A stream has no
//! table to find them in: its knots are the normal distribution's quantiles, from 1 to 99 % and evenly between. A number between
//! two knots has two hats, whose sum is 1: each is 1 at its own knot and falls to 0 at the next one. Beyond the outer
//! knots it has one. When a column's running scale moves, so does the number that a knot stands for; its place among
//! the column's values stays.
//!
//! A column has hats from its third different value on: those of a column of two values would be its number
//! again. A missing number has none.

use serde::{Deserialize, Serialize};

use super::bits;
use super::distinct::Distinct;

/// Hats of a column where nothing else is said.
pub const HATS: usize = 9;

/// Places on the standardized scale where no table says better: quantiles of 1, 12.5, 25, 37.5 and 50 % and their mirror images.
const KNOTS: [f32; HATS] = [-2.33, -1.15, -0.67, -0.32, 0.0, 0.32, 0.67, 1.15, 2.33];

/// As many different values as a column has hats from.
const ENOUGH: u8 = 3;

/// Which columns have hats.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Hats {
    /// Hats of each column.
    #[serde(default = "nine", skip_serializing_if = "is_nine")]
    each: usize,
    /// Different values that came, of each column; not counted beyond [`ENOUGH`].
    counts: Vec<u8>,
    /// The first two of them.
    #[serde(with = "bits")]
    first: Vec<f64>,
    #[serde(with = "bits")]
    second: Vec<f64>,
    /// The knots of each column, in ascending order, at most as many as it has hats; empty where all have [`KNOTS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    places: Vec<Vec<f32>>,
}

fn nine() -> usize {
    HATS
}

fn is_nine(each: &usize) -> bool {
    *each == HATS
}

impl Hats {
    /// `each` hats of so many columns, at places that do not depend on their values.
    pub fn new(columns: usize, each: usize) -> Hats {
        let places = match each {
            HATS => Vec::new(),
            _ => vec![even(each); columns],
        };
        let (first, second) = (vec![0.0; columns], vec![0.0; columns]);
        Hats { each, counts: vec![0; columns], first, second, places }
    }

    /// Hats of a column.
    pub fn each(&self) -> usize {
        self.each
    }

    /// Inputs that are hats.
    pub fn width(&self) -> usize {
        self.each * self.counts.len()
    }

    /// Puts the knots of each column where a table has its values; `scale` gives their places on the standardized scale.
    pub fn fit<'a>(
        &mut self,
        columns: impl Iterator<Item = &'a Distinct>,
        mut scale: impl FnMut(usize, f64) -> f32,
    ) {
        let each = self.each;
        let place = |(j, column): (usize, &Distinct)| {
            let mut places: Vec<f32> =
                column.quantiles(each).iter().map(|v| scale(j, *v)).collect();
            places.dedup();
            if places.len() < usize::from(ENOUGH) { even(each) } else { places }
        };
        self.places = columns.enumerate().map(place).collect();
    }

    /// How far out places on the standardized scale may be that [`Hats::write`] is given, where other inputs are clipped at `clip`.
    pub fn clip(&self, clip: f32) -> f32 {
        if self.places.is_empty() { clip } else { f32::INFINITY }
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

    /// The hats `x` `[columns * each]` of the numbers `values`, which are `z` on the standardized scale.
    pub fn write(&self, values: &[f64], z: &[f32], x: &mut [f32]) {
        x.fill(0.0);
        let columns = values.iter().zip(z).zip(x.chunks_exact_mut(self.each));
        for (j, ((v, z), x)) in columns.enumerate() {
            if self.has(j, *v) {
                self.write_one(j, *z, x);
            }
        }
    }

    /// The two hats of a number of column `j`; the others are 0 already.
    #[inline]
    pub fn write_one(&self, j: usize, z: f32, x: &mut [f32]) {
        match self.places.get(j) {
            None => between(&KNOTS, z, x),
            Some(places) => between(places, z, x),
        }
    }

    /// What the hats of column `j` are called.
    pub fn names<'a>(&'a self, j: usize, column: &'a str) -> impl Iterator<Item = String> + 'a {
        let places = self.places.get(j).map_or(&KNOTS[..], Vec::as_slice);
        let at = move |k: usize| match places.get(k) {
            Some(place) => format!("{column} near {}", (place * 1e3).round() / 1e3),
            None => format!("{column} near nothing"),
        };
        (0..self.each).map(at)
    }
}

/// The two hats of a place between knots, of which there are two or more.
#[inline]
fn between(knots: &[f32], z: f32, x: &mut [f32]) {
    let last = knots.len() - 1;
    let z = z.clamp(knots[0], knots[last]);
    let below = knots[1..last].iter().fold(0, |below, knot| below + usize::from(z >= *knot));
    let (left, right) = (knots[below], knots[below + 1]);
    let part = (z - left) / (right - left);
    (x[below], x[below + 1]) = (1.0 - part, part);
}

/// Places for `n` knots where no table says better: the normal distribution's quantiles from 1 to 99 %, evenly between, to two
/// digits.
fn even(n: usize) -> Vec<f32> {
    if n == HATS {
        return KNOTS.to_vec();
    }
    let last = (n - 1) as f64;
    let share = |k: usize| match k {
        0 => 0.01,
        k if k == n - 1 => 0.99,
        k => k as f64 / last,
    };
    (0..n).map(|k| normal_quantile(share(k))).collect()
}

/// The normal distribution's quantile to two digits (Winitzki 2008, which is within 0.005 there).
fn normal_quantile(share: f64) -> f32 {
    const A: f64 = 0.147;
    let x = 2.0 * share - 1.0;
    let ln = (1.0 - x * x).ln();
    let half = 2.0 / (std::f64::consts::PI * A) + ln / 2.0;
    let root = ((half * half - ln / A).sqrt() - half).sqrt();
    ((std::f64::consts::SQRT_2 * root * 100.0).round() / 100.0).copysign(x) as f32
}

#[cfg(test)]
#[allow(clippy::float_cmp, clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_two_hats_whose_sum_is_one() {
        for i in -400..=400 {
            let z = i as f32 / 100.0;
            let mut x = [0.0; HATS];
            between(&KNOTS, z, &mut x);
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
            between(&KNOTS, knot, &mut x);
            assert_eq!(x[k], 1.0, "{knot}");
        }
    }

    #[test]
    fn columns_of_two_values_and_missing_numbers_have_none() {
        let mut hats = Hats::new(2, HATS);
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

    #[test]
    fn knots_are_where_a_tables_values_are() {
        let columns = [
            (0..1000).map(|i| f64::from(i % 500)).collect::<Vec<_>>(),
            (0..1000).map(|i| f64::from(i % 4)).collect(),
            (0..1000).map(|i| f64::from(i % 2)).collect(),
        ];
        let columns = columns.map(|values| {
            let mut distinct = Distinct::default();
            values.into_iter().for_each(|v| distinct.add(v));
            distinct
        });
        let mut hats = Hats::new(3, 6);
        assert_eq!((hats.width(), hats.clip(3.0)), (18, f32::INFINITY));
        hats.fit(columns.iter(), |_, v| v as f32);
        let nearly = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.1);
        assert!(nearly(&hats.places[0], &[0.0, 99.8, 199.6, 299.4, 399.2, 499.0]));
        assert_eq!(hats.places[1], [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(hats.places[2], even(6));
        let mut x = [0.0; 6];
        hats.write_one(1, 2.5, &mut x);
        assert_eq!(x, [0.0, 0.0, 0.5, 0.5, 0.0, 0.0]);
        let names: Vec<String> = hats.names(1, "a").collect();
        assert_eq!([&*names[3], &*names[4]], ["a near 3", "a near nothing"]);
        let read: Hats = serde_json::from_str(&serde_json::to_string(&hats).unwrap()).unwrap();
        assert_eq!(read, hats);
    }

    #[test]
    fn places_without_a_table_are_quantiles_of_the_normal_distribution() {
        let places = even(9);
        assert_eq!(places, KNOTS);
        let drawn: Vec<f32> = (0..9)
            .map(|k| normal_quantile([0.01, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 0.99][k]))
            .collect();
        for (drawn, known) in drawn.iter().zip(KNOTS) {
            assert!((drawn - known).abs() <= 0.011, "{drawn} {known}");
        }
        for n in [3, 4, 13, 17, 32] {
            let places = even(n);
            assert_eq!(places.len(), n);
            assert!(places.windows(2).all(|w| w[0] < w[1]), "{places:?}");
        }
    }
}
