//! The folder of a run.
//!
//! ```text
//! recipe.toml     the recipe with everything set, readable from anywhere
//! checkpoints/    see [`crate::checkpoint`]
//! metrics.jsonl   one line for each epoch
//! summary.json    the result
//! report.html     the same for people
//! ```

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::checkpoint::{Checkpoints, EpochFigures, files};
use crate::error::{Error, Result};
use crate::summary::Summary;

/// The folder of a run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
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

impl RunFolder {
    /// The folder of a finished or running run.
    pub fn open(path: &Path) -> Result<RunFolder> {
        if path.join("recipe.toml").is_file() {
            return Ok(RunFolder { path: path.to_owned() });
        }
        Err(Error::Usage(format!(
            "{}: is not the folder of a run (it has no recipe.toml)",
            path.display()
        )))
    }

    /// Makes the folder of a new run; `existing` says what happens to one that is there.
    pub fn create(path: &Path, existing: Existing) -> Result<RunFolder> {
        let folder = RunFolder { path: path.to_owned() };
        let is_run = path.join("recipe.toml").exists() || path.join("checkpoints").exists();
        let is_empty = std::fs::read_dir(path).map_or(true, |mut d| d.next().is_none());
        match existing {
            _ if path.exists() && !path.is_dir() => {
                return Err(Error::Usage(format!("{}: is no folder", path.display())));
            }
            Existing::Refuse if is_run => {
                return Err(Error::Usage(format!(
                    "{}: holds a run already; continue it with --resume, replace it with --force, or name \
                     another folder with --out",
                    path.display()
                )));
            }
            // Whatever else is there is not ours to mix with or to delete.
            Existing::Refuse | Existing::Replace if !is_run && !is_empty => {
                return Err(Error::Usage(format!(
                    "{}: is not empty and holds no run; name another folder with --out",
                    path.display()
                )));
            }
            Existing::Replace => {
                for name in
                    ["checkpoints", "recipe.toml", "metrics.jsonl", "summary.json", "report.html"]
                {
                    files::remove(&path.join(name))?;
                }
            }
            _ => {}
        }
        files::make_folder(path)?;
        Ok(folder)
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
        let run = RunFolder::create(&path, Existing::Refuse).unwrap();
        run.write_recipe("").unwrap();
        let error = RunFolder::create(&path, Existing::Refuse).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("--resume"), "{error}");
        RunFolder::create(&path, Existing::Resume).unwrap();
        RunFolder::create(&path, Existing::Replace).unwrap();
        assert!(!run.recipe_path().exists());
    }

    #[test]
    fn other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("thesis.tex"), "").unwrap();
        for existing in [Existing::Refuse, Existing::Replace] {
            let error = RunFolder::create(folder.path(), existing).unwrap_err();
            assert!(error.to_string().contains("holds no run"), "{error}");
        }
        assert!(folder.path().join("thesis.tex").exists());
    }
}
