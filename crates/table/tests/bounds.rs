//! No record takes much more memory than it has bytes, or much time. The test looks at the memory of its process, which is
//! why it is a program of its own.
#![allow(clippy::unwrap_used)]

use tidemill_table::{Events, Format, FormatSpec, decoder};

const BYTES: usize = 16 << 20;
/// What the decoder and what it decodes to may take beside the record.
const MOST: u64 = 64_000_000;

/// The most memory so far, in bytes; none where the system does not say.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn repeated(start: &str, item: impl Fn(usize) -> String, end: &str) -> Vec<u8> {
    let mut bytes = start.as_bytes().to_vec();
    bytes.reserve(BYTES);
    for i in 0.. {
        let item = item(i);
        if bytes.len() + item.len() + end.len() > BYTES {
            break;
        }
        bytes.extend_from_slice(item.as_bytes());
    }
    bytes.extend_from_slice(end.as_bytes());
    bytes
}

fn hostile() -> Vec<(Format, Vec<u8>)> {
    use Format::{Arff, Csv, JsonLines, Libsvm, Vw};
    let s = |text: &'static str| move |_: usize| text.to_owned();
    vec![
        (JsonLines, repeated("{\"", s("."), "\":1,\"y\":1}")),
        (JsonLines, repeated("{\"y\":1", |i| format!(",\"k{i}\":1"), "}")),
        (JsonLines, repeated("{\"y\":1", |i| format!(",\"{i}{}\":1", ".a".repeat(60)), "}")),
        (JsonLines, repeated("{\"y\":1", |i| format!(",\"k{i}\":\"\""), "}")),
        (JsonLines, repeated("{\"y\":1,\"x\":[1", s(",1"), "]}")),
        (JsonLines, repeated("{\"y\":1,\"x\":\"", s("\\u00e4"), "\"}")),
        (JsonLines, repeated("{\"y\":1,\"x\":", s("{\"a\":"), "")),
        (JsonLines, repeated("", s("["), "")),
        (Csv, repeated("a", s(",a"), "")),
        (Csv, repeated("a", |i| format!(",a{i}"), "")),
        (Csv, repeated("", s(","), "")),
        (Csv, repeated("\"", s("\"\""), "")),
        (Csv, repeated("a,", s("b"), "")),
        (Arff, repeated("@attribute ", s("a"), " numeric")),
        (Arff, repeated("@attribute a {", s("b"), "}")),
        (Vw, repeated("1 |", s(" a"), "")),
        (Vw, repeated("1 ", s("|a b:2 "), "")),
        (Libsvm, repeated("1", s(" 1:1"), "")),
    ]
}

#[test]
fn a_record_takes_little_more_memory_than_it_has_bytes() {
    let spec = FormatSpec { label: None, ..FormatSpec::default() };
    for (case, (format, record)) in hostile().into_iter().enumerate() {
        let before = peak();
        let start = std::time::Instant::now();
        let mut decoder = decoder(&spec, format, None).unwrap();
        let mut events = Events::default();
        let first = decoder.decode(&record, true, &mut events);
        let again = decoder.decode(&record, false, &mut events);
        // What such a record may have made known costs as little with the shortest of records.
        for _ in 0..20 {
            events.truncate(0);
            let _ = decoder.decode(b"{}", false, &mut events);
        }
        let what = format!("case {case}, {format:?}: {:?}, {:?}", first.err(), again.err());
        if let (Some(before), Some(after)) = (before, peak()) {
            assert!(after - before < MOST, "{} MB: {what}", (after - before) / 1_000_000);
        }
        assert!(start.elapsed().as_secs() < 20, "{:?}: {what}", start.elapsed());
    }
}

/// A header of ARFF comes in many records.
#[test]
fn a_header_has_so_many_attributes() {
    let mut decoder = decoder(&FormatSpec::default(), Format::Arff, None).unwrap();
    let mut events = Events::default();
    let bad = (0..70_000).filter(|i| {
        let line = format!("@attribute a{i} {{{}}}", "z".repeat(i % 50));
        decoder.decode(line.as_bytes(), false, &mut events).is_err()
    });
    assert!(bad.count() >= 70_000 - (1 << 16));
    let long = format!("@attribute {} numeric", "n".repeat(2000));
    let told = decoder.decode(long.as_bytes(), false, &mut events).unwrap_err().to_string();
    assert!(told.contains("2000 bytes and 0 dots; 1024 bytes and 64 dots are the most"), "{told}");
}

#[test]
fn columns_of_one_name_take_no_time() {
    let header = vec!["a"; 60_000].join(",");
    let start = std::time::Instant::now();
    let mut decoder = decoder(&FormatSpec::default(), Format::Csv, None).unwrap();
    decoder.decode(header.as_bytes(), true, &mut Events::default()).unwrap();
    let columns = &decoder.schema().unwrap().columns;
    assert_eq!((columns[1].as_str(), columns.len()), ("a.1", 59_999));
    assert!(decoder.notes().len() < 20 && start.elapsed().as_secs() < 20);
}
