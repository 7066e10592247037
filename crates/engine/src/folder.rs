//! The folder of a run.
//!
//! ```text
//! recipe.toml     the recipe with everything set, readable from anywhere
//! checkpoints/    see [`crate::checkpoint`]
//! metrics.jsonl   one line for each epoch
//! steps.jsonl, metrics.csv, tensorboard/   what `[log]` asks for
//! summary.json    the result
//! report.html     the same for people
//! .lock           the process that writes the run, while there is one
//! .replaced/      the run that this one replaces, until this one has a checkpoint
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::aside;
use crate::checkpoint::{Checkpoints, EpochFigures, files, leftovers};
use crate::error::{Error, Result};
use crate::summary::Summary;

/// The folder of a run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
    existing: Existing,
}

/// What may be in a run's folder before the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// Nothing.
    #[default]
    Refuse,
    /// A run that is resumed.
    Resume,
    /// A run that gives way.
    Replace,
}

/// What a run writes and its replacement removes; the recipe, by which a run is known, is the last. The
/// log (`log/`) stays: the senders of its events have the answer that they are stored.
const RESULTS: [&str; 15] = [
    "dead-letter.jsonl",
    "corrections.jsonl",
    "quarantine.jsonl",
    "audit.jsonl",
    "batches.jsonl",
    "spill",
    "labels",
    "checkpoints",
    "steps.jsonl",
    "metrics.csv",
    "tensorboard",
    "metrics.jsonl",
    "summary.json",
    "report.html",
    "recipe.toml",
];

/// Whether `existing` allows what is in the folder.
fn check(path: &Path, existing: Existing) -> Result<()> {
    if path.exists() && !path.is_dir() {
        return Err(Error::Usage(format!("{}: is no folder", path.display())));
    }
    let is_run = path.join("recipe.toml").exists()
        || path.join("checkpoints").exists()
        || aside::is_there(path);
    if is_run && existing == Existing::Refuse && !came_to_nothing(path) {
        return Err(Error::Usage(format!(
            "{}: holds a run already; continue it with --resume, replace it with --force, or name \
             another folder with --out",
            path.display()
        )));
    }
    // What a start that was killed has left is as good as nothing.
    let is_empty = came_to_nothing(path)
        || match std::fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_none(),
            Err(e) if e.kind() == ErrorKind::NotFound => true,
            Err(e) => return Err(Error::read(path, e)),
        };
    // Whatever else is there is not ours to mix with or to delete.
    if !is_run && !is_empty {
        return Err(Error::Usage(format!(
            "{}: is not empty and holds no run; name another folder with --out",
            path.display()
        )));
    }
    Ok(())
}

/// Whether a start in the folder failed before it had learned anything: it has no checkpoint and no
/// epoch, and nothing else but the recipe and what opening a stream makes. Only where there is a run's
/// lock: a recipe that somebody has written is not ours.
fn came_to_nothing(path: &Path) -> bool {
    let Ok(mut entries) = std::fs::read_dir(path) else { return false };
    let is_run = path.join("recipe.toml").exists() || path.join("checkpoints").exists();
    path.join(LOCK_FILE).is_file()
        && entries.all(|entry| {
            entry.is_ok_and(|entry| match entry.file_name().to_str() {
                Some("recipe.toml" | "log" | "spill" | "labels" | LOCK_FILE) => true,
                Some("metrics.jsonl") if is_run => entry.metadata().is_ok_and(|m| m.len() == 0),
                Some("checkpoints") => std::fs::read_dir(entry.path())
                    .is_ok_and(|mut inside| inside.all(|e| e.is_ok_and(|e| is_unfinished(&e)))),
                // A file whose writing was broken off.
                Some(name) if name.starts_with('.') && name.ends_with(".writing") => true,
                // Left by a run of which nothing else is there.
                Some(name) => !is_run && RESULTS.contains(&name),
                None => false,
            })
        })
}

/// Whether a file among the checkpoints is no checkpoint, whole or damaged.
fn is_unfinished(entry: &std::fs::DirEntry) -> bool {
    leftovers::is_unfinished(&entry.file_name().to_string_lossy())
}

const LOCK_FILE: &str = ".lock";

/// A run folder's lock: one process at a time writes a run. The system gives it back when the process
/// ends, however that comes about.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// # Errors
    /// If another process has it, or the folder cannot be written.
    fn take(run: &Path) -> Result<Lock> {
        let path = run.join(LOCK_FILE);
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(|e| Error::write(&path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let who = match holder.trim() {
                    "" => "another process".to_owned(),
                    id => format!("process {id}"),
                };
                return Err(Error::Usage(format!(
                    "{}: {who} is writing this run; wait for it or end it, or name another folder \
                     with --out",
                    run.display()
                )));
            }
            // A file system without locks: better a run without one than none.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => return Err(Error::write(&path, e)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.write_all(format!("{}\n", std::process::id()).as_bytes())
        };
        write(&mut file).map_err(|e| Error::write(&path, e))?;
        Ok(Lock { _file: file })
    }
}

