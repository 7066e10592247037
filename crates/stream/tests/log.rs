//! The embedded log: what it acknowledged is there once, whatever kills the process.
#![allow(clippy::unwrap_used)]

#[path = "common/logs.rs"]
mod logs;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use logs::*;
use tidemill_stream::{Error, Fsync, KEYS, Log, LogOptions, Mark, Poll, Position, Records, Source};

const WAIT: Duration = Duration::from_secs(10);

fn position(sequence: u64) -> Position {
    let mut position = Position::default();
    position.advance("", Mark { major: sequence, minor: 0 });
    position
}

/// The last keys are remembered, and no more.
#[test]
fn old_keys_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let once = |log: &Log, key: usize| {
        log.append_once(key.to_string().as_bytes(), [&b"event"[..]]).unwrap().last
    };
    {
        let log = Log::open(folder.path(), quick()).unwrap();
        for key in 0..KEYS + 10 {
            assert_eq!(once(&log, key), key as u64 + 1);
        }
    }
    let log = Log::open(folder.path(), quick()).unwrap();
    assert_eq!(once(&log, 10), 11);
    let next = KEYS as u64 + 11;
    assert_eq!(once(&log, 9), next);
    // In place of the oldest.
    assert_eq!((once(&log, 9), once(&log, 11)), (next, 12));
    assert_eq!(once(&log, 10), next + 1);
    assert!(std::fs::metadata(folder.path().join("keys")).unwrap().len() < 3 << 20);
}

#[test]
fn records_are_there_again_over_segments_and_openings() {
    let folder = tempfile::tempdir().unwrap();
    let options = LogOptions { segment_bytes: 2000, ..quick() };
    let log = Log::open(folder.path(), options.clone()).unwrap();
    append(&log, 1, 700);
    assert!(Log::open(folder.path(), quick()).unwrap_err().to_string().contains("another process"));
    drop(log);
    let log = Log::open(folder.path(), options).unwrap();
    append(&log, 701, 1000);
    assert!(segments(folder.path()).len() > 10);
    assert_eq!(all(&mut log.source()), expect(1, 1000));
    for at in [0, 1, 61, 62, 63, 500, 999, 1000] {
        let mut source = log.source();
        source.seek(&position(at)).unwrap();
        assert_eq!(all(&mut source), expect(at + 1, 1000));
    }
    let error = log.source().seek(&position(1001)).unwrap_err();
    assert!(error.to_string().contains("the log ends with record 1000"), "{error}");
    log.close();
    let mut source = log.source();
    source.seek(&position(1000)).unwrap();
    assert_eq!(source.poll(&mut Records::default(), 1, WAIT).unwrap(), Poll::End);
    assert!(log.append([&b"x"[..]]).is_err());
}

#[test]
fn a_reader_is_woken_and_sees_each_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), LogOptions { segment_bytes: 1 << 16, ..quick() }).unwrap();
    let mut source = log.source();
    let reader = std::thread::spawn(move || {
        let (mut records, mut next) = (Records::default(), 1);
        while source.poll(&mut records, 3000, WAIT).unwrap() == Poll::Some {
            for record in records.iter() {
                assert_eq!((record.mark.major, record.bytes.len()), (next, next as usize % 3000));
                next += 1;
            }
            records.clear();
        }
        next - 1
    });
    let bytes = vec![b'x'; 3000];
    for i in 1..=5000usize {
        log.append([&bytes[..i % 3000]]).unwrap();
    }
    log.close();
    assert_eq!(reader.join().unwrap(), 5000);
}

