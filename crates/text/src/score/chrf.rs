//! chrF and chrF++ as sacrebleu has them.

use super::grams::{self, CHAR, ID, Ids};
use super::{References, ScoreError, case, quotient, words, yes};
use serde::{Deserialize, Serialize};
use std::fmt;

/// N-grams of up to this many characters.
const CHARS: usize = 6;
/// N-grams of up to this many words, in chrF++.
const WORDS: usize = 2;
/// Recall counts for so much more than precision, squared.
const BETA: f64 = 2.0;

/// How chrF is computed; the default is sacrebleu's chrF2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChrfOptions {
    /// Whether words and pairs of words are compared too: chrF++, sacrebleu's `word_order` 2.
    pub words: bool,
    /// Whether case is ignored.
    pub lowercase: bool,
    /// Whether white space is a character like others.
    pub whitespace: bool,
    /// Whether the mean is one of F over all orders, as in chrF++.py and NLTK, instead of F of the mean
    /// precision and recall over orders that both texts have.
    pub eps_smoothing: bool,
}

/// N-grams of one order: of the hypotheses, of the references, and shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counts {
    hypothesis: u64,
    reference: u64,
    shared: u64,
}

/// chrF2 of a corpus (Popović, WMT 2015 and 2017), equal to sacrebleu 2.6.0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chrf {
    options: ChrfOptions,
    references: References,
    counts: Vec<Counts>,
}

/// chrF. Printed as sacrebleu prints it.
#[derive(Clone, Debug, PartialEq)]
pub struct ChrfScore {
    /// 0 to 100.
    pub value: f64,
    /// sacrebleu's name of the variant: `chrF2` or `chrF2++`.
    pub name: &'static str,
    /// sacrebleu's signature.
    pub signature: String,
}

impl Chrf {
    /// Of no line yet.
    pub fn new(options: ChrfOptions) -> Chrf {
        let orders = CHARS + if options.words { WORDS } else { 0 };
        let counts = vec![Counts::default(); orders];
        Chrf { options, references: References::default(), counts }
    }

    /// Counts a line, with that reference that gives it the highest chrF.
    pub fn add(
        &mut self,
        hypothesis: &str,
        references: &[impl AsRef<str>],
    ) -> Result<(), ScoreError> {
        self.references.count(references.len())?;
        let cased = |text: &str| {
            if self.options.lowercase { text.to_lowercase() } else { text.to_owned() }
        };
        let hypothesis = cased(hypothesis);
        let references: Vec<String> = references.iter().map(|r| cased(r.as_ref())).collect();
        let mut ids = Ids::default();
        let keys = self.grams(&hypothesis, &mut ids);
        let mut best: (f64, Vec<Counts>) = (-1.0, Vec::new());
        for reference in &references {
            let wanted = self.grams(reference, &mut ids);
            let counts: Vec<Counts> =
                keys.iter().zip(&wanted).map(|(h, r)| compared(h, r)).collect();
            let f = self.f(&counts);
            if f > best.0 {
                best = (f, counts);
            }
        }
        for (sum, counts) in self.counts.iter_mut().zip(best.1) {
            sum.hypothesis += counts.hypothesis;
            sum.reference += counts.reference;
            sum.shared += counts.shared;
        }
        Ok(())
    }

    /// Of each order.
    fn grams<'a>(&self, text: &'a str, ids: &mut Ids<'a>) -> Vec<Vec<u128>> {
        let is_kept = |&c: &char| self.options.whitespace || !words::is_space(c);
        let chars: Vec<u32> = text.chars().filter(is_kept).map(u32::from).collect();
        let mut keys: Vec<_> = (1..=CHARS).map(|n| grams::grams(&chars, n, CHAR)).collect();
        if self.options.words {
            let words = ids.of(words::split(text).flat_map(without_mark).filter(|w| !w.is_empty()));
            keys.extend((1..=WORDS).map(|n| grams::grams(&words, n, ID)));
        }
        keys
    }

    /// Of the lines so far.
    pub fn score(&self) -> ChrfScore {
        let ChrfOptions { words, lowercase, whitespace, eps_smoothing } = self.options;
        let (case, effective, space) = (case(lowercase), yes(!eps_smoothing), yes(whitespace));
        let (name, order) = if words { ("chrF2++", WORDS) } else { ("chrF2", 0) };
        let references = self.references;
        let signature = format!(
            "{references}|case:{case}|eff:{effective}|nc:{CHARS}|nw:{order}|space:{space}|version:2.6.0"
        );
        ChrfScore { value: self.f(&self.counts), name, signature }
    }

    fn f(&self, counts: &[Counts]) -> f64 {
        const EPSILON: f64 = 1e-16;
        let factor = BETA * BETA;
        let (mut sum, mut precisions, mut recalls, mut orders) = (0.0, 0.0, 0.0, 0.0);
        for &Counts { hypothesis, reference, shared } in counts {
            let precision = if hypothesis > 0 { quotient(shared, hypothesis) } else { EPSILON };
            let recall = if reference > 0 { quotient(shared, reference) } else { EPSILON };
            let divisor = factor * precision + recall;
            let f = (1.0 + factor) * precision * recall / divisor;
            sum += if divisor > 0.0 { f } else { EPSILON };
            if hypothesis > 0 && reference > 0 {
                precisions += precision;
                recalls += recall;
                orders += 1.0;
            }
        }
        if self.options.eps_smoothing {
            return 100.0 * sum / counts.len() as f64;
        }
        if orders == 0.0 || precisions + recalls == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precisions / orders, recalls / orders);
        100.0 * ((1.0 + factor) * precision * recall / (factor * precision + recall))
    }
}

fn compared(hypothesis: &[u128], reference: &[u128]) -> Counts {
    Counts {
        // Orders for which the reference is too short do not count.
        hypothesis: if reference.is_empty() { 0 } else { hypothesis.len() as u64 },
        reference: reference.len() as u64,
        shared: grams::common(hypothesis, reference),
    }
}

/// A word and the punctuation mark at its end or else at its start, one of them empty where it has none.
/// `(hi)` becomes `(hi` and `)`, as in chrF++.py.
fn without_mark(word: &str) -> [&str; 2] {
    let is_mark = |c: &char| c.is_ascii_punctuation();
    if word.chars().nth(1).is_some() {
        if word.ends_with(|c| is_mark(&c)) {
            return word.split_at(word.len() - 1).into();
        }
        if word.starts_with(|c| is_mark(&c)) {
            return word.split_at(1).into();
        }
    }
    [word, ""]
}

impl fmt::Display for ChrfScore {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}|{} = {:.2}", self.name, self.signature, self.value)
    }
}
