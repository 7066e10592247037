//! Floats saved as their bits, so that every text format gives them back exactly.

use serde_json::{Number, Value};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What can be saved by its bits.
pub(super) trait Bits: Sized {
    type Raw: Serialize + for<'de> Deserialize<'de>;
    fn raw(&self) -> Self::Raw;
    fn of(raw: Self::Raw) -> Self;
}

impl Bits for f64 {
    type Raw = u64;
    fn raw(&self) -> u64 {
        self.to_bits()
    }
    fn of(raw: u64) -> f64 {
        f64::from_bits(raw)
    }
}

impl Bits for Option<f64> {
    type Raw = Option<u64>;
    fn raw(&self) -> Option<u64> {
        self.map(f64::to_bits)
    }
    fn of(raw: Option<u64>) -> Option<f64> {
        raw.map(f64::from_bits)
    }
}

impl Bits for Vec<f64> {
    type Raw = Vec<u64>;
    fn raw(&self) -> Vec<u64> {
        self.iter().map(|x| x.to_bits()).collect()
    }
    fn of(raw: Vec<u64>) -> Vec<f64> {
        raw.into_iter().map(f64::from_bits).collect()
    }
}

/// The keys whose values are saved so: of the statistics of columns, and elsewhere.
const RUNNING: [&str; 5] = ["most", "counts", "means", "inverses", "squares"];
const OTHERS: [&str; 5] = ["first", "second", "clip", "vector_scale", "vector_offset"];

/// What was saved with numbers in place of their bits, for people and other programs; one that is not finite is null.
pub(super) fn readable(saved: Value) -> Value {
    match saved {
        Value::Object(map) => {
            let is_running = RUNNING.iter().all(|key| map.contains_key(*key));
            let is_bits =
                |key: &str| OTHERS.contains(&key) || (is_running && RUNNING.contains(&key));
            let each = |(key, value): (String, Value)| {
                let value = if is_bits(&key) { numbers(value) } else { readable(value) };
                (key, value)
            };
            Value::Object(map.into_iter().map(each).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(readable).collect()),
        other => other,
    }
}

fn numbers(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(numbers).collect()),
        Value::Number(bits) => bits
            .as_u64()
            .and_then(|bits| Number::from_f64(f64::from_bits(bits)))
            .map_or(Value::Null, Value::Number),
        other => readable(other),
    }
}

pub(super) fn serialize<T: Bits, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    value.raw().serialize(to)
}

pub(super) fn deserialize<'de, T: Bits, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    T::Raw::deserialize(from).map(T::of)
}
