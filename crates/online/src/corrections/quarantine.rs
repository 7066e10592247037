//! Which corrections are garbage.
//!
//! Users' corrections are public input: a translation service that collected them over years could not filter entries such as
//! `aaaaaa`, and used none of them for training. Here each reason is a rule with a limit in the recipe, and what matches it is set
//! aside with the reason, never deleted.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tidemill_engine::data::tokens::score::{ErrorRate, Unit};
use tidemill_recipe::online::corrections::QuarantineSpec;

use super::pair::{Made, Read};
use super::source::{Sound, Source};
use super::stored::{Usual, log_ratio};

/// Corrections over which the mean of the losses fades.
const MEMORY: f64 = 500.0;
/// The least standard deviation of losses, in nats a token: a model that is sure of all it has seen is not surprised by a new
/// word.
const LEAST_DEVIATION: f64 = 0.5;
/// The same of a label of a sound: a voice that is not known is no garbage.
const LEAST_OF_VOICES: f64 = 1.0;
/// A sound without a sample beyond this is silent: -80 dB.
const SILENT: u16 = 3;
/// A correction that changes no more of the text's characters is not judged by its loss.
const MOST_CHANGED: f64 = 0.5;
/// Corrections before losses are judged.
const FIRST: u64 = 20;

/// The losses of corrections so far; part of the checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Losses {
    count: u64,
    mean: f64,
    variance: f64,
}

impl Losses {
    pub fn add(&mut self, loss: f64) {
        self.count += 1;
        let rate = 1.0 / (self.count as f64).min(MEMORY);
        let off = loss - self.mean;
        self.mean += rate * off;
        self.variance = (1.0 - rate) * (self.variance + rate * off * off);
    }

    /// By how many standard deviations a loss is above the mean; nothing before there are some.
    fn deviations(&self, loss: f64, least: f64) -> Option<f64> {
        let deviation = self.variance.sqrt().max(least);
        (self.count >= FIRST).then(|| (loss - self.mean) / deviation)
    }
}

/// A correction as it is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judged<'a> {
    pub source: &'a Source,
    pub made: &'a Made,
    pub hypothesis: &'a str,
    pub correction: &'a str,
    /// The mean loss of its tokens.
    pub loss: f64,
}

/// Why a correction is garbage, if it is.
pub(super) fn reason(
    limits: &QuarantineSpec,
    usual: Option<&Usual>,
    losses: &Losses,
    of: Judged<'_>,
) -> Option<String> {
    let Judged { source, hypothesis, correction, loss, .. } = of;
    if !loss.is_finite() {
        return Some("the model's loss of it is not finite".into());
    }
    let own = match source {
        Source::Text(source) => of_text(limits, source, hypothesis, correction),
        Source::Sound(sound) => of_sound(limits, sound, of),
    };
    if own.is_some() {
        return own;
    }
    if let Some(usual) = usual {
        let letters = correction.chars().filter(|c| c.is_alphabetic());
        let letters = letters.flat_map(char::to_lowercase);
        let (all, strange) = letters.fold((0_u64, 0_u64), |(all, strange), c| {
            (all + 1, strange + u64::from(!usual.letters.contains(&c)))
        });
        let share = strange as f64 / all.max(1) as f64;
        if share > limits.letters {
            let percent = 100.0 * share;
            return Some(format!(
                "{percent:.0} % of its letters are in no target of the training data"
            ));
        }
        let [mean, deviation] = usual.ratio;
        let length = length(of);
        let off = (log_ratio(length, correction) - mean).abs() / deviation.max(0.1);
        if off > limits.length {
            let long = correction.chars().count();
            let unit = if matches!(source, Source::Sound(_)) { " positions" } else { "" };
            return Some(format!(
                "it has {long} characters for {length}{unit}, {off:.1} standard deviations from what is usual"
            ));
        }
    }
    let (least, unit) = match source {
        Source::Text(_) => (LEAST_DEVIATION, "token"),
        Source::Sound(_) => (LEAST_OF_VOICES, "label"),
    };
    match losses.deviations(loss, least) {
        // A model that is sure of itself is as surprised by a customer's spelling of a word as by another language; but a
        // correction that keeps most of what the model wrote is none.
        Some(off) if off > limits.surprise && changed(hypothesis, correction) > MOST_CHANGED => {
            Some(format!(
                "its loss of {loss:.2} a {unit} is {off:.1} standard deviations above that of other corrections"
            ))
        }
        _ => None,
    }
}

