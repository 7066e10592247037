//! Folders of files, with one sub-folder for each class: what is in them, in which order, and which
//! number each class has.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Which files below a folder are looked for.
#[derive(Clone, Copy)]
pub(crate) struct Tree<'a> {
    /// Whether links to folders are followed.
    pub(crate) follow_links: bool,
    /// Whether a file is one, by its name.
    pub(crate) wanted: &'a dyn Fn(&str) -> bool,
}

/// What is below a folder.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Paths of files relative to the root, with `/`.
    pub(crate) files: Vec<String>,
    /// Links to folders that were not followed.
    pub(crate) links: usize,
    /// Files that are not looked for.
    pub(crate) others: Others,
}

/// Visible files that are not looked for: how many, and the first of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Others {
    pub(crate) count: usize,
    pub(crate) first: String,
}

impl Others {
    /// Counts a file.
    pub(crate) fn add(&mut self, path: impl FnOnce() -> String) {
        self.count += 1;
        if self.count == 1 {
            self.first = path();
        }
    }
}

impl Tree<'_> {
    /// Adds the files below `dir`, in Keras's order: folder by folder, the folders sorted by their
    /// whole paths, so that `b-x` and `b.y` come between `b` and `b/c`; in a folder by name. Hidden
    /// files and folders are left out. `prefix` is the path of `dir` relative to the root, with a `/`
    /// at its end if it is not the root.
    ///
    /// # Errors
    /// If a folder cannot be read, or a link leads to a folder that it is in.
    pub(crate) fn list(&self, dir: &Path, prefix: &str, found: &mut Found) -> Result<()> {
        let mut folders = Vec::new();
        self.gather(dir, prefix, &mut Vec::new(), &mut folders, found)?;
        folders.sort_unstable_by(|a, b| a.0.trim_end_matches('/').cmp(b.0.trim_end_matches('/')));
        for (folder, names) in folders {
            found.files.extend(names.iter().map(|name| format!("{folder}{name}")));
        }
        Ok(())
    }

    /// Adds `dir` and each folder below it with its files. `above` are the folders on the way, to
    /// notice links that lead back.
    fn gather(
        &self,
        dir: &Path,
        prefix: &str,
        above: &mut Vec<PathBuf>,
        folders: &mut Vec<(String, Vec<String>)>,
        found: &mut Found,
    ) -> Result<()> {
        if self.follow_links {
            let real = dir.canonicalize().map_err(|e| Error::read(dir, e))?;
            if above.contains(&real) {
                return Err(Error::format(
                    dir,
                    "is a link to a folder that it is in, so following it has no end; remove the link",
                ));
            }
            above.push(real);
        }
        let mut files = Vec::new();
        for (name, is_dir) in entries(dir)? {
            if !is_dir && (self.wanted)(&name) {
                files.push(name);
            } else if !is_dir {
                found.others.add(|| format!("{prefix}{name}"));
            } else if self.follow_links || !dir.join(&name).is_symlink() {
                let inside = format!("{prefix}{name}/");
                self.gather(&dir.join(&name), &inside, above, folders, found)?;
            } else {
                found.links += 1;
            }
        }
        above.pop();
        folders.push((prefix.to_owned(), files));
        Ok(())
    }
}

/// The order of files by their paths relative to a root: by folder, then by name.
pub(crate) fn in_order(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// The visible entries of a folder, sorted, and whether each is a folder (links are followed).
pub(crate) fn entries(dir: &Path) -> Result<Vec<(String, bool)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| Error::read(dir, e))? {
        let entry = entry.map_err(|e| Error::read(dir, e))?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(Error::format(&entry.path(), "has a name that is not UTF-8; rename it"));
        };
        if name.starts_with('.') {
            continue;
        }
        let kind = entry.file_type().map_err(|e| Error::read(dir, e))?;
        // A dangling link is left to the reader, which reports it by path.
        let is_dir = kind.is_dir() || (kind.is_symlink() && entry.path().is_dir());
        entries.push((name, is_dir));
    }
    entries.sort_unstable();
    Ok(entries)
}

