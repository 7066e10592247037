//! Arrow IPC as events.
#![cfg(feature = "arrow")]
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Cursor, Read};
use std::sync::Arc;

use arrow_array::builder::{FixedSizeListBuilder, Float32Builder};
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use common::{all, lines, made};
use serde_json::json;
use tidemill_table::Format;
use tidemill_table::formats::arrow_lines;

fn batch() -> RecordBatch {
    let mut x = FixedSizeListBuilder::new(Float32Builder::new(), 2);
    for i in 0..3 {
        x.values().append_slice(&[i as f32, 0.1]);
        x.append(true);
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("a", Arc::new(Float64Array::from(vec![None, Some(0.1), Some(f64::NAN)]))),
        ("text", Arc::new(StringArray::from(vec![Some("one \"two\""), None, Some("x")]))),
        ("x", Arc::new(x.finish())),
        ("class", Arc::new(Int64Array::from(vec![0, 1, 1 << 60]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
        .unwrap()
}

fn read(bytes: Vec<u8>) -> std::io::Result<String> {
    let mut text = String::new();
    let mut input = arrow_lines("test", Box::new(Cursor::new(bytes))).unwrap();
    input.read_to_string(&mut text).map(|_| text)
}

#[test]
fn rows_of_streams_and_files_are_events() {
    let batch = batch();
    let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    let lz4 = IpcWriteOptions::default()
        .try_with_compression(Some(arrow_ipc::CompressionType::LZ4_FRAME))
        .unwrap();
    let mut file = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), lz4).unwrap();
    for _ in 0..2 {
        stream.write(&batch).unwrap();
        file.write(&batch).unwrap();
    }
    for bytes in [stream.into_inner().unwrap(), file.into_inner().unwrap()] {
        let text = read(bytes).unwrap();
        let mut decoder = made(Format::Arrow, json!({}), None);
        let (events, bad) = lines(&mut *decoder, &text);
        assert!(bad.is_empty(), "{bad:?}");
        let three = [
            "0 | ? 'one \"two\"' v0 v0.1",
            "1 | 0.1 ? v1 v0.1",
            // Beyond 2^53 classes are distinguished by their digits.
            "'1152921504606846976' | ? 'x' v2 v0.1",
        ];
        assert_eq!(all(&events), [three, three].concat());
    }
}

#[test]
fn what_is_no_arrow_or_cut_off_says_so() {
    let error = |bytes: &'static [u8]| {
        arrow_lines("x.arrow", Box::new(Cursor::new(bytes))).err().map(|e| e.to_string())
    };
    let text = error(b"a,b,c\n1,2,3\n").unwrap();
    assert!(text.starts_with("x.arrow: this is no Arrow IPC stream or file"), "{text}");
    assert!(error(b"").is_some());
    let batch = batch();
    let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    stream.write(&batch).unwrap();
    let mut bytes = stream.into_inner().unwrap();
    bytes.truncate(bytes.len() - 100);
    assert!(read(bytes).is_err());
}

#[test]
fn damaged_files_are_errors() {
    let mut whole = Vec::new();
    let batch = batch();
    let mut writer = StreamWriter::try_new(&mut whole, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            // It may be read as other values; what matters is that it comes back.
            if let Ok(mut input) = arrow_lines("test", Box::new(Cursor::new(bytes))) {
                let _ = input.by_ref().take(1 << 20).read_to_end(&mut Vec::new());
            }
        }
    }
}
