//! The training texts as what tokens may be within: parts of words in one script, each with its count.

use unicode_script::{Script, UnicodeScript};

use crate::TextError;
use crate::tokenizer::sentencepiece::MARK;
use crate::tokenizer::vocabulary::Map;

/// Most characters of all different segments together: places are `u32`, and each has up to 16 tokens.
const MOST_CHARACTERS: usize = 1 << 27;

/// Segments of words. Their characters are numbers: places in the alphabet.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Segments {
    /// The characters that are tokens, the most frequent ones first.
    pub(crate) alphabet: Vec<char>,
    /// How often each of them occurs.
    pub(crate) frequencies: Vec<u64>,
    /// The characters of all segments, one segment after the other.
    pub(crate) characters: Vec<u32>,
    /// Where each segment begins, and at last where the last one ends.
    pub(crate) starts: Vec<u32>,
    /// How often each segment occurs.
    pub(crate) counts: Vec<u64>,
}

impl Segments {
    /// Of texts: words are cut where the script changes and at characters that are left out of the alphabet. That
    /// has the most frequent characters, up to `room` of them, that make up the share `coverage` of the texts.
    pub(crate) fn new(
        texts: &mut dyn Iterator<Item = &str>,
        coverage: f64,
        room: usize,
    ) -> Result<Segments, TextError> {
        let words = words(texts);
        let (alphabet, frequencies) = alphabet(&words, coverage, room);
        let places: Map<char, u32> = alphabet.iter().copied().zip(0..).collect();
        let mut counts: Map<Box<[u32]>, u64> = Map::default();
        let mut segment = Vec::new();
        for (word, n) in &words {
            let mut before = None;
            for c in std::iter::once(MARK).chain(word.chars()) {
                let script = script(c, before);
                let place = places.get(&c);
                let other = before.is_some() && script != before;
                if place.is_none() || other {
                    add(&mut counts, &mut segment, *n);
                }
                segment.extend(place);
                before = script;
            }
            add(&mut counts, &mut segment, *n);
        }
        let mut sorted: Vec<_> = counts.into_iter().collect();
        sorted.sort_unstable();
        if sorted.iter().map(|(segment, _)| segment.len()).sum::<usize>() > MOST_CHARACTERS {
            return Err(TextError::new(format!(
                "the different words of the training texts have more than {MOST_CHARACTERS} characters \
                 together; train unigram on a part of the texts"
            )));
        }
        let mut segments = Segments { alphabet, frequencies, ..Segments::default() };
        segments.starts.push(0);
        for (segment, n) in sorted {
            segments.characters.extend_from_slice(&segment);
            segments.starts.push(segments.characters.len() as u32);
            segments.counts.push(n);
        }
        Ok(segments)
    }
}

/// What is between spaces, with counts, sorted. Before each stands the mark of a space, which is left out here.
fn words(texts: &mut dyn Iterator<Item = &str>) -> Vec<(Box<str>, u64)> {
    let mut counts: Map<Box<str>, u64> = Map::default();
    for text in texts.filter(|text| !text.is_empty()) {
        for word in text.split([' ', MARK]) {
            match counts.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(counts.insert(word.into(), 1)),
            }
        }
    }
    let mut words: Vec<_> = counts.into_iter().collect();
    words.sort_unstable();
    words
}

/// The most frequent characters and how often each occurs; of equally frequent ones the first code point.
fn alphabet(words: &[(Box<str>, u64)], coverage: f64, room: usize) -> (Vec<char>, Vec<u64>) {
    let mut counts: Map<char, u64> = Map::default();
    for (word, n) in words {
        *counts.entry(MARK).or_default() += n;
        word.chars().for_each(|c| *counts.entry(c).or_default() += n);
    }
    let all: u64 = counts.values().sum();
    let mut sorted: Vec<_> = counts.into_iter().collect();
    sorted.sort_unstable_by(|(a, n), (b, m)| m.cmp(n).then(a.cmp(b)));
    let mut covered = 0;
    // A model of SentencePiece may not have the character of number 0; it is written as a byte.
    sorted.retain(|&(c, _)| c != '\0');
    let kept = sorted.into_iter().take(room).take_while(|(_, n)| {
        let lacks = (covered as f64) < coverage * all as f64;
        covered += n;
        lacks
    });
    kept.unzip()
}

/// Adds a segment and empties it.
fn add(counts: &mut Map<Box<[u32]>, u64>, segment: &mut Vec<u32>, n: u64) {
    if !segment.is_empty() {
        *counts.entry(segment.as_slice().into()).or_default() += n;
        segment.clear();
    }
}

/// The script that a character counts as after one of the script `before`: the mark of a space goes with any,
/// combining marks with what they follow; the scripts of Japanese are one.
fn script(c: char, before: Option<Script>) -> Option<Script> {
    match c.script() {
        _ if c == MARK => None,
        Script::Inherited => before,
        Script::Hiragana | Script::Katakana => Some(Script::Han),
        _ if c == '\u{30fc}' => Some(Script::Han),
        script => Some(script),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_where_the_script_changes() {
        let texts = ["ab-12 ab  カなー漢x", "", "e\u{301}1 Ωab"];
        let segments = Segments::new(&mut texts.into_iter(), 1.0, 100).unwrap_or_default();
        let mut found: Vec<(String, u64)> = Vec::new();
        for (at, n) in segments.counts.iter().enumerate() {
            let range = segments.starts[at] as usize..segments.starts[at + 1] as usize;
            let places = segments.characters[range].iter();
            found.push((places.map(|&c| segments.alphabet[c as usize]).collect(), *n));
        }
        found.sort();
        let expected = [
            ("-12", 1),
            ("1", 1),
            ("ab", 1),
            ("x", 1),
            ("▁", 1),
            ("▁ab", 2),
            ("▁e\u{301}", 1),
            ("▁Ω", 1),
            ("▁カなー漢", 1),
        ]; // of code points
        assert_eq!(found, expected.map(|(s, n)| (s.to_owned(), n)));
        assert_eq!(segments.alphabet[0], MARK);
        assert_eq!(segments.frequencies[0], 6);
    }

    #[test]
    fn rare_characters_are_left_out() {
        let texts = ["aaaa bbb c"];
        let of = |coverage, room| {
            let segments = Segments::new(&mut texts.into_iter(), coverage, room);
            segments.unwrap_or_default().alphabet.into_iter().collect::<String>()
        };
        assert_eq!(of(1.0, 9), "ab▁c");
        assert_eq!(of(0.9, 9), "ab▁");
        assert_eq!(of(0.5, 9), "ab");
        assert_eq!(of(1.0, 3), "ab▁");
    }
}
