//! Arrays that NumPy saved: `.npy` files, and `.npz` archives of several.

mod archive;
mod npy;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidemill_table::{Known, Label, Labels as Learned, Value};

use crate::images::split::Parts;
use crate::images::{Share, Subset};
use crate::memory::{Features, Labels};
use crate::source::open;
use crate::{Augment, Error, Like, MemoryDataset, Normalize, Result};
use archive::Archive;
use npy::{Array, Values};

/// `data = { numpy = { path = "mnist.npz", x = "x_train", y = "y_train" } }`, or `.npy` files as `x`
/// and `y`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumpySpec {
    /// The `.npz` archive. Left out where `x` and `y` are `.npy` files of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The samples: an array of the archive or a file. Its first dimension counts the samples.
    pub x: String,
    /// The labels: classes for integers and texts, targets for floats. Classes that do not begin at 0, such as
    /// -1 and 1, are numbered in their order. May be left out
    /// for data to predict on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// What integers in `y` are. By default they are classes; floats are targets. That of the training data holds for validation too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<NumpyLabels>,
    /// Whether values to be predicted are standardized: minus their mean in the training data, divided by their standard deviation. Errors are in
    /// the units of the labels all the same, and so are predictions; the loss is that of standardized values. That of the training data holds
    /// for validation too. Not by default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scale_targets: bool,
    /// The weights of the samples: an array of the archive or a file, of one number of 0 or more for each. None by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Names of the classes, in the order of their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// Use only this many samples from the start; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Share of the samples kept for validation, or a fold of them such as `"2/5"` (the second of five); needs `subset`. Not split by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_split: Option<Share>,
    /// The side of the split that this data is. Required with `validation_split`, left out
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<Subset>,
    /// Random seed of the split; 0 by default.
    #[serde(default)]
    pub seed: u32,
    /// How stored values are scaled; by default 8-bit values are multiplied by 1/255, others are taken
    /// as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
    /// How training samples are varied, from `batch.augment`.
    #[serde(skip)]
    pub augment: Option<Augment>,
}

/// The type of samples that are multiplied by 1/255.
const BYTES: &str = "uint8";

/// What the labels of an array are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumpyLabels {
    /// Classes.
    Class,
    /// Numbers to be predicted.
    Values,
}

impl NumpySpec {
    /// The archive, or the file of samples.
    pub fn main_path(&self) -> &str {
        self.path.as_ref().unwrap_or(&self.x)
    }

    /// The files that it names.
    pub fn files(&self) -> Vec<&str> {
        match &self.path {
            Some(path) => vec![path],
            None => {
                let files = std::iter::once(&self.x).chain(&self.y).chain(&self.weights);
                files.map(String::as_str).collect()
            }
        }
    }

