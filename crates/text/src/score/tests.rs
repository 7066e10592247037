//! Figures equal those of the Python programs, which `fixtures/text_scores.py` asked.

#![allow(clippy::unwrap_used)]

use super::*;
use serde::de::DeserializeOwned;
use serde_json::Value;

#[derive(Deserialize)]
struct Fixture {
    pairs: Vec<(String, Vec<String>)>,
    stems: Vec<(String, String)>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    figure: String,
    options: Value,
    /// Of all lines.
    value: Value,
    /// With all references of a line, and with the first alone.
    printed: String,
    printed_first: Option<String>,
    /// Of each line alone.
    lines: Option<Vec<Value>>,
}

fn fixture() -> Fixture {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/text_scores.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn options<T: DeserializeOwned>(case: &Case) -> T {
    serde_json::from_value(case.options.clone()).unwrap()
}

/// All accumulators as the test sees them: values and text, and a state that outlives being saved.
trait Figure: Clone + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned {
    fn count(&mut self, hypothesis: &str, references: &[String]);
    fn values(&self) -> Vec<f64>;
    fn printed(&self) -> String;
}

macro_rules! with_one_value {
    ($($figure:ty),*) => {$(
        impl Figure for $figure {
            fn count(&mut self, hypothesis: &str, references: &[String]) {
                self.add(hypothesis, references).unwrap();
            }
            fn values(&self) -> Vec<f64> {
                vec![self.score().value]
            }
            fn printed(&self) -> String {
                self.score().to_string()
            }
        }
    )*};
}
with_one_value!(Bleu, Chrf, Ter);

impl Figure for Rouge {
    fn count(&mut self, hypothesis: &str, references: &[String]) {
        self.add(hypothesis, references).unwrap();
    }
    fn values(&self) -> Vec<f64> {
        let RougeScores { rouge1, rouge2, rouge_l, rouge_lsum } = self.score();
        let all = [rouge1, rouge2, rouge_l, rouge_lsum];
        all.iter().flat_map(|s| [s.precision, s.recall, s.f]).collect()
    }
    fn printed(&self) -> String {
        String::new()
    }
}

impl Figure for ErrorRate {
    fn count(&mut self, hypothesis: &str, references: &[String]) {
        self.add(hypothesis, &references[0]);
    }
    fn values(&self) -> Vec<f64> {
        vec![self.score().value()]
    }
    fn printed(&self) -> String {
        String::new()
    }
}

/// The numbers of a value, however nested.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        value => vec![value.as_f64().unwrap()],
    }
}

fn assert_near(got: &[f64], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= 1e-9, "{what}: {got} instead of {want}");
    }
}

/// `of_line` picks what the fixture has of a line alone.
fn check<F: Figure>(fixture: &Fixture, case: &Case, new: F, of_line: fn(&F) -> Vec<f64>) {
    let what = format!("{} {}", case.figure, case.options);
    let mut all = new.clone();
    let mut first = new.clone();
    for (line, (hypothesis, references)) in fixture.pairs.iter().enumerate() {
        let mut alone = new.clone();
        alone.count(hypothesis, references);
        if let Some(lines) = &case.lines {
            let want = numbers(&lines[line]);
            assert_near(&of_line(&alone), &want, &format!("{what}, {hypothesis:?} {references:?}"));
        }
        all.count(hypothesis, references);
        first.count(hypothesis, &references[..1]);
    }
    assert_near(&all.values(), &numbers(&case.value), &what);
    assert_eq!(all.printed(), case.printed, "{what}");
    assert_eq!(first.printed(), case.printed_first.clone().unwrap_or_default(), "{what}");
    let saved = serde_json::to_string(&all).unwrap();
    assert_eq!(serde_json::from_str::<F>(&saved).unwrap(), all, "{what}");
}

fn check_all(figure: &str, check_one: impl Fn(&Fixture, &Case)) {
    let fixture = fixture();
    let cases: Vec<&Case> = fixture.cases.iter().filter(|case| case.figure == figure).collect();
    assert!(!cases.is_empty());
    cases.into_iter().for_each(|case| check_one(&fixture, case));
}

#[test]
fn bleu_equals_sacrebleu() {
    check_all("bleu", |all, case| check(all, case, Bleu::new(options(case)), Bleu::values));
}

#[test]
fn chrf_equals_sacrebleu() {
    check_all("chrf", |all, case| check(all, case, Chrf::new(options(case)), Chrf::values));
}

#[test]
fn ter_equals_sacrebleu() {
    check_all("ter", |all, case| check(all, case, Ter::new(options(case)), Ter::values));
}

#[test]
fn rouge_equals_rouge_score() {
    let fs = |rouge: &Rouge| rouge.values().into_iter().skip(2).step_by(3).collect();
    check_all("rouge", |all, case| check(all, case, Rouge::new(options(case)), fs));
}

#[test]
fn error_rates_equal_jiwer() {
    let edits = |rate: &ErrorRate| {
        let ErrorRateScore { substitutions, deletions, insertions, .. } = rate.score();
        [substitutions, deletions, insertions].map(|n| n as f64).into()
    };
    check_all("error_rate", |all, case| check(all, case, ErrorRate::new(options(case)), edits));
}

#[test]
fn stems_equal_nltk() {
    for (word, stem) in fixture().stems {
        assert_eq!(porter::stem(&word), stem, "{word}");
    }
}

