//! Documents with summaries that are made of their sentences: a sample for each sentence.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidemill_fields::Field;
use tidemill_text::score::{Rouge, RougeOptions};

use super::tokens::read_utf8;
use super::words;
use crate::{Error, FieldValues, FieldsDataset, Result, TableInput, TableInputs};

/// Documents as JSON lines, gzipped or not, each a list of sentences with one or several summaries that people
/// wrote. A sample is a sentence, and what is learned is how much it has in common with the summary: the F of
/// ROUGE-1, without stemming, by the best of several summaries. The model has one output, and reads the words of
/// the sentence as an input of tokens, and its place as another of 4 features, or the words alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentsSpec {
    /// The file.
    pub path: String,
    /// The key of a document's sentences, a list of texts; `sentences` by default.
    #[serde(default = "sentences")]
    pub sentences: String,
    /// The key of its summaries, a text or a list of them; `summaries` by default.
    #[serde(default = "summaries")]
    pub summaries: String,
    /// Sentences that `eval` and `predict` make a summary of; 1 by default.
    #[serde(default = "one")]
    pub take: usize,
    /// What the model reads of a sentence.
    #[serde(skip)]
    pub inputs: TableInputs,
    /// Whether summaries are not wanted, and need not be there.
    #[serde(skip)]
    pub unlabelled: bool,
}

fn sentences() -> String {
    "sentences".into()
}

fn summaries() -> String {
    "summaries".into()
}

fn one() -> usize {
    1
}

/// A document of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// File and line.
    pub place: String,
    /// Its sentences in their order; there may be none.
    pub sentences: Vec<String>,
    /// The summaries that people wrote; none where they are not wanted.
    pub summaries: Vec<String>,
}

/// The numbers of a sentence's place.
pub const PLACE: usize = 4;

impl Document {
    /// Where sentence `index` is, and how long it is. The numbers tell the first and the last sentences apart, which
    /// are often those of a summary, and say little of those between.
    fn place_of(&self, index: usize) -> [f32; PLACE] {
        let count = self.sentences.len();
        let share = |n: usize| 1.0 / n as f32;
        let words = words::words(&self.sentences[index]).count();
        [share(index + 1), share(count - index), share(count), (1.0 + words as f32).ln() / 4.0]
    }
}

