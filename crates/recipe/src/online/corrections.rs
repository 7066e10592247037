//! What a recipe says about learning from corrections of generated texts.

use serde::{Deserialize, Serialize};

/// How a model that makes texts of texts (translations, summaries) or writes down what sounds say learns from the texts that people
/// correct its own to. Nothing of it has to be given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorrectionsSpec {
    /// Key or column of what the model reads. By default `source` or `text`, whichever a record has; of sounds `audio`, `path` or
    /// `audio_filepath`.
    pub source: Option<String>,
    /// Key or column of what the model should have written. By default `correction`, `summary`, `translation` or
    /// `target`, whichever a record has; of sounds `correction`, `text` or `transcript`.
    pub correction: Option<String>,
    /// The folder of the sounds that records may name, and of no others. By default that of the file of records; where records come
    /// otherwise, they hold their sounds and name no files.
    pub sound_folder: Option<String>,
    /// How much a correction weighs in its step beside a stored pair; 2 by default.
    pub weight: f64,
    /// Pairs of the training data in each step, against forgetting; 8 by default. With 0 the training data is not read.
    pub stored: usize,
    /// Earlier corrections in each step; 4 by default.
    pub recent: usize,
    /// Earlier corrections that are kept for that, the newest; 10,000 by default. Of sounds at most 64 MB.
    pub capacity: usize,
    /// Corrections over which the learning rate rises to its value, since the optimizer's moments are those of the training;
    /// 20 by default.
    pub warmup: u64,
    /// Which weights learn; all by default.
    pub scope: Scope,
    /// Decay of the slow weights, a running mean over the corrections; 0.99 by default.
    pub average: f64,
    /// Which weights make the texts. By default a test decides between the slow and the fast ones; of sounds the slow ones do, since the test
    /// sees only those who correct, and the fast ones forget other voices.
    pub serve: Option<Serve>,
    /// The chance with which that test may prefer weights that are no better; 0.05 by default.
    pub alpha: f64,
    /// Hypotheses that are kept while a text is searched; 5 by default.
    pub beam: usize,
    /// Which corrections are set aside as garbage.
    pub quarantine: QuarantineSpec,
}

/// Which weights learn from corrections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All of them.
    #[default]
    All,
    /// The last layer that has weights, with the table of tokens where both are one.
    Head,
    /// What is added only: biases, and `beta` of norms (Ben Zaken et al. 2022).
    Biases,
}

/// Which weights make texts while a model learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Serve {
    /// The slow ones at first, then whichever a test on the losses of the corrections finds better.
    Better,
    /// The running mean.
    Slow,
    /// Those that learn.
    Fast,
}

/// Which corrections are set aside into `quarantine.jsonl`, until someone releases them with a record
/// `{"release": NUMBER}`. Each limit is left out with `inf`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuarantineSpec {
    /// How many standard deviations the loss of a token may lie above the mean of the corrections so far, where more than half of the
    /// characters were changed; 6 by default. Texts in another language are found by this.
    pub surprise: f64,
    /// How many standard deviations the logarithm of the ratio of both lengths may lie from the mean of the training data; 6 by
    /// default.
    pub length: f64,
    /// The share of a text that may be repetitions, beyond that of its source: words or pairs of words that came before, in texts of six
    /// words or more; 0.5 by default. A character five times in a row counts as all of it.
    pub repeats: f64,
    /// The share of the letters that may be ones that the targets of the training data do not have; 0.2 by default.
    pub letters: f64,
    /// Whether a correction of four words or more may be its source word for word, where the model wrote something
    /// else; no by default.
    pub copies: bool,
}

impl Default for QuarantineSpec {
    fn default() -> Self {
        QuarantineSpec { surprise: 6.0, length: 6.0, repeats: 0.5, letters: 0.2, copies: false }
    }
}

impl Default for CorrectionsSpec {
    fn default() -> Self {
        CorrectionsSpec {
            source: None,
            correction: None,
            sound_folder: None,
            weight: 2.0,
            stored: 8,
            recent: 4,
            capacity: 10_000,
            warmup: 20,
            scope: Scope::All,
            average: 0.99,
            serve: None,
            alpha: 0.05,
            beam: 5,
            quarantine: QuarantineSpec::default(),
        }
    }
}

impl CorrectionsSpec {
    /// The first key that is invalid by itself, and why.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, what: String| Err((key.to_owned(), what));
        let most = |key: &str, n: usize, most: usize| match n > most {
            true => wrong(key, format!("must be at most {most}, found {n}")),
            false => Ok(()),
        };
        if !(self.weight > 0.0 && self.weight <= 1e3) {
            let what = format!("must be above 0 and at most 1000, found {}", self.weight);
            return wrong("weight", what);
        }
        most("stored", self.stored, 1000)?;
        most("recent", self.recent, 1000)?;
        most("capacity", self.capacity, 10_000_000)?;
        if !(0.0..1.0).contains(&self.average) {
            let what = format!("must be from 0 to below 1, found {}", self.average);
            return wrong("average", what);
        }
        if !(self.alpha > 0.0 && self.alpha < 1.0) {
            return wrong("alpha", format!("must be between 0 and 1, found {}", self.alpha));
        }
        if !(1..=100).contains(&self.beam) {
            return wrong("beam", format!("must be from 1 to 100, found {}", self.beam));
        }
        let limits = &self.quarantine;
        let limits = [
            ("surprise", limits.surprise),
            ("length", limits.length),
            ("repeats", limits.repeats),
            ("letters", limits.letters),
        ];
        match limits.into_iter().find(|(_, limit)| limit.is_nan() || *limit < 0.0) {
            Some((key, limit)) => {
                wrong(&format!("quarantine.{key}"), format!("must be 0 or more, found {limit}"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_named() {
        let wrong = |text: &str| {
            toml_edit::de::from_str::<CorrectionsSpec>(text).unwrap().check().unwrap_err()
        };
        assert_eq!(wrong("weight = 0.0").0, "weight");
        assert_eq!(wrong("average = 1.0").0, "average");
        assert_eq!(wrong("beam = 0").0, "beam");
        assert_eq!(wrong("quarantine = { letters = -1.0 }").0, "quarantine.letters");
        CorrectionsSpec::default().check().unwrap();
        let off: CorrectionsSpec =
            toml_edit::de::from_str("quarantine = { surprise = inf, repeats = inf }").unwrap();
        off.check().unwrap();
    }
}
