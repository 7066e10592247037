//! What a recipe says about augmentation.

use serde::{Deserialize, Serialize};

use crate::{AudioError, Result};

/// How training samples are varied, differently in each epoch; nothing by default. A recipe has
/// `{ speed = [0.9, 1.0, 1.1], noise = { snr_db = [10, 30] }, spec_augment = {} }`, for example.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentSpec {
    /// Factors of speed, of which each sample gets one; they change the pitch too. Default: none.
    pub speed: Vec<f64>,
    /// The least and the most decibels that samples are made louder by. Default: none.
    pub gain_db: Option<[f64; 2]>,
    /// Noise that is added. Default: none.
    pub noise: Option<NoiseSpec>,
    /// Parts of the features that are hidden. Default: none.
    pub spec_augment: Option<SpecAugmentSpec>,
    /// Samples that are joined to one. Default: none.
    pub concatenate: Option<ConcatenateSpec>,
}

/// Options of `noise`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoiseSpec {
    /// The least and the most decibels by which the sample is louder than the noise. Default: 10 and 30.
    pub snr_db: [f64; 2],
    /// Its spectrum. Default: `white`.
    pub color: NoiseColor,
    /// The share of the samples that get noise. Default: 1.
    pub share: f64,
}

/// The spectrum of noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseColor {
    /// Equally loud at all frequencies.
    #[default]
    White,
    /// 3 dB less for each octave, as of rooms and streets.
    Pink,
}

/// Options of `spec_augment` (Park et al. 2019), without its time warp.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpecAugmentSpec {
    /// Masks of some frames. Default: 2.
    pub time_masks: usize,
    /// The most frames of a mask. Default: 40.
    pub time_frames: usize,
    /// The most that a mask may be of all frames. Default: 0.2.
    pub time_share: f64,
    /// Masks of some bins. Default: 2.
    pub frequency_masks: usize,
    /// The most bins of a mask. Default: 15.
    pub frequency_bins: usize,
}

/// Options of `concatenate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConcatenateSpec {
    /// The most samples that are joined, equally often as fewer. Default: 3.
    pub max: usize,
    /// The least and the most seconds of silence between two. Default: 0.05 and 0.5.
    pub pause: [f64; 2],
}

impl Default for NoiseSpec {
    fn default() -> NoiseSpec {
        NoiseSpec { snr_db: [10.0, 30.0], color: NoiseColor::White, share: 1.0 }
    }
}

impl Default for SpecAugmentSpec {
    fn default() -> SpecAugmentSpec {
        SpecAugmentSpec {
            time_masks: 2,
            time_frames: 40,
            time_share: 0.2,
            frequency_masks: 2,
            frequency_bins: 15,
        }
    }
}

impl Default for ConcatenateSpec {
    fn default() -> ConcatenateSpec {
        ConcatenateSpec { max: 3, pause: [0.05, 0.5] }
    }
}

impl AugmentSpec {
    /// Whether the options are valid.
    pub fn check(&self) -> Result<()> {
        if let Some(wrong) = self.speed.iter().find(|s| !(0.1..=10.0).contains(*s)) {
            let what = format!("augment.speed = {wrong} must be from 0.1 to 10");
            return Err(AudioError::option(what));
        }
        if let Some(gain) = self.gain_db {
            range("augment.gain_db", gain, [-100.0, 100.0])?;
        }
        if let Some(noise) = &self.noise {
            range("augment.noise.snr_db", noise.snr_db, [-100.0, 200.0])?;
            share("augment.noise.share", noise.share)?;
        }
        if let Some(masks) = &self.spec_augment {
            share("augment.spec_augment.time_share", masks.time_share)?;
        }
        if let Some(concatenate) = &self.concatenate {
            range("augment.concatenate.pause", concatenate.pause, [0.0, 60.0])?;
            if !(1..=100).contains(&concatenate.max) {
                let what =
                    format!("augment.concatenate.max = {} must be from 1 to 100", concatenate.max);
                return Err(AudioError::option(what));
            }
        }
        Ok(())
    }
}

/// Checks that a range is one, and lies within another.
pub(crate) fn range(key: &str, [low, high]: [f64; 2], [least, most]: [f64; 2]) -> Result<()> {
    // Negated, so that NaN is refused too.
    if !(least <= low && low <= high && high <= most) {
        return Err(AudioError::option(format!(
            "{key} = [{low}, {high}] must be two numbers from {least} to {most}, the lower one first"
        )));
    }
    Ok(())
}

fn share(key: &str, value: f64) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(AudioError::option(format!("{key} = {value} must be from 0 to 1")))
}
