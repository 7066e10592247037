//! Texts that a model makes of other texts, by beam search ([`crate::beam`]).

use tidemill_data::tokens::{Special, Tokenizer};

use crate::beam::{Beam, Found, Search};
use crate::engine::{Decoding, Engine};
use crate::error::{Error, Result};

/// Sentences that are worked on at once.
const SENTENCES: usize = 32;

/// A text that the model has made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hypothesis {
    /// The text.
    pub text: String,
    /// Its log-probability under the length penalty.
    pub score: f64,
}

/// What the model makes of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// The best first; none of a text that is empty.
    pub hypotheses: Vec<Hypothesis>,
    /// Whether the text has more tokens than the model reads, and its end was left out.
    pub is_cut: bool,
}

/// What begins and ends the texts of a model that makes texts of texts, and how long they may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Texts {
    /// The token that begins what is written.
    pub begin: i32,
    /// The token that ends a text.
    pub end: i32,
    /// The most tokens that the model reads, with the end.
    pub source: usize,
    /// The most tokens that it writes, with the beginning.
    pub target: usize,
}

impl Texts {
    /// Those of a model whose inputs are the tokens of `source` and `target`; none of another.
    pub fn of(engine: &Engine, tokenizer: &Tokenizer) -> Option<Texts> {
        let inputs = engine.signature().inputs();
        let most = |i: usize| inputs.get(i).and_then(|field| field.time()).unwrap_or(2);
        let named = inputs.iter().map(|field| field.name.as_str()).eq(["source", "target"]);
        match tokenizer.special() {
            Special { begin: Some(begin), end: Some(end), .. } if named => {
                Some(Texts { begin, end, source: most(0), target: most(1) })
            }
            _ => None,
        }
    }
}

impl Engine {
    /// The texts that the model makes of others, the best first: as many of each as the beam is wide, or fewer. `prefix` is how each
    /// begins. The weights are those of now; `decoding` is memory to be used again.
    ///
    /// # Errors
    /// If the model makes no texts of texts, and for a prefix that is too long.
    pub fn translate(
        &mut self,
        decoding: &mut Decoding,
        tokenizer: &Tokenizer,
        texts: &[&str],
        prefix: &str,
        beam: &Beam,
    ) -> Result<Vec<Translation>> {
        let Some(limits) = Texts::of(self, tokenizer) else {
            return Err(Error::Usage("the model makes no texts of other texts".into()));
        };
        let mut start = vec![limits.begin];
        tokenizer.encode(prefix, &mut start);
        if start.len() >= limits.target {
            return Err(Error::Usage("--prefix: is longer than the model writes".into()));
        }
        let mut found = vec![Translation::default(); texts.len()];
        let mut sources = Vec::new();
        for (place, text) in texts.iter().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
            let mut source = Vec::new();
            tokenizer.encode(text.trim(), &mut source);
            found[place].is_cut = source.len() >= limits.source;
            source.truncate(limits.source - 1);
            source.push(limits.end);
            sources.push((place, source));
        }
        // Sentences of like length end at about the same time, and need little padding.
        sources.sort_by_key(|(place, source)| (source.len(), *place));
        let search = Search { start: &start, end: limits.end, beam };
        for part in sources.chunks(SENTENCES) {
            let given: Vec<&[i32]> = part.iter().map(|(_, source)| &source[..]).collect();
            let texts = self.search(decoding, &given, &search)?;
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
}
