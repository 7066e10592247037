//! A run's model that says which sentences of a document make its summary: asked, and compared with what people wrote.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_engine::data::text::Document;
use tidemill_engine::data::tokens::score::{Rouge, RougeOptions, ScoreError};
use tidemill_engine::data::{DataSpec, Dataset, DocumentsSpec};
use tidemill_engine::error::{Error, Result};
use tidemill_recipe::DataPaths;

use crate::Trained;
use crate::files::check_exist;

/// A sentence of a summary.
#[derive(Clone, Debug, PartialEq)]
pub struct Extracted {
    /// Its place in the document, from 0.
    pub index: usize,
    /// The sentence.
    pub text: String,
    /// What the model says of it: how much it expects the sentence to have in common with a summary.
    pub score: f64,
}

/// A summary that is made of a document's sentences.
#[derive(Clone, Debug, PartialEq)]
pub struct Extract {
    /// The document's file and line.
    pub source: String,
    /// Sentences in the document's order: as many as `take` says, or all of a shorter document.
    pub sentences: Vec<Extracted>,
}

/// How extracts compare with the summaries of people.
#[derive(Clone, Debug)]
pub struct ExtractFigures {
    /// Number of documents.
    pub documents: usize,
    /// Sentences of each summary.
    pub take: usize,
    /// ROUGE of the extracts, by the one of several summaries with the highest ROUGE-1.
    pub rouge: Rouge,
    /// ROUGE of the first sentences of each document, as many.
    pub lead: Rouge,
}

impl Trained {
    /// Whether the model was trained to choose sentences of documents.
    pub fn extracts(&self) -> bool {
        matches!(self.file.recipe.batch.data, Some(DataSpec::Documents(_)))
    }

    /// The summary of each document of a file, in their order, and what a user should know of the data. Of sentences
    /// with the same score the earlier one is taken.
    ///
    /// # Errors
    /// If the file cannot be read, a document is bad, or the model does not choose sentences.
    pub fn extract(&mut self, files: &[PathBuf]) -> Result<(Vec<Extract>, Vec<String>)> {
        check_exist(files)?;
        let mut spec = self.documents(self.spec_of(&self.data_spec()?, files)?)?;
        spec.unlabelled = true;
        let documents = self.read(&spec)?;
        self.choose(&spec, &documents)
    }

    /// The summaries of the documents in `data` (the recipe's validation data where none is named), compared with those
    /// of people, and so are the first sentences.
    ///
    /// # Errors
    /// As [`Trained::extract`], or if a document has no summary.
    pub fn score_extracts(&mut self, data: &[PathBuf]) -> Result<ExtractFigures> {
        let spec = self.documents(self.measured(data)?)?;
        let documents = self.read(&spec)?;
        let asked = DocumentsSpec { unlabelled: true, ..spec };
        let (extracts, _) = self.choose(&asked, &documents)?;
        let mut rouge = Rouge::new(RougeOptions { one_reference: true, ..RougeOptions::default() });
        let mut lead = rouge.clone();
        for (document, extract) in documents.iter().zip(&extracts) {
            let first = document.sentences.iter().take(asked.take).map(String::as_str);
            let wrong = |e: ScoreError| Error::Run(format!("{}: {e}", document.place));
            let summaries = &document.summaries;
            rouge
                .add(
                    &lines(extract.sentences.iter().map(|sentence| sentence.text.as_str())),
                    summaries,
                )
                .map_err(wrong)?;
            lead.add(&lines(first), summaries).map_err(wrong)?;
        }
        Ok(ExtractFigures { documents: documents.len(), take: asked.take, rouge, lead })
    }

    /// The specification of documents, with what the model reads of them.
    fn documents(&self, spec: DataSpec) -> Result<DocumentsSpec> {
        match self.file.with_context(&spec, false) {
            DataSpec::Documents(documents) => Ok(documents),
            _ => Err(Error::Usage("the model does not choose sentences of documents".into())),
        }
    }

    fn read(&self, spec: &DocumentsSpec) -> Result<Vec<Document>> {
        let paths = DataPaths::new(&self.file.path);
        Ok(spec.read(&|name| paths.resolve(name))?)
    }

    fn choose(
        &mut self,
        spec: &DocumentsSpec,
        documents: &[Document],
    ) -> Result<(Vec<Extract>, Vec<String>)> {
        let set: Arc<dyn Dataset> = Arc::new(spec.samples(Path::new(&spec.path), documents)?);
        let mut scores = Vec::with_capacity(set.len());
        let mut notes = set.notes();
        if !set.is_empty() {
            notes = self.predict_set(&set, None, &mut |prediction| {
                scores.extend(prediction.outputs.first().copied());
                Ok(())
            })?;
        }
        let mut scores = scores.into_iter();
        let extract = |document: &Document| {
            let scored = document.sentences.iter().zip(scores.by_ref()).enumerate();
            let mut sentences: Vec<Extracted> = scored
                .map(|(index, (text, score))| Extracted { index, text: text.clone(), score })
                .collect();
            sentences.sort_by(|a, b| b.score.total_cmp(&a.score));
            sentences.truncate(spec.take);
            sentences.sort_by_key(|sentence| sentence.index);
            Extract { source: document.place.clone(), sentences }
        };
        Ok((documents.iter().map(extract).collect(), notes))
    }
}

/// Sentences are lines, of which ROUGE-Lsum asks.
fn lines<'a>(sentences: impl Iterator<Item = &'a str>) -> String {
    sentences.map(|sentence| sentence.replace('\n', " ")).collect::<Vec<_>>().join("\n")
}
