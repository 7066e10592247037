//! N-grams as sorted lists of numbers: what two texts have in common is one walk over both.

use std::collections::HashMap;

/// The ids of the tokens of a few texts that are compared, in the order in which they come.
#[derive(Default)]
pub(super) struct Ids<'a>(HashMap<&'a str, u32>);

impl<'a> Ids<'a> {
    pub(super) fn of(&mut self, tokens: impl Iterator<Item = &'a str>) -> Vec<u32> {
        let id = |token| {
            let next = self.0.len() as u32;
            *self.0.entry(token).or_insert(next)
        };
        tokens.map(id).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Bits of an id of [`Ids`]: n-grams up to 4 fit in a key.
pub(super) const ID: u32 = 32;
/// Bits of a Unicode scalar: n-grams up to 6 fit.
pub(super) const CHAR: u32 = 21;

/// The n-grams of a text as keys, each as often as it occurs, sorted. `bits` times `n` is at most 128.
pub(super) fn grams(ids: &[u32], n: usize, bits: u32) -> Vec<u128> {
    let key = |gram: &[u32]| gram.iter().fold(0, |key, &id| key << bits | u128::from(id));
    let mut keys: Vec<u128> = ids.windows(n).map(key).collect();
    keys.sort_unstable();
    keys
}

/// How many keys two sorted lists share, each counted as often as both have it.
pub(super) fn common(a: &[u128], b: &[u128]) -> u64 {
    let (mut i, mut j, mut shared) = (0, 0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        shared += u64::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    shared
}

/// Each key as often as in that one of two sorted lists that has it more often, sorted.
pub(super) fn union(a: &[u128], b: &[u128]) -> Vec<u128> {
    let (mut i, mut j) = (0, 0);
    let mut all = Vec::with_capacity(a.len().max(b.len()));
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        all.push(*x.min(y));
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    all.extend(&a[i..]);
    all.extend(&b[j..]);
    all
}
