//! Decoded samples that stay in memory.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A place for each sample's 8-bit values, filled by whichever thread decodes it first.
pub(super) struct SampleCache {
    slots: Vec<OnceLock<Box<[u8]>>>,
    filled: AtomicUsize,
}

impl SampleCache {
    pub(super) fn new(len: usize) -> Self {
        Self { slots: (0..len).map(|_| OnceLock::new()).collect(), filled: AtomicUsize::new(0) }
    }

    pub(super) fn get(&self, index: usize) -> Option<&[u8]> {
        self.slots[index].get().map(|s| &s[..])
    }

    /// Keeps `pixels`; an empty sample stands for one that cannot be decoded.
    pub(super) fn put(&self, index: usize, pixels: Vec<u8>) -> &[u8] {
        let slot = &self.slots[index];
        if slot.set(pixels.into_boxed_slice()).is_ok() {
            self.filled.fetch_add(1, Ordering::Relaxed);
        }
        slot.get().map_or(&[], |s| &s[..])
    }

    /// Whether every sample is here.
    pub(super) fn is_full(&self) -> bool {
        self.filled.load(Ordering::Relaxed) == self.slots.len()
    }
}
