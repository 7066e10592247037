//! Logs that are torn, damaged, or of an earlier version: nothing is cut off in silence.
#![allow(clippy::unwrap_used)]

#[path = "common/logs.rs"]
mod logs;

use std::path::Path;
use std::time::Duration;

use logs::*;
use tidemill_stream::{Fsync, Log, LogOptions, Poll, Records, Source};

const WAIT: Duration = Duration::from_secs(10);

#[test]
fn a_torn_end_is_cut_off_at_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), quick()).unwrap();
    append(&log, 1, 3);
    drop(log);
    let path = segments(folder.path()).pop().unwrap();
    let torn = path.with_extension("log.torn");
    let whole = killed(&path);
    let frame = (whole.len() - HEADER) / 3;
    for cut in 0..=whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let log = Log::open(folder.path(), quick()).unwrap();
        let kept = cut.saturating_sub(HEADER) / frame;
        assert_eq!(log.last(), kept as u64, "cut at {cut}");
        // What was cut off is kept, and that is said.
        let end = HEADER + kept * frame;
        let off = if cut > HEADER { &whole[end..cut] } else { &[] };
        assert_eq!(std::fs::read(&torn).unwrap_or_default(), off, "cut at {cut}");
        let notes = log.notes();
        assert_eq!(notes.len(), usize::from(!off.is_empty()), "{notes:?}");
        assert!(notes.iter().all(|n| n.contains(&format!("{} bytes from record", off.len()))));
        let _ = std::fs::remove_file(&torn);
        append(&log, kept as u64 + 1, 5);
        assert_eq!(all(&mut log.source()), expect(1, 5));
    }
    // As a power loss leaves it: the length is there, the bytes are not, or are others.
    for fill in [0, 0xff, 0x5a] {
        let mut torn = whole.clone();
        torn.extend(vec![fill; 100]);
        std::fs::write(&path, &torn).unwrap();
        let log = Log::open(folder.path(), quick()).unwrap();
        assert_eq!((log.last(), log.counters().torn_bytes), (3, 100));
    }
}

#[test]
fn a_damaged_record_is_told_and_not_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let options = LogOptions { segment_bytes: 200, ..quick() };
    let log = Log::open(folder.path(), options.clone()).unwrap();
    append(&log, 1, 20);
    drop(log);
    let paths = segments(folder.path());
    let flip = |path: &Path, at: usize| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    flip(&paths[0], HEADER + 32);
    let log = Log::open(folder.path(), options.clone()).unwrap();
    let error = log.source().poll(&mut Records::default(), 1000, WAIT).unwrap_err().to_string();
    assert!(error.contains("0001.log: record 1 is damaged"), "{error}");
    drop(log);
    let last = paths.last().unwrap();
    flip(last, HEADER + 32);
    let error = Log::open(folder.path(), options).unwrap_err().to_string();
    assert!(error.contains("is damaged, and it had been acknowledged"), "{error}");
}

/// A log of an earlier version is read, and goes on in a segment of its own.
#[test]
fn a_log_of_an_earlier_version_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("{:020}.log", 1));
    let mut old = b"TMLOG\0\x01\n".to_vec();
    old.extend(1u64.to_le_bytes());
    for sequence in 1..=3u64 {
        let (record, time) = (format!("record {sequence}"), 1_700_000_000_000_000u64);
        let check = [&sequence.to_le_bytes()[..], &time.to_le_bytes(), record.as_bytes()].concat();
        old.extend((record.len() as u32).to_le_bytes());
        old.extend(crc32fast::hash(&check).to_le_bytes());
        old.extend(time.to_le_bytes());
        old.extend(record.as_bytes());
    }
    for torn in [0, 5, 20] {
        std::fs::write(&path, [&old[..], &vec![7; torn]].concat()).unwrap();
        let log = Log::open(folder.path(), quick()).unwrap();
        assert_eq!((log.last(), log.notes().len()), (3, usize::from(torn > 0)));
        append(&log, 4, 6);
        assert_eq!(all(&mut log.source()), expect(1, 6));
        drop(log);
        let log = Log::open(folder.path(), quick()).unwrap();
        assert_eq!((log.last(), log.notes().len()), (6, 0));
        assert_eq!(all(&mut log.source()), expect(1, 6));
        drop(log);
        std::fs::remove_file(&segments(folder.path())[1]).unwrap();
    }
    // One without a record is made again.
    std::fs::write(&path, &old[..16]).unwrap();
    append(&Log::open(folder.path(), quick()).unwrap(), 1, 2);
    assert_eq!(segments(folder.path()).len(), 1);
    // A damaged header, a damaged length, a damaged record.
    for (at, what) in [
        (9, "its header is damaged"),
        (17, "record 1 (byte 16) is damaged"),
        (40, "record 2 (byte 40)"),
    ] {
        let mut bytes = old.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = Log::open(folder.path(), quick()).unwrap_err().to_string();
        assert!(error.contains("0001.log") && error.contains(what), "{error}");
    }
}