/// The length of the source as lengths of the training data are measured.
fn length(of: Judged<'_>) -> usize {
    match of.source {
        Source::Text(text) => text.chars().count(),
        Source::Sound(_) => of.made.pair.lengths()[0],
    }
}

/// What is garbage beside the text that it corrects.
fn of_text(
    limits: &QuarantineSpec,
    source: &str,
    hypothesis: &str,
    correction: &str,
) -> Option<String> {
    // What the source repeats may be repeated.
    let repeated = repeats(correction) - repeats(source);
    if repeated > limits.repeats {
        return Some(format!(
            "{:.0} % of it is repetition that its source does not have",
            100.0 * repeated
        ));
    }
    let words = correction.split_whitespace().count();
    let is_copy = is_same(source, correction) && !is_same(source, hypothesis);
    (!limits.copies && words >= 4 && is_copy).then(|| "it is its source, word for word".to_owned())
}

/// What is garbage beside the sound that it says the words of. Words may come again and again, as digits do.
fn of_sound(limits: &QuarantineSpec, sound: &Sound, of: Judged<'_>) -> Option<String> {
    let Judged { correction, made, .. } = of;
    if sound.samples.iter().all(|s| s.unsigned_abs() <= SILENT) {
        return Some("its sound is silent".into());
    }
    if has_run(correction) && limits.repeats < 1.0 {
        return Some("it has a character five times in a row".into());
    }
    if made.is_unknown {
        return Some("it has words or characters that the model's vocabulary lacks".into());
    }
    let Read::Frames { values, width } = &made.pair.source else { return None };
    let (needs, has) = (made.needs, values.len() / width);
    (needs > has).then(|| {
        format!("it needs {needs} positions of the sound at least, which has {has}: it is too long for it")
    })
}

/// Whether a letter or digit comes five times in a row.
fn has_run(text: &str) -> bool {
    let mut run = (' ', 0);
    text.chars().any(|c| {
        run = if c == run.0 { (c, run.1 + 1) } else { (c, 1) };
        run.1 >= 5 && run.0.is_alphanumeric()
    })
}

