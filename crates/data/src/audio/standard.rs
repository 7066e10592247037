//! From samples to what a model reads: features, standardized, several frames side by side.

use tidemill_audio::{Augment, Cmvn, Features};
use tidemill_table::FrameMoments;

use super::AudioContext;

/// Makes positions of samples: frames of features, standardized by [`FrameMoments`], `stack` of them side by side. What is left of a sound
/// after its last whole position is not used.
#[derive(Clone, Debug)]
pub struct Standard {
    features: Features,
    stack: usize,
    /// What values are standardized by; nothing before that is known.
    cmvn: Option<Cmvn>,
    frames: Vec<f32>,
}

impl Standard {
    /// As a recipe says; without moments values stay as they are.
    ///
    /// # Errors
    /// If an option is wrong, or the moments are of other features.
    pub fn new(context: &AudioContext, moments: Option<FrameMoments>) -> Result<Standard, String> {
        let features = Features::new(&context.features).map_err(|e| e.to_string())?;
        let bins = features.bins();
        let mut standard =
            Standard { features, stack: context.stack.max(1), cmvn: None, frames: vec![] };
        if let Some(moments) = moments {
            if moments.mean.len() != bins || moments.deviation.len() != bins {
                return Err(format!(
                    "features have {bins} values, and those of the run {}",
                    moments.mean.len()
                ));
            }
            standard.set(moments);
        }
        Ok(standard)
    }

    /// Sets what values are standardized by.
    pub(super) fn set(&mut self, moments: FrameMoments) {
        let FrameMoments { mean, deviation } = moments;
        self.cmvn = Some(Cmvn { mean, deviation });
    }

    /// Values of a frame.
    pub fn bins(&self) -> usize {
        self.features.bins()
    }

    /// Values of a position.
    pub fn width(&self) -> usize {
        self.stack * self.bins()
    }

    /// Positions of a whole sound of so many samples.
    pub fn positions(&self, samples: usize) -> usize {
        self.features.num_frames(samples as u64) as usize / self.stack
    }

    /// The frames of a whole sound as they are, up to the last whole position.
    pub(super) fn raw(&mut self, samples: &[f32]) -> &[f32] {
        self.frames.clear();
        self.features.push(samples, &mut self.frames);
        self.features.finish(&mut self.frames);
        self.whole()
    }

    fn whole(&mut self) -> &[f32] {
        let width = self.width();
        self.frames.truncate(self.frames.len() / width * width);
        &self.frames
    }

    /// The positions of a whole sound.
    pub fn frames(&mut self, samples: &[f32]) -> &[f32] {
        self.raw(samples);
        self.standardize(0);
        &self.frames
    }

    /// The same with parts hidden, as the augmentation of a sample in an epoch says.
    pub(super) fn hidden(
        &mut self,
        samples: &[f32],
        augment: &Augment,
        (epoch, sample): (u64, u64),
    ) -> &[f32] {
        self.frames(samples);
        augment.features(epoch, sample, &mut self.frames, self.features.bins(), 0.0);
        &self.frames
    }

    /// Takes samples of a sound that comes, and appends the positions that are complete to `out`.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        let before = self.frames.len();
        self.features.push(samples, &mut self.frames);
        self.standardize(before);
        let whole = self.frames.len() / self.width() * self.width();
        out.extend(self.frames.drain(..whole));
    }

    /// The sound is over: appends the positions that are complete then. The next sample is the first of another sound.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        let before = self.frames.len();
        self.features.finish(&mut self.frames);
        self.standardize(before);
        out.extend_from_slice(self.whole());
        self.frames.clear();
    }

    fn standardize(&mut self, from: usize) {
        if let Some(cmvn) = &self.cmvn {
            cmvn.apply(&mut self.frames[from..]);
        }
    }
}
