//! Tables: CSV and its relatives, plain or gzipped.

mod read;
mod schema;
mod spec;

pub use schema::{Column, ColumnKind, CsvSchema, LabelColumn};
pub use spec::{BadRows, ColumnName, CsvSpec, LabelType, Missing};
