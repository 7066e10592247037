//! The split into training and validation files, equal to Keras's for the same files and seed.
//!
//! Keras shuffles the sorted file list with NumPy's legacy generator and takes the end of it, so
//! this is that generator: MT19937 (Matsumoto and Nishimura 1998), seeded by one 32-bit number,
//! and a Fisher-Yates shuffle from the end with masked rejection.

use tidemill_fields::Row;
use tidemill_table::{Known, Understood};

use super::Subset;
use crate::augment::Mix;
use crate::{Dataset, Error, FillCost, Info, RawImage, Result};

/// The options of a split, which all sources of samples have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    fraction: Option<f64>,
    subset: Option<Subset>,
    seed: u32,
}

impl Parts {
    /// The options by the names that they have in a recipe.
    pub(crate) fn of(validation_split: Option<f64>, subset: Option<Subset>, seed: u32) -> Parts {
        Parts { fraction: validation_split, subset, seed }
    }

    /// The share for validation and the wanted side, if there is a split. `path` names the data in errors.
    pub(crate) fn checked(self, path: &str) -> Result<Option<(f64, Subset)>> {
        let (fraction, subset) = match (self.fraction, self.subset) {
            (None, None) => return Ok(None),
            (Some(fraction), Some(subset)) => (fraction, subset),
            (Some(_), None) => {
                return Err(Error::option(format!(
                    "{path}: validation_split needs subset = \"training\" or \"validation\""
                )));
            }
            (None, Some(_)) => {
                return Err(Error::option(format!(
                    "{path}: subset needs validation_split, such as 0.2"
                )));
            }
        };
        if !(fraction > 0.0 && fraction < 1.0) {
            return Err(Error::option(format!(
                "{path}: validation_split must be between 0 and 1, found {fraction}"
            )));
        }
        Ok(Some((fraction, subset)))
    }

    /// The samples (sorted) of `n` that are on the wanted side; none means all. `path` names the data
    /// in errors.
    pub(crate) fn kept(self, path: &str, n: usize) -> Result<Option<Vec<u32>>> {
        let Some((fraction, subset)) = self.checked(path)? else { return Ok(None) };
        let side = split(n, fraction, self.seed, subset == Subset::Validation);
        if side.is_empty() {
            return Err(Error::option(format!(
                "{path}: validation_split = {fraction} leaves no samples of {n} for this subset"
            )));
        }
        Ok(Some(side))
    }

    /// The samples (sorted) of `n` that are trained on, whichever side is wanted; none means all.
    pub(crate) fn training(self, path: &str, n: usize) -> Result<Option<Vec<u32>>> {
        let subset = self.subset.map(|_| Subset::Training);
        Parts { subset, ..self }.kept(path, n)
    }

    /// The wanted side of `data`.
    pub(crate) fn side(self, path: &str, data: Box<dyn Dataset>) -> Result<Box<dyn Dataset>> {
        match self.kept(path, data.len())? {
            None => Ok(data),
            Some(indices) => {
                let info = Info { len: indices.len(), ..data.info().clone() };
                Ok(Box::new(Side { data, indices, info }))
            }
        }
    }
}

/// Some samples of a dataset.
struct Side {
    data: Box<dyn Dataset>,
    indices: Vec<u32>,
    info: Info,
}

impl Dataset for Side {
    fn info(&self) -> &Info {
        &self.info
    }

    fn fill(&self, index: usize, row: &mut Row<'_>) -> Result<()> {
        self.data.fill(self.indices[index] as usize, row)
    }

    fn class(&self, index: usize) -> Option<u32> {
        self.data.class(self.indices[index] as usize)
    }

    fn describe(&self, index: usize) -> String {
        self.data.describe(self.indices[index] as usize)
    }

    fn raw_image(&self, index: usize) -> Result<Option<RawImage>> {
        self.data.raw_image(self.indices[index] as usize)
    }

    fn shown(&self, values: &[f32]) -> Option<RawImage> {
        self.data.shown(values)
    }

    fn mix(&self) -> Option<Mix> {
        self.data.mix()
    }

    fn touch(&self, index: usize) {
        self.data.touch(self.indices[index] as usize);
    }

    fn fill_cost(&self) -> FillCost {
        self.data.fill_cost()
    }

    fn bytes_to_come(&self) -> u64 {
        self.data.bytes_to_come()
    }

    fn bytes_to_read(&self) -> u64 {
        self.data.bytes_to_read()
    }

    fn num_skipped(&self) -> usize {
        self.data.num_skipped()
    }

    fn skipped_examples(&self) -> Vec<String> {
        self.data.skipped_examples()
    }

    fn known(&self) -> Option<&Known> {
        self.data.known()
    }

    fn notes(&self) -> Vec<String> {
        self.data.notes()
    }

    fn understood(&self) -> Option<&Understood> {
        self.data.understood()
    }
}

/// The indices (sorted) of one side of the split of `n` files.
pub(crate) fn split(n: usize, fraction: f64, seed: u32, validation: bool) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    let mut generator = Mt19937::new(seed);
    for i in (1..n).rev() {
        order.swap(i, generator.below(i as u32) as usize);
    }
    let num_validation = (fraction * n as f64) as usize;
    let cut = n - num_validation;
    let mut side = if validation { order[cut..].to_vec() } else { order[..cut].to_vec() };
    side.sort_unstable();
    side
}

struct Mt19937 {
    state: [u32; 624],
    next: usize,
}

impl Mt19937 {
    fn new(seed: u32) -> Self {
        let mut state = [seed; 624];
        for i in 1..624 {
            let last = state[i - 1];
            state[i] = (last ^ (last >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { state, next: 624 }
    }

    fn twist(&mut self) {
        for i in 0..624 {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % 624] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + 397) % 624] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }

    fn bits(&mut self) -> u32 {
        if self.next == 624 {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// Uniform in `0..=max`.
    fn below(&mut self, max: u32) -> u32 {
        let mask = u32::MAX.checked_shr(max.leading_zeros()).unwrap_or(0);
        loop {
            let value = self.bits() & mask;
            if value <= max {
                return value;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn generator_is_the_published_one() {
        // The reference program's default seed, and its known 10000th value.
        let mut generator = Mt19937::new(5489);
        assert_eq!(generator.bits(), 3_499_211_612);
        let last = (1..10_000).map(|_| generator.bits()).last();
        assert_eq!(last, Some(4_123_659_995));
    }

    #[test]
    fn validation_side_is_the_one_of_keras() {
        let expected = include_str!("../../tests/fixtures/expected.txt");
        let mut count = 0;
        for line in expected.lines().filter_map(|l| l.strip_prefix("split ")) {
            let (given, side) = line.split_once(':').unwrap();
            let given: Vec<&str> = given.split(' ').collect();
            let (n, fraction, seed) =
                (given[0].parse().unwrap(), given[1].parse().unwrap(), given[2].parse().unwrap());
            let want: Vec<u32> = side.split_whitespace().map(|v| v.parse().unwrap()).collect();
            assert_eq!(split(n, fraction, seed, true), want, "{line}");
            count += 1;
        }
        assert_eq!(count, 4);
    }

    #[test]
    fn sides_are_disjoint_and_complete() {
        for (n, fraction) in [(10, 0.2), (7, 0.5), (1000, 0.25), (3, 0.1)] {
            let (train, val) = (split(n, fraction, 1, false), split(n, fraction, 1, true));
            assert_eq!(val.len(), (fraction * n as f64) as usize);
            let mut all = [train, val].concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..n as u32));
        }
    }
}
