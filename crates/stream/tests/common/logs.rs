//! A small log, its records and its files.
#![allow(clippy::unwrap_used, dead_code)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidemill_stream::{Fsync, Log, LogOptions, LogSource, Poll, Records, Source};

pub fn quick() -> LogOptions {
    LogOptions { fsync: Fsync::Never, ..LogOptions::default() }
}

/// All records that are there, with their sequence numbers.
pub fn all(source: &mut LogSource) -> Vec<(u64, String)> {
    let (mut out, mut records) = (Vec::new(), Records::default());
    while source.poll(&mut records, 5000, Duration::ZERO).unwrap() == Poll::Some {
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
        out.extend(records.iter().map(|r| (r.mark.major, text(r.bytes))));
        records.clear();
    }
    out
}

pub fn append(log: &Log, from: u64, to: u64) {
    for i in from..=to {
        let record = format!("record {i}");
        let got = log.append([record.as_bytes()]).unwrap();
        assert_eq!((got.first, got.last), (i, i));
    }
}

pub fn expect(from: u64, to: u64) -> Vec<(u64, String)> {
    (from..=to).map(|i| (i, format!("record {i}"))).collect()
}

pub fn segments(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|p| p.extension().is_some_and(|e| e == "log")).collect();
    paths.sort();
    paths
}

/// Bytes of a segment's header, and of the mark at the end of a log that was closed.
pub const HEADER: usize = 24;
pub const END: usize = 28;

/// A segment as a process that was killed has left it.
pub fn killed(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    bytes[..bytes.len() - END].to_vec()
}
