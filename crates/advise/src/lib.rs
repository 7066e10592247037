//! Batch or online? An answer from measurements on the user's data and machine.
//!
//! # Layout
//!
//! - [`compare`]: batch and online learning side by side on the same events
//! - [`measure`]: what is found out ([`Evidence`])
//! - [`mod@decide`]: from that to an answer ([`Advice`]), a pure function
//! - [`workers`]: how many workers a step of batch training is worth
//! - [`words`]: the answer's reasons, and what would change it; `page`: the same for people

#![forbid(unsafe_code)]

pub mod compare;
pub mod decide;
pub mod measure;
mod page;
pub mod words;
pub mod workers;

use serde::Serialize;

pub use decide::{Advice, Choice, decide};
pub use measure::{AtDelay, AtInterval, AtStep, Evidence};

use crate::compare::{Options, Study};
use tidemill_engine::error::Result;
use tidemill_recipe::RecipeFile;

/// The answer with what it rests on.
#[derive(Clone, Debug, Serialize)]
pub struct Advised {
    /// The answer.
    pub advice: Advice,
    /// What was measured.
    pub evidence: Evidence,
}

/// Measures a recipe's model on a stream and says whether to train in batches or on line. `rate` is
/// how many events a second are to be expected.
///
/// # Errors
/// If the recipe does not fit the stream, or there are too few events.
pub fn advise(
    file: &RecipeFile,
    options: &Options,
    rate: Option<f64>,
    watch: &mut dyn FnMut(&str),
) -> Result<Advised> {
    let events = Study::read(file, options, watch)?;
    let study = Study::new(file, &events, options)?;
    let evidence = measure::measure(file, &study, options, rate, watch)?;
    let advised = Advised { advice: decide(&evidence), evidence };
    crate::page::write_advice(&options.out, &advised)?;
    Ok(advised)
}
