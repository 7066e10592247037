//! The queue between a source and the learner.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill_stream::{
    Counters, Error, Mark, Next, Policy, Poll, Position, QueueOptions, Reader, Records, Result,
    Source,
};

const WAIT: Duration = Duration::from_secs(10);

/// Numbers from 0 on, ten at once, then the end or an error.
struct Numbers {
    next: u64,
    end: u64,
    fails: bool,
    committed: Arc<Mutex<Option<Position>>>,
}

impl Numbers {
    fn new(end: u64) -> Numbers {
        Numbers { next: 0, end, fails: false, committed: Arc::default() }
    }
}

impl Source for Numbers {
    fn name(&self) -> String {
        "numbers".into()
    }
    fn not_seekable(&self) -> Option<&'static str> {
        None
    }
    fn seek(&mut self, _: &Position) -> Result<()> {
        Ok(())
    }
    fn poll(&mut self, records: &mut Records, _: usize, _: Duration) -> Result<Poll> {
        if self.next == self.end {
            let (place, what) = ("numbers".into(), "no more".into());
            return if self.fails { Err(Error::Io { place, what }) } else { Ok(Poll::End) };
        }
        for _ in 0..10 {
            self.next += 1;
            let mark = Mark { major: self.next, minor: 0 };
            records.push(&(self.next - 1).to_le_bytes(), mark, 0, false);
        }
        Ok(Poll::Some)
    }
    fn commit(&mut self, position: &Position) -> Result<()> {
        *self.committed.lock().unwrap() = Some(position.clone());
        Ok(())
    }
    fn counters(&self) -> Counters {
        Counters { records: self.next, ..Counters::default() }
    }
}

/// All that a reader gives, with its error.
fn drain(reader: &Reader) -> (Vec<u64>, Option<String>) {
    let mut out = Vec::new();
    loop {
        match reader.next(WAIT) {
            Ok(Next::Records(records)) => {
                let number = |b: &[u8]| u64::from_le_bytes(b.try_into().unwrap());
                out.extend(records.iter().map(|r| number(r.bytes)));
                reader.give_back(records);
            }
            Ok(Next::Idle) => panic!("idle"),
            Ok(Next::End) => return (out, None),
            Err(e) => return (out, Some(e.to_string())),
        }
    }
}

fn options(bytes: usize, policy: Policy) -> QueueOptions {
    QueueOptions { bytes, policy }
}

#[test]
fn blocking_loses_nothing_and_stays_within_its_memory() {
    let reader = Reader::spawn(Box::new(Numbers::new(100_000)), options(50_000, Policy::Block));
    let reader = reader.unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert!(reader.waiting_bytes() > 30_000 && reader.waiting_bytes() <= 50_000);
    assert!(drain(&reader).0.into_iter().eq(0..100_000));
    assert_eq!((reader.counters().records, reader.counters().shed), (100_000, 0));
}

#[test]
fn an_error_comes_after_the_records_before_it() {
    let source = Numbers { fails: true, ..Numbers::new(1000) };
    let reader = Reader::spawn(Box::new(source), QueueOptions::default()).unwrap();
    let (numbers, error) = drain(&reader);
    assert_eq!((numbers.len(), error.as_deref()), (1000, Some("numbers: no more")));
}

#[test]
fn dropping_the_oldest_keeps_the_newest_and_counts() {
    let source = Box::new(Numbers::new(100_000));
    let reader = Reader::spawn(source, options(50_000, Policy::DropOldest)).unwrap();
    while reader.counters().records < 100_000 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let numbers = drain(&reader).0;
    let first = 100_000 - numbers.len() as u64;
    assert!(first > 90_000 && numbers.into_iter().eq(first..100_000));
    assert_eq!(reader.counters().shed, first);
}

#[test]
fn sampling_thins_out_and_counts() {
    let source = Box::new(Numbers::new(100_000));
    let reader = Reader::spawn(source, options(50_000, Policy::Sample)).unwrap();
    while reader.counters().records < 100_000 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(reader.waiting_bytes() <= 50_000);
    let numbers = drain(&reader).0;
    assert!(
        numbers.len() > 500 && numbers.is_sorted() && numbers[..400].iter().copied().eq(0..400)
    );
    assert_eq!(reader.counters().shed, 100_000 - numbers.len() as u64);
}

#[test]
fn commits_reach_the_source_also_when_full_ended_or_dropped() {
    let committed = Arc::new(Mutex::new(None));
    let source = Numbers { committed: committed.clone(), ..Numbers::new(100_000) };
    let reader = Reader::spawn(Box::new(source), options(10_000, Policy::Block)).unwrap();
    let position = |major| {
        let mut position = Position::default();
        position.advance("", Mark { major, minor: 0 });
        position
    };
    reader.commit(position(1));
    while committed.lock().unwrap().as_ref() != Some(&position(1)) {
        std::thread::sleep(Duration::from_millis(1));
    }
    drain(&reader);
    reader.commit(position(2));
    drop(reader);
    assert_eq!(committed.lock().unwrap().as_ref(), Some(&position(2)));
}

#[test]
fn spilling_keeps_everything_in_order_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    // The second has too little room on disk: the source must wait.
    for bytes in [64 << 20, 300_000] {
        let policy = Policy::Spill { folder: folder.path().join("spill"), bytes };
        let source = Numbers { fails: true, ..Numbers::new(100_000) };
        let reader = Reader::spawn(Box::new(source), options(50_000, policy)).unwrap();
        let slow = |_: &Records| std::thread::sleep(Duration::from_micros(50));
        std::thread::sleep(Duration::from_millis(100));
        assert!(reader.waiting_bytes() <= 50_000);
        let (mut numbers, mut error) = (Vec::new(), None);
        while error.is_none() {
            match reader.next(WAIT) {
                Ok(Next::Records(records)) => {
                    slow(&records);
                    for record in records.iter() {
                        numbers.push(record.mark.major);
                    }
                    reader.give_back(records);
                }
                Ok(other) => panic!("{other:?} after {}", numbers.len()),
                Err(e) => error = Some(e.to_string()),
            }
        }
        assert!(numbers.into_iter().eq(1..=100_000));
        assert_eq!((error.as_deref(), reader.counters().shed), (Some("numbers: no more"), 0));
        let spilled = reader.counters().spilled;
        assert!(spilled > 5_000, "{spilled}");
    }
}
