//! Global normalization of features: mean 0 and deviation 1 of each bin over the training set.

use serde::{Deserialize, Serialize};

use crate::{AudioError, Result};

/// Least deviation of a bin that is divided by; a bin that never changes is only shifted.
const LEAST_DEVIATION: f64 = 1e-5;

/// Mean and sum of squares of each bin over the frames so far (Welford 1962).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    /// Frames so far.
    pub frames: u64,
    /// Of each bin.
    pub mean: Vec<f64>,
    /// The sum of the squares of the distances from the mean, of each bin.
    pub squares: Vec<f64>,
}

impl Moments {
    /// Of no frame yet.
    pub fn new(bins: usize) -> Moments {
        Moments { frames: 0, mean: vec![0.0; bins], squares: vec![0.0; bins] }
    }

    /// Adds `[frames, bins]` features. The sums depend on the order of frames, but not on how they are cut.
    pub fn add(&mut self, frames: &[f32]) {
        debug_assert!(frames.len().is_multiple_of(self.mean.len().max(1)));
        for frame in frames.chunks_exact(self.mean.len().max(1)) {
            self.frames += 1;
            let share = 1.0 / self.frames as f64;
            for ((x, mean), squares) in frame.iter().zip(&mut self.mean).zip(&mut self.squares) {
                let before = f64::from(*x) - *mean;
                *mean += before * share;
                *squares += before * (f64::from(*x) - *mean);
            }
        }
    }

    /// The normalization.
    ///
    /// # Errors
    /// If there was no frame.
    pub fn cmvn(&self) -> Result<Cmvn> {
        if self.frames == 0 {
            return Err(AudioError::option(
                "the training set has no frame of audio to take mean and deviation of: are all files empty or shorter than a frame?",
            ));
        }
        let deviation = |squares: &f64| (squares / self.frames as f64).sqrt();
        let factor = |d: f64| if d < LEAST_DEVIATION { 1.0 } else { d };
        Ok(Cmvn {
            mean: self.mean.iter().map(|m| *m as f32).collect(),
            deviation: self.squares.iter().map(|s| factor(deviation(s)) as f32).collect(),
        })
    }
}

/// What is subtracted from each bin, and what it is divided by then: kept in a checkpoint, and the same for every
/// frame, so that a stream is normalized as the training set was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cmvn {
    /// Of each bin.
    pub mean: Vec<f32>,
    /// Of each bin; 1 where it never changes.
    pub deviation: Vec<f32>,
}

impl Cmvn {
    /// Normalizes `[frames, bins]` features.
    pub fn apply(&self, frames: &mut [f32]) {
        debug_assert!(frames.len().is_multiple_of(self.mean.len().max(1)));
        for frame in frames.chunks_exact_mut(self.mean.len().max(1)) {
            for ((x, mean), deviation) in frame.iter_mut().zip(&self.mean).zip(&self.deviation) {
                *x = (*x - mean) / deviation;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn features_get_mean_0_and_deviation_1() {
        let frames: Vec<f32> =
            (0..3000).flat_map(|i| [(i % 10) as f32 - 20.0, 1e4, i as f32]).collect();
        let mut moments = Moments::new(3);
        frames.chunks(3 * 7).for_each(|some| moments.add(some));
        let mut whole = Moments::new(3);
        whole.add(&frames);
        assert_eq!(moments, whole);
        let cmvn = moments.cmvn().unwrap();
        assert_eq!((cmvn.mean[0], cmvn.mean[1], cmvn.deviation[1]), (-15.5, 1e4, 1.0));
        let mut normal = frames;
        cmvn.apply(&mut normal);
        let mut again = Moments::new(3);
        again.add(&normal);
        let found = again.cmvn().unwrap();
        assert!(found.mean.iter().all(|m| m.abs() < 1e-5), "{found:?}");
        assert!(found.deviation.iter().all(|d| (d - 1.0).abs() < 1e-5), "{found:?}");

        let text = serde_json::to_string(&moments).unwrap();
        assert_eq!(serde_json::from_str::<Moments>(&text).unwrap(), moments);
        assert!(Moments::new(3).cmvn().unwrap_err().to_string().contains("no frame"));
    }
}
