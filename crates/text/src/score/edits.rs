//! Tercom's edits: phrases are shifted greedily as long as that brings the hypothesis closer to the
//! reference, then words are inserted, deleted and substituted. With the limits and the order of
//! preference of sacrebleu's `lib_ter.py`, so that the number of edits is the same.

use std::cmp::Reverse;

const MAX_SHIFT_LEN: usize = 10;
const MAX_SHIFT_DISTANCE: usize = 50;
/// Only cells so near to the diagonal are computed.
const BEAM: usize = 25;
/// Of all shifts of a line together.
const MAX_SHIFTS_TRIED: usize = 1000;
/// What a cell outside of the beam costs.
const FAR: u32 = u32::MAX / 2;

/// The fewest edits that were found, shifts included.
pub(super) fn edits(hypothesis: &[u32], reference: &[u32]) -> u64 {
    if reference.is_empty() {
        return hypothesis.len() as u64;
    }
    let mut words = hypothesis.to_vec();
    let (mut shifts, mut tried) = (0, 0);
    loop {
        let table = Table::new(&words, reference);
        let best = best_shift(&table, &words, &mut tried);
        match best {
            Some(shift) if shift.rank.0 > 0 && tried < MAX_SHIFTS_TRIED => words = shift.words,
            _ => return shifts + u64::from(table.distance()),
        }
        shifts += 1;
    }
}

/// A row of the edit distance: the costs of the columns within the beam.
#[derive(Clone, Default)]
struct Row {
    start: usize,
    costs: Vec<u32>,
}

impl Row {
    fn at(&self, column: usize) -> u32 {
        let index = column.checked_sub(self.start);
        index.and_then(|index| self.costs.get(index)).copied().unwrap_or(FAR)
    }
}

/// The edit distance between a hypothesis, a row for each word, and the reference, a column for each.
struct Table<'a> {
    reference: &'a [u32],
    rows: Vec<Row>,
    /// Columns per row.
    ratio: f64,
    beam: usize,
}

