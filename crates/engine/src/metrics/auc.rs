//! The area under the ROC curve in constant memory.

use serde::{Deserialize, Serialize};

/// Samples of a piece of the summary at most, as a share of all: what is tied in a piece moves the
/// area by at most half of that, whatever the scores are like. Two pieces side by side have more than
/// one share together, so that there are at most twice as many.
const SHARES: u64 = 4096;

/// How far points of a drawn curve are from each other at least, across and up together.
const STEP: f64 = 0.015;

/// Scores of both truths in their order: each score by itself while there are few different ones,
/// then pieces of neighbouring scores of about the same number of samples. Scores may all be within a
/// thousandth of each other; a histogram over their range would tie them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub(crate) struct Auc {
    pieces: Vec<Piece>,
    /// Scores that wait to be sorted into the summary: at most as many as shares.
    waiting: Vec<Piece>,
    samples: u64,
    shares: u64,
}

impl Default for Auc {
    fn default() -> Auc {
        Auc::with_shares(SHARES)
    }
}

/// Scores next to each other that count as tied.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u32, u64, u64)", into = "(u32, u64, u64)")]
struct Piece {
    /// The greatest of them, as a number in the order of the scores.
    score: u32,
    negatives: u64,
    positives: u64,
}

impl Auc {
    /// One of several, which take less memory together: the area is exact within a half of a share.
    pub(crate) fn with_shares(shares: u64) -> Auc {
        Auc { pieces: Vec::new(), waiting: Vec::new(), samples: 0, shares }
    }

    /// Counts a score. NaN is above all.
    pub(crate) fn add(&mut self, score: f32, truth: bool) {
        let (negatives, positives) = (u64::from(!truth), u64::from(truth));
        self.waiting.push(Piece { score: ordered(score), negatives, positives });
        self.samples += 1;
        self.settle();
    }

    fn settle(&mut self) {
        if self.waiting.len() as u64 >= self.shares {
            self.pieces = self.all();
            self.waiting.clear();
        }
    }

    /// The pieces with what waits, joined where they are small.
    fn all(&self) -> Vec<Piece> {
        let mut sorted = Vec::with_capacity(self.pieces.len() + self.waiting.len());
        sorted.extend_from_slice(&self.pieces);
        sorted.extend_from_slice(&self.waiting);
        // Stable, and nearly sorted.
        sorted.sort_by_key(|piece| piece.score);
        let mut joined: Vec<Piece> = Vec::with_capacity(sorted.len());
        let share = self.samples / self.shares;
        for piece in sorted {
            match joined.last_mut() {
                Some(last) if last.score == piece.score || last.len() + piece.len() <= share => {
                    last.score = piece.score;
                    last.negatives += piece.negatives;
                    last.positives += piece.positives;
                }
                _ => joined.push(piece),
            }
        }
        joined
    }

    /// The chance that a positive scores above a negative; ties count half. `None` while one of
    /// the two has not been seen.
    pub(crate) fn value(&self) -> Option<f64> {
        let (mut negatives, mut positives, mut area) = (0.0, 0.0, 0.0);
        for piece in self.all() {
            let (n, p) = (piece.negatives as f64, piece.positives as f64);
            area += p * (negatives + n / 2.0);
            negatives += n;
            positives += p;
        }
        (negatives > 0.0 && positives > 0.0).then(|| area / (negatives * positives))
    }

    /// The curve whose area that is: the shares of negatives and of positives that score above a threshold, from (0, 0) to
    /// (1, 1). Its points are about as far from each other as a hundredth of its length; `None` while one of the two has not
    /// been seen.
    pub(crate) fn curve(&self) -> Option<Vec<(f64, f64)>> {
        let pieces = self.all();
        let sum = |of: fn(&Piece) -> u64| pieces.iter().map(of).sum::<u64>() as f64;
        let (negatives, positives) = (sum(|p| p.negatives), sum(|p| p.positives));
        if negatives == 0.0 || positives == 0.0 {
            return None;
        }
        let mut points = vec![(0.0, 0.0)];
        let (mut last, mut n, mut p) = ((0.0, 0.0), 0, 0);
        for piece in pieces.iter().rev() {
            (n, p) = (n + piece.negatives, p + piece.positives);
            let point = (n as f64 / negatives, p as f64 / positives);
            if point.0 - last.0 + point.1 - last.1 >= STEP {
                points.push(point);
                last = point;
            }
        }
        if last != (1.0, 1.0) {
            points.push((1.0, 1.0));
        }
        Some(points)
    }

    /// The mean precision over the positives, from the greatest score down (average precision): the area under the curve of
    /// precision by recall, as steps. Ties count together. `None` without a positive.
    pub(crate) fn average_precision(&self) -> Option<f64> {
        let (mut negatives, mut positives, mut area) = (0.0, 0.0, 0.0);
        for piece in self.all().into_iter().rev() {
            let (n, p) = (piece.negatives as f64, piece.positives as f64);
            negatives += n;
            positives += p;
            area += p * positives / (positives + negatives);
        }
        (positives > 0.0).then(|| area / positives)
    }

    /// Counts what another one has counted.
    pub(crate) fn merge(&mut self, other: &Auc) {
        self.samples += other.samples;
        self.waiting.extend(other.pieces.iter().chain(&other.waiting));
        self.settle();
    }

