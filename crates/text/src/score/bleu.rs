//! BLEU as sacrebleu has it.

use super::grams::{self, ID, Ids};
use super::{References, ScoreError, case, quotient, words, yes};
use serde::{Deserialize, Serialize};
use std::fmt;

/// N-grams of up to this many words.
const ORDERS: usize = 4;

/// What words are. sacrebleu's `zh`, `ja-mecab`, `ko-mecab` and those of SentencePiece do not exist here;
/// for languages without spaces take `char`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BleuTokenizer {
    /// mteval-v13a, the customary one.
    #[default]
    #[serde(rename = "13a")]
    V13a,
    /// What lies between white space: for texts that are tokenized already.
    #[serde(rename = "none")]
    None,
    /// Each character a word.
    #[serde(rename = "char")]
    Char,
    /// mteval-v14: Unicode's punctuation and symbols are words.
    #[serde(rename = "intl")]
    Intl,
}

impl BleuTokenizer {
    fn name(self) -> &'static str {
        match self {
            BleuTokenizer::V13a => "13a",
            BleuTokenizer::None => "none",
            BleuTokenizer::Char => "char",
            BleuTokenizer::Intl => "intl",
        }
    }

    /// Words are what lies between white space of the result.
    fn apply(self, text: String) -> String {
        match self {
            BleuTokenizer::V13a => words::mteval_13a(&text),
            BleuTokenizer::None => text,
            BleuTokenizer::Char => words::isolated(&text, |_| true),
            BleuTokenizer::Intl => words::international(&text),
        }
    }
}

/// What stands for an n-gram precision of 0 (Chen and Cherry, WMT 2014).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Smoothing {
    /// Half of a match for the first order without one, a quarter for the second, and so on.
    #[default]
    Exp,
    /// So many matches; sacrebleu's default is 0.1.
    Floor(f64),
    /// So many matches and n-grams more for all orders above 1; sacrebleu's default is 1.
    AddK(f64),
    /// Nothing: BLEU is 0.
    None,
}

impl fmt::Display for Smoothing {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Smoothing::Exp => f.write_str("exp"),
            Smoothing::Floor(value) => write!(f, "floor[{value:.2}]"),
            Smoothing::AddK(value) => write!(f, "add-k[{value:.2}]"),
            Smoothing::None => f.write_str("none"),
        }
    }
}

/// How BLEU is computed; the default is sacrebleu's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BleuOptions {
    /// Whether case is ignored.
    pub lowercase: bool,
    /// What words are.
    pub tokenizer: BleuTokenizer,
    /// What stands for a precision of 0.
    pub smoothing: Smoothing,
    /// Whether orders that the text is too short for are left out: for single sentences.
    pub effective_order: bool,
}

/// BLEU of a corpus (Papineni et al., ACL 2002), equal to sacrebleu 2.6.0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bleu {
    options: BleuOptions,
    references: References,
    hypothesis_len: u64,
    reference_len: u64,
    correct: [u64; ORDERS],
    total: [u64; ORDERS],
}

/// BLEU, and what it is made of. Printed as sacrebleu prints it.
#[derive(Clone, Debug, PartialEq)]
pub struct BleuScore {
    /// 0 to 100.
    pub value: f64,
    /// Of each order, in per cent, smoothed.
    pub precisions: [f64; ORDERS],
    /// The brevity penalty.
    pub brevity_penalty: f64,
    /// Words of the hypotheses.
    pub hypothesis_len: u64,
    /// Words of the references closest in length.
    pub reference_len: u64,
    /// sacrebleu's signature.
    pub signature: String,
}

impl Bleu {
    /// Of no line yet.
    pub fn new(options: BleuOptions) -> Bleu {
        let none = [0; ORDERS];
        let references = References::default();
        Bleu {
            options,
            references,
            hypothesis_len: 0,
            reference_len: 0,
            correct: none,
            total: none,
        }
    }

    /// BLEU of one sentence; `effective_order` is recommended.
    pub fn sentence(
        options: BleuOptions,
        hypothesis: &str,
        references: &[impl AsRef<str>],
    ) -> Result<BleuScore, ScoreError> {
        let mut bleu = Bleu::new(options);
        bleu.add(hypothesis, references)?;
        Ok(bleu.score())
    }

