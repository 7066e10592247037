//! Parquet as the rows of CSV that pandas writes of the same table (`fixtures/parquet.py`).
#![cfg(feature = "parquet")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use tidemill_table::formats::fields;
use tidemill_table::formats::parquet::parquet_rows;
use tidemill_table::{Error, Format, FormatSpec};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

fn rows(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let read = parquet_rows("t.parquet", File::open(path).unwrap())?.read_to_string(&mut text);
    read.map(|_| text).map_err(|e| Error::Io { place: "t.parquet".into(), what: e.to_string() })
}

/// The fields of all rows; a quoted field may have line ends.
fn cells(text: &str) -> Vec<Vec<String>> {
    let mut records: Vec<String> = Vec::new();
    for line in text.lines() {
        match records.last_mut() {
            Some(open) if open.matches('"').count() % 2 == 1 => *open += &format!("\n{line}"),
            _ => records.push(line.to_owned()),
        }
    }
    let spec = FormatSpec { delimiter: Some(','), ..FormatSpec::default() };
    records.iter().map(|r| fields(&spec, Format::Csv, r.as_bytes()).unwrap()).collect()
}

#[test]
fn rows_are_those_that_pandas_writes() {
    let want = cells(&std::fs::read_to_string(fixture("table.csv")).unwrap());
    assert_eq!((want.len(), want[0].len()), (401, 12));
    let found = cells(&rows(&fixture("table.parquet")).unwrap());
    assert_eq!(found.len(), want.len());
    for (found, want) in found.iter().zip(&want) {
        for (found, want) in found.iter().zip(want) {
            // 7 and 7.0 are one number.
            let same = found == want
                || matches!((found.parse::<f64>(), want.parse::<f64>()), (Ok(a), Ok(b)) if a == b);
            assert!(same, "{found:?} {want:?}");
        }
    }
    for packed in ["zstd", "gzip", "lz4", "none"] {
        let some = cells(&rows(&fixture(&format!("table_{packed}.parquet"))).unwrap());
        assert!(some.len() == 21 && some[..] == found[..21], "{packed}");
    }
}

#[test]
fn damaged_files_and_lists_are_errors() {
    let list = rows(&fixture("list.parquet")).unwrap_err().to_string();
    assert!(list.contains("t.parquet: column `words` is a list"), "{list}");
    let bytes = std::fs::read(fixture("table_none.parquet")).unwrap();
    let file = std::env::temp_dir().join(format!("tidemill-parquet-{}", std::process::id()));
    let cut = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        rows(&file)
    };
    let error = cut(&bytes[..bytes.len() / 2]).unwrap_err().to_string();
    assert!(error.contains("this is no whole Parquet file"), "{error}");
    // Whatever byte is another one: rows or an error, never a panic.
    for place in (0..bytes.len()).step_by(7) {
        let mut other = bytes.clone();
        other[place] ^= 0x55;
        let _ = cut(&other);
    }
    std::fs::remove_file(file).unwrap();
}
