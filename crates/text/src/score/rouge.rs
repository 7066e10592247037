//! ROUGE as rouge-score has it.

use super::grams::{self, ID, Ids};
use super::porter;
use super::{References, ScoreError, quotient, yes};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How ROUGE is computed; the default is rouge-score's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RougeOptions {
    /// Whether the stems of words are compared: Porter's, as most papers on summaries do.
    pub stemmer: bool,
    /// Whether one of several references counts for all kinds: the one with the highest F of ROUGE-1, as the figures of
    /// SciTLDR have it. Else each kind has its own.
    pub one_reference: bool,
}

/// One kind of ROUGE, each figure from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RougeScore {
    /// What is shared, per word of the hypothesis.
    pub precision: f64,
    /// What is shared, per word of the reference.
    pub recall: f64,
    /// Their harmonic mean.
    pub f: f64,
}

impl RougeScore {
    fn new(shared: u64, hypothesis: usize, reference: usize) -> RougeScore {
        let precision = quotient(shared, hypothesis as u64);
        let recall = quotient(shared, reference as u64);
        let sum = precision + recall;
        let f = if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 };
        RougeScore { precision, recall, f }
    }
}

/// ROUGE of a corpus (Lin, 2004): the mean over lines. Equal to rouge-score 0.1.2; with several references,
/// the one with the highest F of each kind counts, as in its `score_multi`, unless the options say otherwise.
///
/// Words are runs of `a` to `z` and digits in the lower-cased text: texts in other scripts have none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rouge {
    options: RougeOptions,
    references: References,
    sums: RougeScores,
}

/// The kinds of ROUGE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RougeScores {
    /// Of words.
    pub rouge1: RougeScore,
    /// Of pairs of words.
    pub rouge2: RougeScore,
    /// Of the longest common subsequence of the whole texts.
    pub rouge_l: RougeScore,
    /// Of the longest common subsequences of sentences, which are lines: another figure than `rouge_l` where
    /// a text has several lines.
    pub rouge_lsum: RougeScore,
}

impl RougeScores {
    /// Each kind of two, combined.
    fn with(
        &self,
        other: &RougeScores,
        f: impl Fn(&RougeScore, &RougeScore) -> RougeScore,
    ) -> Self {
        RougeScores {
            rouge1: f(&self.rouge1, &other.rouge1),
            rouge2: f(&self.rouge2, &other.rouge2),
            rouge_l: f(&self.rouge_l, &other.rouge_l),
            rouge_lsum: f(&self.rouge_lsum, &other.rouge_lsum),
        }
    }
}

impl Rouge {
    /// Of no line yet.
    pub fn new(options: RougeOptions) -> Rouge {
        Rouge { options, references: References::default(), sums: RougeScores::default() }
    }

    /// Counts a line. Its cost is that of the longest common subsequence: words times words.
    pub fn add(
        &mut self,
        hypothesis: &str,
        references: &[impl AsRef<str>],
    ) -> Result<(), ScoreError> {
        self.references.count(references.len())?;
        let hypothesis = self.sentences(hypothesis);
        let scores = references.iter().map(|r| compared(&hypothesis, &self.sentences(r.as_ref())));
        let one = self.options.one_reference;
        let best = scores.reduce(|best, next| match one {
            true if next.rouge1.f > best.rouge1.f => next,
            true => best,
            false => best.with(&next, |best, next| if next.f > best.f { *next } else { *best }),
        });
        self.sums = self.sums.with(&best.unwrap_or_default(), |sum, one| RougeScore {
            precision: sum.precision + one.precision,
            recall: sum.recall + one.recall,
            f: sum.f + one.f,
        });
        Ok(())
    }

    /// The words of each line of a text.
    fn sentences(&self, text: &str) -> Vec<Vec<String>> {
        let stemmed = |word: &str| {
            if self.options.stemmer && word.len() > 3 {
                porter::stem(word)
            } else {
                word.to_owned()
            }
        };
        let text = text.to_lowercase();
        let is_other = |c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit();
        let words = |line: &str| -> Vec<String> {
            line.split(is_other).filter(|word| !word.is_empty()).map(stemmed).collect()
        };
        text.split('\n').map(words).collect()
    }

    /// The mean over the lines so far.
    pub fn score(&self) -> RougeScores {
        let lines = self.references.lines.max(1) as f64;
        self.sums.with(&self.sums, |sum, _| RougeScore {
            precision: sum.precision / lines,
            recall: sum.recall / lines,
            f: sum.f / lines,
        })
    }

    /// What the scores depend on, in the manner of sacrebleu.
    pub fn signature(&self) -> String {
        let (references, stemmer) = (self.references, yes(self.options.stemmer));
        let best = if self.options.one_reference { "|best:rouge1" } else { "" };
        format!("{references}{best}|case:lc|tok:rouge|stemmer:{stemmer}|version:rouge-score-0.1.2")
    }
}

