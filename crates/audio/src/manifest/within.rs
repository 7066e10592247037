//! Paths that stay below a folder.

use std::path::{Component, Path, PathBuf};

use crate::{AudioError, Result};

/// The file `name` below `folder`, with all links resolved. Whoever names files, a manifest or an event, must not
/// reach what the user did not give.
///
/// # Errors
/// If the name is absolute or has `..`, if it leads out of the folder by a link, or if there is no such file.
pub fn within(folder: &Path, name: &str) -> Result<PathBuf> {
    let wrong = |what: String| AudioError::format(name, what);
    let relative = Path::new(name);
    let is_inside = |c: Component| matches!(c, Component::Normal(_) | Component::CurDir);
    if name.is_empty() {
        return Err(AudioError::format("a path", "is empty: name a file"));
    }
    // A backslash would be a path elsewhere.
    if !relative.components().all(is_inside) || name.contains(['\\', '\0']) {
        let folder = folder.display();
        return Err(wrong(format!("must be a path below {folder}, without `..` and not absolute")));
    }
    let root = folder
        .canonicalize()
        .map_err(|error| AudioError::read(folder.display().to_string(), error))?;
    let path = root.join(relative);
    let path = path.canonicalize().map_err(|error| AudioError::read(name, error))?;
    if !path.starts_with(&root) {
        return Err(wrong(format!(
            "is a link that leads out of {}: copy the file there",
            folder.display()
        )));
    }
    if !path.is_file() {
        return Err(wrong("is not a file: name a recording".into()));
    }
    Ok(path)
}
