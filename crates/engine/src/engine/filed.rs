//! State in a file, where it does not fit into memory: which tensors, and the file itself.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tidemill_cpu::runtime::StateFile;
use tidemill_graph::Rule;
use tidemill_page::number::bytes;
use tidemill_plan::Slot;
use tidemill_plan::windows::Filed;

use super::values::Stored;
use super::{Engine, EngineError, error};
use crate::checkpoint::files;
use crate::error::{Error, Result};

/// Tensors of fewer bytes stay in memory: they would save little, and each costs a transfer.
const LEAST: usize = 64 << 10;

/// How far ahead windows are read: two, so that one is read while the other is used, and less where that is too much.
const AHEAD: [usize; 3] = [2, 1, 0];

/// The tensors that may be in a file, in the order in which they go there: what the optimizer keeps, which a step needs
/// once, then the weights, which it needs at least twice; of each the largest first.
pub(super) fn candidates(slots: &[Slot], rule: &Rule) -> Vec<String> {
    let parameter = |name: &str| slots.iter().any(|slot| slot.parameter && slot.name == name);
    let kept = |slot: &Slot| {
        slot.name.rsplit_once('.').is_some_and(|(of, name)| {
            rule.slot_names().contains(&name) && !slot.parameter && parameter(of)
        })
    };
    let mut found: Vec<&Slot> = slots
        .iter()
        .filter(|slot| slot.len() * 4 >= LEAST && (slot.parameter || kept(slot)))
        .collect();
    found.sort_by_key(|slot| (slot.parameter, std::cmp::Reverse(slot.len())));
    found.into_iter().map(|slot| slot.name.clone()).collect()
}

/// What `attempt` makes with as few of the candidates in a file as fit; gives also these, and how far ahead they are read.
/// None where all of them are too few.
pub(super) fn fewest<T>(
    candidates: &[String],
    attempt: impl Fn(Filed<'_>) -> Option<T>,
) -> Option<(T, Vec<String>, usize)> {
    let all = |ahead| Some((attempt(Filed { names: candidates, ahead })?, ahead));
    let (mut made, ahead) = AHEAD.into_iter().find_map(all)?;
    let (mut too_few, mut enough) = (0, candidates.len());
    while enough - too_few > 1 {
        let middle = too_few.midpoint(enough);
        match attempt(Filed { names: &candidates[..middle], ahead }) {
            Some(fewer) => (made, enough) = (fewer, middle),
            None => too_few = middle,
        }
    }
    Some((made, candidates[..enough].to_vec(), ahead))
}

/// Makes a file for these tensors of a state, as zeros, with room for all of it. It has no name any more when this
/// returns, so that it is gone with the process. Gives also the file as others may read it.
///
/// # Errors
/// If the disk is full or the folder cannot be written.
pub(super) fn create(
    folder: &Path,
    slots: &[Slot],
    names: Vec<String>,
    ahead: usize,
) -> Result<(StateFile, Arc<File>)> {
    let folder = files::existing(folder);
    let path = folder.join(format!(".tidemill-state-{}", std::process::id()));
    let fail = |e| Error::write(&path, e);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    let plain = options.open(&path).map_err(fail)?;
    let direct = uncached(&path).unwrap_or(plain.try_clone().map_err(fail)?);
    std::fs::remove_file(&path).map_err(fail)?;
    let size = StateFile::layout(slots, Filed { names: &names, ahead }).1;
    reserve(&plain, size).map_err(|e| {
        let (size, folder) = (bytes(size), folder.display());
        Error::Run(format!(
            "{folder} has no room for the {size} of the state that do not fit into memory: {e}; help: free some, \
             put the run on another disk with --out, or give the run more --memory"
        ))
    })?;
    let broken = Arc::new(AtomicBool::new(false));
    Ok((StateFile { file: direct, path, names, ahead, broken }, Arc::new(plain)))
}

/// The file opened so that the system keeps nothing of it in memory, where it can do that.
fn uncached(path: &Path) -> Option<File> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flag = rustix::fs::OFlags::DIRECT.bits().cast_signed();
        OpenOptions::new().read(true).write(true).custom_flags(flag).open(path).ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        None
    }
}

/// Takes so many bytes of the disk for a file.
fn reserve(file: &File, size: u64) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        match fallocate(file, FallocateFlags::empty(), 0, size) {
            Ok(()) => return Ok(()),
            // File systems that cannot.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(e) => return Err(e.into()),
        }
    }
    file.set_len(size)
}

impl Engine {
    /// Whether some of the state is in a file and not in memory.
    pub fn is_filed(&self) -> bool {
        self.filed.is_some()
    }

    /// What of the state is in a file, and what a step reads and writes of it; none where all of it is in memory.
    pub fn filed_in_words(&self) -> Option<String> {
        let filed = self.runtime.in_file();
        let size = StateFile::layout(self.runtime.slots(), filed).1;
        let [read, written] = self.traffic();
        let folder = self.budget.folder.as_deref().filter(|folder| files::is_in_memory(folder));
        let memory = folder.map_or(String::new(), |folder| {
            let folder = folder.display();
            format!("; {folder} is in memory itself (tmpfs), so that this saves none: put the run on a disk with --out")
        });
        self.is_filed().then(|| {
            format!(
                "{} of weights and slots are in a file, of which a step reads {} and writes {}{memory}",
                bytes(size),
                bytes(read),
                bytes(written)
            )
        })
    }

    /// Bytes that a step reads from the file of the state, and that it writes there.
    pub(super) fn traffic(&self) -> [u64; 2] {
        let plan = self.training_plan();
        let len =
            |window: &tidemill_plan::windows::Window| plan.buffers[window.buffer].len as u64 * 4;
        let written = plan.windows.iter().filter(|w| w.written.is_some());
        [plan.windows.iter().map(len).sum(), written.map(len).sum()]
    }

    /// Bytes of the largest tensor that is in a file: a checkpoint has one of them in memory at a time.
    pub(super) fn moved(&self) -> u64 {
        moved(self.runtime.slots(), self.runtime.in_file())
    }

    /// The values of a tensor that is in a file; none of one that is in memory.
    pub(super) fn stored(&self, index: usize) -> Option<Stored> {
        let (file, at) = (self.filed.as_ref()?, self.runtime.place_in_file(index)?);
        let slot = &self.slots()[index];
        let broken = self.runtime.file().map(|file| file.broken.clone());
        Some(Stored::new(file.clone(), at, slot.len(), super::state::dtype_of(slot), broken))
    }

    /// The values of a tensor of the state, wherever they are.
    ///
    /// # Errors
    /// If they are in a file that cannot be read.
    pub fn values(&self, index: usize) -> Result<Cow<'_, [f32]>, EngineError> {
        match self.stored(index) {
            None => Ok(self.runtime.state(index).into()),
            Some(stored) => {
                let values = stored.read().map_err(error)?;
                Ok(bytemuck::pod_collect_to_vec::<u8, f32>(&values).into())
            }
        }
    }

    /// Sets the values of a tensor of the state between steps, wherever they are.
    ///
    /// # Errors
    /// If they are in a file that cannot be written.
    pub fn set_values(&mut self, index: usize, values: &[f32]) -> Result<(), EngineError> {
        self.runtime.store(index, values).map_err(error)
    }
}

/// Bytes of the largest tensor that is in a file.
pub(super) fn moved(slots: &[Slot], filed: Filed<'_>) -> u64 {
    let filed = slots.iter().filter(|slot| filed.has(slot));
    filed.map(|slot| slot.len() as u64 * 4).max().unwrap_or(0)
}
