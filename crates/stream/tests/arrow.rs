//! A file of Arrow IPC as a source.
#![cfg(feature = "arrow")]
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_ipc::writer::FileWriter;
use tidemill_stream::{Format, OpenOptions, Poll, Records, open};

fn batch() -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 1 << 60]));
    RecordBatch::try_from_iter([("class", column)]).unwrap()
}

/// Rows are numbered; going on passes over as many.
#[test]
fn a_file_is_a_source_that_goes_on_after_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.arrow");
    let batch = batch();
    let mut file =
        FileWriter::try_new(std::fs::File::create(&path).unwrap(), &batch.schema()).unwrap();
    (0..4).for_each(|_| file.write(&batch).unwrap());
    file.finish().unwrap();
    let options = OpenOptions { format: Some(Format::Arrow), ..OpenOptions::default() };
    let source = || open(path.to_str().unwrap(), &options).unwrap();
    let all = common::take(source().as_mut(), 12);
    for (after, row) in all.iter().enumerate() {
        assert_eq!(row.1.mark("").unwrap().major, after as u64 + 1);
        let mut again = source();
        again.seek(&row.1).unwrap();
        assert_eq!(common::take(again.as_mut(), 11 - after), all[after + 1..]);
        let end = again.poll(&mut Records::default(), 1 << 20, common::WAIT).unwrap();
        assert_eq!(end, Poll::End);
    }
    let mut past = all[11].1.clone();
    past.advance("", tidemill_stream::Mark { major: 13, minor: 0 });
    let mut short = source();
    short.seek(&past).unwrap();
    let gone = short.poll(&mut Records::default(), 1 << 20, common::WAIT).unwrap_err();
    assert!(gone.to_string().contains("fewer rows"), "{gone}");
    let tcp = open("tcp://127.0.0.1:0", &options).err().unwrap().to_string();
    assert!(tcp.contains("from a file or from standard input"), "{tcp}");
}