/// Each of 1,000 flipped bits of a log is an error that names its place, or changes nothing of what it gives.
/// In a log whose process was killed, so is one in the last append. Only where it is not noted what was acknowledged (by earlier
/// versions, or without flushes) is that append cut off; it is kept, and that is said.
#[test]
fn a_flipped_bit_is_never_cut_off_in_silence() {
    // In memory where that can be: thousands of small files are written.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let options = LogOptions { segment_bytes: 3000, fsync: Fsync::Always, ..quick() };
    let log = Log::open(folder.path(), options.clone()).unwrap();
    append(&log, 1, 198);
    log.append([&b"record 199"[..], b"record 200"]).unwrap();
    log.append_once(b"key", [&b"record 201"[..], b"record 202"]).unwrap();
    drop(log);
    let options = LogOptions { fsync: Fsync::Never, ..options };
    let paths = segments(folder.path());
    let last = paths.last().unwrap();
    let keys = std::fs::read(folder.path().join("keys")).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let note = folder.path().join("acknowledged");
    let noted = std::fs::read(&note).unwrap();
    for (path, is_killed, is_noted) in
        [(&paths[0], false, true), (last, false, true), (last, true, true), (last, true, false)]
    {
        if !is_noted {
            std::fs::remove_file(&note).unwrap();
        }
        let closed = std::fs::read(path).unwrap();
        let whole = if is_killed { killed(path) } else { closed.clone() };
        let (mut named, mut cut) = (0, 0);
        for _ in 0..1000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let bit = (state % (whole.len() as u64 * 8)) as usize;
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(path, &bytes).unwrap();
            let there = Log::open(folder.path(), options.clone()).and_then(|log| {
                let (mut out, mut records) = (0, Records::default());
                let mut source = log.source();
                while source.poll(&mut records, 5000, Duration::ZERO)? == Poll::Some {
                    for record in records.iter() {
                        assert_eq!(
                            record.bytes,
                            format!("record {}", record.mark.major).as_bytes()
                        );
                        out += 1;
                    }
                    records.clear();
                }
                Ok((out, log.notes()))
            });
            match there {
                Ok((202, notes)) => {
                    // The mark at the end, or what nothing is read from.
                    assert!(bit / 8 >= whole.len() - END || path == &paths[0], "{bit} {notes:?}");
                }
                Ok((kept, notes)) => {
                    assert!(is_killed && !is_noted && kept == 200, "{kept} of 202 without {bit}");
                    assert!(notes[0].contains("are kept in"), "{notes:?}");
                    cut += 1;
                }
                Err(e) => {
                    let name = path.file_name().unwrap().to_str().unwrap();
                    assert!(e.to_string().contains(name), "{e}");
                    named += 1;
                }
            }
            std::fs::write(path, &closed).unwrap();
            // The key of the request is taken back where its records were cut off.
            std::fs::write(folder.path().join("keys"), &keys).unwrap();
        }
        assert!(named > 700, "{named} named, {cut} cut off");
    }
    // A flipped bit in the note is no reason to stop.
    for bit in 0..noted.len() * 8 {
        let mut bytes = noted.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&note, &bytes).unwrap();
        assert_eq!(Log::open(folder.path(), options.clone()).unwrap().last(), 202);
    }
}
