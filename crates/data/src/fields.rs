//! Samples of several fields in memory: sequences, numbers and labels side by side.

use std::sync::Arc;

use tidemill_fields::{DType, Field, Row, Signature};
use tidemill_text::Tokenizer;

use crate::{Dataset, Error, Info, Result};

/// The values of one field of all samples.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValues {
    /// Floats, sample by sample.
    F32(Vec<f32>),
    /// Integers, sample by sample.
    I32(Vec<i32>),
    /// Sequences of ids, one after the other.
    Sequences {
        /// Where each sample ends in `ids`.
        ends: Vec<usize>,
        /// The ids of all samples.
        ids: Vec<i32>,
    },
}

impl FieldValues {
    /// No sequences yet.
    pub fn sequences() -> FieldValues {
        FieldValues::Sequences { ends: Vec::new(), ids: Vec::new() }
    }

    /// Adds one sequence; nothing where the values are no sequences.
    pub fn push_sequence(&mut self, sequence: &[i32]) {
        if let FieldValues::Sequences { ends, ids } = self {
            ids.extend_from_slice(sequence);
            ends.push(ids.len());
        }
    }

    /// The number of samples, if they are of that field.
    fn samples(&self, field: &Field) -> Option<usize> {
        match (self, field.dtype, field.time()) {
            (FieldValues::F32(v), DType::F32, None) => whole(v.len(), field.most()),
            (FieldValues::I32(v), DType::I32, None) => whole(v.len(), field.most()),
            (FieldValues::Sequences { ends, .. }, DType::I32, Some(_)) => Some(ends.len()),
            _ => None,
        }
    }

    /// Sequence `index`; empty where the values are no sequences.
    pub(crate) fn sequence(&self, index: usize) -> &[i32] {
        match self {
            FieldValues::Sequences { ends, ids } => {
                let start = index.checked_sub(1).map_or(0, |before| ends[before]);
                &ids[start..ends[index]]
            }
            _ => &[],
        }
    }
}

fn whole(values: usize, each: usize) -> Option<usize> {
    (each > 0 && values.is_multiple_of(each)).then(|| values / each)
}

/// A dataset of named fields, held in memory.
///
/// ```
/// use tidemill_data::{Dataset, FieldValues, FieldsDataset};
/// use tidemill_fields::Field;
///
/// let mut words = FieldValues::sequences();
/// words.push_sequence(&[3, 1, 4]);
/// words.push_sequence(&[1, 5]);
/// let age = (Field::numbers("age", &[1]), FieldValues::F32(vec![0.3, 0.7]));
/// let words = (Field::ids("words", 64), words);
/// let data = FieldsDataset::new(vec![age, words])?
///     .with_truth(Field::class("labels"), FieldValues::I32(vec![0, 1]))?;
/// assert_eq!((data.len(), data.num_classes()), (2, Some(2)));
/// # Ok::<(), tidemill_data::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FieldsDataset {
    info: Info,
    inputs: Vec<FieldValues>,
    truth: Option<FieldValues>,
    /// Where each sample comes from; empty for arrays.
    origins: Vec<String>,
    /// Sequences longer than their field allows.
    cut: usize,
    /// What made the ids of texts.
    tokenizer: Option<Arc<Tokenizer>>,
    /// What people should know of the samples.
    notes: Vec<String>,
}

impl FieldsDataset {
    /// Samples without labels.
    ///
    /// # Errors
    /// If values are not of their field, or the fields differ in the number of samples.
    pub fn new(inputs: Vec<(Field, FieldValues)>) -> Result<FieldsDataset> {
        let (fields, values): (Vec<Field>, Vec<FieldValues>) = inputs.into_iter().unzip();
        let mut len = None;
        for (field, values) in fields.iter().zip(&values) {
            check(field, values, &mut len)?;
        }
        let longer = |(field, values): (&Field, &FieldValues)| match (values, field.time()) {
            (FieldValues::Sequences { ends, .. }, Some(most)) => {
                (0..ends.len()).filter(|&i| values.sequence(i).len() > most).count()
            }
            _ => 0,
        };
        let cut = fields.iter().zip(&values).map(longer).sum();
        let info = Info {
            len: len.unwrap_or(0),
            signature: Signature::new(fields, None).into(),
            ..Info::default()
        };
        Ok(FieldsDataset {
            info,
            inputs: values,
            truth: None,
            origins: Vec::new(),
            cut,
            tokenizer: None,
            notes: Vec::new(),
        })
    }

