//! Earlier corrections, to be learned from again.

use std::collections::VecDeque;

use tidemill_engine::engine::{EngineError, StateTensor};

use super::pair::{Pair, Read};
use crate::join::bytes::{In, Out, to_tensor};

/// The name of the tensor of a checkpoint that holds them.
pub(super) const TENSOR: &str = "corrections/kept";

/// What is kept of sounds takes at most so many bytes, since all of it is in each checkpoint: some thousand utterances.
const MOST_BYTES: usize = 64 << 20;

/// The newest corrections.
#[derive(Debug)]
pub(super) struct Kept {
    pairs: VecDeque<Pair>,
    most: usize,
    /// Values of a frame, where the model reads sounds.
    width: Option<usize>,
    /// Bytes of all frames.
    bytes: usize,
}

impl Kept {
    pub fn new(most: usize, width: Option<usize>) -> Kept {
        Kept { pairs: VecDeque::new(), most, width, bytes: 0 }
    }

    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    pub fn get(&self, i: usize) -> Option<&Pair> {
        self.pairs.get(i)
    }

    pub fn push(&mut self, pair: Pair) {
        self.bytes += frame_bytes(&pair);
        self.pairs.push_back(pair);
        while self.pairs.len() > self.most || self.bytes > MOST_BYTES {
            let Some(oldest) = self.pairs.pop_front() else { break };
            self.bytes -= frame_bytes(&oldest);
        }
    }

    pub fn tensor(&self) -> StateTensor {
        let mut out = Out::default();
        out.u64(self.pairs.len() as u64);
        for pair in &self.pairs {
            match &pair.source {
                Read::Tokens(ids) => out.slice(bytemuck::cast_slice(ids)),
                Read::Frames { values, .. } => out.floats(values),
            }
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
        self.bytes = 0;
        for _ in 0..from.u64()? {
            let ids = |from: &mut In<'_>| {
                let ids = from.slice()?.chunks_exact(4);
                Some(ids.map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect::<Vec<_>>())
            };
            let source = match self.width {
                Some(width) => Read::Frames { values: from.floats()?, width },
                None => Read::Tokens(ids(&mut from)?),
            };
            let target = ids(&mut from)?;
            self.push(Pair { source, target });
        }
        Some(())
    }
}

/// What is kept of sounds.
fn frame_bytes(pair: &Pair) -> usize {
    match &pair.source {
        Read::Frames { values, .. } => 4 * values.len(),
        Read::Tokens(_) => 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_come_back() {
        let pair =
            |i: i32| Pair { source: Read::Tokens(vec![i, -i]), target: vec![i; i as usize % 3] };
        let mut kept = Kept::new(5, None);
        (1..=9).for_each(|i| kept.push(pair(i)));
        let mut again = Kept::new(5, None);
        again.restore(&kept.tensor()).unwrap();
        assert_eq!(again.pairs, kept.pairs);
        assert_eq!((again.len(), again.get(0)), (5, Some(&pair(5))));
        let mut damaged = kept.tensor();
        damaged.values = kept.tensor().values.bytes().unwrap()[..30].to_vec().into();
        let error = Kept::new(5, None).restore(&damaged).unwrap_err();
        assert_eq!(error.to_string(), "corrections/kept is damaged");
        damaged.values = vec![3.0_f32; 30].into();
        let error = Kept::new(5, None).restore(&damaged).unwrap_err().to_string();
        assert!(
            error.contains("corrections/kept is F32, and U8 is expected: the run was"),
            "{error}"
        );
    }

    #[test]
    fn sounds_are_kept_within_a_limit_of_bytes() {
        let pair = |i: i32| {
            let values = vec![i as f32; MOST_BYTES / 4 / 3];
            Pair { source: Read::Frames { values, width: 1 }, target: vec![i] }
        };
        let mut kept = Kept::new(100, Some(1));
        (1..=5).for_each(|i| kept.push(pair(i)));
        assert_eq!((kept.len(), kept.get(0)), (3, Some(&pair(3))));
        let mut again = Kept::new(100, Some(1));
        again.restore(&kept.tensor()).unwrap();
        assert_eq!((again.pairs == kept.pairs, again.bytes), (true, kept.bytes));
    }
}
