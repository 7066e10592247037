//! What every source of samples looks like to a loader.

use std::sync::Arc;

use tidemill_fields::{Batch, Column, DType, Field, Row, Signature, Truth};
use tidemill_table::{Known, Understood};
use tidemill_text::Tokenizer;

use crate::augment::Mix;
use crate::{Result, fingerprint};

/// What is known of a dataset before a sample is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Info {
    /// The number of samples.
    pub len: usize,
    /// What a sample is.
    pub signature: Arc<Signature>,
    /// The number of classes, where labels are classes or one-hot rows of them.
    pub num_classes: Option<usize>,
    /// The names of the classes in the order of their numbers; empty where there are none.
    pub class_names: Vec<String>,
}

impl Info {
    /// Of `len` samples without labels, each one field `x` of floats of that shape.
    pub fn new(len: usize, shape: &[usize]) -> Info {
        Info::of(len, vec![Field::numbers("x", shape)], LabelKind::None)
    }

    /// Of `len` samples of these inputs and labels.
    pub fn of(len: usize, inputs: Vec<Field>, labels: LabelKind) -> Info {
        let truth = match labels {
            LabelKind::Class { .. } => Some(Field::class("labels")),
            LabelKind::Values { len } => Some(Field::numbers("targets", &[len])),
            LabelKind::None => None,
        };
        let num_classes = match labels {
            LabelKind::Class { num_classes } => Some(num_classes),
            _ => None,
        };
        let signature = Arc::new(Signature::new(inputs, truth));
        Info { len, signature, num_classes, class_names: Vec::new() }
    }
}

/// A finite set of samples that can be read in any order, by several threads at once.
///
/// Two methods are required. Index, not position: which index comes at which position is
/// [`crate::Order`]'s business.
pub trait Dataset: Send + Sync {
    /// What is known before a sample is read; always the same.
    fn info(&self) -> &Info;

    /// Fills sample `index` into `row`, whose fields are those of the signature. The row's weight
    /// is 1 before; [`Row::set_weight`] changes it.
    ///
    /// A broken sample that is left out by policy is [`Row::skip`]ped.
    fn fill(&self, index: usize, row: &mut Row<'_>) -> Result<()>;

    /// The number of samples.
    fn len(&self) -> usize {
        self.info().len
    }

    /// Whether there is no sample at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of the first input of one sample: `[height, width, channels]` for images,
    /// `[features]` for rows, the longest time for sequences.
    fn sample_shape(&self) -> Vec<usize> {
        self.info().signature.inputs().first().map(Field::longest).unwrap_or_default()
    }

    /// The number of elements of all inputs of one sample, sequences at their longest.
    fn sample_len(&self) -> usize {
        self.info().signature.inputs().iter().map(Field::most).sum()
    }

    /// What a label is.
    fn label_kind(&self) -> LabelKind {
        let info = self.info();
        match info.signature.truth() {
            Some(field) if field.dtype == DType::F32 => LabelKind::Values { len: field.most() },
            Some(_) => LabelKind::Class { num_classes: info.num_classes.unwrap_or(0) },
            None => LabelKind::None,
        }
    }

    /// The number of classes, where labels are classes or one-hot rows.
    fn num_classes(&self) -> Option<usize> {
        self.info().num_classes
    }

    /// The names of the classes in the order of their numbers; empty where there are none.
    fn class_names(&self) -> &[String] {
        &self.info().class_names
    }

    /// The class of sample `index`, without reading the sample where that can be done; none where
    /// labels are no classes.
    fn class(&self, index: usize) -> Option<u32> {
        match self.read(index).ok()?.truth(0) {
            Truth::Values(_) if self.num_classes().is_none() => None,
            truth => truth.class().map(|class| class as u32),
        }
    }

    /// Sample `index` as a batch of one; its weight is 0 if it was skipped.
    fn read(&self, index: usize) -> Result<Batch> {
        let mut one = Batch::new(self.info().signature.clone());
        one.resize(1);
        one.weights[0] = 1.0;
        self.fill(index, &mut one.row_mut(0))?;
        one.pad();
        Ok(one)
    }

    /// How long sample `index` is in each field, 0 in those without time; at most, where samples are varied by chance.
    fn lengths(&self, index: usize) -> Result<Vec<usize>> {
        let row = self.read(index)?;
        let length = |c: &Column| c.lengths.first().map_or(0, |&length| length as usize);
        Ok(row.columns.iter().map(length).collect())
    }

    /// Where sample `index` comes from, for people: a path, or a file and line.
    fn describe(&self, index: usize) -> String {
        format!("sample {index}")
    }

    /// What is said in sample `index`, where samples are sounds with texts.
    fn text(&self, _index: usize) -> Option<&str> {
        None
    }

    /// Sample `index` as an image with 8-bit values before normalization; `None` if it is no image.
    fn raw_image(&self, _index: usize) -> Result<Option<RawImage>> {
        Ok(None)
    }

    /// The samples of sample `index`, where it is a sound.
    fn raw_sound(&self, _index: usize) -> Result<Option<RawSound>> {
        Ok(None)
    }

    /// The image that a filled sample is, `values` those of its first input: normalization undone, to 8 bits. None where samples are no
    /// images.
    fn shown(&self, _values: &[f32]) -> Option<RawImage> {
        None
    }

    /// What is done to the samples of a batch together, where training data are varied so.
    fn mix(&self) -> Option<Mix> {
        None
    }

    /// Says that sample `index` is filled soon, so that its memory can be fetched meanwhile.
    fn touch(&self, _index: usize) {}

    /// What filling a sample costs; tells the loader whether background threads pay.
    fn fill_cost(&self) -> FillCost {
        FillCost::Copy
    }

    /// The bytes that the dataset will take beside those of now once all samples have been read.
    fn bytes_to_come(&self) -> u64 {
        0
    }

    /// The bytes that reading a sample takes while it is read, as far as is known.
    fn bytes_to_read(&self) -> u64 {
        0
    }

    /// A number by which data that has changed is distinguished from what it was, whatever it is called: from
    /// the samples' number and names, and the values of some of them.
    fn fingerprint(&self) -> u64 {
        fingerprint::of_values(self)
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

    /// What columns and labels were taken for, where the source is a table.
    fn understood(&self) -> Option<&Understood> {
        None
    }

    /// What makes ids of texts, where samples are texts and the model reads tokens.
    fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        None
    }

    /// What people should know of the samples, such as how many lack values.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What the labels of a dataset are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelKind {
    /// One class out of so many, for a sample or for each position of a sequence.
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

/// What filling one sample costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillCost {
    /// A copy out of memory: done where it is needed.
    Copy,
    /// Computed from what is in memory: done ahead by background threads.
    Compute,
    /// A file is read and decoded: done ahead by background threads.
    Decode,
}

/// Samples of one channel, in -1 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawSound {
    /// The samples, one after the other.
    pub samples: Vec<f32>,
    /// Samples a second.
    pub sample_rate: u32,
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
