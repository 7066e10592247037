//! Words with a class each.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tidemill_fields::Field;

use super::{read, words};
use crate::{Error, FieldValues, FieldsDataset, Result};

/// Sequence labelling in the columns of CoNLL: one word per line with its class in the last column,
/// and a blank line after each sentence. Lines that start with `#` or `-DOCSTART-` are left out.
/// The model's input is `{ tokens = { length = ..., vocabulary = ... } }`, and it ends with a row
/// of outputs for each word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaggedSpec {
    /// The file.
    pub path: String,
    /// The column of the words, counted from 0; 0 by default.
    #[serde(default)]
    pub word: usize,
    /// The column of the classes, counted from 0; the last one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<usize>,
    /// Names of the classes in the order of their numbers; when left out, those found in the file,
    /// sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
}

impl TaggedSpec {
    /// The options for `path` when nothing else is said.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), word: 0, tag: None, class_names: Vec::new() }
    }

    /// Reads the sentences for a model that takes so many ids of such a vocabulary; `like` are the
    /// classes of the training set, if this is another one.
    ///
    /// # Errors
    /// If the file cannot be read, a line lacks a column, or a class is unknown.
    pub fn open(
        &self,
        resolve: &dyn Fn(&str) -> PathBuf,
        (length, vocabulary): (usize, usize),
        like: &[String],
    ) -> Result<FieldsDataset> {
        let path = resolve(&self.path);
        let text = read(&path)?;
        let fail = |line: usize, what: String| {
            Err(Error::Row { path: path.clone(), line: line as u64, what })
        };
        let mut sentences: Vec<(usize, Vec<(&str, &str)>)> = Vec::new();
        let mut open = false;
        for (i, line) in text.lines().enumerate() {
            let columns: Vec<&str> = line.split_whitespace().collect();
            if columns.is_empty() || line.starts_with('#') || line.starts_with("-DOCSTART-") {
                open &= !columns.is_empty();
                continue;
            }
            let word = columns.get(self.word);
            let tag = self.tag.map_or(columns.last(), |tag| columns.get(tag));
            let (Some(word), Some(tag), true) = (word, tag, columns.len() > 1) else {
                let found = columns.len();
                return fail(
                    i + 1,
                    format!("has {found} columns; a word and its class are needed"),
                );
            };
            if !std::mem::replace(&mut open, true) {
                sentences.push((i + 1, Vec::new()));
            }
            if let Some((_, sentence)) = sentences.last_mut() {
                sentence.push((word, tag));
            }
        }
        let names = match (self.class_names.as_slice(), like) {
            ([], []) => {
                let mut names: Vec<String> = sentences
                    .iter()
                    .flat_map(|(_, s)| s)
                    .map(|(_, tag)| (*tag).to_owned())
                    .collect();
                names.sort_unstable();
                names.dedup();
                names
            }
            ([], like) => like.to_vec(),
            (own, like) if !like.is_empty() && !like.starts_with(own) => {
                let (own, like) = (own.join(", "), like.join(", "));
                return Err(Error::option(format!(
                    "{}: class_names are {own}, and those of the training set are {like}; give the \
                     same ones",
                    self.path
                )));
            }
            (_, like) if !like.is_empty() => like.to_vec(),
            (own, _) => own.to_vec(),
        };
        let (mut ids, mut tags) = (FieldValues::sequences(), FieldValues::sequences());
        let mut origins = Vec::new();
        for (line, sentence) in &sentences {
            let word = |(word, _): &(&str, &str)| words::id(&word.to_lowercase(), vocabulary);
            ids.push_sequence(&sentence.iter().map(word).collect::<Vec<i32>>());
            let mut classes = Vec::new();
            for (at, (_, tag)) in sentence.iter().enumerate() {
                match names.iter().position(|name| name == tag) {
                    Some(class) => classes.push(class as i32),
                    None => {
                        let known = names.join(", ");
                        return fail(line + at, format!("the class {tag} is none of {known}"));
                    }
                }
            }
            tags.push_sequence(&classes);
            origins.push(format!("{}:{line}", path.display()));
        }
        if origins.is_empty() {
            return Err(Error::format(&path, "has no sentences"));
        }
        FieldsDataset::new(vec![(Field::ids("x", length), ids)])?
            .with_truth(Field::ids("labels", length), tags)?
            .with_class_names(names)
            .map(|data| data.with_origins(origins))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Dataset, Truth};

    fn read(text: &str, like: &[String]) -> Result<FieldsDataset> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        TaggedSpec::new("t").open(&|_| file.path().to_owned(), (4, 100), like)
    }

    #[test]
    fn sentences_end_at_blank_lines() {
        let text = "-DOCSTART- -X- O\n\nTide NN B\nmills NN I\n\n\n# note\nturn VB O\n";
        let data = read(text, &[]).unwrap();
        assert_eq!((data.len(), data.class_names().join(" ")), (2, "B I O".into()));
        assert_eq!(data.read(0).unwrap().truth(0), Truth::Classes(&[0, 1]));
        assert_eq!(data.read(1).unwrap().columns[0].i32()[0], words::id("turn", 100));
        assert!(data.describe(1).ends_with(":8"), "{}", data.describe(1));
    }

    #[test]
    fn mistakes_name_the_line() {
        let error = |text, like: &[String]| read(text, like).unwrap_err().to_string();
        assert!(error("a B\nb\n", &[]).contains(":2: has 1 columns"));
        assert!(error("a B\n\nb C\n", &["B".into()]).contains(":3: the class C is none of B"));
        assert!(error("\n\n", &[]).contains("has no sentences"));
    }
}
