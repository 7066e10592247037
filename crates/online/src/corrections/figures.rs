//! How good the model's texts were before it learned from their corrections.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use tidemill_engine::data::tokens::score::{
    Bleu, Chrf, ErrorRate, ErrorRateScore, NewWords, Rouge, ScoreError, Ter, Unit,
};
use tidemill_engine::metrics::Figures;

use super::source::Source;

/// Corrections of the sliding figures.
const WINDOW: usize = 200;
/// Points of the curve; beyond them every other one goes.
const POINTS: usize = 512;

/// A text that the model wrote, with what a person made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Compared(String, String);

/// A point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Point {
    pub corrections: u64,
    /// BLEU, or word error rate where sounds are written down, of all corrections so far.
    #[serde(alias = "bleu")]
    pub all: f64,
    /// The same of the last ones.
    pub recent: f64,
    /// The mean loss of a token of the corrections that the weights that learn had, fading.
    pub loss: f64,
}

/// What texts that are made of other texts are compared by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OfTexts {
    bleu: Bleu,
    chrf: Chrf,
    ter: Ter,
    rouge: Rouge,
    /// BLEU of the last ones; runs of before it was kept have none.
    #[serde(default)]
    sliding: Option<Bleu>,
}

/// What texts are compared by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Measured {
    /// Those that are made of other texts.
    Texts(Box<OfTexts>),
    /// Those that sounds say.
    Said {
        words: ErrorRate,
        /// By who speaks.
        speakers: BTreeMap<String, ErrorRate>,
    },
}

/// Speakers of whom there are figures of their own; further ones are counted together.
const SPEAKERS: usize = 1000;
/// The name of those.
const OTHERS: &str = "others";

/// The figures of the corrections so far: part of the checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TextScores {
    corrections: u64,
    /// Those that left the text as it was.
    accepted: u64,
    #[serde(flatten)]
    measured: Measured,
    new_words: NewWords,
    /// Edits of characters: what a person would type, at the least.
    keystrokes: ErrorRate,
    last: VecDeque<Compared>,
    loss: f64,
    fading_loss: f64,
    pub curve: Vec<Point>,
    /// Corrections between two points.
    every: u64,
}

impl TextScores {
    /// Of no correction yet, of texts or of what sounds say.
    pub fn new(is_sound: bool) -> TextScores {
        let measured = match is_sound {
            false => Measured::Texts(Box::new(OfTexts {
                bleu: Bleu::new(Default::default()),
                chrf: Chrf::new(Default::default()),
                ter: Ter::new(Default::default()),
                rouge: Rouge::new(Default::default()),
                sliding: None,
            })),
            true => {
                Measured::Said { words: ErrorRate::new(Unit::Words), speakers: BTreeMap::new() }
            }
        };
        TextScores {
            corrections: 0,
            accepted: 0,
            measured,
            new_words: NewWords::default(),
            keystrokes: ErrorRate::new(Unit::Characters),
            last: VecDeque::new(),
            loss: 0.0,
            fading_loss: 0.0,
            curve: Vec::new(),
            every: 1,
        }
    }

    /// Compares a hypothesis with its correction, of which the weights that learn had this mean loss of a token.
    pub fn add(
        &mut self,
        source: &Source,
        hypothesis: &str,
        correction: &str,
        loss: f64,
    ) -> Result<(), ScoreError> {
        self.corrections += 1;
        self.accepted += u64::from(hypothesis == correction);
        self.last.push_back(Compared(hypothesis.to_owned(), correction.to_owned()));
        let leaves = if self.last.len() > WINDOW { self.last.pop_front() } else { None };
        match &mut self.measured {
            Measured::Texts(texts) => {
                let OfTexts { bleu, chrf, ter, rouge, sliding } = &mut **texts;
                bleu.add(hypothesis, &[correction])?;
                chrf.add(hypothesis, &[correction])?;
                ter.add(hypothesis, &[correction])?;
                rouge.add(hypothesis, &[correction])?;
                match (sliding, leaves) {
                    (Some(sliding), leaves) => {
                        sliding.add(hypothesis, &[correction])?;
                        if let Some(Compared(hypothesis, correction)) = leaves {
                            sliding.remove(&hypothesis, &[correction])?;
                        }
                    }
                    (none, _) => *none = Some(bleu_of(&self.last)),
                }
            }
            Measured::Said { words, speakers } => {
                words.add(hypothesis, correction);
                if let Some(speaker) = source.speaker() {
                    let is_known = speakers.contains_key(speaker) || speakers.len() < SPEAKERS;
                    let name = if is_known { speaker } else { OTHERS };
                    let own = speakers.entry(name.to_owned());
                    own.or_insert_with(|| ErrorRate::new(Unit::Words)).add(hypothesis, correction);
                }
            }
        }
        self.new_words.add(hypothesis, correction);
        self.keystrokes.add(hypothesis, correction);
        let n = self.corrections as f64;
        self.loss += (loss - self.loss) / n;
        self.fading_loss += (loss - self.fading_loss) / n.min(WINDOW as f64);
        if self.corrections.is_multiple_of(self.every) {
            let (all, recent) = (self.all(), self.recent());
            let (corrections, loss) = (self.corrections, self.fading_loss);
            self.curve.push(Point { corrections, all, recent, loss });
            if self.curve.len() > POINTS {
                self.every *= 2;
                self.curve.retain(|point| point.corrections.is_multiple_of(self.every));
            }
        }
        Ok(())
    }

