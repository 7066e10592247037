//! Reads `fixtures/drift.json`.

use serde::Deserialize;
use tidemill_drift::{Detector, DetectorSpec, Signal};

#[derive(Deserialize)]
pub struct Fixture {
    pub settings: Vec<Setting>,
    pub streams: Vec<Stream>,
}

#[derive(Deserialize)]
pub struct Setting {
    pub detector: DetectorSpec,
    /// Whether it reads errors rather than values.
    pub errors: bool,
}

#[derive(Deserialize)]
pub struct Stream {
    pub name: String,
    form: Form,
    len: usize,
    #[serde(default)]
    scale: i32,
    #[serde(default)]
    threshold: i16,
    data: String,
    pub alarms: Vec<Alarms>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Form {
    Bits,
    I16,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
pub struct Alarms {
    /// First index and length of each run.
    pub warnings: Vec<(usize, usize)>,
    pub drifts: Vec<usize>,
}

impl Alarms {
    pub fn add(&mut self, i: usize, signal: Signal) {
        match (signal, self.warnings.last_mut()) {
            (Signal::None, _) => {}
            (Signal::Drift, _) => self.drifts.push(i),
            (Signal::Warning, Some(run)) if run.0 + run.1 == i => run.1 += 1,
            (Signal::Warning, _) => self.warnings.push((i, 1)),
        }
    }
}

impl Stream {
    pub fn values(&self, errors: bool) -> Vec<f64> {
        let bytes = base64(&self.data);
        if self.form == Form::Bits {
            return (0..self.len).map(|i| f64::from(bytes[i / 8] >> (i % 8) & 1)).collect();
        }
        let whole = bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]]));
        let value = |k: i16| {
            if errors {
                f64::from(u8::from(k > self.threshold))
            } else {
                f64::from(k) / 2_f64.powi(self.scale)
            }
        };
        let values: Vec<f64> = whole.map(value).collect();
        assert_eq!(values.len(), self.len);
        values
    }
}

pub fn fixture() -> Fixture {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/drift.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub fn alarms(detector: &mut Detector, values: &[f64]) -> Alarms {
    let mut found = Alarms::default();
    for (i, &x) in values.iter().enumerate() {
        found.add(i, detector.update(x));
    }
    found
}

fn base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0_u32, 0);
    for c in text.bytes().filter(|&c| c != b'=') {
        let digit = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        held = held << 6 | u32::from(digit);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    bytes
}
