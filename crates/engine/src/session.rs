//! A run from its folder to its result: what is the same whatever drives it.

use std::path::Path;

use serde::Serialize;

use crate::checkpoint::{Checkpoint, Checkpoints, Writer};
use crate::error::{Error, Result};
use crate::folder::{Existing, Lock, RunFolder, restore};

/// A run whose folder is open: the checkpoint to continue from, and the thread that writes.
pub struct Session {
    /// Its folder.
    pub folder: RunFolder,
    /// Its checkpoints.
    pub checkpoints: Checkpoints,
    /// Writes beside the driver.
    pub writer: Writer,
    /// The newest complete checkpoint of a run that is resumed.
    pub resumed: Option<Checkpoint>,
    /// Other processes keep away as long as it is held.
    _lock: Lock,
}

impl Session {
    /// Makes the folder of a run, or opens it; `existing` says whether a run may be there, which
    /// [`RunFolder::make_room`] sets aside.
    /// `keep` recent checkpoints stay. `notice` is given a line about each checkpoint that was torn.
    ///
    /// # Errors
    /// If `existing` does not allow what is in the folder, or it cannot be written.
    pub fn open(
        out: &Path,
        existing: Existing,
        keep: usize,
        notice: &mut dyn FnMut(&str),
    ) -> Result<Session> {
        if let Some(text) = restore(out)? {
            notice(&text);
        }
        let (folder, lock) = RunFolder::create(out, existing)?;
        let checkpoints = folder.checkpoints(keep);
        let mut resumed = None;
        if existing == Existing::Resume {
            let (found, torn) = checkpoints.newest()?;
            if let (None, Some(newest)) = (&found, torn.first()) {
                return Err(damaged(out, newest));
            }
            torn.iter().for_each(|what| notice(what));
            resumed = found;
        }
        let writer = Writer::new(checkpoints.clone())?;
        Ok(Session { folder, checkpoints, writer, resumed, _lock: lock })
    }

    /// Continues the run in the folder `other` in this new one: takes over its newest complete
    /// checkpoint, and its best one. `notice` is given a line about each checkpoint that was torn.
    ///
    /// # Errors
    /// If the checkpoints cannot be read or written.
    pub fn continue_from(&mut self, other: &Path, notice: &mut dyn FnMut(&str)) -> Result<()> {
        let theirs = RunFolder::open(other)?.checkpoints(1);
        let (newest, torn) = theirs.newest()?;
        if let (None, Some(newest)) = (&newest, torn.first()) {
            return Err(damaged(other, newest));
        }
        torn.iter().for_each(|what| notice(what));
        let Some(newest) = newest else {
            notice(&format!("{} has no checkpoint: the run starts from scratch", other.display()));
            return Ok(());
        };
        if let Some(best) = newest.meta.best.as_ref().filter(|b| b.step != newest.meta.step)
            && let Ok(best) = theirs.read(&best.step.to_string())
        {
            self.checkpoints.write(&best.meta, &best.tensors)?;
        }
        self.checkpoints.write(&newest.meta, &newest.tensors)?;
        self.resumed = Some(newest);
        Ok(())
    }

    /// Writes the result: it is prepared while the last checkpoint is written, and shown when that is
    /// on disk.
    ///
    /// # Errors
    /// If the result or the last checkpoint cannot be written.
    pub fn finish(&mut self, summary: &impl Serialize, page: Option<&str>) -> Result<()> {
        let staged = self.folder.stage_result(summary, page)?;
        self.writer.wait()?;
        self.folder.show(staged)
    }
}

impl Drop for Session {
    /// A start that failed costs nobody a run.
    fn drop(&mut self) {
        if self.folder.is_replacing() {
            let _ = self.writer.wait();
            // What cannot be moved now is tried again when the folder is opened next.
            let _ = self.folder.bring_back();
        }
    }
}

/// No checkpoint of a run is complete: what it learned is not thrown away in silence.
fn damaged(run: &Path, newest: &str) -> Error {
    let newest = newest.split_once(": ").map_or(newest, |(_, what)| what);
    Error::Usage(format!(
        "{}: no checkpoint is complete, so that there is nothing to continue from ({newest}). Nothing was \
         deleted: put a copy of a checkpoint back, or start again with --force, which replaces the run",
        run.display()
    ))
}
