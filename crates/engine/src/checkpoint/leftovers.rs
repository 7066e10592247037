//! What ended writers and damage leave among the checkpoints of a run.
//!
//! ```text
//! .writing-3000    a checkpoint whose writing was broken off: removed
//! .replaced-3000   the one whose place a newer one of the same step takes: brought back if that is not there
//! .damaged-3000    one that was found damaged when the run was resumed: kept for its user
//! ```

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoints, files};
use crate::error::{Error, Result};

const WRITING: &str = ".writing-";
const REPLACED: &str = ".replaced-";
const DAMAGED: &str = ".damaged-";

/// Whether a file among the checkpoints is only what a killed writer left.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.starts_with(WRITING) || (name.starts_with('.') && name.ends_with(".writing"))
}

/// Where the checkpoint `name` is written.
pub(super) fn writing(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{WRITING}{name}"))
}

/// Where the checkpoint `name` is while another one takes its place.
pub(super) fn replaced(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{REPLACED}{name}"))
}

/// The step of a checkpoint's folder, also of one that is being replaced.
pub(super) fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix(REPLACED).unwrap_or(name).parse().ok()
}

/// The names in a folder; none where there is no folder.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let fail = |e| Error::read(folder, e);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fail(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(fail)?.file_name().into_string().ok());
    }
    Ok(names)
}

/// Removes what killed writers have left: as much as a checkpoint each.
pub(crate) fn remove_unfinished(folder: &Path) -> Result<()> {
    let names = names(folder)?;
    names.iter().filter(|n| is_unfinished(n)).try_for_each(|n| files::remove(&folder.join(n)))
}

impl Checkpoints {
    /// Removes what killed writers have left, and brings back a checkpoint whose replacement did not come.
    /// Only for who holds the run's lock.
    ///
    /// # Errors
    /// If a file cannot be read, moved or removed.
    pub fn clean(&self) -> Result<()> {
        for name in names(&self.folder)? {
            let Some(own) = name.strip_prefix(REPLACED) else { continue };
            let (from, to) = (self.folder.join(&name), self.folder.join(own));
            match to.try_exists() {
                Ok(true) => files::remove(&from)?,
                Ok(false) => {
                    fs::rename(&from, &to).map_err(|e| Error::write(&to, e))?;
                    files::sync_folder(&self.folder)?;
                }
                Err(e) => return Err(Error::read(&to, e)),
            }
        }
        remove_unfinished(&self.folder)
    }

    /// Keeps a damaged checkpoint out of the way, where nothing removes it; gives its new place.
    ///
    /// # Errors
    /// If it cannot be moved.
    pub fn keep_damaged(&self, damaged: &Path) -> Result<PathBuf> {
        let name = damaged.file_name().unwrap_or_default().to_string_lossy();
        let mut place = self.folder.join(format!("{DAMAGED}{name}"));
        let mut others = 2..;
        while place.symlink_metadata().is_ok() {
            place = self.folder.join(format!("{DAMAGED}{name}-{}", others.next().unwrap_or(0)));
        }
        fs::rename(damaged, &place).map_err(|e| Error::write(&place, e))?;
        files::sync_folder(&self.folder)?;
        Ok(place)
    }

    /// The damaged checkpoints that were kept, by their paths.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn damaged(&self) -> Result<Vec<PathBuf>> {
        let names = names(&self.folder)?.into_iter().filter(|name| name.starts_with(DAMAGED));
        Ok(names.map(|name| self.folder.join(name)).collect())
    }
}
