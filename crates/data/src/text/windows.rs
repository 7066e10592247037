//! One long text, or many in one file, cut into windows: what a language model learns from.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidemill_fields::{Field, Row};
use tidemill_text::Tokenizer;

use super::parallel::ends;
use super::tokens::{Coverage, TextContext, read_utf8};
use crate::images::split::Parts;
use crate::images::{Share, Subset};
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
    /// What is a text of its own, where the file has many: no window reaches over a border, and each text begins and ends with the
    /// tokens for that. The whole file is one text by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<Texts>,
    /// Share of the text, at its end, kept for validation; needs `subset`. Not split by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_split: Option<Share>,
    /// The side of the split that this data is. Required with `validation_split`, left out otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<Subset>,
    /// What other sections of the recipe say.
    #[serde(skip)]
    pub context: TextContext,
}

/// What a text of a file of many is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Texts {
    /// Each line that is not blank.
    Lines,
    /// What is between blank lines.
    Paragraphs,
}

impl Texts {
    /// The texts, without blank ones.
    fn split(self, file: &str) -> impl Iterator<Item = &str> {
        let (mut rest, ends) = (file, self);
        let next = move || {
            if rest.is_empty() {
                return None;
            }
            let (text, after) = rest.split_at(ends.end(rest));
            rest = after;
            Some(text)
        };
        std::iter::from_fn(next).map(without_blank_lines).filter(|text| !text.is_empty())
    }

    /// Where the first text ends, the line break and blank lines after it included.
    fn end(self, file: &str) -> usize {
        let mut at = 0;
        let mut is_blank = false;
        for line in file.split_inclusive('\n') {
            if self == Texts::Paragraphs && is_blank && !line.trim().is_empty() {
                return at;
            }
            at += line.len();
            if self == Texts::Lines {
                return at;
            }
            is_blank = line.trim().is_empty();
        }
        at
    }
}

/// From its first line that is not blank to the last one, without that one's line break.
fn without_blank_lines(text: &str) -> &str {
    let (mut at, mut start, mut end) = (0, None, 0);
    for line in text.split_inclusive('\n') {
        if !line.trim().is_empty() {
            start = start.or(Some(at));
            end = at + line.trim_end_matches('\n').len();
        }
        at += line.len();
    }
    &text[start.unwrap_or(0)..end]
}

impl TextFileSpec {
    /// The whole file at `path`.
    pub fn new(path: impl Into<String>) -> Self {
        let (stride, texts, validation_split, subset) = (None, None, None, None);
        let context = TextContext::default();
        Self { path: path.into(), stride, texts, validation_split, subset, context }
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
        let mut text = read_utf8(&path)?;
        if self.texts.is_some() && text.contains('\r') {
            text = text.replace("\r\n", "\n");
        }
        let part = self.part(&text)?;
        let tokenizer = match self.texts {
            None => self.context.tokenizer(resolve, like, &mut std::iter::once(part))?,
            Some(texts) => self.context.tokenizer(resolve, like, &mut texts.split(part))?,
        };
        let stride = self.stride.unwrap_or(length);
        if stride == 0 || stride > length {
            return Err(Error::option(format!(
                "{}: stride must be from 1 to the model's context of {length}, found {stride}",
                self.path
            )));
        }
        let mut windows =
            Windows::new(length, stride, tokenizer.clone(), path.display().to_string());
        let mut coverage = Coverage::default();
        match self.texts {
            None => {
                coverage.encode(&tokenizer, part, &mut windows.ids);
                windows.end_text();
            }
            Some(texts) => {
                let (begin, end) = ends(&tokenizer)?;
                for text in texts.split(part) {
                    windows.ids.push(begin);
                    coverage.encode(&tokenizer, text, &mut windows.ids);
                    windows.ids.push(end);
                    windows.end_text();
                }
            }
        }
        if windows.len() == 0 {
            let what = format!("has {} tokens; a model learns from at least 2", windows.ids.len());
            return Err(Error::format(&path, what));
        }
        let len = windows.len();
        let x = Field::ids("x", length);
        let mut info = Info::of(len, vec![x.clone()], LabelKind::None);
        let truth = Some(Field::ids("labels", length));
        info.signature = Arc::new(tidemill_fields::Signature::new(vec![x], truth));
        info.num_classes = Some(tokenizer.vocabulary());
        let texts = self.texts.map(|_| format!("{} texts in {len} windows", windows.texts.len()));
        windows.notes = texts.into_iter().chain(coverage.notes()).collect();
        windows.info = info;
        Ok(windows)
    }

    /// The side of the split that this data is.
    fn part<'t>(&self, text: &'t str) -> Result<&'t str> {
        let parts = Parts::of(self.validation_split, self.subset, 0);
        let (share, subset) = match parts.checked(&self.path)? {
            None => return Ok(text),
            Some((Share::Fraction(share), subset)) => (share, subset),
            Some((Share::Fold(_), _)) => {
                return Err(Error::option(format!(
                    "{}: validation_split: folds are of samples, and this is one text; use a share such as 0.1",
                    self.path
                )));
            }
        };
        // By characters, so that texts of one byte a character are cut where others cut them.
        let characters = text.chars().count();
        let kept = ((1.0 - share) * characters as f64) as usize;
        let mut at = text.char_indices().nth(kept).map_or(text.len(), |(at, _)| at);
        if let Some(texts) = self.texts {
            // At the end of the text that is cut there.
            let mut end = 0;
            while end < at {
                end += texts.end(&text[end..]);
            }
            at = end;
        }
        let (training, validation) = text.split_at(at);
        Ok(if subset == Subset::Training { training } else { validation })
    }
}

