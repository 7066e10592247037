//! Which word or character became which: the alignment that an error rate counts.

use super::error_rate::{ErrorRateScore, Unit, units};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write};
use std::ops::Range;

/// Cells of the table of edits; longer texts are cut in two first, where the cheapest way goes through.
const MOST_CELLS: usize = 1 << 24;

/// What became of some units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edit {
    /// They are right.
    Equal,
    /// They are others.
    Substitute,
    /// They are missing in the hypothesis.
    Delete,
    /// They are not in the reference.
    Insert,
}

/// A run of units of which the same became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// What became of them.
    pub edit: Edit,
    /// Units of the reference; none where some were inserted.
    pub reference: Range<usize>,
    /// Units of the hypothesis; none where some are missing.
    pub hypothesis: Range<usize>,
}

/// The alignment of a hypothesis with its reference, equal to that of jiwer 4.0.0 up to lines of some 2000 by 2000
/// units. Displayed as jiwer's `visualize_alignment` shows a sentence, in one line:
///
/// ```
/// use tidemill_text::score::{Alignment, Unit};
///
/// let alignment = Alignment::new("shoe order one", "short one here", Unit::Words);
/// let shown = alignment.to_string();
/// assert_eq!(shown, "REF: **** short one here\nHYP: shoe order one ****\n        I     S        D\n");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alignment {
    unit: Unit,
    /// Units of the reference.
    pub reference: Vec<String>,
    /// Units of the hypothesis.
    pub hypothesis: Vec<String>,
    /// What became of all of them, in order.
    pub chunks: Vec<Chunk>,
}

impl Alignment {
    /// Aligns two texts. The memory is bounded, the time is the product of their lengths.
    pub fn new(hypothesis: &str, reference: &str, unit: Unit) -> Alignment {
        let (reference, hypothesis) = (units(reference, unit), units(hypothesis, unit));
        let mut edits = Vec::new();
        align(&reference, &hypothesis, &mut edits);
        let mut chunks: Vec<Chunk> = Vec::new();
        let (mut r, mut h) = (0, 0);
        for edit in edits {
            let (dr, dh) = (usize::from(edit != Edit::Insert), usize::from(edit != Edit::Delete));
            match chunks.last_mut() {
                Some(last) if last.edit == edit => {
                    (last.reference.end, last.hypothesis.end) = (r + dr, h + dh);
                }
                _ => chunks.push(Chunk { edit, reference: r..r + dr, hypothesis: h..h + dh }),
            }
            (r, h) = (r + dr, h + dh);
        }
        Alignment { unit, reference, hypothesis, chunks }
    }

    /// How many units became what: of one utterance, to find the worst ones.
    pub fn score(&self) -> ErrorRateScore {
        let mut score = ErrorRateScore::default();
        for chunk in &self.chunks {
            let len = chunk.reference.len().max(chunk.hypothesis.len()) as u64;
            match chunk.edit {
                Edit::Equal => score.hits += len,
                Edit::Substitute => score.substitutions += len,
                Edit::Delete => score.deletions += len,
                Edit::Insert => score.insertions += len,
            }
        }
        score
    }
}

/// Appends the edits of two texts. What both start or end with is kept, as rapidfuzz does.
fn align(reference: &[String], hypothesis: &[String], edits: &mut Vec<Edit>) {
    let pairs = reference.iter().zip(hypothesis);
    let start = pairs.take_while(|(a, b)| a == b).count();
    let (reference, hypothesis) = (&reference[start..], &hypothesis[start..]);
    let pairs = reference.iter().rev().zip(hypothesis.iter().rev());
    let end = pairs.take_while(|(a, b)| a == b).count();
    let reference = &reference[..reference.len() - end];
    let hypothesis = &hypothesis[..hypothesis.len() - end];
    edits.extend(std::iter::repeat_n(Edit::Equal, start));
    let cells = (reference.len() + 1).saturating_mul(hypothesis.len() + 1);
    if cells <= MOST_CELLS || hypothesis.len() < 2 {
        edits.extend(walk(reference, hypothesis));
    } else {
        // Hirschberg 1975: the half of the hypothesis goes with the beginning of the reference that costs least.
        let (front, back) = hypothesis.split_at(hypothesis.len() / 2);
        let before = distances(reference.iter(), front.iter());
        let after = distances(reference.iter().rev(), back.iter().rev());
        let costs = before.iter().zip(after.iter().rev()).map(|(a, b)| a + b);
        let middle = costs.enumerate().min_by_key(|(_, cost)| *cost).map_or(0, |(at, _)| at);
        align(&reference[..middle], front, edits);
        align(&reference[middle..], back, edits);
    }
    edits.extend(std::iter::repeat_n(Edit::Equal, end));
}

