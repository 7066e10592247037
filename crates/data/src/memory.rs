//! Samples in memory: arrays from the library API, IDX files.

use tidemill_fields::{Field, Row};
use tidemill_table::Known;

use crate::augment::crop::resized_crop;
use crate::augment::{Augment, Mix};
use crate::normalize::{Affine, Normalize};
use crate::{Bytes, Dataset, Error, FillCost, Info, LabelKind, RawImage, Result};

/// Lines that are fetched ahead; the hardware follows on its own after the first ones.
const MAX_TOUCHED_LINES: usize = 16;

/// Feature values as they are stored; 8-bit values stay 8-bit, since MNIST as `f32` is 188 MB.
#[derive(Clone, Debug)]
pub enum Features {
    /// 8-bit values, usually pixels.
    U8(Bytes),
    /// Floats.
    F32(Vec<f32>),
}

impl Features {
    fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::F32(v) => v.len(),
        }
    }
}

/// Labels as they are stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Labels {
    /// A class number for each sample.
    Classes(Vec<u32>),
    /// `width` values for each sample.
    Values {
        /// All values, sample by sample.
        values: Vec<f32>,
        /// Values of one sample.
        width: usize,
    },
    /// No labels.
    None,
}

/// A dataset held in memory.
#[derive(Clone, Debug)]
pub struct MemoryDataset {
    features: Features,
    labels: Labels,
    info: Info,
    shape: Vec<usize>,
    sample_len: usize,
    affine: Affine,
    augment: Option<Augment>,
    /// Empty where all samples weigh the same.
    weights: Vec<f32>,
    /// How targets were standardized, and the type of samples that NumPy saved.
    known: Option<Known>,
    /// The file that samples come from; empty for arrays.
    file: String,
}

impl MemoryDataset {
    /// A dataset of `features` (samples of `shape`, one after another) and `labels`.
    ///
    /// 8-bit features are scaled by 1/255 unless [`MemoryDataset::with_normalize`] says otherwise.
    pub fn new(features: Features, shape: &[usize], labels: Labels) -> Result<Self> {
        let sample_len: usize = shape.iter().product();
        if sample_len == 0 {
            return Err(Error::option(format!("a sample of shape {shape:?} holds no value")));
        }
        if !features.len().is_multiple_of(sample_len) {
            return Err(Error::option(format!(
                "{} values are no whole number of samples of shape {shape:?} ({sample_len} values each)",
                features.len()
            )));
        }
        let len = features.len() / sample_len;
        if len > u32::MAX as usize {
            return Err(Error::option(format!("{len} samples are more than 2^32 - 1")));
        }
        let num_labels = match &labels {
            Labels::Classes(c) => c.len(),
            Labels::Values { width: 0, .. } => {
                return Err(Error::option("targets need at least 1 value a sample"));
            }
            Labels::Values { values, width } if values.len() % width != 0 => {
                return Err(Error::option(format!(
                    "{} target values are no whole number of rows of {width}",
                    values.len()
                )));
            }
            Labels::Values { values, width } => values.len() / width,
            Labels::None => len,
        };
        if num_labels != len {
            return Err(Error::option(format!("{len} samples but {num_labels} labels")));
        }
        let kind = match &labels {
            Labels::Classes(c) => {
                LabelKind::Class { num_classes: c.iter().max().map_or(0, |&m| m as usize + 1) }
            }
            Labels::Values { width, .. } => LabelKind::Values { len: *width },
            Labels::None => LabelKind::None,
        };
        let scale = if matches!(features, Features::U8(_)) { 1.0 / 255.0 } else { 1.0 };
        let affine = Normalize { scale: Some(scale), ..Normalize::default() }.compile(1, 1.0)?;
        Ok(Self {
            features,
            labels,
            info: Info::of(len, vec![Field::numbers("x", shape)], kind),
            shape: shape.to_vec(),
            sample_len,
            affine,
            augment: None,
            weights: Vec::new(),
            known: None,
            file: String::new(),
        })
    }

    /// Float samples of `shape` with class labels.
    pub fn classes(x: Vec<f32>, shape: &[usize], labels: Vec<u32>) -> Result<Self> {
        Self::new(Features::F32(x), shape, Labels::Classes(labels))
    }

    /// 8-bit image samples (`[height, width, channels]`) with class labels, scaled by 1/255.
    pub fn images(pixels: Vec<u8>, shape: &[usize], labels: Vec<u32>) -> Result<Self> {
        Self::new(Features::U8(pixels.into()), shape, Labels::Classes(labels))
    }

    /// Float samples of `shape` with `width` target values each.
    pub fn targets(x: Vec<f32>, shape: &[usize], values: Vec<f32>, width: usize) -> Result<Self> {
        Self::new(Features::F32(x), shape, Labels::Values { values, width })
    }

