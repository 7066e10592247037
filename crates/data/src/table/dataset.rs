//! The rows of a table in memory.

use tidemill_table::{Codes, Known};

use crate::memory::Labels as Stored;
use crate::{Dataset, Label, LabelKind, RawImage, Result};

/// A table in memory: numbers scaled, categories by their number, made into inputs as they are asked
/// for. 1 M rows of ten columns take 48 MB, whatever the number of inputs.
#[derive(Clone, Debug)]
pub struct TableDataset {
    pub(super) known: Known,
    pub(super) codes: Codes,
    /// `[inputs]`
    pub(super) shape: [usize; 1],
    pub(super) labels: Stored,
    pub(super) class_names: Vec<String>,
    /// Empty where all rows weigh the same.
    pub(super) weights: Vec<f32>,
    pub(super) file: String,
    /// The line of each row.
    pub(super) lines: Vec<u32>,
    pub(super) skipped: (usize, Vec<String>),
    pub(super) notes: Vec<String>,
}

impl TableDataset {
    /// The bytes that rows and labels take.
    pub fn bytes(&self) -> usize {
        let labels = match &self.labels {
            Stored::Classes(c) => 4 * c.len(),
            Stored::Values { values, .. } => 4 * values.len(),
            Stored::None => 0,
        };
        self.codes.bytes() + labels + 4 * (self.lines.len() + self.weights.len())
    }
}

impl Dataset for TableDataset {
    fn len(&self) -> usize {
        self.lines.len()
    }

    fn sample_shape(&self) -> &[usize] {
        &self.shape
    }

    fn label_kind(&self) -> LabelKind {
        match &self.labels {
            Stored::Classes(_) => LabelKind::Class { num_classes: self.class_names.len() },
            Stored::Values { width, .. } => LabelKind::Values { len: *width },
            Stored::None => LabelKind::None,
        }
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn fill(&self, index: usize, x: &mut [f32], target: &mut [f32]) -> Result<Label> {
        self.codes.fill(index, x);
        if let Stored::Values { values, .. } = &self.labels {
            target.copy_from_slice(&values[index..=index]);
        }
        Ok(self.label(index))
    }

    fn touch(&self, index: usize) {
        self.codes.touch(index);
    }

    fn label(&self, index: usize) -> Label {
        match &self.labels {
            Stored::Classes(c) => Label::Class(c[index]),
            Stored::Values { .. } => Label::Values,
            Stored::None => Label::None,
        }
    }

    fn describe(&self, index: usize) -> String {
        format!("{}:{}", self.file, self.lines[index])
    }

    fn raw_image(&self, _index: usize) -> Result<Option<RawImage>> {
        Ok(None)
    }

    fn num_skipped(&self) -> usize {
        self.skipped.0
    }

    fn skipped_examples(&self) -> Vec<String> {
        self.skipped.1.clone()
    }

    fn known(&self) -> Option<&Known> {
        Some(&self.known)
    }

    fn weights(&self) -> Option<&[f32]> {
        (!self.weights.is_empty()).then_some(&*self.weights)
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}