    /// Counts a line.
    pub fn add(
        &mut self,
        hypothesis: &str,
        references: &[impl AsRef<str>],
    ) -> Result<(), ScoreError> {
        self.references.count(references.len())?;
        let text = self.tokenized(hypothesis);
        let texts: Vec<String> = references.iter().map(|r| self.tokenized(r.as_ref())).collect();
        let mut ids = Ids::default();
        let hypothesis = ids.of(words::split(&text));
        let references: Vec<_> = texts.iter().map(|text| ids.of(words::split(text))).collect();

        for n in 1..=ORDERS {
            let keys = grams::grams(&hypothesis, n, ID);
            let sets = references.iter().map(|ids| grams::grams(ids, n, ID));
            let wanted = sets.reduce(|all, more| grams::union(&all, &more)).unwrap_or_default();
            self.correct[n - 1] += grams::common(&keys, &wanted);
            self.total[n - 1] += keys.len() as u64;
        }
        let len = hypothesis.len();
        let closest = references.iter().map(Vec::len).min_by_key(|&r| (r.abs_diff(len), r));
        self.hypothesis_len += len as u64;
        self.reference_len += closest.unwrap_or(0) as u64;
        Ok(())
    }

    /// Counts a line no longer that was counted before, as of a window that moves on.
    pub fn remove(
        &mut self,
        hypothesis: &str,
        references: &[impl AsRef<str>],
    ) -> Result<(), ScoreError> {
        let mut line = Bleu::new(self.options);
        line.add(hypothesis, references)?;
        self.references.lines = self.references.lines.saturating_sub(1);
        let less = |from: &mut u64, by: u64| *from = from.saturating_sub(by);
        less(&mut self.hypothesis_len, line.hypothesis_len);
        less(&mut self.reference_len, line.reference_len);
        for n in 0..ORDERS {
            less(&mut self.correct[n], line.correct[n]);
            less(&mut self.total[n], line.total[n]);
        }
        Ok(())
    }

    fn tokenized(&self, text: &str) -> String {
        self.options.tokenizer.apply(words::trimmed(text, self.options.lowercase))
    }

    /// Of the lines so far.
    pub fn score(&self) -> BleuScore {
        let (hypothesis_len, reference_len) = (self.hypothesis_len, self.reference_len);
        let brevity_penalty = if hypothesis_len >= reference_len {
            1.0
        } else if hypothesis_len == 0 {
            0.0
        } else {
            (1.0 - reference_len as f64 / hypothesis_len as f64).exp()
        };
        let (mut value, mut precisions) = (0.0, [0.0; ORDERS]);
        if self.correct != [0; ORDERS] {
            let orders;
            (precisions, orders) = self.precisions();
            let logs: f64 = precisions[..orders].iter().map(|&p| floored_ln(p)).sum();
            value = brevity_penalty * (logs / orders as f64).exp();
        }
        let signature = self.signature();
        BleuScore { value, precisions, brevity_penalty, hypothesis_len, reference_len, signature }
    }

    /// Smoothed, in per cent, and how many of them count.
    fn precisions(&self) -> ([f64; ORDERS], usize) {
        let options = &self.options;
        let mut precisions = [0.0; ORDERS];
        let mut orders = ORDERS;
        let mut halves = 1.0;
        for (n, precision) in precisions.iter_mut().enumerate() {
            let (mut correct, mut total) = (self.correct[n] as f64, self.total[n] as f64);
            if let (Smoothing::AddK(k), 1..) = (options.smoothing, n) {
                correct += k;
                total += k;
            }
            if total == 0.0 {
                break;
            }
            if options.effective_order {
                orders = n + 1;
            }
            *precision = match options.smoothing {
                _ if correct != 0.0 => 100.0 * correct / total,
                Smoothing::Exp => {
                    halves *= 2.0;
                    100.0 / (halves * total)
                }
                Smoothing::Floor(value) => 100.0 * value / total,
                Smoothing::AddK(_) | Smoothing::None => 0.0,
            };
        }
        (precisions, orders)
    }

    fn signature(&self) -> String {
        let BleuOptions { lowercase, tokenizer, smoothing, effective_order } = self.options;
        let (case, effective, tokenizer) =
            (case(lowercase), yes(effective_order), tokenizer.name());
        let references = self.references;
        format!(
            "{references}|case:{case}|eff:{effective}|tok:{tokenizer}|smooth:{smoothing}|version:2.6.0"
        )
    }
}

/// sacrebleu's logarithm, which is finite at 0.
fn floored_ln(x: f64) -> f64 {
    if x == 0.0 { -9_999_999_999.0 } else { x.ln() }
}

impl fmt::Display for BleuScore {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [p1, p2, p3, p4] = self.precisions;
        let (hypothesis, reference) = (self.hypothesis_len, self.reference_len);
        let ratio = quotient(hypothesis, reference);
        write!(f, "BLEU|{} = {:.2} ", self.signature, self.value)?;
        write!(f, "{p1:.1}/{p2:.1}/{p3:.1}/{p4:.1} (BP = {:.3} ", self.brevity_penalty)?;
        write!(f, "ratio = {ratio:.3} hyp_len = {hypothesis} ref_len = {reference})")
    }
}
