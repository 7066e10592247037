//! Lines decoded, for the tests of formats and features.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::json;
use tidemill_table::{
    BadEvent, Decoded, Decoder, Encoder, Event, Events, FeaturesSpec, Format, FormatSpec, Look,
    Schema, Value, decoder, look,
};

/// A decoder with the keys of `toml`-like JSON.
pub fn made(format: Format, spec: serde_json::Value, schema: Option<Schema>) -> Box<dyn Decoder> {
    let spec: FormatSpec = serde_json::from_value(spec).unwrap();
    decoder(&spec, format, schema).unwrap()
}

/// Decodes one line.
pub fn line(
    decoder: &mut dyn Decoder,
    bytes: impl AsRef<[u8]>,
    first: bool,
    events: &mut Events,
) -> Result<Decoded, BadEvent> {
    decoder.decode(bytes.as_ref(), first, events)
}

/// Decodes lines, the first of them as the first of a file; gives the reasons of the bad ones.
pub fn lines(decoder: &mut dyn Decoder, text: &str) -> (Events, Vec<String>) {
    let (mut events, mut bad) = (Events::default(), Vec::new());
    for (i, bytes) in text.lines().enumerate() {
        let decoded = line(decoder, bytes, i == 0, &mut events);
        bad.extend(decoder.take_lost().into_iter().chain(decoded.err()).map(|b| b.reason));
    }
    bad.extend(decoder.finish().into_iter().map(|b| b.reason));
    (events, bad)
}

/// An event as text: `label | inputs | id weight`.
pub fn shown(event: Event<'_>) -> String {
    let one = |value: Value<'_>| match value {
        Value::Missing => "?".to_owned(),
        Value::Number(n) => n.to_string(),
        Value::Text(text) => format!("'{text}'"),
    };
    let mut inputs: Vec<String> = (0..event.columns()).map(|c| one(event.value(c))).collect();
    inputs.extend(event.vector().iter().map(|v| format!("v{v}")));
    inputs.extend(event.sparse().iter().map(|f| format!("{}:{}", f.hash, f.value)));
    let mut text = format!("{} | {}", one(event.label()), inputs.join(" "));
    if event.id() != Value::Missing || event.weight() != 1.0 {
        text += &format!(" | {} {}", one(event.id()), event.weight());
    }
    text
}

/// All events as text.
pub fn all(events: &Events) -> Vec<String> {
    (0..events.len()).map(|i| shown(events.get(i))).collect()
}

/// What the start of a file says, which is all of it.
pub fn looked(format: Format, spec: serde_json::Value, text: &[u8]) -> Look {
    let spec: FormatSpec = serde_json::from_value(spec).unwrap();
    look(text, true, &spec, format).unwrap()
}

/// The events of a file that was looked at, the columns, and the notes of both.
pub fn read(
    format: Format,
    spec: serde_json::Value,
    text: &str,
) -> (Vec<String>, Vec<String>, Vec<String>) {
    let found = looked(format, spec, text.as_bytes());
    let mut decoder = decoder(&found.spec, format, None).unwrap();
    let (events, bad) = lines(&mut *decoder, text);
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(all(&events), all(&found.events));
    let notes = found.notes.iter().chain(&decoder.notes()).map(|n| n.to_string()).collect();
    (all(&events), decoder.schema().unwrap().columns.clone(), notes)
}

/// A gzipped file of the real datasets; says so where it is absent.
pub fn real(name: &str) -> Option<Vec<u8>> {
    let root = std::env::var_os("TIDEMILL_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let path = root.join(name);
    let Ok(file) = std::fs::File::open(&path) else {
        eprintln!("SKIPPED: {} is absent; set TIDEMILL_DATA", path.display());
        return None;
    };
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    Some(bytes)
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

/// Events of a schema with columns `a`, `b`, ..., by rows of CSV with names.
pub fn events(text: &str) -> (Events, Schema) {
    let mut csv = made(Format::Csv, json!({ "label": "y" }), None);
    let (events, bad) = lines(&mut *csv, text);
    assert!(bad.is_empty(), "{bad:?}");
    (events, csv.schema().unwrap().clone())
}

pub fn encoder(spec: serde_json::Value, (events, schema): &(Events, Schema)) -> Encoder {
    let spec: FeaturesSpec = serde_json::from_value(spec).unwrap();
    Encoder::new(&spec, schema, events).unwrap()
}

pub fn encode(encoder: &mut Encoder, events: &Events, i: usize) -> Result<Vec<f32>, String> {
    let mut x = vec![f32::NAN; encoder.width()];
    encoder.encode(events.get(i), &mut x).map_err(|bad| bad.reason)?;
    let mut again = vec![f32::NAN; encoder.width()];
    encoder.transform(events.get(i), &mut again).unwrap();
    assert_eq!(bits(&x), bits(&again));
    Ok(x)
}

pub fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// The same state after a checkpoint.
pub fn saved(encoder: &Encoder) -> Encoder {
    let text = serde_json::to_string(encoder).unwrap();
    let back: Encoder = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), text);
    back
}
