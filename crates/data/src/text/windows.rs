//! One long text, cut into windows: what a language model learns from.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidemill_fields::{Field, Row};
use tidemill_text::Tokenizer;

use super::tokens::{Coverage, TextContext, read_utf8};
use crate::images::Subset;
use crate::images::split::Parts;
use crate::{Dataset, Error, Info, LabelKind, Result};

/// A text file, gzipped or not, from which a model of tokens learns what comes next: a sample is a window of as many
/// tokens as the model's context has, and its labels are the same tokens one place further.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextFileSpec {
    /// The file.
    pub path: String,
    /// Tokens between the starts of two windows. As many as a window has by default, so that
    /// a pass sees each token once; 1 gives a window at each token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// Share of the text, at its end, kept for validation; needs `subset`. Not split by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_split: Option<f64>,
    /// The side of the split that this data is. Required with `validation_split`, left out otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<Subset>,
    /// What other sections of the recipe say.
    #[serde(skip)]
    pub context: TextContext,
}

impl TextFileSpec {
    /// The whole file at `path`.
    pub fn new(path: impl Into<String>) -> Self {
        let (stride, validation_split, subset) = (None, None, None);
        let context = TextContext::default();
        Self { path: path.into(), stride, validation_split, subset, context }
    }

    /// Reads the text, and trains the tokenizer on it unless there is one.
    ///
    /// # Errors
    /// If the file cannot be read or is not UTF-8, has too little text, or options make no sense.
    pub fn open(
        &self,
        resolve: &dyn Fn(&str) -> PathBuf,
        like: Option<Arc<Tokenizer>>,
    ) -> Result<Windows> {
        let path = resolve(&self.path);
        let length = self.context.length(0, &path)?;
        let text = read_utf8(&path)?;
        let part = self.part(&text)?;
        let tokenizer = self.context.tokenizer(resolve, like, &mut std::iter::once(part))?;
        let mut ids = Vec::new();
        let mut coverage = Coverage::default();
        coverage.encode(&tokenizer, part, &mut ids);
        if ids.len() < 2 {
            let what = format!("has {} tokens; a model learns from at least 2", ids.len());
            return Err(Error::format(&path, what));
        }
        let stride = self.stride.unwrap_or(length);
        if stride == 0 || stride > length {
            return Err(Error::option(format!(
                "{}: stride must be from 1 to the model's context of {length}, found {stride}",
                self.path
            )));
        }
        let targets = ids.len() - 1;
        let len = match stride < length {
            true => 1 + targets.saturating_sub(length).div_ceil(stride),
            false => targets.div_ceil(stride),
        };
        let x = Field::ids("x", length);
        let mut info = Info::of(len, vec![x.clone()], LabelKind::None);
        let truth = Some(Field::ids("labels", length));
        info.signature = Arc::new(tidemill_fields::Signature::new(vec![x], truth));
        info.num_classes = Some(tokenizer.vocabulary());
        let notes = coverage.notes().collect();
        let path = path.display().to_string();
        Ok(Windows { info, ids, length, stride, tokenizer, notes, path })
    }

    /// The side of the split that this data is.
    fn part<'t>(&self, text: &'t str) -> Result<&'t str> {
        let parts = Parts::of(self.validation_split, self.subset, 0);
        let Some((share, subset)) = parts.checked(&self.path)? else { return Ok(text) };
        // By characters, so that texts of one byte a character are cut where others cut them.
        let characters = text.chars().count();
        let kept = ((1.0 - share) * characters as f64) as usize;
        let at = text.char_indices().nth(kept).map_or(text.len(), |(at, _)| at);
        let (training, validation) = text.split_at(at);
        Ok(if subset == Subset::Training { training } else { validation })
    }
}

/// The windows of a text.
#[derive(Clone, Debug)]
pub struct Windows {
    info: Info,
    ids: Vec<i32>,
    length: usize,
    stride: usize,
    tokenizer: Arc<Tokenizer>,
    notes: Vec<String>,
    path: String,
}