/// Numbers the `found` sub-folders (sorted) of the data at `path`. `given` names may fix the order;
/// `like`, the classes of the training set, may also have classes that do not occur here.
///
/// # Errors
/// If there is a sub-folder that is no class, or a given class has no sub-folder.
pub(crate) fn number_classes(
    path: &str,
    given: Option<&[String]>,
    found: &[String],
    like: &[String],
) -> Result<Vec<String>> {
    let fail = |what: String| Err(Error::option(format!("{path}: {what}")));
    let names = match (given, like) {
        (Some(names), []) => {
            let missing: Vec<_> = names.iter().filter(|n| !found.contains(n)).collect();
            if !missing.is_empty() {
                let missing = quoted(&missing);
                return fail(format!("class_names has {missing}, but there is no such sub-folder"));
            }
            names
        }
        // A run may have learned of further classes since.
        (Some(names), like) if !like.starts_with(names) => {
            let (names, like) = (names.join(", "), like.join(", "));
            return fail(format!(
                "class_names are {names}, and those of the training set are {like}; give the same ones"
            ));
        }
        (None, []) => found,
        (_, like) => like,
    };
    if let Some(twice) = names.iter().enumerate().find(|(i, n)| names[..*i].contains(n)) {
        return fail(format!("class_names has \"{}\" twice", twice.1));
    }
    let extra: Vec<_> = found.iter().filter(|n| !names.contains(n)).collect();
    if !extra.is_empty() {
        let of = match (given, like) {
            (Some(_), []) => "class_names",
            _ => "the training set",
        };
        return fail(format!("{of} does not have the sub-folder {}", quoted(&extra)));
    }
    Ok(names.to_vec())
}

fn quoted(names: &[&String]) -> String {
    let mut text: Vec<String> = names.iter().take(5).map(|n| format!("\"{n}\"")).collect();
    if names.len() > 5 {
        text.push(format!("and {} more", names.len() - 5));
    }
    text.join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_sorted_by_their_whole_paths() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["b/c/2", "b/1", "b-x/1", "b.y/1", "b/c/1", "b_z/1", "0", "z", ".h/1", "b/.h"];
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        }
        let list = |prefix| {
            let mut found = Found::default();
            Tree { follow_links: true, wanted: &|_| true }
                .list(dir.path(), prefix, &mut found)
                .unwrap();
            found.files
        };
        // What Python's sorted(os.walk(...)) gives.
        let want = ["0", "z", "b/1", "b-x/1", "b.y/1", "b/c/1", "b/c/2", "b_z/1"];
        // In the root `b` sorts before `b-x`, and `/` after `-` and `.`.
        assert_eq!(list(""), want);
        assert_eq!(list("a/"), want.map(|f| format!("a/{f}")));
        let mut sorted = want.to_vec();
        sorted.sort_by_key(|path| in_order(path));
        assert_eq!(sorted, want);
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_back_are_errors_and_others_may_be_followed() {
        let dir = tempfile::tempdir().unwrap();
        for class in ["a", "b"] {
            fs::create_dir(dir.path().join(class)).unwrap();
            fs::write(dir.path().join(class).join("1"), b"x").unwrap();
        }
        std::os::unix::fs::symlink(dir.path().join("b"), dir.path().join("a/b")).unwrap();
        let list = |follow_links| {
            let mut found = Found::default();
            let listed = Tree { follow_links, wanted: &|_| true }.list(dir.path(), "", &mut found);
            listed.map(|()| (found.files.len(), found.links))
        };
        assert_eq!((list(false).unwrap(), list(true).unwrap()), ((2, 1), (3, 0)));
        for name in ["up", "up2"] {
            std::os::unix::fs::symlink("..", dir.path().join("a").join(name)).unwrap();
        }
        assert_eq!(list(false).unwrap(), (2, 3));
        let error = list(true).unwrap_err().to_string();
        assert!(error.contains("a/up: is a link to a folder that it is in"), "{error}");
    }

    #[test]
    fn classes_of_a_validation_set_are_those_of_the_training_set() {
        let names = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        let number = |given: Option<&[&str]>, found: &[&str], like: &[&str]| {
            let given = given.map(names);
            number_classes("d", given.as_deref(), &names(found), &names(like))
        };
        let told = |numbered: Result<Vec<String>>| numbered.unwrap_err().to_string();
        assert_eq!(number(None, &["a", "c"], &["a", "b", "c"]).unwrap(), ["a", "b", "c"]);
        let given = Some(&["b", "a"][..]);
        assert_eq!(number(given, &["a", "b"], &[]).unwrap(), ["b", "a"]);
        assert_eq!(number(given, &["a"], &["b", "a", "c"]).unwrap(), ["b", "a", "c"]);
        assert_eq!(
            told(number(given, &["a"], &[])),
            "d: class_names has \"b\", but there is no such sub-folder"
        );
        assert_eq!(
            told(number(given, &["a", "b"], &["a", "b"])),
            "d: class_names are b, a, and those of the training set are a, b; give the same ones"
        );
        assert_eq!(
            told(number(None, &["a", "x"], &["a", "b"])),
            "d: the training set does not have the sub-folder \"x\""
        );
    }
}
