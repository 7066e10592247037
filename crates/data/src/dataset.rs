//! What every source of samples looks like to a loader.

use tidemill_table::Known;

use crate::Result;

/// A finite set of samples that can be read in any order, by several threads at once.
///
/// Index, not position: which index comes at which position is [`crate::Order`]'s business.
pub trait Dataset: Send + Sync {
    /// The number of samples.
    fn len(&self) -> usize;

    /// Whether there is no sample at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of one sample: `[height, width, channels]` for images, `[features]` for rows.
    fn sample_shape(&self) -> &[usize];

    /// The number of values of one sample.
    fn sample_len(&self) -> usize {
        self.sample_shape().iter().product()
    }

    /// What a label is.
    fn label_kind(&self) -> LabelKind;

    /// The number of classes, where labels are classes or one-hot rows.
    fn num_classes(&self) -> Option<usize> {
        match self.label_kind() {
            LabelKind::Class { num_classes } => Some(num_classes),
            _ => None,
        }
    }

    /// The names of the classes in the order of their numbers; empty where there are none.
    fn class_names(&self) -> &[String] {
        &[]
    }

    /// Writes sample `index` into `x` (`sample_len` values) and, where the label kind is
    /// [`LabelKind::Values`], its label into `target` (as many values as the kind says).
    ///
    /// A broken sample under the `skip` policy is [`Label::Skipped`]: `x` is zero and the sample
    /// must weigh nothing, so that positions of all other samples stay what they are.
    fn fill(&self, index: usize, x: &mut [f32], target: &mut [f32]) -> Result<Label>;

    /// The label of sample `index` without reading the sample.
    fn label(&self, index: usize) -> Label;

    /// Where sample `index` comes from, for people: a path, or a file and line.
    fn describe(&self, index: usize) -> String;

    /// Sample `index` as an image with 8-bit values before normalization; `None` if it is no image.
    fn raw_image(&self, index: usize) -> Result<Option<RawImage>>;

    /// Says that sample `index` is filled soon, so that its memory can be fetched meanwhile.
    fn touch(&self, _index: usize) {}

    /// How dear a sample is; tells the loader whether background threads pay.
    fn fill_cost(&self) -> FillCost {
        FillCost::Copy
    }

    /// Broken samples that were left out so far, by policy.
    fn num_skipped(&self) -> usize {
        0
    }

    /// A few of the reasons for which samples were left out.
    fn skipped_examples(&self) -> Vec<String> {
        Vec::new()
    }

    /// What was learned of columns and labels, where the source is a table; another table, or a
    /// stream, is read alike with it.
    fn known(&self) -> Option<&Known> {
        None
    }

    /// How much each sample counts, where the source says so.
    fn weights(&self) -> Option<&[f32]> {
        None
    }

    /// What people should know of the samples, such as how many lack values.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The label of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// The number of a class.
    Class(u32),
    /// The values in the caller's `target`.
    Values,
    /// The dataset has no labels.
    None,
    /// The sample could not be read and counts for nothing.
    Skipped,
}

/// What the labels of a dataset are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelKind {
    /// One class out of so many.
    Class {
        /// The number of classes.
        num_classes: usize,
    },
    /// So many values: regression targets, one-hot or multi-hot rows.
    Values {
        /// The number of values.
        len: usize,
    },
    /// No labels.
    None,
}

impl LabelKind {
    /// The number of target values of one sample; 0 unless the kind is `Values`.
    pub fn target_len(self) -> usize {
        match self {
            Self::Values { len } => len,
            _ => 0,
        }
    }
}

/// How dear filling one sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillCost {
    /// A copy out of memory: done where it is needed.
    Copy,
    /// A file is read and decoded: done ahead by background threads.
    Decode,
}

/// An image with 8-bit values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawImage {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values of one pixel: 1 grey, 3 RGB, 4 RGBA.
    pub channels: usize,
    /// `height * width * channels` values, row by row.
    pub pixels: Vec<u8>,
}
