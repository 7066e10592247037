//! What a recipe says about sounds.

use tidemill_engine::data::{AudioContext, DataSpec};
use tidemill_engine::error::Result;
use tidemill_engine::nn::InputSpec;

use crate::RecipeFile;

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
        let [length, values] = self.recipe.audio.frames();
        if let Some(spec) = &mut self.recipe.model.ctc_encoder {
            spec.frames = Some([length, values]);
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
    pub(crate) fn audio_context(&self) -> AudioContext {
        let audio = &self.recipe.audio;
        AudioContext {
            features: audio.features.clone(),
            stack: audio.stack,
            positions: audio.frames()[0],
            text: self.reads_transcripts().then(|| self.text_context()),
            seed: self.recipe.training.seed,
        }
    }
}
