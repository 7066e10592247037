//! The figures of generated texts, each equal to the program that papers quote:
//! - [`Bleu`], [`Chrf`], [`Ter`]: sacrebleu 2.6.0, with its signature
//! - [`Rouge`]: rouge-score 0.1.2
//! - [`ErrorRate`]: WER and CER of jiwer 4.0.0, and [`Alignment`]: which word became which
//! - [`NewWords`]: how much of what was just corrected comes back right
//!
//! Each is an accumulator: `add` takes one line with its references and keeps counts only, `score` can
//! be asked at any time, and the state can be saved.

mod alignment;
#[cfg(test)]
mod alignment_tests;
mod bleu;
mod chrf;
mod edits;
mod error_rate;
mod grams;
mod new_words;
mod porter;
mod rouge;
mod ter;
#[cfg(test)]
mod tests;
mod words;

pub use alignment::{Alignment, Chunk, Edit};
pub use bleu::{Bleu, BleuOptions, BleuScore, BleuTokenizer, Smoothing};
pub use chrf::{Chrf, ChrfOptions, ChrfScore};
pub use error_rate::{ErrorRate, ErrorRateScore, Unit};
pub use new_words::{NewWords, NewWordsScore};
pub use rouge::{Rouge, RougeOptions, RougeScore, RougeScores};
pub use ter::{Ter, TerOptions, TerScore};

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a line cannot be scored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// A line without a reference has nothing to be compared with. It was not counted.
    #[error(
        "line {line} has no reference; give it at least one, which may be empty, or leave it out"
    )]
    NoReference {
        /// Its number, from 1.
        line: u64,
    },
}

/// How many references a line has: the first part of a signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct References {
    lines: u64,
    /// Of each line so far; `None` where lines differ.
    each: Option<usize>,
}

impl References {
    fn count(&mut self, references: usize) -> Result<(), ScoreError> {
        if references == 0 {
            return Err(ScoreError::NoReference { line: self.lines + 1 });
        }
        let same = self.lines == 0 || self.each == Some(references);
        self.each = same.then_some(references);
        self.lines += 1;
        Ok(())
    }
}

impl fmt::Display for References {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.each {
            Some(each) => write!(f, "nrefs:{each}"),
            None if self.lines == 0 => write!(f, "nrefs:0"),
            None => write!(f, "nrefs:var"),
        }
    }
}

/// Of a signature: the case that is compared.
fn case(lowercase: bool) -> &'static str {
    if lowercase { "lc" } else { "mixed" }
}

/// Of a signature.
fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

fn quotient(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