impl<'a> Table<'a> {
    fn new(words: &[u32], reference: &'a [u32]) -> Table<'a> {
        let columns = reference.len() as u32;
        let ratio = if words.is_empty() { 1.0 } else { f64::from(columns) / words.len() as f64 };
        // Rows of the beam must overlap, however much the lengths differ.
        let wide = ratio / 2.0 + BEAM as f64;
        let beam = if ratio / 2.0 > BEAM as f64 { wide.ceil() as usize } else { BEAM };
        let first = Row { start: 0, costs: (0..=columns).collect() };
        let mut table = Table { reference, rows: vec![first], ratio, beam };
        for (i, &word) in words.iter().enumerate() {
            let mut row = Row::default();
            table.fill(&mut row, &table.rows[i], i + 1, word, i + 1 == words.len());
            table.rows.push(row);
        }
        table
    }

    fn fill(&self, row: &mut Row, above: &Row, number: usize, word: u32, is_last: bool) {
        let columns = self.reference.len() + 1;
        let diagonal = (number as f64 * self.ratio).floor() as usize;
        row.start = diagonal.saturating_sub(self.beam);
        let end = if is_last { columns } else { columns.min(diagonal + self.beam) };
        row.costs.clear();
        let mut left = FAR;
        let mut corner = if row.start == 0 { FAR } else { above.at(row.start - 1) };
        for column in row.start..end {
            let up = above.at(column);
            let differs = column == 0 || self.reference[column - 1] != word;
            left = FAR.min(corner + u32::from(differs)).min(up + 1).min(left + 1);
            corner = up;
            row.costs.push(left);
        }
    }

    fn distance(&self) -> u32 {
        self.rows.last().map_or(0, |row| row.at(self.reference.len()))
    }

    /// The distance with other words, of which the first `same` are those of the table.
    fn distance_of(&self, words: &[u32], same: usize, rows: &mut [Row; 2]) -> u32 {
        let [above, row] = rows;
        above.clone_from(&self.rows[same]);
        for (i, &word) in words.iter().enumerate().skip(same) {
            self.fill(row, above, i + 1, word, i + 1 == words.len());
            std::mem::swap(above, row);
        }
        above.at(self.reference.len())
    }

    /// Walks back over the cheapest edits; among equals a word is kept or substituted rather than
    /// deleted, and deleted rather than inserted.
    fn alignment(&self, words: &[u32]) -> Alignment {
        let (mut i, mut j) = (words.len(), self.reference.len());
        let mut alignment =
            Alignment { wrong: vec![true; i], missed: vec![true; j], after: vec![0; j] };
        while i > 0 || j > 0 {
            let costs = |i: usize, j: usize| self.rows[i].at(j);
            if i > 0 && j > 0 {
                let differs = words[i - 1] != self.reference[j - 1];
                let diagonal = costs(i - 1, j - 1) + u32::from(differs);
                if diagonal <= costs(i - 1, j) + 1 && diagonal <= costs(i, j - 1) + 1 {
                    alignment.after[j - 1] = i;
                    (i, j) = (i - 1, j - 1);
                    alignment.wrong[i] = differs;
                    alignment.missed[j] = differs;
                    continue;
                }
            }
            if i > 0 && (j == 0 || costs(i - 1, j) <= costs(i, j - 1)) {
                i -= 1;
            } else {
                j -= 1;
                alignment.after[j] = i;
            }
        }
        alignment
    }
}

struct Alignment {
    /// Of each word of the hypothesis.
    wrong: Vec<bool>,
    /// Of each word of the reference.
    missed: Vec<bool>,
    /// How many words of the hypothesis come before the end of this word of the reference.
    after: Vec<usize>,
}

struct Shift {
    /// The highest is taken: gain, length, then the earliest source and target.
    rank: (i64, usize, Reverse<usize>, Reverse<usize>),
    words: Vec<u32>,
}

fn best_shift(table: &Table, words: &[u32], tried: &mut usize) -> Option<Shift> {
    let reference = table.reference;
    let Alignment { wrong, missed, after } = table.alignment(words);
    let mut best: Option<Shift> = None;
    let mut rows = [Row::default(), Row::default()];
    for from in 0..words.len() {
        let end = reference.len().min(from + MAX_SHIFT_DISTANCE + 1);
        for to in from.saturating_sub(MAX_SHIFT_DISTANCE)..end {
            let matches = words[from..].iter().zip(&reference[to..]).take_while(|(a, b)| a == b);
            for len in 1..=matches.take(MAX_SHIFT_LEN).count() {
                let is_wrong = wrong[from..from + len].contains(&true);
                let is_missed = missed[to..to + len].contains(&true);
                let is_within = after[to] > from && after[to] <= from + len;
                if !is_wrong || !is_missed || is_within {
                    continue;
                }
                let mut previous = None;
                for offset in to..to + len + 1 {
                    let target = if offset == 0 { 0 } else { after[offset - 1] };
                    if previous.replace(target) == Some(target) {
                        continue;
                    }
                    let shifted = shifted(words, from, len, target);
                    let same = from.min(target);
                    let distance = table.distance_of(&shifted, same, &mut rows);
                    let gain = i64::from(table.distance()) - i64::from(distance);
                    let rank = (gain, len, Reverse(from), Reverse(target));
                    *tried += 1;
                    if best.as_ref().is_none_or(|best| rank > best.rank) {
                        best = Some(Shift { rank, words: shifted });
                    }
                }
                if *tried >= MAX_SHIFTS_TRIED {
                    return best;
                }
            }
        }
    }
    best
}

/// `len` words from `from` moved to before `target`.
fn shifted(words: &[u32], from: usize, len: usize, target: usize) -> Vec<u32> {
    let mut words = words.to_vec();
    if target < from {
        words[target..from + len].rotate_right(len);
    } else {
        // A target within the phrase moves it by as many words to the right.
        let end = if target > from + len { target } else { target + len };
        let end = end.min(words.len());
        words[from..end].rotate_left(len);
    }
    words
}
