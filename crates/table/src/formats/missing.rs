//! What stands for a missing value.

use super::number;

/// Texts, and numbers, that stand for a missing value.
#[derive(Clone, Debug, Default)]
pub(super) struct Missing {
    texts: Vec<Vec<u8>>,
    /// A bit for each length of a text, since most values have another.
    lengths: u64,
    numbers: Vec<f64>,
}

impl Missing {
    pub fn new(texts: &[String]) -> Missing {
        let texts: Vec<Vec<u8>> = texts.iter().map(|t| t.clone().into_bytes()).collect();
        let lengths = texts.iter().fold(0, |bits, t| bits | 1 << t.len().min(63));
        let numbers = texts.iter().filter_map(|t| number::whole(t)).filter(|n| n.is_finite());
        Missing { numbers: numbers.collect(), texts, lengths }
    }

    /// Whether a text does.
    #[inline]
    pub fn has(&self, value: &[u8]) -> bool {
        self.lengths >> value.len().min(63) & 1 == 1 && self.texts.iter().any(|t| t == value)
    }

    /// Whether a number does.
    #[inline]
    pub fn has_number(&self, value: f64) -> bool {
        !self.numbers.is_empty() && self.numbers.contains(&value)
    }
}
