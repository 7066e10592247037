//! Training samples varied: each is a pure function of (seed, epoch, sample), so that a resumed run makes the same
//! ones, in whatever order and by whichever thread.
//!
//! ```
//! use tidemill_audio::{Augment, AugmentSpec, NoiseSpec};
//!
//! let spec = AugmentSpec { speed: vec![0.9, 1.0, 1.1], noise: Some(NoiseSpec::default()), ..Default::default() };
//! let augment = Augment::new(&spec, 16_000, 42)?;
//! let samples = vec![0.1_f32; 16_000];
//! let (epoch, sample) = (3, 17);
//! let len = augment.num_samples(epoch, sample, samples.len() as u64); // for buckets, before anything is read
//! let varied = augment.sound(epoch, sample, samples);
//! assert_eq!(varied.len() as u64, len);
//! # Ok::<(), tidemill_audio::AudioError>(())
//! ```

mod sound;
pub(crate) mod spec;

pub(crate) use sound::noise;
pub use sound::{add_noise, gain};
pub use spec::{AugmentSpec, ConcatenateSpec, NoiseColor, NoiseSpec, SpecAugmentSpec};

use crate::random::{Draws, Purpose};
use crate::{Resampler, Result};

/// Varies the samples of a training set.
#[derive(Clone, Debug)]
pub struct Augment {
    spec: AugmentSpec,
    sample_rate: u32,
    seed: u64,
    /// One for each speed, in its first state.
    speeds: Vec<Option<Resampler>>,
}

/// A sample that comes after another, and the silence before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The number of the sample.
    pub sample: u64,
    /// Samples of silence before it.
    pub pause: usize,
}

impl Augment {
    /// Of samples at this rate. Runs with one seed vary them in one way.
    ///
    /// # Errors
    /// If an option is wrong.
    pub fn new(spec: &AugmentSpec, sample_rate: u32, seed: u64) -> Result<Augment> {
        spec.check()?;
        crate::features::spec::check_rate("sample_rate", sample_rate)?;
        let resampler = |speed: &f64| match *speed {
            1.0 => Ok(None),
            speed => Resampler::speed(speed).map(Some),
        };
        let speeds = spec.speed.iter().map(resampler).collect::<Result<_>>()?;
        Ok(Augment { spec: spec.clone(), sample_rate, seed, speeds })
    }

    fn draws(&self, epoch: u64, sample: u64, purpose: Purpose) -> Draws {
        Draws::new(self.seed, epoch, sample, purpose)
    }

    fn resampler(&self, epoch: u64, sample: u64) -> Option<&Resampler> {
        if self.speeds.is_empty() {
            return None;
        }
        let which = self.draws(epoch, sample, Purpose::Speed).below(self.speeds.len() as u64);
        self.speeds[which as usize].as_ref()
    }

    /// How many samples [`sound`](Self::sound) makes of so many.
    pub fn num_samples(&self, epoch: u64, sample: u64, samples: u64) -> u64 {
        self.resampler(epoch, sample).map_or(samples, |r| r.num_samples(samples))
    }

    /// The samples that follow a sample of a set of `count`, to be joined before anything else is done; none without
    /// `concatenate`. Their texts are joined too.
    pub fn joined(&self, epoch: u64, sample: u64, count: u64) -> Vec<Joined> {
        let Some(spec) = &self.spec.concatenate else { return Vec::new() };
        if count == 0 {
            return Vec::new();
        }
        let mut draws = self.draws(epoch, sample, Purpose::Concatenate);
        let more = draws.below(spec.max as u64);
        let mut one = |_| {
            let pause = (draws.between(spec.pause) * f64::from(self.sample_rate)).round() as usize;
            Joined { sample: draws.below(count), pause }
        };
        (0..more).map(&mut one).collect()
    }

    /// Varies the samples: speed, gain, noise.
    pub fn sound(&self, epoch: u64, sample: u64, mut samples: Vec<f32>) -> Vec<f32> {
        if let Some(resampler) = self.resampler(epoch, sample) {
            samples = resampler.clone().of(&samples);
        }
        if let Some(range) = self.spec.gain_db {
            gain(&mut samples, self.draws(epoch, sample, Purpose::Gain).between(range));
        }
        if let Some(spec) = &self.spec.noise {
            let mut level = self.draws(epoch, sample, Purpose::NoiseLevel);
            if level.unit() < spec.share {
                let mut draws = self.draws(epoch, sample, Purpose::Noise);
                let noise = noise(spec.color, samples.len(), &mut draws);
                add_noise(&mut samples, &noise, level.between(spec.snr_db));
            }
        }
        samples
    }

    /// Hides parts of `[frames, bins]` features: `fill`, which is 0 where they were normalized, takes their place.
    pub fn features(&self, epoch: u64, sample: u64, frames: &mut [f32], bins: usize, fill: f32) {
        let Some(spec) = &self.spec.spec_augment else { return };
        let count = frames.len() / bins.max(1);
        let mut draws = self.draws(epoch, sample, Purpose::Mask);
        let mut mask = |most: usize, all: usize| {
            let width = draws.below(most.min(all) as u64 + 1) as usize;
            let start = draws.below((all - width) as u64 + 1) as usize;
            start..start + width
        };
        let most = spec.time_frames.min((spec.time_share * count as f64) as usize);
        for _ in 0..spec.time_masks {
            let hidden = mask(most, count);
            frames[hidden.start * bins..hidden.end * bins].fill(fill);
        }
        for _ in 0..spec.frequency_masks {
            let hidden = mask(spec.frequency_bins, bins);
            for frame in frames.chunks_exact_mut(bins.max(1)) {
                frame[hidden.clone()].fill(fill);
            }
        }
    }
}
