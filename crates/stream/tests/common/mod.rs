//! What the tests of sources share.
#![allow(clippy::unwrap_used, dead_code, unused_imports)]

pub mod client;
pub mod server;

use std::time::{Duration, Instant};

use tidemill_stream::{Next, Poll, Position, Reader, Records, Source};

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

/// Microseconds from acknowledged to given of the next `n` records, which come in their order.
pub fn latencies(reader: &Reader, n: usize) -> Vec<u64> {
    let (mut times, mut last) = (Vec::new(), None);
    while times.len() < n {
        match reader.next(WAIT).unwrap() {
            Next::Records(records) => {
                let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64;
                for record in records.iter() {
                    assert!(last < Some(record.mark));
                    last = Some(record.mark);
                    times.push(now.saturating_sub(record.acknowledged));
                }
                reader.give_back(records);
            }
            other => panic!("{other:?} after {} of {n}", times.len()),
        }
    }
    times
}

/// Prints the distribution of times in microseconds.
pub fn show(name: &str, times: &mut [u64]) {
    times.sort_unstable();
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize];
    println!("  {name}: p50 {} us, p99 {} us, max {} us", at(0.5), at(0.99), at(1.0));
}
