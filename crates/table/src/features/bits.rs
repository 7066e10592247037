//! Floats saved as their bits, so that every text format gives them back exactly.

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

pub(super) fn serialize<T: Bits, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    value.raw().serialize(to)
}

pub(super) fn deserialize<'de, T: Bits, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    T::Raw::deserialize(from).map(T::of)
}