/// F of each kind, in per cent.
impl fmt::Display for RougeScores {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [r1, r2] = [self.rouge1, self.rouge2].map(|score| 100.0 * score.f);
        let [l, lsum] = [self.rouge_l, self.rouge_lsum].map(|score| 100.0 * score.f);
        write!(f, "ROUGE-1 = {r1:.2} ROUGE-2 = {r2:.2} ROUGE-L = {l:.2} ROUGE-Lsum = {lsum:.2}")
    }
}

fn compared(hypothesis: &[Vec<String>], reference: &[Vec<String>]) -> RougeScores {
    let mut ids = Ids::default();
    let [hypothesis_lines, reference_lines] =
        [hypothesis, reference].map(|text| numbered(text, &mut ids));
    let (hypothesis, reference) = (hypothesis_lines.concat(), reference_lines.concat());
    let of_grams = |n| {
        let [h, r] = [&hypothesis, &reference].map(|ids| grams::grams(ids, n, ID));
        RougeScore::new(grams::common(&h, &r), h.len(), r.len())
    };
    let (h, r) = (hypothesis.len(), reference.len());
    let in_order = longest_common(&hypothesis, &reference);
    let in_lines = union_of_lines(&hypothesis_lines, &reference_lines, ids.len());
    RougeScores {
        rouge1: of_grams(1),
        rouge2: of_grams(2),
        rouge_l: RougeScore::new(in_order, h, r),
        rouge_lsum: RougeScore::new(in_lines, h, r),
    }
}

fn numbered<'a>(text: &'a [Vec<String>], ids: &mut Ids<'a>) -> Vec<Vec<u32>> {
    text.iter().map(|line| ids.of(line.iter().map(String::as_str))).collect()
}

/// The length of the longest common subsequence.
fn longest_common(a: &[u32], b: &[u32]) -> u64 {
    let mut row = vec![0; b.len() + 1];
    for x in a {
        next_row(&mut row, *x, b, |_| ());
    }
    row.last().copied().unwrap_or(0)
}

/// The lengths for one word more of the other text. `left` gets the columns whose left neighbour is longer
/// than the one above.
fn next_row(row: &mut [u64], word: u32, b: &[u32], mut left: impl FnMut(usize)) {
    let mut corner = 0;
    for (j, &other) in b.iter().enumerate() {
        let above = row[j + 1];
        if row[j] > above {
            left(j);
        }
        row[j + 1] = if word == other { corner + 1 } else { above.max(row[j]) };
        corner = above;
    }
}

/// Words of the reference that are in the longest common subsequence of their line and any line of the
/// hypothesis, none of them more often than either text has it.
fn union_of_lines(hypothesis: &[Vec<u32>], reference: &[Vec<u32>], ids: usize) -> u64 {
    let counts = |lines: &[Vec<u32>]| {
        let mut counts = vec![0_u64; ids];
        lines.iter().flatten().for_each(|&id| counts[id as usize] += 1);
        counts
    };
    let (mut ours, mut theirs) = (counts(hypothesis), counts(reference));
    let mut hits = 0;
    for line in reference {
        let mut is_common = vec![false; line.len()];
        for other in hypothesis {
            mark_common(line, other, &mut is_common);
        }
        for (&id, _) in line.iter().zip(is_common).filter(|(_, is_common)| *is_common) {
            let (ours, theirs) = (&mut ours[id as usize], &mut theirs[id as usize]);
            if *ours > 0 && *theirs > 0 {
                hits += 1;
                *ours -= 1;
                *theirs -= 1;
            }
        }
    }
    hits
}

/// Marks the words of `a` in a longest common subsequence with `b`: of several, rouge-score's.
fn mark_common(a: &[u32], b: &[u32], is_common: &mut [bool]) {
    // A bit of each cell is enough for the way back.
    let mut is_left = vec![0_u64; (a.len() * b.len()).div_ceil(64)];
    let mut row = vec![0; b.len() + 1];
    for (i, &word) in a.iter().enumerate() {
        next_row(&mut row, word, b, |j| {
            let cell = i * b.len() + j;
            is_left[cell / 64] |= 1 << (cell % 64);
        });
    }
    let (mut i, mut j) = (a.len(), b.len());
    while i > 0 && j > 0 {
        let cell = (i - 1) * b.len() + j - 1;
        if a[i - 1] == b[j - 1] {
            (i, j) = (i - 1, j - 1);
            is_common[i] = true;
        } else if is_left[cell / 64] >> (cell % 64) & 1 == 1 {
            j -= 1;
        } else {
            i -= 1;
        }
    }
}
