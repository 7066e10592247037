//! Texts that a model makes of other texts, by beam search ([`tidemill_engine::beam`]).

use std::path::PathBuf;
use std::sync::Arc;

use tidemill_engine::Decoding;
use tidemill_engine::beam::{Found, Search};
use tidemill_engine::data::text::read_utf8;
use tidemill_engine::data::tokens::score::{Bleu, Chrf, Rouge, ScoreError, Ter};
use tidemill_engine::data::tokens::{Special, Tokenizer};
use tidemill_engine::error::{Error, Result};

pub use tidemill_engine::beam::{Beam, LengthPenalty};

use crate::Trained;
use crate::trained::check_exist;

/// Sentences that are worked on at once.
const SENTENCES: usize = 32;

/// A text that the model has made.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// The text.
    pub text: String,
    /// Its log-probability under the length penalty.
    pub score: f64,
}

/// How generated texts compare with those of people.
#[derive(Clone, Debug)]
pub struct TextFigures {
    /// BLEU (Papineni et al. 2002), of the whole.
    pub bleu: Bleu,
    /// chrF2 (Popovic 2015).
    pub chrf: Chrf,
    /// The translation edit rate (Snover et al. 2006).
    pub ter: Ter,
    /// ROUGE (Lin 2004).
    pub rouge: Rouge,
}

impl TextFigures {
    fn add(&mut self, text: &str, reference: &str) -> std::result::Result<(), ScoreError> {
        self.bleu.add(text, &[reference])?;
        self.chrf.add(text, &[reference])?;
        self.ter.add(text, &[reference])?;
        self.rouge.add(text, &[reference])
    }

    /// Each figure in a line, as the programs print it that papers quote.
    pub fn lines(&self) -> [String; 4] {
        [
            self.bleu.score().to_string(),
            self.chrf.score().to_string(),
            self.ter.score().to_string(),
            self.rouge.score().to_string(),
        ]
    }
}

/// What the model makes of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// The best first; none of a text that is empty.
    pub hypotheses: Vec<Hypothesis>,
    /// Whether the text has more tokens than the model reads, and its end was left out.
    pub is_cut: bool,
}

impl Trained {
    /// The texts that the model makes of others, the best first: as many of each as the beam is wide, or fewer. `prefix` is how each
    /// begins.
    ///
    /// # Errors
    /// If the model makes no texts of texts.
    pub fn translate(
        &mut self,
        texts: &[&str],
        prefix: &str,
        beam: &Beam,
    ) -> Result<Vec<Translation>> {
        let (tokenizer, begin, end) = self.translator()?;
        let lengths = self.lengths();
        let mut start = vec![begin];
        tokenizer.encode(prefix, &mut start);
        if start.len() >= lengths[1] {
            return Err(Error::Usage("--prefix: is longer than the model writes".into()));
        }
        let mut found = vec![Translation::default(); texts.len()];
        let mut sources = Vec::new();
        for (place, text) in texts.iter().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
            let mut source = Vec::new();
            tokenizer.encode(text.trim(), &mut source);
            found[place].is_cut = source.len() >= lengths[0];
            source.truncate(lengths[0] - 1);
            source.push(end);
            sources.push((place, source));
        }
        // Sentences of like length end at about the same time, and need little padding.
        sources.sort_by_key(|(place, source)| (source.len(), *place));
        let mut decoding = Decoding::default();
        let search = Search { start: &start, end, beam };
        for part in sources.chunks(SENTENCES) {
            let given: Vec<&[i32]> = part.iter().map(|(_, source)| &source[..]).collect();
            let texts = self.engine_mut().search(&mut decoding, &given, &search)?;
            for ((place, _), texts) in part.iter().zip(texts) {
                let hypothesis = |text: Found| Hypothesis {
                    text: tokenizer.decode(&text.ids),
                    score: text.score,
                };
                found[*place].hypotheses = texts.into_iter().map(hypothesis).collect();
            }
        }
        Ok(found)
    }

    /// What the model makes of the sources in `data` (the file of sources and that of targets; the recipe's validation data
    /// where none are named), compared with the targets.
    ///
    /// # Errors
    /// If the data cannot be read, or the model makes no texts of texts.
    pub fn score_texts(&mut self, data: &[PathBuf], beam: &Beam) -> Result<TextFigures> {
        let pairs = self.pairs(data)?;
        let sources: Vec<&str> = pairs.iter().map(|(source, _)| source.as_str()).collect();
        let found = self.translate(&sources, "", beam)?;
        let mut figures = TextFigures {
            bleu: Bleu::new(Default::default()),
            chrf: Chrf::new(Default::default()),
            ter: Ter::new(Default::default()),
            rouge: Rouge::new(Default::default()),
        };
        for (translation, (_, target)) in found.iter().zip(&pairs) {
            let best = translation.hypotheses.first().map_or("", |best| best.text.as_str());
            let added = figures.add(best, target);
            added.map_err(|e| Error::Run(format!("a text cannot be compared: {e}")))?;
        }
        Ok(figures)
    }

    /// The lines of text files, to be translated.
    ///
    /// # Errors
    /// If a file is not there, cannot be read or is not valid UTF-8.
    pub fn lines(files: &[PathBuf]) -> Result<Vec<String>> {
        check_exist(files)?;
        let mut lines = Vec::new();
        for file in files {
            lines.extend(read_utf8(file)?.lines().map(str::to_owned));
        }
        Ok(lines)
    }

    /// The most tokens of the model's inputs.
    fn lengths(&self) -> [usize; 2] {
        let most = |i: usize| {
            self.engine().signature().inputs().get(i).and_then(|field| field.time()).unwrap_or(2)
        };
        [most(0), most(1)]
    }

    /// Whether the model makes texts of other texts.
    pub fn translates(&self) -> bool {
        self.translator().is_ok()
    }

    fn translator(&self) -> Result<(Arc<Tokenizer>, i32, i32)> {
        let names: Vec<&str> =
            self.engine().signature().inputs().iter().map(|field| field.name.as_str()).collect();
        let tokenizer = self.file.tokenizer().filter(|_| names == ["source", "target"]);
        match tokenizer.map(|tokenizer| (tokenizer, tokenizer.special())) {
            Some((tokenizer, Special { begin: Some(begin), end: Some(end), .. })) => {
                Ok((tokenizer.clone(), begin, end))
            }
            _ => Err(Error::Usage("the model makes no texts of other texts".into())),
        }
    }
}