    /// The name of the figure that says most.
    pub fn name(&self) -> &'static str {
        match self.measured {
            Measured::Texts(_) => "bleu",
            Measured::Said { .. } => "wer",
        }
    }

    /// That figure, of all corrections.
    fn all(&self) -> f64 {
        match &self.measured {
            Measured::Texts(texts) => texts.bleu.score().value,
            Measured::Said { words, .. } => words.score().value(),
        }
    }

    pub fn corrections(&self) -> u64 {
        self.corrections
    }

    /// The same figure, of the last corrections.
    pub fn recent(&self) -> f64 {
        match &self.measured {
            Measured::Texts(texts) => match &texts.sliding {
                Some(sliding) => sliding.score().value,
                None => bleu_of(&self.last).score().value,
            },
            Measured::Said { .. } => {
                let mut words = ErrorRate::new(Unit::Words);
                self.last.iter().for_each(|Compared(a, b)| words.add(a, b));
                words.score().value()
            }
        }
    }

    /// That figure, of all, and the mean loss of a token.
    pub fn headline(&self) -> (f64, f64) {
        (self.all(), self.loss)
    }

    /// All figures by name; none before the first correction.
    pub fn figures(&self) -> Figures {
        let mut figures = Figures::new();
        if self.corrections == 0 {
            return figures;
        }
        let mut put = |name: &str, value: f64| figures.insert(name.to_owned(), value);
        match &self.measured {
            Measured::Texts(texts) => {
                let OfTexts { bleu, chrf, ter, rouge, .. } = &**texts;
                let rouge = rouge.score();
                put("bleu", bleu.score().value);
                put("sliding.bleu", self.recent());
                put("chrf", chrf.score().value);
                put("ter", ter.score().value);
                put("rouge1", 100.0 * rouge.rouge1.f);
                put("rouge2", 100.0 * rouge.rouge2.f);
                put("rougeL", 100.0 * rouge.rouge_l.f);
                put("keystrokes", self.keystrokes.score().value());
            }
            Measured::Said { words, .. } => {
                put("wer", words.score().value());
                put("sliding.wer", self.recent());
                put("cer", self.keystrokes.score().value());
            }
        }
        let new = self.new_words.score();
        put("r0", new.r0());
        put("r1", new.r1());
        put("accepted", self.accepted as f64 / self.corrections as f64);
        put("loss", self.loss);
        for (speaker, words) in self.speakers() {
            put(&format!("speaker.{speaker}.wer"), words.value());
        }
        figures
    }

    /// The errors of words of each speaker who was named.
    pub fn speakers(&self) -> impl Iterator<Item = (&str, ErrorRateScore)> {
        let speakers = match &self.measured {
            Measured::Said { speakers, .. } => Some(speakers),
            Measured::Texts(_) => None,
        };
        speakers.into_iter().flatten().map(|(name, words)| (name.as_str(), words.score()))
    }

    /// The newest hypotheses with their corrections, the newest first.
    pub fn newest(&self, most: usize) -> impl Iterator<Item = (&str, &str)> {
        self.last.iter().rev().take(most).map(|Compared(a, b)| (a.as_str(), b.as_str()))
    }

    /// With what its values can be compared: the signature of BLEU, or the counts of errors.
    pub fn signature(&self) -> String {
        match &self.measured {
            Measured::Texts(texts) => texts.bleu.score().to_string(),
            Measured::Said { words, .. } => format!("WER {}", words.score()),
        }
    }
}

fn bleu_of(pairs: &VecDeque<Compared>) -> Bleu {
    let mut bleu = Bleu::new(Default::default());
    for Compared(hypothesis, correction) in pairs {
        // They were compared before.
        let _ = bleu.add(hypothesis, &[correction.as_str()]);
    }
    bleu
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::source::Sound;
    use super::*;

    #[test]
    fn figures_go_through_json_and_the_curve_stays_short() {
        let mut scores = TextScores::new(false);
        let source = Source::Text(String::new());
        for i in 0..2000 {
            let hypothesis = if i % 2 == 0 { "Ein Hund läuft schnell ." } else { "Hund" };
            scores.add(&source, hypothesis, "Ein Hund läuft schnell .", 1.0).unwrap();
        }
        let again: TextScores =
            serde_json::from_str(&serde_json::to_string(&scores).unwrap()).unwrap();
        assert_eq!(again, scores);
        let figures = scores.figures();
        assert_eq!((figures["accepted"], figures["loss"]), (0.5, 1.0));
        assert!(figures["bleu"] > 20.0 && scores.curve.len() <= POINTS);
        assert_eq!(scores.curve.last().unwrap().corrections, 2000);
        let Measured::Texts(texts) = &scores.measured else { panic!("of texts") };
        assert_eq!(texts.sliding, Some(bleu_of(&scores.last)));
        assert_eq!(scores.last.len(), WINDOW);
    }

    #[test]
    fn errors_of_words_are_counted_by_speaker() {
        let mut scores = TextScores::new(true);
        let sound = |speaker: &str| Source::Sound(Sound::new("".into(), speaker.into(), &[]));
        scores.add(&sound("anna"), "one two", "one three", 1.0).unwrap();
        scores.add(&sound("ben"), "four", "four", 0.0).unwrap();
        scores.add(&sound(""), "five", "five", 0.0).unwrap();
        let figures = scores.figures();
        let of = |name: &str| figures.get(name).copied();
        assert_eq!((of("wer"), of("sliding.wer"), of("bleu")), (Some(0.25), Some(0.25), None));
        let speakers = (of("speaker.anna.wer"), of("speaker.ben.wer"), of("speaker..wer"));
        assert_eq!(speakers, (Some(0.5), Some(0.0), None));
        let again: TextScores =
            serde_json::from_str(&serde_json::to_string(&scores).unwrap()).unwrap();
        assert_eq!(again, scores);
    }
}
