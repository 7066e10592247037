//! Checkpoints: the whole state of a run at a step, written so that a kill leaves no half of one.
//!
//! ```text
//! checkpoints/3750/state.safetensors   parameters, optimizer slots, running statistics
//! checkpoints/3750/meta.json           step, seed, metrics so far, fingerprints
//! checkpoints/3750/manifest.sha256     SHA-256 of both, written last
//! checkpoints/latest                   "3750"
//! checkpoints/best                     "1875"
//! checkpoints/pointers.sha256          SHA-256 of these two
//! ```
//!
//! A checkpoint is in one of four states, and they are never taken for each other: *good*; *absent*, which
//! alone means that there is nothing to continue from; *damaged* ([`Error::Checkpoint`]); and *unreadable
//! now* ([`Error::Io`]), when the system refuses to read it.

pub mod files;
pub(crate) mod leftovers;
mod manifest;
mod meta;
mod pointers;
mod tensors;
mod writer;

use std::borrow::Borrow;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub use meta::{Attachment, Best, Course, EpochFigures, LogState, Meta, SpikeState};
pub use tensors::{
    first_difference, read as read_tensors, read_weights, sha256, state_sha256,
    write as write_tensors,
};
pub use writer::{Needed, Parts, Writer};

use std::sync::Arc;

use tidemill_data::tokens::Tokenizer;
use tidemill_page::number;

use crate::engine::{Engine, StateTensor};
use crate::error::{Error, Result};

const STATE_FILE: &str = "state.safetensors";
const META_FILE: &str = "meta.json";

/// The checkpoints of a run.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
    /// Whether tensors that are read stay in their files until their values are asked for.
    stored: bool,
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

/// How the error of a checkpoint that is one of another model begins.
pub const MISFIT: &str = "belongs to another model";

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
        let mut tensors = own_tensors(&self.tensors);
        let state = engine.state();
        tensors.extend(self.slots_of_frozen(engine, state.tensors()));
        if let Some(what) = first_difference(state.tensors(), &tensors) {
            return Err(self.misfit(&what));
        }
        engine.set_state(&tensors)?;
        engine.set_step(self.meta.step);
        if let Some(age) = self.meta.slot_age {
            engine.set_slot_age(age);
        }
        Ok(())
    }

    /// The optimizer's slots of parameters that learn now and were frozen when the checkpoint was written, as they start. Of those
    /// that learned it has them.
    fn slots_of_frozen(&self, engine: &Engine, state: &[StateTensor]) -> Vec<StateTensor> {
        let has = |tensor: &StateTensor| self.tensors.iter().any(|t| t.name == tensor.name);
        let slots: Vec<Vec<&StateTensor>> = engine
            .parameters()
            .map(|(_, name)| {
                let names = engine.names_of_slots(name);
                state.iter().filter(|t| names.contains(&t.name)).collect()
            })
            .collect();
        let (frozen, learned): (Vec<_>, Vec<_>) = slots
            .into_iter()
            .filter(|slots| !slots.is_empty())
            .partition(|slots| !slots.iter().any(|slot| has(slot)));
        // Where none learned, it is another optimizer.
        match learned.is_empty() {
            true => Vec::new(),
            false => frozen.into_iter().flatten().cloned().collect(),
        }
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
        self.unusable(format_args!("{MISFIT}: {what}"))
    }
}

impl Checkpoints {
    /// The checkpoints under `run`; `keep` recent ones stay when a new one is written.
    pub fn new(run: &Path, keep: usize) -> Checkpoints {
        Checkpoints { folder: run.join("checkpoints"), keep: keep.max(1), stored: false }
    }

    /// The same, but that the values of checkpoints which are read stay in their files
    /// ([`StateValues::Stored`](crate::engine::StateValues)), where `stored`.
    #[must_use]
    pub fn stored(self, stored: bool) -> Checkpoints {
        Checkpoints { stored, ..self }
    }

