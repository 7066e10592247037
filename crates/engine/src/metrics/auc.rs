//! The area under the ROC curve in constant memory.

use serde::{Deserialize, Serialize};

/// Sign, exponent and 8 bits of mantissa of a logit: scores within 0.4 % of each other fall into
/// one bucket and count as tied, which moves the area by less than 1e-4 on any smooth score.
const BUCKET_BITS: u32 = 17;

/// Counts of scores by bucket, for each truth.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "Sparse", from = "Sparse")]
pub(super) struct AucHistogram {
    negatives: Vec<u64>,
    positives: Vec<u64>,
}

impl AucHistogram {
    pub(super) fn new() -> AucHistogram {
        let buckets = 1 << BUCKET_BITS;
        AucHistogram { negatives: vec![0; buckets], positives: vec![0; buckets] }
    }

    pub(super) fn add(&mut self, logit: f32, truth: bool) {
        let counts = if truth { &mut self.positives } else { &mut self.negatives };
        counts[bucket(logit)] += 1;
    }

    /// The chance that a positive scores above a negative; ties count half. `None` while one of
    /// the two has not been seen.
    pub(super) fn value(&self) -> Option<f64> {
        let mut below = 0.0;
        let mut area = 0.0;
        let mut num_positives = 0.0;
        for (&n, &p) in self.negatives.iter().zip(&self.positives) {
            area += p as f64 * (below + n as f64 / 2.0);
            below += n as f64;
            num_positives += p as f64;
        }
        (below > 0.0 && num_positives > 0.0).then(|| area / (below * num_positives))
    }

    pub(super) fn reset(&mut self) {
        self.negatives.fill(0);
        self.positives.fill(0);
    }
}

/// Buckets in the order of the scores.
fn bucket(logit: f32) -> usize {
    let bits = logit.to_bits();
    // Negative floats sort backwards by their bits: flip them all; positive ones go above.
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    (ordered >> (32 - BUCKET_BITS)) as usize
}

/// The filled buckets only: what a checkpoint holds.
#[derive(Clone, Serialize, Deserialize)]
struct Sparse(Vec<(u32, u64, u64)>);

impl From<AucHistogram> for Sparse {
    fn from(h: AucHistogram) -> Sparse {
        let pairs = h.negatives.iter().zip(&h.positives).enumerate();
        Sparse(
            pairs
                .filter(|(_, (n, p))| **n + **p > 0)
                .map(|(i, (n, p))| (i as u32, *n, *p))
                .collect(),
        )
    }
}

impl From<Sparse> for AucHistogram {
    fn from(sparse: Sparse) -> AucHistogram {
        let mut h = AucHistogram::new();
        for (i, n, p) in sparse.0 {
            if let Some(slot) = h.negatives.get_mut(i as usize) {
                *slot = n;
                h.positives[i as usize] = p;
            }
        }
        h
    }
}
