//! Parquet files as the rows of CSV that pandas would write of them, so that a table is read alike from both.
//!
//! The header has the names; texts are quoted where they have to be; a null and NaN are empty fields, which are missing; booleans are
//! `True` and `False`; dates are `2026-11-27`, times `2026-11-27 21:30:00`. (pandas leaves out the time of a column in which it is
//! always midnight, which only the whole file shows.) Rows are read a few thousand at a time, so that memory does not depend on the
//! file's size.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::FormatSpec;
/// How a Parquet file begins.
const MAGIC: &[u8; 4] = b"PAR1";

/// Whether what begins with `head` is a Parquet file.
pub fn is_parquet(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// Whether the file is a Parquet file; one that cannot be read is none.
fn is_parquet_file(path: &Path) -> bool {
    let mut head = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && is_parquet(&head)
}

impl FormatSpec {
    /// How the rows of a file are written, where that is known before they are looked at: those of Parquet are.
    pub fn of_file(self, path: &Path) -> FormatSpec {
        if !is_parquet_file(path) {
            return self;
        }
        FormatSpec {
            header: Some(true),
            delimiter: Some(','),
            decimal: Some('.'),
            thousands: None,
            skip_rows: None,
            quote: None,
            columns: None,
            ..self
        }
    }
}

#[cfg(feature = "parquet")]
pub use with_parquet::parquet_rows;

/// The rows of a Parquet file, called `name`, as CSV.
///
/// # Errors
/// Always, as the program was built without the feature `parquet`.
#[cfg(not(feature = "parquet"))]
pub fn parquet_rows(name: &str, _: File) -> crate::error::Result<Box<dyn Read + Send>> {
    Err(crate::error::Error::Usage(format!(
        "{name}: is a Parquet file, which this program cannot read; build it with `--features parquet`"
    )))
}

#[cfg(feature = "parquet")]
mod with_parquet {
    use std::fmt::{self, Display, Write as _};
    use std::fs::File;
    use std::io::{self, Read};
    use std::panic::AssertUnwindSafe;

    use arrow_array::cast::AsArray;
    use arrow_array::types::{
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    };
    use arrow_array::{Array, RecordBatch};
    use arrow_cast::display::{ArrayFormatter, FormatOptions};
    use arrow_schema::DataType;
    use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

    use crate::error::{Error, Result};

    /// Rows at a time.
    const BATCH: usize = 4096;

    /// The rows of a Parquet file, called `name`, as CSV.
    ///
    /// # Errors
    /// If it is no Parquet file, or has columns that are no values of a table: lists, structs, bytes.
    pub fn parquet_rows(name: &str, file: File) -> Result<Box<dyn Read + Send>> {
        let failed = |what: String| Error::Io { place: name.to_owned(), what };
        let builder = unhurt(|| ParquetRecordBatchReaderBuilder::try_new(file))
            .map_err(|e| failed(e.to_string()))?
            .map_err(|e| failed(format!("this is no whole Parquet file: {e}")))?;
        for field in builder.schema().fields() {
            if let Some(what) = no_value(field.data_type()) {
                let column = field.name();
                return Err(Error::Usage(format!(
                    "{name}: column `{column}` is {what}, and a table has one value a field; write the file without it"
                )));
            }
        }
        let names: Vec<&str> =
            builder.schema().fields().iter().map(|f| f.name().as_str()).collect();
        let mut text = String::new();
        for (i, name) in names.iter().enumerate() {
            text.push_str(if i == 0 { "" } else { "," });
            quoted(&mut text, name);
        }
        text.push('\n');
        let reader = unhurt(|| builder.with_batch_size(BATCH).build())
            .map_err(|e| failed(e.to_string()))?
            .map_err(|e| failed(e.to_string()))?;
        Ok(Box::new(Rows { reader, text, at: 0 }))
    }

    /// What a column is that has no values of a table; none where it has.
    fn no_value(of: &DataType) -> Option<&'static str> {
        match of {
            DataType::Dictionary(_, values) => no_value(values),
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
            | DataType::FixedSizeList(..) => Some("a list"),
            DataType::Struct(_) | DataType::Map(..) | DataType::Union(..) => Some("a struct"),
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Some("bytes"),
            DataType::Interval(_) | DataType::Duration(_) => Some("a span of time"),
            _ => None,
        }
    }

    /// Runs what reads a file that may be damaged: `arrow-rs` checks much of what is in it, and panics at the rest. What it has
    /// read so far is not used after that.
    fn unhurt<T>(read: impl FnOnce() -> T) -> io::Result<T> {
        std::panic::catch_unwind(AssertUnwindSafe(read))
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the Parquet file is damaged"))
    }

    struct Rows {
        reader: ParquetRecordBatchReader,
        /// Of some rows.
        text: String,
        /// How much of it was given.
        at: usize,
    }

    impl Read for Rows {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            while self.at == self.text.len() {
                let Some(batch) = unhurt(|| self.reader.next())? else { return Ok(0) };
                let batch = batch.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
                self.text.clear();
                self.at = 0;
                unhurt(|| write(&batch, &mut self.text))??;
            }
            let len = to.len().min(self.text.len() - self.at);
            to[..len].copy_from_slice(&self.text.as_bytes()[self.at..self.at + len]);
            self.at += len;
            Ok(len)
        }
    }

    /// Appends the rows of a batch.
    fn write(batch: &RecordBatch, text: &mut String) -> io::Result<()> {
        let options = FormatOptions::new()
            .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
            .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"))
            .with_datetime_format(Some("%Y-%m-%d"));
        let columns: Vec<Column<'_>> = batch
            .columns()
            .iter()
            .map(|array| Column::new(array.as_ref(), &options))
            .collect::<io::Result<_>>()?;
        for row in 0..batch.num_rows() {
            let before = text.len();
            for (i, column) in columns.iter().enumerate() {
                text.push_str(if i == 0 { "" } else { "," });
                column.write(row, text).map_err(io::Error::other)?;
            }
            // An empty line is no row.
            if text.len() == before {
                text.push_str("\"\"");
            }
            text.push('\n');
        }
        Ok(())
    }

    /// Appends the value of a row, which is there.
    type WriteValue<'a> = Box<dyn Fn(usize, &mut String) -> fmt::Result + 'a>;

    /// A column by its type: those that tables are made of first.
    enum Column<'a> {
        Number(&'a dyn Array, WriteValue<'a>),
        Text(&'a dyn Array, Box<dyn Fn(usize) -> &'a str + 'a>),
        Other(&'a dyn Array, ArrayFormatter<'a>),
    }

    impl<'a> Column<'a> {
        fn new(array: &'a dyn Array, options: &'a FormatOptions<'a>) -> io::Result<Column<'a>> {
            macro_rules! number {
                ($kind:ty) => {{
                    let values = array.as_primitive::<$kind>().values();
                    Column::Number(array, Box::new(move |i, text| write!(text, "{}", values[i])))
                }};
            }
            macro_rules! real {
                ($kind:ty) => {{
                    let values = array.as_primitive::<$kind>().values();
                    Column::Number(
                        array,
                        Box::new(move |i, text| real(values[i], values[i].is_nan(), text)),
                    )
                }};
            }
            Ok(match array.data_type() {
                DataType::Int8 => number!(Int8Type),
                DataType::Int16 => number!(Int16Type),
                DataType::Int32 => number!(Int32Type),
                DataType::Int64 => number!(Int64Type),
                DataType::UInt8 => number!(UInt8Type),
                DataType::UInt16 => number!(UInt16Type),
                DataType::UInt32 => number!(UInt32Type),
                DataType::UInt64 => number!(UInt64Type),
                DataType::Float32 => real!(Float32Type),
                DataType::Float64 => real!(Float64Type),
                DataType::Boolean => {
                    let values = array.as_boolean();
                    let name = |yes: bool| if yes { "True" } else { "False" };
                    Column::Number(
                        array,
                        Box::new(move |i, text| text.write_str(name(values.value(i)))),
                    )
                }
                DataType::Utf8 => {
                    let values = array.as_string::<i32>();
                    Column::Text(array, Box::new(move |i| values.value(i)))
                }
                DataType::LargeUtf8 => {
                    let values = array.as_string::<i64>();
                    Column::Text(array, Box::new(move |i| values.value(i)))
                }
                DataType::Utf8View => {
                    let values = array.as_string_view();
                    Column::Text(array, Box::new(move |i| values.value(i)))
                }
                _ => {
                    let formatter = ArrayFormatter::try_new(array, options);
                    Column::Other(array, formatter.map_err(io::Error::other)?)
                }
            })
        }

        fn write(&self, row: usize, text: &mut String) -> fmt::Result {
            match self {
                Column::Number(array, ..) | Column::Text(array, ..) | Column::Other(array, ..)
                    if array.is_null(row) =>
                {
                    Ok(())
                }
                Column::Number(_, write) => write(row, text),
                Column::Text(_, value) => {
                    quoted(text, value(row));
                    Ok(())
                }
                Column::Other(_, formatter) => {
                    let mut value = String::new();
                    formatter.value(row).write(&mut value).map_err(|_| fmt::Error)?;
                    quoted(text, &value);
                    Ok(())
                }
            }
        }
    }

    fn real(value: impl Display, is_nan: bool, text: &mut String) -> fmt::Result {
        if is_nan { Ok(()) } else { write!(text, "{value}") }
    }

    /// Appends a field, in quotes where it needs some.
    fn quoted(text: &mut String, field: &str) {
        let special = |b: u8| matches!(b, b',' | b'"' | b'\n' | b'\r');
        if !field.bytes().any(special) {
            text.push_str(field);
            return;
        }
        text.push('"');
        text.push_str(&field.replace('"', "\"\""));
        text.push('"');
    }
}
