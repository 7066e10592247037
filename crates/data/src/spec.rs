//! What a recipe says about data, and opening it.
//!
//! ```toml
//! data = { image_directory = { path = "digits/train", validation_split = 0.2, subset = "training", seed = 1 } }
//! data = { idx = { images = "mnist/train-images-idx3-ubyte.gz", labels = "mnist/train-labels-idx1-ubyte.gz" } }
//! data = { numpy = { path = "mnist.npz", x = "x_train", y = "y_train" } }
//! data = { csv = { path = "adult_census/adult.data.gz", header = false, label = -1 } }
//! data = { text_directory = { path = "reviews/train" } }
//! data = { tagged = { path = "train.conll" } }
//! data = { text = { path = "shakespeare.txt", validation_split = 0.1, subset = "training" } }
//! data = { parallel = { source = "train.en.gz", target = "train.de.gz" } }
//! data = { audio = { path = "digits.tar.gz", names = "{label}_{speaker}_{index}" } }
//! data = { documents = { path = "train.jsonl.gz", sentences = "source", summaries = "target" } }
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidemill_table::Known;
use tidemill_text::Tokenizer;

use crate::audio::{AudioContext, AudioSpec};
use crate::images::Cache;
use crate::images::split::Parts;
use crate::text::words::TextIds;
use crate::text::{
    DocumentsSpec, ParallelSpec, TaggedSpec, TextContext, TextDirectorySpec, TextFileSpec,
};
use crate::{
    Dataset, Error, IdxSpec, ImageDirectorySpec, ImageFolder, LabelKind, MemoryDataset,
    NumpyLabels, NumpySpec, Result, TableInputs, TableSpec,
};

/// The source of the samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DataSpec {
    /// A folder or archive of images, with one sub-folder per class.
    ImageDirectory(ImageDirectorySpec),
    /// IDX files, the format of MNIST.
    Idx(IdxSpec),
    /// Arrays that NumPy saved, in `.npz` archives or `.npy` files.
    Numpy(NumpySpec),
    /// A table: CSV, TSV, JSON lines, ARFF or Arrow.
    #[serde(alias = "table")]
    Csv(TableSpec),
    /// Texts with one class each.
    TextDirectory(TextDirectorySpec),
    /// Words with one class each.
    Tagged(TaggedSpec),
    /// One long text, for a model of what comes next.
    Text(TextFileSpec),
    /// Texts with what they become, such as translations.
    Parallel(ParallelSpec),
    /// Documents with summaries, which are made of their sentences.
    Documents(DocumentsSpec),
    /// Sounds with what is said in them.
    Audio(AudioSpec),
}

/// What the model takes as input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputSpec {
    /// Images of this size; an image folder is resized and coloured to it.
    Image {
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
        /// 1 grey, 3 RGB, 4 RGBA.
        channels: usize,
    },
    /// Rows of so many values.
    Features(usize),
    /// Sequences of ids.
    Tokens(TextIds),
    /// Sequences of at most so many rows of so many values.
    Frames([usize; 2]),
    /// Whatever the data is.
    Any,
}

/// What other data takes over from the data that a model was trained on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Like<'a> {
    /// The names of the classes in the order of their numbers.
    pub class_names: &'a [String],
    /// The number of classes.
    pub num_classes: Option<usize>,
    /// What numbers are as labels: classes, or values; not known where there are none.
    pub labels: Option<NumpyLabels>,
    /// What was learned of columns and labels.
    pub known: Option<&'a Known>,
    /// What makes ids of texts.
    pub tokenizer: Option<&'a Arc<Tokenizer>>,
}

impl<'a> Like<'a> {
    /// Of a dataset.
    pub fn of(data: &'a dyn Dataset) -> Like<'a> {
        Like {
            class_names: data.class_names(),
            num_classes: data.num_classes(),
            labels: match data.label_kind() {
                LabelKind::Class { .. } => Some(NumpyLabels::Class),
                LabelKind::Values { .. } => Some(NumpyLabels::Values),
                LabelKind::None => None,
            },
            known: data.known(),
            tokenizer: data.tokenizer(),
        }
    }
}

impl DataSpec {
    /// The files or folders that it names.
    pub fn files(&self) -> Vec<&str> {
        match self {
            DataSpec::ImageDirectory(folder) => vec![&folder.path],
            DataSpec::Idx(idx) => {
                std::iter::once(&idx.images).chain(&idx.labels).map(String::as_str).collect()
            }
            DataSpec::Numpy(arrays) => arrays.files(),
            DataSpec::Csv(csv) => vec![&csv.path],
            DataSpec::TextDirectory(texts) => vec![&texts.path],
            DataSpec::Tagged(tagged) => vec![&tagged.path],
            DataSpec::Text(text) => vec![&text.path],
            DataSpec::Parallel(pairs) => vec![&pairs.source, &pairs.target],
            DataSpec::Documents(documents) => vec![&documents.path],
            DataSpec::Audio(sounds) => vec![&sounds.path],
        }
    }

