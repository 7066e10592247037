//! Which tokens people replace: pairs of the training data that have them would teach again what corrections have changed.
//!
//! A customer who calls a bicycle otherwise corrects each text in which one occurs. Of the stored pairs that are learned from beside,
//! as many have the old word as texts of the stream do, so that both would be learned in turns. So a pair whose target has a token that is
//! mostly replaced is left out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// A token must have been replaced so often before it counts.
const LEAST: u32 = 2;
/// Beyond this, both counts are halved: what people mean may change again.
const MOST: u32 = 64;

/// How often tokens of hypotheses were replaced, and how often corrections had them from then on; part of the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Rejected {
    counts: BTreeMap<i32, [u32; 2]>,
}

impl Rejected {
    /// What the model wrote, and what a person made of it, as tokens.
    pub fn add(&mut self, hypothesis: &[i32], correction: &[i32]) {
        let set = |ids: &[i32]| -> BTreeSet<i32> { ids.iter().copied().collect() };
        let (written, corrected) = (set(hypothesis), set(correction));
        for &token in written.difference(&corrected) {
            self.counts.entry(token).or_default()[0] += 1;
        }
        for token in &corrected {
            if let Some([_, kept]) = self.counts.get_mut(token) {
                *kept += 1;
            }
        }
        for counts in self.counts.values_mut() {
            if counts[0].max(counts[1]) > MOST {
                *counts = counts.map(|count| count / 2);
            }
        }
        self.counts.retain(|_, counts| counts[0] > 0);
    }

    /// Whether a target has a token that is mostly replaced.
    pub fn is_in(&self, target: &[i32]) -> bool {
        let mostly = |&[replaced, kept]: &[u32; 2]| replaced >= LEAST && replaced > kept;
        target.iter().any(|token| self.counts.get(token).is_some_and(mostly))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_are_replaced_are_known_until_they_come_back() {
        let mut rejected = Rejected::default();
        // 7 is always replaced by 8; 1 is a word that comes and goes.
        for i in 0..5 {
            rejected.add(&[1, 7, 2], &[8, 2]);
            rejected.add(&[3], &[1, 3]);
            rejected.add(&[1, 2], &[1, 2]);
            assert_eq!(rejected.is_in(&[7, 9]), i > 0);
        }
        assert!(!rejected.is_in(&[1, 2, 3, 8, 9]));
        // Now 7 is right again.
        (0..9).for_each(|_| rejected.add(&[8], &[7]));
        assert!(rejected.is_in(&[8]) && !rejected.is_in(&[7]));
        (0..1000).for_each(|_| rejected.add(&[7], &[7]));
        assert!(rejected.counts.values().flatten().all(|&count| count <= MOST));
    }
}