#[test]
fn retention_never_passes_the_committed_position_unless_told() {
    let folder = tempfile::tempdir().unwrap();
    let options = LogOptions { max_bytes: 8000, ..quick() };
    let log = Log::open(folder.path(), options.clone()).unwrap();
    let record = [b'x'; 84];
    let full = (1..).find(|_| log.append([&record[..]]).is_err()).unwrap();
    assert!((70..85).contains(&full), "{full}");
    assert!(matches!(log.append([&record[..]]), Err(Error::Full { .. })));
    assert_eq!(log.first(), 1);
    log.commit(50).unwrap();
    log.append([&record[..]]).unwrap();
    assert!(log.first() > 1 && log.first() <= 51, "{}", log.first());
    let error = log.source().seek(&position(0)).map(|()| log.source().seek(&position(1)));
    assert!(matches!(error, Err(Error::Gone { .. })));
    assert_eq!(log.counters().dropped_unread, 0);
    // All read: everything can go, also the segment that is written to.
    log.commit(log.last()).unwrap();
    for _ in 0..1000 {
        log.commit(log.append([&record[..]]).unwrap().last).unwrap();
    }
    assert!(log.num_bytes() <= 8000 && segments(folder.path()).len() <= 5);
    drop(log);

    let log = Log::open(folder.path(), LogOptions { drop_unread: true, ..options }).unwrap();
    let mut source = log.source();
    let first = log.first();
    for _ in 0..1000 {
        log.append([&record[..]]).unwrap();
    }
    let given = all(&mut source);
    assert_eq!(given[0].0, log.first());
    assert_eq!(source.counters().shed, log.first() - first);
    assert_eq!(log.counters().dropped_unread, log.first() - first);
}

#[test]
fn old_segments_go() {
    let folder = tempfile::tempdir().unwrap();
    let age = Some(Duration::from_millis(1));
    let log = Log::open(folder.path(), LogOptions { max_age: age, ..quick() }).unwrap();
    append(&log, 1, 10);
    std::thread::sleep(Duration::from_millis(5));
    log.commit(9).unwrap();
    assert_eq!(log.first(), 1);
    log.commit(10).unwrap();
    assert_eq!(log.first(), 11);
    append(&log, 11, 11);
    drop(log);
    assert_eq!(all(&mut Log::open(folder.path(), quick()).unwrap().source()), expect(11, 11));
}

/// With a small file system: `mount -t tmpfs -o size=300k tmpfs DIR`, then
/// `TIDEMILL_TEST_SMALL_DISK=DIR cargo test -p tidemill-stream --test log -- --ignored small`.
#[test]
#[ignore = "needs a small file system"]
fn a_disk_that_is_small_and_full_loses_nothing() {
    let folder = PathBuf::from(std::env::var("TIDEMILL_TEST_SMALL_DISK").unwrap());
    let (mut taken, mut refused) = (0, 0);
    let options = LogOptions { segment_bytes: 20_000, ..quick() };
    for round in 0..20u64 {
        let log = Log::open(folder.join("log"), options.clone()).unwrap();
        assert_eq!(log.last(), taken);
        for i in 0..400 {
            let text =
                format!("record {} {}", taken + 1, "x".repeat((i * 7 + round as usize) % 3000));
            match log.append([text.as_bytes()]) {
                Ok(got) => {
                    taken += 1;
                    assert_eq!(got.last, taken);
                }
                Err(_) => refused += 1,
            }
        }
        let there = all(&mut log.source());
        assert!(there.iter().map(|(s, _)| *s).eq(log.first()..=taken));
        assert!(there.iter().all(|(s, text)| text.starts_with(&format!("record {s} "))));
        // Room for some more.
        if round % 3 == 2 {
            drop(log);
            std::fs::remove_file(&segments(&folder.join("log"))[0]).unwrap();
        }
    }
    assert!(refused > 1000 && taken > 200, "{taken} taken, {refused} refused");
}