    /// Opens the data for a model that takes `want`; `resolve` finds a named path.
    pub fn open(
        &self,
        resolve: &dyn Fn(&str) -> PathBuf,
        want: InputSpec,
    ) -> Result<Box<dyn Dataset>> {
        self.open_like(resolve, want, None, || None)
    }

    /// As [`DataSpec::open`], with the meaning of classes and columns that a run has learned
    /// (`known`), or that of `like`, the training set: a validation set must number its classes as the
    /// training set did, also where one of them does not occur. `like` is asked when it is needed, so
    /// that both sets can be read at once.
    pub fn open_like<'a>(
        &self,
        resolve: &dyn Fn(&str) -> PathBuf,
        want: InputSpec,
        known: Option<&Known>,
        like: impl FnOnce() -> Option<Like<'a>>,
    ) -> Result<Box<dyn Dataset>> {
        let data: Box<dyn Dataset> = match self {
            Self::ImageDirectory(spec) => {
                let names = like().map_or(&[][..], |l| l.class_names);
                Box::new(ImageFolder::open(spec, resolve, want, names)?)
            }
            Self::Idx(spec) => {
                let data =
                    with_classes_of(spec.open(resolve)?, like().and_then(|l| l.num_classes))?;
                let parts = Parts::of(spec.validation_split, spec.subset, spec.seed);
                parts.side(&spec.images, Box::new(data))?
            }
            Self::Numpy(spec) => {
                let like = like();
                let known = known.or_else(|| like.and_then(|l| l.known));
                let data = spec.open(resolve, like.as_ref(), known)?;
                let data = with_classes_of(data, like.and_then(|l| l.num_classes))?;
                let parts = Parts::of(spec.validation_split, spec.subset, spec.seed);
                parts.side(spec.main_path(), Box::new(data))?
            }
            Self::Csv(spec) => {
                let known = known.or_else(|| like().and_then(|l| l.known));
                let data = spec.open(resolve, known)?;
                let groups = data.groups();
                let parts = Parts::of(spec.validation_split, spec.subset, spec.seed);
                parts.together(groups.as_deref()).side(&spec.path, Box::new(data))?
            }
            Self::TextDirectory(spec) => {
                let names = like().map_or(&[][..], |l| l.class_names);
                Box::new(spec.open(resolve, self.tokens(want)?, names)?)
            }
            Self::Tagged(spec) => {
                let names = like().map_or(&[][..], |l| l.class_names);
                let ids = self.tokens(want)?;
                Box::new(spec.open(resolve, (ids.length, ids.vocabulary), names)?)
            }
            Self::Audio(spec) => {
                let like = like();
                let like = Like {
                    known: known.or(like.and_then(|l| l.known)),
                    ..like.unwrap_or_default()
                };
                Box::new(spec.open(resolve, Some(like))?)
            }
            // Its inputs are the model's.
            Self::Documents(spec) => return Ok(Box::new(spec.open(resolve)?)),
            // The context says how long samples are.
            Self::Text(spec) => {
                return Ok(Box::new(
                    spec.open(resolve, like().and_then(|l| l.tokenizer.cloned()))?,
                ));
            }
            Self::Parallel(spec) => {
                return Ok(Box::new(
                    spec.open(resolve, like().and_then(|l| l.tokenizer.cloned()))?,
                ));
            }
        };
        self.check_shape(data.as_ref(), want)?;
        Ok(data)
    }

    /// The named file or folder.
    pub fn path(&self) -> &str {
        match self {
            Self::ImageDirectory(spec) => &spec.path,
            Self::Idx(spec) => &spec.images,
            Self::Numpy(spec) => spec.main_path(),
            Self::Csv(spec) => &spec.path,
            Self::TextDirectory(spec) => &spec.path,
            Self::Tagged(spec) => &spec.path,
            Self::Text(spec) => &spec.path,
            Self::Parallel(spec) => &spec.source,
            Self::Documents(spec) => &spec.path,
            Self::Audio(spec) => &spec.path,
        }
    }