    /// Forgets all scores; keeps the memory.
    pub(crate) fn reset(&mut self) {
        self.pieces.clear();
        self.waiting.clear();
        self.samples = 0;
    }
}

impl Piece {
    fn len(&self) -> u64 {
        self.negatives + self.positives
    }
}

/// A number in the order of the scores.
fn ordered(score: f32) -> u32 {
    if score.is_nan() {
        return u32::MAX;
    }
    // One zero, not two.
    let bits = (score + 0.0).to_bits();
    // Negative floats sort backwards by their bits: flip them all; positive ones go above.
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// What a checkpoint holds. What waits stays apart, since when pieces are joined must not depend on
/// when a checkpoint was written.
#[derive(Clone, Serialize, Deserialize)]
struct Saved {
    pieces: Vec<Piece>,
    waiting: Vec<Piece>,
    #[serde(default = "shares", skip_serializing_if = "is_usual")]
    shares: u64,
}

fn shares() -> u64 {
    SHARES
}

fn is_usual(shares: &u64) -> bool {
    *shares == SHARES
}

impl From<Auc> for Saved {
    fn from(auc: Auc) -> Saved {
        Saved { pieces: auc.pieces, waiting: auc.waiting, shares: auc.shares }
    }
}

impl From<Saved> for Auc {
    fn from(saved: Saved) -> Auc {
        let Saved { pieces, waiting, shares } = saved;
        let samples = pieces.iter().chain(&waiting).map(Piece::len).sum();
        Auc { pieces, waiting, samples, shares }
    }
}

impl From<Piece> for (u32, u64, u64) {
    fn from(piece: Piece) -> (u32, u64, u64) {
        (piece.score, piece.negatives, piece.positives)
    }
}

impl From<(u32, u64, u64)> for Piece {
    fn from((score, negatives, positives): (u32, u64, u64)) -> Piece {
        Piece { score, negatives, positives }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// By all pairs of the sorted scores.
    fn exact(scores: &[(f32, bool)]) -> f64 {
        let mut sorted = scores.to_vec();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut no, mut yes, mut area) = (0.0, 0.0, 0.0);
        for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
            let p = tied.iter().filter(|(_, truth)| *truth).count() as f64;
            let n = tied.len() as f64 - p;
            area += p * (no + n / 2.0);
            (no, yes) = (no + n, yes + p);
        }
        area / (no * yes)
    }

    /// Scores around `middle`, `width` wide; higher ones are yes more often.
    fn scores(len: usize, middle: f32, width: f32) -> Vec<(f32, bool)> {
        let mut state = 5u64;
        let mut random = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        let one = |_| {
            let u = random();
            (middle + width * (u - 0.5), random() < 0.2 + 0.6 * u)
        };
        (0..len).map(one).collect()
    }

    #[test]
    fn narrow_and_wide_scores_have_the_area_of_all_pairs() {
        for (middle, width) in [(0.0, 8.0), (0.5, 1e-3), (-3.0, 1e-5), (1e-30, 1e-31), (2.0, 0.0)] {
            for len in [100, 5_000, 200_000] {
                let scores = scores(len, middle, width);
                let mut auc = Auc::default();
                scores.iter().for_each(|&(score, truth)| auc.add(score, truth));
                let (value, want) = (auc.value().unwrap(), exact(&scores));
                assert!((value - want).abs() < 1e-4, "{middle} {width} {len}: {value} {want}");
                assert!(auc.all().len() <= 2 * SHARES as usize + 2, "{}", auc.all().len());
            }
        }
    }

    #[test]
    fn the_curve_has_the_area() {
        for len in [3_usize, 100, 200_000] {
            let mut auc = Auc::default();
            let mut scores = scores(len, 0.0, 8.0);
            // Both truths are there.
            (scores[0].1, scores[1].1) = (true, false);
            scores.iter().for_each(|&(score, truth)| auc.add(score, truth));
            let curve = auc.curve().unwrap();
            assert_eq!((curve[0], curve[curve.len() - 1]), ((0.0, 0.0), (1.0, 1.0)));
            assert!(curve.len() <= 140, "{}", curve.len());
            let pairs = curve.windows(2);
            let area: f64 = pairs.map(|w| (w[1].0 - w[0].0) * (w[1].1 + w[0].1) / 2.0).sum();
            assert!((area - auc.value().unwrap()).abs() < 2e-3, "{len}: {area}");
        }
        assert_eq!(Auc::default().curve(), None);
    }

    #[test]
    fn sorted_scores_and_a_checkpoint_in_between() {
        let mut scores = scores(50_000, 0.5, 1e-2);
        scores.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut whole, mut resumed) = (Auc::default(), Auc::default());
        for (i, &(score, truth)) in scores.iter().enumerate() {
            whole.add(score, truth);
            resumed.add(score, truth);
            if i % 777 == 0 {
                let text = serde_json::to_string(&resumed).unwrap();
                resumed = serde_json::from_str(&text).unwrap();
            }
        }
        assert_eq!(whole, resumed);
        assert!((whole.value().unwrap() - exact(&scores)).abs() < 1e-4);
    }
}
