//! The files: `OUT/{train,test}/NNNNN.wav`, and `OUT/{train,test}.csv` with what they say.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::ConnectedDigitsSpec;
use super::clips::{Clips, Speaker};
use crate::augment::{add_noise, gain, noise};
use crate::random::{Draws, Purpose};
use crate::{AudioError, NoiseColor, Resampler, Result, write_wav};

/// Says what the folder holds and whether it is complete.
const MARKER: &str = "connected-digits.txt";
const WORDS: [&str; 10] =
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// What [`write_connected_digits`] made.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectedDigitsWritten {
    /// The manifest of the training set.
    pub train: PathBuf,
    /// The manifest of the test set.
    pub test: PathBuf,
    /// Strings.
    pub strings: u64,
    /// Seconds of both sets.
    pub seconds: f64,
    /// Speakers of the training set.
    pub train_speakers: Vec<String>,
    /// Speakers of the test set.
    pub test_speakers: Vec<String>,
    /// Whether the files were there already, from an earlier call with the same arguments.
    pub reused: bool,
}

/// A string of digits.
struct Digits {
    speaker: String,
    digits: Vec<usize>,
    /// Seconds at which each starts and ends.
    times: Vec<[f64; 2]>,
    samples: Vec<f32>,
}

/// Makes strings of the digits that are recorded in `from`, a folder or archive of the Free Spoken Digit Dataset, or
/// without it of digits that are computed (of ten voices, s0 to s9), and writes them below `out`. A string is spoken by one speaker. Each file is a function of the seed, its set and its
/// number, given the recordings and the other options.
///
/// A complete folder of the same arguments is left alone, one that was broken off is written again, and anything
/// else in the way is an error.
///
/// # Errors
/// If recordings are missing or cannot be read, an option is wrong, or files cannot be written.
pub fn write_connected_digits(
    from: Option<&Path>,
    out: &Path,
    spec: &ConnectedDigitsSpec,
) -> Result<ConnectedDigitsWritten> {
    spec.check()?;
    let clips = match from {
        Some(from) => Clips::read(from, spec)?,
        None => Clips::synthesize(spec)?,
    };
    let names = |set: &BTreeMap<String, Speaker>| set.keys().cloned().collect::<Vec<String>>();
    let mut written = ConnectedDigitsWritten {
        train: out.join("train.csv"),
        test: out.join("test.csv"),
        strings: spec.train + spec.test,
        seconds: 0.0,
        train_speakers: names(&clips.train),
        test_speakers: names(&clips.test),
        reused: false,
    };
    let marker = out.join(MARKER);
    // Not the path: the same recordings may be elsewhere the next time.
    let kind = if from.is_some() { "recorded" } else { "computed" };
    let text = |end: &str| format!("{spec:?}\nof digits that were {kind}\n{end}\n");
    let found = fs::read_to_string(&marker).unwrap_or_default();
    let complete = text("complete, seconds:");
    if let Some(seconds) = found.strip_prefix(complete.trim_end()) {
        written.seconds = seconds.trim().parse().unwrap_or(0.0);
        return Ok(ConnectedDigitsWritten { reused: true, ..written });
    }
    let place = out.display();
    if !found.is_empty() && found != text("begun") {
        let what = format!(
            "{place}: holds strings of digits of other options; remove it or choose another folder"
        );
        return Err(AudioError::option(what));
    }
    if found.is_empty() && fs::read_dir(out).is_ok_and(|mut d| d.next().is_some()) {
        let what = format!("{place}: is not empty; remove it or choose another folder");
        return Err(AudioError::option(what));
    }
    fs::create_dir_all(out).map_err(|e| AudioError::write(out, e))?;
    fs::write(&marker, text("begun")).map_err(|e| AudioError::write(&marker, e))?;
    for (number, name, count, set) in
        [(0, "train", spec.train, &clips.train), (1, "test", spec.test, &clips.test)]
    {
        written.seconds += write_set(out, name, number, count, set, spec)?;
    }
    let end = format!("{} {}\n", complete.trim_end(), written.seconds);
    fs::write(&marker, end).map_err(|e| AudioError::write(&marker, e))?;
    Ok(written)
}

/// Writes a set; gives its seconds.
fn write_set(
    out: &Path,
    name: &str,
    number: u64,
    count: u64,
    set: &BTreeMap<String, Speaker>,
    spec: &ConnectedDigitsSpec,
) -> Result<f64> {
    let folder = out.join(name);
    fs::create_dir_all(&folder).map_err(|e| AudioError::write(&folder, e))?;
    let mut table = String::from("path,text,speaker,times\n");
    let mut samples = 0;
    for i in 0..count {
        let string = string(number, i, set, spec)?;
        let file = format!("{i:05}.wav");
        write_wav(&folder.join(&file), &string.samples, spec.sample_rate)?;
        samples += string.samples.len();
        let text: Vec<&str> = string.digits.iter().map(|d| WORDS[*d]).collect();
        let times: Vec<String> =
            string.times.iter().map(|[start, end]| format!("{start:.3}-{end:.3}")).collect();
        // Names have no quotes or commas, but a file may be named in any way.
        let speaker = string.speaker.replace('"', "\"\"");
        let line = format!("{name}/{file},{},\"{speaker}\",{}\n", text.join(" "), times.join(" "));
        table.push_str(&line);
    }
    let path = out.join(format!("{name}.csv"));
    fs::write(&path, table).map_err(|e| AudioError::write(&path, e))?;
    Ok(samples as f64 / f64::from(spec.sample_rate))
}

/// String `i` of a set.
fn string(
    set: u64,
    i: u64,
    speakers: &BTreeMap<String, Speaker>,
    spec: &ConnectedDigitsSpec,
) -> Result<Digits> {
    let mut draws = Draws::new(spec.seed, set, i, Purpose::Digits);
    let which = draws.below(speakers.len() as u64) as usize;
    let Some((speaker, clips)) = speakers.iter().nth(which) else {
        return Err(AudioError::option("there are no speakers"));
    };
    let rate = f64::from(spec.sample_rate);
    // In hundredths, so that there are few filters to make.
    let speed = (draws.between(spec.speed) * 100.0).round() / 100.0;
    let mut resampler = Resampler::speed(speed)?;
    let count = 1 + draws.below(spec.max_digits);
    let (mut samples, mut digits, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let pause = (draws.between(spec.pause) * rate) as usize;
        samples.resize(samples.len() + pause, 0.0);
        let digit = draws.below(10) as usize;
        let clip = &clips[digit][draws.below(clips[digit].len() as u64) as usize];
        let start = samples.len() as f64 / rate;
        if speed == 1.0 {
            samples.extend_from_slice(clip);
        } else {
            resampler.push(clip, &mut samples);
            resampler.finish(&mut samples);
        }
        digits.push(digit);
        times.push([start, samples.len() as f64 / rate]);
    }
    let pause = (draws.between(spec.pause) * rate) as usize;
    samples.resize(samples.len() + pause, 0.0);
    gain(&mut samples, draws.between(spec.gain_db));
    let color = [NoiseColor::White, NoiseColor::Pink][draws.below(2) as usize];
    let snr = draws.between(spec.snr_db);
    let noise = noise(color, samples.len(), &mut Draws::new(spec.seed, set, i, Purpose::Noise));
    add_noise(&mut samples, &noise, snr);
    Ok(Digits { speaker: speaker.clone(), digits, times, samples })
}