impl DocumentsSpec {
    /// The options for `path` when nothing else is said.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            sentences: sentences(),
            summaries: summaries(),
            take: one(),
            inputs: TableInputs::default(),
            unlabelled: false,
        }
    }

    /// Reads the documents. Empty lines are left out.
    ///
    /// # Errors
    /// If the file cannot be read, is not UTF-8 or has no documents; or with its line, if one is not as
    /// [`DocumentsSpec`] says.
    pub fn read(&self, resolve: &dyn Fn(&str) -> PathBuf) -> Result<Vec<Document>> {
        let path = resolve(&self.path);
        let text = read_utf8(&path)?;
        let mut documents = Vec::new();
        for (line, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
            let line = line as u64 + 1;
            let document = self.document(text, format!("{}:{line}", path.display()));
            documents.push(document.map_err(|what| Error::Row {
                path: path.clone(),
                line,
                what,
            })?);
        }
        match documents.is_empty() {
            true => Err(Error::format(&path, "has no documents")),
            false => Ok(documents),
        }
    }

    fn document(&self, line: &str, place: String) -> Result<Document, String> {
        let object: Map<String, Value> = serde_json::from_str(line)
            .map_err(|e| format!("is not a JSON object on a line of its own: {e}"))?;
        let found = |key: &str| {
            let keys = || object.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            object.get(key).ok_or_else(|| format!("has no key `{key}`; its keys are {}", keys()))
        };
        let Some(sentences) = texts(found(&self.sentences)?) else {
            return Err(format!("`{}` must be a list of texts, the sentences", self.sentences));
        };
        let summaries = match (self.unlabelled, found(&self.summaries)) {
            (true, _) => Vec::new(),
            (false, Ok(Value::String(summary))) => vec![summary.clone()],
            (false, value) => {
                let wrong = || format!("`{}` must be a text or a list of texts", self.summaries);
                texts(value?).ok_or_else(wrong)?
            }
        };
        if summaries.is_empty() && !self.unlabelled {
            let key = &self.summaries;
            return Err(format!("`{key}` has no summary; leave the document out"));
        }
        Ok(Document { place, sentences, summaries })
    }

    /// Reads the documents, and makes samples of them.
    ///
    /// # Errors
    /// As [`DocumentsSpec::read`], if no document has a sentence, or the model does not read sentences.
    pub fn open(&self, resolve: &dyn Fn(&str) -> PathBuf) -> Result<FieldsDataset> {
        let path = resolve(&self.path);
        if self.take == 0 {
            return Err(Error::option("take must be at least 1, found 0"));
        }
        let documents = self.read(resolve)?;
        if documents.iter().all(|document| document.sentences.is_empty()) {
            return Err(Error::format(&path, "has no document with a sentence"));
        }
        self.samples(&path, &documents)
    }

    /// A sample for each sentence of documents of the file `path`, in their order.
    ///
    /// # Errors
    /// If the model does not read sentences.
    pub fn samples(&self, path: &Path, documents: &[Document]) -> Result<FieldsDataset> {
        let mut cut = 0;
        let mut inputs = Vec::new();
        for (name, input) in &self.inputs.0 {
            let each = documents.iter().flat_map(|d| (0..d.sentences.len()).map(move |i| (d, i)));
            inputs.push(match input {
                TableInput::Encoded => {
                    let places = each.flat_map(|(document, i)| document.place_of(i)).collect();
                    (Field::numbers(name, &[PLACE]), FieldValues::F32(places))
                }
                TableInput::Words(how) => {
                    let (mut sequences, mut ids) = (FieldValues::sequences(), Vec::new());
                    for (document, i) in each {
                        ids.clear();
                        cut += usize::from(how.append(&document.sentences[i], &mut ids) > 0);
                        sequences.push_sequence(&ids);
                    }
                    (Field::ids(name, how.length), sequences)
                }
            });
        }
        if inputs.is_empty() {
            return Err(Error::option(format!(
                "{}: sentences are for a model with an input of tokens",
                path.display()
            )));
        }
        let empty = documents.iter().filter(|document| document.sentences.is_empty()).count();
        let count = |n: usize, what: &str| (n > 0).then(|| format!("{n} {what}"));
        let mut targets: Vec<f32> = Vec::new();
        if !self.unlabelled {
            let each = documents.iter().flat_map(|d| d.sentences.iter().map(move |s| (d, s)));
            targets.extend(each.map(|(d, sentence)| in_common(sentence, &d.summaries)));
        }
        let apart = !targets.is_empty() && targets.iter().all(|&common| common == 0.0);
        let apart = apart.then(|| {
            let (sentences, summaries) = (&self.sentences, &self.summaries);
            format!(
                "no sentence of `{sentences}` has a word in common with `{summaries}`: nothing can be learned. Words \
                 are compared as ROUGE compares them, by letters from a to z and digits"
            )
        });
        let notes = [
            count(empty, "documents without a sentence"),
            count(cut, "sentences longer than the model reads; their ends are left out"),
            apart,
        ];
        let origin = |d: &Document| vec![d.place.clone(); d.sentences.len()];
        let data = FieldsDataset::new(inputs)?
            .with_origins(documents.iter().flat_map(origin).collect())
            .with_notes(notes.into_iter().flatten().collect());
        if self.unlabelled {
            return Ok(data);
        }
        data.with_truth(Field::numbers("targets", &[1]), FieldValues::F32(targets))
    }
}

/// A list of texts.
fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

