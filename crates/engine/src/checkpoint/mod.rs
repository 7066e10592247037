//! Checkpoints: the whole state of a run at a step, written so that a kill leaves no half of one.
//!
//! ```text
//! checkpoints/3750/state.safetensors   parameters, optimizer slots, running statistics
//! checkpoints/3750/meta.json           step, seed, metrics so far, fingerprints
//! checkpoints/latest                   "3750"
//! checkpoints/best                     "1875"
//! ```

pub mod files;
mod meta;
mod tensors;
mod writer;

use std::borrow::Borrow;
use std::path::{Path, PathBuf};

pub use meta::{Attachment, Best, Course, EpochFigures, Meta};
pub use tensors::{
    first_difference, read as read_tensors, sha256, state_sha256, write as write_tensors,
};
pub use writer::{Parts, Writer};

use std::sync::Arc;

use tidemill_data::tokens::Tokenizer;

use crate::engine::{Engine, StateTensor};
use crate::error::{Error, Result};

const STATE_FILE: &str = "state.safetensors";
const META_FILE: &str = "meta.json";

/// The checkpoints of a run.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
}

/// A checkpoint read back.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// Everything but the tensors.
    pub meta: Meta,
    /// The tensors, in the order of the file.
    pub tensors: Vec<StateTensor>,
}

/// What divides the name of a group of tensors from a tensor's own: `good/layers.0.dense.bias`. The
/// tensors of the model itself are in no group.
const GROUP: char = '/';

/// The tensors of the model itself: those that are in no group.
pub fn own_tensors(tensors: &[StateTensor]) -> Vec<StateTensor> {
    tensors.iter().filter(|t| !t.name.contains(GROUP)).cloned().collect()
}

impl Checkpoint {
    /// Puts the model's own tensors and its step into an engine.
    ///
    /// # Errors
    /// If the checkpoint is one of another model.
    pub fn load_into(&self, engine: &mut Engine) -> Result<()> {
        let tensors = own_tensors(&self.tensors);
        if let Some(what) = first_difference(engine.state().tensors(), &tensors) {
            return Err(self.misfit(&what));
        }
        engine.set_state(&tensors)?;
        engine.set_step(self.meta.step);
        Ok(())
    }

    /// What makes tokens of texts, where the model reads some.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn tokenizer(&self) -> Result<Option<Arc<Tokenizer>>> {
        let Some(kept) = &self.meta.tokenizer else { return Ok(None) };
        let read = Tokenizer::from_json(kept.json());
        let tokenizer = read.map_err(|e| self.misfit(&format!("its tokenizer: {e}")))?;
        Ok(Some(Arc::new(tokenizer)))
    }

    /// The error of a checkpoint with a tensor that cannot be taken over.
    pub fn unusable(&self, what: impl std::fmt::Display) -> Error {
        Error::Checkpoint { path: self.path.clone(), what: what.to_string() }
    }

    /// The error of a checkpoint that is one of another model; `what` says in what it differs.
    pub fn misfit(&self, what: &str) -> Error {
        self.unusable(format_args!("belongs to another model: {what}"))
    }
}

impl Checkpoints {
    /// The checkpoints under `run`; `keep` recent ones stay when a new one is written.
    pub fn new(run: &Path, keep: usize) -> Checkpoints {
        Checkpoints { folder: run.join("checkpoints"), keep: keep.max(1) }
    }

    /// Removes a run that the one of these checkpoints replaces.
    fn settle(&self) -> Result<()> {
        self.folder.parent().map_or(Ok(()), crate::aside::settle)
    }

    /// Writes a checkpoint, points `latest` (and `best`, when this one is) to it, and removes those
    /// that need not be kept. Returns once all of it is on disk.
    pub fn write<T: Borrow<StateTensor>>(&self, meta: &Meta, tensors: &[T]) -> Result<PathBuf> {
        let mut all = tensors.iter().map(Borrow::borrow);
        if let Some(bad) = all.find(|t| !t.values.is_finite()) {
            return Err(Error::Run(format!(
                "step {}: {} holds a value that is not finite; no checkpoint is written, the last \
                 good one stays",
                meta.step, bad.name
            )));
        }
        files::make_folder(&self.folder)?;
        let name = meta.step.to_string();
        let path = self.folder.join(&name);
        let temporary = self.folder.join(format!(".writing-{name}"));
        files::remove(&temporary)?;
        files::make_folder(&temporary)?;
        tensors::write(&temporary.join(STATE_FILE), meta.step, tensors)?;
        let json = serde_json::to_vec(meta)
            .map_err(|e| Error::Run(format!("a checkpoint's metadata cannot be written: {e}")))?;
        files::write_synced(&temporary.join(META_FILE), &json)?;
        files::sync_folder(&temporary)?;
        files::replace_folder(&temporary, &path)?;
        if meta.best.as_ref().is_some_and(|b| b.step == meta.step) {
            files::stage(&self.folder.join("best"), name.as_bytes())?.rename()?;
        }
        files::stage(&self.folder.join("latest"), name.as_bytes())?.rename()?;
        // Once for all three renames, and before an older checkpoint goes. A pointer that is on
        // disk before its checkpoint does no harm: readers then take the newest complete one.
        files::sync_folder(&self.folder)?;
        self.prune(meta)?;
        Ok(path)
    }