/// Not a test of its own: the process that the next test kills. Four threads append and print what
/// was acknowledged.
#[test]
#[ignore = "run by killed_writers_lose_nothing"]
fn writer_child() {
    let Ok(folder) = std::env::var("TIDEMILL_TEST_LOG") else { return };
    let options = LogOptions { fsync: Fsync::Always, segment_bytes: 20_000, ..quick() };
    let log = Log::open(folder, options).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = &log;
            scope.spawn(move || {
                for i in 0.. {
                    let texts: Vec<String> = (0..=i % 3)
                        .map(|j| format!("{thread} {i} {j} {}", "y".repeat(i % 200)))
                        .collect();
                    let got = log.append(texts.iter().map(|t| t.as_bytes())).unwrap();
                    let mut line = String::new();
                    for (sequence, text) in (got.first..).zip(&texts) {
                        line.push_str(&format!("\nACK {sequence} {text}\n"));
                    }
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

#[test]
fn killed_writers_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = std::collections::BTreeMap::new();
    for round in 0..8u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_child", "--ignored", "--nocapture"])
            .env("TIDEMILL_TEST_LOG", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            let (mut acks, mut line) = (Vec::new(), Vec::new());
            while output.read_until(b'\n', &mut line).unwrap() > 0 {
                // A line that the kill cut off has no end and was not acknowledged as a whole.
                let text = String::from_utf8_lossy(&line).into_owned();
                if let Some(ack) = text.strip_prefix("ACK ").and_then(|t| t.strip_suffix('\n')) {
                    let (sequence, text) = ack.split_once(' ').unwrap();
                    acks.push((sequence.parse::<u64>().unwrap(), text.to_owned()));
                }
                line.clear();
            }
            acks
        });
        std::thread::sleep(Duration::from_micros(30_000 + round * 7919 % 50_000));
        child.kill().unwrap();
        child.wait().unwrap();
        for (sequence, text) in reader.join().unwrap() {
            assert!(acknowledged.insert(sequence, text).is_none(), "{sequence} twice");
        }
        let log = Log::open(folder.path(), quick()).unwrap();
        let there = all(&mut log.source());
        assert!(there.iter().map(|(s, _)| *s).eq(1..=there.len() as u64));
        for (sequence, text) in &acknowledged {
            assert_eq!(&there[*sequence as usize - 1].1, text);
        }
        // Nothing twice: each append of a round has its own text.
        let mut texts: Vec<_> = acknowledged.values().collect();
        texts.sort();
        assert!(texts.len() <= there.len());
    }
    assert!(acknowledged.len() > 100, "{} acknowledged", acknowledged.len());
}

/// `cargo test --release -p tidemill-stream --test log -- --ignored --nocapture speed`
#[test]
#[ignore = "a measurement"]
fn speed_of_the_log() {
    let record = [b'x'; 200];
    for (fsync, threads, count) in
        [(Fsync::Never, 1, 200_000u32), (Fsync::Always, 1, 2000), (Fsync::Always, 16, 2000)]
    {
        let folder = tempfile::tempdir_in(".").unwrap();
        let log = Log::open(folder.path(), LogOptions { fsync, ..quick() }).unwrap();
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..count).for_each(|_| assert!(log.append([&record[..]]).is_ok())));
            }
        });
        let seconds = start.elapsed().as_secs_f64();
        let total = f64::from(count * threads);
        println!(
            "{fsync:?}, {threads} threads: {:.0} records/s, {:?}",
            total / seconds,
            log.counters()
        );
        let (mut source, mut records) = (log.source(), Records::default());
        let start = Instant::now();
        while source.poll(&mut records, 1 << 18, Duration::ZERO).unwrap() == Poll::Some {
            records.clear();
        }
        println!("  read: {:.1} M records/s", total / start.elapsed().as_secs_f64() / 1e6);
    }
}

/// What is written to a file that has no name any more is not kept, and not acknowledged.
#[test]
fn a_log_that_is_removed_acknowledges_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path().join("log"), LogOptions::default()).unwrap();
    log.append([&b"one"[..]]).unwrap();
    std::fs::remove_dir_all(folder.path().join("log")).unwrap();
    let error = log.append([&b"two"[..]]).unwrap_err().to_string();
    assert!(error.contains("the file was removed"), "{error}");
    assert!(log.failure().is_some_and(|why| why.contains("removed")));
    assert!(log.append([&b"three"[..]]).is_err());
}
