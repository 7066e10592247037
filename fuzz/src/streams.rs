//! Records of streams in each format, through the encoder; Arrow IPC; segments of the log.

use std::time::Duration;

use tidemill_stream::{
    Decoded, Encoder, Events, FeaturesSpec, Format, FormatSpec, Fsync, HashedColumns, Labels, Log,
    LogOptions, Poll, Records, Schema, Source, decoder,
};

/// Wider inputs take long and find nothing more.
const WIDTH: usize = 2000;

/// The lines of `bytes` as records; the bits of the first byte choose options.
pub(crate) fn records(format: Format, bytes: &[u8]) {
    let Some((&options, bytes)) = bytes.split_first() else { return };
    let has = |bit: u8| options & (1 << bit) != 0;
    let name = |bit, name: &str| has(bit).then(|| name.to_owned());
    let spec = FormatSpec {
        label: name(0, "y"),
        id: name(1, "id"),
        label_records: has(1),
        weight: name(2, "w"),
        columns: (has(3) && format == Format::JsonLines)
            .then(|| vec!["a".to_owned(), "b.c".to_owned()]),
        text: name(4, "a").into_iter().collect(),
        ..FormatSpec::default()
    };
    let Ok(mut decoder) = decoder(&spec, format, None) else { return };
    let mut events = Events::default();
    for (i, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let before = events.len();
        let first = i == 0 || (has(5) && i % 5 == 0);
        match decoder.decode(line, first, &mut events) {
            Ok(Decoded::Event) => assert_eq!(events.len(), before + 1),
            Ok(Decoded::Nothing | Decoded::Header) | Err(_) => assert_eq!(events.len(), before),
        }
    }
    if let Some(schema) = decoder.schema().cloned()
        && !events.is_empty()
    {
        encoded(&schema, &events, has(6));
    }
}

/// What events become: finite numbers, or errors.
fn encoded(schema: &Schema, events: &Events, missing_indicator: bool) {
    let mut hashed = HashedColumns::new(schema, &[]).expect("without interactions");
    let (mut classes, mut values) = (Labels::classes(3, &[]), Labels::values(true));
    for event in (0..events.len()).map(|i| events.get(i)) {
        let _ = hashed.features(event);
        for labels in [&mut classes, &mut values] {
            if labels.check(event.label()).is_ok() {
                labels.encode(event.label()).expect("it was checked");
            }
        }
        assert!(values.unscale(0.5).is_finite());
        assert!(event.weight().is_finite() && event.weight() >= 0.0);
    }
    if schema.sparse || schema.columns.len() + schema.vector > WIDTH {
        return;
    }
    let mut first = events.clone();
    first.truncate(3);
    let spec = FeaturesSpec { missing_indicator, ..FeaturesSpec::default() };
    let Ok(mut encoder) = Encoder::new(&spec, schema, &first) else { return };
    let mut x = vec![0.0; encoder.width()];
    for i in 0..events.len() {
        if encoder.encode(events.get(i), &mut x).is_ok() {
            assert!(x.iter().all(|v| v.is_finite()), "{x:?}");
        }
    }
}

/// Arrow IPC as lines of JSON.
#[cfg(feature = "arrow")]
pub(crate) fn arrow(bytes: &[u8]) {
    use std::io::{Cursor, Read};

    let input = Box::new(Cursor::new(bytes.to_vec()));
    let Ok(mut lines) = tidemill_stream::arrow_lines("x", input) else { return };
    let (mut part, mut all) = ([0; 4096], 0);
    while let Ok(n @ 1..) = lines.read(&mut part) {
        all += n;
        // Columns of one repeated value are small as Arrow, and long as text: reading on finds nothing more.
        if all > 8 << 20 {
            return;
        }
    }
}

/// A log whose only segment has these bytes: it is opened, appended to, and read to its end; or refused.
pub(crate) fn log(bytes: &[u8]) {
    let folder = crate::folder().join("log");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the folder can be written");
    crate::file(&format!("log/{:020}.log", 1), bytes);
    let options = LogOptions { fsync: Fsync::Never, ..LogOptions::default() };
    let Ok(log) = Log::open(&folder, options) else { return };
    let last = log.last();
    let got = log.append([&b"new"[..]]).expect("an open log takes records");
    assert_eq!(got.first, last + 1);
    log.close();
    let (mut source, mut records, mut found) = (log.source(), Records::default(), 0);
    loop {
        records.clear();
        match source.poll(&mut records, 1 << 20, Duration::ZERO) {
            Ok(Poll::End) => break,
            Ok(_) => found += records.len() as u64,
            Err(e) => panic!("a log that was opened cannot be read: {e}"),
        }
    }
    assert_eq!(found, last + 1);
}
