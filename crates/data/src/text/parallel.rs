//! Texts with what they become: a translation, a summary.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidemill_fields::Field;
use tidemill_text::{Special, Tokenizer};

use super::tokens::{Coverage, TextContext, read_utf8};
use crate::{Error, FieldValues, FieldsDataset, Result};

/// Two text files, gzipped or not, whose lines belong together, such as sentences and their translations. The
/// model's inputs are `source` and `target`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParallelSpec {
    /// The file of what the model reads.
    pub source: String,
    /// The file of what it writes.
    pub target: String,
    /// Number of pairs that are used, from the first one. All by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// What other sections of the recipe say.
    #[serde(skip)]
    pub context: TextContext,
}

/// The lines of both sides; an empty line of either side leaves the pair out.
struct Pairs {
    source: String,
    target: String,
    place: [String; 2],
}

impl Pairs {
    fn read(source: &Path, target: &Path) -> Result<Pairs> {
        let place = [source, target].map(|path| path.display().to_string());
        let pairs = Pairs { source: read_utf8(source)?, target: read_utf8(target)?, place };
        let (left, right) = (pairs.source.lines().count(), pairs.target.lines().count());
        if left != right {
            return Err(Error::option(format!(
                "{} has {left} lines and {} has {right}: they must belong together line by line",
                pairs.place[0], pairs.place[1]
            )));
        }
        Ok(pairs)
    }

    /// Line number, source, target.
    fn each(&self) -> impl Iterator<Item = (usize, &str, &str)> {
        let pairs = self.source.lines().zip(self.target.lines()).enumerate();
        pairs.map(|(line, (source, target))| (line + 1, source.trim(), target.trim()))
    }
}

impl ParallelSpec {
    /// The pairs of two files.
    pub fn new(source: impl Into<String>, target: impl Into<String>) -> Self {
        let (source, target) = (source.into(), target.into());
        Self { source, target, limit: None, context: TextContext::default() }
    }

    /// The texts of both sides, those that are empty too.
    ///
    /// # Errors
    /// If a file cannot be read or is not UTF-8, or both differ in their number of lines.
    pub fn pairs(&self, resolve: &dyn Fn(&str) -> PathBuf) -> Result<Vec<(String, String)>> {
        let pairs = Pairs::read(&resolve(&self.source), &resolve(&self.target))?;
        let limit = self.limit.unwrap_or(usize::MAX);
        Ok(pairs.each().take(limit).map(|(_, a, b)| (a.to_owned(), b.to_owned())).collect())
    }

    /// Reads the pairs, and trains one tokenizer on both sides unless there is one.
    ///
    /// # Errors
    /// If a file cannot be read or is not UTF-8, both differ in their number of lines, or nothing is left.
    pub fn open(
        &self,
        resolve: &dyn Fn(&str) -> PathBuf,
        like: Option<Arc<Tokenizer>>,
    ) -> Result<FieldsDataset> {
        let path = resolve(&self.source);
        let most_source = self.context.length(0, &path)?;
        let most_target = self.context.length(1, &path)?;
        let pairs = Pairs::read(&path, &resolve(&self.target))?;
        let limit = self.limit.unwrap_or(usize::MAX);
        let mut texts = pairs.source.lines().take(limit).chain(pairs.target.lines().take(limit));
        let tokenizer = self.context.tokenizer(resolve, like, &mut texts)?;
        let (begin, end) = ends(&tokenizer)?;
        let [mut source, mut target, mut labels] = [(); 3].map(|()| FieldValues::sequences());
        let (mut ids, mut origins) = (Vec::new(), Vec::new());
        let [mut empty, mut cut] = [0; 2];
        let mut coverage = Coverage::default();
        for (line, from, to) in pairs.each().take(limit) {
            if from.is_empty() || to.is_empty() {
                empty += 1;
                continue;
            }
            ids.clear();
            coverage.encode(&tokenizer, from, &mut ids);
            cut += usize::from(ids.len() >= most_source);
            ids.truncate(most_source - 1);
            ids.push(end);
            source.push_sequence(&ids);
            ids.clear();
            ids.push(begin);
            coverage.encode(&tokenizer, to, &mut ids);
            cut += usize::from(ids.len() > most_target);
            ids.truncate(most_target);
            target.push_sequence(&ids);
            ids.push(end);
            labels.push_sequence(&ids[1..]);
            origins.push(format!("{}:{line}", pairs.place[0]));
        }
        if origins.is_empty() {
            return Err(Error::format(&path, "has no pair in which both sides have text"));
        }
        let count = |n: usize, what: &str| (n > 0).then(|| format!("{n} {what}"));
        let notes = [
            count(empty, "pairs have an empty side and are left out"),
            count(cut, "texts are longer than the model reads or writes, and are cut off"),
        ];
        let data = FieldsDataset::new(vec![
            (Field::ids("source", most_source), source),
            (Field::ids("target", most_target), target),
        ])?;
        let data = data.with_truth(Field::ids("labels", most_target), labels)?;
        Ok(data
            .with_origins(origins)
            .with_tokenizer(tokenizer)
            .with_notes(notes.into_iter().flatten().chain(coverage.notes()).collect()))
    }
}