/// F of ROUGE-1, by the best summary.
fn in_common(sentence: &str, summaries: &[String]) -> f32 {
    let mut rouge = Rouge::new(RougeOptions::default());
    // A document without summaries is not read.
    let _ = rouge.add(sentence, summaries);
    rouge.score().rouge1.f as f32
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::text::words::{TextIds, id};
    use crate::{Dataset, Truth};

    fn spec() -> DocumentsSpec {
        let words = TableInput::Words(TextIds::words(3, 100));
        let inputs = vec![("words".to_owned(), words), ("place".to_owned(), TableInput::Encoded)];
        let (sentences, summaries) = ("body".into(), "short".into());
        DocumentsSpec {
            sentences,
            summaries,
            inputs: TableInputs(inputs),
            ..DocumentsSpec::new("d")
        }
    }

    fn open(spec: &DocumentsSpec, lines: &str) -> Result<FieldsDataset> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines).unwrap();
        spec.open(&|_| file.path().to_owned())
    }

    const LINES: &str = r#"{"body": ["A tide.", "The mill turns at noon."], "short": "The mill turns"}

{"id": 7, "body": [], "short": ["x"]}
{"id": 8, "body": ["One"], "short": ["none", "one two three"]}
"#;

    #[test]
    fn a_sample_is_a_sentence() {
        let data = open(&spec(), LINES).unwrap();
        assert_eq!(data.len(), 3);
        let row = data.read(1).unwrap();
        let ids = ["the", "mill", "turns"].map(|word| id(word, 100));
        assert_eq!(row.columns[0].i32()[..3], ids);
        assert_eq!(row.columns[1].f32()[..3], [0.5, 1.0, 0.5]);
        assert!((row.columns[1].f32()[3] - 6_f32.ln() / 4.0).abs() < 1e-6);
        // 3 words are shared, of 5 and of 3; of two summaries the better one counts.
        let targets = [0, 1, 2].map(|i| match data.read(i).unwrap().truth(0) {
            Truth::Values(values) => values.to_vec(),
            other => panic!("{other:?}"),
        });
        assert_eq!(targets, [[0.0], [0.75], [0.5]]);
        assert!(data.describe(2).ends_with(":4"), "{}", data.describe(2));
        let notes = data.notes().join("; ");
        assert!(notes.contains("1 documents without a sentence"), "{notes}");
        assert!(notes.contains("1 sentences longer"), "{notes}");
    }

    #[test]
    fn summaries_need_not_be_there_where_they_are_not_wanted() {
        let asked = DocumentsSpec { unlabelled: true, ..spec() };
        let data = open(&asked, "{\"body\": [\"a\", \"b\"]}\n").unwrap();
        assert_eq!((data.len(), data.label_kind()), (2, crate::LabelKind::None));
    }

    #[test]
    fn mistakes_name_file_and_line() {
        let good = "{\"body\": [\"a\"], \"short\": \"b\"}\n";
        for (line, what) in [
            ("{\"body\": [\"a\"]", ":2: is not a JSON object"),
            ("[\"a\"]", ":2: is not a JSON object"),
            (
                "{\"Body\": [\"a\"], \"short\": \"b\"}",
                ":2: has no key `body`; its keys are Body, short",
            ),
            ("{\"body\": \"a\", \"short\": \"b\"}", ":2: `body` must be a list of texts"),
            ("{\"body\": [\"a\", 1], \"short\": \"b\"}", ":2: `body` must be a list of texts"),
            ("{\"body\": [\"a\"], \"long\": \"b\"}", ":2: has no key `short`"),
            ("{\"body\": [\"a\"], \"short\": null}", ":2: `short` must be a text or a list"),
            ("{\"body\": [\"a\"], \"short\": []}", ":2: `short` has no summary"),
        ] {
            let error = open(&spec(), &format!("{good}{line}\n")).unwrap_err().to_string();
            assert!(error.contains(what), "{line}: {error}");
        }
        let error = |lines: &str| open(&spec(), lines).unwrap_err().to_string();
        assert!(error("\n\n").contains("has no documents"));
        assert!(error("{\"body\": [], \"short\": \"b\"}").contains("no document with a sentence"));
        let none = DocumentsSpec { take: 0, ..spec() };
        assert!(open(&none, good).unwrap_err().to_string().contains("take must be at least 1"));
    }
}