#[test]
fn new_words_are_counted_once_a_line_and_learned() {
    let mut words = NewWords::default();
    words.add("The dog bites the lady.", "The terrier bites the woman, the terrier.");
    // Unseen: The terrier bites the woman , . of which The, bites, the and the full stop are right.
    let first =
        NewWordsScore { unseen: 7, unseen_recalled: 4, seen_once: 0, seen_once_recalled: 0 };
    assert_eq!(words.score(), first);
    words.add("The terrier bites the man.", "The man bites the terrier.");
    // Seen once: The bites the terrier and the full stop.
    let second =
        NewWordsScore { unseen: 8, unseen_recalled: 5, seen_once: 5, seen_once_recalled: 5 };
    assert_eq!(words.score(), second);
    words.add("", "The terrier");
    assert_eq!(words.score(), second);
    assert_eq!((words.score().r0(), words.score().r1()), (5.0 / 8.0, 1.0));
    assert_eq!(NewWordsScore::default().r1(), 0.0);
}

#[test]
fn a_line_without_reference_is_refused_and_not_counted() {
    let none: [&str; 0] = [];
    let mut bleu = Bleu::new(BleuOptions::default());
    bleu.add("a b c d", &["a b c d"]).unwrap();
    let before = bleu.clone();
    let error = bleu.add("a b c d", &none).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 2 has no reference; give it at least one, which may be empty, or leave it out"
    );
    assert_eq!(bleu, before);
    assert!(Chrf::new(ChrfOptions::default()).add("a", &none).is_err());
    assert!(Ter::new(TerOptions::default()).add("a", &none).is_err());
    assert!(Rouge::new(RougeOptions::default()).add("a", &none).is_err());
}

#[test]
fn tokenizers_that_do_not_exist_are_named_beside_those_that_do() {
    let error = serde_json::from_str::<BleuTokenizer>("\"zh\"").unwrap_err().to_string();
    assert!(
        error.starts_with("unknown variant `zh`, expected one of `13a`, `none`, `char`, `intl`")
    );
}

#[test]
fn no_line_has_a_score_too() {
    assert_eq!(
        Bleu::new(BleuOptions::default()).score().to_string(),
        "BLEU|nrefs:0|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0 = 0.00 0.0/0.0/0.0/0.0 \
         (BP = 1.000 ratio = 0.000 hyp_len = 0 ref_len = 0)"
    );
    assert_eq!(Chrf::new(ChrfOptions::default()).score().value, 0.0);
    assert_eq!(Ter::new(TerOptions::default()).score().value, 0.0);
    assert_eq!(Rouge::new(RougeOptions::default()).score(), RougeScores::default());
    assert_eq!(ErrorRate::new(Unit::Words).score().value(), 0.0);
}

/// The reference of each kind, or one for all.
#[test]
fn one_of_several_references_counts() {
    let f = |one_reference| {
        let mut rouge = Rouge::new(RougeOptions { one_reference, ..Default::default() });
        rouge.add("a b c", &["a b z", "c b a"]).unwrap();
        let RougeScores { rouge1, rouge2, .. } = rouge.score();
        ((rouge1.f, rouge2.f), rouge.signature())
    };
    assert_eq!(
        f(false),
        ((1.0, 0.5), "nrefs:2|case:lc|tok:rouge|stemmer:no|version:rouge-score-0.1.2".into())
    );
    let one = "nrefs:2|best:rouge1|case:lc|tok:rouge|stemmer:no|version:rouge-score-0.1.2";
    assert_eq!(f(true), ((1.0, 0.0), one.into()));
}

/// Any characters in any order, with all options: figures are finite.
#[test]
fn odd_texts_have_finite_figures() {
    let alphabet: Vec<char> =
        "aab b\t\n.,-'s&;<3½\u{301}\u{1c}\u{3000}İΣß漢ア。！🙂\0".chars().collect();
    let mut state = 1_u64;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % limit
    };
    let mut text = || -> String {
        let len = below(30);
        (0..len).map(|_| alphabet[below(alphabet.len())]).collect()
    };
    for bits in 0..2000 {
        let is = |bit: u32| bits >> bit & 1 == 1;
        let references = vec![text(), text()];
        let tokenizer = if is(0) { BleuTokenizer::Intl } else { BleuTokenizer::Char };
        let mut bleu = Bleu::new(BleuOptions { tokenizer, lowercase: is(1), ..Default::default() });
        let (words, whitespace, eps_smoothing) = (is(0), is(1), is(2));
        let mut chrf =
            Chrf::new(ChrfOptions { words, whitespace, eps_smoothing, lowercase: is(3) });
        let (normalized, no_punct, asian_support, case_sensitive) = (is(0), is(1), is(2), is(3));
        let mut ter = Ter::new(TerOptions { normalized, no_punct, asian_support, case_sensitive });
        let mut rouge = Rouge::new(RougeOptions { stemmer: true, ..Default::default() });
        let mut rate = ErrorRate::new(if is(0) { Unit::Words } else { Unit::Characters });
        let line = text();
        bleu.count(&line, &references);
        chrf.count(&line, &references);
        ter.count(&line, &references);
        rouge.count(&line, &references);
        rate.count(&line, &references);
        let values = [bleu.values(), chrf.values(), ter.values(), rouge.values(), rate.values()];
        assert!(values.concat().iter().all(|value| value.is_finite()), "{line:?} {references:?}");
    }
}

/// Thousands of words, and words that are all the same: the limits of the search hold.
#[test]
fn long_lines_end() {
    let mut ter = Ter::new(TerOptions::default());
    let odd: Vec<String> = (0..3000_u32).map(|i| format!("w{}", i * i % 97)).collect();
    let mut turned = odd.clone();
    turned.rotate_left(1000);
    turned.reverse();
    ter.add(&odd.join(" "), &[turned.join(" "), "w1 ".repeat(5000), "w2".to_owned()]).unwrap();
    assert!(ter.score().value > 0.0);
}
