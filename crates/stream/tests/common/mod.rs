//! What the tests of sources share.
#![allow(clippy::unwrap_used, dead_code, unused_imports)]

mod decoded;

pub mod server;

pub use decoded::*;
use std::time::{Duration, Instant};

use tidemill_stream::{Poll, Position, Records, Source};

pub const WAIT: Duration = Duration::from_secs(20);

/// The next `n` records and the position after each; panics where they do not come in time.
pub fn take(source: &mut dyn Source, n: usize) -> Vec<(String, Position)> {
    let (mut out, mut position, mut records) =
        (Vec::new(), Position::default(), Records::default());
    let start = Instant::now();
    while out.len() < n {
        let found = source.poll(&mut records, 1 << 20, WAIT).unwrap();
        let late = start.elapsed() >= WAIT;
        assert!(found == Poll::Some && !late, "{found:?} after {} of {n}: {out:?}", out.len());
        for record in records.iter() {
            position.take(&record);
            out.push((String::from_utf8_lossy(record.bytes).into_owned(), position.clone()));
        }
        records.clear();
    }
    assert_eq!(out.len(), n, "{out:?}");
    out
}

/// The texts of the next `n` records.
pub fn texts(source: &mut dyn Source, n: usize) -> Vec<String> {
    take(source, n).into_iter().map(|(text, _)| text).collect()
}

/// Checks that nothing comes.
pub fn idle(source: &mut dyn Source) {
    let mut records = Records::default();
    let found = source.poll(&mut records, 1 << 20, Duration::from_millis(60)).unwrap();
    assert_eq!(found, Poll::Idle, "{:?}", records.iter().next());
}

/// MurmurHash3 as its author wrote it, byte by byte; the crate's own is private.
pub fn murmur3(bytes: &[u8], seed: u32) -> u32 {
    let (c1, c2) = (0xcc9e_2d51_u32, 0x1b87_3593_u32);
    let mut h = seed;
    for start in (0..bytes.len()).step_by(4) {
        let block = &bytes[start..bytes.len().min(start + 4)];
        let mut k = 0;
        for (i, b) in block.iter().enumerate() {
            k |= u32::from(*b) << (8 * i);
        }
        h ^= k.wrapping_mul(c1).rotate_left(15).wrapping_mul(c2);
        if block.len() == 4 {
            h = h.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
        }
    }
    h ^= bytes.len() as u32;
    for (shift, factor) in [(16, 0x85eb_ca6b), (13, 0xc2b2_ae35), (16, 1_u32)] {
        h = (h ^ (h >> shift)).wrapping_mul(factor);
    }
    h
}
