//! What a recipe says of sounds.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidemill_audio::{AugmentSpec, FrontEndSpec, Utterance};
use tidemill_table::Known;

use super::store::Store;
use super::{AudioDataset, Labels};
use crate::names::{Named, Names};
use crate::spec::Like;
use crate::text::TextContext;
use crate::{Error, Result};

/// Sounds (WAV, FLAC, Ogg Vorbis, MP3) with what is said in them: a manifest, or a folder or a tar file of sounds whose names say it. The
/// model's input is `frames`, whose size follows from the section `audio`. With the losses `ctc` and `transducer` labels are the tokens of a text; otherwise each label is a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioSpec {
    /// The manifest, the folder, or the tar file, plain or gzipped. A manifest is a table (`.csv`, `.tsv`) or JSON lines (`.jsonl`) with the
    /// columns `path` (in the manifest's folder) and `text`, and where they are wanted `speaker`, `start` and `end` (in seconds).
    pub path: String,
    /// Where there is no manifest: what the name of a sound says, without its ending: `{label}`, `{speaker}`, `{index}`, and `{}` for what does not matter, such as
    /// `"{label}_{speaker}_{index}"`; with a `/`, also the folder. By default the label is the folder, `"{label}/{}"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<String>,
    /// Only sounds of these speakers; of all by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub speakers: Vec<String>,
    /// No sounds of these speakers; none by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except_speakers: Vec<String>,
    /// Only sounds whose `{index}` is from the first to the second number, both included; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indices: Option<[u64; 2]>,
    /// What other sections of the recipe say.
    #[serde(skip)]
    pub context: AudioContext,
}

/// What other sections of a recipe say of sounds.
#[derive(Clone, Debug)]
pub struct AudioContext {
    /// What is computed of the samples.
    pub features: FrontEndSpec,
    /// Frames of a position.
    pub stack: usize,
    /// The most positions of a sample; longer ones are left out.
    pub positions: usize,
    /// How texts become labels; None where each label is a class.
    pub text: Option<TextContext>,
    /// Whether the same label twice in a row needs a position between both, as the loss `ctc` does.
    pub parts_equal: bool,
    /// How samples of training are varied.
    pub augment: Option<AugmentSpec>,
    /// The seed of what is done by chance.
    pub seed: u64,
}

impl Default for AudioContext {
    fn default() -> AudioContext {
        AudioContext {
            features: FrontEndSpec::default(),
            stack: 1,
            positions: 2000,
            text: None,
            parts_equal: true,
            augment: None,
            seed: 0,
        }
    }
}

/// They are compared where they are said.
impl PartialEq for AudioContext {
    fn eq(&self, _: &AudioContext) -> bool {
        true
    }
}

/// By folder.
const BY_FOLDER: &str = "{label}/{}";

impl AudioSpec {
    /// All sounds at `path`, with the folder as label.
    pub fn new(path: impl Into<String>) -> AudioSpec {
        AudioSpec {
            path: path.into(),
            names: None,
            speakers: vec![],
            except_speakers: vec![],
            indices: None,
            context: AudioContext::default(),
        }
    }

    /// Lists the sounds, and learns what they are standardized by unless that is known.
    ///
    /// # Errors
    /// If nothing is there, a name does not say what is asked for, or no sound can be read.
    pub fn open(
        &self,
        resolve: &dyn Fn(&str) -> PathBuf,
        like: Option<Like<'_>>,
    ) -> Result<AudioDataset> {
        let path = resolve(&self.path);
        let store = Store::open(&path)?;
        let clips = match store.utterances() {
            Some(rows) => self.of_manifest(rows)?,
            None => self.of_names(&path, store.names())?,
        };
        if clips.is_empty() {
            let found = store.names().len();
            return Err(Error::format(&path, format!("none of {found} sounds are wanted")));
        }
        let labels = Labels::new(&self.context, resolve, &clips, like.as_ref())?;
        AudioDataset::new(store, clips, labels, &self.context, like.and_then(|l| l.known))
    }

    /// Which rows of a manifest are wanted, and their labels.
    fn of_manifest(&self, rows: &[Utterance]) -> Result<Vec<(usize, String)>> {
        for (key, given) in [("names", self.names.is_some()), ("indices", self.indices.is_some())] {
            if given {
                let what = format!(
                    "{key} has no effect: the manifest {} says what is in its sounds",
                    self.path
                );
                return Err(Error::option(what));
            }
        }
        let named = |row: &Utterance| Named {
            label: row.text.clone(),
            speaker: row.speaker.clone().unwrap_or_default(),
            ..Named::default()
        };
        let rows = rows.iter().map(named).enumerate();
        Ok(rows.filter(|(_, row)| self.wants(row)).map(|(place, row)| (place, row.label)).collect())
    }

    /// Which sounds are wanted by their names, and their labels.
    fn of_names(&self, path: &Path, all: &[String]) -> Result<Vec<(usize, String)>> {
        let pattern = self.names.as_deref().unwrap_or(BY_FOLDER);
        let names = Names::of_sounds(pattern).map_err(|e| Error::option(format!("names {e}")))?;
        for (key, given, wanted) in [
            ("speakers", !self.speakers.is_empty(), "{speaker}"),
            ("except_speakers", !self.except_speakers.is_empty(), "{speaker}"),
            ("indices", self.indices.is_some(), "{index}"),
        ] {
            if given && !pattern.contains(wanted) {
                return Err(Error::option(format!(
                    "{key} has no effect: names does not say where {wanted} is"
                )));
            }
        }
        let mut clips = Vec::new();
        for (place, name) in all.iter().enumerate() {
            let named = names.read(name).ok_or_else(|| {
                let found = all.len();
                Error::format(
                    path,
                    format!(
                        "has {found} sounds, of which the name {name} is not of the form {pattern}"
                    ),
                )
            })?;
            if self.wants(&named) {
                clips.push((place, named.label));
            }
        }
        Ok(clips)
    }

    /// These sounds without labels, for predictions; `known` is what was learned of those of training.
    ///
    /// # Errors
    /// If none can be read.
    pub fn of_files(&self, files: &[PathBuf], known: Option<&Known>) -> Result<AudioDataset> {
        let store = Store::of_files(files);
        let clips = (0..files.len()).map(|place| (place, String::new())).collect();
        let labels = Labels::unknown(files.len());
        AudioDataset::new(store, clips, labels, &self.context, known)
    }

    fn wants(&self, named: &Named) -> bool {
        let speaker = &named.speaker;
        (self.speakers.is_empty() || self.speakers.contains(speaker))
            && !self.except_speakers.contains(speaker)
            && self.indices.is_none_or(|[from, to]| {
                named.index.is_some_and(|index| (from..=to).contains(&index))
            })
    }
}
