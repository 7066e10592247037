//! Columns of a table that are passed on as they are written, beside what a model says of its rows.

use std::collections::HashMap;
use std::path::Path;

use tidemill_table::Format;
use tidemill_table::formats::fields;

use super::TableSpec;
use super::format::{Names, quotes};
use super::read::written;
use super::records::Records;
use crate::{Error, Result};

/// The texts of `columns` in each row, by the line where it begins.
///
/// # Errors
/// If the file cannot be read, has no such column, or is in a format without rows of fields.
pub fn columns(
    spec: &TableSpec,
    path: &Path,
    columns: &[String],
) -> Result<HashMap<u64, Vec<String>>> {
    let format = spec.format(path);
    if !matches!(format, Format::Csv | Format::Tsv) {
        return Err(Error::option(format!(
            "{}: only columns of CSV and TSV files can be passed on",
            path.display()
        )));
    }
    let plain = written(spec, path, format)?;
    let names = Names::read(&plain, format, path)?;
    let places = columns.iter().map(|name| names.place(name)).collect::<Result<Vec<usize>>>()?;
    let mut records = Records::open(path, format, quotes(&plain, format))?;
    let mut found = HashMap::new();
    while let Some(record) = records.next()? {
        // What cannot be cut into fields is reported where the table is read.
        let Ok(row) = fields(&plain, format, record.bytes) else { continue };
        let texts = places.iter().map(|&place| row.get(place).cloned().unwrap_or_default());
        found.insert(record.line, texts.collect());
    }
    Ok(found)
}
