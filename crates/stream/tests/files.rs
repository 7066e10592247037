//! Files and standard input: every line once, from any position, plain and gzipped.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tidemill_stream::sources::{FileSource, ReadSource};
use tidemill_stream::{OpenOptions, Poll, Position, Records, Source, open};

const WAIT: Duration = Duration::from_secs(10);

/// All records of a source with the positions after them.
fn all(source: &mut dyn Source, bytes: usize) -> Vec<(String, Position)> {
    let (mut out, mut position, mut records) =
        (Vec::new(), Position::default(), Records::default());
    loop {
        records.clear();
        match source.poll(&mut records, bytes, WAIT).unwrap() {
            Poll::Some => {}
            Poll::Idle => panic!("idle"),
            Poll::End => return out,
        }
        for record in records.iter() {
            position.take(&record);
            let text = String::from_utf8(record.bytes.to_vec()).unwrap();
            out.push((text, position.clone()));
        }
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(text).unwrap();
    out.finish().unwrap()
}

#[test]
fn a_file_goes_on_from_every_position() {
    let folder = tempfile::tempdir().unwrap();
    let lines: Vec<String> = (0..500).map(|i| format!("line {i} {}", "x".repeat(i))).collect();
    let text = lines.join("\n");
    let (half, rest) = text.as_bytes().split_at(text.len() / 2);
    // Two members, as `cat a.gz b.gz` makes them; and a name that says nothing.
    let kinds =
        [("plain.csv", text.clone().into_bytes()), ("zip", [gzip(half), gzip(rest)].concat())];
    for (name, bytes) in kinds {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let whole = all(&mut FileSource::open(&path).unwrap(), 1000);
        assert!(whole.iter().map(|(t, _)| t).eq(&lines));
        for at in [0, 1, 77, 250, 498, 499] {
            let mut source = open(path.to_str().unwrap(), &OpenOptions::default()).unwrap();
            source.seek(&whole[at].1).unwrap();
            assert_eq!(all(source.as_mut(), 1 << 20), whole[at + 1..], "{name} after {at}");
            assert_eq!(source.counters().records as usize, 499 - at);
        }
        let mut wrong = whole[3].1.clone();
        wrong.parts.get_mut("").unwrap().major -= 2;
        let error = FileSource::open(&path).unwrap().seek(&wrong).unwrap_err().to_string();
        assert!(error.contains("no record ends there"), "{error}");
        wrong.parts.get_mut("").unwrap().major = 1 << 40;
        let error = FileSource::open(&path).unwrap().seek(&wrong).unwrap_err().to_string();
        assert!(error.contains("ends before it"), "{error}");
    }
}

#[test]
fn damaged_gzip_is_an_error_after_what_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.gz");
    let text: String = (0..20_000).map(|i| format!("{}\n", i * 7919)).collect();
    let zipped = gzip(text.as_bytes());
    std::fs::write(&path, &zipped[..zipped.len() / 2]).unwrap();
    let (mut source, mut records) = (FileSource::open(&path).unwrap(), Records::default());
    let error = loop {
        if let Err(e) = source.poll(&mut records, 1 << 10, WAIT) {
            break e.to_string();
        }
    };
    assert!(records.len() > 1000 && error.contains("cut.gz: after"), "{} {error}", records.len());
}

#[test]
fn an_input_gives_what_has_arrived() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut source = ReadSource::new("pipe", reader, 1 << 20).unwrap();
    let mut records = Records::default();
    let short = Duration::from_millis(20);
    assert_eq!(source.poll(&mut records, 1 << 20, short).unwrap(), Poll::Idle);
    writer.write_all(b"one\ntwo\nthr").unwrap();
    while records.len() < 2 {
        assert_eq!(source.poll(&mut records, 1 << 20, WAIT).unwrap(), Poll::Some);
    }
    assert_eq!(source.poll(&mut records, 1 << 20, short).unwrap(), Poll::Idle);
    writer.write_all(b"ee").unwrap();
    drop(writer);
    assert_eq!(source.poll(&mut records, 1 << 20, WAIT).unwrap(), Poll::Some);
    assert_eq!(records.get(2).bytes, b"three");
    assert_eq!(source.poll(&mut records, 1 << 20, WAIT).unwrap(), Poll::End);
    assert!(source.not_seekable().is_some());
}

#[test]
fn a_named_pipe_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    if !std::process::Command::new("mkfifo").arg(&path).status().is_ok_and(|s| s.success()) {
        eprintln!("SKIPPED: no mkfifo");
        return;
    }
    let writer = std::thread::spawn({
        let path = path.clone();
        move || std::fs::write(path, "a\nb\n").unwrap()
    });
    let mut source = open(path.to_str().unwrap(), &OpenOptions::default()).unwrap();
    assert!(source.not_seekable().is_some());
    assert_eq!(all(source.as_mut(), 100).len(), 2);
    writer.join().unwrap();
}

#[test]
fn gzip_on_an_input() {
    let text = b"a,b\n1,2\n";
    let mut source = ReadSource::new("x", std::io::Cursor::new(gzip(text)), 100).unwrap();
    let lines = all(&mut source, 100);
    assert_eq!(lines.iter().map(|l| l.0.as_str()).collect::<Vec<_>>(), ["a,b", "1,2"]);
}

#[test]
fn addresses_that_make_no_sense_say_what_to_do() {
    let error = |uri: &str| open(uri, &OpenOptions::default()).err().unwrap().to_string();
    assert!(error("gopher://x").contains("give -, a path"), "{}", error("gopher://x"));
    assert!(error(std::env::temp_dir().to_str().unwrap()).contains("give dir:"));
    assert!(error("/no/such/file.csv").contains("/no/such/file.csv"));
}

/// `cargo test --release -p tidemill-stream --test files -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn speed_of_a_plain_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big");
    let line = "0.123,0.456,0.789,0.101,0.112,0.131,0.415,0.161,1\n";
    std::fs::write(&path, line.repeat(8_000_000)).unwrap();
    for _ in 0..3 {
        let (mut source, mut records) = (FileSource::open(&path).unwrap(), Records::default());
        let start = std::time::Instant::now();
        while source.poll(&mut records, 256 << 10, WAIT).unwrap() == Poll::Some {
            records.clear();
        }
        let seconds = start.elapsed().as_secs_f64();
        let bytes = line.len() as f64 * 8e6;
        println!("{:.0} MB/s, {:.1} M records/s", bytes / seconds / 1e6, 8.0 / seconds);
    }
}
