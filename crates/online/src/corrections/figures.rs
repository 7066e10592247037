//! How good the model's texts were before it learned from their corrections.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tidemill_engine::data::tokens::score::{
    Bleu, Chrf, ErrorRate, NewWords, Rouge, ScoreError, Ter, Unit,
};
use tidemill_engine::metrics::Figures;

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
    /// BLEU of all corrections so far.
    pub bleu: f64,
    /// BLEU of the last ones.
    pub recent: f64,
    /// The mean loss of a token of the corrections that the weights that learn had, fading.
    pub loss: f64,
}

/// The figures of the corrections so far: part of the checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TextScores {
    corrections: u64,
    /// Those that left the text as it was.
    accepted: u64,
    bleu: Bleu,
    chrf: Chrf,
    ter: Ter,
    rouge: Rouge,
    new_words: NewWords,
    /// Edits of characters: what a person would type, at the least.
    keystrokes: ErrorRate,
    last: VecDeque<Compared>,
    /// BLEU of those; runs of before it was kept have none.
    #[serde(default)]
    sliding: Option<Bleu>,
    loss: f64,
    fading_loss: f64,
    pub curve: Vec<Point>,
    /// Corrections between two points.
    every: u64,
}

impl Default for TextScores {
    fn default() -> TextScores {
        TextScores {
            corrections: 0,
            accepted: 0,
            bleu: Bleu::new(Default::default()),
            chrf: Chrf::new(Default::default()),
            ter: Ter::new(Default::default()),
            rouge: Rouge::new(Default::default()),
            new_words: NewWords::default(),
            keystrokes: ErrorRate::new(Unit::Characters),
            last: VecDeque::new(),
            sliding: None,
            loss: 0.0,
            fading_loss: 0.0,
            curve: Vec::new(),
            every: 1,
        }
    }
}

impl TextScores {
    /// Compares a hypothesis with its correction, of which the weights that learn had this mean loss of a token.
    pub fn add(&mut self, hypothesis: &str, correction: &str, loss: f64) -> Result<(), ScoreError> {
        self.corrections += 1;
        self.accepted += u64::from(hypothesis == correction);
        self.bleu.add(hypothesis, &[correction])?;
        self.chrf.add(hypothesis, &[correction])?;
        self.ter.add(hypothesis, &[correction])?;
        self.rouge.add(hypothesis, &[correction])?;
        self.new_words.add(hypothesis, correction);
        self.keystrokes.add(hypothesis, correction);
        let sliding = self.sliding.get_or_insert_with(|| bleu_of(&self.last));
        sliding.add(hypothesis, &[correction])?;
        self.last.push_back(Compared(hypothesis.to_owned(), correction.to_owned()));
        if self.last.len() > WINDOW
            && let Some(Compared(hypothesis, correction)) = self.last.pop_front()
        {
            sliding.remove(&hypothesis, &[correction])?;
        }
        let n = self.corrections as f64;
        self.loss += (loss - self.loss) / n;
        self.fading_loss += (loss - self.fading_loss) / n.min(WINDOW as f64);
        if self.corrections.is_multiple_of(self.every) {
            let (bleu, recent) = (self.bleu.score().value, self.recent());
            let (corrections, loss) = (self.corrections, self.fading_loss);
            self.curve.push(Point { corrections, bleu, recent, loss });
            if self.curve.len() > POINTS {
                self.every *= 2;
                self.curve.retain(|point| point.corrections.is_multiple_of(self.every));
            }
        }
        Ok(())
    }

    pub fn corrections(&self) -> u64 {
        self.corrections
    }

    /// BLEU of the last corrections.
    pub fn recent(&self) -> f64 {
        match &self.sliding {
            Some(sliding) => sliding.score().value,
            None => bleu_of(&self.last).score().value,
        }
    }

    /// BLEU of all, and the mean loss of a token.
    pub fn headline(&self) -> (f64, f64) {
        (self.bleu.score().value, self.loss)
    }

    /// All figures by name; none before the first correction.
    pub fn figures(&self) -> Figures {
        let mut figures = Figures::new();
        if self.corrections == 0 {
            return figures;
        }
        let (rouge, new) = (self.rouge.score(), self.new_words.score());
        let values = [
            ("bleu", self.bleu.score().value),
            ("sliding.bleu", self.recent()),
            ("chrf", self.chrf.score().value),
            ("ter", self.ter.score().value),
            ("rouge1", 100.0 * rouge.rouge1.f),
            ("rouge2", 100.0 * rouge.rouge2.f),
            ("rougeL", 100.0 * rouge.rouge_l.f),
            ("r0", new.r0()),
            ("r1", new.r1()),
            ("keystrokes", self.keystrokes.score().value()),
            ("accepted", self.accepted as f64 / self.corrections as f64),
            ("loss", self.loss),
        ];
        figures.extend(values.map(|(name, value)| (name.to_owned(), value)));
        figures
    }

    /// The newest hypotheses with their corrections, the newest first.
    pub fn newest(&self, most: usize) -> impl Iterator<Item = (&str, &str)> {
        self.last.iter().rev().take(most).map(|Compared(a, b)| (a.as_str(), b.as_str()))
    }

    /// The signature of BLEU, with which its values can be compared.
    pub fn signature(&self) -> String {
        self.bleu.score().to_string()
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
    use super::*;

    #[test]
    fn figures_go_through_json_and_the_curve_stays_short() {
        let mut scores = TextScores::default();
        for i in 0..2000 {
            let hypothesis = if i % 2 == 0 { "Ein Hund läuft schnell ." } else { "Hund" };
            scores.add(hypothesis, "Ein Hund läuft schnell .", 1.0).unwrap();
        }
        let again: TextScores =
            serde_json::from_str(&serde_json::to_string(&scores).unwrap()).unwrap();
        assert_eq!(again, scores);
        let figures = scores.figures();
        assert_eq!((figures["accepted"], figures["loss"]), (0.5, 1.0));
        assert!(figures["bleu"] > 20.0 && scores.curve.len() <= POINTS);
        assert_eq!(scores.curve.last().unwrap().corrections, 2000);
        assert_eq!(scores.sliding, Some(bleu_of(&scores.last)));
        assert_eq!(scores.last.len(), WINDOW);
    }
}