    /// The same data under another normalization; channels are the last dimension of the shape.
    pub fn with_normalize(mut self, normalize: &Normalize) -> Result<Self> {
        let scale = if matches!(self.features, Features::U8(_)) { 1.0 / 255.0 } else { 1.0 };
        self.affine = normalize.compile(self.shape.last().copied().unwrap_or(1), scale)?;
        Ok(self)
    }

    /// Names the classes; there may be more names than classes that occur.
    pub fn with_class_names(mut self, names: Vec<String>) -> Result<Self> {
        let used = self.info.num_classes.unwrap_or(0);
        if names.len() < used {
            return Err(Error::option(format!(
                "{} class names, but labels go up to {}",
                names.len(),
                used - 1
            )));
        }
        self.info.num_classes = self.info.num_classes.map(|_| names.len());
        self.info.class_names = names;
        Ok(self)
    }

    /// Sets the number of classes: for data in which the last ones do not occur, and for targets that
    /// are one-hot rows (or, for two classes, one value of 0 or 1).
    ///
    /// # Errors
    /// If labels go beyond, or targets have another number of values.
    pub fn with_num_classes(mut self, num_classes: usize) -> Result<Self> {
        match self.label_kind() {
            LabelKind::Class { num_classes: used } if num_classes < used => {
                return Err(Error::option(format!(
                    "num_classes is {num_classes}, but labels go up to {}",
                    used - 1
                )));
            }
            LabelKind::Values { len } if len != num_classes && (len, num_classes) != (1, 2) => {
                return Err(Error::option(format!(
                    "targets of {len} values are no rows of {num_classes} classes"
                )));
            }
            LabelKind::None => return Err(Error::option("the data have no labels")),
            _ => self.info.num_classes = Some(num_classes),
        }
        Ok(self)
    }

    /// The same data, of which the samples of training are varied; `path` names it in errors.
    ///
    /// # Errors
    /// If samples are no images of 8 bits.
    pub fn with_augment(mut self, augment: Augment, path: &str) -> Result<Self> {
        augment.fits(&self.shape, path)?;
        if !matches!(self.features, Features::U8(_)) {
            return Err(Error::option(format!(
                "{path}: batch.augment varies images of unsigned bytes, and these are other numbers; store them as they were, with normalize instead"
            )));
        }
        self.augment = Some(augment);
        Ok(self)
    }

    /// Fills sample `index` as it is varied in an epoch.
    fn fill_varied(
        &self,
        augment: &Augment,
        epoch: u64,
        index: usize,
        x: &mut [f32],
    ) -> Result<()> {
        let Some(mut image) = self.raw_image(index)? else { return Ok(()) };
        let index = index as u64;
        let (height, width) = (image.height, image.width);
        if let Some(window) = augment.window([height, width], epoch, index) {
            image = resized_crop(&image, window, height, width);
        }
        let image = augment.vary(image, epoch, index);
        self.affine.fill_u8(&image.pixels, x);
        augment.erase(x, [height, width, image.channels], epoch, index);
        Ok(())
    }

    pub(crate) fn with_file(mut self, file: String) -> Self {
        self.file = file;
        self
    }

    /// The same with a weight for each sample; with none all weigh the same.
    pub(crate) fn with_weights(mut self, weights: Vec<f32>) -> Self {
        self.weights = weights;
        self
    }

    /// The same, of which this is known: how targets were standardized, and the type of the samples.
    pub(crate) fn with_known(mut self, known: Known) -> Self {
        self.known = Some(known);
        self
    }

    /// The target values of all samples, one after another, as they are learned; empty where labels are classes.
    pub fn target_values(&self) -> &[f32] {
        match &self.labels {
            Labels::Values { values, .. } => values,
            _ => &[],
        }
    }

    /// The bytes that the values and labels take.
    pub fn bytes(&self) -> usize {
        let features = match &self.features {
            Features::U8(v) => v.len(),
            Features::F32(v) => 4 * v.len(),
        };
        features
            + 4 * self.weights.len()
            + match &self.labels {
                Labels::Classes(c) => 4 * c.len(),
                Labels::Values { values, .. } => 4 * values.len(),
                Labels::None => 0,
            }
    }
}

impl Dataset for MemoryDataset {
    fn info(&self) -> &Info {
        &self.info
    }