    /// Reads samples and labels; `resolve` finds a named path. `like` says what labels are in the training
    /// data, if this is other data, and `known` what was learned of them. Classes that are texts are numbered as there, or else in
    /// the order of the alphabet.
    ///
    /// # Errors
    /// If an array cannot be read, or samples and labels do not belong together.
    pub fn open(
        &self,
        resolve: &dyn Fn(&str) -> PathBuf,
        like: Option<&Like<'_>>,
        known: Option<&Known>,
    ) -> Result<MemoryDataset> {
        let (x_place, x) = self.array(&self.x, false, resolve)?;
        let sample_type = self.sample_type(&x_place, &x, known)?;
        let mut shape = x.dims[1..].to_vec();
        match (&shape[..], &x.values) {
            ([], _) => shape.push(1),
            // Grey images come without a dimension for their channel.
            ([_, _], Values::U8(_)) => shape.push(1),
            _ => {}
        }
        let features = match x.values {
            Values::U8(bytes) => Features::U8(bytes),
            Values::Floats(values) => {
                if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                    let row = at / shape.iter().product::<usize>().max(1);
                    return Err(x_place.error(format!(
                        "has {} in sample {row}; fill missing values before training, such as with \
                         numpy.nan_to_num",
                        values[at]
                    )));
                }
                Features::F32(values)
            }
            // Only asked for of labels and weights.
            Values::Doubles(values) => Features::F32(values.iter().map(|&v| v as f32).collect()),
            Values::Integers(values) => {
                let width = shape.iter().product();
                Features::F32(floats(&x_place, &values, width, "sample")?)
            }
            Values::Texts(_) => {
                return Err(x_place.error("holds texts; samples must be numbers".into()));
            }
        };
        let mut class_names = self.class_names.clone();
        let of_samples = |name: &String, what: &str| {
            let (place, array) = self.array(name, true, resolve)?;
            match array.dims[0] == x.dims[0] {
                true => Ok((place, array)),
                false => Err(place.error(format!(
                    "has {} {what} for {} samples; are they of one set?",
                    array.dims[0], x.dims[0]
                ))),
            }
        };
        let mut learned = None;
        let labels = match &self.y {
            None => Labels::None,
            Some(name) if self.scale_targets => {
                let (place, y) = of_samples(name, "labels")?;
                let known = known.and_then(|known| known.labels.clone());
                let (targets, labels) = self.scaled(&place, y, known)?;
                learned = Some(labels);
                targets
            }
            Some(name) => {
                let (place, y) = of_samples(name, "labels")?;
                self.labels(&place, y, like, &mut class_names)?
            }
        };
        let weights = match &self.weights {
            None => Vec::new(),
            Some(name) => {
                let (place, array) = of_samples(name, "weights")?;
                weights(&place, array)?
            }
        };
        let mut data = MemoryDataset::new(features, &shape, labels)
            .map_err(|e| x_place.error(e.to_string()))?
            .with_file(self.main_path().to_owned())
            .with_weights(weights)
            .with_known(Known { labels: learned, sample_type, ..Known::default() });
        if let Some(normalize) = &self.normalize {
            data = data.with_normalize(normalize)?;
        }
        if let Some(augment) = &self.augment {
            data = data.with_augment(augment.clone(), self.main_path())?;
        }
        if !class_names.is_empty() {
            data = data.with_class_names(class_names)?;
        }
        Ok(data)
    }

    /// The type of the samples, by which they are scaled; none where `normalize` says by what. Bytes and other numbers of one run
    /// would be scaled by different factors.
    fn sample_type(
        &self,
        place: &Place,
        x: &Array,
        known: Option<&Known>,
    ) -> Result<Option<String>> {
        if self.normalize.as_ref().is_some_and(|normalize| normalize.scale.is_some()) {
            return Ok(None);
        }
        match known.and_then(|known| known.sample_type.as_deref()) {
            Some(of_run) if (of_run == BYTES) != (x.kind == BYTES) => Err(place.error(format!(
                "holds samples of the type {}, and those of the training data are {of_run}: {BYTES} is multiplied by 1/255, and other \
                 types are taken as they are; save both as one type, such as with x.astype('{of_run}') for the same values, or divided by \
                 255 as float32 in both; or set normalize.scale in both",
                x.kind
            ))),
            _ => Ok(Some(x.kind.clone())),
        }
    }

    /// One target of each sample, standardized by those that are trained on, or as it is `known`.
    fn scaled(&self, place: &Place, y: Array, known: Option<Learned>) -> Result<(Labels, Learned)> {
        let n = y.dims[0];
        let width: usize = y.dims[1..].iter().product();
        if width != 1 {
            return Err(place.error(format!(
                "has {width} targets for each sample, and scale_targets is for one; scale them in NumPy"
            )));
        }
        let targets: Vec<f64> = match y.values {
            Values::U8(v) => v.iter().map(|&v| f64::from(v)).collect(),
            Values::Integers(v) => v.into_iter().map(|v| v as f64).collect(),
            Values::Floats(v) => v.into_iter().map(f64::from).collect(),
            Values::Doubles(v) => v,
            Values::Texts(_) => {
                return Err(place.error("holds texts, and scale_targets is for numbers".into()));
            }
        };
        let wrong = |i: usize, reason: String| place.error(format!("sample {i}: {reason}"));
        let labels = match known {
            Some(known) => known,
            None => {
                let parts = Parts::of(self.validation_split, self.subset, self.seed);
                let training = parts.training(self.main_path(), n, &|_| None)?;
                let rows = training.unwrap_or_else(|| (0..n as u32).collect());
                let mut labels = Learned::values(true);
                for i in rows.into_iter().map(|i| i as usize) {
                    let learned = labels.encode(Value::Number(targets[i]));
                    learned.map_err(|bad| wrong(i, bad.reason))?;
                }
                labels
            }
        };
        let scaled = targets.into_iter().enumerate().map(|(i, target)| {
            match labels.transform(Value::Number(target)).map_err(|bad| wrong(i, bad.reason))? {
                Some(Label::Value(value)) => Ok(value),
                _ => Err(wrong(i, "the run has learned classes, and no values".into())),
            }
        });
        Ok((Labels::Values { values: scaled.collect::<Result<_>>()?, width: 1 }, labels))
    }

    fn labels(
        &self,
        place: &Place,
        y: Array,
        like: Option<&Like<'_>>,
        class_names: &mut Vec<String>,
    ) -> Result<Labels> {
        let kind = like.and_then(|like| like.labels);
        let like = like.map(|like| like.class_names);
        let width: usize = y.dims[1..].iter().product();
        let one = || match width {
            1 => Ok(()),
            _ => Err(place.error(format!(
                "has rows of {width} labels, where the number of a class is expected; save one-hot \
                 rows with .argmax(axis=1)"
            ))),
        };
        // Rows of integers are one-hot rows.
        let default = match y.values {
            Values::U8(_) | Values::Integers(_) if width == 1 => NumpyLabels::Class,
            Values::U8(_) | Values::Integers(_) | Values::Floats(_) | Values::Doubles(_) => {
                NumpyLabels::Values
            }
            Values::Texts(_) => NumpyLabels::Class,
        };
        let values = match y.values {
            Values::Doubles(v) => Values::Floats(v.into_iter().map(|v| v as f32).collect()),
            values => values,
        };
        let numbers = |values: Vec<f32>| Labels::Values { values, width };
        // Whoever saved other data may have written the same classes as floats, or values as integers.
        match (values, self.labels.or(kind).unwrap_or(default)) {
            (Values::U8(v), NumpyLabels::Values) => {
                Ok(numbers(v.iter().map(|&v| f32::from(v)).collect()))
            }
            (Values::Integers(v), NumpyLabels::Values) => {
                Ok(numbers(floats(place, &v, width, "label")?))
            }
            (Values::Floats(v), NumpyLabels::Values) => match v.iter().position(|v| !v.is_finite())
            {
                Some(at) => Err(place.error(format!(
                    "has {} as label {}; leave samples without a label out, such as with x[np.isfinite(y)]",
                    v[at],
                    at / width
                ))),
                None => Ok(numbers(v)),
            },
            (Values::Doubles(_), _) => Err(place.error("is of 64 bits; please report it".into())),
            (Values::Texts(_), NumpyLabels::Values) => {
                Err(place.error("holds texts, and labels = \"values\" needs numbers".into()))
            }
            (Values::U8(v), NumpyLabels::Class) => {
                one()?;
                numbered(place, v.iter().map(|&v| i64::from(v)).collect(), like, class_names)
            }
            (Values::Integers(v), NumpyLabels::Class) => {
                one()?;
                numbered(place, v, like, class_names)
            }
            (Values::Floats(v), NumpyLabels::Class) => {
                one()?;
                if let Some(v) = v.iter().find(|v| v.fract() != 0.0) {
                    let of = if kind.is_some() { "; those of the training data are" } else { "" };
                    return Err(place.error(format!("has the label {v}, which is no class{of}")));
                }
                numbered(place, v.into_iter().map(|v| v as i64).collect(), like, class_names)
            }
            (Values::Texts(v), NumpyLabels::Class) => {
                one()?;
                if class_names.is_empty() {
                    class_names.extend_from_slice(like.unwrap_or_default());
                }
                if class_names.is_empty() {
                    class_names.clone_from(&v);
                    class_names.sort();
                    class_names.dedup();
                }
                let numbers: HashMap<&str, u32> =
                    class_names.iter().map(String::as_str).zip(0..).collect();
                let class = |text: &String| {
                    numbers.get(text.as_str()).copied().ok_or_else(|| {
                        let known = class_names.join(", ");
                        place.error(format!("has the class \"{text}\", which is none of {known}"))
                    })
                };
                Ok(Labels::Classes(v.iter().map(class).collect::<Result<_>>()?))
            }
        }
    }

    /// The array of this name, and where it is; floats of 64 bits as they are where `doubles` says so.
    fn array(
        &self,
        name: &str,
        doubles: bool,
        resolve: &dyn Fn(&str) -> PathBuf,
    ) -> Result<(Place, Array)> {
        let place = match &self.path {
            Some(path) => Place { path: resolve(path), array: Some(name.to_owned()) },
            None => Place { path: resolve(name), array: None },
        };
        let array = match &place.array {
            None => npy::read(open(&place.path)?.as_mut(), self.limit, doubles),
            Some(_) => Archive::open(&place.path)?
                .read(name, |file| npy::read(file, self.limit, doubles))?,
        };
        let array = array.map_err(|what| place.error(what))?;
        if array.dims[0] == 0 {
            return Err(place.error("has no samples".into()));
        }
        Ok((place, array))
    }
}