/// The share of a text that is repetition: of its words or of its pairs of words, whichever is more.
fn repeats(text: &str) -> f64 {
    if has_run(text) {
        return 1.0;
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.len() < 6 {
        return 0.0;
    }
    let pairs: BTreeSet<&[&str]> = words.windows(2).collect();
    let single: BTreeSet<&&str> = words.iter().collect();
    let share = |different: usize, all: usize| 1.0 - different as f64 / all as f64;
    share(pairs.len(), words.len() - 1).max(share(single.len(), words.len()))
}

/// The share of a correction's characters that were not there before.
fn changed(hypothesis: &str, correction: &str) -> f64 {
    let mut rate = ErrorRate::new(Unit::Characters);
    rate.add(hypothesis, correction);
    rate.score().value()
}

/// Whether two texts have the same words, whatever their case and punctuation.
fn is_same(a: &str, b: &str) -> bool {
    let letters = |text: &str| -> String {
        let kept = text.chars().filter(|c| c.is_alphanumeric());
        kept.flat_map(char::to_lowercase).collect()
    };
    letters(a) == letters(b)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::pair::Pair;
    use super::*;
    use tidemill_engine::graph::Ctc;

    fn judged(correction: &str, loss: f64) -> Option<String> {
        let pairs = [
            ("A dog runs on the beach.", "Ein Hund läuft am Strand entlang."),
            ("Two men are talking quickly.", "Zwei Männer jagen sprechend über Pfützen."),
            ("A vexed boxer", "Ein Boxer, Quatsch"),
        ];
        let usual = Usual::of(pairs.iter().map(|(a, b)| (a.chars().count(), *b)));
        let mut losses = Losses::default();
        (0..100).for_each(|i| losses.add(2.0 + f64::from(i % 3) * 0.5));
        let source = Source::Text("A brown dog runs on a very very long beach.".into());
        let pair = Pair { source: Read::Tokens(vec![]), target: vec![] };
        let of = Judged {
            source: &source,
            made: &Made { pair, is_cut: false, is_unknown: false, needs: 0 },
            hypothesis: "Ein brauner Hund läuft über einen langen Strand.",
            correction,
            loss,
        };
        reason(&QuarantineSpec::default(), Some(&usual), &losses, of)
    }

    #[test]
    fn garbage_is_found_by_its_kind() {
        assert_eq!(judged("Ein brauner Hund läuft über einen sehr langen Strand.", 3.5), None);
        let found = |text: &str, loss| judged(text, loss).unwrap();
        assert!(found("aaaaaaa", 2.0).contains("repetition"));
        assert!(found("Hund Hund Hund Hund Hund Hund Hund", 2.0).contains("repetition"));
        assert!(found("der Hund der Hund der Hund der Hund der Hund", 2.0).contains("repetition"));
        let copy = found("a brown dog runs on a very very long beach", 2.0);
        assert!(copy.contains("word for word"));
        assert!(found("Собака бежит по длинному пляжу.", 2.0).contains("letters"));
        assert!(found("Ja", 2.0).contains("standard deviations from what is usual"));
        let other = found("Un chien brun court le long d'une plage", 9.0);
        assert!(other.contains("a token is"), "{other}");
        // What keeps most of the text is a correction, however surprising.
        assert_eq!(judged("Ein brauner Hund läuft über einen langen Sand.", 9.0), None);
        assert!(found("Ein Hund läuft am langen Strand.", f64::NAN).contains("not finite"));
    }

    #[test]
    fn losses_are_judged_once_there_are_some() {
        let mut losses = Losses::default();
        assert_eq!(losses.deviations(100.0, 0.5), None);
        for i in 0..2000 {
            losses.add(if i % 2 == 0 { 1.0 } else { 3.0 });
        }
        assert!((losses.deviations(4.0, 0.5).unwrap() - 2.0).abs() < 0.05);
    }

    #[test]
    fn garbage_of_sounds_is_found_by_its_kind() {
        // 4 letters for 20 positions, as in the training data.
        let usual = Usual::of([(20, "four"), (41, "seventwo")].into_iter());
        let judged = |samples: &[f32], target: &[i32], is_unknown, correction: &str, loss| {
            let source = Source::Sound(Sound::new(String::new(), String::new(), samples));
            let frames = Read::Frames { values: vec![0.0; 40], width: 2 };
            let pair = Pair { source: frames, target: target.to_vec() };
            let needs = Ctc::positions(target);
            let made = Made { pair, is_cut: false, is_unknown, needs };
            let mut losses = Losses::default();
            (0..100).for_each(|_| losses.add(0.5));
            let of = Judged { source: &source, made: &made, hypothesis: "nine", correction, loss };
            reason(&QuarantineSpec::default(), Some(&usual), &losses, of)
        };
        let noise = [0.1, -0.2, 0.05];
        assert_eq!(judged(&noise, &[1], false, "four", 3.0), None);
        // A voice that the model has not heard.
        assert_eq!(judged(&noise, &[1], false, "four", 6.0), None);
        let found = |samples: &[f32], target: &[i32], unknown, text: &str, loss| {
            judged(samples, target, unknown, text, loss).unwrap()
        };
        assert!(found(&[0.0, 1e-5], &[1], false, "four", 1.0).contains("silent"));
        assert!(found(&noise, &[1], true, "four", 1.0).contains("vocabulary"));
        // 11 equal labels need 10 blanks between them.
        let long = found(&noise, &[1; 11], false, "four", 0.0);
        assert!(long.contains("needs 21 positions"), "{long}");
        assert!(found(&noise, &[1], false, "ffffff", 1.0).contains("in a row"));
        assert!(found(&noise, &[1], false, "чет", 1.0).contains("letters"));
        let much = found(&noise, &[1], false, &"four ".repeat(40), 1.0);
        assert!(much.contains("for 20 positions"), "{much}");
        assert!(found(&noise, &[1], false, "four", 9.0).contains("a label is"));
    }
}