    fn fill(&self, index: usize, row: &mut Row<'_>) -> Result<()> {
        let range = index * self.sample_len..(index + 1) * self.sample_len;
        let epoch = row.epoch();
        let x = row.f32(0)?;
        match (&self.features, &self.augment, epoch) {
            (_, Some(augment), Some(epoch)) => self.fill_varied(augment, epoch, index, x)?,
            (Features::U8(v), ..) => self.affine.fill_u8(&v[range], x),
            (Features::F32(v), ..) => self.affine.fill_f32(&v[range], x),
        }
        match &self.labels {
            Labels::Classes(c) => row.set_class(c[index])?,
            Labels::Values { values, width } => {
                row.targets()?.copy_from_slice(&values[index * width..(index + 1) * width]);
            }
            Labels::None => {}
        }
        if let Some(&weight) = self.weights.get(index) {
            row.set_weight(weight);
        }
        Ok(())
    }

    fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    fn shown(&self, values: &[f32]) -> Option<RawImage> {
        let &[height, width, channels @ (1 | 3 | 4)] = self.shape.as_slice() else { return None };
        let pixels = self.affine.undo_u8(values);
        Some(RawImage { height, width, channels, pixels })
    }

    fn mix(&self) -> Option<Mix> {
        self.augment.as_ref()?.mix()
    }

    fn fill_cost(&self) -> FillCost {
        match self.augment {
            Some(_) => FillCost::Compute,
            None => FillCost::Copy,
        }
    }

    /// A load of each cache line, of which several are under way at once: in random order a sample
    /// of MNIST takes 560 ns without this, and its label another 140.
    fn touch(&self, index: usize) {
        if let Features::U8(v) = &self.features {
            let sample = &v[index * self.sample_len..(index + 1) * self.sample_len];
            let lines = sample.iter().step_by(64).take(MAX_TOUCHED_LINES);
            std::hint::black_box(lines.fold(0, |all, v| all | v));
        }
        if let Labels::Classes(c) = &self.labels {
            std::hint::black_box(c[index]);
        }
    }

    fn class(&self, index: usize) -> Option<u32> {
        match &self.labels {
            Labels::Classes(c) => Some(c[index]),
            _ => None,
        }
    }

    fn describe(&self, index: usize) -> String {
        match self.file.is_empty() {
            true => format!("sample {index}"),
            false => format!("{}, sample {index}", self.file),
        }
    }

    fn raw_image(&self, index: usize) -> Result<Option<RawImage>> {
        let &[height, width, channels @ (1 | 3 | 4)] = self.shape.as_slice() else {
            return Ok(None);
        };
        let range = index * self.sample_len..(index + 1) * self.sample_len;
        let pixels = match &self.features {
            Features::U8(v) => v[range].to_vec(),
            // Floats have no stated range, so the sample's own range is shown.
            Features::F32(v) => {
                let v = &v[range];
                let (low, high) = v
                    .iter()
                    .filter(|v| v.is_finite())
                    .fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
                let mul = if high > low { 255.0 / (high - low) } else { 0.0 };
                v.iter().map(|v| ((v - low) * mul).round() as u8).collect()
            }
        };
        Ok(Some(RawImage { height, width, channels, pixels }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tidemill_fields::Truth;

    use super::*;

    #[test]
    fn fills_scaled_images() {
        let data = MemoryDataset::images(vec![0, 255, 51, 102], &[1, 2, 1], vec![1, 0]).unwrap();
        let row = data.read(1).unwrap();
        assert_eq!(row.truth(0), Truth::Class(0));
        assert_eq!(row.x(), [51.0, 102.0].map(|v: f32| v * (1.0 / 255.0)));
        assert_eq!(data.num_classes(), Some(2));
        assert_eq!(data.raw_image(0).unwrap().unwrap().pixels, [0, 255]);
        assert_eq!(data.describe(1), "sample 1");
    }

    #[test]
    fn fills_targets() {
        let data =
            MemoryDataset::targets(vec![1.0, 2.0, 3.0], &[1], vec![4., 5., 6., 7., 8., 9.], 2)
                .unwrap();
        let row = data.read(2).unwrap();
        assert_eq!((row.x(), row.truth(0)), (&[3.0][..], Truth::Values(&[8.0, 9.0])));
        assert_eq!(data.label_kind(), LabelKind::Values { len: 2 });
        assert!(data.raw_image(0).unwrap().is_none());
    }

    #[test]
    fn counts_must_match() {
        assert!(MemoryDataset::classes(vec![0.0; 5], &[2], vec![0, 1]).is_err());
        let text = MemoryDataset::classes(vec![0.0; 4], &[2], vec![0]).unwrap_err().to_string();
        assert_eq!(text, "2 samples but 1 labels");
        assert!(MemoryDataset::classes(vec![], &[0], vec![]).is_err());
        assert!(MemoryDataset::targets(vec![0.0; 2], &[1], vec![0.0; 2], 0).is_err());
        let data = MemoryDataset::classes(vec![0.0; 4], &[2], vec![0, 3]).unwrap();
        assert!(data.clone().with_num_classes(3).is_err());
        assert_eq!(data.with_num_classes(5).unwrap().num_classes(), Some(5));
    }
}