/// A weight for each sample.
fn weights(place: &Place, array: Array) -> Result<Vec<f32>> {
    let width: usize = array.dims[1..].iter().product();
    if width != 1 {
        return Err(place.error(format!("has {width} weights for each sample, expected 1")));
    }
    let weights: Vec<f32> = match array.values {
        Values::U8(v) => v.iter().map(|&v| f32::from(v)).collect(),
        Values::Integers(v) => v.into_iter().map(|v| v as f32).collect(),
        Values::Floats(v) => v,
        Values::Doubles(v) => v.into_iter().map(|v| v as f32).collect(),
        Values::Texts(_) => return Err(place.error("holds texts; weights must be numbers".into())),
    };
    match weights.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
        Some(i) => {
            let what =
                format!("has the weight {} of sample {i}; weights are 0 or more", weights[i]);
            Err(place.error(what))
        }
        None if weights.iter().all(|w| *w == 0.0) => {
            Err(place.error("has the weight 0 for each sample, so that none counts".into()))
        }
        None => Ok(weights),
    }
}

/// Integers as 32-bit floats, which differ up to 2^24: others would be rounded to the number beside them, so
/// that two ids become one.
fn floats(place: &Place, values: &[i64], width: usize, what: &str) -> Result<Vec<f32>> {
    let exact = |v: i64| (v as f32) as i128 == i128::from(v);
    if let Some(at) = values.iter().position(|&v| !exact(v)) {
        let (value, row) = (values[at], at / width.max(1));
        return Err(place.error(format!(
            "has the integer {value} in {what} {row}, which a 32-bit float can't hold (it would be {}); \
             number ids from 0, and store what is measured as floats, such as with \
             array.astype('float32') after a mean is taken away",
            value as f32 as i128
        )));
    }
    Ok(values.iter().map(|&v| v as f32).collect())
}

