//! The tokens that training begins with: substrings that occur more than once, by a sorted array of suffixes.

use super::lattice::{LENGTH_BITS, Lattice, Piece};
use super::segments::Segments;

/// The longest token in characters, as SentencePiece has it by default.
const LONGEST: usize = 16;
/// The most substrings to begin with, as SentencePiece has it by default.
const MOST_SEEDS: usize = 1_000_000;

/// Bits of a character in the key of a suffix; each is a number below the number of code points.
const CHARACTER_BITS: u32 = 21;

/// A substring: where it is in the sorted suffixes, its length, and how many characters it covers.
struct Seed {
    score: u64,
    left: u32,
    right: u32,
    length: u8,
}

/// The sorted suffixes of segments, each cut off after the longest token.
struct Suffixes<'a> {
    characters: &'a [u32],
    /// The length of the suffix that begins at each place.
    lengths: Vec<u8>,
    order: Vec<u32>,
    /// How often the first suffixes occur, together.
    counts: Vec<u64>,
}

impl<'a> Suffixes<'a> {
    fn new(segments: &'a Segments) -> Suffixes<'a> {
        let characters = segments.characters.as_slice();
        let mut lengths = vec![0u8; characters.len()];
        let mut of_place = vec![0u64; characters.len()];
        for (range, &n) in segments.starts.windows(2).zip(&segments.counts) {
            for place in range[0]..range[1] {
                lengths[place as usize] = LONGEST.min((range[1] - place) as usize) as u8;
                of_place[place as usize] = n;
            }
        }
        let suffix = |place: u32| {
            let place = place as usize;
            &characters[place..place + lengths[place] as usize]
        };
        // The first characters decide most comparisons; the end of a segment is before all characters.
        let key = |place: u32| {
            (0..3).fold(0u64, |key, at| {
                let c = suffix(place).get(at).map_or(0, |&c| u64::from(c) + 1);
                key << CHARACTER_BITS | c
            })
        };
        let mut sorted: Vec<(u64, u32)> =
            (0..characters.len() as u32).map(|place| (key(place), place)).collect();
        sorted.sort_unstable_by(|&(a, a_place), &(b, b_place)| {
            a.cmp(&b).then_with(|| (suffix(a_place), a_place).cmp(&(suffix(b_place), b_place)))
        });
        let order: Vec<u32> = sorted.into_iter().map(|(_, place)| place).collect();
        let mut counts = vec![0];
        let mut sum = 0;
        for &place in &order {
            sum += of_place[place as usize];
            counts.push(sum);
        }
        Suffixes { characters, lengths, order, counts }
    }

    fn suffix(&self, at: usize) -> &[u32] {
        let place = self.order[at] as usize;
        &self.characters[place..place + self.lengths[place] as usize]
    }

    /// The number of characters that a suffix has in common with the one before.
    fn common(&self, at: usize) -> u8 {
        let pair = self.suffix(at - 1).iter().zip(self.suffix(at));
        pair.take_while(|(a, b)| a == b).count() as u8
    }

    /// The substrings that occur at least twice, and not always before one same character.
    fn seeds(&self) -> Vec<Seed> {
        let mut seeds = Vec::new();
        // Substrings that the suffix so far begins with: the length, and the first suffix that does.
        let mut open: Vec<(u8, usize)> = Vec::new();
        for at in 1..=self.order.len() {
            let last = self.lengths[self.order[at - 1] as usize];
            if open.last().is_none_or(|&(length, _)| length < last) {
                open.push((last, at - 1));
            }
            let common = if at < self.order.len() { self.common(at) } else { 0 };
            let mut left = at - 1;
            while let Some(&(length, first)) = open.last().filter(|(length, _)| *length > common) {
                open.pop();
                left = first;
                let count = self.counts[at] - self.counts[left];
                if length > 1 && count > 1 {
                    let score = count.saturating_mul(length.into());
                    seeds.push(Seed { score, left: left as u32, right: at as u32, length });
                }
            }
            if common > 0 && open.last().is_none_or(|&(length, _)| length < common) {
                open.push((common, left));
            }
        }
        seeds
            .sort_unstable_by(|a, b| (b.score, a.left, a.length).cmp(&(a.score, b.left, b.length)));
        seeds.truncate(MOST_SEEDS);
        seeds
    }
}

/// All ways to make segments of characters and frequent substrings, and the logarithms of the first probabilities.
pub(crate) fn seed(segments: &Segments) -> (Lattice, Vec<f64>) {
    let suffixes = Suffixes::new(segments);
    let seeds = suffixes.seeds();
    let letters = segments.alphabet.len();
    let mut pieces = vec![Piece { place: 0, length: 1 }; letters];
    for (place, &c) in segments.characters.iter().enumerate().rev() {
        pieces[c as usize].place = place as u32;
    }
    let first = |seed: &Seed| suffixes.order[seed.left as usize];
    pieces.extend(seeds.iter().map(|s| Piece { place: first(s), length: s.length }));
    // Edges by the place where they end: how many, then which.
    let places = |seed: &Seed| &suffixes.order[seed.left as usize..seed.right as usize];
    let mut offsets = vec![1u32; segments.characters.len() + 1];
    for seed in &seeds {
        for &place in places(seed) {
            offsets[place as usize + seed.length as usize - 1] += 1;
        }
    }
    let mut sum = 0;
    for offset in &mut offsets {
        sum += std::mem::replace(offset, sum);
    }
    let mut edges = vec![0; offsets[segments.characters.len()] as usize];
    let mut next = offsets.clone();
    let mut put = |end: usize, piece: usize, length: u8| {
        edges[next[end] as usize] = (piece as u32) << LENGTH_BITS | u32::from(length);
        next[end] += 1;
    };
    for (place, &c) in segments.characters.iter().enumerate() {
        put(place, c as usize, 1);
    }
    for (at, seed) in seeds.iter().enumerate() {
        for &place in places(seed) {
            put(place as usize + seed.length as usize - 1, letters + at, seed.length);
        }
    }
    let scores = segments.frequencies.iter().copied().chain(seeds.iter().map(|seed| seed.score));
    let sum: f64 = scores.clone().map(|score| score as f64).sum();
    let scores = scores.map(|score| (score as f64 / sum).ln()).collect();
    let (starts, counts) = (segments.starts.clone(), segments.counts.clone());
    (Lattice { starts, counts, offsets, edges, pieces, letters }, scores)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn seeds_are_what_counting_finds() {
        let texts = ["der rote hund, der große hund und die rote rose", "rotrotrot ababab abab"];
        let segments = Segments::new(&mut texts.into_iter(), 1.0, 100).unwrap_or_default();
        let suffixes = Suffixes::new(&segments);
        let found: BTreeMap<Vec<u32>, u64> = suffixes
            .seeds()
            .iter()
            .map(|seed| {
                let text = suffixes.suffix(seed.left as usize)[..seed.length as usize].to_vec();
                (text, seed.score / u64::from(seed.length))
            })
            .collect();
        // Each substring, by what is after it.
        let mut counted: BTreeMap<Vec<u32>, BTreeMap<Option<u32>, u64>> = BTreeMap::new();
        for (range, n) in segments.starts.windows(2).zip(&segments.counts) {
            let segment = &segments.characters[range[0] as usize..range[1] as usize];
            for start in 0..segment.len() {
                for end in start + 2..=segment.len().min(start + LONGEST) {
                    let after = counted.entry(segment[start..end].to_vec()).or_default();
                    *after.entry(segment.get(end).copied()).or_default() += n;
                }
            }
        }
        let several =
            |after: &BTreeMap<Option<u32>, u64>| after.len() > 1 || after.contains_key(&None);
        let expected: BTreeMap<Vec<u32>, u64> = counted
            .into_iter()
            .filter(|(_, after)| several(after) && after.values().sum::<u64>() > 1)
            .map(|(text, after)| (text, after.values().sum()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_occurrence_is_an_edge() {
        let segments = Segments::new(&mut ["abab ab b"].into_iter(), 1.0, 9).unwrap_or_default();
        let (lattice, scores) = seed(&segments);
        assert_eq!(scores.len(), lattice.pieces.len());
        for end in 0..segments.characters.len() {
            for &edge in
                &lattice.edges[lattice.offsets[end] as usize..lattice.offsets[end + 1] as usize]
            {
                let (piece, length) =
                    (edge >> LENGTH_BITS, (edge & ((1 << LENGTH_BITS) - 1)) as usize);
                let place = lattice.pieces[piece as usize].place as usize;
                let here = &segments.characters[end + 1 - length..=end];
                assert_eq!(here, &segments.characters[place..place + length]);
            }
        }
    }
}
