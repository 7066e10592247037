//! Where data lies: beside the recipe, else under `$TIDEMILL_DATA`.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use tidemill_engine::data::images::shards;
use tidemill_engine::error::{Error, Result};

/// Names the folder in which relative data paths are looked up second.
pub const DATA_VARIABLE: &str = "TIDEMILL_DATA";

/// Finds data files by name, and remembers what was found and what was not.
#[derive(Debug)]
pub struct DataPaths {
    folder: PathBuf,
    variable: Option<PathBuf>,
    found: RefCell<Vec<(String, PathBuf)>>,
    missing: RefCell<Vec<String>>,
}

impl DataPaths {
    /// Paths for the recipe at `recipe`.
    pub fn new(recipe: &Path) -> DataPaths {
        let folder = recipe.parent().map(Path::to_owned).unwrap_or_default();
        let variable = std::env::var_os(DATA_VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from);
        DataPaths::with_variable(folder, variable)
    }

    fn with_variable(folder: PathBuf, variable: Option<PathBuf>) -> DataPaths {
        DataPaths { folder, variable, found: RefCell::default(), missing: RefCell::default() }
    }

    /// The same places, for another thread; [`DataPaths::join`] brings back what was found.
    pub(crate) fn another(&self) -> DataPaths {
        DataPaths::with_variable(self.folder.clone(), self.variable.clone())
    }

    /// Takes in what another has found.
    pub(crate) fn join(&self, other: DataPaths) {
        self.found.borrow_mut().append(&mut other.found.into_inner());
        self.missing.borrow_mut().append(&mut other.missing.into_inner());
    }

    /// Where `name` is. One that is nowhere is remembered for [`DataPaths::check`].
    pub fn resolve(&self, name: &str) -> PathBuf {
        let tried = self.tried(name);
        match tried.iter().find(|p| is_there(p)) {
            Some(path) => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                self.found.borrow_mut().push((name.to_string(), path.clone()));
                path
            }
            None => {
                self.missing.borrow_mut().push(name.to_string());
                tried.into_iter().next().unwrap_or_default()
            }
        }
    }

    fn tried(&self, name: &str) -> Vec<PathBuf> {
        if Path::new(name).is_absolute() {
            return vec![PathBuf::from(name)];
        }
        let places = std::iter::once(&self.folder).chain(&self.variable);
        places.map(|place| place.join(name)).collect()
    }

    /// Fails when a name was looked up and not found, with the places tried; the message continues
    /// from the key of the data.
    pub fn check(&self) -> Result<()> {
        let missing = self.missing.borrow();
        let Some(name) = missing.first() else { return Ok(()) };
        let tried = self.tried(name);
        let list: Vec<String> = tried.iter().map(|p| p.display().to_string()).collect();
        let hint = match (&self.variable, Path::new(name).is_absolute()) {
            (_, true) => String::new(),
            (Some(_), _) => format!(" (the second from ${DATA_VARIABLE})"),
            (None, _) => format!("; set {DATA_VARIABLE} to the folder that has it"),
        };
        let make = match name.starts_with("digits") {
            true => "; `tidemill data digits --out DIR` makes a folder of digits",
            false => "",
        };
        Err(Error::Recipe(format!(
            ": \"{name}\" was not found; looked for {}{hint}{make}",
            list.join(" and ")
        )))
    }

    /// Names and where they were found.
    pub(crate) fn found(&self) -> Vec<(String, String)> {
        let found = self.found.borrow();
        found.iter().map(|(name, path)| (name.clone(), path.display().to_string())).collect()
    }
}

/// Whether a file or folder exists, or the first of several shards.
fn is_there(path: &Path) -> bool {
    let first = || shards(path.to_str()?)?.into_iter().next();
    path.exists() || first().is_some_and(|first| Path::new(&first).exists())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_recipes_folder_comes_first() {
        let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(near.path().join("a"), "").unwrap();
        std::fs::write(far.path().join("a"), "").unwrap();
        std::fs::write(far.path().join("b"), "").unwrap();
        let paths = DataPaths::with_variable(near.path().into(), Some(far.path().into()));
        assert_eq!(paths.resolve("a"), near.path().join("a"));
        assert_eq!(paths.resolve("b"), far.path().join("b"));
        paths.check().unwrap();
        paths.resolve("c");
        let error = paths.check().unwrap_err().to_string();
        assert!(error.contains(&near.path().join("c").display().to_string()), "{error}");
        assert!(error.contains(&far.path().join("c").display().to_string()), "{error}");
    }
}