    /// Fails where the disk has no room for a checkpoint of so many bytes; says how many it has room for where these are
    /// fewer than `most`, and nothing where the system does not say what is left.
    ///
    /// # Errors
    /// If there is no room for one.
    pub fn room(&self, bytes: u64, most: usize) -> Result<Option<String>> {
        let Some(left) = files::available(&self.folder) else { return Ok(None) };
        let (of, run) = (number::bytes(bytes), self.folder.parent().unwrap_or(&self.folder));
        let (free, place) = (number::bytes(left), run.display());
        if left < bytes {
            return Err(Error::Usage(format!(
                "{place}: the disk has {free} left, and a checkpoint takes {of}: free some, or put the run on another \
                 disk with --out"
            )));
        }
        let fit = left / bytes.max(1);
        Ok((fit < most as u64).then(|| {
            format!(
                "{place}: the disk has {free} left, room for {fit} checkpoints of {of}; the run has up to {most} at a time \
                 (checkpoint.keep, checkpoint.keep_best, and one that is being written)"
            )
        }))
    }

    /// Removes a run that the one of these checkpoints replaces.
    fn settle(&self) -> Result<()> {
        self.folder.parent().map_or(Ok(()), crate::aside::settle)
    }

    /// Writes a checkpoint, points `latest` (and `best`, when this one is) to it, and removes those
    /// that need not be kept. Returns once all of it is on disk.
    pub fn write<T: Borrow<StateTensor>>(&self, meta: &Meta, tensors: &[T]) -> Result<PathBuf> {
        for tensor in tensors.iter().map(Borrow::borrow) {
            if !tensor.values.is_finite().map_err(tensors::unread)? {
                return Err(Error::Run(format!(
                    "step {}: {} holds a value that is not finite; no checkpoint is written, the \
                     last good one stays",
                    meta.step, tensor.name
                )));
            }
        }
        files::make_folder(&self.folder)?;
        // Room that killed or failed writers have left taken.
        leftovers::remove_unfinished(&self.folder)?;
        let name = meta.step.to_string();
        let path = self.folder.join(&name);
        let temporary = leftovers::writing(&self.folder, &name);
        let written = write_files(&temporary, meta, tensors)
            .and_then(|()| files::replace_folder(&temporary, &path, &self.replaced(&name)));
        if let Err(e) = written {
            // A full disk needs it. What the writing failed of is what the user has to know.
            let _ = files::remove(&temporary);
            return Err(self.with_last(e));
        }
        let is_best = meta.best.as_ref().is_some_and(|b| b.step == meta.step);
        let names = if is_best { &["best", "latest"][..] } else { &["latest"] };
        pointers::point(&self.folder, names, meta.step)?;
        // Once for all renames, and before an older checkpoint goes. A pointer that is on
        // disk before its checkpoint does no harm: readers then take the newest complete one.
        files::sync_folder(&self.folder)?;
        self.prune(meta)?;
        Ok(path)
    }

    /// The error of a checkpoint that cannot be written, with what is left.
    fn with_last(&self, error: Error) -> Error {
        // Not read: there may be no room for it in memory either.
        let steps = self.steps().unwrap_or_default();
        let Some(last) = steps.last() else { return error };
        Error::Run(format!(
            "{error}; the last checkpoint is that of step {last}, from which --resume continues"
        ))
    }

