//! Tables: CSV and its relatives, plain or gzipped.

mod infer;
mod read;
mod schema;
mod spec;
mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use schema::{Column, ColumnKind, CsvSchema, LabelColumn};
pub use spec::{BadRows, ColumnName, CsvSpec, LabelType, Missing};
