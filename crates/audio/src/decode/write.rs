//! WAV files of 16 bits.

use std::fs;
use std::path::Path;

use crate::{AudioError, Result};

/// Samples of one channel as a WAV of 16 bits; those beyond -1 to 1 are clipped.
///
/// # Errors
/// If there are more than 2^30 samples, which a WAV cannot have.
pub fn wav_bytes(samples: &[f32], sample_rate: u32) -> Result<Vec<u8>> {
    if samples.len() > 1 << 30 {
        let what = format!("a WAV has at most 2^30 samples, found {}: cut them", samples.len());
        return Err(AudioError::option(what));
    }
    let bytes = 2 * samples.len() as u32;
    let mut out = Vec::with_capacity(44 + bytes as usize);
    out.extend(b"RIFF");
    out.extend((36 + bytes).to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend(16_u32.to_le_bytes());
    // Whole numbers, one channel.
    out.extend([1, 0, 1, 0]);
    out.extend(sample_rate.to_le_bytes());
    out.extend((2 * sample_rate).to_le_bytes());
    out.extend([2, 0, 16, 0]);
    out.extend(b"data");
    out.extend(bytes.to_le_bytes());
    let values = samples.iter().map(|s| (s * 32_768.0).round_ties_even() as i16);
    out.extend(values.flat_map(i16::to_le_bytes));
    Ok(out)
}

/// Writes [`wav_bytes`] to a file.
///
/// # Errors
/// If the file cannot be written.
pub fn write_wav(path: &Path, samples: &[f32], sample_rate: u32) -> Result<()> {
    fs::write(path, wav_bytes(samples, sample_rate)?)
        .map_err(|error| AudioError::write(path, error))
}
