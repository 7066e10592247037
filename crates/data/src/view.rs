//! Datasets whose samples are those of another one, in another order or number.

use std::sync::Arc;

use tidemill_fields::Row;
use tidemill_table::{Known, Understood};
use tidemill_text::Tokenizer;

use crate::augment::Mix;
use crate::{Dataset, FillCost, Info, RawImage, RawSound, Result};

/// A dataset of samples of another one. It says which; all else is the other's.
pub(crate) trait View: Send + Sync {
    /// The dataset whose samples these are.
    fn data(&self) -> &dyn Dataset;

    /// The place in [`View::data`] of the sample at `index`.
    fn sample(&self, index: usize) -> usize;

    fn info(&self) -> &Info {
        self.data().info()
    }

    fn fill(&self, index: usize, row: &mut Row<'_>) -> Result<()> {
        self.data().fill(self.sample(index), row)
    }

    fn fingerprint(&self) -> u64
    where
        Self: Sized,
    {
        crate::fingerprint::of_values(self)
    }
}

impl<V: View> Dataset for V {
    fn info(&self) -> &Info {
        View::info(self)
    }

    fn fill(&self, index: usize, row: &mut Row<'_>) -> Result<()> {
        View::fill(self, index, row)
    }

    fn class(&self, index: usize) -> Option<u32> {
        self.data().class(self.sample(index))
    }

    fn lengths(&self, index: usize) -> Result<Vec<usize>> {
        self.data().lengths(self.sample(index))
    }

    fn describe(&self, index: usize) -> String {
        self.data().describe(self.sample(index))
    }

    fn text(&self, index: usize) -> Option<&str> {
        self.data().text(self.sample(index))
    }

    fn raw_image(&self, index: usize) -> Result<Option<RawImage>> {
        self.data().raw_image(self.sample(index))
    }

    fn raw_sound(&self, index: usize) -> Result<Option<RawSound>> {
        self.data().raw_sound(self.sample(index))
    }

    fn shown(&self, values: &[f32]) -> Option<RawImage> {
        self.data().shown(values)
    }

    fn mix(&self) -> Option<Mix> {
        self.data().mix()
    }

    fn touch(&self, index: usize) {
        self.data().touch(self.sample(index));
    }

    fn fill_cost(&self) -> FillCost {
        self.data().fill_cost()
    }

    fn bytes_to_come(&self) -> u64 {
        self.data().bytes_to_come()
    }

    fn bytes_to_read(&self) -> u64 {
        self.data().bytes_to_read()
    }

    fn fingerprint(&self) -> u64 {
        View::fingerprint(self)
    }

    fn num_skipped(&self) -> usize {
        self.data().num_skipped()
    }

    fn skipped_examples(&self) -> Vec<String> {
        self.data().skipped_examples()
    }

    fn known(&self) -> Option<&Known> {
        self.data().known()
    }

    fn understood(&self) -> Option<&Understood> {
        self.data().understood()
    }

    fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        self.data().tokenizer()
    }

    fn notes(&self) -> Vec<String> {
        self.data().notes()
    }
}
