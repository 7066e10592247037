//! Sounds of records: sent with them, or files of one folder.

use std::path::{Path, PathBuf};

use tidemill_engine::data::audio::Standard;
use tidemill_engine::data::sound::manifest::within;
use tidemill_engine::data::sound::{
    AudioError, ReadOptions, Reader, SampleFormat, StreamFormat, wav_bytes,
};
use tidemill_engine::error::{Error, Result};
use tidemill_recipe::stream::{BadEvent, file_of};
use tidemill_recipe::{DataPaths, RecipeFile};

use super::record::OfSound;
use super::source::Sound;
use crate::base64;

/// How the sounds of records are read.
#[derive(Debug)]
pub(super) struct Sounds {
    standard: Standard,
    /// Samples a second of the features.
    rate: u32,
    /// Samples of the longest sound.
    most: usize,
    /// Where files are that records may name.
    folder: Option<PathBuf>,
}

/// A magnitude beyond which samples are none of -1 to 1.
const LOUDEST: f32 = 8.0;

impl Sounds {
    /// As a recipe says, with features of `standard`. Records of a file may name files in its folder; records that come otherwise only
    /// those of `online.corrections.sound_folder`.
    ///
    /// # Errors
    /// If that folder is not there.
    pub fn of(file: &RecipeFile, standard: Standard, from: &str) -> Result<Sounds> {
        let audio = &file.recipe.audio;
        let rate = audio.features.sample_rate();
        let folder = match &file.recipe.online.corrections.sound_folder {
            Some(name) => {
                let paths = DataPaths::new(&file.path);
                let folder = paths.resolve(name);
                let key = "online.corrections.sound_folder";
                paths.check().map_err(|e| file.error_at(key, &e.to_string()))?;
                Some(folder)
            }
            None => folder_of(from),
        };
        let most = (audio.seconds * f64::from(rate)).ceil() as usize;
        Ok(Sounds { standard, rate, most, folder })
    }

    /// Reads the sound that a record names or holds; also says what is odd about it.
    ///
    /// # Errors
    /// If there is none, it is too short or too long, or is no sound.
    pub fn read(
        &self,
        text: &str,
        of: &OfSound,
    ) -> std::result::Result<(Sound, Option<String>), BadEvent> {
        let bad = |e: AudioError| BadEvent::new(e.to_string());
        let [start, end] = part(of.parts)?;
        let options = ReadOptions { sample_rate: Some(self.rate), channel: None, start, end };
        let (reader, name) = match encoded(text, of.sample_rate.is_some()) {
            Some(text) => {
                let bytes = base64::decode(text)
                    .ok_or_else(|| BadEvent::new("the sound is not base64 throughout"))?;
                (of_bytes(bytes, of.sample_rate, &options).map_err(bad)?, String::new())
            }
            None => {
                let Some(folder) = &self.folder else {
                    return Err(BadEvent::new(
                        "its sound is neither base64 of a WAV, nor of samples with sample_rate beside it; were it the name \
                         of a file, online.corrections.sound_folder would have to say in which folder",
                    ));
                };
                let path = within(folder, text).map_err(bad)?;
                let name = match (start, end) {
                    (None, None) => text.to_owned(),
                    (start, end) => format!(
                        "{text} from {} s to {}",
                        start.unwrap_or(0.0),
                        end.map_or("its end".into(), |end| format!("{end} s"))
                    ),
                };
                (Reader::open(&path, &options).map_err(bad)?, name)
            }
        };
        let (samples, odd) = self.samples(reader)?;
        if let (Some(start), true) = (start, samples.is_empty()) {
            return Err(BadEvent::new(format!(
                "its part begins at {start} s, after the end of the sound"
            )));
        }
        let speaker = of.speaker.clone().unwrap_or_default();
        Ok((Sound::new(name, speaker, &samples), odd))
    }

    /// A sound as a file for people and for [`Sounds::of_wav`].
    pub fn wav(&self, sound: &Sound) -> Result<Vec<u8>> {
        wav_bytes(&sound.floats(), self.rate).map_err(|e| Error::Run(e.to_string()))
    }

    /// The sound of base64 of such a file.
    pub fn of_wav(
        &self,
        audio: &str,
        name: String,
        speaker: String,
    ) -> std::result::Result<Sound, BadEvent> {
        let (sound, _) = self.read(audio, &OfSound::default())?;
        Ok(Sound { name, speaker, ..sound })
    }

