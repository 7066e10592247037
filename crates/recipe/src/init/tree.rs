//! How files lie in folders of classes.

use std::collections::BTreeMap;
use std::path::Path;

use tidemill_engine::error::{Error, Result};

/// The folders of a split, the training side first.
const TRAIN: &[&str] = &["train", "training"];
const VALIDATION: &[&str] = &["validation", "valid", "val", "dev", "test", "testing"];

/// Below which folder the classes are, and in which parts.
pub(super) struct Tree {
    /// From the path to the folder that holds classes or parts.
    root: Vec<String>,
    /// The folders of the split, if there is one.
    pub(super) split: Option<(String, String)>,
    /// Files of each class of the training data.
    pub(super) classes: BTreeMap<String, usize>,
    /// Files for validation.
    pub(super) validation: usize,
}

impl Tree {
    /// Of files by their names below a path, with `/`; `what` they are is for messages.
    pub(super) fn of(data: &str, what: &str, names: &[&str]) -> Result<Tree> {
        let names: Vec<Vec<&str>> = names.iter().map(|name| name.split('/').collect()).collect();
        let folders = |depth: usize| {
            let inside = names.iter().filter(|name| name.len() > depth + 1);
            let mut folders: Vec<&str> = inside.map(|name| name[depth]).collect();
            folders.sort_unstable();
            folders.dedup();
            folders
        };
        // Folders that all files lie in, down to where they part.
        let mut depth = 0;
        while folders(depth).len() == 1 && names.iter().all(|name| name.len() > depth + 2) {
            depth += 1;
        }
        let root = names.first().map_or(&[][..], |name| &name[..depth]);
        let parts = folders(depth);
        let (train, validation) = (find(&parts, TRAIN), find(&parts, VALIDATION));
        let split = train.zip(validation);
        let mut tree = Tree {
            root: root.iter().map(|part| part.to_string()).collect(),
            split: split.map(|(train, other)| (train.to_owned(), other.to_owned())),
            classes: BTreeMap::new(),
            validation: 0,
        };
        for name in &names {
            let below = &name[depth..];
            let class = match split {
                None => below,
                Some((train, _)) if below[0] == train => &below[1..],
                Some((_, other)) => {
                    tree.validation += usize::from(below[0] == other);
                    continue;
                }
            };
            if let [class, _, ..] = class {
                *tree.classes.entry(class.to_string()).or_default() += 1;
            }
        }
        let wrong = match tree.classes.len() {
            0 => "but no sub-folder for each class",
            1 => "of one class only, so that there is nothing to learn",
            _ => return Ok(tree),
        };
        Err(Error::Usage(format!(
            "{data}: has {what}, {wrong}; put each class into a folder of its own"
        )))
    }

    /// Of data that lie in no folders, by the number of samples of each class.
    pub(super) fn of_classes(classes: BTreeMap<String, usize>) -> Tree {
        Tree { root: Vec::new(), split: None, classes, validation: 0 }
    }

    /// The folder of a part, from the name of the data.
    pub(super) fn folder(&self, data: &str, part: Option<&str>) -> String {
        let parts = self.root.iter().map(String::as_str).chain(part);
        parts.fold(data.trim_end_matches('/').to_owned(), |path, part| format!("{path}/{part}"))
    }

    /// Adds the classes of folders below `root` that have no files, as training counts them; gives their
    /// names.
    pub(super) fn add_empty(&mut self, root: &Path) -> Vec<String> {
        let train = self.split.as_ref().map(|split| split.0.as_str());
        let folder = self.root.iter().map(String::as_str).chain(train);
        let folder = folder.fold(root.to_owned(), |path, part| path.join(part));
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.path().is_dir());
        let names = folders.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut empty: Vec<String> = names
            .filter(|name| !name.starts_with('.') && !self.classes.contains_key(name))
            .collect();
        empty.sort();
        self.classes.extend(empty.iter().map(|name| (name.clone(), 0)));
        empty
    }

    pub(super) fn num_files(&self) -> usize {
        self.classes.values().sum()
    }
}

/// The folder that one of the known names, or a name that ends with it, stands for.
fn find<'a>(folders: &[&'a str], known: &[&str]) -> Option<&'a str> {
    known.iter().find_map(|known| {
        let is = |folder: &&&str| {
            let folder = folder.to_ascii_lowercase();
            folder == *known || folder.ends_with(&format!("-{known}"))
        };
        folders.iter().find(is).copied()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_and_roots() -> Result<()> {
        let tree = Tree::of("d", "images", &["a/1.png", "a/2.png", "b/x/1.png"])?;
        assert_eq!((tree.num_files(), tree.classes.len(), tree.validation), (3, 2, 0));
        assert_eq!(tree.folder("d/", None), "d");
        let names = ["set/set-train/a/1", "set/set-train/b/1", "set/set-test/a/1", "set/notes/n/1"];
        let tree = Tree::of("d", "texts", &names)?;
        assert_eq!((tree.num_files(), tree.validation), (2, 1));
        assert_eq!(tree.split, Some(("set-train".into(), "set-test".into())));
        assert_eq!(tree.folder("d", Some("set-train")), "d/set/set-train");
        Ok(())
    }

    #[test]
    fn what_has_no_classes_is_an_error() {
        let says = |names: &[&str], what: &str| {
            let error = Tree::of("d", "images", names).err().map(|e| e.to_string());
            assert!(error.as_ref().is_some_and(|e| e.contains(what)), "{error:?}");
        };
        says(&["1.png", "2.png"], "no sub-folder");
        says(&["a/1.png", "a/2.png"], "one class only");
        says(&["train/1.png", "test/2.png"], "no sub-folder");
    }
}
