//! Telling data that has changed from what it was.

use tidemill_fields::{Truth, Values};

use crate::{Dataset, FillCost};

/// Samples whose values are looked at.
const PROBES: usize = 1000;

/// FNV-1a, eight bytes at a time: chance, not malice, is what it must withstand.
#[derive(Clone, Copy)]
pub(crate) struct Hash(u64);

impl Hash {
    pub(crate) fn new() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn add(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.add(text.len() as u64);
        for piece in text.as_bytes().chunks(8) {
            let mut bytes = [0; 8];
            bytes[..piece.len()].copy_from_slice(piece);
            self.add(u64::from_le_bytes(bytes));
        }
    }

    pub(crate) fn finish(self) -> u64 {
        self.0
    }
}

/// A number by which data of another machine is distinguished: of samples in memory, from all values; of files that are
/// decoded when they are read, from the fingerprint, and the size of each file.
pub fn digest(data: &dyn Dataset) -> u64 {
    let mut hash = Hash::new();
    hash.add(data.fingerprint());
    if data.fill_cost() != FillCost::Decode {
        add_values(&mut hash, data, 1);
        return hash.finish();
    }
    for index in 0..data.len() {
        let size = std::fs::metadata(data.describe(index)).map_or(0, |file| file.len());
        hash.add(size);
    }
    hash.finish()
}

/// From the number of samples, all of their classes, and all values of some.
pub(crate) fn of_values(data: &(impl Dataset + ?Sized)) -> u64 {
    let mut hash = Hash::new();
    hash.add(data.len() as u64);
    add_values(&mut hash, data, data.len().div_ceil(PROBES).max(1));
    hash.finish()
}

/// The values of each sample of so many.
fn add_values(hash: &mut Hash, data: &(impl Dataset + ?Sized), step: usize) {
    for index in (0..data.len()).step_by(step) {
        let Ok(sample) = data.read(index) else { continue };
        for column in &sample.columns {
            match &column.values {
                Values::F32(values) => values.iter().for_each(|v| hash.add(u64::from(v.to_bits()))),
                Values::I32(values) => values.iter().for_each(|&v| hash.add(v as u32 as u64)),
            }
        }
        if let Truth::Class(class) = sample.truth(0) {
            hash.add(class as u64);
        }
    }
}
