//! Files and standard input: every line once, from any position, plain and gzipped.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tidemill_stream::sources::{FileSource, ReadSource};
use tidemill_stream::{Format, OpenOptions, Poll, Position, Records, Source, open};

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
    let mut source = ReadSource::new("pipe", reader, 1 << 20, false).unwrap();
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
fn a_named_pipe_without_a_writer_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    if !std::process::Command::new("mkfifo").arg(&path).status().is_ok_and(|s| s.success()) {
        eprintln!("SKIPPED: no mkfifo");
        return;
    }
    let mut source = open(path.to_str().unwrap(), &OpenOptions::default()).unwrap();
    let mut records = Records::default();
    assert_eq!(source.poll(&mut records, 100, Duration::ZERO).unwrap(), Poll::Idle);
    let tail = open(&format!("tail:{}", path.display()), &OpenOptions::default());
    assert!(tail.err().unwrap().to_string().contains("only a file can be followed"));
}

#[test]
fn a_file_whose_last_line_gets_its_end_later_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.csv");
    for (first, more, want) in [
        ("a\nb", "\nc\n", Ok(vec!["c"])),
        ("a\nb", "\r\nc\n", Ok(vec!["c"])),
        ("a\nb", "", Ok(vec![])),
        ("a\nb", "b\nc\n", Err("the line that ends there has been written on")),
    ] {
        std::fs::write(&path, first).unwrap();
        let position = all(&mut FileSource::open(&path).unwrap(), 100)[1].1.clone();
        std::fs::write(&path, format!("{first}{more}")).unwrap();
        let mut source = FileSource::open(&path).unwrap();
        match (source.seek(&position), want) {
            (Ok(()), Ok(want)) => {
                let rest = all(&mut source, 100);
                assert!(rest.iter().map(|(text, _)| text).eq(want), "{first:?} {more:?}: {rest:?}");
            }
            (Err(e), Err(want)) => assert!(e.to_string().contains(want), "{e}"),
            (seek, _) => panic!("{first:?} {more:?}: {seek:?}"),
        }
    }
}

#[test]
fn what_is_packed_in_a_way_that_is_not_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.csv");
    for (magic, name) in [
        (&b"\x28\xb5\x2f\xfd\x04\0\0\0"[..], "zstd"),
        (b"\xfd7zXZ\0\0\x04", "xz"),
        (b"BZh91AY&SY", "bzip2"),
        (b"PK\x03\x04\x14\0\0\0", "zip"),
        (b"PAR1\x15\x04", "Parquet"),
    ] {
        std::fs::write(&path, magic).unwrap();
        for prefix in ["", "tail:"] {
            let error = open(&format!("{prefix}{}", path.display()), &OpenOptions::default());
            let error = error.err().unwrap().to_string();
            assert!(error.contains(name) && error.contains("events.csv"), "{error}");
        }
        let input = std::io::Cursor::new(magic);
        let mut source = ReadSource::new("input", input, 100, false).unwrap();
        let error = source.poll(&mut Records::default(), 100, WAIT).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    std::fs::write(&path, gzip(b"a,b\n1,2\n")).unwrap();
    let error = open(&format!("tail:{}", path.display()), &OpenOptions::default());
    assert!(error.err().unwrap().to_string().contains("without `tail:`"));
}

#[test]
fn json_of_other_layouts_is_read_value_by_value_and_from_every_position() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.json");
    let array = "[\n {\"a\": 1},\n {\"a\": 2}, {\"a\": 3} ]\n";
    let spread = "{\n \"a\": 1\n}\n{\n \"a\": 2\n}\n{\"a\": 3}\n";
    let options = OpenOptions { format: Some(Format::JsonLines), ..OpenOptions::default() };
    for bytes in [array.into(), spread.into(), gzip(array.as_bytes())] {
        std::fs::write(&path, bytes).unwrap();
        let source = || open(path.to_str().unwrap(), &options).unwrap();
        let whole = all(source().as_mut(), 1000);
        let tight: Vec<String> = whole.iter().map(|(text, _)| text.replace(' ', "")).collect();
        assert_eq!(tight, ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"]);
        let mut rest = source();
        rest.seek(&whole[1].1).unwrap();
        assert_eq!(all(rest.as_mut(), 1000), whole[2..]);
    }
    std::fs::write(&path, &array[..30]).unwrap();
    let mut source = open(path.to_str().unwrap(), &options).unwrap();
    let mut records = Records::default();
    let cut = source.poll(&mut records, 1000, WAIT).unwrap_err().to_string();
    assert!(cut.contains("cut off") && records.len() == 2, "{cut} {}", records.len());
}

#[test]
fn a_line_that_is_too_long_is_there_with_its_beginning() {
    let text = format!("{}\nend\n", "x".repeat(300_000));
    let input = std::io::Cursor::new(text);
    let mut source = ReadSource::new("input", input, 100_000, false).unwrap();
    let mut records = Records::default();
    while source.poll(&mut records, 1 << 20, WAIT).unwrap() != Poll::End {}
    let seen: Vec<_> = records.iter().map(|r| (r.too_long, r.bytes.len(), r.mark.minor)).collect();
    assert_eq!(seen, [(true, 4096, 1), (false, 3, 2)]);
}

#[test]
fn gzip_on_an_input() {
    let text = b"a,b\n1,2\n";
    let mut source = ReadSource::new("x", std::io::Cursor::new(gzip(text)), 100, false).unwrap();
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
