//! Word and character error rate as jiwer has them.

use super::{quotient, words};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// WER: what lies between spaces. Case and punctuation count.
    Words,
    /// CER: Unicode scalars, spaces within the text included.
    Characters,
}

/// Word or character error rate of a corpus, equal to jiwer 4.0.0 with its default transforms. Among equally
/// short alignments its choice is taken, so that substitutions, deletions and insertions are equal too; beyond
/// lines of some 2000 by 2000 units, where it takes others to save memory, only their sum is.
///
/// A line costs the product of both lengths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorRate {
    unit: Unit,
    score: ErrorRateScore,
}

/// The edits that make the references the hypotheses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRateScore {
    /// Units that are right.
    pub hits: u64,
    /// Units that are others.
    pub substitutions: u64,
    /// Units of the reference that are missing.
    pub deletions: u64,
    /// Units too many.
    pub insertions: u64,
}

impl ErrorRateScore {
    /// Errors per unit of the references, 0 to 1 or above. Without any unit there, the insertions, as in jiwer.
    pub fn value(&self) -> f64 {
        let units = self.hits + self.substitutions + self.deletions;
        if units == 0 {
            return self.insertions as f64;
        }
        quotient(self.substitutions + self.deletions + self.insertions, units)
    }
}

impl ErrorRate {
    /// Of no line yet.
    pub fn new(unit: Unit) -> ErrorRate {
        ErrorRate { unit, score: ErrorRateScore::default() }
    }

    /// Counts a line.
    pub fn add(&mut self, hypothesis: &str, reference: &str) {
        let edits = match self.unit {
            Unit::Words => {
                let [hypothesis, reference] = [hypothesis, reference].map(single_spaced);
                fewest_edits(&split(&reference), &split(&hypothesis))
            }
            Unit::Characters => {
                let chars = |text: &str| Vec::from_iter(text.trim_matches(words::is_space).chars());
                fewest_edits(&chars(reference), &chars(hypothesis))
            }
        };
        let score = &mut self.score;
        score.hits += edits.hits;
        score.substitutions += edits.substitutions;
        score.deletions += edits.deletions;
        score.insertions += edits.insertions;
    }

    /// Of the lines so far.
    pub fn score(&self) -> ErrorRateScore {
        self.score
    }
}

/// The units of a text.
pub(super) fn units(text: &str, unit: Unit) -> Vec<String> {
    match unit {
        Unit::Words => split(&single_spaced(text)).into_iter().map(str::to_owned).collect(),
        Unit::Characters => text.trim_matches(words::is_space).chars().map(String::from).collect(),
    }
}

/// jiwer's `RemoveMultipleSpaces`: a single tab is no space.
fn single_spaced(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let is_run = words::is_space(c) && chars.next_if(|&next| words::is_space(next)).is_some();
        while is_run && chars.next_if(|&next| words::is_space(next)).is_some() {}
        out.push(if is_run { ' ' } else { c });
    }
    out
}

fn split(text: &str) -> Vec<&str> {
    let text = text.trim_matches(words::is_space);
    text.split(' ').filter(|word| !word.is_empty()).collect()
}

/// A row of the edit distance, of which each cell carries what the way back from it would meet: so no matrix
/// is kept. The way is that of rapidfuzz 3: what both start or end with is kept; from the end, a deletion if
/// the distance allows it, else an insertion, else a substitution.
fn fewest_edits<T: PartialEq>(reference: &[T], hypothesis: &[T]) -> ErrorRateScore {
    let start = shared(reference.iter(), hypothesis.iter());
    let (reference, hypothesis) = (&reference[start..], &hypothesis[start..]);
    let end = shared(reference.iter().rev(), hypothesis.iter().rev());
    let reference = &reference[..reference.len() - end];
    let hypothesis = &hypothesis[..hypothesis.len() - end];

    let first = ErrorRateScore { hits: (start + end) as u64, ..ErrorRateScore::default() };
    let deleted = |deletions| ErrorRateScore { deletions, ..first };
    let mut row: Vec<ErrorRateScore> = (0..=reference.len() as u64).map(deleted).collect();
    for unit in hypothesis {
        let mut corner = row[0];
        row[0].insertions += 1;
        for (j, other) in reference.iter().enumerate() {
            let (left, above) = (row[j], row[j + 1]);
            let is_same = unit == other;
            let [at_corner, at_left, at_above] = [corner, left, above].map(distance);
            let here = (at_corner + u64::from(!is_same)).min(at_left + 1).min(at_above + 1);
            row[j + 1] = if here == at_left + 1 {
                ErrorRateScore { deletions: left.deletions + 1, ..left }
            } else if at_corner == at_above + 1 {
                ErrorRateScore { insertions: above.insertions + 1, ..above }
            } else if is_same {
                ErrorRateScore { hits: corner.hits + 1, ..corner }
            } else {
                ErrorRateScore { substitutions: corner.substitutions + 1, ..corner }
            };
            corner = above;
        }
    }
    row.pop().unwrap_or(first)
}

fn distance(edits: ErrorRateScore) -> u64 {
    edits.substitutions + edits.deletions + edits.insertions
}

/// How many units both start with.
fn shared<'a, T: PartialEq + 'a>(
    a: impl Iterator<Item = &'a T>,
    b: impl Iterator<Item = &'a T>,
) -> usize {
    a.zip(b).take_while(|(a, b)| a == b).count()
}

impl fmt::Display for ErrorRateScore {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let ErrorRateScore { hits, substitutions, deletions, insertions } = self;
        let value = 100.0 * self.value();
        write!(f, "{value:.2} % (H = {hits} S = {substitutions} D = {deletions} I = {insertions})")
    }
}