    /// The newest good checkpoint, and the errors of those after it that are damaged; `None` when there
    /// is no good one.
    ///
    /// # Errors
    /// If one cannot be read now: it may be good, and an older one is not what was asked for.
    pub fn newest(&self) -> Result<(Option<Checkpoint>, Vec<Error>)> {
        let mut damaged = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            match self.read(&step.to_string()) {
                Ok(checkpoint) => return Ok((Some(checkpoint), damaged)),
                Err(e @ Error::Checkpoint { .. }) => damaged.push(e),
                Err(e) => return Err(e),
            }
        }
        Ok((None, damaged))
    }

    /// The checkpoint that `best` points to, or that the newest one calls the best; the newest where
    /// there is none.
    ///
    /// # Errors
    /// If it is damaged or cannot be read: the weights of another one are not what was asked for.
    pub fn best_or_newest(&self) -> Result<Option<Checkpoint>> {
        self.pointed_or_newest("best")
    }

    /// Whether an epoch of the run was its best one.
    pub fn has_best(&self) -> bool {
        self.folder.join("best").exists()
    }

    /// The checkpoint that `latest` points to; the newest where there is no such pointer: what a user of
    /// the run's weights gets.
    ///
    /// # Errors
    /// If it is damaged or cannot be read: the weights of another one are not what was asked for.
    pub fn latest(&self) -> Result<Option<Checkpoint>> {
        self.pointed_or_newest("latest")
    }

    /// The checkpoint of `step`.
    ///
    /// # Errors
    /// If there is none, or it is damaged or cannot be read.
    pub fn of_step(&self, step: u64) -> Result<Checkpoint> {
        let steps = self.steps()?;
        if !steps.contains(&step) {
            let there = match &steps[..] {
                [] => "it has none".to_owned(),
                steps => format!("there are {}", in_words(steps)),
            };
            let run = self.folder.parent().unwrap_or(&self.folder).display();
            let what = format!("{run}: has no checkpoint of step {step}; {there}");
            return Err(Error::Usage(what));
        }
        self.read(&step.to_string()).map_err(|e| self.with_others(e, step, "that was asked for"))
    }

    fn pointed_or_newest(&self, pointer: &str) -> Result<Option<Checkpoint>> {
        // Twice at most: a run under way may just have removed what the pointer named.
        for last in [false, true] {
            let Some(step) = self.pointed(pointer)? else { break };
            match self.read(&step.to_string()) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(_) if !last && self.pointed(pointer)? != Some(step) => {}
                Err(e) => {
                    return Err(self.with_others(e, step, &format!("the run's {pointer} one")));
                }
            }
        }
        let steps = self.steps()?;
        let Some(&newest) = steps.last() else {
            let damaged = self.damaged()?;
            return match damaged.first() {
                Some(path) => Err(Error::Checkpoint {
                    path: path.clone(),
                    what: "is damaged, and the run has no other checkpoint".into(),
                }),
                None => Ok(None),
            };
        };
        let found = self.read(&newest.to_string());
        let found = found.map_err(|e| self.with_others(e, newest, "the run's newest one"))?;
        // A power cut may keep the checkpoint and lose the pointer.
        match &found.meta.best {
            Some(best)
                if pointer == "best" && best.step != newest && steps.contains(&best.step) =>
            {
                self.of_step(best.step).map(Some)
            }
            _ => Ok(Some(found)),
        }
    }

    /// The step that a pointer names, if there is a checkpoint of it.
    fn pointed(&self, pointer: &str) -> Result<Option<u64>> {
        pointers::pointed(&self.folder, pointer, &self.steps()?)
    }

    /// The error of the checkpoint of `step`, with what else there is.
    fn with_others(&self, error: Error, step: u64, which: &str) -> Error {
        let Error::Checkpoint { path, what } = error else { return error };
        let steps = self.steps().unwrap_or_default().into_iter();
        let good: Vec<u64> =
            steps.filter(|s| *s != step && self.read(&s.to_string()).is_ok()).collect();
        let left = match &good[..] {
            [] => "no other one is good".to_owned(),
            good => format!("good are {}: choose one with --checkpoint", in_words(good)),
        };
        Error::Checkpoint { path, what: format!("{what}. It is {which}; {left}") }
    }

    /// Points `latest` to the checkpoint of `step`; a resume continues from the newest all the same.
    pub fn point_latest(&self, step: u64) -> Result<()> {
        pointers::point(&self.folder, &["latest"], step)?;
        files::sync_folder(&self.folder)
    }

    /// Reads and verifies one checkpoint by name.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is damaged, [`Error::Io`] if it cannot be read now.
    pub fn read(&self, name: &str) -> Result<Checkpoint> {
        match self.read_at(name) {
            // One of the same step may have taken its place between its files.
            Err(Error::Checkpoint { .. }) => self.read_at(name),
            read => read,
        }
    }

    fn read_at(&self, name: &str) -> Result<Checkpoint> {
        let mut path = self.folder.join(name);
        if path.symlink_metadata().is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            path = self.replaced(name);
        }
        let damaged = |what: String| Error::Checkpoint { path: path.clone(), what };
        let json = read_file(&path, META_FILE)?;
        let state = StateFile::read(&path, self.stored)?;
        let manifest = match read_file(&path, manifest::FILE) {
            Ok(manifest) => Some(manifest),
            Err(Error::Checkpoint { .. }) => None,
            Err(e) => return Err(e),
        };
        let sums = (sha256(&json), state.sha256()?);
        let different = manifest.as_ref().and_then(|m| manifest::difference(m, &sums.0, &sums.1));
        if let Some(what) = different {
            return Err(damaged(what));
        }
        let meta: Meta = serde_json::from_slice(&json)
            .map_err(|e| damaged(format!("{META_FILE} is damaged: {e}")))?;
        if meta.has_manifest && manifest.is_none() {
            return Err(damaged(format!("{} is missing", manifest::FILE)));
        }
        let tensors = state.tensors().map_err(damaged)?;
        if state_sha256(&tensors)? != meta.state_sha256 {
            return Err(damaged(format!(
                "{STATE_FILE} does not match the fingerprint in {META_FILE}"
            )));
        }
        Ok(Checkpoint { path, meta, tensors })
    }

    fn replaced(&self, name: &str) -> PathBuf {
        leftovers::replaced(&self.folder, name)
    }

    /// Steps that have a folder, good or not, in order.
    fn steps(&self) -> Result<Vec<u64>> {
        let names = leftovers::names(&self.folder)?;
        let mut steps: Vec<u64> = names.iter().filter_map(|n| leftovers::step_of(n)).collect();
        steps.sort_unstable();
        steps.dedup();
        Ok(steps)
    }

    fn prune(&self, meta: &Meta) -> Result<()> {
        let steps = self.steps()?;
        let best = meta.best.as_ref().map(|b| b.step);
        // Steps beyond this one are left from a run that was resumed from an older checkpoint.
        let (older, newer): (Vec<u64>, Vec<u64>) = steps.into_iter().partition(|&s| s <= meta.step);
        let old = older.iter().rev().skip(self.keep).copied();
        for step in old.chain(newer).filter(|s| Some(*s) != best && !meta.next_best.contains(s)) {
            files::remove(&self.folder.join(step.to_string()))?;
        }
        Ok(())
    }
}