    /// The same samples with labels: a class, a class for each position, or target values.
    ///
    /// # Errors
    /// If the values are not of the field, or not as many as there are samples.
    pub fn with_truth(mut self, field: Field, values: FieldValues) -> Result<FieldsDataset> {
        check(&field, &values, &mut Some(self.info.len))?;
        let classes = match &values {
            FieldValues::I32(v) | FieldValues::Sequences { ids: v, .. } => v,
            FieldValues::F32(_) => &Vec::new(),
        };
        if let Some(negative) = classes.iter().find(|&&class| class < 0) {
            return Err(Error::option(format!("a class must be 0 or more, found {negative}")));
        }
        let most = classes.iter().max().map(|&class| class as usize + 1);
        self.info.num_classes = (field.dtype == DType::I32).then(|| most.unwrap_or(0));
        let inputs = self.info.signature.inputs().to_vec();
        self.info.signature = Signature::new(inputs, Some(field)).into();
        self.truth = Some(values);
        Ok(self)
    }

    /// Names the classes; there may be more names than classes that occur.
    ///
    /// # Errors
    /// If there are fewer names than classes.
    pub fn with_class_names(mut self, names: Vec<String>) -> Result<FieldsDataset> {
        let used = self.info.num_classes.unwrap_or(0);
        if names.len() < used {
            return Err(Error::option(format!("{} class names for {used} classes", names.len())));
        }
        self.info.num_classes = self.info.num_classes.map(|_| names.len());
        self.info.class_names = names;
        Ok(self)
    }

    /// Says where each sample comes from, for messages.
    #[must_use]
    pub fn with_origins(mut self, origins: Vec<String>) -> FieldsDataset {
        self.origins = origins;
        self
    }

    /// Says what made the ids of texts.
    #[must_use]
    pub fn with_tokenizer(mut self, tokenizer: Arc<Tokenizer>) -> FieldsDataset {
        self.info.num_classes = self.info.num_classes.map(|_| tokenizer.vocabulary());
        self.tokenizer = Some(tokenizer);
        self
    }

    /// Says what people should know of the samples.
    #[must_use]
    pub fn with_notes(mut self, notes: Vec<String>) -> FieldsDataset {
        self.notes = notes;
        self
    }

    /// How many samples have a sequence that is longer than its field allows, and is cut off.
    pub fn num_cut(&self) -> usize {
        self.cut
    }
}

fn check(field: &Field, values: &FieldValues, len: &mut Option<usize>) -> Result<()> {
    let Some(samples) = values.samples(field) else {
        return Err(Error::option(format!(
            "the values of the field `{}` are not whole samples of {:?} {:?}",
            field.name,
            field.dtype,
            field.longest()
        )));
    };
    match *len.get_or_insert(samples) {
        wanted if wanted == samples => Ok(()),
        wanted => Err(Error::option(format!(
            "the field `{}` has {samples} samples, the ones before it {wanted}",
            field.name
        ))),
    }
}

impl Dataset for FieldsDataset {
    fn info(&self) -> &Info {
        &self.info
    }

    fn fill(&self, index: usize, row: &mut Row<'_>) -> Result<()> {
        let fields = self.info.signature.fields();
        for (i, values) in self.inputs.iter().chain(&self.truth).enumerate() {
            let each = fields[i].most();
            let range = index * each..(index + 1) * each;
            match values {
                FieldValues::F32(v) => row.f32(i)?.copy_from_slice(&v[range]),
                FieldValues::I32(v) => row.i32(i)?.copy_from_slice(&v[range]),
                FieldValues::Sequences { .. } => {
                    row.set_ids(i, values.sequence(index))?;
                }
            }
        }
        Ok(())
    }

    fn class(&self, index: usize) -> Option<u32> {
        match &self.truth {
            Some(FieldValues::I32(v)) => v.get(index).map(|&class| class as u32),
            _ => None,
        }
    }

    fn notes(&self) -> Vec<String> {
        let longest = self.info.signature.inputs().iter().filter_map(Field::time).max();
        let (cut, longest) = (self.cut, longest.unwrap_or(0));
        let what = format!(
            "{cut} samples are longer than the model's {longest} positions; the rest is cut off"
        );
        self.notes.iter().cloned().chain((cut > 0).then_some(what)).collect()
    }

    fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        self.tokenizer.as_ref()
    }

    fn describe(&self, index: usize) -> String {
        self.origins.get(index).cloned().unwrap_or_else(|| format!("sample {index}"))
    }
}
