//! The rows of a table in memory.

use std::sync::Arc;

use tidemill_fields::Row;
use tidemill_table::{Codes, Known, Understood};

use crate::memory::Labels as Stored;
use crate::{Dataset, FieldValues, Info, Result};

/// A table in memory: numbers scaled, categories by their number, made into inputs as they are asked
/// for. 1 M rows of ten columns take 48 MB, whatever the number of inputs.
#[derive(Clone, Debug)]
pub struct TableDataset {
    pub(super) known: Known,
    pub(super) codes: Codes,
    pub(super) info: Info,
    pub(super) labels: Stored,
    /// Empty where all rows weigh the same.
    pub(super) weights: Vec<f32>,
    pub(super) file: String,
    /// The line of each row.
    pub(super) lines: Vec<u32>,
    /// The group of each row, where the split keeps groups together.
    pub(super) groups: Option<Arc<[u64]>>,
    pub(super) skipped: (usize, Vec<String>),
    pub(super) notes: Vec<String>,
    pub(super) understood: Understood,
    /// The field that the encoder fills.
    pub(super) encoded: Option<usize>,
    /// The fields that are words.
    pub(super) words: Vec<(usize, FieldValues)>,
}

impl TableDataset {
    /// The group of each row, where the split keeps groups together.
    pub(crate) fn groups(&self) -> Option<Arc<[u64]>> {
        self.groups.clone()
    }

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
    fn info(&self) -> &Info {
        &self.info
    }

    fn fill(&self, index: usize, row: &mut Row<'_>) -> Result<()> {
        if let Some(field) = self.encoded {
            self.codes.fill(index, row.f32(field)?);
        }
        for (field, words) in &self.words {
            row.set_ids(*field, words.sequence(index))?;
        }
        match &self.labels {
            Stored::Classes(c) => row.set_class(c[index])?,
            Stored::Values { values, width } => {
                row.targets()?.copy_from_slice(&values[index * width..(index + 1) * width]);
            }
            Stored::None => {}
        }
        if let Some(&weight) = self.weights.get(index) {
            row.set_weight(weight);
        }
        Ok(())
    }

    fn touch(&self, index: usize) {
        self.codes.touch(index);
    }

    fn class(&self, index: usize) -> Option<u32> {
        match &self.labels {
            Stored::Classes(c) => Some(c[index]),
            _ => None,
        }
    }

    fn describe(&self, index: usize) -> String {
        format!("{}:{}", self.file, self.lines[index])
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

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn understood(&self) -> Option<&Understood> {
        Some(&self.understood)
    }
}
