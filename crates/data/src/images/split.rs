//! The split into training and validation files, equal to Keras's for the same files and seed.
//!
//! Keras shuffles the sorted file list with NumPy's legacy generator and takes the end of it, so
//! this is that generator: MT19937 (Matsumoto and Nishimura 1998), seeded by one 32-bit number,
//! and a Fisher-Yates shuffle from the end with masked rejection.

use serde::{Deserialize, Serialize};

use super::Subset;
use crate::groups;
use crate::view::View;
use crate::{Dataset, Error, Info, Result};

/// How much of the samples is for validation.
#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(untagged, expecting = "a number between 0 and 1, or a fold such as \"2/5\"")]
pub enum Share {
    /// A share, above 0 and below 1.
    Fraction(f64),
    /// One of several parts of the same size.
    Fold(Fold),
}

/// One of several parts of the same size, `"2/5"` in a recipe: the second of five. Each has its share of each class
/// (Kohavi 1995), where there are classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Fold {
    /// Which part, from 1.
    pub number: usize,
    /// The number of parts, 2 or more.
    pub of: usize,
}

impl TryFrom<String> for Fold {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Fold, String> {
        let parts = text.split_once('/');
        let parts = parts.and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
        match parts {
            Some((number, of)) if of >= 2 && (1..=of).contains(&number) => Ok(Fold { number, of }),
            _ => Err(format!(
                "must be a number between 0 and 1, or a fold such as \"2/5\", the second of five; found \"{text}\""
            )),
        }
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Share::Fraction(share) => write!(f, "{share:?}"),
            Share::Fold(Fold { number, of }) => write!(f, "\"{number}/{of}\""),
        }
    }
}

impl Serialize for Share {
    fn serialize<S: serde::Serializer>(
        &self,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Share::Fraction(share) => serializer.serialize_f64(*share),
            Share::Fold(Fold { number, of }) => serializer.serialize_str(&format!("{number}/{of}")),
        }
    }
}

// As a share was written when there were no folds: the fingerprints of options are made of it.
impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// The options of a split, which all sources of samples have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    share: Option<Share>,
    subset: Option<Subset>,
    seed: u32,
    /// The group of each sample, where groups stay together.
    groups: Option<&'a [u64]>,
}

