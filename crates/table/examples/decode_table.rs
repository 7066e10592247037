//! What decoding one event and making inputs of it cost, by format, over a million events of real
//! data:
//! `cargo run --release -p tidemill-table --example decode_table`
//!
//! Elec2 (8 numbers) in all formats; KDD-99 as CSV; MNIST (784 numbers) as
//! JSON lines. The data are
//! looked for in `$TIDEMILL_DATA`, by default `../shared/data`.
#![allow(clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::cell::Cell;
use std::fmt::Write;
use std::time::Instant;

use tidemill_table::{Encoder, Events, FeaturesSpec, Format, FormatSpec, Labels, decoder};

/// Records per block, about as many as a busy source gives at once.
const BLOCK: usize = 512;

fn main() {
    let Some(csv) = common::real("electricity/elec2_8.csv.gz") else { return };
    let csv = String::from_utf8(csv).unwrap();
    let names: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|l| l.split(',').collect()).collect();
    let json = rows.iter().map(|row| {
        let mut line = String::from("{");
        for (name, value) in names.iter().zip(row) {
            write!(line, "\"{name}\": {value}, ").unwrap();
        }
        line.truncate(line.len() - 2);
        line + "}"
    });
    let vw = rows.iter().map(|row| {
        let sign = if row[8] == "1" { "1" } else { "-1" };
        let features = names.iter().zip(row).take(8).map(|(name, v)| format!(" {name}:{v}"));
        format!("{sign} |{}", features.collect::<String>())
    });
    let libsvm = rows.iter().map(|row| {
        let features = row.iter().take(8).enumerate().map(|(i, v)| format!(" {}:{v}", i + 1));
        row[8].to_owned() + &features.collect::<String>()
    });
    let attributes = names.iter().map(|name| format!("@attribute {name} numeric"));
    let arff = attributes.chain(["@data".to_owned()]).chain(csv.lines().skip(1).map(String::from));
    let events = 1_000_000;
    measure("csv, 8 numbers", Format::Csv, csv.lines().map(String::from).collect(), events);
    measure("json_lines, 8 numbers", Format::JsonLines, json.collect(), events);
    measure("vw, 8 features", Format::Vw, vw.collect(), events);
    measure("libsvm, 8 features", Format::Libsvm, libsvm.collect(), events);
    measure("arff, 8 numbers", Format::Arff, arff.collect(), events);
    if let Some(bytes) = common::real("kddcup99/corrected.gz") {
        let text = String::from_utf8(bytes).unwrap();
        let lines = text.lines().take(100_000).map(String::from);
        measure("csv, 38 numbers, 4 texts", Format::Csv, lines.collect(), events / 2);
    }
    if let Some(pixels) = common::real("mnist/t10k-images-idx3-ubyte.gz") {
        let images: Vec<&[u8]> = pixels[16..].chunks(784).take(1000).collect();
        let line = |numbers: Vec<String>| format!("{{\"y\": 3, \"x\": [{}]}}", numbers.join(", "));
        let bytes = images.iter().map(|i| line(i.iter().map(u8::to_string).collect()));
        measure("json_lines, 784 bytes", Format::JsonLines, bytes.collect(), events / 20);
        let floats = images
            .iter()
            .map(|i| line(i.iter().map(|p| (f64::from(*p) / 255.0).to_string()).collect()));
        measure("json_lines, 784 floats", Format::JsonLines, floats.collect(), events / 20);
    }
}

fn measure(what: &str, format: Format, lines: Vec<String>, count: usize) {
    let bytes: usize = lines.iter().map(String::len).sum();
    let mut decoder = decoder(&FormatSpec::default(), format, None).unwrap();
    let (mut events, mut bad) = (Events::default(), 0);
    let (decoded, inputs) = (Cell::new(0.0), Cell::new(0.0));
    let mut learned = None;
    let mut done = 0;
    while done < count {
        for (block, lines) in lines.chunks(BLOCK).enumerate() {
            timed(&decoded, || {
                events.clear();
                for (i, line) in lines.iter().enumerate() {
                    let first = block == 0 && i == 0;
                    bad +=
                        usize::from(decoder.decode(line.as_bytes(), first, &mut events).is_err());
                }
            });
            done += events.len();
            let schema = decoder.schema().unwrap();
            if schema.sparse {
                continue;
            }
            let (encoder, labels, x) = learned.get_or_insert_with(|| {
                let encoder = Encoder::new(&FeaturesSpec::default(), schema, &events).unwrap();
                let x = vec![0.0; encoder.width()];
                (encoder, Labels::classes(100, &[]), x)
            });
            timed(&inputs, || {
                for i in 0..events.len() {
                    labels.encode(events.get(i).label()).unwrap();
                    encoder.encode(events.get(i), x).unwrap();
                }
            });
        }
    }
    let size = bytes / lines.len();
    let (decoded, inputs) = (decoded.get() / done as f64, inputs.get() / done as f64);
    println!(
        "{what:24} {size:5} bytes: {decoded:6.0} ns/event, {inputs:5.0} for inputs, {bad} bad"
    );
}

fn timed(total_ns: &Cell<f64>, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    total_ns.set(total_ns.get() + start.elapsed().as_nanos() as f64);
}
