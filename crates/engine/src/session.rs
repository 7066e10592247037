//! A run from its folder to its result: what is the same whatever drives it.

use std::path::Path;

use serde::Serialize;

use crate::checkpoint::{Checkpoint, Checkpoints, Writer, leftovers};
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
    /// Whether tensors of checkpoints stay in their files.
    stored: bool,
    /// Other processes keep away as long as it is held.
    _lock: Lock,
}

impl Session {
    /// Makes the folder of a run, or opens it; `existing` says whether a run may be there, which
    /// [`RunFolder::make_room`] sets aside.
    /// `keep` recent checkpoints stay; `stored` as in [`Checkpoints::stored`]. `notice` is given a line about each damaged checkpoint, which is kept
    /// under another name.
    ///
    /// # Errors
    /// If `existing` does not allow what is in the folder, it cannot be written, or the run has checkpoints
    /// of which none is good or one cannot be read now. Then no checkpoint is changed.
    pub fn open(
        out: &Path,
        existing: Existing,
        (keep, stored): (usize, bool),
        notice: &mut dyn FnMut(&str),
    ) -> Result<Session> {
        if let Some(text) = restore(out)? {
            notice(&text);
        }
        let (folder, lock) = RunFolder::create(out, existing)?;
        let checkpoints = folder.checkpoints(keep).stored(stored);
        let mut resumed = None;
        if existing == Existing::Resume {
            // Of results, and of checkpoints.
            leftovers::remove_unfinished(folder.path())?;
            checkpoints.clean()?;
            let (found, damaged) = newest(&checkpoints, out)?;
            if let Some(found) = &found {
                keep_damaged(&checkpoints, damaged, found, notice)?;
            }
            resumed = found;
        }
        let writer = Writer::new(checkpoints.clone())?;
        Ok(Session { folder, checkpoints, writer, resumed, stored, _lock: lock })
    }

    /// Continues the run in the folder `other` in this new one: takes over its newest complete
    /// good checkpoint, and its best one. `notice` is given a line about one that is damaged.
    ///
    /// # Errors
    /// If the checkpoints cannot be read or written.
    pub fn continue_from(&mut self, other: &Path, notice: &mut dyn FnMut(&str)) -> Result<()> {
        let theirs = RunFolder::open(other)?.checkpoints(1).stored(self.stored);
        let (newest, damaged) = newest(&theirs, other)?;
        if let (Some(error), Some(newest)) = (damaged.first(), &newest) {
            notice(&format!(
                "{error}. The run continues from the one before, of step {}",
                newest.meta.step
            ));
        }
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

/// The newest good checkpoint of the run in the folder `run`, and the errors of the damaged ones after it.
///
/// # Errors
/// If there are checkpoints of which none is good: what a run learned is not thrown away in silence.
fn newest(checkpoints: &Checkpoints, run: &Path) -> Result<(Option<Checkpoint>, Vec<Error>)> {
    let (found, damaged) = checkpoints.newest()?;
    if found.is_some() {
        return Ok((found, damaged));
    }
    let what = match (damaged.first(), checkpoints.damaged()?.first()) {
        (Some(error), _) => error.to_string(),
        (None, Some(path)) => format!("{} was damaged", path.display()),
        (None, None) => return Ok((None, damaged)),
    };
    Err(Error::Usage(format!(
        "{}: no checkpoint is good, so that there is nothing to continue from ({what}). Nothing was \
         deleted: put a copy of a checkpoint back, or start again with --force, which replaces the run",
        run.display()
    )))
}

/// Keeps damaged checkpoints under other names, and says what the run continues from instead.
fn keep_damaged(
    checkpoints: &Checkpoints,
    damaged: Vec<Error>,
    found: &Checkpoint,
    notice: &mut dyn FnMut(&str),
) -> Result<()> {
    for error in damaged {
        let Error::Checkpoint { path, .. } = &error else { continue };
        let kept = checkpoints.keep_damaged(path)?;
        notice(&format!(
            "a damaged checkpoint: {error}. It is kept as {}; the run continues from the one before, of step \
             {}",
            kept.display(),
            found.meta.step
        ));
    }
    Ok(())
}