/// Classes that are whole numbers. From 0 they are those numbers; others, such as -1 and 1 or 1 to K, are
/// numbered in their order, or as the names of the training data say, and called by what they are.
fn numbered(
    place: &Place,
    values: Vec<i64>,
    like: Option<&[String]>,
    class_names: &mut Vec<String>,
) -> Result<Labels> {
    let known = if class_names.is_empty() { like.unwrap_or_default() } else { &class_names[..] };
    let mut order: Vec<i64> = known.iter().map_while(|name| name.parse().ok()).collect();
    if order.len() < known.len() {
        order.clear();
    }
    if known.is_empty() && like.is_none() && values.iter().min().is_some_and(|least| *least != 0) {
        order.clone_from(&values);
        order.sort_unstable();
        order.dedup();
    }
    let other = |v: i64| {
        place.error(format!(
            "has the class {v}; classes are numbers from 0, or those of the training data (labels = \
             \"values\" takes them as numbers to be predicted)"
        ))
    };
    let class: Box<dyn Fn(i64) -> Option<u32>> = if order.is_empty() {
        Box::new(|v| u32::try_from(v).ok().filter(|&v| v < 1 << 24))
    } else {
        *class_names = order.iter().map(i64::to_string).collect();
        let numbers: HashMap<i64, u32> = order.into_iter().zip(0..).collect();
        Box::new(move |v| numbers.get(&v).copied())
    };
    let classes = values.into_iter().map(|v| class(v).ok_or_else(|| other(v)));
    Ok(Labels::Classes(classes.collect::<Result<_>>()?))
}

/// Where an array is.
struct Place {
    path: PathBuf,
    array: Option<String>,
}

impl Place {
    fn error(&self, what: String) -> Error {
        match &self.array {
            None => Error::format(&self.path, what),
            Some(array) => Error::format(&self.path, format!("array {array} {what}")),
        }
    }
}

/// The names of the arrays in an archive, in the order of the alphabet.
///
/// # Errors
/// If the file is no archive.
pub fn arrays(path: &Path) -> Result<Vec<String>> {
    Ok(Archive::open(path)?.names())
}
