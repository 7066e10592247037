//! An earlier run, kept in the folder of the one that replaces it until that has a checkpoint.
//!
//! A start that fails brings it back, and one that is killed leaves that to whoever opens the folder
//! next. The recipe is the last file to be set aside and the first to come back: while it is aside, all
//! other files of a run in the folder are those of the replacement.

use std::path::Path;

use crate::checkpoint::files;
use crate::error::{Error, Result};

/// Where the earlier run is.
const ASIDE: &str = ".replaced";
/// Its name while it is removed.
const GONE: &str = ".removed";
const RECIPE: &str = "recipe.toml";

/// Whether there is one.
pub(crate) fn is_there(run: &Path) -> bool {
    run.join(ASIDE).is_dir()
}

/// Sets the files `names` of a run aside.
///
/// # Errors
/// If a file cannot be moved.
pub(crate) fn set(run: &Path, names: &[&str]) -> Result<()> {
    let aside = run.join(ASIDE);
    let is_file = |name: &&&str| run.join(name).exists();
    let (recipe, others): (Vec<&str>, _) =
        names.iter().filter(is_file).partition(|&&name| name == RECIPE);
    if recipe.is_empty() && others.is_empty() {
        return Ok(());
    }
    files::make_folder(&aside)?;
    for names in [others, recipe] {
        names.iter().try_for_each(|name| rename(&run.join(name), &aside.join(name)))?;
        files::sync_folder(&aside)?;
    }
    files::sync_folder(run)
}

/// Removes it: its replacement has a checkpoint.
///
/// # Errors
/// If it cannot be removed.
pub(crate) fn settle(run: &Path) -> Result<()> {
    if is_there(run) {
        remove_gone(run)?;
        rename(&run.join(ASIDE), &run.join(GONE))?;
        files::sync_folder(run)?;
    }
    remove_gone(run)
}

/// Removes what a kill has left of one that was being removed.
pub(crate) fn remove_gone(run: &Path) -> Result<()> {
    files::remove(&run.join(GONE))
}

/// Brings it back in place of its replacement, of which the files `names` are removed.
///
/// # Errors
/// If a file cannot be moved or removed; what is aside stays there then.
pub(crate) fn bring_back(run: &Path, names: &[&str]) -> Result<()> {
    let aside = run.join(ASIDE);
    if !aside.is_dir() {
        return Ok(());
    }
    if aside.join(RECIPE).exists() {
        names.iter().try_for_each(|name| files::remove(&run.join(name)))?;
        rename(&aside.join(RECIPE), &run.join(RECIPE))?;
        files::sync_folder(run)?;
    }
    for name in names.iter().filter(|name| aside.join(name).exists()) {
        files::remove(&run.join(name))?;
        rename(&aside.join(name), &run.join(name))?;
    }
    files::sync_folder(run)?;
    files::remove(&aside)
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|e| Error::write(to, e))
}
