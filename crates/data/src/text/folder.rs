//! A folder of texts.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidemill_fields::Field;

use super::read;
use super::words::TextIds;
use crate::images::split::Parts;
use crate::images::{Share, Subset};
use crate::tree::{Found, Tree, entries, number_classes};
use crate::{Error, FieldValues, FieldsDataset, Result};

/// A folder with one sub-folder per class and one text per file. The model's input is `{ tokens = {
/// length = ..., vocabulary = ... } }`. Files that are not valid UTF-8 are read as Latin-1; hidden
/// files are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextDirectorySpec {
    /// The folder.
    pub path: String,
    /// Names of the sub-folders in the order of their class numbers; sorted by name when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_names: Option<Vec<String>>,
    /// Share of the texts kept for validation, or a fold of them such as `"2/5"` (the second of five); needs `subset`. Not split by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_split: Option<Share>,
    /// The side of the split that this data is. Required with `validation_split`, left out otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<Subset>,
    /// Random seed of the split; 0 by default.
    #[serde(default)]
    pub seed: u32,
}

impl TextDirectorySpec {
    /// The options for `path` when nothing else is said.
    pub fn new(path: impl Into<String>) -> Self {
        let (class_names, validation_split, subset) = (None, None, None);
        Self { path: path.into(), class_names, validation_split, subset, seed: 0 }
    }

    /// Texts without labels, for predictions.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn from_files(files: &[PathBuf], ids: TextIds) -> Result<FieldsDataset> {
        let data = FieldsDataset::new(vec![(Field::ids("x", ids.length), texts(files, ids)?)])?;
        Ok(data.with_origins(files.iter().map(|file| file.display().to_string()).collect()))
    }

    /// Reads the texts for a model that takes such ids; `like` are the classes of the training set, if this is
    /// another one.
    ///
    /// # Errors
    /// If the folder has no classes or no files, or one cannot be read.
    pub fn open(
        &self,
        resolve: &dyn Fn(&str) -> PathBuf,
        ids: TextIds,
        like: &[String],
    ) -> Result<FieldsDataset> {
        let root = resolve(&self.path);
        let found: Vec<String> = entries(&root)?
            .into_iter()
            .filter_map(|(name, is_dir)| is_dir.then_some(name))
            .collect();
        if found.is_empty() {
            return Err(Error::option(format!(
                "{}: has no sub-folder; give the folder that has one for each class",
                root.display()
            )));
        }
        let names = number_classes(&self.path, self.class_names.as_deref(), &found, like)?;
        let mut files = Vec::new();
        for (class, name) in names.iter().enumerate().filter(|(_, name)| found.contains(name)) {
            let inside = files_below(&root.join(name))?;
            files.extend(inside.into_iter().map(|file| (file, class as i32)));
        }
        if files.is_empty() {
            return Err(Error::option(format!("{}: has no texts", root.display())));
        }
        let parts = Parts::of(self.validation_split, self.subset, self.seed);
        if let Some(kept) = parts.kept(&self.path, files.len(), &|i| Some(files[i].1 as u32))? {
            files = kept.into_iter().map(|i| files[i as usize].clone()).collect();
        }
        let (files, classes): (Vec<PathBuf>, Vec<i32>) = files.into_iter().unzip();
        let labels = FieldValues::I32(classes);
        let origins = files.iter().map(|file| file.display().to_string()).collect();
        FieldsDataset::new(vec![(Field::ids("x", ids.length), texts(&files, ids)?)])?
            .with_truth(Field::class("labels"), labels)?
            .with_class_names(names)
            .map(|data| data.with_origins(origins))
    }
}

/// The ids of each file's text, all of them: the loader cuts and counts.
fn texts(files: &[PathBuf], ids: TextIds) -> Result<FieldValues> {
    let all = TextIds { length: usize::MAX, ..ids };
    let mut texts = FieldValues::sequences();
    let mut ids = Vec::new();
    for file in files {
        ids.clear();
        all.append(&read(file)?, &mut ids);
        texts.push_sequence(&ids);
    }
    Ok(texts)
}

/// The files of a folder and of those below it, in the order of [`TextDirectorySpec::open`]. Hidden
/// files and folders are left out.
///
/// # Errors
/// If a folder cannot be read, or a link leads to a folder that it is in.
pub fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Found::default();
    Tree { follow_links: true, wanted: &|_| true }.list(folder, "", &mut found)?;
    Ok(found.files.iter().map(|name| folder.join(name)).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Dataset;
    use crate::text::words;

    #[test]
    fn a_folder_for_each_class() {
        let dir = tempfile::tempdir().unwrap();
        for (class, name, text) in [
            ("spam", "1.txt", &b"Win a PRIZE now"[..]),
            ("ham", "2", b"see you at 5"),
            ("ham", ".hidden", b"not me"),
            ("ham", "3.txt", b"caf\xe9"),
        ] {
            std::fs::create_dir_all(dir.path().join(class)).unwrap();
            std::fs::write(dir.path().join(class).join(name), text).unwrap();
        }
        let open = |spec: &TextDirectorySpec, like: &[String]| {
            spec.open(&|_| dir.path().to_owned(), TextIds::words(8, 100), like)
        };
        let spec = TextDirectorySpec::new("texts");
        let data = open(&spec, &[]).unwrap();
        assert_eq!((data.class_names(), data.len()), (&["ham".into(), "spam".into()][..], 3));
        assert_eq!((data.class(0), data.class(2)), (Some(0), Some(1)));
        let row = data.read(1).unwrap();
        assert_eq!(
            (row.columns[0].lengths[0], row.columns[0].i32()[0]),
            (1, words::id("café", 100))
        );
        assert_eq!(data.read(2).unwrap().columns[0].lengths, [4]);
        let like = ["spam".to_owned(), "ham".to_owned()];
        assert_eq!(open(&spec, &like).unwrap().class(0), Some(0));
        let empty = tempfile::tempdir().unwrap();
        let error =
            spec.open(&|_| empty.path().to_owned(), TextIds::words(8, 100), &[]).unwrap_err();
        assert!(error.to_string().contains("has no sub-folder"), "{error}");
    }
}
