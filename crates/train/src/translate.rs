//! A run's model that makes texts of other texts: asked, and compared with what people wrote.

use std::path::PathBuf;
use std::sync::Arc;

use tidemill_engine::Decoding;
use tidemill_engine::data::text::read_utf8;
use tidemill_engine::data::tokens::Tokenizer;
use tidemill_engine::data::tokens::score::{Bleu, Chrf, Rouge, ScoreError, Ter};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::translate::Texts;

pub use tidemill_engine::beam::{Beam, LengthPenalty};
pub use tidemill_engine::translate::{Hypothesis, Translation};

use crate::Trained;
use crate::files::check_exist;

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
        let tokenizer = self.translator()?;
        let mut decoding = Decoding::default();
        self.engine_mut().translate(&mut decoding, &tokenizer, texts, prefix, beam)
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

    /// Whether the model makes texts of other texts.
    pub fn translates(&self) -> bool {
        self.translator().is_ok()
    }

    fn translator(&self) -> Result<Arc<Tokenizer>> {
        let tokenizer = self.file.tokenizer();
        let found = tokenizer.filter(|tokenizer| Texts::of(self.engine(), tokenizer).is_some());
        found.cloned().ok_or_else(|| Error::Usage("the model makes no texts of other texts".into()))
    }
}
