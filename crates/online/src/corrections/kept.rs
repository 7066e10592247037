//! Earlier corrections, to be learned from again.

use std::collections::VecDeque;

use tidemill_engine::engine::{EngineError, StateTensor};

use super::pair::Pair;
use crate::join::bytes::{In, Out, to_tensor};

/// The name of the tensor of a checkpoint that holds them.
pub(super) const TENSOR: &str = "corrections/kept";

/// The newest corrections.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pairs: VecDeque<Pair>,
    most: usize,
}

impl Kept {
    pub fn new(most: usize) -> Kept {
        Kept { pairs: VecDeque::new(), most }
    }

    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    pub fn get(&self, i: usize) -> Option<&Pair> {
        self.pairs.get(i)
    }

    pub fn push(&mut self, pair: Pair) {
        self.pairs.push_back(pair);
        while self.pairs.len() > self.most {
            self.pairs.pop_front();
        }
    }

    pub fn tensor(&self) -> StateTensor {
        let mut out = Out::default();
        out.u64(self.pairs.len() as u64);
        for pair in &self.pairs {
            out.slice(bytemuck::cast_slice(&pair.source));
            out.slice(bytemuck::cast_slice(&pair.target));
        }
        to_tensor(TENSOR, out.0)
    }

    /// Takes over what a checkpoint holds.
    ///
    /// # Errors
    /// If it is damaged, or of an earlier version.
    pub fn restore(&mut self, tensor: &StateTensor) -> Result<(), EngineError> {
        let read = self.read(In(tensor.elements()?));
        read.ok_or_else(|| EngineError(format!("{TENSOR} is damaged")))
    }

    fn read(&mut self, mut from: In<'_>) -> Option<()> {
        self.pairs.clear();
        for _ in 0..from.u64()? {
            let mut ids = || {
                let ids = from.slice()?.chunks_exact(4);
                Some(ids.map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect::<Vec<_>>())
            };
            let (source, target) = (ids()?, ids()?);
            self.push(Pair { source, target });
        }
        Some(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_come_back() {
        let pair = |i: i32| Pair { source: vec![i, -i], target: vec![i; i as usize % 3] };
        let mut kept = Kept::new(5);
        (1..=9).for_each(|i| kept.push(pair(i)));
        let mut again = Kept::new(5);
        again.restore(&kept.tensor()).unwrap();
        assert_eq!(again.pairs, kept.pairs);
        assert_eq!((again.len(), again.get(0)), (5, Some(&pair(5))));
        let mut damaged = kept.tensor();
        damaged.values = kept.tensor().values.bytes().unwrap()[..30].to_vec().into();
        let error = Kept::new(5).restore(&damaged).unwrap_err();
        assert_eq!(error.to_string(), "corrections/kept is damaged");
        damaged.values = vec![3.0_f32; 30].into();
        let error = Kept::new(5).restore(&damaged).unwrap_err().to_string();
        assert!(
            error.contains("corrections/kept is F32, and U8 is expected: the run was"),
            "{error}"
        );
    }
}
