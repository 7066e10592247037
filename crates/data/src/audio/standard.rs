//! From samples to what a model reads: features, standardized, several frames side by side.

use tidemill_audio::Features;
use tidemill_table::FrameMoments;

use super::AudioContext;

/// A deviation below this is that of a value that is always the same.
const LEAST_DEVIATION: f64 = 1e-3;

/// Makes positions of samples: frames of features, standardized by [`FrameMoments`], `stack` of them side by side. What is left of a sound
/// after its last whole position is not used.
#[derive(Clone, Debug)]
pub struct Standard {
    features: Features,
    stack: usize,
    /// Subtracted from each value, and what it is then multiplied by; nothing before they are known.
    moments: Option<(Vec<f32>, Vec<f32>)>,
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
            Standard { features, stack: context.stack.max(1), moments: None, frames: vec![] };
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
        let scales = moments.deviation.iter().map(|d| 1.0 / d).collect();
        self.moments = Some((moments.mean, scales));
    }

    /// Values of a frame.
    pub fn bins(&self) -> usize {
        self.features.bins()
    }

    /// Values of a position.
    pub fn width(&self) -> usize {
        self.stack * self.bins()
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
        let Some((mean, scale)) = &self.moments else { return };
        for frame in self.frames[from..].chunks_exact_mut(mean.len()) {
            for ((value, mean), scale) in frame.iter_mut().zip(mean).zip(scale) {
                *value = (*value - mean) * scale;
            }
        }
    }
}

/// Sums over frames (Welford 1962).
#[derive(Debug, Default)]
pub(super) struct Moments {
    count: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    /// Adds frames of `bins` values.
    pub fn add(&mut self, frames: &[f32], bins: usize) {
        self.mean.resize(bins, 0.0);
        self.squares.resize(bins, 0.0);
        for frame in frames.chunks_exact(bins) {
            self.count += 1.0;
            for ((&value, mean), squares) in frame.iter().zip(&mut self.mean).zip(&mut self.squares)
            {
                let delta = f64::from(value) - *mean;
                *mean += delta / self.count;
                *squares += delta * (f64::from(value) - *mean);
            }
        }
    }

    /// Means and deviations.
    pub fn finish(self) -> FrameMoments {
        let deviation = |squares: f64| (squares / self.count.max(1.0)).sqrt().max(LEAST_DEVIATION);
        FrameMoments {
            mean: self.mean.iter().map(|&mean| mean as f32).collect(),
            deviation: self.squares.iter().map(|&s| deviation(s) as f32).collect(),
        }
    }
}
