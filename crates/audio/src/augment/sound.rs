//! What is done to samples: gain, noise.

use super::spec::NoiseColor;
use crate::random::Draws;

/// Makes samples louder, or less loud below 0 dB.
pub fn gain(samples: &mut [f32], db: f64) {
    let factor = 10.0_f64.powf(db / 20.0) as f32;
    samples.iter_mut().for_each(|s| *s *= factor);
}

/// Adds noise so that the samples' power, their mean square over all of them, is `snr_db` decibels above that of what
/// is added. `noise` is repeated where it is shorter. Silence stays silence: it has no level to keep a distance from.
pub fn add_noise(samples: &mut [f32], noise: &[f32], snr_db: f64) {
    if samples.is_empty() || noise.is_empty() {
        return;
    }
    let noise = || noise.iter().cycle().take(samples.len());
    let power = |sum: f64| sum / samples.len() as f64;
    let (signal, level) = (power(squares(samples.iter())), power(squares(noise())));
    if signal == 0.0 || level == 0.0 {
        return;
    }
    let factor = (signal / level / 10.0_f64.powf(snr_db / 10.0)).sqrt() as f32;
    let noise = noise();
    // The borrow of `samples` by `noise` is only of its length.
    let added: Vec<f32> = noise.map(|n| n * factor).collect();
    samples.iter_mut().zip(added).for_each(|(s, n)| *s += n);
}

fn squares<'a>(values: impl Iterator<Item = &'a f32>) -> f64 {
    values.map(|v| f64::from(*v) * f64::from(*v)).sum()
}

/// Noise of a color.
pub(crate) fn noise(color: NoiseColor, len: usize, draws: &mut Draws) -> Vec<f32> {
    match color {
        NoiseColor::White => (0..len).map(|_| draws.normal()).collect(),
        NoiseColor::Pink => {
            // Paul Kellet's filter of three poles: within half a decibel from 1/2000 of the sample rate on.
            let mut b = [0.0_f32; 3];
            let mut pink = || {
                let white = draws.normal();
                b[0] = 0.997_65 * b[0] + white * 0.099_046;
                b[1] = 0.963 * b[1] + white * 0.296_516_4;
                b[2] = 0.57 * b[2] + white * 1.052_691_3;
                b[0] + b[1] + b[2] + white * 0.1848
            };
            (0..len).map(|_| pink()).collect()
        }
    }
}
