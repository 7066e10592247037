//! Recordings of single digits, as the Free Spoken Digit Dataset has them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use super::ConnectedDigitsSpec;
use crate::{AudioError, ReadOptions, Reader, Result};

/// Files that are numbered below this are for the test.
const TEST_RECORDINGS: u32 = 5;
/// Bytes that a recording of one digit may have: two minutes of 16 kHz.
const MOST_BYTES: u64 = 4 << 20;

/// The recordings of a speaker, by digit.
pub(super) type Speaker = [Vec<Vec<f32>>; 10];

/// Recordings for the two sets, by speaker.
pub(super) struct Clips {
    pub(super) train: BTreeMap<String, Speaker>,
    pub(super) test: BTreeMap<String, Speaker>,
}

/// What the name of a recording says: `{digit}_{speaker}_{index}.wav`.
struct Name {
    digit: usize,
    speaker: String,
    index: u32,
}

impl Name {
    /// `None` for other files.
    fn of(path: &Path) -> Option<Name> {
        let stem = path.file_name()?.to_str()?.strip_suffix(".wav")?;
        let (digit, rest) = stem.split_once('_')?;
        let (speaker, index) = rest.rsplit_once('_')?;
        let digit = digit.parse().ok().filter(|d| *d < 10)?;
        let is_speaker = !speaker.is_empty() && !speaker.starts_with('.');
        Some(Name { digit, speaker: speaker.to_owned(), index: index.parse().ok()? })
            .filter(|_| is_speaker)
    }
}

impl Clips {
    /// Of a folder of recordings, one that has a folder `recordings` or a `.tar.gz` of them, or such an archive.
    pub(super) fn read(from: &Path, spec: &ConnectedDigitsSpec) -> Result<Clips> {
        let place = from.display().to_string();
        let mut found = Vec::new();
        match source(from)? {
            Source::Folder(folder) => {
                for path in files(&folder)? {
                    let Some(name) = Name::of(&path) else { continue };
                    let bytes = fs::read(&path)
                        .map_err(|e| AudioError::read(path.display().to_string(), e))?;
                    found.push((name, samples(bytes, &path.display().to_string(), spec)?));
                }
            }
            Source::Archive(path) => read_archive(&path, spec, &mut found)?,
        }
        if found.is_empty() {
            let what = "has no recordings named {digit}_{speaker}_{index}.wav: give the folder `recordings` of the Free Spoken Digit \
                        Dataset, or an archive (.tar.gz) of it";
            return Err(AudioError::format(place, what));
        }
        // By name, whatever the order of a folder or an archive.
        found.sort_by(|(a, _), (b, _)| {
            (&a.speaker, a.digit, a.index).cmp(&(&b.speaker, b.digit, b.index))
        });
        let mut clips = Clips { train: BTreeMap::new(), test: BTreeMap::new() };
        for (name, samples) in found {
            let is_test = if spec.test_speakers.is_empty() {
                name.index < TEST_RECORDINGS
            } else {
                spec.test_speakers.contains(&name.speaker)
            };
            let set = if is_test { &mut clips.test } else { &mut clips.train };
            set.entry(name.speaker).or_default()[name.digit].push(samples);
        }
        clips.check(&place, spec)?;
        Ok(clips)
    }

    pub(super) fn check(&self, place: &str, spec: &ConnectedDigitsSpec) -> Result<()> {
        let all: Vec<&str> =
            self.train.keys().chain(self.test.keys()).map(String::as_str).collect();
        let missing = spec.test_speakers.iter().find(|s| !self.test.contains_key(*s));
        if let Some(speaker) = missing {
            let what = format!("has no speaker {speaker:?}, only {}", all.join(", "));
            return Err(AudioError::format(place, what));
        }
        for (name, set, wanted) in
            [("train", &self.train, spec.train), ("test", &self.test, spec.test)]
        {
            if wanted > 0 && set.is_empty() {
                let what = format!(
                    "has no recordings to {name} with: with a speaker held out for the test, another one must be left"
                );
                return Err(AudioError::format(place, what));
            }
            for (speaker, digits) in set {
                if let Some(digit) = digits.iter().position(Vec::is_empty) {
                    let what = format!(
                        "has no recording of the digit {digit} by {speaker} to {name} with"
                    );
                    return Err(AudioError::format(place, what));
                }
            }
        }
        Ok(())
    }
}

enum Source {
    Folder(PathBuf),
    Archive(PathBuf),
}

fn source(from: &Path) -> Result<Source> {
    let read = |error| AudioError::read(from.display().to_string(), error);
    let is_archive = |path: &Path| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        name.ends_with(".tar.gz") || name.ends_with(".tgz")
    };
    if fs::metadata(from).map_err(read)?.is_file() {
        if is_archive(from) {
            return Ok(Source::Archive(from.to_owned()));
        }
        let what = "must be a folder of recordings, or an archive named .tar.gz of them";
        return Err(AudioError::format(from.display().to_string(), what));
    }
    let recordings = from.join("recordings");
    if recordings.is_dir() {
        return Ok(Source::Folder(recordings));
    }
    let all = files(from)?;
    let has_recordings = all.iter().any(|path| Name::of(path).is_some());
    match all.into_iter().find(|path| is_archive(path)) {
        Some(archive) if !has_recordings => Ok(Source::Archive(archive)),
        _ => Ok(Source::Folder(from.to_owned())),
    }
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = |error| AudioError::read(folder.display().to_string(), error);
    let entries = fs::read_dir(folder).map_err(read)?;
    let paths = entries.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>();
    let mut paths = paths.map_err(read)?;
    paths.sort();
    Ok(paths)
}

fn read_archive(
    path: &Path,
    spec: &ConnectedDigitsSpec,
    found: &mut Vec<(Name, Vec<f32>)>,
) -> Result<()> {
    let place = path.display().to_string();
    let read = |error| AudioError::read(&place, error);
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path).map_err(read)?));
    for entry in archive.entries().map_err(read)? {
        let mut entry = entry.map_err(read)?;
        let inside = entry.path().map_err(read)?.into_owned();
        let Some(name) = Name::of(&inside) else { continue };
        let place = format!("{place}/{}", inside.display());
        if entry.size() > MOST_BYTES {
            let what = format!(
                "has {} bytes: a recording of a digit has at most {MOST_BYTES}",
                entry.size()
            );
            return Err(AudioError::format(place, what));
        }
        let mut bytes = Vec::with_capacity(entry.size() as usize);
        entry.read_to_end(&mut bytes).map_err(read)?;
        found.push((name, samples(bytes, &place, spec)?));
    }
    Ok(())
}

fn samples(bytes: Vec<u8>, place: &str, spec: &ConnectedDigitsSpec) -> Result<Vec<f32>> {
    let options = ReadOptions { sample_rate: Some(spec.sample_rate), ..ReadOptions::default() };
    let mut reader = Reader::stream(Box::new(Cursor::new(bytes)), place, None, &options)?;
    let mut samples = Vec::new();
    while reader.read(&mut samples)? > 0 {}
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_spoken() {
        let of = |name: &str| Name::of(Path::new(name)).map(|n| (n.digit, n.speaker, n.index));
        assert_eq!(of("x/7_jackson_32.wav"), Some((7, "jackson".into(), 32)));
        assert_eq!(of("7_two_names_0.wav"), Some((7, "two_names".into(), 0)));
        for other in [
            "10_a_1.wav",
            "7_a.wav",
            "7_a_b.wav",
            "7__1.wav",
            "x_a_1.wav",
            "7_a_1.mp3",
            "._7_a_1.wav",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