/// Brings back the run in a folder whose replacement was killed before its first checkpoint, unless that
/// is still under way; gives what a user should know of it.
///
/// # Errors
/// If a file cannot be moved.
pub fn restore(path: &Path) -> Result<Option<String>> {
    if !aside::is_there(path) {
        return Ok(None);
    }
    let Ok(_lock) = Lock::take(path) else { return Ok(None) };
    aside::bring_back(path, &RESULTS)?;
    Ok(Some(format!(
        "{}: the run that --force was to replace is back, since its replacement was ended before its \
         first checkpoint",
        path.display()
    )))
}

impl RunFolder {
    /// The folder of a finished or running run.
    pub fn open(path: &Path) -> Result<RunFolder> {
        restore(path)?;
        if path.join("recipe.toml").is_file() {
            return Ok(RunFolder { path: path.to_owned(), existing: Existing::Resume });
        }
        Err(Error::Usage(format!(
            "{}: is not the folder of a run (it has no recipe.toml)",
            path.display()
        )))
    }

    /// Makes the folder of a new run, or opens that of one to be resumed, and locks it; `existing` says
    /// whether a run may be there. Nothing of it is removed before [`RunFolder::make_room`].
    ///
    /// # Errors
    /// If `existing` does not allow what is there, or another process uses the run.
    pub fn create(path: &Path, existing: Existing) -> Result<(RunFolder, Lock)> {
        check(path, existing)?;
        files::make_folder(path)?;
        let lock = Lock::take(path)?;
        aside::bring_back(path, &RESULTS)?;
        aside::remove_gone(path)?;
        // Another process may have come first and be done.
        check(path, existing)?;
        Ok((RunFolder { path: path.to_owned(), existing }, lock))
    }

    /// Sets an earlier run aside, unless it is resumed: once the data or the stream of the new one is open.
    /// It comes back if the new one ends before [`RunFolder::settle`]. Files that are not a run's stay.
    ///
    /// # Errors
    /// If a file cannot be moved or removed.
    pub fn make_room(&self) -> Result<()> {
        match self.existing {
            Existing::Resume => Ok(()),
            Existing::Refuse => self.clear(),
            Existing::Replace => aside::set(&self.path, &RESULTS),
        }
    }