impl Windows {
    /// The first token of a window, and the number of its tokens.
    fn window(&self, index: usize) -> (usize, usize) {
        let targets = self.ids.len() - 1;
        match self.stride < self.length {
            // The last window reaches to the end of the text.
            true => {
                let start = (index * self.stride).min(targets.saturating_sub(self.length));
                (start, self.length.min(targets))
            }
            false => {
                let start = index * self.stride;
                (start, self.length.min(targets - start))
            }
        }
    }
}

impl Dataset for Windows {
    fn info(&self) -> &Info {
        &self.info
    }

    fn fill(&self, index: usize, row: &mut Row<'_>) -> Result<()> {
        let (start, length) = self.window(index);
        row.set_ids(0, &self.ids[start..start + length])?;
        row.set_ids(1, &self.ids[start + 1..start + 1 + length])?;
        Ok(())
    }

    fn class(&self, _: usize) -> Option<u32> {
        None
    }

    fn describe(&self, index: usize) -> String {
        let (start, length) = self.window(index);
        format!("{}, tokens {start} to {}", self.path, start + length)
    }

    fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        Some(&self.tokenizer)
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Truth;
    use tidemill_text::{CharactersSpec, TokenizerSpec};

    fn open(text: &str, length: usize, spec: TextFileSpec) -> Result<Windows> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let tokenizer = Some(TokenizerSpec::Characters(CharactersSpec::default()));
        let context = TextContext { tokenizer, trained: None, lengths: vec![length] };
        TextFileSpec { context, ..spec }.open(&|_| file.path().to_owned(), None)
    }

    fn texts(data: &Windows) -> Vec<(String, String)> {
        let decode = |ids: &[i32]| data.tokenizer.decode(ids);
        let pair = |i: usize| {
            let row = data.read(i).unwrap();
            let length = row.columns[0].lengths[0] as usize;
            let Truth::Classes(labels) = row.truth(0) else { panic!("no labels") };
            (decode(&row.columns[0].i32()[..length]), decode(labels))
        };
        (0..data.len()).map(pair).collect()
    }

    #[test]
    fn windows_side_by_side_and_overlapping() {
        let pairs = |spec: TextFileSpec| texts(&open("abcdefgh", 3, spec).unwrap());
        let want = [("abc", "bcd"), ("def", "efg"), ("g", "h")];
        assert_eq!(pairs(TextFileSpec::new("t")), want.map(|(a, b)| (a.into(), b.into())));
        let spec = TextFileSpec { stride: Some(2), ..TextFileSpec::new("t") };
        let want = [("abc", "bcd"), ("cde", "def"), ("efg", "fgh")];
        assert_eq!(pairs(spec), want.map(|(a, b)| (a.into(), b.into())));
        let spec = TextFileSpec { stride: Some(1), ..TextFileSpec::new("t") };
        assert_eq!(pairs(spec).len(), 5);
    }

    #[test]
    fn the_end_is_for_validation() {
        let spec = |subset| TextFileSpec {
            validation_split: Some(0.3),
            subset: Some(subset),
            ..TextFileSpec::new("t")
        };
        let training = open("aäbcdefghi", 9, spec(Subset::Training)).unwrap();
        assert_eq!(texts(&training), [("aäbcde".to_owned(), "äbcdef".to_owned())]);
        let validation = open("aäbcdefghi", 9, spec(Subset::Validation)).unwrap();
        assert_eq!(texts(&validation), [("gh".to_owned(), "hi".to_owned())]);
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text, length, spec| open(text, length, spec).unwrap_err().to_string();
        assert!(error("a", 3, TextFileSpec::new("t")).contains("has 1 tokens"));
        let spec = TextFileSpec { stride: Some(9), ..TextFileSpec::new("t") };
        assert!(
            error("abc", 3, spec).contains("stride must be from 1 to the model's context of 3")
        );
        let spec = TextFileSpec { validation_split: Some(0.1), ..TextFileSpec::new("t") };
        assert!(error("abc", 3, spec).contains("validation_split needs subset"));
    }
}
