//! The rows of a table in memory.

use tidemill_fields::Row;
use tidemill_table::{Codes, Known};

use crate::{Dataset, Info, Result};

/// What a row is to be predicted as.
#[derive(Clone, Debug)]
pub(super) enum Labels {
    /// The number of a class each.
    Classes(Vec<u32>),
    /// A value each.
    Values(Vec<f32>),
    /// Nothing is known of it.
    None,
}

/// A table in memory: numbers scaled, categories by their number, made into inputs as they are asked
/// for. A million rows of ten columns take 48 MB, whatever the number of inputs.
#[derive(Clone, Debug)]
pub struct TableDataset {
    pub(super) info: Info,
    pub(super) known: Known,
    pub(super) codes: Codes,
    pub(super) labels: Labels,
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
            Labels::Classes(c) => c.len(),
            Labels::Values(v) => v.len(),
            Labels::None => 0,
        };
        self.codes.bytes() + 4 * (labels + self.lines.len() + self.weights.len())
    }
}

impl Dataset for TableDataset {
    fn info(&self) -> &Info {
        &self.info
    }

    fn fill(&self, index: usize, row: &mut Row<'_>) -> Result<()> {
        self.codes.fill(index, row.f32(0)?);
        match &self.labels {
            Labels::Classes(c) => row.set_class(c[index])?,
            Labels::Values(v) => row.targets()?[0] = v[index],
            Labels::None => {}
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
            Labels::Classes(c) => c.get(index).copied(),
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

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn known(&self) -> Option<&Known> {
        Some(&self.known)
    }
}