    /// All samples, but no more than the model may learn from: whatever the file is, memory is bounded.
    fn samples(
        &self,
        mut reader: Reader,
    ) -> std::result::Result<(Vec<f32>, Option<String>), BadEvent> {
        let mut samples = Vec::new();
        while reader.read(&mut samples).map_err(|e| BadEvent::new(e.to_string()))? > 0 {
            if samples.len() > self.most {
                let seconds = self.most as f64 / f64::from(self.rate);
                return Err(BadEvent::new(format!(
                    "the sound is longer than audio.seconds ({seconds} s): send one utterance a record"
                )));
            }
        }
        let report = reader.report();
        if report.peak > LOUDEST {
            let what = report.warnings().into_iter().next().unwrap_or_default();
            return Err(BadEvent::new(format!("the sound {what}")));
        }
        if samples.is_empty() && report.beyond_end > 0 {
            return Ok((samples, None));
        }
        if self.standard.positions(samples.len()) == 0 {
            return Err(BadEvent::new(format!(
                "the sound has {} samples at {} Hz, less than the model reads as one position",
                samples.len(),
                self.rate
            )));
        }
        Ok((samples, report.warnings().into_iter().next()))
    }
}

/// The folder in which records of a stream may name files.
fn folder_of(from: &str) -> Option<PathBuf> {
    if let Some(folder) = from.strip_prefix("dir:") {
        return Some(folder.into());
    }
    let path = from.strip_prefix("tail:").map(Path::new).or_else(|| file_of(from))?;
    // Of a name alone it is empty.
    let parent = path.parent()?;
    Some(if parent.as_os_str().is_empty() { ".".into() } else { parent.into() })
}

/// Start and end in seconds, as manifests here or those of NeMo say them.
fn part(parts: [Option<f64>; 4]) -> std::result::Result<[Option<f64>; 2], BadEvent> {
    let [start, end, offset, duration] = parts;
    let start = start.or(offset);
    // The duration of a whole file, of which the end is where it is, needs no cut.
    let end = end.or_else(|| Some(offset? + duration?));
    match (start.unwrap_or(0.0), end) {
        (start, Some(end)) if end <= start => Err(BadEvent::new(format!(
            "the part ends at {end} s, but must end after it starts at {start} s"
        ))),
        _ => Ok([start, end]),
    }
}

/// What of a text is base64: a data URL, samples without a header, or what files of sounds begin with. Anything else is a path, as is all that has
/// a dot: manifests may say the sample rates of their files.
fn encoded(text: &str, is_raw: bool) -> Option<&str> {
    if let Some(url) = text.strip_prefix("data:") {
        return url.split_once(";base64,").map(|(_, base64)| base64);
    }
    // RIFF, RF64, RIFX, fLaC, OggS, ID3, and a frame of MP3.
    const BEGINNINGS: [&str; 8] = ["UklGR", "UkY2N", "UklGW", "ZkxhQ", "T2dnU", "SUQz", "//", "/+"];
    let is_known = || BEGINNINGS.iter().any(|begin| text.starts_with(begin));
    (!text.contains('.') && (is_raw || is_known())).then_some(text)
}

fn of_bytes(
    bytes: Vec<u8>,
    sample_rate: Option<f64>,
    options: &ReadOptions,
) -> std::result::Result<Reader, AudioError> {
    let name = "the sound";
    match sample_rate {
        None => Reader::of_bytes(bytes, name, options),
        Some(rate) => {
            let format =
                StreamFormat { sample: SampleFormat::S16, sample_rate: rate as u32, channels: 1 };
            Reader::stream(Box::new(std::io::Cursor::new(bytes)), name, Some(format), options)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_sounds_are_distinguished() {
        let wav = "UklGRiQAAABXQVZF";
        assert_eq!(encoded(wav, false), Some(wav));
        assert_eq!(encoded("data:audio/wav;base64,AAAA", false), Some("AAAA"));
        assert_eq!((encoded("AAAA", true), encoded("AAAA", false)), (Some("AAAA"), None));
        // A manifest that says the rate of its files.
        assert_eq!((encoded("a/b.wav", true), encoded("SUQz.mp3", false)), (None, None));
    }

    #[test]
    fn files_are_those_beside_the_records() {
        assert_eq!(folder_of("dir:/data/in"), Some("/data/in".into()));
        assert_eq!(folder_of("tail:/data/in/new.jsonl"), Some("/data/in".into()));
        assert_eq!(folder_of("tail:new.jsonl"), Some(".".into()));
        assert_eq!((folder_of("-"), folder_of("http://127.0.0.1:80")), (None, None));
    }

    #[test]
    fn parts_are_those_of_either_kind_of_manifest() {
        let of = |parts| part(parts).map_err(|e| e.reason);
        assert_eq!(of([None, None, None, Some(2.0)]), Ok([None, None]));
        assert_eq!(of([None, None, Some(1.0), Some(2.0)]), Ok([Some(1.0), Some(3.0)]));
        assert_eq!(of([Some(1.0), Some(2.0), None, None]), Ok([Some(1.0), Some(2.0)]));
        assert!(of([Some(2.0), Some(2.0), None, None]).is_err_and(|e| e.contains("must end")));
    }
}
