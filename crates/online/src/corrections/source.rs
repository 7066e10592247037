//! What a model reads: a text, or a sound.

use crate::join::bytes::{In, Out};

/// What came to be written of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    Text(String),
    Sound(Sound),
}

/// A sound as it is kept: all that is computed of it is a function of this, whatever becomes of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sound {
    /// The file, with the part of it; empty where the sound was sent.
    pub name: String,
    /// Who speaks, if that was said.
    pub speaker: String,
    /// Samples of 16 bits at the rate of the model's features.
    pub samples: Vec<i16>,
}

/// What the range of samples of 16 bits is divided by.
const RANGE: f32 = 32_768.0;

impl Sound {
    /// Of samples in -1 to 1; those beyond are clipped.
    pub fn new(name: String, speaker: String, samples: &[f32]) -> Sound {
        let samples = samples.iter().map(|s| (s * RANGE).round_ties_even() as i16).collect();
        Sound { name, speaker, samples }
    }

    /// The samples in -1 to 1.
    pub fn floats(&self) -> Vec<f32> {
        self.samples.iter().map(|&s| f32::from(s) / RANGE).collect()
    }
}

impl Source {
    /// The text, or the name of the sound.
    pub fn name(&self) -> &str {
        match self {
            Source::Text(text) => text,
            Source::Sound(sound) => &sound.name,
        }
    }

    /// Who speaks, if that was said.
    pub fn speaker(&self) -> Option<&str> {
        match self {
            Source::Sound(sound) if !sound.speaker.is_empty() => Some(&sound.speaker),
            _ => None,
        }
    }
}

/// What is kept of a source with its hypothesis until its correction comes.
pub(super) fn both(source: &Source, hypothesis: &str) -> Vec<u8> {
    let mut out = Out::default();
    out.slice(source.name().as_bytes());
    out.slice(hypothesis.as_bytes());
    if let Source::Sound(sound) = source {
        out.slice(sound.speaker.as_bytes());
        out.slice(bytemuck::cast_slice(&sound.samples));
    }
    out.0
}

/// The source and the hypothesis that are kept.
pub(super) fn two(bytes: &[u8]) -> Option<(Source, String)> {
    let mut from = In(bytes);
    let (name, hypothesis) = (from.text()?.to_owned(), from.text()?.to_owned());
    if from.0.is_empty() {
        return Some((Source::Text(name), hypothesis));
    }
    let speaker = from.text()?.to_owned();
    let samples = from.slice()?.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    Some((Source::Sound(Sound { name, speaker, samples }), hypothesis))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_comes_back() {
        let text = Source::Text("a text".into());
        assert_eq!(two(&both(&text, "x")).unwrap(), (text, "x".into()));
        let sound = Sound::new("a.wav".into(), "anna".into(), &[0.0, 0.5, -1.0, 7.0, -0.25, 1.0]);
        assert_eq!(sound.samples, [0, 16_384, -32_768, 32_767, -8192, 32_767]);
        // Samples of 16 bits stay as they are.
        let again = Sound::new("a.wav".into(), "anna".into(), &sound.floats());
        assert_eq!(again, sound);
        let source = Source::Sound(sound);
        assert_eq!(two(&both(&source, "")).unwrap(), (source.clone(), String::new()));
        assert_eq!(two(&both(&source, "")[..30]), None);
        // Also one without samples, or of a model that is asked about a sound without a name.
        let source = Source::Sound(Sound::default());
        assert_eq!(two(&both(&source, "")).unwrap().0, source);
    }
}