impl<'a> Parts<'a> {
    /// The options by the names that they have in a recipe.
    pub(crate) fn of(
        validation_split: Option<Share>,
        subset: Option<Subset>,
        seed: u32,
    ) -> Parts<'a> {
        Parts { share: validation_split, subset, seed, groups: None }
    }

    /// The same with samples of one group on one side; without groups as before.
    pub(crate) fn together(self, groups: Option<&'a [u64]>) -> Parts<'a> {
        Parts { groups, ..self }
    }

    /// What is for validation and the wanted side, if there is a split. `path` names the data in errors.
    pub(crate) fn checked(self, path: &str) -> Result<Option<(Share, Subset)>> {
        let (share, subset) = match (self.share, self.subset) {
            (None, None) => return Ok(None),
            (Some(share), Some(subset)) => (share, subset),
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
        match share {
            Share::Fraction(fraction) if !(fraction > 0.0 && fraction < 1.0) => Err(Error::option(
                format!("{path}: validation_split must be between 0 and 1, found {fraction}"),
            )),
            _ => Ok(Some((share, subset))),
        }
    }

    /// The samples (sorted) of `n` that are on the wanted side; none means all. `path` names the data
    /// in errors, and `class` gives the class of a sample, where it has one.
    pub(crate) fn kept(
        self,
        path: &str,
        n: usize,
        class: &dyn Fn(usize) -> Option<u32>,
    ) -> Result<Option<Vec<u32>>> {
        let Some((share, subset)) = self.checked(path)? else { return Ok(None) };
        let validation = subset == Subset::Validation;
        let side = match (self.groups, share) {
            (Some(groups), _) => together(path, groups, share, self.seed, validation)?,
            (None, Share::Fraction(fraction)) => split(n, fraction, self.seed, validation),
            (None, Share::Fold(fold)) => fold.side(shuffled(n, self.seed), class, validation),
        };
        if side.is_empty() {
            return Err(Error::option(format!(
                "{path}: validation_split = {share} leaves no samples of {n} for this subset"
            )));
        }
        Ok(Some(side))
    }

    /// The samples (sorted) of `n` that are trained on, whichever side is wanted; none means all.
    pub(crate) fn training(
        self,
        path: &str,
        n: usize,
        class: &dyn Fn(usize) -> Option<u32>,
    ) -> Result<Option<Vec<u32>>> {
        let subset = self.subset.map(|_| Subset::Training);
        Parts { subset, ..self }.kept(path, n, class)
    }

    /// The wanted side of `data`.
    pub(crate) fn side(self, path: &str, data: Box<dyn Dataset>) -> Result<Box<dyn Dataset>> {
        match self.kept(path, data.len(), &|i| data.class(i))? {
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

impl View for Side {
    fn data(&self) -> &dyn Dataset {
        &*self.data
    }

    fn sample(&self, index: usize) -> usize {
        self.indices[index] as usize
    }

    fn info(&self) -> &Info {
        &self.info
    }
}

/// The samples (sorted) of one side where groups stay together.
fn together(
    path: &str,
    groups: &[u64],
    share: Share,
    seed: u32,
    validation: bool,
) -> Result<Vec<u32>> {
    let held_out = groups::validation(groups, share, seed).map_err(|what| {
        Error::option(format!("{path}: validation_split = {share} by group {what}"))
    })?;
    Ok((0..)
        .zip(held_out)
        .filter(|(_, held_out)| *held_out == validation)
        .map(|(i, _)| i)
        .collect())
}

/// The indices (sorted) of one side of the split of `n` files.
pub(crate) fn split(n: usize, fraction: f64, seed: u32, validation: bool) -> Vec<u32> {
    let order = shuffled(n, seed);
    let num_validation = (fraction * n as f64) as usize;
    let cut = n - num_validation;
    let mut side = if validation { order[cut..].to_vec() } else { order[..cut].to_vec() };
    side.sort_unstable();
    side
}

/// The samples in NumPy's order for the seed.
fn shuffled(n: usize, seed: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    let mut generator = Mt19937::new(seed);
    for i in (1..n).rev() {
        order.swap(i, generator.below(i as u32) as usize);
    }
    order
}

impl Fold {
    /// The samples (sorted) of this part of `order`, or of the others.
    fn side(
        self,
        mut order: Vec<u32>,
        class: &dyn Fn(usize) -> Option<u32>,
        validation: bool,
    ) -> Vec<u32> {
        // Class after class, each in its own order, dealt to the parts in turn: no part has more than one sample more than
        // another, of any class.
        order.sort_by_key(|&i| class(i as usize));
        let is_in = |place: usize| place % self.of == self.number - 1;
        let dealt = order.into_iter().enumerate();
        let mut side: Vec<u32> =
            dealt.filter(|(place, _)| is_in(*place) == validation).map(|(_, i)| i).collect();
        side.sort_unstable();
        side
    }
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
    fn folds_have_their_share_of_each_class() {
        let class =
            |i: usize| Some(u32::from(i.is_multiple_of(10)) + u32::from(i.is_multiple_of(25)));
        let mut all = Vec::new();
        for number in 1..=4 {
            let parts =
                Parts::of(Some(Share::Fold(Fold { number, of: 4 })), Some(Subset::Validation), 7);
            let fold = parts.kept("x", 203, &class).unwrap().unwrap();
            let others = parts.training("x", 203, &class).unwrap().unwrap();
            assert_eq!(fold.len() + others.len(), 203);
            assert!(others.iter().all(|i| !fold.contains(i)));
            for c in 0..3 {
                let count = |of: &mut dyn Iterator<Item = usize>| {
                    of.filter(|&i| class(i) == Some(c)).count()
                };
                let (own, total) =
                    (count(&mut fold.iter().map(|&i| i as usize)), count(&mut (0..203)));
                assert!(
                    (total / 4..=total.div_ceil(4)).contains(&own),
                    "class {c}: {own} of {total}"
                );
            }
            all.extend(fold);
        }
        all.sort_unstable();
        assert!(all.into_iter().eq(0..203));
        let wrong = Fold::try_from("6/5".to_owned()).unwrap_err();
        assert!(wrong.contains("found \"6/5\""), "{wrong}");
        assert_eq!(
            format!(
                "{:?} {:?}",
                Some(Share::Fraction(0.2)),
                Share::Fold(Fold { number: 2, of: 5 })
            ),
            "Some(0.2) \"2/5\""
        );
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
