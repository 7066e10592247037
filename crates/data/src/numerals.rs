//! Numbers in English and in German words: a translation to learn, so that a first run needs no download.
//!
//! German puts units before tens and writes a number as one word: `two hundred forty-one thousand` is
//! `zweihunderteinundvierzigtausend`, so that a model must learn more than words.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::random::{Stream, key};
use crate::{Error, Result};

/// The greatest number.
const MOST: u64 = 999_999;

const ENGLISH: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const ENGLISH_TENS: [&str; 10] =
    ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const GERMAN: [&str; 20] = [
    "null",
    "eins",
    "zwei",
    "drei",
    "vier",
    "fünf",
    "sechs",
    "sieben",
    "acht",
    "neun",
    "zehn",
    "elf",
    "zwölf",
    "dreizehn",
    "vierzehn",
    "fünfzehn",
    "sechzehn",
    "siebzehn",
    "achtzehn",
    "neunzehn",
];
const GERMAN_TENS: [&str; 10] = [
    "", "", "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig",
];

/// A number below a million in English words.
pub fn english(n: u64) -> String {
    let mut words = Vec::new();
    if n >= 1000 {
        words.extend([english(n / 1000), "thousand".into()]);
    }
    let rest = n % 1000;
    if rest >= 100 {
        words.extend([ENGLISH[(rest / 100) as usize].into(), "hundred".to_owned()]);
    }
    match rest % 100 {
        0 if n > 0 => {}
        small @ 0..20 => words.push(ENGLISH[small as usize].into()),
        tens => {
            let unit = match tens % 10 {
                0 => String::new(),
                unit => format!("-{}", ENGLISH[unit as usize]),
            };
            words.push(format!("{}{unit}", ENGLISH_TENS[(tens / 10) as usize]));
        }
    }
    words.join(" ")
}

/// A number below a million as the German word.
pub fn german(n: u64) -> String {
    // `eins` stands at the end alone.
    let before = |n: u64| match german(n) {
        word if n % 100 == 1 => word[..word.len() - 1].to_owned(),
        word => word,
    };
    let mut word = String::new();
    if n >= 1000 {
        word += &(before(n / 1000) + "tausend");
    }
    let rest = n % 1000;
    if rest >= 100 {
        word += &(before(rest / 100) + "hundert");
    }
    match rest % 100 {
        0 if n > 0 => {}
        small @ 0..20 => word += GERMAN[small as usize],
        tens => {
            if !tens.is_multiple_of(10) {
                word += &(before(tens % 10) + "und");
            }
            word += GERMAN_TENS[(tens / 10) as usize];
        }
    }
    word
}

/// The files that were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumeralsWritten {
    /// English numbers to learn from.
    pub train: PathBuf,
    /// English numbers that are not among them.
    pub test: PathBuf,
}

/// Writes `train` pairs to learn from and `test` other ones into `folder`, as `train.en`, `train.de`, `test.en` and
/// `test.de`. The same seed writes the same files.
///
/// # Errors
/// If more pairs are wanted than there are numbers, or a file cannot be written.
pub fn write_numerals(
    folder: &Path,
    seed: u64,
    train: usize,
    test: usize,
) -> Result<NumeralsWritten> {
    if (train + test) as u64 > MOST / 2 {
        return Err(Error::option(format!("at most {} pairs", MOST / 2)));
    }
    let mut stream = Stream::new(key(seed, &[0x6e75_6d73]));
    let (mut seen, mut numbers) = (BTreeSet::new(), Vec::new());
    while numbers.len() < train + test {
        // As many of few digits as of many.
        let below = [100, 1000, 10_000, 100_000, MOST + 1][(stream.bits() % 5) as usize];
        let mut n = stream.bits() % below;
        while !seen.insert(n) {
            n = (n + 1) % (MOST + 1);
        }
        numbers.push(n);
    }
    std::fs::create_dir_all(folder).map_err(|e| Error::write(folder, e))?;
    let write = |name: &str, numbers: &[u64], in_words: fn(u64) -> String| {
        let path = folder.join(name);
        let text: String = numbers.iter().map(|&n| in_words(n) + "\n").collect();
        std::fs::write(&path, text).map_err(|e| Error::write(&path, e))?;
        Ok::<PathBuf, Error>(path)
    };
    let (learned, other) = numbers.split_at(train);
    write("train.de", learned, german)?;
    write("test.de", other, german)?;
    Ok(NumeralsWritten {
        train: write("train.en", learned, english)?,
        test: write("test.en", other, english)?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_words() {
        for (n, en, de) in [
            (0, "zero", "null"),
            (1, "one", "eins"),
            (21, "twenty-one", "einundzwanzig"),
            (30, "thirty", "dreißig"),
            (100, "one hundred", "einhundert"),
            (101, "one hundred one", "einhunderteins"),
            (1_000, "one thousand", "eintausend"),
            (
                241_017,
                "two hundred forty-one thousand seventeen",
                "zweihunderteinundvierzigtausendsiebzehn",
            ),
            (101_001, "one hundred one thousand one", "einhunderteintausendeins"),
            (
                999_999,
                "nine hundred ninety-nine thousand nine hundred ninety-nine",
                "neunhundertneunundneunzigtausendneunhundertneunundneunzig",
            ),
        ] {
            assert_eq!((english(n).as_str(), german(n).as_str()), (en, de));
        }
    }

    #[test]
    fn tests_are_not_among_what_is_learned() {
        let dir = tempfile::tempdir().unwrap();
        let written = write_numerals(dir.path(), 3, 900, 200).unwrap();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        let (train, test) = (read(&written.train), read(&written.test));
        let learned: BTreeSet<&str> = train.lines().collect();
        assert_eq!((learned.len(), test.lines().count()), (900, 200));
        assert!(test.lines().all(|line| !learned.contains(line)));
        assert_eq!(read(&dir.path().join("train.de")).lines().count(), 900);
        let again = tempfile::tempdir().unwrap();
        assert_eq!(read(&write_numerals(again.path(), 3, 900, 200).unwrap().train), train);
    }
}
