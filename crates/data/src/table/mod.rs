//! Tables: CSV, JSON lines, ARFF and Arrow IPC, plain or gzipped.
//!
//! # Layout
//!
//! - [`spec`]: what a recipe says about a table ([`TableSpec`])
//! - `format`: those options as the ones of `tidemill-table`
//! - `records`: a file cut into records
//! - `read`: records decoded; first, for a training table, in a pass that fits the encoder
//! - `rows`: rows encoded into memory, and what is done about bad ones
//! - [`carry`]: columns passed on beside predictions
//! - [`dataset`]: the rows in memory ([`TableDataset`])

pub mod carry;
pub mod dataset;
mod format;
mod inputs;
mod read;
mod records;
mod rows;
pub mod spec;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use dataset::TableDataset;
pub use inputs::{TableInput, TableInputs};
/// What makes an empty field a label without classes, for people: a sentence that begins with "where an".
pub const EMPTY_SET: &str = "empty field is the set of no classes, list in missing of [stream] what else is missing, such as \
                             missing = [\"NA\", \"?\"]: it holds for [batch] too, whose table may have missing_values of its own";

pub use spec::{BadRows, ColumnName, LabelType, Missing, TableSpec};
