//! How fast corrections are taken up: recall of words that are new in a stream.

use super::{quotient, words};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// R0 and R1 of Simianer, Wuebker and DeNero ("Measuring Immediate Adaptation Performance for Neural Machine
/// Translation", NAACL 2019): of the words of a reference that no earlier reference had, and of those that
/// exactly one had, the share that the hypothesis has. R1 rises when a model learns from a correction what
/// it can use in the next line; R0 is what it knows without.
///
/// Words are those of BLEU's tokenizer 13a with their case, each once a line. The state grows with the
/// words of the stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NewWords {
    /// Whether a second reference has had the word.
    seen: BTreeMap<String, bool>,
    score: NewWordsScore,
}

/// Counts of words, and of those that hypotheses had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewWordsScore {
    /// Words that no earlier reference had.
    pub unseen: u64,
    /// Of those, in the hypothesis.
    pub unseen_recalled: u64,
    /// Words that exactly one earlier reference had.
    pub seen_once: u64,
    /// Of those, in the hypothesis.
    pub seen_once_recalled: u64,
}

impl NewWordsScore {
    /// Recall of unseen words, 0 to 1; 0 without any.
    pub fn r0(&self) -> f64 {
        quotient(self.unseen_recalled, self.unseen)
    }

    /// Recall of words seen once; 0 without any.
    pub fn r1(&self) -> f64 {
        quotient(self.seen_once_recalled, self.seen_once)
    }
}

impl NewWords {
    /// Counts a line, then learns its reference.
    pub fn add(&mut self, hypothesis: &str, reference: &str) {
        let [hypothesis, reference] = [hypothesis, reference].map(words::mteval_13a);
        let recalled: BTreeSet<&str> = words::split(&hypothesis).collect();
        let wanted: BTreeSet<&str> = words::split(&reference).collect();
        let score = &mut self.score;
        for word in wanted {
            let is_recalled = u64::from(recalled.contains(word));
            match self.seen.get_mut(word) {
                None => {
                    score.unseen += 1;
                    score.unseen_recalled += is_recalled;
                    self.seen.insert(word.to_owned(), false);
                }
                Some(again) if !*again => {
                    score.seen_once += 1;
                    score.seen_once_recalled += is_recalled;
                    *again = true;
                }
                Some(_) => {}
            }
        }
    }

    /// Of the lines so far.
    pub fn score(&self) -> NewWordsScore {
        self.score
    }
}
