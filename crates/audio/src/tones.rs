//! Strings of telephone keys as the tones that a telephone sends (ITU-T Q.23): sounds whose text is known, so that a first run needs no
//! recordings.

use std::fs;
use std::path::{Path, PathBuf};

use crate::augment::{add_noise, gain, noise};
use crate::random::{Draws, Purpose};
use crate::{AudioError, NoiseColor, Result, write_wav};

/// Samples a second.
pub const SAMPLE_RATE: u32 = 8000;

/// Each key's word, with the row and the column of its two tones.
const KEYS: [(&str, usize, usize); 12] = [
    ("one", 0, 0),
    ("two", 0, 1),
    ("three", 0, 2),
    ("four", 1, 0),
    ("five", 1, 1),
    ("six", 1, 2),
    ("seven", 2, 0),
    ("eight", 2, 1),
    ("nine", 2, 2),
    ("star", 3, 0),
    ("zero", 3, 1),
    ("hash", 3, 2),
];
const ROWS: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS: [f64; 3] = [1209.0, 1336.0, 1477.0];

/// Seconds of a tone, and of the silence around it.
const TONE: [f64; 2] = [0.07, 0.18];
const PAUSE: [f64; 2] = [0.06, 0.25];
/// What frequencies are off by: telephones may be off by 1.8 %.
const DETUNED: [f64; 2] = [0.985, 1.015];
const SNR_DB: [f64; 2] = [6.0, 30.0];
const GAIN_DB: [f64; 2] = [-18.0, 0.0];
const MOST_KEYS: u64 = 8;

/// The words of string `i` of a set, and its samples: a function of seed, set and number.
pub fn keys(seed: u64, set: u64, i: u64) -> (String, Vec<f32>) {
    let mut draws = Draws::new(seed, set, i, Purpose::Digits);
    let rate = f64::from(SAMPLE_RATE);
    let (mut samples, mut words) = (Vec::new(), Vec::new());
    let count = 1 + draws.below(MOST_KEYS);
    let silence = |samples: &mut Vec<f32>, draws: &mut Draws| {
        let pause = (draws.between(PAUSE) * rate) as usize;
        samples.resize(samples.len() + pause, 0.0);
    };
    for _ in 0..count {
        silence(&mut samples, &mut draws);
        let (word, row, column) = KEYS[draws.below(KEYS.len() as u64) as usize];
        let detuned = draws.between(DETUNED);
        let len = (draws.between(TONE) * rate) as usize;
        let turn =
            |hz: f64, n: usize| (std::f64::consts::TAU * detuned * hz * n as f64 / rate).sin();
        samples.extend((0..len).map(|n| {
            // Begun and ended within 5 ms, so that there is no click.
            let edge = (n.min(len - 1 - n) as f64 / (0.005 * rate)).min(1.0);
            (0.4 * edge * (turn(ROWS[row], n) + turn(COLUMNS[column], n))) as f32
        }));
        words.push(word);
    }
    silence(&mut samples, &mut draws);
    gain(&mut samples, draws.between(GAIN_DB));
    let snr = draws.between(SNR_DB);
    let noise =
        noise(NoiseColor::Pink, samples.len(), &mut Draws::new(seed, set, i, Purpose::Noise));
    add_noise(&mut samples, &noise, snr);
    (words.join(" "), samples)
}

/// Writes `OUT/{train,test}/NNNNN.wav`, and their manifests, which it gives.
///
/// # Errors
/// If files cannot be written.
pub fn write_keys(out: &Path, seed: u64, train: u64, test: u64) -> Result<[PathBuf; 2]> {
    let mut manifests = Vec::new();
    for (set, (name, count)) in [("train", train), ("test", test)].into_iter().enumerate() {
        let folder = out.join(name);
        fs::create_dir_all(&folder).map_err(|e| AudioError::write(&folder, e))?;
        let mut table = String::from("path,text\n");
        for i in 0..count {
            let (text, samples) = keys(seed, set as u64, i);
            let file = format!("{i:05}.wav");
            write_wav(&folder.join(&file), &samples, SAMPLE_RATE)?;
            table.push_str(&format!("{name}/{file},{text}\n"));
        }
        let path = out.join(format!("{name}.csv"));
        fs::write(&path, table).map_err(|e| AudioError::write(&path, e))?;
        manifests.push(path);
    }
    Ok([manifests[0].clone(), manifests[1].clone()])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::manifest::read_manifest;

    #[test]
    fn strings_are_functions_of_seed_set_and_number() {
        let (text, samples) = keys(1, 0, 5);
        assert_eq!(keys(1, 0, 5), (text.clone(), samples.clone()));
        assert!(keys(1, 1, 5) != (text.clone(), samples.clone()));
        let count = text.split(' ').count();
        let seconds = samples.len() as f64 / f64::from(SAMPLE_RATE);
        assert!((1..=8).contains(&count) && seconds > 0.13 * count as f64, "{text} {seconds}");
        assert!(samples.iter().all(|s| s.abs() <= 1.0));
    }

    #[test]
    fn manifests_name_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let [train, test] = write_keys(dir.path(), 3, 4, 2).unwrap();
        assert_eq!(read_manifest(&train, dir.path()).unwrap().len(), 4);
        let rows = read_manifest(&test, dir.path()).unwrap();
        assert_eq!(rows[1].text, keys(3, 1, 1).0);
    }
}
