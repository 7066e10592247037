//! The words of a text and their ids.
//!
//! Words are runs of letters and digits (Unicode), in lower case. A word's id is its hash, from 1 on
//! ("hashing trick", Weinberger et al. 2009), so that nothing has to be fitted and a stream may bring
//! words that were never seen; two words may share an id. Id 0 stands for a text without words, and
//! fills up batches.
//!
//! Words in a row and parts of words can have ids too (Joulin et al. 2017, Bojanowski et al. 2017), of the same
//! rows. After a word's id come those of its parts, then those of the words in a row that end with it.

use std::collections::VecDeque;

/// Which ids a text becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextIds {
    /// Ids at most; the rest of a longer text is cut off.
    pub length: usize,
    /// Ids are below this.
    pub vocabulary: usize,
    /// Words in a row that have an id together; 1 for words alone.
    pub ngrams: usize,
    /// Characters of the parts of a word that have an id, the least and the most; 0 for no parts.
    pub characters: [usize; 2],
}

impl TextIds {
    /// An id for each word, and for nothing else.
    pub fn words(length: usize, vocabulary: usize) -> TextIds {
        TextIds { length, vocabulary, ngrams: 1, characters: [0, 0] }
    }

    /// Appends the ids of a text to `out`, at most `length`; a single 0 if it has no words. Returns how many were cut
    /// off.
    pub fn append(&self, text: &str, out: &mut Vec<i32>) -> usize {
        let start = out.len();
        let mut cut = 0;
        let mut push = |hash: u64| match out.len() - start < self.length {
            true => out.push(id_of(hash, self.vocabulary)),
            false => cut += 1,
        };
        let mut last: VecDeque<u64> = VecDeque::new();
        for word in words(text) {
            let own = hash(word.as_bytes());
            push(own);
            if self.characters[1] > 0 {
                parts(&word, self.characters, &mut push);
            }
            for before in 1..=last.len() {
                let first = last.len() - before;
                push(last.range(first..).chain([&own]).copied().reduce(followed_by).unwrap_or(own));
            }
            last.push_back(own);
            if last.len() >= self.ngrams {
                last.pop_front();
            }
        }
        if out.len() == start {
            out.push(0);
        }
        cut
    }
}

/// The words of a text, in lower case.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// The id of a word, `1 .. vocabulary`; 0 if the vocabulary has no room.
pub fn id(word: &str, vocabulary: usize) -> i32 {
    id_of(hash(word.as_bytes()), vocabulary)
}

fn id_of(hash: u64, vocabulary: usize) -> i32 {
    match vocabulary.checked_sub(1) {
        None | Some(0) => 0,
        Some(rows) => 1 + (hash % rows as u64) as i32,
    }
}

/// The hashes of a word's parts. Its ends are characters of their own, so that a prefix is no infix.
fn parts(word: &str, [least, most]: [usize; 2], push: &mut impl FnMut(u64)) {
    let word = format!("<{word}>");
    let starts: Vec<usize> = word.char_indices().map(|(at, _)| at).chain([word.len()]).collect();
    let characters = starts.len() - 1;
    for first in 0..characters {
        for end in first + least..=(first + most).min(characters) {
            // An end alone says nothing.
            if end - first > 1 || (first > 0 && end < characters) {
                let part = &word.as_bytes()[starts[first]..starts[end]];
                push(followed_by(PART, hash(part)));
            }
        }
    }
}

/// Sets the parts of words apart from words that are written the same.
const PART: u64 = 0x7061_7274;

/// The hash of two things in that order.
fn followed_by(first: u64, second: u64) -> u64 {
    mixed(first.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(second))
}

/// FNV-1a of 64 bits (Fowler, Noll, Vo), its bits mixed so that its rest by any number is even.
fn hash(bytes: &[u8]) -> u64 {
    let h = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, &b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mixed(h)
}

fn mixed(h: u64) -> u64 {
    let h = (h ^ (h >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    h ^ (h >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        let all: Vec<String> = words("Don't PANIC, it's 42 – Größe 10km!").collect();
        assert_eq!(all, ["don", "t", "panic", "it", "s", "42", "größe", "10km"]);
    }

    #[test]
    fn ids_are_the_same_for_ever_and_leave_0_to_the_padding() {
        assert_eq!((id("tide", 1000), id("mill", 1000)), (id("tide", 1000), id("mill", 1000)));
        assert!((0..500).all(|i| (1..1000).contains(&id(&i.to_string(), 1000))));
        let mut ids = Vec::new();
        assert_eq!(TextIds::words(2, 1000).append("one two three", &mut ids), 1);
        assert_eq!(ids, [id("one", 1000), id("two", 1000)]);
        ids.clear();
        assert_eq!(TextIds::words(2, 1000).append(" -- ", &mut ids), 0);
        assert_eq!(ids, [0]);
    }

    fn ids(text: &str, ngrams: usize, characters: [usize; 2]) -> Vec<i32> {
        let mut ids = Vec::new();
        let how = TextIds { length: 100, vocabulary: 1 << 30, ngrams, characters };
        assert_eq!(how.append(text, &mut ids), 0);
        ids
    }

    #[test]
    fn words_in_a_row_have_ids_by_their_order() {
        let all = ids("one two three", 3, [0, 0]);
        let [one, two, one_two, three, two_three, one_two_three] = all[..] else {
            panic!("{all:?}")
        };
        assert_eq!(vec![one, two, three], ids("one two three", 1, [0, 0]));
        assert_eq!(ids("ONE, two", 2, [0, 0]), [one, two, one_two]);
        assert_eq!(ids("two three", 2, [0, 0]), [two, three, two_three]);
        assert_ne!(ids("two one", 2, [0, 0])[2], one_two);
        assert!(!all[..5].contains(&one_two_three));
    }

    #[test]
    fn parts_of_words_have_ids_beside_those_of_words() {
        // <größe>: 7 characters, so 5 of 3 and 4 of 4.
        let all = ids("größe", 1, [3, 4]);
        assert_eq!(all.len(), 1 + 5 + 4);
        assert_eq!(all[0], id("größe", 1 << 30));
        let own: std::collections::BTreeSet<i32> = ids("öß", 1, [2, 2]).into_iter().collect();
        // The word öß is no part of größe, and the part öß is.
        let shared = ids("größe", 1, [2, 2]).into_iter().filter(|id| own.contains(id));
        assert_eq!(shared.count(), 1);
        assert_eq!(ids("a", 1, [1, 1]).len(), 2);
        assert_eq!(ids("a", 1, [9, 9]).len(), 1);
    }

    #[test]
    fn ids_are_spread_evenly() {
        let mut counts = vec![0; 100];
        (0..10_000).for_each(|i| counts[id(&format!("w{i}"), 101) as usize - 1] += 1);
        // 100 each, with a deviation of 10.
        assert!(counts.iter().all(|n| (55..150).contains(n)), "{counts:?}");
    }
}
