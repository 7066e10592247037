//! What a recipe says about sounds.

use serde::Deserialize;
use tidemill_engine::data::sound::{AugmentSpec, FbankSpec, FrontEndSpec};
use tidemill_engine::data::{AudioContext, DataSpec};
use tidemill_engine::error::Result;
use tidemill_engine::nn::{InputSpec, Task};

use crate::RecipeFile;
use crate::spec::{Wrong, positive, wrong};

/// `[audio]`: for data of sounds. A model that is given by layers reads `frames`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AudioSection {
    /// What is computed of the samples of a sound; 40 logarithms of mel filters at 16,000 samples a second by default. Sounds of other rates are
    /// resampled.
    pub features: FrontEndSpec,
    /// Frames of features that the model reads side by side, as one position: 4 of 10 ms make 25 positions a second. 4 by default.
    pub stack: usize,
    /// Seconds of the longest sound; longer ones are left out, and counted. 20 by default.
    pub seconds: f64,
    /// How the sounds of training are varied, differently in each epoch; not by default. Validation data are as they are.
    pub augment: Option<AugmentSpec>,
    /// Where an utterance of a sound that comes ends, and the next begins.
    pub endpoint: EndpointSpec,
}

/// An utterance ends by whichever of three rules comes first, as in Kaldi and sherpa.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EndpointSpec {
    /// Seconds without a label after the last one; 1.2 by default.
    pub silence: f64,
    /// Seconds without any label; 2.4 by default. Such an utterance has no text, and is not shown.
    pub silence_without_speech: f64,
    /// Seconds of the longest utterance; 20 by default.
    pub longest: f64,
}

impl Default for EndpointSpec {
    fn default() -> EndpointSpec {
        EndpointSpec { silence: 1.2, silence_without_speech: 2.4, longest: 20.0 }
    }
}

impl Default for AudioSection {
    fn default() -> AudioSection {
        let features = FrontEndSpec::Fbank(FbankSpec { bins: 40, ..FbankSpec::default() });
        AudioSection {
            features,
            stack: 4,
            seconds: 20.0,
            augment: None,
            endpoint: EndpointSpec::default(),
        }
    }
}

impl AudioSection {
    /// The most positions of a sound, and the values of one.
    pub fn frames(&self) -> [usize; 2] {
        let positions = self.seconds * 1000.0 / (self.features.shift_ms() * self.stack as f64);
        [(positions.ceil() as usize).max(1), self.stack * self.features.bins()]
    }

    pub(crate) fn check(&self) -> std::result::Result<(), Wrong> {
        if let Err(e) = self.features.check() {
            return wrong("audio.features", e.to_string());
        }
        if let Some(Err(e)) = self.augment.as_ref().map(AugmentSpec::check) {
            return wrong("audio.augment", e.to_string());
        }
        let EndpointSpec { silence, silence_without_speech, longest } = self.endpoint;
        let seconds = [
            ("silence", silence),
            ("silence_without_speech", silence_without_speech),
            ("longest", longest),
        ];
        for (key, value) in seconds {
            if !(value > 0.0 && value <= MAX_ENDPOINT) {
                let found = format!("must be above 0 and at most {MAX_ENDPOINT}, found {value}");
                return wrong(format!("audio.endpoint.{key}"), found);
            }
        }
        positive("audio.stack", self.stack as u64)?;
        if self.stack > MAX_STACK {
            return wrong("audio.stack", format!("must be 1 to {MAX_STACK}, found {}", self.stack));
        }
        if !(self.seconds > 0.0 && self.seconds <= MAX_SECONDS) {
            let found =
                format!("must be above 0 and at most {MAX_SECONDS}, found {}", self.seconds);
            return wrong("audio.seconds", found);
        }
        Ok(())
    }
}

/// More frames side by side are a mistake.
const MAX_STACK: usize = 64;

/// Seconds that no rule about the end of an utterance waits for.
const MAX_ENDPOINT: f64 = 3600.0;

/// Longer sounds are not for one sample.
const MAX_SECONDS: f64 = 600.0;

impl RecipeFile {
    /// Whether its data are sounds.
    pub fn reads_sounds(&self) -> bool {
        matches!(self.recipe.batch.data, Some(DataSpec::Audio(_)))
    }

    /// Whether its labels are texts without places, that a tokenizer makes tokens of.
    pub fn reads_transcripts(&self) -> bool {
        self.reads_sounds() && self.recipe.training.loss.has_own_labels()
    }

    /// The section `audio` says what the model reads, and has an effect on sounds alone.
    pub(crate) fn check_sounds(&mut self) -> Result<()> {
        if !self.reads_sounds() {
            if self.gives(&["audio"]) {
                let what = "has no effect: only data of sounds (audio) are read so";
                return Err(self.error_at("audio", what));
            }
            return Ok(());
        }
        let checked = self.recipe.audio.check();
        checked.map_err(|(key, message)| self.error_at(&key, &message))?;
        if !self.reads_transcripts() {
            for (key, path) in [
                ("audio.endpoint", &["audio", "endpoint"][..]),
                ("audio.augment.concatenate", &["audio", "augment", "concatenate"]),
            ] {
                if self.gives(path) {
                    let what = "has no effect: only texts, with the loss ctc or transducer, have more than one label; leave it out";
                    return Err(self.error_at(key, what));
                }
            }
        }
        let [length, values] = self.recipe.audio.frames();
        if let Some(spec) = &mut self.recipe.model.ctc_encoder {
            spec.frames = Some([length, values]);
        }
        if let Some(spec) = &mut self.recipe.model.transducer {
            spec.encoder.frames = Some([length, values]);
        }
        let input = InputSpec::Frames { length, values };
        if self.recipe.model.is_short() || !self.recipe.model.inputs.is_empty() {
            return Ok(());
        }
        if self.gives(&["model", "input"]) && self.recipe.model.input != input {
            let what = format!(
                "must be {{ frames = {{ length = {length}, values = {values} }} }} for sounds as the section audio has them; leave it out"
            );
            return Err(self.error_at("model.input", &what));
        }
        self.recipe.model.input = input;
        Ok(())
    }

    /// What other sections say of sounds.
    pub fn audio_context(&self, is_training: bool) -> AudioContext {
        let audio = &self.recipe.audio;
        AudioContext {
            features: audio.features.clone(),
            stack: audio.stack,
            positions: audio.frames()[0],
            text: self.reads_transcripts().then(|| self.text_context()),
            parts_equal: self.recipe.task() == Task::Transcript,
            augment: audio.augment.clone().filter(|_| is_training),
            seed: self.recipe.training.seed,
        }
    }
}
