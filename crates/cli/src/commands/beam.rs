//! How `predict` and `eval` search for texts.

use tidemill_train::{Beam, LengthPenalty};

use crate::failure::Failure;

/// Options of models that make texts of texts.
#[derive(clap::Args)]
pub(super) struct SearchOptions {
    /// Hypotheses that are kept in the search for each text, of models that make texts of texts [default: 5].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1000))]
    beam: Option<u16>,
    /// How hypotheses of different lengths are compared, of models that make texts of texts: none, power=ALPHA (the default, of 1) or gnmt=ALPHA.
    #[arg(long, value_name = "OPTIONS")]
    length_penalty: Option<String>,
    /// No tokens in a row, this many, come twice in a text that is made of another: with 2 no pair of tokens does [default: any may].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1000))]
    no_repeat_ngram: Option<u16>,
}

impl SearchOptions {
    /// The first of them that is given.
    pub(super) fn given(&self) -> Option<&'static str> {
        let options = [
            ("--beam", self.beam.is_some()),
            ("--length-penalty", self.length_penalty.is_some()),
            ("--no-repeat-ngram", self.no_repeat_ngram.is_some()),
        ];
        options.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }

    /// The search for so many texts of each.
    pub(super) fn beam(&self, n_best: usize) -> Result<Beam, Failure> {
        let default = Beam::default();
        let width = match self.beam.map(usize::from) {
            Some(beam) if beam < n_best => {
                let what = format!("--n-best {n_best}: is more than --beam {beam} keeps");
                return Err(Failure::usage(what));
            }
            Some(beam) => beam,
            None => default.width.max(n_best),
        };
        let penalty = match &self.length_penalty {
            Some(text) => LengthPenalty::parse(text)?,
            None => default.penalty,
        };
        Ok(Beam { width, penalty, no_repeat: self.no_repeat_ngram.map_or(0, usize::from) })
    }
}