/// Writes and syncs the files of a checkpoint.
fn write_files<T: Borrow<StateTensor>>(folder: &Path, meta: &Meta, tensors: &[T]) -> Result<()> {
    files::make_folder(folder)?;
    tensors::write(&folder.join(STATE_FILE), meta.step, tensors)?;
    let json = serde_json::to_vec(meta)
        .map_err(|e| Error::Run(format!("a checkpoint's metadata cannot be written: {e}")))?;
    files::write_synced(&folder.join(META_FILE), &json)?;
    manifest::write(folder)?;
    files::sync_folder(folder)
}

/// The file of a checkpoint's tensors.
enum StateFile {
    /// All of it.
    Read(Vec<u8>),
    /// It, to be read part by part.
    Open(PathBuf, File),
}

impl StateFile {
    fn read(folder: &Path, stored: bool) -> Result<StateFile> {
        let path = folder.join(STATE_FILE);
        match stored {
            false => read_file(folder, STATE_FILE).map(StateFile::Read),
            true => match File::open(&path) {
                Ok(file) => Ok(StateFile::Open(path, file)),
                Err(e) => Err(missing(folder, STATE_FILE, e)),
            },
        }
    }

    fn sha256(&self) -> Result<String> {
        match self {
            StateFile::Read(bytes) => Ok(sha256(bytes)),
            StateFile::Open(path, _) => manifest::sha256_of(path).map_err(|e| Error::read(path, e)),
        }
    }

    fn tensors(self) -> std::result::Result<Vec<StateTensor>, String> {
        match self {
            StateFile::Read(bytes) => tensors::parse(&bytes),
            StateFile::Open(_, file) => tensors::parse_stored(file),
        }
    }
}

/// Reads a file of a checkpoint.
///
/// # Errors
/// [`Error::Checkpoint`] if it is not there, or no file: that does not pass. Whatever else keeps a file
/// from being read may.
fn read_file(folder: &Path, name: &str) -> Result<Vec<u8>> {
    std::fs::read(folder.join(name)).map_err(|e| missing(folder, name, e))
}

/// Why a file of a checkpoint cannot be read.
fn missing(folder: &Path, name: &str, e: std::io::Error) -> Error {
    match e.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            Error::Checkpoint { path: folder.to_owned(), what: format!("{name} is missing") }
        }
        _ => Error::read(&folder.join(name), e),
    }
}

/// Steps as a list.
fn in_words(steps: &[u64]) -> String {
    steps.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