    /// The newest complete checkpoint and a line about each one that was torn; `None` when there is
    /// no complete one.
    pub fn newest(&self) -> Result<(Option<Checkpoint>, Vec<String>)> {
        let mut notices = Vec::new();
        let mut steps = self.steps()?;
        steps.sort_unstable();
        for step in steps.into_iter().rev() {
            match self.read(&step.to_string()) {
                Ok(checkpoint) => return Ok((Some(checkpoint), notices)),
                Err(e) => notices.push(format!("ignored a checkpoint that is not complete: {e}")),
            }
        }
        Ok((None, notices))
    }

    /// The checkpoint that `best` points to; the newest complete one where there is no such pointer.
    ///
    /// # Errors
    /// If it is damaged: the weights of another one are not what was asked for.
    pub fn best_or_newest(&self) -> Result<Option<Checkpoint>> {
        self.pointed_or_newest("best")
    }

    /// The checkpoint that `latest` points to; the newest complete one where there is no such pointer:
    /// what a user of the run's weights gets.
    ///
    /// # Errors
    /// If it is damaged: the weights of another one are not what was asked for.
    pub fn latest(&self) -> Result<Option<Checkpoint>> {
        self.pointed_or_newest("latest")
    }

    fn pointed_or_newest(&self, pointer: &str) -> Result<Option<Checkpoint>> {
        let name = std::fs::read_to_string(self.folder.join(pointer)).unwrap_or_default();
        let name = name.trim();
        // A pointer may be on disk before its checkpoint is.
        if name.is_empty() || !self.folder.join(name).exists() {
            return Ok(self.newest()?.0);
        }
        let damaged = |e: Error| {
            let left = self.complete(name);
            let left = match &left[..] {
                [] => "and no other one is complete".to_owned(),
                left => format!(
                    "complete are {}; move the damaged one away to use the newest of those",
                    left.join(", ")
                ),
            };
            match e {
                Error::Checkpoint { path, what } => {
                    let what = format!("{what}. It is the run's {pointer} checkpoint; {left}");
                    Error::Checkpoint { path, what }
                }
                e => e,
            }
        };
        self.read(name).map(Some).map_err(damaged)
    }

    /// The names of the complete checkpoints but `other`.
    fn complete(&self, other: &str) -> Vec<String> {
        let mut steps = self.steps().unwrap_or_default();
        steps.sort_unstable();
        let names = steps.iter().map(u64::to_string);
        names.filter(|name| name != other && self.read(name).is_ok()).collect()
    }

    /// Points `latest` to the checkpoint of `step`; a resume continues from the newest all the same.
    pub fn point_latest(&self, step: u64) -> Result<()> {
        files::write_atomic(&self.folder.join("latest"), step.to_string().as_bytes())
    }

    /// Reads and verifies one checkpoint by name.
    pub fn read(&self, name: &str) -> Result<Checkpoint> {
        let path = self.folder.join(name);
        let torn = |what: String| Error::Checkpoint { path: path.clone(), what };
        let json = std::fs::read(path.join(META_FILE))
            .map_err(|e| torn(format!("{META_FILE} cannot be read: {e}")))?;
        let meta: Meta = serde_json::from_slice(&json)
            .map_err(|e| torn(format!("{META_FILE} is damaged: {e}")))?;
        let tensors = tensors::read(&path.join(STATE_FILE)).map_err(torn)?;
        if state_sha256(&tensors) != meta.state_sha256 {
            return Err(torn(format!(
                "{STATE_FILE} does not match the fingerprint in {META_FILE}"
            )));
        }
        Ok(Checkpoint { path, meta, tensors })
    }

    /// Steps that have a folder, complete or not.
    fn steps(&self) -> Result<Vec<u64>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::read(&self.folder, e)),
        };
        let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|n| n.parse().ok()).collect())
    }

    fn prune(&self, meta: &Meta) -> Result<()> {
        let mut steps = self.steps()?;
        steps.sort_unstable();
        let best = meta.best.as_ref().map(|b| b.step);
        // Steps beyond this one are left from a run that was resumed from an older checkpoint.
        let (older, newer): (Vec<u64>, Vec<u64>) = steps.into_iter().partition(|&s| s <= meta.step);
        let old = older.iter().rev().skip(self.keep).copied();
        for step in old.chain(newer).filter(|&s| Some(s) != best) {
            files::remove(&self.folder.join(step.to_string()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
