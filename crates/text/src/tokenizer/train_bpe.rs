//! Training byte-level BPE: the most frequent pair becomes a token, again and again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::byte_level;
use super::decoder::Decoder;
use super::json::Parts;
use super::model::{Bpe, Model};
use super::pre_tokenizer::{ByteLevel, PreTokenizer};
use super::spec::BpeSpec;
use super::train::{SPECIAL, count, special};
use super::vocabulary::{Map, Vocabulary};
use crate::TextError;

type Pair = (i32, i32);

/// A pair that may be merged: its count when it was queued, and the words that it came up in. The
/// greatest one has the highest count, of those the lowest ids.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    count: i64,
    pair: Reverse<Pair>,
    /// Of two entries of one pair, the first one is greater.
    age: Reverse<u32>,
    words: Vec<u32>,
}

/// Words with their counts, and the counts of their pairs.
struct Counts {
    words: Vec<(Vec<i32>, u64)>,
    pairs: Map<Pair, i64>,
    queue: BinaryHeap<Candidate>,
    entries: u32,
}

/// The same merges as those of `BpeTrainer` of `tokenizers` with the special tokens and the alphabet of
/// bytes.
pub(crate) fn bpe(
    spec: &BpeSpec,
    texts: &mut dyn Iterator<Item = &str>,
) -> Result<Parts, TextError> {
    let pre_tokenizer =
        PreTokenizer::ByteLevel(ByteLevel { add_prefix_space: false, ..ByteLevel::default() });
    let words = count(&pre_tokenizer, texts);
    if words.is_empty() {
        return Err(TextError::new("the training texts are empty: check the files of texts"));
    }
    let mut vocabulary: Vocabulary = SPECIAL.iter().collect();
    let mut alphabet = *byte_level::characters();
    alphabet.sort_unstable();
    let mut bytes = [0; 4];
    alphabet.iter().for_each(|c| {
        vocabulary.push(c.encode_utf8(&mut bytes));
    });
    let ids =
        byte_level::characters().map(|c| vocabulary.id(c.encode_utf8(&mut bytes)).unwrap_or(0));
    let mut counts = Counts::new(
        words
            .iter()
            .map(|(word, n)| (word.bytes().map(|b| ids[b as usize]).collect(), *n))
            .collect(),
    );
    let mut merges = Vec::new();
    let mut joined = String::new();
    while vocabulary.len() < spec.vocabulary {
        let Some(top) = counts.next() else { break };
        if top.count < spec.min_frequency.clamp(1, i64::MAX as u64) as i64 {
            break;
        }
        let Reverse(pair) = top.pair;
        joined.clear();
        joined.extend([pair.0, pair.1].iter().filter_map(|&id| vocabulary.token(id)));
        let id = vocabulary.push(&joined);
        merges.push(pair);
        counts.merge(pair, id, &top.words);
    }
    Ok(Parts {
        added_tokens: special(),
        pre_tokenizer: Some(pre_tokenizer),
        decoder: Some(Decoder::ByteLevel(ByteLevel::default())),
        ..Parts::new(Model::Bpe(Bpe::of_bytes(vocabulary, merges)?))
    })
}

/// Notes a word once, however often a pair comes up in it: `merge` reads the whole word.
fn note(words: &mut Vec<u32>, word: u32) {
    if words.last() != Some(&word) {
        words.push(word);
    }
}

impl Counts {
    fn new(words: Vec<(Vec<i32>, u64)>) -> Counts {
        let mut counts =
            Counts { words, pairs: Map::default(), queue: BinaryHeap::new(), entries: 0 };
        let mut places: Map<Pair, Vec<u32>> = Map::default();
        for (at, (word, n)) in counts.words.iter().enumerate() {
            for pair in word.windows(2) {
                *counts.pairs.entry((pair[0], pair[1])).or_default() += *n as i64;
                note(places.entry((pair[0], pair[1])).or_default(), at as u32);
            }
        }
        counts.queue(places);
        counts
    }

    fn queue(&mut self, places: Map<Pair, Vec<u32>>) {
        for (pair, words) in places {
            let count = self.pairs.get(&pair).copied().unwrap_or(0);
            if count > 0 {
                self.entries += 1;
                let (pair, age) = (Reverse(pair), Reverse(self.entries));
                self.queue.push(Candidate { count, pair, age, words });
            }
        }
    }

    /// The most frequent pair.
    fn next(&mut self) -> Option<Candidate> {
        loop {
            let mut top = self.queue.pop()?;
            let now = self.pairs.get(&top.pair.0).copied().unwrap_or(0);
            if now == top.count {
                return Some(top);
            }
            // Other merges have taken some of its occurrences.
            if now > 0 {
                top.count = now;
                self.queue.push(top);
            }
        }
    }

    /// Makes a pair one token in these words.
    fn merge(&mut self, pair: Pair, id: i32, places: &[u32]) {
        let mut new: Map<Pair, Vec<u32>> = Map::default();
        for &place in places {
            let Some((word, n)) = self.words.get_mut(place as usize) else { continue };
            let mut change = |pair: Pair, sign: i64| {
                *self.pairs.entry(pair).or_default() += sign * *n as i64;
                if sign > 0 {
                    note(new.entry(pair).or_default(), place);
                }
            };
            let (mut read, mut write) = (0, 0usize);
            while read < word.len() {
                if word[read..].starts_with(&[pair.0, pair.1]) {
                    // The count of the pair itself stays, as there.
                    if let Some(&before) = write.checked_sub(1).and_then(|at| word.get(at)) {
                        change((before, pair.0), -1);
                        change((before, id), 1);
                    }
                    if let Some(&after) = word.get(read + 2) {
                        change((pair.1, after), -1);
                        change((id, after), 1);
                    }
                    word[write] = id;
                    read += 2;
                } else {
                    word[write] = word[read];
                    read += 1;
                }
                write += 1;
            }
            word.truncate(write);
        }
        self.queue(new);
    }
}
