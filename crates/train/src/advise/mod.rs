//! Batch or online? An answer from measurements on the user's data and machine.
//!
//! # Layout
//!
//! - [`measure`]: what is found out ([`Evidence`])
//! - [`mod@decide`]: from that to an answer ([`Advice`]), a pure function
//! - [`words`]: the answer's reasons, and what would change it

pub mod decide;
pub mod measure;
pub mod words;

use serde::Serialize;

pub use decide::{Advice, Choice, decide};
pub use measure::{AtDelay, AtInterval, AtStep, Evidence};

use crate::compare::{Options, Study};
use crate::error::Result;
use crate::recipe::RecipeFile;

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
    crate::report::write_advice(&options.out, &advised)?;
    Ok(advised)
}