/// The windows of a text, or of many.
#[derive(Clone, Debug)]
pub struct Windows {
    info: Info,
    /// Of all texts, one after the other.
    ids: Vec<i32>,
    /// Where each text ends: how many ids there are up to there, and how many windows.
    texts: Vec<(usize, usize)>,
    length: usize,
    stride: usize,
    tokenizer: Arc<Tokenizer>,
    notes: Vec<String>,
    path: String,
}

impl Windows {
    fn new(length: usize, stride: usize, tokenizer: Arc<Tokenizer>, path: String) -> Windows {
        let info = Info::of(0, Vec::new(), LabelKind::None);
        let (ids, texts, notes) = (Vec::new(), Vec::new(), Vec::new());
        Windows { info, ids, texts, length, stride, tokenizer, notes, path }
    }

    fn len(&self) -> usize {
        self.texts.last().map_or(0, |&(_, windows)| windows)
    }

    /// The ids since the last text are one.
    fn end_text(&mut self) {
        let (start, before) = self.texts.last().copied().unwrap_or_default();
        let targets = (self.ids.len() - start).saturating_sub(1);
        let windows = match self.stride < self.length {
            true if targets > 0 => 1 + targets.saturating_sub(self.length).div_ceil(self.stride),
            _ => targets.div_ceil(self.stride),
        };
        self.texts.push((self.ids.len(), before + windows));
    }

    /// The first token of a window, and the number of its tokens.
    fn window(&self, index: usize) -> (usize, usize) {
        let text = self.texts.partition_point(|&(_, windows)| windows <= index);
        let (first, before) = if text == 0 { (0, 0) } else { self.texts[text - 1] };
        let (targets, index) = (self.texts[text].0 - first - 1, index - before);
        let (start, length) = match self.stride < self.length {
            // The last window reaches to the end of the text.
            true => {
                let start = (index * self.stride).min(targets.saturating_sub(self.length));
                (start, self.length.min(targets))
            }
            false => {
                let start = index * self.stride;
                (start, self.length.min(targets - start))
            }
        };
        (first + start, length)
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
    fn windows_of_many_texts() {
        let tokenizer = Some(TokenizerSpec::Characters(CharactersSpec {
            special: true,
            ..CharactersSpec::default()
        }));
        let open = |text: &str, texts, split: Option<(f64, Subset)>| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let context =
                TextContext { tokenizer: tokenizer.clone(), trained: None, lengths: vec![3] };
            let (validation_split, subset) =
                (split.map(|s| Share::Fraction(s.0)), split.map(|s| s.1));
            let spec = TextFileSpec {
                context,
                texts: Some(texts),
                validation_split,
                subset,
                ..TextFileSpec::new("t")
            };
            spec.open(&|_| file.path().to_owned(), None).unwrap()
        };
        let data = open("abcd\n\n \nef\n", Texts::Lines, None);
        let special = data.tokenizer.special();
        let (begin, end) = (special.begin.unwrap(), special.end.unwrap());
        let row = |i: usize| {
            let row = data.read(i).unwrap();
            let length = row.columns[0].lengths[0] as usize;
            let Truth::Classes(labels) = row.truth(0) else { panic!("no labels") };
            (row.columns[0].i32()[..length].to_vec(), labels.to_vec())
        };
        let ids = |text: &str| {
            let mut ids = Vec::new();
            data.tokenizer.encode(text, &mut ids);
            ids
        };
        assert_eq!(data.len(), 3);
        assert_eq!(row(0), ([vec![begin], ids("ab")].concat(), ids("abc")));
        assert_eq!(row(1), (ids("cd"), [ids("d"), vec![end]].concat()));
        assert_eq!(row(2), ([vec![begin], ids("ef")].concat(), [ids("ef"), vec![end]].concat()));
        assert_eq!(data.notes(), ["2 texts in 3 windows"]);
        let paragraphs = open("\na\r\nb\n \t\n\nc\r\n  ", Texts::Paragraphs, None);
        assert_eq!(texts(&paragraphs).iter().map(|t| t.0.as_str()).collect::<String>(), "a\nbc");
        let part = |subset| open("abcd\nef\ngh\n", Texts::Lines, Some((0.4, subset)));
        let first = |data: Windows| texts(&data).into_iter().map(|t| t.0).collect::<String>();
        assert_eq!(first(part(Subset::Training)), "abcdef");
        assert_eq!(first(part(Subset::Validation)), "gh");
    }

    #[test]
    fn the_end_is_for_validation() {
        let spec = |subset| TextFileSpec {
            validation_split: Some(Share::Fraction(0.3)),
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
        let spec =
            TextFileSpec { validation_split: Some(Share::Fraction(0.1)), ..TextFileSpec::new("t") };
        assert!(error("abc", 3, spec).contains("validation_split needs subset"));
    }
}