/// The tokens that begin and end a text.
pub(super) fn ends(tokenizer: &Tokenizer) -> Result<(i32, i32)> {
    match tokenizer.special() {
        Special { begin: Some(begin), end: Some(end), .. } => Ok((begin, end)),
        _ => Err(Error::option(
            "the tokenizer has no tokens <s> and </s> that begin and end a text; use { bpe = { ... } }, \
             { unigram = { ... } }, { words = { ... } } or { characters = { special = true } }",
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Dataset, Truth};
    use tidemill_text::TokenizerSpec;

    fn open(source: &[u8], target: &[u8]) -> Result<FieldsDataset> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("s"), source).unwrap();
        std::fs::write(dir.path().join("t"), target).unwrap();
        let tokenizer: TokenizerSpec = toml::from_str::<
            std::collections::BTreeMap<String, TokenizerSpec>,
        >("t = { characters = { special = true } }")
        .unwrap()
        .remove("t")
        .unwrap();
        let context =
            TextContext { tokenizer: Some(tokenizer), trained: None, lengths: vec![4, 4] };
        ParallelSpec { context, ..ParallelSpec::new("s", "t") }.open(&|n| dir.path().join(n), None)
    }

    #[test]
    fn a_pair_is_read_shifted() {
        let data = open(b"ab\n\nabcdef\n", b"ba\nx\nb\n").unwrap();
        let tokenizer = data.tokenizer().unwrap().clone();
        let of = |text: &str| {
            let mut ids = Vec::new();
            tokenizer.encode(text, &mut ids);
            ids
        };
        let (begin, end) = ends(&tokenizer).unwrap();
        let row = data.read(0).unwrap();
        let ids = |column: usize| {
            let c = &row.columns[column];
            c.i32()[..c.lengths[0] as usize].to_vec()
        };
        assert_eq!(ids(0), [of("ab"), vec![end]].concat());
        assert_eq!(ids(1), [vec![begin], of("ba")].concat());
        assert_eq!(row.truth(0), Truth::Classes(&[of("ba"), vec![end]].concat()));
        // The long source is cut, and keeps its end.
        let row = data.read(1).unwrap();
        assert_eq!(row.columns[0].i32()[..4], [of("abc"), vec![end]].concat());
        let notes = data.notes().join("; ");
        assert!(notes.contains("1 pairs have an empty side"), "{notes}");
        assert!(notes.contains("1 texts are longer"), "{notes}");
        assert!(data.describe(1).ends_with("s:3"), "{}", data.describe(1));
    }

    #[test]
    fn mistakes_name_files_and_lines() {
        let error = |a: &[u8], b: &[u8]| open(a, b).unwrap_err().to_string();
        let message = error(b"a\nb\n", b"a\n");
        assert!(message.contains("s has 2 lines and") && message.contains("t has 1"), "{message}");
        assert!(error(b"a\nb\xff\n", b"a\nb\n").contains("line 2 is not valid UTF-8"));
        assert!(error(b"\xff\xfea\0\n\0", b"a\n").contains("s: is UTF-16"));
        assert!(error(b"\n", b"a\n").contains("no pair in which both sides have text"));
    }
}