    /// Leaves out where the data is and how much of it is used, so that what remains says how samples
    /// are read.
    pub fn forget_place(&mut self) {
        match self {
            Self::ImageDirectory(spec) => {
                (spec.path, spec.root) = (String::new(), None);
                spec.augment = None;
                spec.cache = Cache::default();
            }
            Self::Idx(spec) => (spec.images, spec.labels, spec.limit) = (String::new(), None, None),
            Self::Numpy(spec) => (spec.path, spec.limit) = (None, None),
            Self::Csv(spec) => (spec.path, spec.limit) = (String::new(), None),
            Self::TextDirectory(spec) => spec.path = String::new(),
            Self::Tagged(spec) => spec.path = String::new(),
            Self::Text(spec) => {
                (spec.path, spec.context) = (String::new(), TextContext::default());
            }
            Self::Parallel(spec) => *spec = ParallelSpec::new("", ""),
            Self::Audio(spec) => {
                (spec.path, spec.context) = (String::new(), AudioContext::default());
            }
            Self::Documents(spec) => {
                (spec.path, spec.take, spec.inputs) = (String::new(), 1, TableInputs::default());
            }
        }
    }

    /// Whether the recipe says which class has which number. A table's classes stay those that its run
    /// knows.
    pub fn numbers_classes(&self) -> bool {
        match self {
            Self::ImageDirectory(spec) => spec.class_names.is_some(),
            Self::TextDirectory(spec) => spec.class_names.is_some(),
            Self::Idx(spec) => !spec.class_names.is_empty(),
            Self::Numpy(spec) => !spec.class_names.is_empty(),
            Self::Tagged(spec) => !spec.class_names.is_empty(),
            Self::Csv(_)
            | Self::Text(_)
            | Self::Parallel(_)
            | Self::Documents(_)
            | Self::Audio(_) => false,
        }
    }

    /// The longest sequence and the vocabulary of a model of texts.
    fn tokens(&self, want: InputSpec) -> Result<TextIds> {
        match want {
            InputSpec::Tokens(ids) => Ok(ids),
            _ => Err(Error::option(format!(
                "{}: texts are sequences of word ids; give the model \
                 input = {{ tokens = {{ length = 256, vocabulary = 20000 }} }}",
                self.path()
            ))),
        }
    }

    fn check_shape(&self, data: &dyn Dataset, want: InputSpec) -> Result<()> {
        let found = data.sample_shape();
        let wanted = match want {
            InputSpec::Any => return Ok(()),
            InputSpec::Tokens(ids) => {
                let fields = data.info().signature.inputs();
                return match fields {
                    [field] if field.time() == Some(ids.length) => Ok(()),
                    _ => Err(Error::option(format!(
                        "{}: the model's input is sequences of ids, and samples have shape {found:?}",
                        self.path()
                    ))),
                };
            }
            InputSpec::Image { height, width, channels } => vec![height, width, channels],
            InputSpec::Features(n) => vec![n],
            InputSpec::Frames(frames) => frames.to_vec(),
        };
        let same_count = data.sample_len() == wanted.iter().product::<usize>();
        // A flat model may be fed with images: the values are the same.
        if found == wanted || (same_count && wanted.len() == 1) {
            return Ok(());
        }
        if let (Some(encoder), [wants]) =
            (data.known().and_then(|known| known.encoder.as_ref()), &wanted[..])
        {
            let (names, has) = (encoder.names(), data.sample_len());
            let few: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
            let more = if names.len() > 8 { ", ..." } else { "" };
            return Err(Error::option(format!(
                "the model has {wants} inputs and a row of {} {has} ({}{more}); set model.input to \
                 {{ features = {has} }}, or leave columns out with exclude",
                self.path(),
                few.join(", ")
            )));
        }
        Err(Error::option(format!(
            "{}: samples have shape {found:?}, the model's input is {wanted:?}; change model.input \
             or the data's options",
            self.path()
        )))
    }
}

/// The data with as many classes as those it is used beside, if it has fewer.
fn with_classes_of(data: MemoryDataset, classes: Option<usize>) -> Result<MemoryDataset> {
    match (classes, data.num_classes()) {
        (Some(n), Some(own)) if own < n => data.with_num_classes(n),
        _ => Ok(data),
    }
}

/// Counts of each class, by the labels alone; empty where labels are no classes.
pub fn class_counts(data: &dyn Dataset) -> Vec<usize> {
    let Some(num_classes) = data.num_classes() else { return Vec::new() };
    let mut counts = vec![0; num_classes];
    for class in (0..data.len()).filter_map(|i| data.class(i)) {
        counts[class as usize] += 1;
    }
    counts
}