    /// Removes an earlier run that was set aside: this one has a checkpoint.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn settle(&self) -> Result<()> {
        aside::settle(&self.path)
    }

    /// Whether an earlier run is set aside.
    pub fn is_replacing(&self) -> bool {
        aside::is_there(&self.path)
    }

    /// Brings back an earlier run that is set aside, in place of this one.
    pub(crate) fn bring_back(&self) -> Result<()> {
        aside::bring_back(&self.path, &RESULTS)
    }

    fn clear(&self) -> Result<()> {
        RESULTS.iter().try_for_each(|name| files::remove(&self.path.join(name)))
    }

    /// Removes what a failed start left, so that it does not look like a run; an earlier one that is set
    /// aside comes back with the end of the session.
    pub fn abandon(&self) {
        let _ = self.clear();
        let others = std::fs::read_dir(&self.path).map_or(0, Iterator::count);
        // The lock marks what stays beside it (a log of events) as a run's, for the next start.
        if others <= 1 {
            let _ = std::fs::remove_file(self.path.join(LOCK_FILE));
            let _ = std::fs::remove_dir(&self.path);
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved recipe's file.
    pub fn recipe_path(&self) -> PathBuf {
        self.path.join("recipe.toml")
    }

    /// The report's file.
    pub fn report_path(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// The checkpoints.
    pub fn checkpoints(&self, keep: usize) -> Checkpoints {
        Checkpoints::new(&self.path, keep)
    }

    /// The summary of a finished run.
    pub fn summary(&self) -> Result<Summary> {
        let path = self.path.join("summary.json");
        let text = std::fs::read(&path).map_err(|e| Error::read(&path, e))?;
        serde_json::from_slice(&text)
            .map_err(|e| Error::Run(format!("{}: is damaged: {e}", path.display())))
    }

    /// Writes the resolved recipe.
    pub fn write_recipe(&self, text: &str) -> Result<()> {
        files::write_atomic(&self.recipe_path(), text.as_bytes())
    }

    /// Writes the summary and the report, which [`RunFolder::show`] shows.
    pub fn stage_result(
        &self,
        summary: &impl Serialize,
        report: Option<&str>,
    ) -> Result<Vec<files::Staged>> {
        let text = serde_json::to_string_pretty(summary)
            .map_err(|e| Error::Run(format!("the summary cannot be written: {e}")))?;
        let mut staged = Vec::new();
        staged.push(files::stage(&self.path.join("summary.json"), (text + "\n").as_bytes())?);
        if let Some(page) = report {
            staged.push(files::stage(&self.report_path(), page.as_bytes())?);
        }
        Ok(staged)
    }

    /// Shows what [`RunFolder::stage_result`] wrote.
    pub fn show(&self, staged: Vec<files::Staged>) -> Result<()> {
        for file in staged {
            file.rename()?;
        }
        files::sync_folder(&self.path)
    }

    fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// Starts `metrics.jsonl` over with the epochs that a checkpoint knows: lines of epochs after
    /// it, or a line cut by a kill, go.
    pub fn rewrite_metrics(&self, history: &[EpochFigures]) -> Result<()> {
        let lines: String = history.iter().map(line).collect::<Result<_>>()?;
        files::write_atomic(&self.metrics_path(), lines.as_bytes())
    }

    /// Appends a line to `metrics.jsonl`.
    pub fn append_metrics(&self, epoch: &EpochFigures) -> Result<()> {
        let path = self.metrics_path();
        let open = OpenOptions::new().append(true).create(true).open(&path);
        let mut file = open.map_err(|e| Error::write(&path, e))?;
        // One write, so that a reader never sees half a line.
        file.write_all(line(epoch)?.as_bytes()).map_err(|e| Error::write(&path, e))
    }
}

fn line(epoch: &EpochFigures) -> Result<String> {
    serde_json::to_string(epoch)
        .map(|l| l + "\n")
        .map_err(|e| Error::Run(format!("an epoch's metrics cannot be written: {e}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let (run, lock) = RunFolder::create(&path, Existing::Refuse).unwrap();
        run.write_recipe("").unwrap();
        let error = RunFolder::create(&path, Existing::Resume).unwrap_err();
        let who = format!("process {} is writing this run", std::process::id());
        assert!(error.is_usage() && error.to_string().contains(&who), "{error}");
        drop(lock);
        // A start that failed before it learned anything blocks nothing.
        run.rewrite_metrics(&[]).unwrap();
        std::fs::create_dir_all(path.join("checkpoints/.writing-3")).unwrap();
        RunFolder::create(&path, Existing::Refuse).unwrap();
        std::fs::create_dir_all(path.join("checkpoints/3")).unwrap();
        let error = RunFolder::create(&path, Existing::Refuse).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("--resume"), "{error}");
        RunFolder::create(&path, Existing::Resume).unwrap();
        RunFolder::create(&path, Existing::Replace).unwrap();
        assert!(run.recipe_path().exists(), "a run stays until its successor can start");
        run.clear().unwrap();
        assert!(!run.recipe_path().exists());
        // What is left of a run that is gone blocks nothing, and the log of acknowledged events stays.
        std::fs::write(path.join("dead-letter.jsonl"), "{}\n").unwrap();
        std::fs::create_dir(path.join("log")).unwrap();
        RunFolder::create(&path, Existing::Refuse).unwrap();
        run.abandon();
        assert!(path.join("log").is_dir() && !path.join("dead-letter.jsonl").exists());
        RunFolder::create(&path, Existing::Refuse).unwrap();
        std::fs::remove_dir(path.join("log")).unwrap();
        run.abandon();
        assert!(!path.exists());
    }

    /// Killed anywhere between the moves, there or back, the old run is whole again.
    #[test]
    fn a_run_that_is_replaced_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let (run, lock) = RunFolder::create(&path, Existing::Refuse).unwrap();
        drop(lock);
        let old = ["recipe.toml", "checkpoints", "summary.json"];
        let write = |names: &[&str], text: &str| {
            names.iter().for_each(|name| std::fs::write(path.join(name), text).unwrap());
        };
        write(&old, "old");
        let is_old = || {
            assert!(old.iter().all(|name| std::fs::read(path.join(name)).unwrap() == b"old"));
            assert!(!path.join("audit.jsonl").exists() && !run.is_replacing());
        };
        for moved in 0..=old.len() {
            // The recipe goes last, and then come the files of the new run.
            aside::set(&path, &["summary.json", "checkpoints", "recipe.toml"][..moved]).unwrap();
            if moved == old.len() {
                write(&["recipe.toml", "checkpoints", "audit.jsonl"], "new");
            }
            RunFolder::open(&path).unwrap();
            is_old();
            // It comes first on the way back.
            aside::set(&path, &["summary.json", "checkpoints"][..moved.min(2)]).unwrap();
            RunFolder::create(&path, Existing::Resume).unwrap();
            is_old();
        }
        let (new, _lock) = RunFolder::create(&path, Existing::Replace).unwrap();
        new.make_room().unwrap();
        write(&["recipe.toml", "checkpoints"], "new");
        new.settle().unwrap();
        new.bring_back().unwrap();
        assert_eq!(std::fs::read_to_string(new.recipe_path()).unwrap(), "new");
    }

    #[test]
    fn other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("thesis.tex"), "").unwrap();
        for existing in [Existing::Refuse, Existing::Replace, Existing::Resume] {
            let error = RunFolder::create(folder.path(), existing).unwrap_err();
            assert!(error.to_string().contains("holds no run"), "{error}");
        }
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
    }
}