/// The distances of a hypothesis to all beginnings of a reference.
fn distances<'a>(
    reference: impl Iterator<Item = &'a String> + Clone,
    hypothesis: impl Iterator<Item = &'a String>,
) -> Vec<u32> {
    let mut row: Vec<u32> = (0..=reference.clone().count() as u32).collect();
    for unit in hypothesis {
        let mut corner = row[0];
        row[0] += 1;
        for (j, other) in reference.clone().enumerate() {
            let here = (corner + u32::from(unit != other)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = std::mem::replace(&mut row[j + 1], here);
        }
    }
    row
}

/// The edits, by a table of how each cell is reached: from the end, by a deletion if the distance allows it, else by an
/// insertion, else by a substitution, which is the choice of [`ErrorRate`](super::ErrorRate).
fn walk(reference: &[String], hypothesis: &[String]) -> Vec<Edit> {
    let width = reference.len() + 1;
    let mut ways = vec![Edit::Delete; width * (hypothesis.len() + 1)];
    let mut row: Vec<u32> = (0..width as u32).collect();
    for (i, unit) in hypothesis.iter().enumerate() {
        let ways = &mut ways[(i + 1) * width..][..width];
        let mut corner = row[0];
        row[0] += 1;
        ways[0] = Edit::Insert;
        for (j, other) in reference.iter().enumerate() {
            let (left, above, is_same) = (row[j], row[j + 1], unit == other);
            let here = (corner + u32::from(!is_same)).min(left + 1).min(above + 1);
            ways[j + 1] = if here == left + 1 {
                Edit::Delete
            } else if corner == above + 1 {
                Edit::Insert
            } else if is_same {
                Edit::Equal
            } else {
                Edit::Substitute
            };
            (row[j + 1], corner) = (here, above);
        }
    }
    let (mut i, mut j) = (hypothesis.len(), reference.len());
    let mut edits = Vec::with_capacity(i.max(j));
    while i > 0 || j > 0 {
        let way = ways[i * width + j];
        edits.push(way);
        i -= usize::from(way != Edit::Delete);
        j -= usize::from(way != Edit::Insert);
    }
    edits.reverse();
    edits
}

impl fmt::Display for Alignment {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut lines = ["REF: ", "HYP: ", "     "].map(String::from);
        let star = String::from("*");
        for Chunk { edit, reference, hypothesis } in &self.chunks {
            for i in 0..reference.len().max(hypothesis.len()) {
                let of = |units: &[String], range: &Range<usize>| {
                    if range.is_empty() { star.clone() } else { units[range.start + i].clone() }
                };
                let (mut r, mut h) =
                    (of(&self.reference, reference), of(&self.hypothesis, hypothesis));
                let width = r.chars().count().max(h.chars().count()).max(1);
                if r == star {
                    r = "*".repeat(width);
                } else if h == star {
                    h = "*".repeat(width);
                }
                let mark = match edit {
                    Edit::Equal => " ",
                    Edit::Substitute => "S",
                    Edit::Delete => "D",
                    Edit::Insert => "I",
                };
                let space = if self.unit == Unit::Words { " " } else { "" };
                for (line, unit) in lines.iter_mut().zip([r.as_str(), &h, mark]) {
                    write!(line, "{unit:>width$}{space}")?;
                }
            }
        }
        for line in &lines {
            // jiwer takes off the last space of words, be it one of the line's name.
            let end = line.len() - usize::from(self.unit == Unit::Words);
            writeln!(f, "{}", &line[..end])?;
        }
        Ok(())
    }
}
