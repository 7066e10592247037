//! Raw values made into the inputs of a model, learned online and saved in checkpoints.
//!
//! # Layout
//!
//! - [`spec`]: what a recipe says about features ([`FeaturesSpec`])
//! - [`encoder`]: events to inputs ([`Encoder`]), with a list of its parts; `numeric`, `category`,
//!   `dictionary`, `ids`: its kinds of columns
//! - [`evidence`]: what one pass over a table tells of its columns ([`Evidence`]), to fit an encoder
//! - [`codes`]: rows of a table in memory ([`Codes`])
//! - `distinct`: the different values of a column
//! - [`hats`]: what is near a number, as inputs of its own
//! - [`hashed`]: columns to hashed features, which nothing is learned about ([`HashedColumns`])
//! - [`labels`]: labels to classes or scaled targets ([`Labels`]); [`sets`]: labels of several classes
//!
//! All state is exact: what a checkpoint gives back goes on with the same bits.

mod bits;
mod category;
pub mod codes;
mod dictionary;
mod distinct;
pub mod encoder;
pub mod evidence;
pub mod hashed;
pub mod hats;
mod ids;
pub mod labels;
mod numeric;
pub mod sets;
pub mod spec;

pub use codes::Codes;
pub use encoder::{ColumnKind, Encoder, FreedRow, Table};
pub use evidence::Evidence;
pub use hashed::HashedColumns;
pub use hats::HATS;
pub use labels::{Label, Labels, shortest};
pub use sets::Sets;
pub use spec::{Categorical, FeaturesSpec, Standardize};

use std::io::Write;

use crate::formats::number;

/// Numbers beyond this are refused: their squares would overflow `f32` within the model.
pub const MAX_NUMBER: f64 = 1e19;

/// What a value is not that counts as missing in a column of numbers: `no number`, or one that is too large.
pub fn no_number(value: &str) -> String {
    let beyond = number::loose(value.as_bytes(), number::Style::default());
    match beyond.filter(|n| n.is_finite() && n.abs() > MAX_NUMBER) {
        Some(_) => format!("no number up to {MAX_NUMBER:e}"),
        None => "no number".to_owned(),
    }
}

/// Longer texts are not kept in dictionaries: they count as unknown, so that memory is bounded.
const MAX_KEY_BYTES: usize = 256;

/// The text that a number is as a category: `3`, `1.5`, `1e20`.
pub(crate) fn number_key(number: f64, buffer: &mut [u8; 32]) -> &str {
    let mut rest = &mut buffer[..];
    let whole = number.trunc() == number && number.abs() < 1e15;
    // At most 25 bytes: digits that tell a number from its neighbours, sign, point and exponent.
    let written =
        if whole { write!(rest, "{}", number as i64) } else { write!(rest, "{number:?}") };
    let left = rest.len();
    debug_assert!(written.is_ok());
    std::str::from_utf8(&buffer[..32 - left]).unwrap_or_default()
}
